//! What can go wrong with segments.

use std::io;
use std::path::{Path, PathBuf};

use index::text::TextIndexFault;
use index::{CorruptIndex, IndexTooLarge};
use schemas::DataType;

#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("cannot {action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The bytes are not those that were written. The file must not be used again.
    #[error("`{path}` is damaged: {what}")]
    Corrupt { path: PathBuf, what: String },
    /// A whole file, but of another segment or another version of it.
    #[error("`{path}` holds {found}, not {expected}")]
    Misplaced {
        path: PathBuf,
        found: String,
        expected: String,
    },
    #[error(
        "`{path}` has format version {found}, this program reads version {known}: \
             use a program that is at least as new as the one that wrote it"
    )]
    UnknownVersion {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    #[error("column `{column}` is {found} in the segment and {expected} in the schema")]
    ColumnType {
        column: String,
        expected: DataType,
        found: DataType,
    },
    #[error("column `{column}` has {found} in the segment and {expected} in the schema")]
    ColumnShape {
        column: String,
        expected: &'static str,
        found: &'static str,
    },
    #[error("the batch does not fit the table: {what}")]
    Batch { what: String },
    #[error("the default of column `{column}` is no {data_type}: {value}")]
    Default {
        column: String,
        data_type: DataType,
        value: String,
    },
    #[error("the segment is full: {what}; seal it earlier by lower flush limits")]
    Full { what: String },
    /// A file without rows that count here. It can be shown later.
    #[error(
        "`{path}` lacks {rows} rows that count here, as newer ones of their keys have not come"
    )]
    Early { path: PathBuf, rows: usize },
    #[error(transparent)]
    TooLarge(#[from] IndexTooLarge),
    #[error(transparent)]
    Text(#[from] TextIndexFault),
    #[error("an index that was just built cannot be read")]
    Index(#[source] CorruptIndex),
}

impl SegmentError {
    /// The file should be set aside and loaded again.
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Misplaced { .. } | Self::UnknownVersion { .. }
        )
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    pub(crate) fn corrupt_index(path: &Path, part: &str, error: &CorruptIndex) -> Self {
        Self::corrupt(path, format!("{part}: {error}"))
    }
}
