//! One file, read line by line as it grows.
//!
//! Invariant: `next` moves only when the messages before it are handed out, so that a fetch that is
//! dropped has read nothing.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemas::Offset;
use tokio::time::Instant;

use super::{FileSource, failed, file_of, lines};
use crate::{Messages, PartitionReader, StreamError};

/// How often a file is looked at that has nothing new.
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct FileReader {
    source: FileSource,
    topic: Arc<str>,
    partition: u32,
    next: Offset,
    log_end: Option<Offset>,
    file: Option<Arc<Opened>>,
    /// What ended it.
    failed: Option<StreamError>,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: File,
    /// Device and number, which tell one file from another under the same name.
    identity: (u64, u64),
}

/// One look at the file.
struct Seen {
    /// `None`: it is not there yet.
    file: Option<Arc<Opened>>,
    lines: lines::Lines,
}

impl FileReader {
    pub(super) fn new(source: &FileSource, topic: &str, partition: u32, from: Offset) -> Self {
        Self {
            source: source.clone(),
            topic: topic.into(),
            partition,
            next: from,
            log_end: None,
            file: None,
            failed: None,
        }
    }

    async fn look(&self) -> Result<Seen, StreamError> {
        let (topic, partition, next) = (Arc::clone(&self.topic), self.partition, self.next);
        let known = self.file.clone();
        let look = self.source.on_disk(move |folder| {
            let file = match known {
                Some(file) => Some(file),
                None => match file_of(folder, &topic, partition)? {
                    Some(path) => Some(Arc::new(open(path, &topic, partition, next)?)),
                    None => None,
                },
            };
            let Some(file) = file else {
                let end = next as u64;
                let lines = lines::Lines {
                    next: end,
                    end,
                    ..lines::Lines::default()
                };
                return Ok(Seen { file, lines });
            };
            let lines = lines::read(&file.file, next as u64);
            let lines = lines.map_err(|error| failed(&file.path, &error))?;
            if lines.messages.is_empty() {
                check(&file, &topic, partition, next)?;
            }
            let file = Some(file);
            Ok(Seen { file, lines })
        });
        look.await
    }

    async fn fetch_until(&mut self, deadline: Instant) -> Result<Messages, StreamError> {
        loop {
            let Seen { file, lines } = self.look().await?;
            let (next, log_end) = (lines.next as Offset, Some(lines.end as Offset));
            let is_new = next != self.next || log_end != self.log_end;
            self.file = file;
            self.next = next;
            self.log_end = log_end;
            let left = deadline.saturating_duration_since(Instant::now());
            if is_new || left.is_zero() {
                return Ok(Messages {
                    messages: lines.messages,
                    next,
                    log_end,
                    log_start: Some(0),
                });
            }
            tokio::time::sleep(POLL.min(left)).await;
        }
    }
}

fn open(path: PathBuf, topic: &str, partition: u32, from: Offset) -> Result<Opened, StreamError> {
    let file = File::open(&path).map_err(|error| failed(&path, &error))?;
    let about = file.metadata().map_err(|error| failed(&path, &error))?;
    let identity = (about.dev(), about.ino());
    if from as u64 > about.len() {
        return Err(out_of_range(topic, partition, from, about.len()));
    }
    let begins = lines::begins_at(&file, from as u64).map_err(|error| failed(&path, &error))?;
    if !begins {
        return Err(StreamError::Client(format!(
            "no line of `{}` begins at byte {from}: it is not the file that was read before; files \
             must only grow, give a new one the next number",
            path.display()
        )));
    }
    Ok(Opened {
        path,
        file,
        identity,
    })
}

fn out_of_range(topic: &str, partition: u32, wanted: Offset, len: u64) -> StreamError {
    StreamError::OffsetOutOfRange {
        topic: topic.to_owned(),
        partition,
        wanted,
        start: 0,
        end: len as Offset,
    }
}

/// Nothing new came: because the file is shorter, or another one?
fn check(file: &Opened, topic: &str, partition: u32, next: Offset) -> Result<(), StreamError> {
    let about = std::fs::metadata(&file.path).map_err(|error| failed(&file.path, &error))?;
    if (about.dev(), about.ino()) != file.identity {
        return Err(StreamError::Client(format!(
            "`{}` is another file now than the one that was read up to byte {next}: files must \
             only grow, give the new one the next number",
            file.path.display()
        )));
    }
    if about.len() < next as u64 {
        return Err(out_of_range(topic, partition, next, about.len()));
    }
    Ok(())
}

#[async_trait]
impl PartitionReader for FileReader {
    async fn fetch(&mut self, wait: Duration) -> Result<Messages, StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let fetched = self.fetch_until(Instant::now() + wait).await;
        if let Err(error) = &fetched {
            self.failed = Some(error.clone());
        }
        fetched
    }
}
