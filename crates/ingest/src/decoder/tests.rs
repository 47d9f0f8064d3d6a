//! Formats beside JSON and Avro, each against its reference implementation, and what is around
//! records: keys, headers, packing, envelopes, unnesting.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet,
};
use schemas::DataType;
use schemas::decoding::{
    Collections, Compression, CsvSpec, DecoderSpec, Descriptor, Envelope, FormatSpec, NestedSpec,
    Tombstones, TooLong,
};

use crate::testing::{decode, shown, spec};
use crate::{Decoder, NoExpressions, RawMessage};

fn of(format: FormatSpec) -> DecoderSpec {
    DecoderSpec {
        format,
        ..DecoderSpec::default()
    }
}

fn decoder(columns: &[(&str, DataType)], decoder: DecoderSpec) -> Decoder {
    Decoder::new(&spec(columns, decoder), &NoExpressions).unwrap()
}

fn csv_spec(names: &[&str]) -> FormatSpec {
    FormatSpec::Csv(CsvSpec {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        trim: false,
        ..CsvSpec::default()
    })
}

proptest! {
    #[test]
    fn csv_that_the_reference_writes_is_read(
        rows in prop::collection::vec(("[a-z,;\"\n ä]{0,9}", any::<i32>(), "[x\"]{0,2}"), 1..6),
    ) {
        let payloads: Vec<Vec<u8>> = rows.iter().map(|(s, n, t)| {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record([s.as_str(), &n.to_string(), t]).unwrap();
            writer.into_inner().unwrap()
        }).collect();
        let columns = [("n", DataType::Int), ("s", DataType::String), ("t", DataType::String)];
        let mut decoder = decoder(&columns, of(csv_spec(&["s", "n", "t"])));
        let decoded = decode(&mut decoder, &payloads);
        prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let or_null = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
        let expected: Vec<Vec<String>> =
            rows.iter().map(|(s, n, t)| vec![n.to_string(), or_null(s), or_null(t)]).collect();
        prop_assert_eq!(shown(&decoded.batches, 3), expected);
    }

    #[test]
    fn any_bytes_are_a_row_or_a_rejection(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8),
    ) {
        let columns = [("a", DataType::Long), ("b[]", DataType::String), ("c", DataType::Json)];
        let formats = [
            csv_spec(&["a", "b", "c"]),
            protobuf(),
            FormatSpec::Arrow,
            FormatSpec::Json,
        ];
        for format in formats {
            let mut decoder = decoder(&columns, of(format));
            let decoded = decode(&mut decoder, &payloads);
            let rows: u64 = decoded.batches.iter().map(|batch| batch.num_rows() as u64).sum();
            let told = rows + decoded.rejected.len() as u64 + decoded.filtered;
            prop_assert_eq!(told - decoded.unnested, payloads.len() as u64);
        }
    }
}

#[test]
fn csv_as_the_config_says() {
    let format = FormatSpec::Csv(CsvSpec {
        names: ["a", "tags", "unused"].map(str::to_owned).to_vec(),
        delimiter: '|',
        null_text: Some("NULL".to_owned()),
        skip_header: true,
        ..CsvSpec::default()
    });
    let mut decoder = decoder(
        &[("a", DataType::Long), ("tags[]", DataType::Int)],
        of(format),
    );
    let payloads = [
        b"a|tags|unused\n 7 |1;2;NULL|x\n".to_vec(),
        b"a|tags|unused\r\nNULL||".to_vec(),
        b"a|tags|unused\n1|2".to_vec(),
        b"a|tags|unused\n1|2|3|4".to_vec(),
        b"a|tags|unused\n1|2|3\n4|5|6".to_vec(),
        b"a|tags|unused".to_vec(),
        b"a|tags|unused\nx|2|3".to_vec(),
    ];
    let decoded = decode(&mut decoder, &payloads);
    assert_eq!(shown(&decoded.batches, 2), [["7", "[1, 2]"], ["-", "-"]]);
    let reasons: Vec<&str> = decoded
        .rejected
        .iter()
        .map(|row| row.reason.as_str())
        .collect();
    for (reason, wanted) in reasons
        .iter()
        .zip(["2 fields", "fields", "several", "no", "`a`"])
    {
        assert!(reason.contains(wanted), "{reasons:?}");
    }
}

fn proto_field(name: &str, number: i32, of: Type, label: Label) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(of.into()),
        label: Some(label.into()),
        type_name: match of {
            Type::Message => Some(".p.Inner".to_owned()),
            Type::Enum => Some(".p.Color".to_owned()),
            _ => None,
        },
        ..FieldDescriptorProto::default()
    }
}

fn descriptor() -> FileDescriptorSet {
    let field = |name: &str, number, of| proto_field(name, number, of, Label::Optional);
    let repeated = |name: &str, number, of| proto_field(name, number, of, Label::Repeated);
    let message = |name: &str, fields: Vec<FieldDescriptorProto>| DescriptorProto {
        name: Some(name.to_owned()),
        field: fields,
        ..DescriptorProto::default()
    };
    let color = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    FileDescriptorSet {
        file: vec![FileDescriptorProto {
            name: Some("p.proto".to_owned()),
            package: Some("p".to_owned()),
            syntax: Some("proto3".to_owned()),
            enum_type: vec![EnumDescriptorProto {
                name: Some("Color".to_owned()),
                value: vec![color("RED", 0), color("BLUE", 1)],
                ..EnumDescriptorProto::default()
            }],
            message_type: vec![
                message(
                    "Row",
                    vec![
                        field("i", 1, Type::Int32),
                        field("l", 2, Type::Sint64),
                        field("d", 3, Type::Double),
                        field("f", 4, Type::Float),
                        field("s", 5, Type::String),
                        field("y", 6, Type::Bytes),
                        field("o", 7, Type::Bool),
                        field("c", 8, Type::Enum),
                        field("inner", 9, Type::Message),
                        repeated("packed", 10, Type::Int64),
                        repeated("texts", 11, Type::String),
                        field("x", 12, Type::Sfixed64),
                        field("unused", 13, Type::Message),
                    ],
                ),
                message("Inner", vec![field("k", 1, Type::Int64)]),
            ],
            ..FileDescriptorProto::default()
        }],
    }
}

fn protobuf() -> FormatSpec {
    FormatSpec::Protobuf {
        descriptor: Descriptor::Inline(STANDARD.encode(descriptor().encode_to_vec())),
        message: "p.Row".to_owned(),
    }
}

const PROTO_COLUMNS: [(&str, DataType); 12] = [
    ("i", DataType::Int),
    ("l", DataType::Long),
    ("d", DataType::Double),
    ("f", DataType::Float),
    ("s", DataType::String),
    ("y", DataType::Bytes),
    ("o", DataType::Boolean),
    ("c", DataType::String),
    ("inner", DataType::Json),
    ("packed[]", DataType::Long),
    ("texts[]", DataType::String),
    ("x", DataType::Long),
];

type ProtoRow = (
    (i32, i64, f64, f32, String, Vec<u8>),
    (bool, i32, Option<i64>, Vec<i64>, Vec<String>, i64),
);

fn encoded(row: &ProtoRow) -> Vec<u8> {
    let pool = DescriptorPool::decode(descriptor().encode_to_vec().as_slice()).unwrap();
    let mut message = DynamicMessage::new(pool.get_message_by_name("p.Row").unwrap());
    let ((i, l, d, f, s, y), (o, c, inner, packed, texts, x)) = row.clone();
    let nested = |k: i64| {
        let mut inner = DynamicMessage::new(pool.get_message_by_name("p.Inner").unwrap());
        inner.set_field_by_name("k", Value::I64(k));
        Value::Message(inner)
    };
    let fields = [
        ("i", Value::I32(i)),
        ("l", Value::I64(l)),
        ("d", Value::F64(d)),
        ("f", Value::F32(f)),
        ("s", Value::String(s)),
        ("y", Value::Bytes(y.into())),
        ("o", Value::Bool(o)),
        ("c", Value::EnumNumber(c)),
        (
            "packed",
            Value::List(packed.into_iter().map(Value::I64).collect()),
        ),
        (
            "texts",
            Value::List(texts.into_iter().map(Value::String).collect()),
        ),
        ("x", Value::I64(x)),
        ("unused", nested(5)),
    ];
    for (name, value) in fields {
        message.set_field_by_name(name, value);
    }
    if let Some(k) = inner {
        message.set_field_by_name("inner", nested(k));
    }
    message.encode_to_vec()
}

fn proto_row() -> impl Strategy<Value = ProtoRow> {
    let text = "[a-zä]{0,5}";
    (
        (
            any::<i32>(),
            any::<i64>(),
            -1e9..1e9f64,
            -1e9..1e9f32,
            text,
            prop::collection::vec(any::<u8>(), 0..5),
        ),
        (
            any::<bool>(),
            0..2i32,
            proptest::option::of(1..100i64),
            prop::collection::vec(any::<i64>(), 0..4),
            prop::collection::vec(text, 0..3),
            any::<i64>(),
        ),
    )
}

proptest! {
    #[test]
    fn protobuf_that_the_reference_writes_is_read(row in proto_row()) {
        let mut decoder = decoder(&PROTO_COLUMNS, of(protobuf()));
        let decoded = decode(&mut decoder, &[encoded(&row)]);
        prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let found = shown(&decoded.batches, PROTO_COLUMNS.len()).remove(0);
        let ((i, l, d, f, s, y), (o, c, inner, packed, texts, x)) = row;
        let hex: String = y.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = |values: Vec<String>| match values.is_empty() {
            true => "-".to_owned(),
            false => format!("[{}]", values.join(", ")),
        };
        let inner = inner.map_or("-".to_owned(), |k| format!("{{\"k\":{k}}}"));
        let expected = [
            i.to_string(), l.to_string(), d.to_string(), f.to_string(), s, hex, o.to_string(),
            ["RED", "BLUE"][c as usize].to_owned(), inner,
            list(packed.iter().map(ToString::to_string).collect()), list(texts), x.to_string(),
        ];
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let is_same = match at {
                2 => found.parse::<f64>() == expected.parse::<f64>(),
                // Two texts may be the shortest of one number.
                3 => found.parse::<f32>() == expected.parse::<f32>(),
                _ => found == expected,
            };
            prop_assert!(is_same, "{}: {found} {expected}", PROTO_COLUMNS[at].0);
        }
    }

    #[test]
    fn damaged_protobuf_is_a_row_or_a_rejection(
        row in proto_row(),
        changes in prop::collection::vec((0..100usize, any::<u8>()), 1..6),
        cut in 0..10usize,
    ) {
        let mut payload = encoded(&row);
        let length = payload.len();
        for (at, byte) in changes {
            payload[at % length] = byte;
        }
        payload.truncate(length - cut.min(length));
        let mut decoder = decoder(&PROTO_COLUMNS, of(protobuf()));
        let decoded = decode(&mut decoder, &[payload]);
        let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(rows + decoded.rejected.len(), 1);
    }
}

fn arrow_message() -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([
        (
            "a",
            Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef,
        ),
        (
            "s",
            Arc::new(StringArray::from(vec!["x", "y", "z"])) as ArrayRef,
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![1_000, 2_500, 3_000])) as ArrayRef,
        ),
    ])
    .unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.write(&batch.slice(0, 1)).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn arrow_gives_several_rows_a_message() {
    let columns = [
        ("a", DataType::Long),
        ("s", DataType::String),
        ("at", DataType::Timestamp),
    ];
    let mut decoder = decoder(&columns, of(FormatSpec::Arrow));
    let decoded = decode(&mut decoder, &[arrow_message(), b"no arrow".to_vec()]);
    let time = |ms: u32| format!("1970-01-01T00:00:00.00{ms}");
    assert_eq!(
        shown(&decoded.batches, 3),
        [
            ["1".to_owned(), "x".to_owned(), time(1)],
            ["-".to_owned(), "y".to_owned(), time(2)],
            ["3".to_owned(), "z".to_owned(), time(3)],
            ["1".to_owned(), "x".to_owned(), time(1)],
        ]
    );
    assert_eq!((decoded.rejected.len(), decoded.unnested), (1, 3));
    assert_eq!(
        decoded.batches.len(),
        1,
        "the rows of a message are not taken apart"
    );
}

proptest! {
    #[test]
    fn damaged_arrow_is_taken_or_rejected(
        changes in prop::collection::vec((0..2_000usize, any::<u8>()), 1..8),
        cut in 0..600usize,
    ) {
        let mut payload = arrow_message();
        let length = payload.len();
        for (at, byte) in changes {
            payload[at % length] = byte;
        }
        payload.truncate(length - cut.min(length) / 4);
        let columns = [("a", DataType::Long), ("s", DataType::String)];
        let mut decoder = decoder(&columns, of(FormatSpec::Arrow));
        let decoded = decode(&mut decoder, &[payload]);
        let rows: u64 = decoded.batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let told = rows + decoded.rejected.len() as u64 + decoded.filtered;
        prop_assert_eq!(told - decoded.unnested, 1);
    }
}

#[test]
fn columns_from_around_the_record() {
    let columns = [
        ("__key", DataType::String),
        ("__header$trace", DataType::String),
        ("__metadata$offset", DataType::Long),
        ("__metadata$partition", DataType::Int),
        ("__metadata$recordTimestamp", DataType::Timestamp),
    ];
    let headers = [
        (b"trace".to_vec(), Some(b"old".to_vec())),
        (b"trace".to_vec(), Some(b"new".to_vec())),
    ];
    let message = RawMessage {
        partition: 3,
        offset: 9,
        timestamp_ms: 5,
        key: Some(b"k"),
        headers: &headers,
        payload: Some(br#"{"__key": "of the record"}"#),
    };
    let mut on = decoder(
        &columns,
        DecoderSpec {
            metadata: true,
            ..DecoderSpec::default()
        },
    );
    let decoded = on.decode([message].into_iter(), 0);
    assert_eq!(
        shown(&decoded.batches, 5),
        [["k", "new", "9", "3", "1970-01-01T00:00:00.005",]]
    );
    let mut off = decoder(&columns, DecoderSpec::default());
    let decoded = off.decode([message].into_iter(), 0);
    assert_eq!(shown(&decoded.batches, 3), [["of the record", "-", "-"]]);
}

#[test]
fn changes_of_debezium_in_json() {
    let columns = [
        ("id", DataType::Long),
        ("name", DataType::String),
        ("__deleted", DataType::Boolean),
        ("__ts_ms", DataType::Timestamp),
        ("__source_ts_ms", DataType::Timestamp),
        ("__table", DataType::String),
    ];
    let mut decoder = decoder(
        &columns,
        DecoderSpec {
            envelope: Envelope::Debezium,
            ..DecoderSpec::default()
        },
    );
    let texts: [&[u8]; 6] = [
        br#"{"before":null,"after":{"id":1,"name":"a"},"op":"c","ts_ms":1,
            "source":{"ts_ms":2,"table":"t\u00e4","lsn":3,"other":{"a":[1]}}}"#,
        br#"{"schema":{"x":[1]},"payload":{"before":{"id":1},"after":{"id":1,"name":"b"},"op":"u","source":null}}"#,
        br#"{"before":{"id":1,"name":"b"},"after":null,"op":"d"}"#,
        br#"{"before":null,"after":null,"op":"d"}"#,
        br#"{"id":1}"#,
        br#"{"op":"t"}"#,
    ];
    let mut messages: Vec<RawMessage<'_>> = texts
        .iter()
        .map(|text| RawMessage {
            payload: Some(text),
            ..RawMessage::default()
        })
        .collect();
    messages.push(RawMessage::default());
    let decoded = decoder.decode(messages.into_iter(), 0);
    let time = |ms| match ms {
        1 => "1970-01-01T00:00:00.001",
        _ => "1970-01-01T00:00:00.002",
    };
    assert_eq!(
        shown(&decoded.batches, 6),
        [
            ["1", "a", "false", time(1), time(2), "tä"],
            ["1", "b", "false", "-", "-", "-"],
            ["1", "b", "true", "-", "-", "-"],
        ]
    );
    assert_eq!((decoded.rejected.len(), decoded.filtered), (2, 2));
}

#[test]
fn tombstones_as_the_config_says() {
    let columns = [
        ("id", DataType::Long),
        ("ts", DataType::Timestamp),
        ("gone", DataType::Boolean),
    ];
    let made = |tombstones| {
        let mut spec = spec(
            &columns,
            DecoderSpec {
                tombstones,
                ..DecoderSpec::default()
            },
        );
        let table = Arc::make_mut(&mut spec);
        table.primary_key = vec!["id".to_owned()];
        table.time_column = Some("ts".to_owned());
        let mut decoder = Decoder::new(&spec, &NoExpressions).unwrap();
        let keys: [Option<&[u8]>; 4] = [Some(b"7"), Some(br#"{"id": 8}"#), Some(b"x"), None];
        let messages = keys.into_iter().map(|key| RawMessage {
            key,
            timestamp_ms: 5,
            ..RawMessage::default()
        });
        decoder.decode(messages, 0)
    };
    let deleted = made(Tombstones::Delete("gone".to_owned()));
    let time = "1970-01-01T00:00:00.005";
    assert_eq!(
        shown(&deleted.batches, 3),
        [["7", time, "true"], ["8", time, "true"]]
    );
    assert_eq!(deleted.rejected.len(), 2);
    assert_eq!(made(Tombstones::Skip).filtered, 4);
    assert_eq!(made(Tombstones::Usual).rejected.len(), 4);
}

#[test]
fn nested_records_of_every_format_are_unnested() {
    let nested = NestedSpec {
        delimiter: ".".to_owned(),
        unnest: vec!["packed".to_owned()],
        collections: Collections::NonPrimitive,
        rename: vec![("inner.".to_owned(), "in_".to_owned())],
    };
    let columns = [
        ("i", DataType::Int),
        ("packed", DataType::Long),
        ("in_k", DataType::Long),
    ];
    let mut spec = spec(&columns, of(protobuf()));
    Arc::make_mut(&mut spec).pipeline.nested = Some(nested);
    let mut decoder = Decoder::new(&spec, &NoExpressions).unwrap();
    let row: ProtoRow = (
        (7, 0, 0.0, 0.0, String::new(), Vec::new()),
        (false, 0, Some(4), vec![1, 2], Vec::new(), 0),
    );
    let decoded = decode(&mut decoder, &[encoded(&row), vec![0xFF]]);
    assert_eq!(
        shown(&decoded.batches, 3),
        [["7", "1", "4"], ["7", "2", "4"]]
    );
    assert_eq!((decoded.rejected.len(), decoded.unnested), (1, 1));
}

#[test]
fn lengths_and_errors_as_the_table_says() {
    let columns = [("cut", DataType::String), ("n", DataType::Int)];
    let texts = [
        br#"{"cut": "abcdef", "n": "x"}"#.to_vec(),
        br#"{"cut": "abc", "n": [1]}"#.to_vec(),
        br#"{"cut": "abc", "n": 1}"#.to_vec(),
    ];
    let results = [
        (TooLong::Usual, true, "abc", 2, 0),
        (TooLong::Error, true, "-", 2, 0),
        (TooLong::Default, true, "null", 2, 0),
        (TooLong::Keep, true, "abcdef", 2, 0),
        (TooLong::Usual, false, "abc", 0, 2),
    ];
    for (too_long, lenient, first, incomplete, rejected) in results {
        let mut spec = spec(&columns, DecoderSpec::default());
        let table = Arc::make_mut(&mut spec);
        table.columns[0].length_max = 3;
        table.columns[0].too_long = too_long;
        table.pipeline.continue_on_error = lenient;
        let mut decoder = Decoder::new(&spec, &NoExpressions).unwrap();
        let decoded = decode(&mut decoder, &texts);
        let rows = shown(&decoded.batches, 2);
        assert_eq!(rows[0][0], first, "{too_long:?}");
        assert_eq!(
            (decoded.incomplete, decoded.rejected.len()),
            (incomplete, rejected)
        );
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    let told = |change: &dyn Fn(&mut DecoderSpec), nested: bool| {
        let mut decoder = DecoderSpec::default();
        change(&mut decoder);
        let mut spec = spec(&[("a", DataType::Long)], decoder);
        Arc::make_mut(&mut spec).pipeline.nested = nested.then(|| NestedSpec {
            delimiter: ".".to_owned(),
            unnest: Vec::new(),
            collections: Collections::All,
            rename: Vec::new(),
        });
        Decoder::new(&spec, &NoExpressions).map(drop).unwrap_err()
    };
    let deletes = |decoder: &mut DecoderSpec| {
        decoder.tombstones = Tombstones::Delete("a".to_owned());
    };
    assert!(told(&deletes, false).contains("primary key"));
    let packed = |decoder: &mut DecoderSpec| {
        decoder.framed = true;
        decoder.compression = Compression::Gzip;
    };
    assert!(told(&packed, false).contains("framed"));
    let arrow = |decoder: &mut DecoderSpec| decoder.format = FormatSpec::Arrow;
    assert!(told(&arrow, true).contains("complexTypeConfig"));
    let no_schema = |decoder: &mut DecoderSpec| {
        decoder.format = FormatSpec::Avro {
            schema: Some("{}".to_owned()),
        };
    };
    assert!(told(&no_schema, false).contains("no `type`"));
}
