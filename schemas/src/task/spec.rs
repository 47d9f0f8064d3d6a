//! What a table's config says of tasks with its segments.

use serde::{Deserialize, Serialize};

use super::TaskType;
use crate::decoding::RollUp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// See [`super::Schedule`]; `None`: only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Of one schedule.
    pub tasks_max: u32,
    pub attempts_max: u32,
    pub work: TaskWork,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum TaskWork {
    #[serde(rename = "MergeRollupTask")]
    Merge(MergeSpec),
    #[serde(rename = "RealtimeToOfflineSegmentsTask")]
    Move(MoveSpec),
    #[serde(rename = "PurgeTask")]
    Purge(PurgeSpec),
    #[serde(rename = "RefreshSegmentTask")]
    Refresh,
    #[serde(rename = "ParquetExportTask")]
    Export,
    #[serde(rename = "UpsertCompactionTask")]
    Compact(CompactSpec),
}

impl TaskWork {
    pub const fn task_type(&self) -> TaskType {
        match self {
            Self::Merge(_) => TaskType::MergeRollupTask,
            Self::Move(_) => TaskType::RealtimeToOfflineSegmentsTask,
            Self::Purge(_) => TaskType::PurgeTask,
            Self::Refresh => TaskType::RefreshSegmentTask,
            Self::Export => TaskType::ParquetExportTask,
            Self::Compact(_) => TaskType::UpsertCompactionTask,
        }
    }
}

/// What becomes of rows that are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeType {
    /// They stay.
    #[default]
    Concat,
    /// Those that agree in everything but metrics become one.
    Rollup,
    /// Of those that agree in everything one stays.
    Dedup,
}

impl MergeType {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Concat => "concat",
            Self::Rollup => "rollup",
            Self::Dedup => "dedup",
        }
    }
}

/// Small segments become large ones, level by level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeSpec {
    /// By the length of their buckets, the shortest first.
    pub levels: Vec<MergeLevel>,
    /// What the config says of metrics; see [`super::roll_up_of`].
    pub roll_up: Vec<RollUp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeLevel {
    pub name: String,
    pub merge: MergeType,
    /// Rows of one such span of time become segments of their own.
    pub bucket_ms: i64,
    /// A bucket is left alone until it is over for so long.
    pub buffer_ms: i64,
    /// Times are cut to a multiple of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_ms: Option<i64>,
    /// Of a segment.
    pub rows_max: u32,
    /// Of the segments that one task reads.
    pub task_rows_max: u64,
    /// Buckets that are worked on at once.
    pub buckets_max: u32,
}

/// Rows of a stream, whose time is over, become segments of the OFFLINE part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSpec {
    pub merge: MergeType,
    pub bucket_ms: i64,
    pub buffer_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_ms: Option<i64>,
    pub rows_max: u32,
    pub roll_up: Vec<RollUp>,
}

/// Rows are removed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeSpec {
    /// Those for which it is true.
    pub filter: String,
    /// A segment is not looked at again before.
    pub again_after_ms: i64,
}

/// Segments that are mostly rows that newer ones have replaced are written anew without those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactSpec {
    /// A segment is left alone until its newest row is so old.
    pub buffer_ms: i64,
    /// Share of the rows that must be dead, in hundredths of a percent, and their number.
    pub dead_share_min: u32,
    pub dead_rows_min: u64,
}

impl CompactSpec {
    pub fn is_due(&self, rows: u64, dead: u64) -> bool {
        let share = u128::from(dead) * 10_000;
        let wanted = u128::from(self.dead_share_min) * u128::from(rows);
        dead >= self.dead_rows_min.max(1) && share >= wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_compacted_when_both_limits_are_reached() {
        let spec = CompactSpec {
            buffer_ms: 0,
            dead_share_min: 2_550,
            dead_rows_min: 10,
        };
        assert!(spec.is_due(1000, 255));
        assert!(!spec.is_due(1000, 254), "too small a share");
        assert!(!spec.is_due(20, 9), "too few");
        let any = CompactSpec {
            dead_share_min: 0,
            dead_rows_min: 0,
            ..spec
        };
        assert!(!any.is_due(1000, 0), "there is nothing to be left out");
        assert!(any.is_due(1000, 1));
    }
}
