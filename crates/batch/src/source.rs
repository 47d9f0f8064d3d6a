//! What is imported: files of this machine by path, folder or pattern, files of other hosts,
//! objects.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ingest::files::FileFormat;
use url::Url;

use crate::ImportError;

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    /// As it is told to people and remembered.
    pub uri: String,
    /// Changes with the content.
    pub version: String,
    pub bytes: u64,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub enum Place {
    File(PathBuf),
    /// Fetched before it is read.
    Host(Url),
    /// As well. The bucket with its scheme.
    Object {
        bucket: String,
        key: String,
    },
}

impl Source {
    /// Its name tells the format.
    pub(crate) fn name(&self) -> &str {
        let path = match &self.place {
            Place::File(path) => path.to_str().unwrap_or_default(),
            Place::Host(url) => url.path(),
            Place::Object { key, .. } => key,
        };
        path.rsplit('/').next().unwrap_or_default()
    }

    /// A host need not tell how long a file is.
    pub(crate) fn is_measured(&self) -> bool {
        self.bytes > 0 || !matches!(self.place, Place::Host(_))
    }
}

/// The file that is at a path, under the name by which it is remembered.
pub fn file_source(uri: String, version: String, path: PathBuf) -> Result<Source, ImportError> {
    let file = of_file(&path)?;
    Ok(Source {
        uri,
        version,
        ..file
    })
}

/// The files that `inputs` name: files, folders with all that is below, and patterns such as
/// `2026-*/part-?.parquet`. Where `format` is not given, only those of a known ending are taken out
/// of folders.
pub fn local_sources(
    inputs: &[String],
    format: Option<FileFormat>,
) -> Result<Vec<Source>, ImportError> {
    let mut sources = Vec::new();
    for input in inputs {
        let path = Path::new(input);
        let before = sources.len();
        if path.is_file() {
            sources.push(of_file(path)?);
        } else if path.is_dir() {
            let below = format!(
                "{}/**/*",
                glob::Pattern::escape(input.trim_end_matches('/'))
            );
            matching(&below, format, &mut sources)?;
        } else {
            matching(input, format, &mut sources)?;
        }
        if sources.len() == before {
            return Err(ImportError::Pattern {
                pattern: input.clone(),
                reason: "there is no such file".to_owned(),
            });
        }
    }
    sources.sort_by(|a, b| a.uri.cmp(&b.uri));
    sources.dedup_by(|a, b| a.uri == b.uri);
    Ok(sources)
}

fn matching(
    pattern: &str,
    format: Option<FileFormat>,
    sources: &mut Vec<Source>,
) -> Result<(), ImportError> {
    let refused = |reason: String| ImportError::Pattern {
        pattern: pattern.to_owned(),
        reason,
    };
    for path in glob::glob(pattern).map_err(|error| refused(error.to_string()))? {
        let path = path.map_err(|error| refused(error.to_string()))?;
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if is_meant(name, format) && path.is_file() {
            sources.push(of_file(&path)?);
        }
    }
    Ok(())
}

/// Of a file that nobody has named. `_SUCCESS` and the like stand beside the files of a job.
pub(crate) fn is_meant(name: &str, format: Option<FileFormat>) -> bool {
    !name.starts_with(['.', '_']) && (format.is_some() || FileFormat::of(name).is_some())
}

fn of_file(path: &Path) -> Result<Source, ImportError> {
    let failed = |source| ImportError::Read {
        path: path.display().to_string(),
        source,
    };
    let path = path.canonicalize().map_err(failed)?;
    let metadata = path.metadata().map_err(failed)?;
    let modified = metadata.modified().map_err(failed)?;
    let age = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Source {
        uri: path.display().to_string(),
        version: format!("{}-{}", metadata.len(), age.as_nanos()),
        bytes: metadata.len(),
        place: Place::File(path),
    })
}
