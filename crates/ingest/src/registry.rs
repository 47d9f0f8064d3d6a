//! A client of Confluent's schema registry: schemas by their ids.
//!
//! What the registry does not have is an answer, and its messages are rejected; a registry that
//! does not answer, or not us, is a fault that stops consumption until it is over.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Response, Url};
use schemas::Fault;
use schemas::decoding::RegistrySpec;
use serde::Deserialize;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Schemas that a schema refers to, and they in turn.
const REFERENCES_MAX: usize = 100;

#[derive(Debug)]
pub struct Registry {
    client: reqwest::Client,
    url: Url,
    spec: RegistrySpec,
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
    pub fn new(spec: &RegistrySpec) -> Result<Self, Fault> {
        // It answers itself, or not at all.
        let client = reqwest::Client::builder().redirect(Policy::none());
        let client = client.timeout(TIMEOUT).build();
        let url = Url::parse(&spec.url)
            .ok()
            .filter(|url| !url.cannot_be_a_base());
        Ok(Self {
            client: client.map_err(|error| Fault::internal(error.to_string()))?,
            url: url.ok_or_else(|| Fault::invalid(format!("`{}` is no URL", spec.url)))?,
            spec: spec.clone(),
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
        if let Some((user, password)) = self.spec.user_info.as_deref().and_then(split) {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(token) = &self.spec.token {
            request = request.bearer_auth(token);
        }
        let away = |what: String| {
            let message = format!("the schema registry at `{}` {what}", self.spec.url);
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

fn split(user_info: &str) -> Option<(&str, &str)> {
    user_info.split_once(':')
}
