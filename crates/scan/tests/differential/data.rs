//! A generated table: as segments, and as plain arrays.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal256Array, Float32Array, Float64Array,
    Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
    new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{concat_batches, filter_record_batch, is_not_null};
use arrow::datatypes::{Int64Type, i256};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use runtime::OsFiles;
use schemas::arrow::{arrow_type, full_schema, ingest_schema};
use schemas::proto::NullMode;
use schemas::table::TimeGranularity;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableId, TableSpec, TableType};
use segment::view::{ValidRows, Values, blocks};
use segment::{MutableSegment, SealExtra, SealedSegment, SegmentView, seal};

/// Splitmix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}

const FIRST_MS: i64 = 1_356_998_400_000;

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) segments: Vec<SegmentView>,
    /// With nulls, in the order in which rows came.
    rows: Vec<(u32, RecordBatch)>,
    _folder: tempfile::TempDir,
}

pub(crate) fn spec() -> TableSpec {
    use DataType as T;
    use FieldRole::{Dimension, Metric};
    let mut columns = vec![
        ColumnSpec::new("carrier", T::String, Dimension),
        ColumnSpec::new("city", T::String, Dimension),
        ColumnSpec::new("flag", T::Boolean, Dimension),
        ColumnSpec::new("delay", T::Int, Metric),
        ColumnSpec::new("code", T::Int, Dimension),
        ColumnSpec::new("wide", T::Int, Dimension),
        ColumnSpec::new("distance", T::Long, Metric),
        ColumnSpec::new("far", T::Long, Dimension),
        ColumnSpec::new("price", T::Double, Metric),
        ColumnSpec::new("ratio", T::Float, Metric),
        ColumnSpec::new("fee", T::Double, Metric),
        ColumnSpec::new("tries", T::Int, Metric),
        ColumnSpec::new("note", T::String, Dimension),
        ColumnSpec::new("at", T::Timestamp, FieldRole::DateTime),
        ColumnSpec::new("amount", T::BigDecimal, Metric),
        ColumnSpec::new("late", T::Int, Dimension),
        ColumnSpec::new("label", T::String, Dimension),
    ];
    for column in &mut columns {
        let name = column.name.as_str();
        column.inverted_index = ["city", "code"].contains(&name);
        column.range_index = ["price", "wide", "far", "delay", "ratio"].contains(&name);
        column.no_dictionary = ["delay", "ratio", "fee", "tries", "note"].contains(&name);
        column.bloom_filter = ["city", "wide", "label"]
            .contains(&name)
            .then(Default::default);
        if column.name == "at" {
            column.timestamp_index = vec![TimeGranularity::Hour, TimeGranularity::Month];
        }
        column.not_null = column.name == "distance";
    }
    TableSpec {
        id: TableId::from_bytes(&[3; 16]).unwrap(),
        time_column: Some("at".to_owned()),
        sorted_column: Some("carrier".to_owned()),
        star_trees: crate::trees::specs(),
        ..TableSpec::new("flights".parse().unwrap(), TableType::Realtime, columns)
    }
}

/// The number of each row and what its value is made of; `None`: it is null.
fn draws(
    column: &ColumnSpec,
    first: i64,
    rows: usize,
    random: &mut Random,
) -> Vec<Option<(i64, u64)>> {
    let mut draws = Vec::with_capacity(rows);
    for row in 0..rows {
        let is_null = !column.not_null && random.below(9) == 0;
        draws.push((!is_null).then(|| (first + row as i64, random.next() >> 1)));
    }
    draws
}

fn text(column: &str, row: i64, value: u64) -> String {
    let carriers = [
        "AA",
        "B6",
        "DL",
        "EV",
        "UA",
        "US",
        "WN",
        "a carrier of the longer kind",
    ];
    match column {
        "carrier" => carriers[(value % 8).min(value / 8 % 8) as usize].to_owned(),
        "city" => format!("the city with number {}", value % 900),
        "label" => format!("{}", (row % 7) * (value as i64 % 3)),
        _ => format!("what there is to say of {} in a few words", value % 3000),
    }
}

fn array(column: &ColumnSpec, first: i64, rows: usize, random: &mut Random) -> ArrayRef {
    let each = draws(column, first, rows, random).into_iter();
    let signed = |v: u64, range: u64| (v % range) as i64 - range as i64 / 3;
    match column.name.as_str() {
        "carrier" | "city" | "label" | "note" => Arc::new(StringViewArray::from_iter(
            each.map(|v| v.map(|(row, v)| text(&column.name, row, v))),
        )),
        "flag" => Arc::new(BooleanArray::from_iter(
            each.map(|v| v.map(|(_, v)| v % 3 == 0)),
        )),
        "delay" => Arc::new(Int32Array::from_iter(
            each.map(|v| v.map(|(_, v)| signed(v, 300) as i32)),
        )),
        "code" | "late" => Arc::new(Int32Array::from_iter(
            each.map(|v| v.map(|(_, v)| (v % 700) as i32)),
        )),
        "wide" => Arc::new(Int32Array::from_iter(
            each.map(|v| v.map(|(_, v)| v as i32 | 1)),
        )),
        // Ascends, so that zones prune.
        "distance" => Arc::new(Int64Array::from_iter(
            each.map(|v| v.map(|(row, v)| row * 10 + (v % 10) as i64)),
        )),
        // So far apart that they get numbers as they appear, yet their sums are exact in a float.
        "far" => Arc::new(Int64Array::from_iter(
            each.map(|v| v.map(|(_, v)| signed(v, 40) * 0x0012_3450_0000_0000)),
        )),
        "price" => Arc::new(Float64Array::from_iter(
            each.map(|v| v.map(|(row, v)| price(row, v))),
        )),
        "ratio" => Arc::new(Float32Array::from_iter(
            each.map(|v| v.map(|(_, v)| (v % 64) as f32 / 8.0 - 3.0)),
        )),
        "fee" => Arc::new(Float64Array::from_iter(
            each.map(|v| v.map(|(_, v)| fee(v))),
        )),
        "tries" => Arc::new(Int32Array::from_iter(
            each.map(|v| v.map(|(_, v)| (fee(v) * 37.0) as i32 % 300_007)),
        )),
        "at" => Arc::new(TimestampMillisecondArray::from_iter(each.map(|v| {
            v.map(|(row, v)| FIRST_MS + row * 60_000 + (v % 90_000) as i64)
        }))),
        "amount" => Arc::new(
            Decimal256Array::from_iter(each.map(|v| v.map(|(_, v)| i256::from(signed(v, 50)))))
                .with_data_type(arrow_type(DataType::BigDecimal)),
        ),
        other => panic!("no values for {other}"),
    }
}

/// Nearly all are 0, so that only the others are stored.
fn fee(value: u64) -> f64 {
    match value % 30 {
        0 => (value % 100_000) as f64 / 7.0,
        _ => 0.0,
    }
}

/// Only the first segment has a value that keeps it from storing prices as whole numbers.
fn price(row: i64, value: u64) -> f64 {
    match value % 400 {
        0 if row < 12_700 => -0.0,
        1 => 0.0,
        _ => (value % 1000) as f64 / 4.0 - 50.0,
    }
}

fn batch(spec: &TableSpec, first: i64, rows: usize, random: &mut Random) -> RecordBatch {
    let columns = spec.columns.iter();
    let mut arrays: Vec<ArrayRef> = columns.map(|c| array(c, first, rows, random)).collect();
    let offsets = first..first + rows as i64;
    arrays.push(Arc::new(Int64Array::from_iter_values(offsets.clone())));
    let times = offsets.map(|offset| FIRST_MS + offset / 100);
    arrays.push(Arc::new(TimestampMillisecondArray::from_iter_values(times)));
    RecordBatch::try_new(ingest_schema(spec), arrays).unwrap()
}

/// Of the rows of a segment.
fn offsets(view: &SegmentView) -> Vec<i64> {
    let mut offsets = Vec::new();
    let column = view.column("$offset").unwrap().unwrap();
    let Values::Raw(raw) = column.values() else {
        panic!("offsets are raw");
    };
    for block in blocks(view.row_count()) {
        raw.values(block).longs_into(&mut offsets);
    }
    offsets
}

impl Table {
    /// Of segments in a folder; its rows are known elsewhere.
    pub(crate) fn of(
        spec: Arc<TableSpec>,
        segments: Vec<SegmentView>,
        folder: tempfile::TempDir,
    ) -> Self {
        Self {
            spec,
            segments,
            rows: Vec::new(),
            _folder: folder,
        }
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self::times(seed, 1)
    }

    /// So many times as large.
    pub(crate) fn times(seed: u64, factor: usize) -> Self {
        let whole = spec();
        // Older segments do not have the last two columns.
        let mut older = whole.clone();
        older.columns.truncate(whole.columns.len() - 2);
        let mut random = Random(seed);
        let folder = tempfile::tempdir().unwrap();
        let mut segments = Vec::new();
        let mut rows = Vec::new();
        let mut first = 0;
        let shapes = [
            (0, 12_700, true),
            (1, 4_096, true),
            (0, 300, true),
            (1, 900, true),
            (0, 4_300, false),
            (1, 130, false),
            (2, 0, false),
        ];
        for (sequence, (partition, count, sealed)) in (0u32..).zip(shapes) {
            let spec = if sequence < 2 { &older } else { &whole };
            let id = SegmentId {
                table: spec.id,
                partition,
                sequence,
            };
            let name = format!("flights__{partition}__{sequence}");
            let spec = Arc::new(spec.clone());
            let mutable = MutableSegment::new(Arc::clone(&spec), id, name, first).unwrap();
            let mutable = Arc::new(mutable);
            let count = count * factor;
            let mut left = count;
            while left > 0 {
                let now = left.min(1000);
                let batch = batch(&spec, first, now, &mut random);
                mutable.append(&batch).unwrap();
                rows.push((partition, batch));
                left -= now;
                first += now as i64;
            }
            segments.push(if sealed {
                let extra = SealExtra {
                    start: first - count as i64,
                    end: first,
                    ..Default::default()
                };
                let sealed = seal(&mutable, &OsFiles, folder.path(), extra).unwrap();
                SealedSegment::open(&sealed.path, &whole, sealed.record.crc)
                    .unwrap()
                    .view()
            } else {
                mutable.view()
            });
        }
        Self {
            spec: Arc::new(whole),
            segments,
            rows,
            _folder: folder,
        }
    }

    /// Newer rows have replaced every other row, and none in one segment.
    pub(crate) fn half_replaced(mut self, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut replaced = HashSet::new();
        for view in self.segments.iter_mut().skip(1) {
            let mut valid = ValidRows::all(view.row_count());
            for (row, offset) in offsets(view).into_iter().enumerate() {
                if random.below(2) == 0 && valid.clear(row as u32) {
                    replaced.insert(offset);
                }
            }
            *view = view.clone().with_valid(valid);
        }
        for (_, batch) in &mut self.rows {
            let offsets = batch.column_by_name("$offset").unwrap();
            let offsets = offsets.as_primitive::<Int64Type>().values();
            let kept = offsets.iter().map(|offset| !replaced.contains(offset));
            let kept = BooleanArray::from(kept.collect::<Vec<bool>>());
            *batch = filter_record_batch(batch, &kept).unwrap();
        }
        self
    }

    /// The rows as plain arrays in a session of DataFusion's own.
    pub(crate) fn oracle(&self, null_mode: NullMode) -> SessionContext {
        let schema = full_schema(&self.spec, null_mode);
        let batches = self.rows.iter().map(|(partition, batch)| {
            let columns = schema.fields().iter().map(|field| {
                let constant = |n: u32| Int32Array::from(vec![n as i32; batch.num_rows()]);
                let array: ArrayRef = match field.name().as_str() {
                    "$partition" | "$partitionId" => Arc::new(constant(*partition)),
                    "$docId" => Arc::new(constant(0)),
                    "$segmentName" | "$hostName" => {
                        Arc::new(StringViewArray::from(vec![""; batch.num_rows()]))
                    }
                    name => batch
                        .column_by_name(name)
                        .cloned()
                        .unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows())),
                };
                match self.spec.column(field.name()) {
                    Some(column) if null_mode == NullMode::Defaults && array.null_count() > 0 => {
                        let default = segment::default_array(column).unwrap();
                        let set = is_not_null(&array).unwrap();
                        let default = arrow::array::Scalar::new(default);
                        zip(&set, &array, &default).unwrap()
                    }
                    _ => array,
                }
            });
            RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
        });
        let batches: Vec<RecordBatch> = batches.collect();
        let rows = concat_batches(&schema, &batches).unwrap();
        let table = MemTable::try_new(schema, vec![vec![rows]]).unwrap();
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        context.register_table("flights", Arc::new(table)).unwrap();
        crate::server::register_own(&context);
        context
    }
}
