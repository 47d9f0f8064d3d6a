//! Text and JSON indexes of segments: built at the seal, verified, and grown with consuming rows.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use index::json::{Flattening, JsonFilter, JsonIndexReader, JsonMatcher};
use index::text::{Analyzer, DefaultOperator, TextIndexReader, TextMatcher, TextQuery};
use schemas::arrow::ingest_schema;
use schemas::table::{JsonIndexSpec, TextIndexSpec};
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};
use serde_json::Value;

use super::sealed::build;
use super::{segment_id, spec_of};
use crate::{MutableSegment, SealedSegment};

fn spec() -> TableSpec {
    let mut text = ColumnSpec::new("text", DataType::String, FieldRole::Dimension);
    text.text_index = Some(TextIndexSpec::default());
    let mut doc = ColumnSpec::new("doc", DataType::Json, FieldRole::Dimension);
    doc.json_index = Some(JsonIndexSpec::default());
    spec_of(vec![text, doc])
}

fn texts(rows: std::ops::Range<u32>) -> Vec<String> {
    rows.map(|row| format!("row {row} of group {} and {}", row % 7, row % 100))
        .collect()
}

fn documents(rows: std::ops::Range<u32>) -> Vec<String> {
    rows.map(|row| format!(r#"{{"a":{},"b":[{{"c":{row}}},{{"c":"x"}}]}}"#, row % 5))
        .collect()
}

fn batch(spec: &TableSpec, rows: std::ops::Range<u32>) -> RecordBatch {
    let offsets = rows.clone().map(|row| i64::from(row) + 100);
    let times = rows.clone().map(i64::from);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(texts(rows.clone()))),
        Arc::new(StringViewArray::from_iter_values(documents(rows))),
        Arc::new(Int64Array::from_iter_values(offsets)),
        Arc::new(TimestampMillisecondArray::from_iter_values(times)),
    ];
    RecordBatch::try_new(ingest_schema(spec), arrays).unwrap()
}

fn analyzer() -> Analyzer {
    let parameters = serde_json::to_value(TextIndexSpec::default()).unwrap();
    Analyzer::of_parameters(&parameters).unwrap()
}

#[test]
fn a_sealed_segment_finds_its_texts_and_documents() {
    let spec = spec();
    let folder = tempfile::tempdir().unwrap();
    let (_, segment) = build(&spec, &[batch(&spec, 0..3_000)], folder.path());
    segment.verify_all().unwrap();
    let view = segment.view();
    let query = TextQuery::parse("\"group 3\" AND 7*", &analyzer(), DefaultOperator::Or).unwrap();
    let column = view.column("text").unwrap().unwrap();
    let index = column.index::<TextIndexReader>().unwrap().unwrap();
    let analyzer = analyzer();
    let mut matcher = TextMatcher::new(&query, &analyzer);
    let expected: Vec<u32> = (0..3_000)
        .zip(texts(0..3_000))
        .filter(|(_, text)| matcher.matches([text.as_str()]))
        .map(|(row, _)| row)
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(
        index.search(&query).unwrap().iter().collect::<Vec<_>>(),
        expected
    );

    let filter = JsonFilter::parse(r#""$.a" > 2 AND "$.b[0].c" < 40"#).unwrap();
    let column = view.column("doc").unwrap().unwrap();
    let index = column.index::<JsonIndexReader>().unwrap().unwrap();
    let whole = Flattening::default();
    let mut matcher = JsonMatcher::new(&filter, &whole);
    let expected: Vec<u32> = (0..3_000)
        .zip(documents(0..3_000))
        .filter(|(_, document)| matcher.matches(document))
        .map(|(row, _)| row)
        .collect();
    assert_eq!(expected.len(), 16);
    assert_eq!(
        index.search(&filter).unwrap().iter().collect::<Vec<_>>(),
        expected
    );
}

/// Makes every checksum right again; the new one of the footer. `None`: it is no footer any more.
fn repaired(file: &mut Vec<u8>) -> Option<u32> {
    let number = |file: &[u8], at: usize| {
        let bytes = file.get(at..at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let start = number(file, 40)?;
    let mut footer: Value = serde_json::from_slice(file.get(start..)?).ok()?;
    repair_buffers(&mut footer, file)?;
    let footer = serde_json::to_vec(&footer).ok()?;
    let crc = crc32c::crc32c(&footer);
    file.truncate(start);
    file.extend_from_slice(&footer);
    file[12..16].copy_from_slice(&crc.to_le_bytes());
    file[48..56].copy_from_slice(&(footer.len() as u64).to_le_bytes());
    let header = crc32c::crc32c(&file[..60]);
    file[60..64].copy_from_slice(&header.to_le_bytes());
    Some(crc)
}

fn repair_buffers(value: &mut Value, file: &[u8]) -> Option<()> {
    if let (Some(offset), Some(bytes), Some(_)) = (
        value.get("offset").and_then(Value::as_u64),
        value.get("bytes").and_then(Value::as_u64),
        value.get("crc"),
    ) {
        let end = offset.checked_add(bytes.checked_next_multiple_of(64)?)?;
        let buffer = file.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)?;
        value["crc"] = crc32c::crc32c(buffer).into();
        return Some(());
    }
    match value {
        Value::Array(all) => all.iter_mut().try_for_each(|one| repair_buffers(one, file)),
        Value::Object(all) => all
            .values_mut()
            .try_for_each(|one| repair_buffers(one, file)),
        _ => Some(()),
    }
}

/// Also where the checksums were made anew over the damage, nothing worse than an error happens.
#[test]
fn damage_under_whole_checksums_is_an_error_or_unseen() {
    let spec = spec();
    let folder = tempfile::tempdir().unwrap();
    let (record, segment) = build(&spec, &[batch(&spec, 0..500)], folder.path());
    let good = fs::read(segment.path()).unwrap();
    let path = folder.path().join("damaged.seg");
    let mut seen = 0;
    for at in (64..good.len()).step_by(61) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        let crc = repaired(&mut damaged).unwrap_or(record.crc);
        fs::write(&path, &damaged).unwrap();
        if let Ok(segment) = SealedSegment::open(&path, &spec, crc) {
            seen += u32::from(segment.verify_all().is_err());
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn chunks_of_consuming_rows_grow_and_say_what_the_rows_say() {
    let spec = Arc::new(spec());
    let segment = MutableSegment::new(Arc::clone(&spec), segment_id(), "s".to_owned(), 100);
    let segment = Arc::new(segment.unwrap());
    let rows = 9 * 8_192 + 500;
    let parameters = serde_json::to_value(TextIndexSpec::default()).unwrap();
    let mut first = 0;
    while first < rows {
        let next = rows.min(first + 4_000);
        segment.append(&batch(&spec, first..next)).unwrap();
        first = next;
    }
    let view = segment.view();
    let column = view.column("text").unwrap().unwrap();
    let chunks = column.text_chunks(&parameters).unwrap();
    let codes: Vec<_> = chunks.iter().map(|chunk| chunk.codes.clone()).collect();
    assert_eq!(codes, [0..8 * 8_192, 8 * 8_192..9 * 8_192]);
    assert!(column.text_chunks(&Value::Null).is_none());
    let query = TextQuery::parse("\"group 3\" AND 99", &analyzer(), DefaultOperator::Or).unwrap();
    let found: Vec<u32> = chunks
        .iter()
        .flat_map(|chunk| {
            let start = chunk.codes.start;
            let found = chunk.index.search(&query).unwrap();
            found.into_iter().map(move |document| start + document)
        })
        .collect();
    // Each row has a text of its own, so code and row are the same.
    let expected: Vec<u32> = (0..9 * 8_192)
        .filter(|row| row % 7 == 3 && (row % 100 == 99 || *row == 99))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(
        column.consuming_text(rows - 1),
        Some(texts(rows - 1..rows)[0].as_str())
    );
}
