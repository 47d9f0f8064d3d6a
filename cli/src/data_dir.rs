//! The data dir: who owns it, which format it has, and where its parts are.
//!
//! Invariants: one process holds `LOCK` while it uses the folder; a folder with another `FORMAT` is
//! never touched.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use runtime::{Files, OsFiles};

use crate::exit::Exit;

/// Raised whenever an older version could not read what this one writes.
pub(crate) const FORMAT: u32 = 1;

#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Holds the lock until it is dropped.
    _lock: File,
}

impl DataDir {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| {
            let path = path.display();
            format!("cannot create the data dir `{path}`; choose another with --data-dir")
        })?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot open the data dir `{}`", path.display()))?;
        let lock = lock(&path)?;
        check_format(&path)?;
        for folder in ["segments", "log", "deepstore"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Written when all listeners are up, removed when the node stops.
    pub(crate) fn write_ports(&self, ports: &serde_json::Value) -> Result<()> {
        let path = self.join("ports.json");
        let temporary = self.join("ports.json.tmp");
        fs::write(&temporary, format!("{ports:#}\n"))
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// The name of this node's server: that of its first start, so that its segments are found
    /// again when the ports are others.
    pub(crate) fn name_once(&self, first: &str) -> Result<String> {
        self.once("INSTANCE", first)
    }

    /// The cluster that this data dir belongs to: the first that it was told.
    pub(crate) fn cluster_once(&self, first: &str) -> Result<String> {
        self.once(CLUSTER, first)
    }

    /// The cluster that this data dir belongs to, if it was told of one.
    pub(crate) fn cluster(&self) -> Result<Option<String>> {
        written(&self.join(CLUSTER))
    }

    /// For whoever is told the cluster later.
    pub(crate) fn cluster_keeper(&self) -> ClusterKeeper {
        ClusterKeeper(self.path.clone())
    }

    fn once(&self, file: &str, first: &str) -> Result<String> {
        write_once(&self.path, file, first)
    }

    pub(crate) fn remove_ports(&self) {
        let _ = fs::remove_file(self.join("ports.json"));
    }
}

/// Writes down which cluster a data dir belongs to. The dir is locked by this process.
#[derive(Debug)]
pub(crate) struct ClusterKeeper(PathBuf);

impl ClusterKeeper {
    pub(crate) fn keep(&self, cluster: &str) -> Result<()> {
        write_once(&self.0, CLUSTER, cluster).map(|_| ())
    }
}

const CLUSTER: &str = "CLUSTER";

/// The line of a small file; `None`: it is not there.
fn written(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// What the file says, `first` if there was none.
fn write_once(folder: &Path, file: &str, first: &str) -> Result<String> {
    let path = folder.join(file);
    if let Some(known) = written(&path)? {
        return Ok(known);
    }
    let line = format!("{first}\n");
    OsFiles
        .write_new(&path, file, &mut |out| out.write_all(line.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(first.to_owned())
}

fn lock(path: &Path) -> Result<File> {
    let name = path.join("LOCK");
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&name)
        .with_context(|| format!("cannot open `{}`", name.display()))?;
    // SAFETY: `file` owns the descriptor during the call.
    let taken = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0;
    if taken {
        let mut owner = String::new();
        let _ = file.read_to_string(&mut owner);
        let owner = owner.trim();
        let who = if owner.is_empty() {
            String::new()
        } else {
            format!(" (process {owner})")
        };
        return Err(Exit::data_dir(format!(
            "the data dir `{}` is in use by another tannin{who}; stop that one, or choose another \
             folder with --data-dir",
            path.display()
        )));
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .with_context(|| format!("cannot write `{}`", name.display()))?;
    Ok(file)
}

fn check_format(path: &Path) -> Result<()> {
    let name = path.join("FORMAT");
    match fs::read_to_string(&name) {
        Ok(text) if text.trim() == FORMAT.to_string() => Ok(()),
        Ok(text) => Err(Exit::data_dir(format!(
            "the data dir `{}` has format `{}` and this version of tannin reads format {FORMAT}; \
             use the version that wrote it, or choose another folder with --data-dir",
            path.display(),
            text.trim()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse_foreign_folder(path)?;
            fs::write(&name, format!("{FORMAT}\n"))
                .with_context(|| format!("cannot write `{}`", name.display()))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", name.display())),
    }
}

/// A folder with other things in it was not meant as a data dir.
fn refuse_foreign_folder(path: &Path) -> Result<()> {
    let entries =
        fs::read_dir(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let foreign = entries.flatten().find(|entry| entry.file_name() != "LOCK");
    match foreign {
        None => Ok(()),
        Some(entry) => Err(Exit::data_dir(format!(
            "the folder `{}` holds `{}` and is no data dir of tannin; choose an empty or a new \
             folder with --data-dir",
            path.display(),
            entry.file_name().to_string_lossy()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    #[test]
    fn a_second_owner_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataDir::open(folder.path()).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err();
        assert_eq!(code_of(&error), std::process::ExitCode::from(3));
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(held);
        DataDir::open(folder.path()).unwrap();
    }

    #[test]
    fn another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("FORMAT"), "99\n").unwrap();
        let error = DataDir::open(folder.path()).unwrap_err();
        assert_eq!(code_of(&error), std::process::ExitCode::from(3));
        assert!(error.to_string().contains("format `99`"), "{error}");
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        assert!(DataDir::open(folder.path()).is_err());
        assert!(!folder.path().join("FORMAT").exists());
    }
}
