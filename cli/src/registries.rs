//! Who servers are to registries of schemas, as the settings say.

use anyhow::Result;
use ingest::registry::Credentials;
use runtime::settings::Registry as RegistrySettings;

use crate::exit::Exit;

/// What the settings say of who servers are to registries.
pub(crate) fn credentials(settings: &RegistrySettings) -> Result<Credentials> {
    let file = &settings.credentials_file;
    let (name, text) = match file.as_os_str().is_empty() {
        true => ("registry.credentials", settings.credentials.0.clone()),
        false => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                let path = file.display();
                Exit::usage(format!(
                    "`registry.credentials_file`: cannot read `{path}`: {error}"
                ))
            });
            ("registry.credentials_file", text?)
        }
    };
    let parsed = Credentials::parse(&text);
    parsed.map_err(|what| Exit::usage(format!("`{name}`: {what}")))
}
