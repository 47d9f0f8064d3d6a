//! Work that minions lease from the controller.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::SegmentId;

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
        }
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
}

impl TaskKind {
    pub const NAMES: [&'static str; 2] = ["remove_objects", "remove_orphans"];

    /// How many objects of the deep store it is about.
    pub const fn objects(&self) -> usize {
        match self {
            Self::RemoveObjects { keys, .. } => keys.len(),
            Self::RemoveOrphans { known, .. } => known.len(),
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::RemoveObjects { .. } => "remove_objects",
            Self::RemoveOrphans { .. } => "remove_orphans",
        }
    }
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
        ];
        for (kind, name) in kinds.iter().zip(TaskKind::NAMES) {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json["kind"], name);
            assert_eq!(kind.name(), name);
        }
    }
}
