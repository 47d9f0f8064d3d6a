//! What can go wrong with the deep store, in the words of whoever has to mend it.
//!
//! Invariant: no message holds a credential. Of a store's answer its code and its sentence are
//! told, never an address, which may be signed.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use schemas::{Fault, FaultKind};

#[derive(Debug, thiserror::Error)]
pub enum DeepStoreError {
    #[error("the deep store folder `{folder}` cannot be used")]
    Folder {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("deepstore.{key}: {reason}")]
    Setting { key: &'static str, reason: String },
    /// Nothing but other settings, or other rights, help.
    #[error("the deep store `{place}` refuses to {action}: {reason}")]
    Refused {
        place: String,
        action: &'static str,
        reason: String,
    },
    #[error("the deep store `{place}` cannot {action}: {reason}")]
    Away {
        place: String,
        action: &'static str,
        reason: String,
    },
    #[error(
        "the deep store `{place}` belongs to the cluster {theirs}, this is {ours}: give \
         deepstore.url a bucket or a prefix of its own, or start on that cluster's metadata"
    )]
    OtherCluster {
        place: String,
        theirs: String,
        ours: String,
    },
    #[error("`{key}` is in the deep store already, with another content")]
    Conflict { key: String },
    #[error("`{key}` is not in the deep store")]
    Missing { key: String },
    #[error("`{key}` cannot be written to the deep store: {reason}")]
    Upload { key: String, reason: String },
    #[error("the deep store does not answer for `{key}`: {reason}")]
    Unavailable { key: String, reason: String },
    #[error("the deep store has not answered for `{key}` within {within:?}")]
    Late { key: String, within: Duration },
    #[error("`{key}` has {found} bytes in the deep store, {wanted} came")]
    Cut {
        key: String,
        wanted: u64,
        found: u64,
    },
    #[error("`{key}` cannot be written to `{path}`")]
    Disk {
        key: String,
        path: PathBuf,
        source: std::io::Error,
    },
}

impl DeepStoreError {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Missing { .. } => FaultKind::NotFound,
            Self::Conflict { .. } | Self::OtherCluster { .. } => FaultKind::Conflict,
            Self::Setting { .. } => FaultKind::Invalid,
            Self::Refused { .. } => FaultKind::Denied,
            Self::Late { .. } => FaultKind::Timeout,
            Self::Folder { .. }
            | Self::Away { .. }
            | Self::Upload { .. }
            | Self::Unavailable { .. }
            | Self::Cut { .. }
            | Self::Disk { .. } => FaultKind::Unavailable,
        }
    }

    /// Whether waiting does not help: the settings, or rights in the store, are wrong.
    pub fn is_of_settings(&self) -> bool {
        matches!(
            self,
            Self::Setting { .. } | Self::Refused { .. } | Self::OtherCluster { .. }
        )
    }

    pub(crate) fn of_key(key: &str, error: &object_store::Error) -> Self {
        let key = key.to_owned();
        match error {
            object_store::Error::NotFound { .. } if !is_bucket_missing(error) => {
                Self::Missing { key }
            }
            error => Self::Unavailable {
                key,
                reason: reason(error),
            },
        }
    }
}

impl From<DeepStoreError> for Fault {
    fn from(error: DeepStoreError) -> Self {
        Self::from_chain(error.kind(), &error)
    }
}

/// Codes by which S3, GCS and Azure say that there is no such bucket.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

pub(crate) fn is_bucket_missing(error: &object_store::Error) -> bool {
    let text = error.to_string();
    NO_BUCKET.iter().any(|code| text.contains(code))
}

/// Whether the store has judged who asks or for what, and said no.
pub(crate) fn is_refusal(error: &object_store::Error) -> bool {
    let denied = matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    );
    let text = error.to_string();
    // Of a region that is not the bucket's, and of keys that are not well formed.
    let malformed = [
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "without LOCATION",
    ];
    denied || is_bucket_missing(error) || malformed.iter().any(|code| text.contains(code))
}

/// The store's own code and sentence where it sent some, else what is at the root: "Connection
/// refused".
pub(crate) fn reason(error: &object_store::Error) -> String {
    let text = error.to_string();
    if let Some(code) = element(&text, "Code") {
        return match element(&text, "Message") {
            Some(message) => format!("{message} ({code})"),
            None => code.to_owned(),
        };
    }
    if let Some(status) = status(&text) {
        return format!("it answers {status}");
    }
    let mut root: &dyn StdError = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    Some(content.trim())
}

fn status(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("non-2xx status code: ")?;
    let line = rest.lines().next().unwrap_or_default();
    Some(
        line.split_once(": ")
            .map_or(line, |(status, _)| status)
            .trim_end_matches(':'),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    #[test]
    fn the_stores_own_words_are_told() {
        let answer = "Error performing PUT http://s3/b/k?X-Amz-Signature=secret in 1s - Server \
                      returned non-2xx status code: 503 Service Unavailable: <Error>\
                      <Code>SlowDown</Code>\
                      <Message>Please reduce your request rate.</Message></Error>";
        let told = reason(&generic(answer));
        assert_eq!(told, "Please reduce your request rate. (SlowDown)");
        let bare = "Error performing GET http://s3/b/k in 1s - Server returned non-2xx status \
                    code: 500 Internal Server Error: ";
        assert_eq!(
            reason(&generic(bare)),
            "it answers 500 Internal Server Error"
        );
        let away = object_store::Error::Generic {
            store: "S3",
            source: Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
        };
        assert_eq!(reason(&away), "connection refused");
    }

    #[test]
    fn what_settings_must_mend_is_a_refusal() {
        assert!(is_refusal(&generic("<Code>NoSuchBucket</Code>")));
        assert!(!is_refusal(&generic("<Code>SlowDown</Code>")));
    }
}
