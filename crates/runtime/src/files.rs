//! The boundary of all durable writes.
//!
//! Invariant: a file of [`Files::write_new`] or [`Files::begin`] is either absent or whole and
//! synced, also after a power cut: temporary name, write, fsync, rename, fsync of the folder.
//!
//! [`ForgetfulFiles`] loses on a kill whatever was not synced, which a page cache that outlives
//! the process would hide.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failpoint;

pub trait Files: Debug + Send + Sync + 'static {
    /// Creates `path` with what `write` writes, all or nothing. `point` prefixes the fail points
    /// `{point}.before_write`, `.after_write`, `.after_fsync`, `.after_rename`.
    fn write_new(
        &self,
        path: &Path,
        point: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()>;

    /// Begins a file that is written bit by bit and named when it is whole, as absent or whole as
    /// those of [`Self::write_new`], with its fail points. Until then it is beside `near`.
    fn begin<'a>(&'a self, near: &Path, point: &str) -> io::Result<Box<dyn NewFile + 'a>> {
        let _ = near;
        Ok(Box::new(HeldFile {
            files: self,
            point: point.to_owned(),
            content: Vec::new(),
        }))
    }

    /// Opens or creates a file that only grows.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file that has no name yet. It is gone when it is dropped.
pub trait NewFile: Debug + Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites what was appended first.
    fn write_start(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// All that was appended so far.
    fn content(&mut self) -> io::Result<NewContent>;
    /// Gives it its name, which is in the folder that it was begun in.
    fn finish(self: Box<Self>, path: &Path) -> io::Result<()>;
}

#[derive(Debug)]
pub enum NewContent {
    /// To be mapped.
    File(File),
    Memory(Vec<u8>),
}

/// Kept in memory until it is whole.
#[derive(Debug)]
struct HeldFile<'a, F: ?Sized> {
    files: &'a F,
    point: String,
    content: Vec<u8>,
}

impl<F: Files + ?Sized> NewFile for HeldFile<'_, F> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    fn write_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.content[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn content(&mut self) -> io::Result<NewContent> {
        Ok(NewContent::Memory(self.content.clone()))
    }

    fn finish(self: Box<Self>, path: &Path) -> io::Result<()> {
        let content = &self.content;
        self.files
            .write_new(path, &self.point, &mut |to| to.write_all(content))
    }
}

/// A file that only grows. What was appended is durable after `sync`.
pub trait AppendFile: Debug + Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// A handle whose `sync_data` makes durable what was appended before, while appends go on;
    /// `None`: only [`Self::sync`] can.
    fn sync_handle(&self) -> io::Result<Option<File>> {
        Ok(None)
    }
    /// Bytes, synced or not.
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Cuts a torn tail.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The files of this process: forgetful when a crash test asked for it.
pub fn shared() -> Arc<dyn Files> {
    if failpoint::is_on(failpoint::FORGETFUL) {
        Arc::new(ForgetfulFiles)
    } else {
        Arc::new(OsFiles)
    }
}

#[derive(Debug, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    fn write_new(
        &self,
        path: &Path,
        point: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let hit = |step: &str| failpoint::hit(&format!("{point}.{step}"));
        let temporary = temporary_name(path);
        hit("before_write");
        let result = write_synced(&temporary, write, &hit).and_then(|()| {
            fs::rename(&temporary, path)?;
            hit("after_rename");
            sync_folder(path)
        });
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    fn begin<'a>(&'a self, near: &Path, point: &str) -> io::Result<Box<dyn NewFile + 'a>> {
        failpoint::hit(&format!("{point}.before_write"));
        let temporary = temporary_name(near);
        let file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(true)
            .open(&temporary)?;
        Ok(Box::new(OsNewFile {
            temporary,
            point: point.to_owned(),
            file: io::BufWriter::with_capacity(1 << 20, file),
            is_named: false,
        }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(OsAppendFile::open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

fn write_synced(
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    hit: &dyn Fn(&str),
) -> io::Result<()> {
    let mut file = io::BufWriter::with_capacity(1 << 20, File::create(path)?);
    write(&mut file)?;
    file.flush()?;
    hit("after_write");
    file.get_ref().sync_all()?;
    hit("after_fsync");
    Ok(())
}

#[derive(Debug)]
struct OsNewFile {
    temporary: PathBuf,
    point: String,
    file: io::BufWriter<File>,
    is_named: bool,
}

impl NewFile for OsNewFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn write_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(io::SeekFrom::Start(0))?;
        self.file.write_all(bytes)?;
        self.file.seek(io::SeekFrom::End(0)).map(drop)
    }

    fn content(&mut self) -> io::Result<NewContent> {
        self.file.flush()?;
        self.file.get_ref().try_clone().map(NewContent::File)
    }

    fn finish(mut self: Box<Self>, path: &Path) -> io::Result<()> {
        let hit = |step: &str| failpoint::hit(&format!("{}.{step}", self.point));
        self.file.flush()?;
        hit("after_write");
        self.file.get_ref().sync_all()?;
        hit("after_fsync");
        fs::rename(&self.temporary, path)?;
        self.is_named = true;
        hit("after_rename");
        sync_folder(path)
    }
}

impl Drop for OsNewFile {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct OsAppendFile {
    file: File,
    len: u64,
}

impl OsAppendFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)?;
        let len = file.seek(io::SeekFrom::End(0))?;
        sync_folder(path)?;
        Ok(Self { file, len })
    }
}

impl AppendFile for OsAppendFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_handle(&self) -> io::Result<Option<File>> {
        self.file.try_clone().map(Some)
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(io::SeekFrom::End(0))?;
        self.len = len;
        Ok(())
    }
}

/// Keeps in memory whatever was not synced, so that a kill loses it as a power cut would.
#[derive(Debug, Default)]
pub struct ForgetfulFiles;

impl Files for ForgetfulFiles {
    fn write_new(
        &self,
        path: &Path,
        point: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut unsynced = Vec::new();
        failpoint::hit(&format!("{point}.before_write"));
        write(&mut unsynced)?;
        failpoint::hit(&format!("{point}.after_write"));
        OsFiles.write_new(path, point, &mut |to| to.write_all(&unsynced))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(ForgetfulAppendFile {
            synced: OsAppendFile::open(path)?,
            pending: Vec::new(),
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

#[derive(Debug)]
struct ForgetfulAppendFile {
    synced: OsAppendFile,
    pending: Vec<u8>,
}

impl AppendFile for ForgetfulAppendFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.synced.append(&self.pending)?;
        self.pending.clear();
        self.synced.sync()
    }

    fn len(&self) -> u64 {
        self.synced.len() + self.pending.len() as u64
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let keep = len.saturating_sub(self.synced.len());
        self.pending.truncate(keep as usize);
        if len < self.synced.len() {
            self.synced.truncate(len)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// What both kinds of files promise.
    fn suite(files: &dyn Files) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole");
        files
            .write_new(&path, "test", &mut |to| to.write_all(b"first"))
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        let failed = files.write_new(&path, "test", &mut |to| {
            to.write_all(b"half of the sec")?;
            Err(io::Error::other("the disk is full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
        assert_eq!(fs::read(&path).unwrap(), b"first", "as it was");
        assert_eq!(names(folder.path()), ["whole"], "nothing is left behind");
        files
            .write_new(&path, "test", &mut |to| to.write_all(b"second"))
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");

        let begun = folder.path().join("begun");
        let mut file = files.begin(&begun, "test").unwrap();
        file.append(b"abcdef").unwrap();
        file.write_start(b"XY").unwrap();
        file.append(b"g").unwrap();
        let content = match file.content().unwrap() {
            NewContent::Memory(content) => content,
            NewContent::File(mut file) => {
                let mut content = Vec::new();
                file.seek(io::SeekFrom::Start(0)).unwrap();
                io::Read::read_to_end(&mut file, &mut content).unwrap();
                content
            }
        };
        assert_eq!(content, b"XYcdefg");
        drop(file);
        assert_eq!(names(folder.path()), ["whole"], "it was not finished");
        let mut file = files.begin(&begun, "test").unwrap();
        file.append(b"abc").unwrap();
        let named = folder.path().join("named");
        file.finish(&named).unwrap();
        assert_eq!(fs::read(&named).unwrap(), b"abc");
        files.remove(&named).unwrap();
        assert_eq!(names(folder.path()), ["whole"]);

        let growing = folder.path().join("growing");
        let mut log = files.open_append(&growing).unwrap();
        assert!(log.is_empty());
        log.append(b"abc").unwrap();
        log.append(b"def").unwrap();
        assert_eq!(log.len(), 6);
        log.sync().unwrap();
        assert_eq!(fs::read(&growing).unwrap(), b"abcdef");
        log.append(b"ghi").unwrap();
        log.truncate(8).unwrap();
        assert_eq!(log.len(), 8);
        log.sync().unwrap();
        assert_eq!(fs::read(&growing).unwrap(), b"abcdefgh");
        log.truncate(2).unwrap();
        log.append(b"X").unwrap();
        log.sync().unwrap();
        assert_eq!(fs::read(&growing).unwrap(), b"abX");
        drop(log);
        assert_eq!(files.open_append(&growing).unwrap().len(), 3);
        files.remove(&growing).unwrap();
        assert_eq!(names(folder.path()), ["whole"]);
    }

    #[test]
    fn files_are_whole_or_not_there() {
        suite(&OsFiles);
    }

    #[test]
    fn forgetful_files_keep_what_was_synced() {
        suite(&ForgetfulFiles);
    }

    #[test]
    fn forgetful_files_lose_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = ForgetfulFiles.open_append(&path).unwrap();
        log.append(b"synced").unwrap();
        log.sync().unwrap();
        log.append(b" and not").unwrap();
        assert_eq!(log.len(), 14, "it can be read until the power goes");
        drop(log);
        assert_eq!(fs::read(&path).unwrap(), b"synced");
    }
}
