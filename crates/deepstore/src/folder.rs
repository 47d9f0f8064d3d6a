//! A folder as a deep store.
//!
//! Invariant: an object is whole and synced, or not there, also after a power cut.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use runtime::{ComputePool, Files};

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) pool: ComputePool,
}

/// What a write found in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Now,
    /// The same content was there.
    Before,
    /// Another content is there, and stays.
    Conflict,
}

impl Folder {
    pub(crate) fn path_of(&self, key: &str) -> PathBuf {
        self.path.join(key)
    }

    pub(crate) async fn write(&self, key: &str, content: Bytes, over: bool) -> io::Result<Written> {
        let (target, files) = (self.path_of(key), Arc::clone(&self.files));
        let written = self.pool.run(move || {
            if !over {
                match holds(&target, &content) {
                    Ok(true) => return Ok(Written::Before),
                    Ok(false) => return Ok(Written::Conflict),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            files.write_new(&target, "upload", &mut |to| to.write_all(&content))?;
            Ok(Written::Now)
        });
        written.await.map_err(io::Error::other)?
    }
}

fn holds(path: &Path, content: &[u8]) -> io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    if file.metadata()?.len() != content.len() as u64 {
        return Ok(false);
    }
    let mut rest = content;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        match rest.split_at_checked(read) {
            _ if read == 0 => return Ok(rest.is_empty()),
            Some((expected, after)) if *expected == buffer[..read] => rest = after,
            _ => return Ok(false),
        }
    }
}
