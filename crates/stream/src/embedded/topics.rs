//! Topics as folders, `<log>/<topic>/<partition>/`, and the list that says which there are.
//!
//! Invariant: the file `~topics` is the truth: a topic exists from the moment it is listed until
//! the list says 0 partitions; folders that are not listed mean nothing. The list is replaced as a
//! whole, so a kill leaves a topic with all its partitions or without any.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use runtime::Files;

use super::kafka_error as code;
use super::partition::{Limits, Partition};

/// More partitions than a single node has use for.
const PARTITIONS_MAX: i32 = 1024;
/// No topic can have this name.
const LIST: &str = "~topics";

#[derive(Debug)]
pub(super) struct Topics {
    folder: PathBuf,
    files: Arc<dyn Files>,
    limits: Limits,
    topics: RwLock<BTreeMap<String, Vec<Arc<Partition>>>>,
    /// One change of the list at a time; readers do not wait for its disk writes.
    changing: Mutex<()>,
}

/// Whether a change is made, or only whether it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Make,
    OnlyCheck,
}

type Listed = BTreeMap<String, i32>;

impl Topics {
    pub(super) fn open(folder: &Path, files: Arc<dyn Files>, limits: Limits) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let opened = Self {
            folder: folder.to_owned(),
            files,
            limits,
            topics: RwLock::default(),
            changing: Mutex::new(()),
        };
        let mut listed = read_list(&folder.join(LIST))?;
        for (name, count) in &listed {
            if *count > 0 {
                let partitions = opened.open_partitions(name, 0..*count)?;
                opened.topics.write().insert(name.clone(), partitions);
            } else {
                opened.remove_folder(name)?;
            }
        }
        let before = listed.len();
        listed.retain(|_, count| *count > 0);
        if listed.len() < before {
            opened.write_list(&listed)?;
        }
        Ok(opened)
    }

    fn open_partitions(
        &self,
        topic: &str,
        numbers: std::ops::Range<i32>,
    ) -> io::Result<Vec<Arc<Partition>>> {
        numbers
            .map(|number| {
                let folder = self.folder.join(topic).join(number.to_string());
                Partition::open(folder, Arc::clone(&self.files), self.limits).map(Arc::new)
            })
            .collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.topics.read().keys().cloned().collect()
    }

    pub(super) fn partition_count(&self, topic: &str) -> Option<usize> {
        self.topics.read().get(topic).map(Vec::len)
    }

    pub(super) fn partition(&self, topic: &str, number: i32) -> Option<Arc<Partition>> {
        let number = usize::try_from(number).ok()?;
        self.topics.read().get(topic)?.get(number).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Partition>> {
        self.topics.read().values().flatten().cloned().collect()
    }

    /// An error code of Kafka.
    pub(super) fn create(&self, topic: &str, partitions: i32, change: Change) -> i16 {
        if !is_legal(topic) {
            return code::INVALID_TOPIC;
        }
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return code::INVALID_PARTITIONS;
        }
        let _changing = self.changing.lock();
        if self.partition_count(topic).is_some() {
            return code::TOPIC_ALREADY_EXISTS;
        }
        if change == Change::OnlyCheck {
            return code::NONE;
        }
        // What an unfinished creation or deletion has left.
        let created = self.remove_folder(topic).and_then(|()| {
            let opened = self.open_partitions(topic, 0..partitions)?;
            self.list_with(topic, partitions)?;
            Ok(opened)
        });
        match created {
            Ok(opened) => {
                self.topics.write().insert(topic.to_owned(), opened);
                code::NONE
            }
            Err(error) => storage_error(topic, &error),
        }
    }

    /// Raises the number of partitions to `count`.
    pub(super) fn grow(&self, topic: &str, count: i32, change: Change) -> i16 {
        let _changing = self.changing.lock();
        let Some(have) = self.partition_count(topic) else {
            return code::UNKNOWN_TOPIC_OR_PARTITION;
        };
        let have = have as i32;
        if count <= have || count > PARTITIONS_MAX {
            return code::INVALID_PARTITIONS;
        }
        if change == Change::OnlyCheck {
            return code::NONE;
        }
        let grown = self.open_partitions(topic, have..count).and_then(|opened| {
            self.list_with(topic, count)?;
            Ok(opened)
        });
        match grown {
            Ok(opened) => {
                if let Some(partitions) = self.topics.write().get_mut(topic) {
                    partitions.extend(opened);
                }
                code::NONE
            }
            Err(error) => storage_error(topic, &error),
        }
    }

    pub(super) fn delete(&self, topic: &str) -> i16 {
        let _changing = self.changing.lock();
        if self.partition_count(topic).is_none() {
            return code::UNKNOWN_TOPIC_OR_PARTITION;
        }
        if let Err(error) = self.list_with(topic, 0) {
            return storage_error(topic, &error);
        }
        self.topics.write().remove(topic);
        // Deleted as it is listed; what stays on the disk is removed at the next start.
        let removed = self
            .remove_folder(topic)
            .and_then(|()| self.write_list(&self.listed()));
        if let Err(error) = removed {
            tracing::warn!(topic, %error, "the files of a deleted topic stay for now");
        }
        code::NONE
    }

    fn listed(&self) -> Listed {
        let topics = self.topics.read();
        let counts = topics
            .iter()
            .map(|(name, partitions)| (name.clone(), partitions.len() as i32));
        counts.collect()
    }

    fn list_with(&self, topic: &str, partitions: i32) -> io::Result<()> {
        let mut listed = self.listed();
        listed.insert(topic.to_owned(), partitions);
        self.write_list(&listed)
    }

    fn write_list(&self, listed: &Listed) -> io::Result<()> {
        let lines = listed
            .iter()
            .map(|(name, count)| format!("{name} {count}\n"));
        let text: String = lines.collect();
        let write = &mut |to: &mut dyn io::Write| to.write_all(text.as_bytes());
        self.files
            .write_new(&self.folder.join(LIST), "log_topics", write)
    }

    fn remove_folder(&self, topic: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.folder.join(topic)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// As in Kafka; it is also a safe folder name.
fn is_legal(topic: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=249).contains(&topic.len()) && !topic.starts_with('.') && topic.chars().all(legal)
}

fn read_list(path: &Path) -> io::Result<Listed> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listed::new()),
        Err(error) => return Err(error),
    };
    let entry = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        let count = count.parse().ok().filter(|count| *count >= 0)?;
        is_legal(name).then(|| (name.to_owned(), count))
    };
    let entries = text.lines().map(|line| {
        entry(line).ok_or_else(|| {
            let why = format!(
                "`{}` is damaged at `{line}`: correct the line",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    });
    entries.collect()
}

fn storage_error(topic: &str, error: &io::Error) -> i16 {
    tracing::error!(topic, %error, "the built-in log cannot change a topic");
    code::STORAGE_ERROR
}
