//! Files of other hosts, over HTTP or HTTPS, as far as an operator has allowed them.
//!
//! Invariant: every address that the host's name has is judged, and the connection goes to one of
//! those and to no other; over HTTPS the host proves its name; no redirect is followed. A file is
//! fetched whole before it is read, and is the one that was listed: its tag, or its length and
//! date, are the same.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest::authorities::with_authorities;
use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use runtime::Reach;
use schemas::Fault;
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;
use url::Url;

use crate::objects::fetch_object;
use crate::source::Place;
use crate::{ImportError, Source, Workshop};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Between two pieces of a file.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// What is at an `https://` or `http://` address.
pub async fn remote_source(uri: &str, reach: &Reach) -> Result<Source, ImportError> {
    let url = Url::parse(uri).map_err(|error| told(uri, error))?;
    let client = client_of(&url, reach).await?;
    source_of(&client, url).await
}

async fn source_of(client: &Client, url: Url) -> Result<Source, ImportError> {
    let uri = url.as_str();
    let answer = client.head(url.clone()).send().await;
    let answer = whole(uri, answer.map_err(|error| unreached(uri, error))?)?;
    let bytes = length(answer.headers());
    Ok(Source {
        uri: uri.to_owned(),
        version: version(answer.headers()),
        bytes,
        place: Place::Host(url.clone()),
    })
}

/// Where a source lies on this machine: fetched first where it is elsewhere, and removed when what
/// is returned is dropped.
pub async fn local_path(
    source: &Source,
    workshop: &Workshop,
) -> Result<(PathBuf, Option<TempPath>), ImportError> {
    let (client, url) = match &source.place {
        Place::File(path) => return Ok((path.clone(), None)),
        Place::Host(url) => (client_of(url, &workshop.reach).await?, url.clone()),
        Place::Object { bucket, key } => {
            let fetched = fetch_object(source, bucket, key, workshop).await?;
            return Ok((fetched.to_path_buf(), Some(fetched)));
        }
    };
    let fetched = fetch(source, &client, url, &workshop.folder).await?;
    Ok((fetched.to_path_buf(), Some(fetched)))
}

async fn fetch(
    source: &Source,
    client: &Client,
    url: Url,
    folder: &Path,
) -> Result<TempPath, ImportError> {
    let uri = source.uri.as_str();
    let broken = |error: reqwest::Error| unreached(uri, error);
    let answer = client.get(url).send().await.map_err(broken)?;
    let mut answer = whole(uri, answer)?;
    if version(answer.headers()) != source.version {
        return Err(told(uri, "it has changed since the import began"));
    }
    let failed = |source| ImportError::Read {
        path: uri.to_owned(),
        source,
    };
    let suffix = format!("-{}", source.name());
    let file = tempfile::Builder::new().suffix(&suffix).tempfile_in(folder);
    let (file, path) = file.map_err(failed)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    Ok(path)
}

/// One that connects to this host alone, at addresses that were judged.
async fn client_of(url: &Url, reach: &Reach) -> Result<Client, ImportError> {
    let uri = url.as_str();
    let host = url
        .host_str()
        .ok_or_else(|| told(uri, "it names no host"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(told(uri, "only https:// and http:// are read"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(told(
            host,
            "a URL with a name or a password in it is not read",
        ));
    }
    let port = url.port_or_known_default().unwrap_or(80);
    let denied = |denied: runtime::Denied| ImportError::Target(Fault::denied(denied.to_string()));
    reach.check_host(host, port).map_err(denied)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|error| away(uri, error))?.collect();
    for address in &addresses {
        reach.check_address(host, address.ip()).map_err(denied)?;
    }
    client_at(url, host, &addresses, reach.ca_file.as_deref())
}

/// `ca_file`: who may prove the host's name, beside those whom the system trusts.
fn client_at(
    url: &Url,
    host: &str,
    addresses: &[SocketAddr],
    ca_file: Option<&Path>,
) -> Result<Client, ImportError> {
    let uri = url.as_str();
    let mut client = Client::builder()
        .use_rustls_tls()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(READ_WITHIN)
        .resolve_to_addrs(host, addresses);
    if let Some(path) = ca_file.filter(|_| url.scheme() == "https") {
        let wrong = |what: String| {
            let path = path.display();
            ImportError::Target(Fault::unavailable(format!(
                "`import.ca_file` {path}: {what}"
            )))
        };
        client = with_authorities(client, path).map_err(wrong)?;
    }
    client.build().map_err(|error| told(uri, error))
}

fn whole(uri: &str, answer: Response) -> Result<Response, ImportError> {
    let status = answer.status();
    if status.is_redirection() {
        return Err(told(
            uri,
            format!("the host answers {status}; redirects are not followed"),
        ));
    }
    match status {
        ok if ok.is_success() => Ok(answer),
        bad if bad.is_server_error() => Err(away(uri, format!("the host answers {bad}"))),
        bad => Err(told(uri, format!("the host answers {bad}"))),
    }
}

fn length(headers: &HeaderMap) -> u64 {
    let length = headers.get(reqwest::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

fn version(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text(ETAG) {
        Some(tag) => tag.to_owned(),
        None => format!(
            "{}-{}",
            length(headers),
            text(LAST_MODIFIED).unwrap_or_default()
        ),
    }
}

pub(crate) fn told(uri: &str, reason: impl ToString) -> ImportError {
    ImportError::Pattern {
        pattern: uri.to_owned(),
        reason: reason.to_string(),
    }
}

/// With the cause: that a certificate is wrong stands at the end.
fn unreached(uri: &str, error: reqwest::Error) -> ImportError {
    away(uri, schemas::fault::chain(&error.without_url()))
}

/// Later it may be there.
pub(crate) fn away(uri: &str, reason: impl ToString) -> ImportError {
    ImportError::Away {
        uri: uri.to_owned(),
        reason: reason.to_string(),
    }
}
