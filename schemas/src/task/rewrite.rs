//! Segments that shall become others, or files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CompactSpec, MergeType, TaskType};
use crate::decoding::{RollUp, RollUpFunction};
use crate::ids::{SegmentId, TableId};
use crate::segment::SegmentRecord;
use crate::table::TableSpec;
use crate::types::{DataType, FieldRole};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewriteOrder {
    pub task_type: TaskType,
    /// The table whose config says so.
    pub table_name: String,
    /// The OFFLINE table whose segments come. The inputs that are its own count no more then.
    pub target: TableId,
    pub inputs: Vec<InputSegment>,
    /// Rows of this span of time `[from, to)` are what it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<(i64, i64)>,
    /// Rows of other times become segments too, of such spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_ms: Option<i64>,
    #[serde(default)]
    pub merge: MergeType,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roll_up: Vec<RollUp>,
    /// Rows for which it is true are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Of a segment that comes.
    pub rows_max: u32,
    /// Of the merge, for segments with rows of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// In the step in which the segments count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<WatermarkMove>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSegment {
    pub id: SegmentId,
    pub name: String,
    pub crc: u32,
    /// In the deep store.
    pub key: String,
    pub rows: u64,
    pub time_range: Option<(i64, i64)>,
    /// Up to when rows were removed from it for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_level: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_ms: Option<i64>,
    /// See [`SegmentRecord::earlier`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<u32>,
}

impl InputSegment {
    /// `None`: its file is not in the deep store.
    pub fn of(record: &SegmentRecord) -> Option<Self> {
        Some(Self {
            id: record.id,
            name: record.name.clone(),
            crc: record.crc,
            key: record.uri.clone().filter(|_| !record.unstored)?,
            rows: record.ledger.rows,
            time_range: record.time_range,
            purged_ms: record.marks.purged_ms,
            merge_level: record.marks.merge_level.clone(),
            round_ms: record.marks.round_ms,
            earlier: record.earlier.clone(),
        })
    }
}

/// All rows of some segments, a Parquet file for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportOrder {
    pub table_name: String,
    /// As it was when that was ordered.
    pub spec: TableSpec,
    pub inputs: Vec<InputSegment>,
    /// Of the files, below the place to which minions export.
    pub folder: String,
}

/// Segments of one partition of a table with upserts, without their dead rows, under their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompactOrder {
    pub table_name: String,
    /// As it was when that was ordered.
    pub spec: TableSpec,
    /// The newest that is sealed: it tells which rows of the others count.
    pub newest: InputSegment,
    pub inputs: Vec<InputSegment>,
    /// Which of them are worth it.
    pub due: CompactSpec,
}

impl CompactOrder {
    pub fn rows(&self) -> u64 {
        self.inputs.iter().map(|input| input.rows).sum()
    }

    pub fn configs(&self) -> BTreeMap<String, String> {
        let names: Vec<&str> = self.inputs.iter().map(|one| one.name.as_str()).collect();
        let keys: Vec<&str> = self.inputs.iter().map(|one| one.key.as_str()).collect();
        let share = f64::from(self.due.dead_share_min) / 100.0;
        BTreeMap::from([
            ("tableName".to_owned(), self.table_name.clone()),
            ("segmentName".to_owned(), names.join(",")),
            ("downloadURL".to_owned(), keys.join(",")),
            (
                "invalidRecordsThresholdPercent".to_owned(),
                share.to_string(),
            ),
            (
                "invalidRecordsThresholdCount".to_owned(),
                self.due.dead_rows_min.to_string(),
            ),
        ])
    }
}

/// Everything before a watermark was worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkMove {
    pub name: String,
    /// Where it must be; `None`: there is none yet.
    pub from_ms: Option<i64>,
    pub to_ms: i64,
}

impl ExportOrder {
    pub fn rows(&self) -> u64 {
        self.inputs.iter().map(|input| input.rows).sum()
    }

    pub fn configs(&self) -> BTreeMap<String, String> {
        let names: Vec<&str> = self.inputs.iter().map(|one| one.name.as_str()).collect();
        BTreeMap::from([
            ("tableName".to_owned(), self.table_name.clone()),
            ("segmentName".to_owned(), names.join(",")),
            ("outputDir".to_owned(), self.folder.clone()),
        ])
    }
}

impl RewriteOrder {
    /// Names of the inputs that are segments of the target.
    pub fn replaced(&self) -> impl Iterator<Item = &str> {
        let own = self.inputs.iter().filter(|one| one.id.table == self.target);
        own.map(|one| one.name.as_str())
    }

    pub fn rows(&self) -> u64 {
        self.inputs.iter().map(|input| input.rows).sum()
    }

    /// As Pinot writes the config of a task.
    pub fn configs(&self) -> BTreeMap<String, String> {
        let names: Vec<&str> = self.inputs.iter().map(|one| one.name.as_str()).collect();
        let keys: Vec<&str> = self.inputs.iter().map(|one| one.key.as_str()).collect();
        let mut configs = BTreeMap::from([
            ("tableName".to_owned(), self.table_name.clone()),
            ("segmentName".to_owned(), names.join(",")),
            ("downloadURL".to_owned(), keys.join(",")),
            ("mergeType".to_owned(), self.merge.name().to_owned()),
            (
                "maxNumRecordsPerSegment".to_owned(),
                self.rows_max.to_string(),
            ),
        ]);
        let mut set = |key: &str, value: Option<String>| {
            configs.extend(value.map(|value| (key.to_owned(), value)));
        };
        set("windowStartMs", self.window_ms.map(|w| w.0.to_string()));
        set("windowEndMs", self.window_ms.map(|w| w.1.to_string()));
        set("mergeLevel", self.level.clone());
        set("purgeFilter", self.filter.clone());
        set(
            "roundBucketTimePeriod",
            self.round_ms.map(|ms| format!("{ms}ms")),
        );
        configs
    }
}

/// What becomes of each metric when rows are rolled up: what the task's config says, else what the
/// table does with rows that come, else their sum. Other columns tell rows apart.
pub fn roll_up_of(spec: &TableSpec, said: &[RollUp]) -> Vec<RollUp> {
    let rule = |column: &str, rules: &[RollUp]| {
        let found = rules.iter().find(|rule| rule.column == column);
        found.cloned()
    };
    let adds = |data_type: DataType| {
        matches!(
            data_type,
            DataType::Int
                | DataType::Long
                | DataType::Float
                | DataType::Double
                | DataType::BigDecimal
        )
    };
    let columns = spec.columns.iter();
    let rules = columns.filter_map(|column| {
        let known = rule(&column.name, said).or_else(|| rule(&column.name, &spec.pipeline.roll_up));
        let is_metric = column.role == FieldRole::Metric && !column.multi_value;
        known.or_else(|| {
            (is_metric && adds(column.data_type)).then(|| RollUp {
                column: column.name.clone(),
                function: RollUpFunction::Sum,
                source: None,
            })
        })
    });
    rules.collect()
}
