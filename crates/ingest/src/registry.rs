//! A client of Confluent's schema registry: schemas by their ids.
//!
//! What the registry does not have is an answer, and its messages are rejected; a registry that
//! does not answer, or not us, is a fault that stops consumption until it is over.
//!
//! Invariants: it proves its name where it is asked over https, or is not asked; secrets go to the
//! address alone for which somebody said them, and into no message.

mod credentials;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Identity, Response, Url};
use schemas::Fault;
use schemas::decoding::{RegistrySpec, RegistryTls};
use serde::Deserialize;

pub use credentials::Credentials;
use credentials::Proof;

use crate::authorities::with_authorities;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Schemas that a schema refers to, and they in turn.
const REFERENCES_MAX: usize = 100;

#[derive(Debug)]
pub struct Registry {
    client: Client,
    url: Url,
    proof: Option<Proof>,
}

/// A schema after those that it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemas {
    /// As the registry calls it: `AVRO`, `PROTOBUF`, `JSON`.
    pub kind: String,
    /// Each with the name by which others import it.
    pub texts: Vec<(String, String)>,
}

pub(crate) const AVRO: &str = "AVRO";
pub(crate) const PROTOBUF: &str = "PROTOBUF";

impl Schemas {
    pub fn avro(texts: impl IntoIterator<Item = String>) -> Self {
        let unnamed = texts.into_iter().map(|text| (String::new(), text));
        Self {
            kind: AVRO.to_owned(),
            texts: unnamed.collect(),
        }
    }

    /// The texts, where they are of the kind that the messages need.
    pub(crate) fn of_kind(self, kind: &str, id: u32) -> Result<Vec<(String, String)>, String> {
        match self.kind == kind {
            true => Ok(self.texts),
            false => Err(format!("the schema {id} is {} and not {kind}", self.kind)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    schema: String,
    #[serde(default, rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Clone, Debug, Deserialize)]
struct Reference {
    #[serde(default)]
    name: String,
    subject: String,
    version: u32,
}

impl Registry {
    /// `known`: who this machine is to registries, where the table does not say it.
    pub fn new(spec: &RegistrySpec, known: &Credentials) -> Result<Self, Fault> {
        let url = Url::parse(&spec.url)
            .ok()
            .filter(|url| !url.cannot_be_a_base());
        let said = Proof::of(spec.user_info.as_deref(), spec.token.as_deref());
        Ok(Self {
            client: client(&spec.tls)?,
            url: url.ok_or_else(|| Fault::invalid(format!("`{}` is no URL", spec.url)))?,
            proof: said.or_else(|| known.of(&spec.url)),
        })
    }

    /// The inner error is why there is none.
    pub async fn schema(&self, id: u32) -> Result<Result<Schemas, String>, Fault> {
        let first = match self.ask(&["schemas", "ids", &id.to_string()]).await? {
            Ok(answer) => answer,
            Err(reason) => return Ok(Err(format!("the schema {id} is unknown: {reason}"))),
        };
        let kind = first.kind.unwrap_or_else(|| AVRO.to_owned());
        let mut texts = vec![(String::new(), first.schema)];
        let mut waiting = first.references;
        let mut asked = Vec::new();
        while let Some(reference) = waiting.pop() {
            let Reference {
                name,
                subject,
                version,
            } = reference;
            if asked.len() == REFERENCES_MAX {
                return Ok(Err(format!("the schema {id} refers to too many others")));
            }
            if asked.contains(&(subject.clone(), version)) {
                continue;
            }
            let path = ["subjects", &subject, "versions", &version.to_string()];
            let found = self.ask(&path).await?;
            asked.push((subject.clone(), version));
            match found {
                Ok(answer) => {
                    texts.push((name, answer.schema));
                    waiting.extend(answer.references);
                }
                Err(reason) => {
                    let what = format!(
                        "the schema {id} refers to `{subject}` version {version}, which is \
                         unknown: {reason}"
                    );
                    return Ok(Err(what));
                }
            }
        }
        texts.reverse();
        Ok(Ok(Schemas { kind, texts }))
    }

    async fn ask(&self, path: &[&str]) -> Result<Result<Answer, String>, Fault> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.client.get(url.clone());
        match &self.proof {
            Some(Proof::Basic { user, password }) => {
                request = request.basic_auth(user, Some(password));
            }
            Some(Proof::Bearer(token)) => request = request.bearer_auth(token),
            None => {}
        }
        let away = |what: String| {
            let message = format!("the schema registry at `{}` {what}", self.url);
            Fault::unavailable(message)
        };
        let response = request.send().await;
        let response = response.map_err(|error| {
            away(format!(
                "does not answer: {}",
                schemas::fault::chain(&error)
            ))
        })?;
        let status = response.status();
        let body = body_of(response).await.map_err(away)?;
        if status.as_u16() == 404 {
            return Ok(Err(format!("the registry answers 404 for `{url}`")));
        }
        if !status.is_success() {
            let shown: String = body.chars().take(200).collect();
            return Err(away(format!("answers {status}: {shown}")));
        }
        match serde_json::from_str(&body) {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => Err(away(format!("answers with what is no schema: {error}"))),
        }
    }
}

/// The text of an answer; the error is what is wrong with it.
async fn body_of(mut response: Response) -> Result<String, String> {
    let mut body = Vec::new();
    let broken = |error| format!("broke off: {error}");
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(format!(
                "answers with more than {} MiB",
                ANSWER_BYTES_MAX >> 20
            ));
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// It answers itself, or not at all.
fn client(tls: &RegistryTls) -> Result<Client, Fault> {
    let mut client = Client::builder()
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .use_rustls_tls();
    if let Some(path) = &tls.ca_file {
        client = client.tls_built_in_root_certs(false);
        client = with_authorities(client, Path::new(path)).map_err(|what| wrong(path, what))?;
    }
    if let Some(path) = &tls.certificate_file {
        let mut pem = read(path)?;
        if let Some(key) = &tls.key_file {
            pem.push(b'\n');
            pem.extend(read(key)?);
        }
        let identity = Identity::from_pem(&pem).map_err(|error| wrong(path, error))?;
        client = client.identity(identity);
    }
    let built = client.build();
    built.map_err(|error| Fault::unavailable(schemas::fault::chain(&error)))
}

/// Somebody may put the file there; it is read again then.
fn read(path: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(Path::new(path)).map_err(|error| wrong(path, error))
}

fn wrong(path: &str, what: impl std::fmt::Display) -> Fault {
    Fault::unavailable(format!(
        "`{path}`, by which the schema registry is asked: {what}"
    ))
}
