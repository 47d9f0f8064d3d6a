//! Each message is a row or a rejection with a reason.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use proptest::prelude::*;
use schemas::table::{FlushLimits, Retention};
use schemas::{FieldRole, TableId, TableType};

use super::*;

pub(crate) fn spec(columns: &[(&str, DataType)]) -> Arc<TableSpec> {
    let columns = columns
        .iter()
        .map(|(name, data_type)| ColumnSpec::new(*name, *data_type, FieldRole::Dimension));
    Arc::new(TableSpec {
        id: TableId::random(),
        name: "t".parse().unwrap(),
        table_type: TableType::Realtime,
        columns: columns.collect(),
        primary_key: vec![],
        time_column: Some("ts".to_owned()),
        is_dimension_table: false,
        replication: 1,
        sorted_column: None,
        retention: Retention::default(),
        stream: None,
        flush: FlushLimits::default(),
    })
}

fn decoder() -> JsonDecoder {
    JsonDecoder::new(spec(&[
        ("ts", DataType::Timestamp),
        ("n", DataType::Int),
        ("x", DataType::Double),
        ("s", DataType::String),
        ("j", DataType::Json),
        ("b", DataType::Bytes),
        ("d", DataType::BigDecimal),
        ("f", DataType::Boolean),
    ]))
}

fn decode(payloads: &[&str]) -> Decoded {
    let messages = payloads.iter().enumerate().map(|(at, payload)| RawMessage {
        offset: at as i64,
        payload: Some(payload.as_bytes()),
    });
    decoder().decode(messages, 77)
}

#[test]
fn good_rows_around_bad_ones_are_in() {
    let decoded = decode(&[
        r#"{"ts": 1, "n": "5", "x": 2, "s": true, "j": {"a": [1]}, "b": "0aFF", "d": "1.5", "f": 1}"#,
        r#"{"ts": 1, "n": 3000000000}"#,
        r#"{"n": 1}"#,
        r#"{"ts": 1"#,
        "[]",
        "",
        r#"{"ts": 1, "s": {"k": 1}, "unknown": [1, {"deep": 2}], "n": 1, "n": 2}"#,
        r#"{"ts": 1, "n": [1]}"#,
        r#"{"ts": 1} trailing"#,
    ]);
    let [batch] = &decoded.batches[..] else {
        panic!("one batch")
    };
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(
        batch
            .column(0)
            .as_primitive::<TimestampMillisecondType>()
            .values(),
        &[1, 1]
    );
    assert_eq!(
        batch.column(1).as_primitive::<Int32Type>().values(),
        &[5, 2]
    );
    assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), 2.0);
    assert!(batch.column(2).is_null(1));
    let text = batch.column(3).as_string_view();
    assert_eq!((text.value(0), text.value(1)), ("true", r#"{"k":1}"#));
    assert_eq!(batch.column(4).as_string_view().value(0), r#"{"a": [1]}"#);
    assert_eq!(batch.column(5).as_binary_view().value(0), [0x0a, 0xff]);
    assert_eq!(
        batch.column(8).as_primitive::<Int64Type>().values(),
        &[0, 6],
        "offsets"
    );
    let reasons: Vec<&str> = decoded.rejected.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "`n` is INT and cannot take 3000000000 at line 1 column 25",
            "the time column `ts` is missing or null",
            "EOF while parsing an object at line 1 column 8",
            "invalid type: sequence, expected a JSON object at line 1 column 0",
            "EOF while parsing a value at line 1 column 0",
            "`n` is INT and cannot take an array at line 1 column 18",
            "trailing characters at line 1 column 11",
        ]
    );
}

#[test]
fn long_text_is_cut_on_a_character_boundary() {
    let long = format!(r#"{{"ts": 1, "s": "{}"}}"#, "ä".repeat(400));
    let decoded = decode(&[&long]);
    assert_eq!(
        decoded.batches[0].column(3).as_string_view().value(0).len(),
        512
    );
}

#[test]
fn nothing_deep_or_large_breaks_it() {
    let deep = format!(
        r#"{{"ts": 1, "s": {}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let decoded = decode(&[&deep]);
    assert_eq!(decoded.rejected.len(), 1);
    assert!(
        decoded.rejected[0].reason.contains("recursion"),
        "{}",
        decoded.rejected[0].reason
    );
    assert_eq!(
        decoded.rejected[0].payload.len(),
        REJECTED_PAYLOAD_BYTES_MAX
    );
}

#[test]
fn batches_are_bounded() {
    let messages = (0..10_000).map(|offset| RawMessage {
        offset,
        payload: Some(br#"{"ts":1}"#),
    });
    let decoded = decoder().decode(messages, 0);
    let rows: Vec<usize> = decoded.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [4096, 4096, 10_000 - 8192]);
}

proptest! {
    #[test]
    fn any_bytes_are_a_row_or_a_rejection(payloads in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            r#"\{"(ts|n|x|s|j|b|d|f)":[-0-9a-z"\[\]{}.:, ]{0,12}\}"#.prop_map(String::into_bytes),
        ], 0..20)) {
        let messages = payloads
            .iter()
            .enumerate()
            .map(|(at, bytes)| RawMessage { offset: at as i64, payload: Some(bytes) });
        let decoded = decoder().decode(messages, 0);
        let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(rows + decoded.rejected.len(), payloads.len());
    }
}
