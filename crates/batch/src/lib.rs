//! Files into segments of an OFFLINE table, and segments into others: all at once or not at all.
//!
//! Invariant: what was imported counts only when every file is in, in one step ([`Target::end`]).
//! Whoever dies before leaves segments that nobody sees; the next import of the same key goes on
//! with those whose part of a file, or all of whose files, are whole, and makes the others anew.

mod build;
mod compact;
mod export;
mod finished;
mod job;
mod join;
mod lanes;
mod objects;
mod remote;
mod rewrite;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use ingest::Expressions;
use ingest::files::{FileError, FileFormat};
use runtime::{Clock, ComputePool, Files, Reach};
use schemas::decoding::CsvSpec;
use schemas::segment::SegmentRecord;
use schemas::{Fault, FaultKind, Sequence, TableSpec};
use segment::SegmentError;
use uuid::Uuid;

pub use compact::{Compacted, compact};
pub use export::export;
pub use job::run;
pub use objects::{names_objects, object_sources};
pub use remote::{local_path, remote_source};
pub use rewrite::{check_filters, rewrite};
pub use source::{Place, Source, file_source, local_sources};

/// The controller, as far as an import needs it.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// Goes on with what an import of the same key has left.
    async fn begin(&self, key: &str, mode: Option<Mode>) -> Result<Begun, Fault>;
    /// A number for a segment that comes next.
    async fn reserve(&self, import: Uuid) -> Result<Sequence, Fault>;
    /// Takes a packed segment, which does not count yet; its name.
    async fn add(
        &self,
        import: Uuid,
        record: SegmentRecord,
        packed: Bytes,
    ) -> Result<String, Fault>;
    /// From now on these count, all at once.
    async fn end(&self, import: Uuid, segments: BTreeSet<String>) -> Result<(), Fault>;
    async fn revert(&self, import: Uuid) -> Result<(), Fault>;
}

/// Whether what is there stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Append,
    Refresh,
}

impl Mode {
    /// As Pinot writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "APPEND",
            Self::Refresh => "REFRESH",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Begun {
    pub id: Uuid,
    pub spec: TableSpec,
    /// Segments that came before it broke off.
    pub segments: Vec<SegmentRecord>,
    /// One of the same key did all of it; nothing is left to be done.
    pub is_done: bool,
}

#[derive(Debug)]
pub struct Job {
    /// Names what is imported: one of the same key goes on with it.
    pub key: String,
    /// `None`: as the table's config says.
    pub mode: Option<Mode>,
    pub sources: Vec<Source>,
    /// `None`: each file's name tells.
    pub format: Option<FileFormat>,
    /// How CSV files are read; `None`: with a header and commas.
    pub csv: Option<CsvSpec>,
    /// What came before is made anew.
    pub start_over: bool,
}

/// Where segments are built, and with what.
#[derive(Clone, Debug)]
pub struct Workshop {
    pub clock: Arc<dyn Clock>,
    pub files: Arc<dyn Files>,
    /// For files that are on their way; whoever made it removes it.
    pub folder: PathBuf,
    pub compute: ComputePool,
    pub expressions: Arc<dyn Expressions>,
    /// Which hosts may be asked for files.
    pub reach: Reach,
    /// How buckets are reached; each address names its own.
    pub objects: deepstore::Config,
}

/// How far an import is, for those who watch.
#[derive(Debug, Default)]
pub struct Progress {
    pub bytes_total: AtomicU64,
    pub bytes_done: AtomicU64,
    pub rows: AtomicU64,
    /// 0: not known before.
    pub rows_total: AtomicU64,
}

impl Progress {
    /// In words.
    pub fn told(&self) -> String {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (rows, rows_total) = (count(&self.rows), count(&self.rows_total));
        match rows_total {
            0 => {
                let (done, all) = (count(&self.bytes_done), count(&self.bytes_total));
                format!("{rows} rows, {done} of {all} bytes")
            }
            all => format!("{rows} of {all} rows"),
        }
    }

    fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub rows: u64,
    /// Left out by the table's filter.
    pub filtered: u64,
    pub segments: u32,
    /// That were read, or would be if they were not done.
    pub files: u64,
    /// In the deep store.
    pub bytes: u64,
    /// Segments among them that an earlier attempt had made.
    pub kept: u32,
    /// All of it was done before; the rest is not known.
    pub was_done: bool,
}

impl Done {
    /// What became of how many files, in words.
    pub fn made(&self) -> String {
        let counted = |count: u64, what: &str| match count {
            1 => format!("1 {what}"),
            more => format!("{more} {what}s"),
        };
        let segments = counted(u64::from(self.segments), "segment");
        format!("{segments} from {}", counted(self.files, "file"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("{0}")]
    Target(#[from] Fault),
    #[error(transparent)]
    Panicked(#[from] runtime::compute::JobPanicked),
    #[error("`{path}` cannot be read")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{uri}`: {reason}")]
    Away { uri: String, reason: String },
    #[error("`{path}` cannot be removed")]
    Remove {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{pattern}`: {reason}")]
    Pattern { pattern: String, reason: String },
    #[error("there is no row in {files} files; nothing was imported")]
    Nothing { files: usize },
    #[error(
        "table `{table}` has no column {columns}; import into another table, or leave them out of \
         the file"
    )]
    Columns { table: String, columns: String },
    #[error("the import was given up")]
    GivenUp,
}

impl ImportError {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Target(fault) => fault.kind,
            Self::Segment(_) | Self::Panicked(_) | Self::Remove { .. } => FaultKind::Internal,
            Self::Read { .. } | Self::Away { .. } => FaultKind::Unavailable,
            Self::GivenUp => FaultKind::Cancelled,
            Self::File(_) | Self::Pattern { .. } | Self::Nothing { .. } | Self::Columns { .. } => {
                FaultKind::Invalid
            }
        }
    }
}

impl From<ImportError> for Fault {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Target(fault) => fault,
            error => Self::from_chain(error.kind(), &error),
        }
    }
}
