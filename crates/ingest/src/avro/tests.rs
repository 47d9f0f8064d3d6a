//! The reader against the reference implementation's writer, over generated rows; schemas that
//! change; bytes that are no records.

use apache_avro::types::Value;
use apache_avro::{Decimal, to_avro_datum};
use arrow::array::RecordBatch;
use proptest::prelude::*;
use schemas::DataType;
use schemas::decoding::{DecoderSpec, Envelope, FormatSpec};

use crate::registry::Schemas;
use crate::testing::{decode, shown, spec};
use crate::{Decoder, NoExpressions, RawMessage};

fn avro(schema: &str) -> DecoderSpec {
    DecoderSpec {
        format: FormatSpec::Avro {
            schema: Some(schema.to_owned()),
        },
        ..DecoderSpec::default()
    }
}

const SCHEMA: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[
  {"name":"skipped","type":["null",{"type":"record","name":"S","fields":[
     {"name":"k","type":"string"},{"name":"more","type":["null","S"]}]}]},
  {"name":"b","type":"boolean"},
  {"name":"i","type":["null","int"]},
  {"name":"l","type":"long"},
  {"name":"f","type":"float"},
  {"name":"d","type":["double","null"]},
  {"name":"s","type":["string","null"]},
  {"name":"y","type":"bytes"},
  {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B","C"]}},
  {"name":"x","type":{"type":"fixed","name":"X","size":4}},
  {"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},
  {"name":"day","type":{"type":"int","logicalType":"date"}},
  {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":3}},
  {"name":"tags","type":{"type":"array","items":"string"}},
  {"name":"m","type":{"type":"map","values":"long"}},
  {"name":"last","type":["null","S"]}]}"#;

const COLUMNS: [(&str, DataType); 15] = [
    ("last", DataType::Json),
    ("b", DataType::Boolean),
    ("i", DataType::Int),
    ("l", DataType::Long),
    ("f", DataType::Float),
    ("d", DataType::Double),
    ("s", DataType::String),
    ("y", DataType::Bytes),
    ("e", DataType::String),
    ("x", DataType::Bytes),
    ("ts", DataType::Timestamp),
    ("day", DataType::Timestamp),
    ("amount", DataType::BigDecimal),
    ("tags[]", DataType::String),
    ("m", DataType::String),
];

#[derive(Clone, Debug)]
struct Made {
    nested: Option<String>,
    b: bool,
    i: Option<i32>,
    l: i64,
    f: f32,
    d: Option<f64>,
    s: Option<String>,
    y: Vec<u8>,
    e: u32,
    x: [u8; 4],
    micros: i64,
    days: i32,
    amount: i64,
    tags: Vec<String>,
    m: Option<(String, i64)>,
}

fn made() -> impl Strategy<Value = Made> {
    let text = "[a-zäß\"\\\\\n 0-9]{0,12}";
    let first = (
        proptest::option::of(text),
        any::<bool>(),
        proptest::option::of(any::<i32>()),
        any::<i64>(),
        any::<f32>(),
        proptest::option::of(any::<f64>()),
        proptest::option::of(text),
        prop::collection::vec(any::<u8>(), 0..6),
    );
    let second = (
        0..3u32,
        any::<[u8; 4]>(),
        -4_000_000_000_000_000..4_000_000_000_000_000i64,
        -100_000..100_000i32,
        any::<i64>(),
        prop::collection::vec(text, 0..4),
        proptest::option::of((text, any::<i64>())),
    );
    (first, second).prop_map(
        |((nested, b, i, l, f, d, s, y), (e, x, micros, days, amount, tags, m))| Made {
            nested,
            b,
            i,
            l,
            f,
            d,
            s,
            y,
            e,
            x,
            micros,
            days,
            amount,
            tags,
            m,
        },
    )
}

fn union(at: u32, value: Value) -> Value {
    Value::Union(at, Box::new(value))
}

impl Made {
    fn nested(&self) -> Value {
        match &self.nested {
            None => union(0, Value::Null),
            Some(text) => {
                let fields = |more: Value| {
                    Value::Record(vec![
                        ("k".to_owned(), Value::String(text.clone())),
                        ("more".to_owned(), more),
                    ])
                };
                union(1, fields(union(1, fields(union(0, Value::Null)))))
            }
        }
    }

    fn value(&self) -> Value {
        let texts = self.tags.iter().cloned().map(Value::String).collect();
        let map = self
            .m
            .iter()
            .map(|(key, value)| (key.clone(), Value::Long(*value)));
        let optional = |at: u32, null: u32, value: Option<Value>| match value {
            Some(value) => union(at, value),
            None => union(null, Value::Null),
        };
        let symbol = ["A", "B", "C"][self.e as usize].to_owned();
        let fields = [
            ("skipped", self.nested()),
            ("b", Value::Boolean(self.b)),
            ("i", optional(1, 0, self.i.map(Value::Int))),
            ("l", Value::Long(self.l)),
            ("f", Value::Float(self.f)),
            ("d", optional(0, 1, self.d.map(Value::Double))),
            ("s", optional(0, 1, self.s.clone().map(Value::String))),
            ("y", Value::Bytes(self.y.clone())),
            ("e", Value::Enum(self.e, symbol)),
            ("x", Value::Fixed(4, self.x.to_vec())),
            ("ts", Value::TimestampMicros(self.micros)),
            ("day", Value::Date(self.days)),
            (
                "amount",
                Value::Decimal(Decimal::from(self.amount.to_be_bytes())),
            ),
            ("tags", Value::Array(texts)),
            ("m", Value::Map(map.collect())),
            ("last", self.nested()),
        ];
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Value::Record(fields.collect())
    }

    /// What the columns show, made in another way than the reader does.
    fn expected(&self) -> Vec<String> {
        use serde_json::json;
        let or_null = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let time = |ms: i64| {
            chrono::DateTime::from_timestamp_millis(ms)
                .unwrap()
                .naive_utc()
                .format("%Y-%m-%dT%H:%M:%S%.f")
                .to_string()
        };
        let nested =
            |text: &String| json!({ "k": text, "more": { "k": text, "more": null } }).to_string();
        let fraction = self.amount.unsigned_abs() % 1000;
        let sign = if self.amount < 0 { "-" } else { "" };
        let whole = self.amount.unsigned_abs() / 1000;
        let list = match self.tags.is_empty() {
            true => "-".to_owned(),
            false => format!("[{}]", self.tags.join(", ")),
        };
        let map = match &self.m {
            None => "{}".to_owned(),
            Some((key, value)) => json!({ key: value }).to_string(),
        };
        vec![
            or_null(self.nested.as_ref().map(nested)),
            self.b.to_string(),
            or_null(self.i.map(|i| i.to_string())),
            self.l.to_string(),
            format!("{:?}", self.f),
            or_null(self.d.map(|d| format!("{d:?}"))),
            or_null(self.s.clone()),
            hex(&self.y),
            ["A", "B", "C"][self.e as usize].to_owned(),
            hex(&self.x),
            time(self.micros.div_euclid(1000)),
            time(i64::from(self.days) * 86_400_000),
            format!("{sign}{whole}.{fraction:03}000000000000000"),
            list,
            map,
        ]
    }
}

/// Arrow's display writes floats in other digits.
fn same(column: &str, found: &str, expected: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let (a, b) = (number(found), number(expected));
    match column {
        "f" => a as f32 == b as f32 || (a.is_nan() && b.is_nan()),
        "d" if found != "-" => a == b || (a.is_nan() && b.is_nan()),
        _ => found == expected,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_the_reference_writes_is_read(rows in prop::collection::vec(made(), 1..5)) {
        let schema = apache_avro::Schema::parse_str(SCHEMA).unwrap();
        let payloads: Vec<Vec<u8>> =
            rows.iter().map(|row| to_avro_datum(&schema, row.value()).unwrap()).collect();
        let mut decoder = Decoder::new(&spec(&COLUMNS, avro(SCHEMA)), &NoExpressions).unwrap();
        let decoded = decode(&mut decoder, &payloads);
        prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let found = shown(&decoded.batches, COLUMNS.len());
        prop_assert_eq!(found.len(), rows.len());
        for (found, row) in found.iter().zip(&rows) {
            for ((found, expected), (name, _)) in found.iter().zip(row.expected()).zip(&COLUMNS) {
                prop_assert!(same(name, found, &expected), "{}: {} {}", name, found, expected);
            }
        }
    }

    /// Cut, lengthened, or with other bytes: a row or a rejection, and never a panic.
    #[test]
    fn damaged_records_are_rows_or_rejections(
        row in made(),
        cut in 0..200usize,
        changes in prop::collection::vec((0..200usize, any::<u8>()), 0..6),
        more in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let schema = apache_avro::Schema::parse_str(SCHEMA).unwrap();
        let mut payload = to_avro_datum(&schema, row.value()).unwrap();
        payload.truncate(payload.len().max(cut) - cut.min(payload.len()) / 8);
        for (at, byte) in changes {
            let length = payload.len().max(1);
            if let Some(place) = payload.get_mut(at % length) {
                *place = byte;
            }
        }
        payload.extend(more);
        let mut decoder = Decoder::new(&spec(&COLUMNS, avro(SCHEMA)), &NoExpressions).unwrap();
        let decoded = decode(&mut decoder, &[payload]);
        let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(rows + decoded.rejected.len(), 1);
    }
}

#[test]
fn hostile_records_end() {
    let record = |of: &str| format!(r#"{{"type":"record","name":"R","fields":[{of}]}}"#);
    let endless = record(r#"{"name":"r","type":"R"}"#);
    let nulls = record(r#"{"name":"a","type":{"type":"array","items":"null"}}"#);
    let huge = record(
        r#"{"name":"a","type":{"type":"array","items":"long"}},{"name":"r","type":"bytes"}"#,
    );
    // A block of 2^62 items, and a length beyond all memory.
    let many = vec![0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    let cases = [
        (&endless, vec![], "deeper"),
        (&nulls, many.clone(), "items"),
        (&huge, many.clone(), "items"),
        (&huge, [vec![0], many].concat(), "ends before"),
        (&huge, vec![0, 1], "a length"),
        (&huge, vec![0xFF; 12], "64 bits"),
    ];
    for (schema, payload, wanted) in cases {
        for name in ["a", "r", "other"] {
            let mut decoder = Decoder::new(
                &spec(&[(name, DataType::Json)], avro(schema)),
                &NoExpressions,
            )
            .unwrap();
            let decoded = decode(&mut decoder, std::slice::from_ref(&payload));
            let reason = &decoded.rejected[0].reason;
            assert!(reason.contains(wanted), "{schema} {payload:?}: {reason}");
        }
    }
}

#[test]
fn fields_go_by_name_whatever_the_writer() {
    let registry = DecoderSpec {
        format: FormatSpec::Avro { schema: None },
        framed: true,
        ..DecoderSpec::default()
    };
    let columns = [("a", DataType::Long), ("b", DataType::String)];
    let mut decoder = Decoder::new(&spec(&columns, registry), &NoExpressions).unwrap();
    let payloads = [
        vec![0, 0, 0, 0, 1, 2],
        vec![0, 0, 0, 0, 2, 2, b'x', 4],
        vec![0, 0, 0, 0, 3],
        vec![1, 0, 0, 0, 1, 2],
    ];
    let messages = payloads.iter().map(|payload| RawMessage {
        payload: Some(payload),
        ..RawMessage::default()
    });
    assert_eq!(decoder.unknown_schemas(messages), [1, 2, 3]);
    let a = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    let inner = r#"{"type":"record","name":"I","fields":[{"name":"a","type":"long"}]}"#;
    let b = r#"{"type":"record","name":"R","fields":[{"name":"b","type":"string"},
                {"name":"a","type":"long"}]}"#;
    decoder.learn_schema(1, Ok(Schemas::avro([a.to_owned()])));
    decoder.learn_schema(2, Ok(Schemas::avro([inner.to_owned(), b.to_owned()])));
    decoder.learn_schema(3, Err("the schema 3 is unknown".to_owned()));
    let decoded = decode(&mut decoder, &payloads);
    assert_eq!(shown(&decoded.batches, 2), [["1", "-"], ["2", "x"]]);
    assert_eq!(decoded.rejected[0].reason, "the schema 3 is unknown");
    assert!(decoded.rejected[1].reason.contains("not framed"));
}

#[test]
fn changes_of_debezium_in_avro() {
    let schema = r#"{"type":"record","name":"Envelope","fields":[
        {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
            {"name":"id","type":"int"},{"name":"name","type":["null","string"]}]}]},
        {"name":"after","type":["null","Value"]},
        {"name":"source","type":{"type":"record","name":"Source","fields":[
            {"name":"table","type":"string"},{"name":"lsn","type":["null","long"]}]}},
        {"name":"op","type":"string"},
        {"name":"ts_ms","type":["null","long"]}]}"#;
    let writer = apache_avro::Schema::parse_str(schema).unwrap();
    let image = |id: Option<i32>| match id {
        None => union(0, Value::Null),
        Some(id) => union(
            1,
            Value::Record(vec![
                ("id".to_owned(), Value::Int(id)),
                ("name".to_owned(), union(1, Value::String(format!("n{id}")))),
            ]),
        ),
    };
    let change = |before, after, op: &str| {
        let value = Value::Record(vec![
            ("before".to_owned(), image(before)),
            ("after".to_owned(), image(after)),
            (
                "source".to_owned(),
                Value::Record(vec![
                    ("table".to_owned(), Value::String("t".to_owned())),
                    ("lsn".to_owned(), union(1, Value::Long(5))),
                ]),
            ),
            ("op".to_owned(), Value::String(op.to_owned())),
            ("ts_ms".to_owned(), union(1, Value::Long(77))),
        ]);
        to_avro_datum(&writer, value).unwrap()
    };
    let decoder = DecoderSpec {
        envelope: Envelope::Debezium,
        ..avro(schema)
    };
    let columns = [
        ("id", DataType::Long),
        ("name", DataType::String),
        ("__deleted", DataType::Boolean),
        ("__op", DataType::String),
        ("__source_table", DataType::String),
        ("__lsn", DataType::Long),
    ];
    let mut decoder = Decoder::new(&spec(&columns, decoder), &NoExpressions).unwrap();
    let payloads = [
        change(None, Some(1), "c"),
        change(Some(1), Some(2), "u"),
        change(Some(2), None, "d"),
        change(Some(3), None, "u"),
        change(None, None, "t"),
    ];
    let decoded = decode(&mut decoder, &payloads);
    assert_eq!(
        shown(&decoded.batches, 6),
        [
            ["1", "n1", "false", "c", "t", "5"],
            ["2", "n2", "false", "u", "t", "5"],
            ["2", "n2", "true", "d", "t", "5"],
        ]
    );
    assert_eq!((decoded.rejected.len(), decoded.filtered), (1, 1));
}
