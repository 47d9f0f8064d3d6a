//! Files that grow in a folder as a stream: `NAME-N.EXT` is partition N of topic NAME, each line a
//! message, and its offset the position of its first byte.
//!
//! Invariants: only files below a folder that the node's settings name are read; files only grow:
//! one that became shorter, or another file under the same name, is an error and not read on. A
//! line counts when its end is there. Files have no times and no keys.

mod lines;
mod reader;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use runtime::ComputePool;
use schemas::Offset;

use crate::{PartitionReader, StreamError, StreamSource};
use reader::FileReader;

const THREADS: usize = 2;
/// Of files that are made here.
const EXTENSION: &str = "ndjson";

/// The files of one folder.
#[derive(Clone, Debug)]
pub struct FileSource {
    folder: Arc<Path>,
    pool: ComputePool,
}

impl FileSource {
    /// `allowed`: folders that may be read, with all that is below them.
    pub fn new(folder: &Path, allowed: &[PathBuf]) -> Result<Self, StreamError> {
        let refused = |detail: String| StreamError::Option {
            option: "stream.files.folder".to_owned(),
            detail,
        };
        let real = folder
            .canonicalize()
            .map_err(|error| refused(format!("`{}`: {error}", folder.display())))?;
        let is_below = |root: &PathBuf| root.canonicalize().is_ok_and(|r| real.starts_with(r));
        if !allowed.iter().any(is_below) {
            return Err(refused(format!(
                "`{}` is not below a folder of the setting node.stream_folders",
                folder.display()
            )));
        }
        Ok(Self {
            folder: real.into(),
            pool: ComputePool::new(THREADS),
        })
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Path) -> Result<T, StreamError> + Send + 'static,
    ) -> Result<T, StreamError> {
        let folder = Arc::clone(&self.folder);
        let done = self.pool.run(move || job(&folder)).await;
        done.map_err(|error| StreamError::Client(error.to_string()))?
    }
}

fn failed(path: &Path, error: &io::Error) -> StreamError {
    StreamError::Client(format!("cannot read `{}`: {error}", path.display()))
}

/// The files of a topic by partition.
fn files_of(folder: &Path, topic: &str) -> Result<BTreeMap<u32, PathBuf>, StreamError> {
    let mut files = BTreeMap::new();
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        let name = entry.file_name();
        let Some(partition) = name.to_str().and_then(|name| partition_of(name, topic)) else {
            continue;
        };
        let path = entry.path();
        // A link may lead out of the folder.
        let inside = path
            .canonicalize()
            .is_ok_and(|real| real.starts_with(folder));
        if !inside || !path.is_file() {
            continue;
        }
        if let Some(other) = files.insert(partition, path.clone()) {
            return Err(StreamError::Client(format!(
                "`{}` and `{}` are both partition {partition} of `{topic}`: rename one",
                other.display(),
                path.display()
            )));
        }
    }
    if files.is_empty() {
        return Err(missing(folder, topic));
    }
    Ok(files)
}

fn missing(folder: &Path, topic: &str) -> StreamError {
    StreamError::TopicMissing {
        topic: topic.to_owned(),
        brokers: folder.display().to_string(),
    }
}

/// `clicks-3.ndjson`, `clicks-3`.
fn partition_of(name: &str, topic: &str) -> Option<u32> {
    let rest = name.strip_prefix(topic)?.strip_prefix('-')?;
    let number = rest.split_once('.').map_or(rest, |(number, _)| number);
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| number.parse().ok())?
}

/// The file of a partition; `None`: one with a greater number is there, this one may come.
fn file_of(folder: &Path, topic: &str, partition: u32) -> Result<Option<PathBuf>, StreamError> {
    let mut files = files_of(folder, topic)?;
    if files
        .last_key_value()
        .is_some_and(|(last, _)| *last < partition)
    {
        return Err(StreamError::PartitionMissing {
            topic: topic.to_owned(),
            partition,
            brokers: folder.display().to_string(),
        });
    }
    Ok(files.remove(&partition))
}

#[async_trait]
impl StreamSource for FileSource {
    async fn open(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<Box<dyn PartitionReader>, StreamError> {
        Ok(Box::new(FileReader::new(self, topic, partition, from)))
    }

    async fn partitions(&self, topic: &str) -> Result<u32, StreamError> {
        let topic = topic.to_owned();
        let files = self.on_disk(move |folder| files_of(folder, &topic)).await?;
        Ok(files.last_key_value().map_or(0, |(last, _)| last + 1))
    }

    async fn watermarks(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<(Offset, Offset), StreamError> {
        let topic = topic.to_owned();
        self.on_disk(move |folder| {
            let Some(path) = file_of(folder, &topic, partition)? else {
                return Ok((0, 0));
            };
            let end = lines::whole_lines(&path).map_err(|error| failed(&path, &error))?;
            Ok((0, end as Offset))
        })
        .await
    }

    async fn offset_at(&self, _: &str, _: u32, _: i64) -> Result<Option<Offset>, StreamError> {
        Err(StreamError::Option {
            option: "auto.offset.reset".to_owned(),
            detail: "files have no times: smallest, largest or offset:0".to_owned(),
        })
    }

    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), StreamError> {
        let topic = topic.to_owned();
        self.on_disk(move |folder| {
            match files_of(folder, &topic) {
                Ok(_) => return Ok(()),
                Err(StreamError::TopicMissing { .. }) => {}
                Err(other) => return Err(other),
            }
            for partition in 0..partitions {
                let path = folder.join(format!("{topic}-{partition}.{EXTENSION}"));
                let made = OpenOptions::new().append(true).create(true).open(&path);
                made.map_err(|error| failed(&path, &error))?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
