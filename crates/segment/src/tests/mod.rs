//! What was appended is what is read: consuming, sealed, packed and damaged.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Decimal256Array, Float32Array,
    Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType, i256,
};
use schemas::arrow::{arrow_type, entry_field, ingest_schema};
use schemas::types::uuid_text;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableId, TableSpec, TableType};

use crate::column::{CodeRoom, Codes, Values};
use crate::raw::RawValues;
use crate::view::blocks;
use crate::{SealExtra, SegmentView};

mod computed;
mod consuming;
mod damage;
mod derived;
mod golden;
mod layouts;
mod sealed;
mod search;
mod sidecar;

/// One value, comparable to the bit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Long(i64),
    Bits(u64),
    Wide(i256),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
}

fn table_id() -> TableId {
    TableId::from_bytes(&[7; 16]).unwrap()
}

fn segment_id() -> SegmentId {
    SegmentId {
        table: table_id(),
        partition: 2,
        sequence: 5,
    }
}

/// One column of each type and role, `int_metric` and the like, some with indexes, one of each
/// type with several values a row, and texts without a dictionary.
fn every_column() -> TableSpec {
    let mut columns = Vec::new();
    for data_type in DataType::ALL {
        for role in [FieldRole::Dimension, FieldRole::Metric] {
            let name = format!("{data_type}_{role:?}").to_lowercase();
            columns.push(ColumnSpec::new(name, data_type, role));
        }
        let mut column = ColumnSpec::new(
            format!("{data_type}_inverted").to_lowercase(),
            data_type,
            FieldRole::Dimension,
        );
        column.inverted_index = true;
        columns.push(column);
    }
    for data_type in DataType::ALL {
        let name = format!("{data_type}_multi").to_lowercase();
        let mut column = ColumnSpec::new(name, data_type, FieldRole::Dimension);
        column.multi_value = true;
        column.inverted_index = true;
        columns.push(column);
    }
    for data_type in [
        DataType::String,
        DataType::Json,
        DataType::Bytes,
        DataType::Uuid,
    ] {
        let name = format!("{data_type}_raw").to_lowercase();
        let mut column = ColumnSpec::new(name, data_type, FieldRole::Dimension);
        column.no_dictionary = true;
        columns.push(column);
    }
    spec_of(columns)
}

fn spec_of(columns: Vec<ColumnSpec>) -> TableSpec {
    TableSpec {
        id: table_id(),
        ..TableSpec::new("events".parse().unwrap(), TableType::Realtime, columns)
    }
}

fn extra(rows: u32) -> SealExtra {
    SealExtra {
        start: 100,
        end: 100 + i64::from(rows),
        ..SealExtra::default()
    }
}

/// Splitmix64.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// How values of a batch are drawn.
#[derive(Clone, Copy, Debug)]
struct Draw {
    /// Distinct values, about.
    values: u64,
    /// One in so many is null; 0 = none.
    null_in: u64,
    /// Numbers are far apart.
    wide: bool,
}

fn batch(
    spec: &TableSpec,
    first: i64,
    rows: usize,
    draw: Draw,
    random: &mut Random,
) -> RecordBatch {
    let mut arrays: Vec<ArrayRef> = spec
        .columns
        .iter()
        .map(|column| match column.multi_value {
            false => array(column.data_type, rows, draw, random),
            true => lists(column.data_type, rows, draw, random),
        })
        .collect();
    let end = first + rows as i64;
    arrays.push(Arc::new(Int64Array::from_iter_values(first..end)));
    let times = (first..end).map(|offset| 1_700_000_000_000 + offset / 3);
    arrays.push(Arc::new(TimestampMillisecondArray::from_iter_values(times)));
    RecordBatch::try_new(ingest_schema(spec), arrays).unwrap()
}

/// Of up to three entries; an empty list and a null are the same.
fn lists(data_type: DataType, rows: usize, draw: Draw, random: &mut Random) -> ArrayRef {
    let is_valid = |random: &mut Random| draw.null_in == 0 || random.below(draw.null_in) != 0;
    let valid: Vec<bool> = (0..rows).map(|_| is_valid(random)).collect();
    let lengths: Vec<usize> = (0..rows).map(|_| random.below(4) as usize).collect();
    let entries = array(data_type, lengths.iter().sum(), draw, random);
    let field = entry_field(entries.data_type().clone());
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(field, offsets, entries, Some(valid.into())))
}

fn array(data_type: DataType, rows: usize, draw: Draw, random: &mut Random) -> ArrayRef {
    let mut draws = Vec::with_capacity(rows);
    for _ in 0..rows {
        let is_null = draw.null_in > 0 && random.below(draw.null_in) == 0;
        draws.push((!is_null).then(|| random.below(draw.values)));
    }
    let scale = if draw.wide { 0x1234_5678_9abc } else { 1 };
    let long = |value: u64| (value as i64 - draw.values as i64 / 2).wrapping_mul(scale);
    let draws = draws.into_iter();
    let text = |value: u64| match value % 3 {
        0 => format!("v{value}"),
        1 => format!("a longer value than a view holds: {value}"),
        _ => format!("é{value}"),
    };
    match data_type {
        DataType::Int => Arc::new(Int32Array::from_iter(
            draws.map(|v| v.map(|v| long(v) as i32)),
        )),
        DataType::Long => Arc::new(Int64Array::from_iter(draws.map(|v| v.map(long)))),
        DataType::Timestamp => Arc::new(TimestampMillisecondArray::from_iter(
            draws.map(|v| v.map(long)),
        )),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(
            draws.map(|v| v.map(|v| v % 2 == 1)),
        )),
        DataType::Float => Arc::new(Float32Array::from_iter(
            draws.map(|v| v.map(|v| double(v) as f32)),
        )),
        DataType::Double => Arc::new(Float64Array::from_iter(draws.map(|v| v.map(double)))),
        DataType::BigDecimal => Arc::new(
            Decimal256Array::from_iter(draws.map(|v| v.map(|v| i256::from(long(v)))))
                .with_data_type(arrow_type(data_type)),
        ),
        DataType::Uuid => {
            let bytes = |value: u64| (u128::from(value) << 64 | 0xabc).to_be_bytes();
            let text = |value: u64| uuid_text(bytes(value)).map(char::from).iter().collect();
            let texts = draws.map(|v| v.map(text)).collect::<Vec<Option<String>>>();
            Arc::new(StringViewArray::from_iter(texts))
        }
        DataType::String | DataType::Json => {
            Arc::new(StringViewArray::from_iter(draws.map(|v| v.map(text))))
        }
        DataType::Bytes => Arc::new(BinaryViewArray::from_iter(draws.map(|v| v.map(text)))),
    }
}

fn double(value: u64) -> f64 {
    match value % 17 {
        0 => -0.0,
        1 => 0.0,
        2 => f64::NAN,
        3 => f64::NEG_INFINITY,
        _ => value as f64 / 4.0 - 20.0,
    }
}

/// Cells and nulls of an array, defaults in the place of nulls.
fn cells_of(array: &ArrayRef, column: Option<&ColumnSpec>) -> (Vec<Cell>, Vec<bool>) {
    let mut cells = plain_cells(array);
    let is_null = |row: usize| array.is_null(row) || cells[row] == Cell::List(vec![]);
    let nulls: Vec<bool> = (0..array.len()).map(is_null).collect();
    if let Some(column) = column {
        let default = plain_cells(&crate::default_array(column).unwrap());
        for (cell, is_null) in cells.iter_mut().zip(&nulls) {
            if *is_null {
                *cell = default[0].clone();
            }
        }
    }
    (cells, nulls)
}

fn plain_cells(array: &ArrayRef) -> Vec<Cell> {
    use arrow::datatypes::DataType as Type;
    match array.data_type() {
        Type::List(_) => {
            let lists = array.as_list::<i32>();
            let entries = (0..lists.len()).map(|row| lists.value(row));
            entries
                .map(|entries| {
                    let cells = plain_cells(&entries).into_iter().enumerate();
                    let valid = cells.filter(|(at, _)| entries.is_valid(*at));
                    Cell::List(valid.map(|(_, cell)| cell).collect())
                })
                .collect()
        }
        Type::Int32 => longs(array.as_primitive::<Int32Type>().values()),
        Type::Int64 => longs(array.as_primitive::<Int64Type>().values()),
        Type::Timestamp(..) => longs(array.as_primitive::<TimestampMillisecondType>().values()),
        Type::Boolean => array
            .as_boolean()
            .values()
            .iter()
            .map(|v| Cell::Long(v.into()))
            .collect(),
        Type::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            values
                .iter()
                .map(|v| Cell::Bits(v.to_bits().into()))
                .collect()
        }
        Type::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            values.iter().map(|v| Cell::Bits(v.to_bits())).collect()
        }
        Type::Decimal256(..) => {
            let values = array.as_primitive::<Decimal256Type>().values();
            values.iter().map(|v| Cell::Wide(*v)).collect()
        }
        Type::Utf8View => {
            let strings = array.as_string_view();
            (0..array.len())
                .map(|row| Cell::Bytes(strings.value(row).into()))
                .collect()
        }
        _ => {
            let strings = array.as_binary_view();
            (0..array.len())
                .map(|row| Cell::Bytes(strings.value(row).into()))
                .collect()
        }
    }
}

fn longs<T: Copy + Into<i64>>(values: &[T]) -> Vec<Cell> {
    values
        .iter()
        .map(|value| Cell::Long((*value).into()))
        .collect()
}

/// Cells and nulls of a column of a view, block by block.
fn read(view: &SegmentView, name: &str) -> (Vec<Cell>, Vec<bool>) {
    let column = view.column(name).unwrap().unwrap();
    let mut cells = Vec::new();
    for rows in blocks(view.row_count()) {
        match column.values() {
            Values::Dictionary(dictionary) => {
                let values = plain_cells(&dictionary.array());
                assert_eq!(values.len() as u32, dictionary.cardinality());
                let codes = codes_of(dictionary.codes(rows, &mut CodeRoom::default())).into_iter();
                cells.extend(codes.map(|code| values[code as usize].clone()));
            }
            Values::Multi(multi) => {
                let values = plain_cells(&multi.array());
                assert_eq!(values.len() as u32, multi.cardinality());
                let entries = multi.entries(rows);
                let row = |own| {
                    let codes = codes_of(entries.codes().slice(own)).into_iter();
                    Cell::List(codes.map(|code| values[code as usize].clone()).collect())
                };
                cells.extend(entries.rows().map(row));
            }
            Values::Bytes(texts) => cells.extend(plain_cells(&texts.array(rows).unwrap())),
            Values::Raw(raw) => cells.extend(raw_cells(raw.values(rows))),
        }
    }
    let nulls = match column.nulls() {
        Some(nulls) => (0..view.row_count())
            .map(|row| nulls.is_null(row))
            .collect(),
        None => vec![false; view.row_count() as usize],
    };
    (cells, nulls)
}

fn codes_of(codes: Codes<'_>) -> Vec<u32> {
    match codes {
        Codes::U8(codes) => codes.iter().map(|code| (*code).into()).collect(),
        Codes::U16(codes) => codes.iter().map(|code| (*code).into()).collect(),
        Codes::U32(codes) => codes.to_vec(),
    }
}

fn raw_cells(values: RawValues<'_>) -> Vec<Cell> {
    let framed = |base: i64, value: i64| Cell::Long(base.wrapping_add(value));
    match values {
        RawValues::U8 { base, values } => {
            values.iter().map(|v| framed(base, (*v).into())).collect()
        }
        RawValues::U16 { base, values } => {
            values.iter().map(|v| framed(base, (*v).into())).collect()
        }
        RawValues::U32 { base, values } => {
            values.iter().map(|v| framed(base, (*v).into())).collect()
        }
        RawValues::Bits { base, bits } => {
            let bytes = bits.bytes().into_iter();
            bytes.map(|bit| framed(base, bit.into())).collect()
        }
        RawValues::I32(values) => longs(values),
        RawValues::I64(values) => longs(values),
        RawValues::F32(values) => values
            .iter()
            .map(|v| Cell::Bits(v.to_bits().into()))
            .collect(),
        RawValues::F64(values) => values.iter().map(|v| Cell::Bits(v.to_bits())).collect(),
        RawValues::Scaled {
            divisor,
            base,
            stored,
        } => (0..stored.len())
            .map(|at| (base + f64::from(stored.get(at))) / divisor)
            .map(|v| Cell::Bits(v.to_bits()))
            .collect(),
        RawValues::I256(values) => values.iter().map(|v| Cell::Wide(*v)).collect(),
        RawValues::Sequence { first, count } => {
            (first..first + count as i64).map(Cell::Long).collect()
        }
    }
}

/// All batches as one, column by column.
fn expected(spec: &TableSpec, batches: &[RecordBatch], name: &str) -> (Vec<Cell>, Vec<bool>) {
    let (mut cells, mut nulls) = (Vec::new(), Vec::new());
    for batch in batches {
        let array = batch.column_by_name(name).unwrap();
        let (more_cells, more_nulls) = cells_of(array, spec.column(name));
        cells.extend(more_cells);
        nulls.extend(more_nulls);
    }
    (cells, nulls)
}

fn stored_names(spec: &TableSpec) -> Vec<String> {
    let schema = ingest_schema(spec);
    schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}
