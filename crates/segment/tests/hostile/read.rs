//! Asks a segment for everything that a query could.

use std::path::Path;

use index::bloom::BloomReader;
use index::json::{JsonFilter, JsonIndexReader, JsonPath};
use index::range::RangeReader;
use index::text::{DefaultOperator, TextIndexReader};
use schemas::table::TimeGranularity;
use segment::inspect::inspect;
use segment::view::{CodeRoom, Codes, IndexKind, RawValues, SegmentView, Values, blocks};
use segment::{SealedSegment, SegmentError};

use super::good::spec;

/// Rows that are looked at, however many the file claims.
const ROWS_READ_MAX: u32 = 20_000;

/// Asks for everything that a query could.
pub(super) fn read(path: &Path, crc: u32) -> Result<(), SegmentError> {
    let segment = SealedSegment::open(path, &spec(), crc)?;
    let view = segment.view();
    let mut failed = None;
    for column in &spec().columns {
        for name in [column.name.as_str(), "$offset", "$ingestTime"] {
            failed = read_column(&view, name).err().or(failed);
        }
    }
    for granularity in TimeGranularity::ALL {
        failed = read_buckets(&view, granularity).err().or(failed);
    }
    failed = read_indexes(&view).err().or(failed);
    failed = inspect(&segment).err().or(failed);
    failed = view.rejected().err().or(failed);
    failed = segment.keys_at_end().err().or(failed);
    failed = segment.earlier().err().or(failed);
    failed = segment.verify_all().err().or(failed);
    failed.map_or(Ok(()), Err)
}

fn read_column(view: &SegmentView, name: &str) -> Result<(), SegmentError> {
    let Some(column) = view.column(name)? else {
        return Ok(());
    };
    let read = view.row_count().min(ROWS_READ_MAX);
    for rows in blocks(read) {
        column.zone(rows.start / 4096);
        column.code_zone(rows.start / 4096);
        match column.values() {
            Values::Dictionary(dictionary) => {
                let values = dictionary.array();
                let mut room = CodeRoom::default();
                let codes = dictionary.codes(rows, &mut room);
                each_code(codes, |code| assert!(code < values.len()));
            }
            Values::Multi(multi) => {
                let values = multi.array();
                let entries = multi.entries(rows);
                for own in entries.rows() {
                    let codes = entries.codes().slice(own);
                    each_code(codes, |code| assert!(code < values.len()));
                }
            }
            Values::Bytes(texts) => assert_eq!(texts.array(rows.clone())?.len(), rows.len()),
            Values::Raw(raw) => look(raw.values(rows)),
        }
    }
    if let Some(nulls) = column.nulls() {
        let found = (0..read).filter(|row| nulls.is_null(*row)).count();
        assert!(found <= nulls.count() as usize);
    }
    let cardinality = match column.values() {
        Values::Dictionary(dictionary) => dictionary.cardinality(),
        Values::Multi(multi) => multi.cardinality(),
        Values::Raw(_) | Values::Bytes(_) => 0,
    };
    if let Some(inverted) = column.inverted()? {
        for code in 0..cardinality {
            if let Ok(docs) = inverted.docs(code) {
                assert!(docs.max().is_none_or(|doc| doc < view.row_count()));
            }
        }
    }
    if let Some(ranges) = column.index::<RangeReader>()? {
        for low in [i64::MIN, -1, 0, 100, i64::MAX] {
            let found = ranges.find(&[(low, low.saturating_add(1 << 30))]);
            for buckets in [found.whole, found.touched] {
                if let Ok(docs) = ranges.docs_of(&buckets) {
                    assert!(docs.max().is_none_or(|doc| doc < view.row_count()));
                }
            }
        }
    }
    if let Some(bloom) = column.index::<BloomReader>()? {
        let found = (0..128_u64).filter(|hash| bloom.may_have(hash << 57));
        assert!(found.count() <= 128);
    }
    for code in 0..cardinality {
        let range = column.sorted_range(code);
        assert!(range.is_none_or(|range| range.end <= view.row_count()));
    }
    Ok(())
}

fn read_buckets(view: &SegmentView, granularity: TimeGranularity) -> Result<(), SegmentError> {
    let Some(column) = view.column("time")? else {
        return Ok(());
    };
    let Some(buckets) = column.buckets(granularity)? else {
        return Ok(());
    };
    let values = buckets.array();
    for rows in blocks(view.row_count().min(ROWS_READ_MAX)) {
        let mut room = CodeRoom::default();
        each_code(buckets.codes(rows, &mut room), |code| {
            assert!(code < values.len());
        });
    }
    Ok(())
}

/// Those that have no functions of a column.
fn read_indexes(view: &SegmentView) -> Result<(), SegmentError> {
    for index in view.indexes() {
        match index.key().kind {
            IndexKind::Text => {
                let index = view.open_index::<TextIndexReader>(index)?;
                for text in ["holds", "\"a text that\"", "hol*", "hold~1"] {
                    let query = index.parse(text, DefaultOperator::Or).unwrap();
                    if let Ok(docs) = index.search(&query) {
                        assert!(docs.max().is_none_or(|doc| doc < view.row_count()));
                    }
                }
            }
            IndexKind::Json => {
                let index = view.open_index::<JsonIndexReader>(index)?;
                for text in [r#""$.a" > 2"#, r#""$.b[1].c" = 7"#, r#""$.b[*].c" <> 'x'"#] {
                    if let Ok(docs) = index.search(&JsonFilter::parse(text).unwrap()) {
                        assert!(docs.max().is_none_or(|doc| doc < view.row_count()));
                    }
                }
                if let Ok(found) = index.values(&JsonPath::parse("$.b[1].c").unwrap(), None) {
                    assert_eq!(found.codes.len(), view.row_count() as usize);
                    let is_known = |code: &u32| *code as usize <= found.values.len();
                    assert!(found.codes.iter().all(is_known));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn each_code(codes: Codes<'_>, mut each: impl FnMut(usize)) {
    match codes {
        Codes::U8(codes) => codes.iter().for_each(|code| each(*code as usize)),
        Codes::U16(codes) => codes.iter().for_each(|code| each(*code as usize)),
        Codes::U32(codes) => codes.iter().for_each(|code| each(*code as usize)),
    }
}

/// As a scan does, where an overflow would panic.
fn look(values: RawValues<'_>) {
    let sum: i64 = match values {
        RawValues::U8 { base, values } => values.iter().map(|v| (base + i64::from(*v)) & 1).sum(),
        RawValues::U16 { base, values } => values.iter().map(|v| (base + i64::from(*v)) & 1).sum(),
        RawValues::U32 { base, values } => values.iter().map(|v| (base + i64::from(*v)) & 1).sum(),
        RawValues::Bits { base, bits } => {
            let bytes = bits.bytes().into_iter();
            bytes.map(|v| (base + i64::from(v)) & 1).sum()
        }
        RawValues::I32(values) => values.len() as i64,
        RawValues::I64(values) => values.len() as i64,
        RawValues::F32(values) => values.len() as i64,
        RawValues::F64(values) => values.len() as i64,
        RawValues::Scaled { stored, .. } => stored.len() as i64,
        RawValues::I256(values) => values.len() as i64,
        RawValues::Sequence { count, .. } => count as i64,
    };
    assert!(sum >= 0);
}
