//! The indexes of a segment, built from its sealed columns: at the seal and, over a segment that is
//! served, when a table asks for another index.
//!
//! Invariant: the bytes depend on the key and the rows alone, so both ways give the same index.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType as ArrowType, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMillisecondType,
};
use index::bloom::{BloomWriter, hash};
use index::inverted::Postings;
use index::json::{Flattening, JsonIndexWriter};
use index::range::{RangeWriter, order_key};
use index::text::{Analyzer, TextIndexWriter};
use index::timestamp::BucketWriter;
use schemas::{ColumnSpec, DataType, TableSpec};

use super::star_tree;
use crate::SegmentError;
use crate::calendar::Unit;
use crate::column::{BytesColumn, CodeRoom, Codes, DictionaryColumn, Values};
use crate::raw::{RawColumn, RawValues};
use crate::sealed::buckets;
use crate::view::{IndexKey, IndexKind, SegmentView, blocks};

/// The indexes that the table asks for: columns that can be computed, then column by column, in the
/// order of the schema.
pub fn wanted(spec: &TableSpec) -> Vec<IndexKey> {
    let computed = spec.columns.iter().filter_map(computed);
    let mut keys: Vec<IndexKey> = computed.collect();
    for column in &spec.columns {
        let mut want = |kind| keys.push(IndexKey::of_column(kind, &column.name));
        let stays_raw = column.stays_raw();
        if column.inverted_index && !stays_raw {
            want(IndexKind::Inverted);
        }
        // Over raw values it finds single values as well.
        if column.range_index || (column.inverted_index && stays_raw) {
            want(IndexKind::Range);
        }
        if let Some(bloom) = column.bloom_filter {
            keys.push(IndexKey {
                parameters: serde_json::json!({
                    "falsePositives": bloom.false_positives,
                    "bytesMax": bloom.bytes_max,
                }),
                ..IndexKey::of_column(IndexKind::Bloom, &column.name)
            });
        }
        if let Some(text) = &column.text_index {
            keys.push(with(IndexKind::Text, &column.name, text));
        }
        if let Some(json) = &column.json_index {
            keys.push(with(IndexKind::Json, &column.name, json));
        }
        let granularities = column.timestamp_index.iter();
        keys.extend(granularities.map(|one| buckets::key(&column.name, *one)));
    }
    keys.extend(star_tree::wanted(spec));
    keys
}

/// The column as one that a segment may have been written without.
pub(crate) fn computed(column: &ColumnSpec) -> Option<IndexKey> {
    let transform = column.transform.as_ref()?;
    Some(IndexKey {
        parameters: serde_json::json!({ "transform": transform }),
        ..IndexKey::of_column(IndexKind::Computed, &column.name)
    })
}

/// The buffers of one index over all rows of a sealed segment. `None`: it cannot be had there,
/// because a column came later or is not stored in a form that the index goes with.
pub fn build(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    match key.kind {
        IndexKind::Inverted => inverted(view, key),
        IndexKind::Range => range(view, key),
        IndexKind::Bloom => bloom(view, key),
        IndexKind::Text => text(view, key),
        IndexKind::Json => json(view, key),
        IndexKind::Timestamp => timestamp(view, key),
        IndexKind::StarTree => star_tree::build(view, key),
        _ => Ok(None),
    }
}

fn with(kind: IndexKind, column: &str, parameters: &impl serde::Serialize) -> IndexKey {
    IndexKey {
        parameters: serde_json::to_value(parameters).expect("a spec has only string keys"),
        ..IndexKey::of_column(kind, column)
    }
}

fn text(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let Some(analyzer) = Analyzer::of_parameters(&key.parameters) else {
        return Ok(None);
    };
    let mut writer = TextIndexWriter::new(analyzer)?;
    let is_whole = each_row(view, &key.columns[0], |values| match values {
        [one] => Ok(writer.add(one)?),
        many => Ok(writer.add_values(many.iter().copied())?),
    })?;
    Ok(match is_whole {
        true => Some(writer.finish()?),
        false => None,
    })
}

fn json(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let mut writer = JsonIndexWriter::new(Flattening::of_parameters(&key.parameters));
    let is_whole = each_row(view, &key.columns[0], |values| match values {
        [one] => Ok(writer.add(one)?),
        _ => Ok(writer.add("")?),
    })?;
    Ok(match is_whole {
        true => Some(writer.finish()?),
        false => None,
    })
}

/// The texts of every row, one after the other. `false`: the column has none.
fn each_row(
    view: &SegmentView,
    column: &str,
    mut visit: impl FnMut(&[&str]) -> Result<(), SegmentError>,
) -> Result<bool, SegmentError> {
    let Some(column) = view.column(column)? else {
        return Ok(false);
    };
    let array = match column.values() {
        Values::Dictionary(dictionary) => dictionary.array(),
        Values::Multi(multi) => multi.array(),
        Values::Bytes(texts) => return each_unpacked(view, texts, visit),
        Values::Raw(_) => return Ok(false),
    };
    let Some(texts) = array.as_string_view_opt() else {
        return Ok(false);
    };
    let (mut codes, mut room) = (Vec::new(), CodeRoom::default());
    let mut values = Vec::new();
    for rows in blocks(view.row_count()) {
        codes.clear();
        match column.values() {
            Values::Dictionary(dictionary) => {
                extend(&mut codes, dictionary.codes(rows, &mut room));
                for code in &codes {
                    visit(&[texts.value(*code as usize)])?;
                }
            }
            Values::Multi(multi) => {
                let entries = multi.entries(rows);
                extend(&mut codes, entries.codes());
                for row in entries.rows() {
                    let codes = &codes[row];
                    values.clear();
                    values.extend(codes.iter().map(|code| texts.value(*code as usize)));
                    visit(&values)?;
                }
            }
            Values::Raw(_) | Values::Bytes(_) => {}
        }
    }
    Ok(true)
}

fn each_unpacked(
    view: &SegmentView,
    column: BytesColumn<'_>,
    mut visit: impl FnMut(&[&str]) -> Result<(), SegmentError>,
) -> Result<bool, SegmentError> {
    for rows in blocks(view.row_count()) {
        let array = column.array(rows)?;
        let Some(texts) = array.as_string_view_opt() else {
            return Ok(false);
        };
        texts
            .iter()
            .try_for_each(|text| visit(&[text.unwrap_or_default()]))?;
    }
    Ok(true)
}

fn inverted(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let Some(column) = view.column(&key.columns[0])? else {
        return Ok(None);
    };
    let postings = match column.values() {
        Values::Dictionary(dictionary) => {
            let codes = codes_of(&dictionary, view.row_count());
            Postings::from_codes(&codes, dictionary.cardinality())
        }
        Values::Multi(multi) => {
            let entries = blocks(view.row_count()).map(|rows| multi.entries(rows));
            let (mut ends, mut all) = (Vec::new(), Vec::new());
            for entries in entries {
                let range = entries.range();
                let (base, first) = (all.len(), range.start);
                ends.extend(entries.rows().map(|row| (base + row.end - first) as u32));
                extend(&mut all, entries.codes().slice(range));
            }
            Postings::from_entries(&ends, &all, multi.cardinality())
        }
        Values::Raw(_) | Values::Bytes(_) => return Ok(None),
    };
    Ok(Some(vec![index::inverted::serialize(&postings)?]))
}

fn codes_of(dictionary: &DictionaryColumn<'_>, row_count: u32) -> Vec<u32> {
    let mut all = Vec::with_capacity(row_count as usize);
    let mut room = CodeRoom::default();
    for rows in blocks(row_count) {
        extend(&mut all, dictionary.codes(rows, &mut room));
    }
    all
}

fn range(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let Some(column) = view.column(&key.columns[0])? else {
        return Ok(None);
    };
    let keys = match column.values() {
        Values::Dictionary(dictionary) => {
            let codes = codes_of(&dictionary, view.row_count());
            codes.into_iter().map(i64::from).collect()
        }
        Values::Raw(raw) => match keys_of(&raw, view.row_count()) {
            Some(keys) => keys,
            None => return Ok(None),
        },
        Values::Multi(_) | Values::Bytes(_) => return Ok(None),
    };
    let writer = RangeWriter::new(&keys);
    Ok(Some(vec![index::range::serialize(&writer)?]))
}

/// The values of a raw column as ranges number them. `None`: they need more than 64 bits.
fn keys_of(raw: &RawColumn<'_>, row_count: u32) -> Option<Vec<i64>> {
    let mut keys: Vec<i64> = Vec::with_capacity(row_count as usize);
    let mut doubles = Vec::new();
    for rows in blocks(row_count) {
        match raw.values(rows) {
            RawValues::I256(_) => return None,
            floats @ (RawValues::F32(_) | RawValues::F64(_) | RawValues::Scaled { .. }) => {
                doubles.clear();
                floats.doubles_into(&mut doubles);
                keys.extend(doubles.iter().map(|value| order_key(*value)));
            }
            whole => whole.longs_into(&mut keys),
        }
    }
    Some(keys)
}

fn timestamp(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let column = view.column(&key.columns[0])?;
    let column = column.filter(|column| column.data_type() == DataType::Timestamp);
    let (Some(column), Some(granularity)) = (column, buckets::granularity(&key.parameters)) else {
        return Ok(None);
    };
    let times = match column.values() {
        Values::Raw(raw) => keys_of(&raw, view.row_count()),
        Values::Dictionary(dictionary) => {
            let array = dictionary.array();
            let values = array.as_primitive_opt::<TimestampMillisecondType>();
            values.map(|values| {
                let codes = codes_of(&dictionary, view.row_count()).into_iter();
                codes.map(|code| values.value(code as usize)).collect()
            })
        }
        Values::Multi(_) | Values::Bytes(_) => None,
    };
    let unit = Unit::from(granularity);
    let bucket = |time: i64| {
        let start = unit.start(time)?;
        Some((start, unit.next_boundary(start.checked_add(1)?)?))
    };
    let writer = times.and_then(|times| BucketWriter::new(&times, bucket));
    Ok(writer.map(|writer| index::timestamp::serialize(&writer)))
}

fn bloom(view: &SegmentView, key: &IndexKey) -> Result<Option<Vec<Vec<u8>>>, SegmentError> {
    let Some(column) = view.column(&key.columns[0])? else {
        return Ok(None);
    };
    let hashes = match column.values() {
        Values::Dictionary(dictionary) => hashes_of(&dictionary.array()),
        Values::Multi(multi) => hashes_of(&multi.array()),
        Values::Raw(raw) => keys_of(&raw, view.row_count()).map(|keys| {
            let hashes = keys.iter().map(|key| hash(&key.to_le_bytes()));
            distinct(hashes.collect())
        }),
        Values::Bytes(texts) => {
            let mut all = Some(Vec::with_capacity(view.row_count() as usize));
            for rows in blocks(view.row_count()) {
                let hashes = hashes_of(&texts.array(rows)?);
                all = all.zip(hashes).map(|(mut all, hashes)| {
                    all.extend(hashes);
                    all
                });
            }
            all.map(distinct)
        }
    };
    let Some(hashes) = hashes else {
        return Ok(None);
    };
    let share = key.parameters["falsePositives"].as_f64().unwrap_or(0.05);
    let bytes_max = key.parameters["bytesMax"].as_u64().unwrap_or(1 << 20);
    let mut writer = BloomWriter::new(hashes.len() as u64, share, bytes_max);
    hashes.into_iter().for_each(|hash| writer.add(hash));
    Ok(Some(vec![index::bloom::serialize(&writer)]))
}

fn distinct(mut hashes: Vec<u64>) -> Vec<u64> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// Of values. `None`: the filter knows nothing of such.
fn hashes_of(values: &ArrayRef) -> Option<Vec<u64>> {
    let of = |key: i64| hash(&key.to_le_bytes());
    Some(match values.data_type() {
        ArrowType::Utf8View => {
            let values = values.as_string_view().iter().flatten();
            values.map(|value| hash(value.as_bytes())).collect()
        }
        ArrowType::BinaryView => {
            let values = values.as_binary_view().iter().flatten();
            values.map(hash).collect()
        }
        ArrowType::Int32 => {
            let values = values.as_primitive::<Int32Type>().values().iter();
            values.map(|value| of(i64::from(*value))).collect()
        }
        ArrowType::Int64 => {
            let values = values.as_primitive::<Int64Type>().values().iter();
            values.map(|value| of(*value)).collect()
        }
        ArrowType::Timestamp(..) => {
            let values = values.as_primitive::<TimestampMillisecondType>();
            values.values().iter().map(|value| of(*value)).collect()
        }
        ArrowType::Float32 => {
            let values = values.as_primitive::<Float32Type>().values().iter();
            values
                .map(|value| of(order_key(f64::from(*value))))
                .collect()
        }
        ArrowType::Float64 => {
            let values = values.as_primitive::<Float64Type>().values().iter();
            values.map(|value| of(order_key(*value))).collect()
        }
        ArrowType::Boolean => {
            let values = values.as_boolean().values().iter();
            values.map(|value| of(i64::from(value))).collect()
        }
        _ => return None,
    })
}

fn extend(all: &mut Vec<u32>, codes: Codes<'_>) {
    match codes {
        Codes::U8(codes) => all.extend(codes.iter().map(|code| u32::from(*code))),
        Codes::U16(codes) => all.extend(codes.iter().map(|code| u32::from(*code))),
        Codes::U32(codes) => all.extend_from_slice(codes),
    }
}
