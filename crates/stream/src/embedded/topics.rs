//! Topics as folders: `<log>/<topic>/<partition>/`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use runtime::Files;

use super::SyncPolicy;
use super::kafka_error as code;
use super::partition::Partition;

/// More partitions than a single node has use for.
const PARTITIONS_MAX: i32 = 1024;

#[derive(Debug)]
pub(super) struct Topics {
    folder: PathBuf,
    files: Arc<dyn Files>,
    sync: SyncPolicy,
    topics: RwLock<BTreeMap<String, Vec<Arc<Partition>>>>,
}

impl Topics {
    pub(super) fn open(folder: &Path, files: Arc<dyn Files>, sync: SyncPolicy) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let opened = Self {
            folder: folder.to_owned(),
            files,
            sync,
            topics: RwLock::default(),
        };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let count = fs::read_dir(entry.path())?.count();
                let partitions = opened.open_partitions(&name, 0..count as i32)?;
                opened.topics.write().insert(name, partitions);
            }
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
                Partition::open(folder, Arc::clone(&self.files), self.sync).map(Arc::new)
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
    pub(super) fn create(&self, topic: &str, partitions: i32) -> i16 {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if topic.is_empty()
            || topic.len() > 249
            || topic.starts_with('.')
            || !topic.chars().all(legal)
        {
            return code::INVALID_TOPIC;
        }
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return code::INVALID_PARTITIONS;
        }
        let mut topics = self.topics.write();
        if topics.contains_key(topic) {
            return code::TOPIC_ALREADY_EXISTS;
        }
        match self.open_partitions(topic, 0..partitions) {
            Ok(opened) => {
                topics.insert(topic.to_owned(), opened);
                code::NONE
            }
            Err(error) => storage_error(topic, &error),
        }
    }

    /// Raises the number of partitions to `count`.
    pub(super) fn grow(&self, topic: &str, count: i32) -> i16 {
        let mut topics = self.topics.write();
        let Some(partitions) = topics.get_mut(topic) else {
            return code::UNKNOWN_TOPIC_OR_PARTITION;
        };
        let have = partitions.len() as i32;
        if count <= have || count > PARTITIONS_MAX {
            return code::INVALID_PARTITIONS;
        }
        match self.open_partitions(topic, have..count) {
            Ok(opened) => {
                partitions.extend(opened);
                code::NONE
            }
            Err(error) => storage_error(topic, &error),
        }
    }

    pub(super) fn delete(&self, topic: &str) -> i16 {
        if self.topics.write().remove(topic).is_none() {
            return code::UNKNOWN_TOPIC_OR_PARTITION;
        }
        match fs::remove_dir_all(self.folder.join(topic)) {
            Ok(()) => code::NONE,
            Err(error) => storage_error(topic, &error),
        }
    }
}

fn storage_error(topic: &str, error: &io::Error) -> i16 {
    tracing::error!(topic, %error, "the built-in log cannot change a topic");
    code::STORAGE_ERROR
}
