//! Tables whose rows are told apart by their primary key: upserts and deduplication.
//!
//! Invariants: the columns that are named exist and have one value a row; what is compared is a
//! number, a time or a text, or up to [`COMPARED_MAX`] numbers or times; a time to live is counted
//! in the unit of the only column that is compared.

use serde::{Deserialize, Serialize};

/// Columns of which a row has one to be compared by.
pub const COMPARED_MAX: usize = 4;

/// What becomes of a row whose key is there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyedSpec {
    /// The newest row of a key counts.
    Upsert(UpsertSpec),
    /// The first row of a key counts, others are not taken.
    Dedup(DedupSpec),
}

impl KeyedSpec {
    pub fn upsert(&self) -> Option<&UpsertSpec> {
        match self {
            Self::Upsert(upsert) => Some(upsert),
            Self::Dedup(_) => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpsertSpec {
    /// The row with the greatest values is the newest; among equals the later one. Of several
    /// columns a row has one that is not null, and is compared by it.
    pub comparison: Vec<String>,
    /// A row in which it is true deletes its key.
    pub delete_column: Option<String>,
    /// Keys whose newest row is so much older than the newest row of the partition are forgotten:
    /// their rows stay.
    pub ttl: Option<i64>,
    /// Deleted keys are forgotten after so long.
    pub deleted_ttl: Option<i64>,
    /// Rows that are older than the newest of their key are not taken.
    pub drops_out_of_order: bool,
    /// Tells of a row that is older than the newest of its key.
    pub out_of_order_column: Option<String>,
    /// A row is made of the one before and what comes; `None`: it takes its place.
    pub partial: Option<PartialSpec>,
    /// Rows that do not count when their segment is sealed are not stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drops_replaced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialSpec {
    pub default: MergeStrategy,
    pub columns: Vec<(String, MergeStrategy)>,
}

impl PartialSpec {
    pub fn of(&self, column: &str) -> MergeStrategy {
        let mut columns = self.columns.iter();
        let own = columns.find(|(name, _)| name == column);
        own.map_or(self.default, |(_, strategy)| *strategy)
    }
}

/// The value of a column from the one before and the one that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MergeStrategy {
    /// Both lists, one behind the other.
    Append,
    /// The one before, if there is one.
    Ignore,
    /// Their sum.
    Increment,
    Max,
    Min,
    /// The one that comes, if there is one.
    Overwrite,
    /// The one that comes, also when there is none.
    ForceOverwrite,
    /// Both lists, each value once.
    Union,
}

impl MergeStrategy {
    pub const ALL: [(&'static str, Self); 8] = [
        ("APPEND", Self::Append),
        ("IGNORE", Self::Ignore),
        ("INCREMENT", Self::Increment),
        ("MAX", Self::Max),
        ("MIN", Self::Min),
        ("OVERWRITE", Self::Overwrite),
        ("FORCE_OVERWRITE", Self::ForceOverwrite),
        ("UNION", Self::Union),
    ];
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupSpec {
    /// Of a key that is older than the newest row by more than `ttl` nothing is known any more.
    pub time_column: Option<String>,
    pub ttl: Option<i64>,
}
