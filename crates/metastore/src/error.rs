//! What can go wrong with the store.

use schemas::{Fault, FaultKind};

#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error(
        "the metadata in `{path}` cannot be opened: {reason}; restore the file, or start with \
         another data dir"
    )]
    Open { path: String, reason: String },
    /// The setting cannot be right, whatever the database says.
    #[error("`metastore.url`: {0}")]
    Address(String),
    /// It answers, but it is not what is wanted.
    #[error("the metadata at `{place}` cannot be used: {reason}")]
    Unusable { place: String, reason: String },
    #[error("PostgreSQL at `{place}` does not answer: {reason}")]
    Unreachable { place: String, reason: String },
    #[error("the metadata store failed")]
    Store(#[from] sqlx::Error),
    #[error("this controller does not lead any more; ask again")]
    Fenced,
    #[error("the metadata store has stopped")]
    Stopped,
    #[error("`{key}` in the metadata is not understood: {detail}")]
    Corrupt { key: String, detail: String },
    #[error("the metadata changed under the request ({key}); try again")]
    Conflict { key: String },
}

impl MetaError {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Open { .. }
            | Self::Unusable { .. }
            | Self::Unreachable { .. }
            | Self::Store(_)
            | Self::Fenced
            | Self::Stopped => FaultKind::Unavailable,
            Self::Address(_) => FaultKind::Invalid,
            Self::Corrupt { .. } => FaultKind::Internal,
            Self::Conflict { .. } => FaultKind::Conflict,
        }
    }
}

/// What the database says, once.
pub(crate) fn reason(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    }
}

impl From<MetaError> for Fault {
    fn from(error: MetaError) -> Self {
        Self::from_chain(error.kind(), &error)
    }
}
