//! From a consuming segment to a `.seg` file.
//!
//! Invariants: the file holds exactly the published rows, in their order or, in tables with a
//! sorted column, stably sorted by it, without those that shall be left out; sealing the same rows
//! twice gives the same bytes. Strings are not decoded: the dictionary is sorted and the codes are
//! mapped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::files::Files;
use schemas::partition::ColumnPartitions;
use schemas::segment::{Ledger, SegmentRecord, SegmentStatus};
use schemas::table::virtual_column;
use schemas::{ColumnSpec, DataType, FieldRole, Offset, TableSpec, Value};

mod dictionary;
mod encode;
pub mod indexes;
mod numbers;
mod partitions;
mod ranges;
mod rows;
mod scaled;
mod sparse;
mod star_tree;
mod strings;
mod texts;

use crate::container::{ColumnFooter, ContainerWriter, Footer, IndexFooter, IndexKind, Written};
use crate::mutable::{Column, MutableSegment};
use crate::rejected::{self, RejectedLog, RejectedRow};
use crate::{EarlierFile, KeysAtEnd, SealedSegment, SegmentError, earlier};
use encode::{Choice, ColumnEncoder};
use rows::Rows;

/// What the rows themselves do not tell.
#[derive(Clone, Debug, Default)]
pub struct SealExtra {
    pub start: Offset,
    /// First offset after the segment.
    pub end: Offset,
    pub ledger: Ledger,
    pub created_ms: i64,
    pub sealed_ms: i64,
    /// How it is laid out and indexed, as far as the table has changed since the segment began.
    pub spec: Option<Arc<TableSpec>>,
    /// Beside those that the consuming segment has kept.
    pub rejected: Vec<RejectedRow>,
    /// What is known of the partition's keys at the end.
    pub keys: Option<KeysAtEnd>,
    /// Rows by which no key is known are left out, and count as filtered.
    pub drops_replaced: bool,
    /// Files whose place this one takes, and which of their rows those here are.
    pub earlier: Vec<EarlierFile>,
}

#[derive(Clone, Debug)]
pub struct Sealed {
    pub path: PathBuf,
    /// DONE, and whole but for `uri` and `stored_bytes`.
    pub record: SegmentRecord,
}

/// Writes all published rows to `<folder>/<sequence>-<crc>.seg`. The fail points are those of
/// [`Files::begin`] with the prefix `seal`. Runs on a compute thread: it takes as long as
/// sorting and writing take.
pub fn seal(
    segment: &MutableSegment,
    files: &dyn Files,
    folder: &Path,
    extra: SealExtra,
) -> Result<Sealed, SegmentError> {
    let id = segment.id();
    let near = folder.join(format!("{}-{}.seg", id.partition, id.sequence));
    let failed = || SegmentError::io("write", &near);
    let file = files.begin(&near, "seal").map_err(failed())?;
    let mut writer = ContainerWriter::new(file);
    let (footer, known) = encode_all(segment, &mut writer, &extra, &near)?;
    let name = |crc: u32| folder.join(format!("{}-{crc:08x}.seg", id.sequence));
    let Written { path, crc, bytes } = writer.finish(&footer, name).map_err(failed())?;
    let record = SegmentRecord {
        id: footer.id,
        name: footer.name,
        status: SegmentStatus::Done,
        start: footer.start,
        end: Some(footer.end),
        ledger: footer.ledger,
        crc,
        bytes,
        stored_bytes: 0,
        uri: None,
        unstored: false,
        created_ms: extra.created_ms,
        sealed_ms: Some(extra.sealed_ms),
        time_range: known.ranges.time_range(),
        column_ranges: known.ranges.into_columns(),
        partitions: known.partitions,
        source: None,
        earlier: Vec::new(),
        marks: Default::default(),
    };
    Ok(Sealed { path, record })
}

/// What the record tells of the values.
struct Known<'a> {
    ranges: ranges::Ranges<'a>,
    partitions: Vec<ColumnPartitions>,
}

/// Column by column: no more than one of them is in memory in its sealed form.
fn encode_all<'a>(
    segment: &'a MutableSegment,
    writer: &mut ContainerWriter<'_>,
    extra: &'a SealExtra,
    near: &Path,
) -> Result<(Footer, Known<'a>), SegmentError> {
    let spec = extra.spec.as_ref().unwrap_or(segment.spec());
    let keys = extra.keys.as_ref();
    if keys.is_some_and(|keys| keys.own.live().row_count() != segment.row_count()) {
        let what = "its keys are known at another row than its last".to_owned();
        return Err(SegmentError::Batch { what });
    }
    let kept = keys.filter(|_| extra.drops_replaced);
    let kept = kept.map(|keys| keys.own.newest());
    let rows = Rows::in_order(segment, spec.sorted_column.as_deref(), kept);
    let mut columns = Vec::with_capacity(segment.columns().len());
    let mut known = Known {
        ranges: ranges::Ranges::new(spec),
        partitions: Vec::new(),
    };
    for column in segment.columns() {
        let (footer, range) = encode_column(spec, column, &rows, writer)?;
        known.ranges.add(&column.name, range);
        let partitions = partitions::of_column(spec, column, &rows);
        known.partitions.extend(partitions);
        columns.push(footer);
    }
    let rejected = all_rejected(segment, extra.rejected.clone());
    let rejected = (!rejected.is_empty()).then(|| writer.add(&rejected::to_bytes(&rejected)));
    let keys = keys.map(|keys| {
        let own = rows.order().map(|order| keys.own.in_order(order));
        let keys = KeysAtEnd {
            own: own.unwrap_or_else(|| keys.own.clone()),
            ..keys.clone()
        };
        writer.add(&keys.to_bytes())
    });
    let earlier = extra.earlier.iter().map(|file| match rows.order() {
        Some(order) => file.in_order(order),
        None => file.clone(),
    });
    let earlier: Vec<EarlierFile> = earlier.collect();
    let earlier = (!earlier.is_empty()).then(|| writer.add(&earlier::to_bytes(&earlier)));
    let dropped = u64::from(segment.row_count() - rows.count());
    let mut footer = Footer {
        id: segment.id(),
        name: segment.name().to_owned(),
        rows: rows.count(),
        start: extra.start,
        end: extra.end,
        ledger: Ledger {
            rows: extra.ledger.rows.saturating_sub(dropped),
            filtered: extra.ledger.filtered + dropped,
            ..extra.ledger
        },
        newest_ingest_ms: segment.newest_ingest_ms_at(segment.row_count()),
        columns,
        indexes: Vec::new(),
        declined: Vec::new(),
        rejected,
        keys,
        earlier,
    };
    build_indexes(writer, &mut footer, spec, near)?;
    Ok((footer, known))
}

fn encode_column(
    spec: &TableSpec,
    column: &Column,
    rows: &Rows,
    writer: &mut ContainerWriter<'_>,
) -> Result<(ColumnFooter, Range), SegmentError> {
    let own = spec.column(&column.name);
    let shares_prefixes = own.is_some_and(|own| own.shared_prefixes);
    let mut encoder = ColumnEncoder::new(writer, choice_of(spec, column), shares_prefixes);
    encoder.encode(column, rows)
}

/// The table's columns of some rows, which are all that is wanted of them.
pub(crate) fn encode_columns(
    rows: &MutableSegment,
    writer: &mut ContainerWriter<'_>,
) -> Result<Vec<ColumnFooter>, SegmentError> {
    let order = Rows::in_order(rows, None, None);
    let columns = &rows.columns()[..rows.spec().columns.len()];
    let encoded = columns
        .iter()
        .map(|column| encode_column(rows.spec(), column, &order, writer));
    encoded
        .map(|encoded| encoded.map(|(footer, _)| footer))
        .collect()
}

/// All that the table wants, from the columns that `writer` has.
fn build_indexes(
    writer: &mut ContainerWriter<'_>,
    footer: &mut Footer,
    spec: &TableSpec,
    near: &Path,
) -> Result<(), SegmentError> {
    let mut wanted = indexes::wanted(spec);
    // A column that came while the rows did is computed for the sealed segment.
    wanted.retain(|key| key.kind != IndexKind::Computed);
    if wanted.is_empty() {
        return Ok(());
    }
    let content = writer
        .content()
        .map_err(SegmentError::io("read back", near))?;
    let view = SealedSegment::unfinished(near, content, footer.clone()).view();
    for key in wanted {
        let Some(buffers) = indexes::build(&view, &key)? else {
            footer.declined.push(key);
            continue;
        };
        let buffers = buffers.iter().map(|buffer| writer.add(buffer));
        footer.indexes.push(IndexFooter {
            buffers: buffers.collect(),
            key,
        });
    }
    Ok(())
}

fn all_rejected(segment: &MutableSegment, more: Vec<RejectedRow>) -> Vec<RejectedRow> {
    let mut log = RejectedLog::default();
    for row in segment.rejected().into_iter().chain(more) {
        log.add(row);
    }
    log.into_rows()
}

fn choice_of(spec: &TableSpec, column: &Column) -> Choice {
    let Some(found) = spec.column(&column.name) else {
        return match column.name == virtual_column::OFFSET {
            true => Choice::Offsets,
            false => Choice::Raw,
        };
    };
    let sorted = spec.sorted_column.as_deref() == Some(&*found.name);
    let is_text = matches!(
        found.data_type,
        DataType::String | DataType::Json | DataType::Bytes | DataType::Uuid
    );
    if !sorted && !found.inverted_index && is_text {
        return match found.no_dictionary {
            true => Choice::Raw,
            false => Choice::Smaller,
        };
    }
    if sorted || (found.inverted_index && !found.stays_raw()) {
        return Choice::Dictionary { sorted };
    }
    if codes_may_pay(found) {
        Choice::Smaller
    } else {
        Choice::Raw
    }
}

/// Metrics are summed and times cut to ranges: both go faster over values than over codes.
fn codes_may_pay(column: &ColumnSpec) -> bool {
    let is_integer = matches!(
        column.data_type,
        DataType::Int | DataType::Long | DataType::Timestamp
    );
    is_integer && column.role == FieldRole::Dimension && !column.no_dictionary
}

/// Least and greatest stored value of a column.
type Range = Option<(Value, Value)>;
