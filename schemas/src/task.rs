//! Work that minions lease from the controller.
//!
//! Invariant: a task is over once, and stays over: done, failed or cancelled. Those that somebody
//! ordered then stay for a while, for people; what the controller needs done itself goes.

mod rewrite;
mod schedule;
mod spec;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decoding::CsvSpec;
use crate::ids::{SegmentId, TableId};

pub use rewrite::{
    CompactOrder, ExportOrder, InputSegment, RewriteOrder, WatermarkMove, roll_up_of,
};
pub use schedule::{Schedule, utc, utc_name};
pub use spec::{
    CompactSpec, MergeLevel, MergeSpec, MergeType, MoveSpec, PurgeSpec, TaskSpec, TaskWork,
};

/// Attempts of a task that are told of.
const ATTEMPTS_TOLD_MAX: usize = 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: Uuid,
    pub kind: TaskKind,
    /// After this moment, by the controller's clock, another minion may lease it.
    pub leased_until_ms: i64,
    /// Who works on it; empty: nobody.
    #[serde(default)]
    pub leased_by: String,
    /// How often it was leased.
    #[serde(default)]
    pub attempts: u32,
    /// Why the last attempt failed; empty: none did.
    #[serde(default)]
    pub last_error: String,
    #[serde(default)]
    pub submitted_ms: i64,
    /// Set when it is over, well or not; such a task stays for a while, for people.
    #[serde(default)]
    pub finished_ms: Option<i64>,
    /// How far it is, or what it did.
    #[serde(default)]
    pub summary: String,
    /// Names what was ordered together, as Pinot names its tasks; empty: a task of its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// Its number among those of the job.
    #[serde(default)]
    pub part: u32,
    #[serde(default)]
    pub trigger: Trigger,
    /// It was over before it was done, by somebody's order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cancelled: bool,
    /// How often it may be tried; 0: as often as it takes.
    #[serde(default)]
    pub attempts_max: u32,
    /// The last ones, the newest at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Attempt>,
}

/// One lease of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub minion: String,
    pub started_ms: i64,
    /// `None`: it works, or was never heard of again.
    pub ended_ms: Option<i64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// What made a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trigger {
    /// The controller itself.
    #[default]
    Internal,
    /// The schedule in the table's config.
    Cron,
    /// Somebody who asked for what is due.
    Manual,
    /// Somebody who said what shall be done.
    Adhoc,
}

impl Trigger {
    /// As Pinot writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "INTERNAL",
            Self::Cron => "CRON_TRIGGER",
            Self::Manual => "MANUAL_TRIGGER",
            Self::Adhoc => "ADHOC_TRIGGER",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl TaskState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl Task {
    pub fn new(kind: TaskKind) -> Self {
        Self {
            id: Uuid::new_v4(),
            kind,
            leased_until_ms: 0,
            leased_by: String::new(),
            attempts: 0,
            last_error: String::new(),
            submitted_ms: 0,
            finished_ms: None,
            summary: String::new(),
            job: String::new(),
            part: 0,
            trigger: Trigger::Internal,
            is_cancelled: false,
            attempts_max: 0,
            history: Vec::new(),
        }
    }

    pub const fn is_over(&self) -> bool {
        self.finished_ms.is_some()
    }

    /// Somebody works on it, as far as is known.
    pub fn is_leased(&self, now_ms: i64) -> bool {
        !self.is_over() && self.leased_until_ms > now_ms && !self.leased_by.is_empty()
    }

    pub fn state(&self, now_ms: i64) -> TaskState {
        match self.is_over() {
            true if self.is_cancelled => TaskState::Cancelled,
            true if self.last_error.is_empty() => TaskState::Done,
            true => TaskState::Failed,
            false if self.is_leased(now_ms) => TaskState::Running,
            false => TaskState::Waiting,
        }
    }

    /// The task that Pinot's clients know.
    pub fn job_name(&self) -> String {
        match self.job.is_empty() {
            true => format!("Task_{}_{}", self.kind.name(), self.id),
            false => self.job.clone(),
        }
    }

    /// Its name among the tasks of its job.
    pub fn part_name(&self) -> String {
        format!("{}_{}", self.job_name(), self.part)
    }

    /// Names the replacement of segments that it makes.
    pub fn replacement_key(&self) -> String {
        format!("{REPLACEMENT}{}", self.id)
    }

    pub fn begin_attempt(&mut self, minion: &str, now_ms: i64) {
        self.attempts += 1;
        if self.history.len() >= ATTEMPTS_TOLD_MAX {
            self.history.remove(0);
        }
        self.history.push(Attempt {
            minion: minion.to_owned(),
            started_ms: now_ms,
            ended_ms: None,
            error: String::new(),
        });
    }

    pub fn end_attempt(&mut self, now_ms: i64, error: &str) {
        if let Some(last) = self.history.last_mut() {
            last.ended_ms = Some(now_ms);
            last.error = error.to_owned();
        }
    }
}

const REPLACEMENT: &str = "task ";

/// The task that makes the replacement with this key.
pub fn task_of_replacement(key: &str) -> Option<Uuid> {
    key.strip_prefix(REPLACEMENT)?.parse().ok()
}

/// Files that shall become rows of an OFFLINE table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOrder {
    pub table: TableId,
    /// For people.
    pub table_name: String,
    /// `file://` and `http://`; files of folders and patterns.
    pub uris: Vec<String>,
    /// Objects of the deep store that were put there for it, with the names of the files.
    #[serde(default)]
    pub staged: Vec<StagedFile>,
    /// `parquet`, `csv`, …; `None`: the names of the files tell.
    pub format: Option<String>,
    /// In the place of what is there; `None`: as the table's config says.
    pub refresh: Option<bool>,
    /// How CSV files are read; `None`: with a header and commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    pub key: String,
    pub name: String,
}

impl ImportOrder {
    /// Where files of an import lie until it is done.
    pub fn staged_key(id: Uuid) -> String {
        format!("imports/{}", id.as_simple())
    }
}

/// What is done with the segments of a table, by Pinot's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskType {
    MergeRollupTask,
    RealtimeToOfflineSegmentsTask,
    PurgeTask,
    RefreshSegmentTask,
    /// Ours.
    ParquetExportTask,
    UpsertCompactionTask,
}

impl TaskType {
    pub const ALL: [Self; 6] = [
        Self::MergeRollupTask,
        Self::RealtimeToOfflineSegmentsTask,
        Self::PurgeTask,
        Self::RefreshSegmentTask,
        Self::ParquetExportTask,
        Self::UpsertCompactionTask,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::MergeRollupTask => "MergeRollupTask",
            Self::RealtimeToOfflineSegmentsTask => "RealtimeToOfflineSegmentsTask",
            Self::PurgeTask => "PurgeTask",
            Self::RefreshSegmentTask => "RefreshSegmentTask",
            Self::ParquetExportTask => "ParquetExportTask",
            Self::UpsertCompactionTask => "UpsertCompactionTask",
        }
    }
}

impl std::str::FromStr for TaskType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut known = Self::ALL.into_iter();
        let found = known.find(|known| known.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|known| known.name()).collect();
            format!("`{text}` is no type of task: {}", names.join(", "))
        })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskKind {
    /// Objects of segments that left the metadata: dropped tables, retention.
    RemoveObjects {
        keys: Vec<String>,
        segments: Vec<SegmentId>,
    },
    /// Compares the deep store with `known` and removes what nobody refers to and is older than
    /// `older_than_ms` (epoch milliseconds).
    RemoveOrphans {
        known: Vec<String>,
        older_than_ms: i64,
    },
    ImportFiles(ImportOrder),
    /// Segments become others, which count in their place.
    Rewrite(Box<RewriteOrder>),
    /// Segments become files for others.
    Export(Box<ExportOrder>),
    /// Segments are written anew without rows that do not count.
    Compact(Box<CompactOrder>),
}

impl TaskKind {
    pub const IMPORT: &'static str = "import_files";
    pub const NAMES: [&'static str; 9] = [
        "remove_objects",
        "remove_orphans",
        Self::IMPORT,
        TaskType::MergeRollupTask.name(),
        TaskType::RealtimeToOfflineSegmentsTask.name(),
        TaskType::PurgeTask.name(),
        TaskType::RefreshSegmentTask.name(),
        TaskType::ParquetExportTask.name(),
        TaskType::UpsertCompactionTask.name(),
    ];

    /// How many objects of the deep store it is about.
    pub const fn objects(&self) -> usize {
        match self {
            Self::RemoveObjects { keys, .. } => keys.len(),
            Self::RemoveOrphans { known, .. } => known.len(),
            Self::ImportFiles(order) => order.uris.len() + order.staged.len(),
            Self::Rewrite(order) => order.inputs.len(),
            Self::Export(order) => order.inputs.len(),
            Self::Compact(order) => order.inputs.len() + 1,
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::RemoveObjects { .. } => "remove_objects",
            Self::RemoveOrphans { .. } => "remove_orphans",
            Self::ImportFiles(_) => Self::IMPORT,
            Self::Rewrite(order) => order.task_type.name(),
            Self::Export(_) => TaskType::ParquetExportTask.name(),
            Self::Compact(_) => TaskType::UpsertCompactionTask.name(),
        }
    }

    /// Physical name of the table that it is about; empty: of none.
    pub fn table(&self) -> &str {
        match self {
            Self::RemoveObjects { .. } | Self::RemoveOrphans { .. } => "",
            Self::ImportFiles(order) => &order.table_name,
            Self::Rewrite(order) => &order.table_name,
            Self::Export(order) => &order.table_name,
            Self::Compact(order) => &order.table_name,
        }
    }

    /// Somebody ordered it, or a table's config did: it may be wrong, and is told of when it is
    /// over.
    pub const fn is_order(&self) -> bool {
        matches!(
            self,
            Self::ImportFiles(_) | Self::Rewrite(_) | Self::Export(_) | Self::Compact(_)
        )
    }
}

/// What the controller does again and again, and how the last pass went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReconcilerStatus {
    pub name: String,
    /// The controller that leads.
    pub controller: String,
    pub passes: u64,
    /// Passes that failed, one after the other, up to now.
    pub failures: u64,
    pub last_began_ms: Option<i64>,
    pub last_ended_ms: Option<i64>,
    /// Why the last pass failed; empty: it did not.
    pub last_error: String,
    /// What there is to be done, or was done.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_names() {
        let kinds = [
            TaskKind::RemoveObjects {
                keys: vec![],
                segments: vec![],
            },
            TaskKind::RemoveOrphans {
                known: vec![],
                older_than_ms: 0,
            },
            TaskKind::ImportFiles(ImportOrder {
                table: TableId::random(),
                table_name: String::new(),
                uris: vec![],
                staged: vec![],
                format: None,
                refresh: None,
                csv: None,
            }),
        ];
        for (kind, name) in kinds.iter().zip(TaskKind::NAMES) {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json["kind"], name);
            assert_eq!(kind.name(), name);
        }
        for (task_type, name) in TaskType::ALL.iter().zip(&TaskKind::NAMES[3..]) {
            assert_eq!(task_type.name(), *name);
            assert_eq!(name.parse(), Ok(*task_type));
        }
    }

    #[test]
    fn tasks_of_before_are_understood() {
        let json = r#"{"id":"6a2f41a3-c54c-fce8-32d2-0324e1c32e22","leased_until_ms":0,
            "kind":{"kind":"remove_objects","keys":["k"],"segments":[]}}"#;
        let task: Task = serde_json::from_str(json).unwrap();
        assert_eq!(task.state(1), TaskState::Waiting);
        assert_eq!(task.trigger, Trigger::Internal);
    }

    #[test]
    fn of_many_attempts_the_last_are_told() {
        let kind = TaskKind::RemoveObjects {
            keys: vec![],
            segments: vec![],
        };
        let mut task = Task::new(kind);
        for at in 0..15 {
            task.begin_attempt("Minion_a", at);
            task.end_attempt(at + 1, "away");
        }
        assert_eq!((task.attempts, task.history.len()), (15, 10));
        assert_eq!(task.history[9].started_ms, 14);
        let key = task.replacement_key();
        assert_eq!(task_of_replacement(&key), Some(task.id));
    }
}
