//! Whether files are still what they were when they were read.
//!
//! A file that a secret store swaps by a symbolic link has another inode: it has changed too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::AccessError;

/// Time of change in nanoseconds, length, inode; `None`: it is not there.
type Stamp = Option<(i128, u64, u64)>;

#[derive(Debug)]
pub(crate) struct Followed {
    seen: Mutex<Vec<(PathBuf, Stamp)>>,
}

fn stamp(path: &Path) -> Stamp {
    let about = fs::metadata(path).ok()?;
    let changed = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    Some((changed, about.len(), about.ino()))
}

impl Followed {
    /// As they are now; to be asked before they are read.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            seen: Mutex::new(stamped(paths)),
        }
    }

    /// Whether any has changed since this was asked last.
    pub(crate) fn changed(&self) -> bool {
        let mut seen = self.seen.lock();
        let mut any = false;
        for (path, before) in seen.iter_mut() {
            let now = stamp(path);
            any |= now != *before;
            *before = now;
        }
        any
    }

    /// From now on these.
    pub(crate) fn follow(&self, paths: impl IntoIterator<Item = PathBuf>) {
        *self.seen.lock() = stamped(paths);
    }
}

fn stamped(paths: impl IntoIterator<Item = PathBuf>) -> Vec<(PathBuf, Stamp)> {
    let paths = paths.into_iter();
    paths.map(|path| (path.clone(), stamp(&path))).collect()
}

/// The bytes of a file, or what kept them back. `what` is how people call it.
pub(crate) fn read(what: &str, path: &Path) -> Result<Vec<u8>, AccessError> {
    fs::read(path).map_err(|error| {
        let path = path.display();
        AccessError(format!("{what} `{path}` cannot be read: {error}"))
    })
}
