//! What the metadata store knows of a segment, and the ledger that proves exactly-once.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{Offset, SegmentId, TableId};
use crate::partition::ColumnPartitions;
use crate::table::TableSpec;
use crate::types::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SegmentStatus {
    /// Consuming; `end`, `crc`, `uri` and the counts are not known yet.
    InProgress,
    /// Sealed and durable in the deep store.
    Done,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentRecord {
    pub id: SegmentId,
    /// For people and for Pinot's clients: `flights__0__3__20261124T1213Z`.
    pub name: String,
    pub status: SegmentStatus,
    /// First offset of the segment. Always 0 in OFFLINE tables.
    pub start: Offset,
    /// First offset after the segment; `None` while it consumes.
    pub end: Option<Offset>,
    pub ledger: Ledger,
    /// CRC-32C over the container; 0 while it consumes.
    pub crc: u32,
    /// Bytes of the open container, and of the object in the deep store.
    pub bytes: u64,
    pub stored_bytes: u64,
    /// Key in the deep store.
    pub uri: Option<String>,
    /// Committed while the deep store was away: its object comes later, until then its servers
    /// have it alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unstored: bool,
    pub created_ms: i64,
    pub sealed_ms: Option<i64>,
    /// Least and greatest value of the time column, epoch milliseconds.
    pub time_range: Option<(i64, i64)>,
    /// For pruning at the broker: column, least, greatest.
    pub column_ranges: Vec<(String, Value, Value)>,
    /// For pruning as well: of the columns by which the table is partitioned.
    #[serde(default)]
    pub partitions: Vec<ColumnPartitions>,
    /// Of an imported segment: what it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<SourceMark>>,
    /// Checksums of files whose place this one has taken, the last first: their rows that count
    /// are those of this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<u32>,
    #[serde(default, skip_serializing_if = "TaskMarks::is_none")]
    pub marks: TaskMarks,
}

/// What tasks did to a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskMarks {
    /// It was merged on this level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_level: Option<String>,
    /// Rows that shall go were removed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged_ms: Option<i64>,
    /// Times of its rows were cut to multiples of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_ms: Option<i64>,
}

impl TaskMarks {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Which part of which file a segment was made of, or which files: whoever goes on with an import
/// that broke off tells by it what is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// Of several files the first.
    pub uri: String,
    /// Changes with the content: size and time, or the store's tag; of several files a digest of
    /// their names and versions.
    pub version: String,
    /// Who read it: parts of two readers do not make a whole.
    pub reader: Uuid,
    /// The part of the file that is read in one go, and the segment of those that it became.
    pub part: u32,
    /// So many whole files were read in one go, each the one after the one before; 0: a part of
    /// one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files: u32,
    pub piece: u32,
    /// There is no later piece.
    pub is_last: bool,
}

/// Where every offset of [start, end) went:
/// `rows + rejected + filtered + absent + merged - unnested = end - start`, the same after any
/// kill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub rows: u64,
    pub rejected: u64,
    pub filtered: u64,
    /// Offsets that the log did not hand out: control records, aborted transactions, compaction.
    pub absent: u64,
    /// What messages gave beyond one row each: rows, rejections, what was filtered out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unnested: u64,
    /// Rows that were rolled up into others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u64,
}

/// What most segments have is not written.
fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

impl Ledger {
    pub const fn total(&self) -> u64 {
        let told = self.rows + self.rejected + self.filtered + self.absent + self.merged;
        told.saturating_sub(self.unnested)
    }
}

impl SegmentRecord {
    /// A segment that begins to consume.
    pub fn consuming(id: SegmentId, spec: &TableSpec, start: Offset, now_ms: i64) -> Self {
        Self {
            id,
            name: display_name(spec, id, now_ms),
            status: SegmentStatus::InProgress,
            start,
            end: None,
            ledger: Ledger::default(),
            crc: 0,
            bytes: 0,
            stored_bytes: 0,
            uri: None,
            unstored: false,
            created_ms: now_ms,
            sealed_ms: None,
            time_range: None,
            column_ranges: Vec::new(),
            partitions: Vec::new(),
            source: None,
            earlier: Vec::new(),
            marks: TaskMarks::default(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.status == SegmentStatus::Done
    }

    /// Whether the file with this checksum answers as the present one does.
    pub fn is_file(&self, crc: u32) -> bool {
        self.crc == crc || self.earlier.contains(&crc)
    }

    /// Key of the sealed container in the deep store; unique for each content.
    pub fn object_key(id: SegmentId, crc: u32) -> String {
        format!(
            "{}/{}/{}-{crc:08x}.seg",
            id.table, id.partition, id.sequence
        )
    }

    /// Whose object it is; `None` for a key that [`Self::object_key`] does not make.
    pub fn parse_object_key(key: &str) -> Option<(SegmentId, u32)> {
        let mut parts = key.strip_suffix(".seg")?.split('/');
        let table = TableId(parts.next()?.parse().ok()?);
        let partition = parts.next()?.parse().ok()?;
        let (sequence, crc) = parts.next()?.split_once('-')?;
        let id = SegmentId {
            table,
            partition,
            sequence: sequence.parse().ok()?,
        };
        let crc = u32::from_str_radix(crc, 16).ok()?;
        (Self::object_key(id, crc) == key).then_some((id, crc))
    }
}

/// `table__partition__sequence__yyyyMMddTHHmmZ`, Pinot's form; OFFLINE tables have no partition.
pub fn display_name(spec: &TableSpec, id: SegmentId, now_ms: i64) -> String {
    let (y, mo, d, h, mi) = civil(now_ms);
    let name = &spec.name;
    let SegmentId {
        partition,
        sequence,
        ..
    } = id;
    match spec.table_type {
        crate::TableType::Realtime => {
            format!("{name}__{partition}__{sequence}__{y:04}{mo:02}{d:02}T{h:02}{mi:02}Z")
        }
        crate::TableType::Offline => format!("{name}_{sequence}"),
    }
}

/// Civil date and time in UTC (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(ms: i64) -> (i64, i64, i64, i64, i64) {
    let minutes = ms.div_euclid(60_000);
    let days = minutes.div_euclid(1440) + 719_468;
    let era = days.div_euclid(146_097);
    let doe = days.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let minute_of_day = minutes.rem_euclid(1440);
    (year, month, day, minute_of_day / 60, minute_of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_keys_are_read_back_and_others_refused() {
        let id = SegmentId {
            table: TableId::random(),
            partition: 3,
            sequence: 12,
        };
        let key = SegmentRecord::object_key(id, 0xab);
        assert_eq!(SegmentRecord::parse_object_key(&key), Some((id, 0xab)));
        let table = id.table;
        for other in [
            "photos/2024/1.jpg".to_owned(),
            format!("{table}/3/12.seg"),
            format!("{table}/3/012-000000ab.seg"),
            format!("{table}/3/12-ab.seg"),
            format!("{table}/3/12-000000ab.seg.tmp"),
            format!("backup/{key}"),
            format!("{}/3/12-000000ab.seg", table.0),
        ] {
            assert_eq!(SegmentRecord::parse_object_key(&other), None, "{other}");
        }
    }

    #[test]
    fn civil_dates() {
        assert_eq!(civil(0), (1970, 1, 1, 0, 0));
        assert_eq!(civil(951_782_340_000), (2000, 2, 28, 23, 59));
        assert_eq!(civil(951_782_400_000), (2000, 2, 29, 0, 0));
        assert_eq!(civil(-60_000), (1969, 12, 31, 23, 59));
    }
}
