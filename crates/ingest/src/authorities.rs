//! Who may prove the names of hosts that are asked over https.

use std::path::Path;

use reqwest::{Certificate, ClientBuilder};

/// A client that believes the authorities of a PEM file, too; the fault names no file.
pub fn with_authorities(client: ClientBuilder, path: &Path) -> Result<ClientBuilder, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let found = found.into_iter();
    Ok(found.fold(client, ClientBuilder::add_root_certificate))
}
