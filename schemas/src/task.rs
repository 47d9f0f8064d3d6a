//! Work that minions lease from the controller.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{SegmentId, TableId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        }
    }

    pub const fn is_over(&self) -> bool {
        self.finished_ms.is_some()
    }
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl TaskKind {
    pub const IMPORT: &'static str = "import_files";
    pub const NAMES: [&'static str; 3] = ["remove_objects", "remove_orphans", Self::IMPORT];

    /// How many objects of the deep store it is about.
    pub const fn objects(&self) -> usize {
        match self {
            Self::RemoveObjects { keys, .. } => keys.len(),
            Self::RemoveOrphans { known, .. } => known.len(),
            Self::ImportFiles(order) => order.uris.len() + order.staged.len(),
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::RemoveObjects { .. } => "remove_objects",
            Self::RemoveOrphans { .. } => "remove_orphans",
            Self::ImportFiles(_) => Self::IMPORT,
        }
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
    fn names_are_those_of_the_json() {
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
            }),
        ];
        for (kind, name) in kinds.iter().zip(TaskKind::NAMES) {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json["kind"], name);
            assert_eq!(kind.name(), name);
        }
    }
}
