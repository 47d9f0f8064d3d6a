//! Each message is a row or a rejection with a reason.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use schemas::{FieldRole, TableType};

use std::sync::Arc;

use schemas::{ColumnSpec, TableSpec};

use super::*;
use crate::testing::messages;
use crate::{Decoded, Decoder, REJECTED_PAYLOAD_BYTES_MAX, RawMessage};

pub(crate) fn spec(columns: &[(&str, DataType)]) -> Arc<TableSpec> {
    let columns = columns
        .iter()
        .map(|(name, data_type)| ColumnSpec::new(*name, *data_type, FieldRole::Dimension));
    Arc::new(TableSpec {
        time_column: Some("ts".to_owned()),
        ..TableSpec::new("t".parse().unwrap(), TableType::Realtime, columns.collect())
    })
}

fn decoder() -> Decoder {
    Decoder::json(spec(&[
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
        ..RawMessage::default()
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

/// What one value becomes in a column of a type: its text, `null`, or `None` for a rejection.
fn coerced(data_type: DataType, json: &str) -> Option<String> {
    taken(ColumnSpec::new("v", data_type, FieldRole::Dimension), json)
}

fn taken(column: ColumnSpec, json: &str) -> Option<String> {
    let payload = format!(r#"{{"ts": 1, "v": {json}}}"#);
    let message = RawMessage {
        offset: 0,
        payload: Some(payload.as_bytes()),
        ..RawMessage::default()
    };
    let mut spec = spec(&[("ts", DataType::Timestamp)]);
    Arc::make_mut(&mut spec).columns.push(column);
    let decoded = Decoder::json(spec).decode([message].into_iter(), 0);
    let column = decoded.batches.first()?.column(1);
    if column.is_null(0) {
        return Some("null".to_owned());
    }
    Some(array_value_to_string(column, 0).unwrap())
}

#[test]
fn each_type_takes_what_it_can_hold_and_nothing_else() {
    use DataType::*;
    let some = [
        (Int, "-2147483648", "-2147483648"),
        (Int, "7.0", "7"),
        (Int, "\" 7 \"", "7"),
        (Int, "\"7.0\"", "7"),
        (Int, "true", "1"),
        (Int, "null", "null"),
        (Long, "9223372036854775807", "9223372036854775807"),
        (Long, "\"-9223372036854775808\"", "-9223372036854775808"),
        (Float, "0.5", "0.5"),
        (Float, "\"NaN\"", "NaN"),
        (Double, "1", "1.0"),
        (Double, "\"-Infinity\"", "-inf"),
        (Boolean, "0", "false"),
        (Boolean, "\"TRUE\"", "true"),
        (Timestamp, "1356998400000", "2013-01-01T00:00:00"),
        (
            Timestamp,
            "\"2013-01-01T01:00:00+01:00\"",
            "2013-01-01T00:00:00",
        ),
        (String, "\"\\u00e4\\n\\ud83d\\ude00\"", "ä\n😀"),
        (String, "1.50", "1.5"),
        (String, "[1, {\"a\": null}]", "[1,{\"a\":null}]"),
        (Json, "{\"a\":  1}", "{\"a\":  1}"),
        (Json, "null", "null"),
        (Bytes, "\"00fF\"", "00ff"),
        (
            BigDecimal,
            "12345678901234567890.5",
            "12345678901234567890.500000000000000000",
        ),
        (BigDecimal, "\"-1e-18\"", "-0.000000000000000001"),
    ];
    for (data_type, json, expected) in some {
        let found = coerced(data_type, json);
        assert_eq!(found.as_deref(), Some(expected), "{data_type} {json}");
    }
    let none = [
        (Int, "2147483648"),
        (Int, "7.5"),
        (Int, "\"seven\""),
        (Int, "[]"),
        (Long, "9223372036854775808"),
        (Long, "1e30"),
        (Float, "1e39"),
        (Double, "1e999"),
        (Double, "true"),
        (Boolean, "2"),
        (Boolean, "\"yes\""),
        (Timestamp, "\"yesterday\""),
        (Timestamp, "18446744073709551615"),
        (String, "\"\\ud83d\""),
        (Bytes, "\"0\""),
        (Bytes, "\"zz\""),
        (Bytes, "1"),
        (BigDecimal, "\"one\""),
        (BigDecimal, "1e-19"),
        (Json, "{\"a\":"),
    ];
    for (data_type, json) in none {
        assert_eq!(coerced(data_type, json), None, "{data_type} {json}");
    }
}

#[test]
fn uuids_are_made_canonical() {
    let canonical = "0189d5e4-7cde-7a0b-b2db-8f1e0f1e2d3c";
    let taken = |json: &str| coerced(DataType::Uuid, json);
    for json in [
        "\"0189D5E47CDE7A0BB2DB8F1E0F1E2D3C\"",
        "\"0189d5E4-7cde-7a0b-b2db-8f1e0f1e2d3c\"",
    ] {
        assert_eq!(taken(json).as_deref(), Some(canonical), "{json}");
    }
    for json in [
        "\"0189d5e4\"",
        "\"{0189d5e4-7cde-7a0b-b2db-8f1e0f1e2d3c}\"",
        "7",
    ] {
        assert_eq!(taken(json), None, "{json}");
    }
}

#[test]
fn several_values_are_an_array_or_one() {
    use DataType::*;
    let several = |data_type: DataType, json: &str| {
        let mut column = ColumnSpec::new("v", data_type, FieldRole::Dimension);
        column.multi_value = true;
        taken(column, json)
    };
    let some = [
        (Int, "[1, \"2\", 3.0]", "[1, 2, 3]"),
        (Int, "7", "[7]"),
        (Int, "[]", "null"),
        (Int, "[null]", "null"),
        (Int, "null", "null"),
        (
            String,
            "[\"a\", null, 1, {\"b\": []}]",
            "[a, 1, {\"b\":[]}]",
        ),
        (String, "\"a\"", "[a]"),
        (Boolean, "[true, 0]", "[true, false]"),
        (Double, "[1, \"NaN\"]", "[1.0, NaN]"),
        (Bytes, "[\"00\", \"ff\"]", "[00, ff]"),
        (Json, "[{\"a\": 1}, null, [2]]", "[{\"a\": 1}, [2]]"),
        (Json, "{\"a\": 1}", "[{\"a\": 1}]"),
        (
            BigDecimal,
            "[1, \"0.5\"]",
            "[1.000000000000000000, 0.500000000000000000]",
        ),
        (Timestamp, "[0]", "[1970-01-01T00:00:00]"),
        (
            Uuid,
            "[\"0189D5E4-7CDE-7A0B-B2DB-8F1E0F1E2D3C\"]",
            "[0189d5e4-7cde-7a0b-b2db-8f1e0f1e2d3c]",
        ),
    ];
    for (data_type, json, expected) in some {
        let found = several(data_type, json);
        assert_eq!(found.as_deref(), Some(expected), "{data_type} {json}");
    }
    let none = [
        (Int, "[1, 2.5]"),
        (Int, "[[1]]"),
        (Int, "{\"a\": 1}"),
        (BigDecimal, "[1, [2]]"),
        (Uuid, "[\"x\"]"),
    ];
    for (data_type, json) in none {
        assert_eq!(several(data_type, json), None, "{data_type} {json}");
    }
}

#[test]
fn bytes_that_are_no_text_are_rejected() {
    let payloads: [&[u8]; 4] = [
        b"{\"ts\": 1, \"s\": \"\xff\"}",
        b"\xef\xbb\xbf{\"ts\": 1}",
        b"{\"ts\": 1, \"s\": \"\x00\"}",
        b"\x00\x00\x00\x00\x07",
    ];
    let decoded = decoder().decode(messages(&payloads), 0);
    assert!(decoded.batches.is_empty());
    let kept = decoded.rejected.iter().map(|row| row.payload.as_slice());
    assert!(kept.eq(payloads));
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
        ..RawMessage::default()
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
            .map(|(at, bytes)| RawMessage { offset: at as i64, payload: Some(bytes), ..RawMessage::default() });
        let decoded = decoder().decode(messages, 0);
        let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(rows + decoded.rejected.len(), payloads.len());
    }
}

/// Where the column of bytes is among them.
const BYTES_AT: usize = 7;

/// Columns of all types, and of several values.
fn every_column() -> Target {
    let columns = [
        ("ts", DataType::Timestamp),
        ("n", DataType::Int),
        ("l", DataType::Long),
        ("x", DataType::Double),
        ("y", DataType::Float),
        ("s", DataType::String),
        ("j", DataType::Json),
        ("b", DataType::Bytes),
        ("d", DataType::BigDecimal),
        ("f", DataType::Boolean),
        ("ns[]", DataType::Int),
        ("ss[]", DataType::String),
        ("js[]", DataType::Json),
    ];
    Target::new(crate::testing::spec(&columns, Default::default()))
}

fn cells_of(row: &Row) -> Vec<String> {
    let shown = |at: usize, cell: &Cell| match cell {
        Cell::Text(from, to) if at == BYTES_AT => {
            format!("{:?}", &row.texts.bytes[*from as usize..*to as usize])
        }
        Cell::Text(from, to) => row.texts.text[*from as usize..*to as usize].to_owned(),
        Cell::Decimal(at) => row.texts.decimals[*at as usize].to_string(),
        other => format!("{other:?}"),
    };
    let all = |(at, cell): (usize, &Cell)| match cell {
        Cell::List(from, to) => {
            let entries = row.entries[*from as usize..*to as usize].iter();
            entries
                .map(|cell| shown(at, cell))
                .collect::<Vec<_>>()
                .join(" | ")
        }
        cell => shown(at, cell),
    };
    row.cells.iter().enumerate().map(all).collect()
}

/// Cells, where the quick way takes the object; they are those of the thorough one.
fn quickly(target: &Target, row: &mut Row, payload: &[u8]) -> Option<Vec<String>> {
    row.clear(target.spec.columns.len());
    quick::read(target, row, payload)?;
    let mut other = Row::default();
    other.clear(target.spec.columns.len());
    let text = String::from_utf8_lossy(payload);
    thorough(target, &mut other, payload).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(cells_of(row), cells_of(&other), "{text}");
    Some(cells_of(row))
}

#[test]
fn usual_objects_are_read_quickly() {
    let (target, mut row) = (every_column(), Row::default());
    let usual = [
        r#"{}"#,
        r#"{"ts":1788220800000,"s":"https://a.example/b?c=d","x":12.75,"f":true,"n":-3,"z":[{}]}"#,
        r#" { "s" : "\u00e4\n\"" , "l" : 9223372036854775807 , "j" : {"a" : [1, "b"]} , "y" : 1e3 } "#,
        r#"{"ns":[1,2, 3],"ss":[],"js":[1,{"a":2}],"n":null,"d":1.5,"b":"00ff","f":false}"#,
        r#"{"x":0.1234567890123456789,"y":-0.0,"l":-0,"s":"0123456","ss":"one","z":"\u0041"}"#,
    ];
    for payload in usual {
        let read = quickly(&target, &mut row, payload.as_bytes());
        assert!(read.is_some(), "{payload}");
    }
    let left = [
        r#"{"s":{"a":1}}"#,
        r#"{"n":01}"#,
        r#"{"n":1.}"#,
        r#"{"n":-}"#,
        r#"{"l":99999999999999999999}"#,
        r#"{"n":1} x"#,
        r#"{"n":1,}"#,
        r#"{"n" 1}"#,
        r#"{"s":"\x"}"#,
        "{\"s\":\"a\u{1}\"}",
        r#"{"n":"#,
        "",
    ];
    for payload in left {
        let read = quickly(&target, &mut row, payload.as_bytes());
        assert_eq!(read, None, "{payload}");
    }
}

#[test]
fn names_of_any_length_are_found() {
    for length in [1, 13, 14, 15, 16, 17, 40] {
        let name = "n".repeat(length);
        let (longer, other) = (format!("{name}n"), "m".repeat(length));
        let columns = [
            (&*name, DataType::Long),
            (&*longer, DataType::Int),
            (&*other, DataType::Double),
        ];
        let target = Target::new(crate::testing::spec(&columns, Default::default()));
        let mut row = Row::default();
        for payload in [
            format!(r#"{{"{name}":7}}"#),
            format!(r#"{{"{longer}":8,"{name}":7,"{other}":1.5,"{other}m":9}}"#),
            format!(r#"{{ "{name}" : 7 , "{longer}" : 8 , "{other}" : 1.5 }}"#),
        ] {
            for _ in 0..3 {
                let cells = quickly(&target, &mut row, payload.as_bytes()).unwrap();
                assert_eq!(cells[0], "Long(7)", "{payload}");
            }
        }
    }
}

fn a_value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => r#"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?"#,
        4 => r#""([ !#-\[\]-~äß😀]|\\["\\/bfnrtu]|\\u00[0-9a-f]{2}|\\ud83d\\ude00|\\ud83d){0,20}""#,
        2 => "true|false|null|nul|-|01",
        1 => r#"\[( ?(1|"a"|null|\{\}|2.5)(, ?(1|"b"|null|true|\[3\])){0,3})? ?\]"#,
        1 => r#"\{ ?("a" ?: ?(1|"\\u00e4"|\[\{\}\]))? ?\}"#,
    ]
}

fn an_object() -> impl Strategy<Value = Vec<u8>> {
    let key = "ts|n|l|x|y|s|j|b|d|f|ns|ss|js|z|z2|\\\\u006e";
    let field = (" ?", key, " ?", " ?", a_value(), " ?")
        .prop_map(|(a, key, b, c, value, d)| format!("{a}\"{key}\"{b}:{c}{value}{d}"));
    let whole = prop::collection::vec(field, 0..6).prop_map(|fields| fields.join(","));
    let change = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (whole, change).prop_map(|(fields, change)| {
        let mut payload = format!("{{{fields}}}").into_bytes();
        if let Some((at, byte)) = change {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        payload
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_quick_way_and_the_thorough_one_agree(payloads in prop::collection::vec(an_object(), 1..6)) {
        let (target, mut row) = (every_column(), Row::default());
        for payload in payloads {
            quickly(&target, &mut row, &payload);
        }
    }
}
