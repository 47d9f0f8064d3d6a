//! Decodes any bytes in every format: each message is rows or a rejection, never a panic, an
//! endless loop, or memory that has no relation to the message.
//!
//! The first byte chooses among the decoders, the rest is the payload and, where there is one, the
//! key of a message. With `FORMAT=avro` only decoders whose name begins so are chosen.
//!
//! `cargo +nightly fuzz run decoder -- -malloc_limit_mb=512 -rss_limit_mb=1024 -max_len=4096`

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ingest::registry::Schemas;
use ingest::{Decoder, NoExpressions, RawMessage};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};
use schemas::decoding::{
    Collections, Compression, CsvSpec, DecoderSpec, Descriptor, Envelope, FormatSpec, NestedSpec,
    Tombstones,
};
use schemas::table::StreamSpec;
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec, TableType};

const COLUMNS: [(&str, DataType); 11] = [
    ("i", DataType::Int),
    ("l", DataType::Long),
    ("f", DataType::Float),
    ("d", DataType::Double),
    ("b", DataType::Boolean),
    ("ts", DataType::Timestamp),
    ("s", DataType::String),
    ("y", DataType::Bytes),
    ("j", DataType::Json),
    ("m", DataType::BigDecimal),
    ("u", DataType::Uuid),
];
/// Columns of several values.
const SEVERAL: [(&str, DataType); 3] = [
    ("is", DataType::Int),
    ("ss", DataType::String),
    ("js", DataType::Json),
];
const NAMES: [&str; 12] = [
    "json",
    "json nested",
    "json gzip",
    "json zstd",
    "json lz4",
    "avro",
    "avro framed",
    "protobuf",
    "csv",
    "arrow",
    "debezium",
    "debezium avro",
];

thread_local! {
    static DECODERS: RefCell<Vec<Decoder>> = RefCell::new(decoders());
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, payload)) = data.split_first() else {
        return;
    };
    DECODERS.with_borrow_mut(|decoders| {
        let at = usize::from(*kind) % decoders.len();
        let message = RawMessage {
            offset: 7,
            timestamp_ms: 1,
            key: payload.first_chunk::<8>().map(<[u8; 8]>::as_slice),
            // Now and then there is none.
            payload: (*kind < 250).then_some(payload),
            ..RawMessage::default()
        };
        let decoded = decoders[at].decode([message].into_iter(), 1);
        let rows: usize = decoded.batches.iter().map(|batch| batch.num_rows()).sum();
        let told = rows as u64 + decoded.rejected.len() as u64 + decoded.filtered;
        assert_eq!(told, decoded.unnested + 1, "the message is accounted for");
    });
});

fn decoders() -> Vec<Decoder> {
    let only = std::env::var("FORMAT").ok();
    let wanted = NAMES
        .iter()
        .filter(|name| only.as_ref().is_none_or(|only| name.starts_with(only)));
    let decoders: Vec<Decoder> = wanted.map(|name| decoder(name)).collect();
    assert!(!decoders.is_empty(), "FORMAT is the begin of one of {NAMES:?}");
    decoders
}

fn decoder(name: &str) -> Decoder {
    let mut decoder = DecoderSpec {
        tombstones: Tombstones::Delete("b".to_owned()),
        ..DecoderSpec::default()
    };
    let mut nested = None;
    match name {
        "json nested" => {
            nested = Some(NestedSpec {
                delimiter: ".".to_owned(),
                unnest: vec!["j".to_owned(), "j.js".to_owned()],
                collections: Collections::NonPrimitive,
                rename: vec![("j.".to_owned(), String::new())],
            });
        }
        "debezium" => decoder.envelope = Envelope::Debezium,
        "avro" => decoder.format = avro(record()),
        "avro framed" => {
            decoder.format = FormatSpec::Avro { schema: None };
            decoder.framed = true;
        }
        "debezium avro" => {
            decoder.format = avro(change());
            decoder.envelope = Envelope::Debezium;
        }
        "protobuf" => decoder.format = protobuf(),
        "csv" => {
            let names = COLUMNS
                .iter()
                .chain(&SEVERAL)
                .map(|(name, _)| (*name).to_owned());
            decoder.format = FormatSpec::Csv(CsvSpec {
                names: names.collect(),
                ..CsvSpec::default()
            });
        }
        "arrow" => decoder.format = FormatSpec::Arrow,
        "json gzip" => decoder.compression = Compression::Gzip,
        "json zstd" => decoder.compression = Compression::Zstd,
        "json lz4" => decoder.compression = Compression::Lz4,
        _ => {}
    }
    let mut spec = table(decoder);
    spec.pipeline.nested = nested;
    let mut decoder = Decoder::new(&Arc::new(spec), &NoExpressions).expect("a spec that is right");
    if name == "avro framed" {
        decoder.learn_schema(7, Ok(Schemas::avro([record()])));
        decoder.learn_schema(8, Err("there is none".to_owned()));
    }
    decoder
}

fn table(decoder: DecoderSpec) -> TableSpec {
    let column = |(name, of): &(&str, DataType)| ColumnSpec::new(*name, *of, FieldRole::Dimension);
    let mut columns: Vec<ColumnSpec> = COLUMNS.iter().map(column).collect();
    columns.extend(SEVERAL.iter().map(|of| {
        let mut column = column(of);
        column.multi_value = true;
        column
    }));
    TableSpec {
        primary_key: vec!["s".to_owned()],
        streams: vec![StreamSpec {
            decoder,
            ..StreamSpec::kafka("", "")
        }],
        ..TableSpec::new("t".parse().expect("a name"), TableType::Realtime, columns)
    }
}

fn avro(schema: String) -> FormatSpec {
    FormatSpec::Avro {
        schema: Some(schema),
    }
}

/// All kinds of types, a record that holds itself among them.
fn record() -> String {
    r#"{"type":"record","name":"R","fields":[
        {"name":"i","type":"int"},
        {"name":"l","type":["null","long"]},
        {"name":"f","type":"float"},
        {"name":"d","type":["null","double","string"]},
        {"name":"b","type":"boolean"},
        {"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"s","type":["null","string",{"type":"enum","name":"E","symbols":["A","B"]}]},
        {"name":"y","type":["bytes",{"type":"fixed","name":"F","size":3}]},
        {"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}},
        {"name":"is","type":{"type":"array","items":["null","int"]}},
        {"name":"ss","type":{"type":"array","items":"string"}},
        {"name":"js","type":{"type":"map","values":{"type":"array","items":"double"}}},
        {"name":"j","type":["null","R"]},
        {"name":"unknown","type":{"type":"array","items":["null","R"]}}
    ]}"#
    .to_owned()
}

fn change() -> String {
    format!(
        r#"{{"type":"record","name":"C","fields":[
            {{"name":"before","type":["null",{}]}},{{"name":"after","type":["null","R"]}},
            {{"name":"op","type":"string"}},{{"name":"ts_ms","type":["null","long"]}}]}}"#,
        record()
    )
}

fn protobuf() -> FormatSpec {
    let field = |name: &str, number, kind: Type, of: Option<&str>, label| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        type_name: of.map(str::to_owned),
        label: Some(i32::from(label)),
        ..FieldDescriptorProto::default()
    };
    let one = Label::Optional;
    let entry = DescriptorProto {
        name: Some("JsEntry".to_owned()),
        field: vec![
            field("key", 1, Type::String, None, one),
            field("value", 2, Type::Message, Some(".M"), one),
        ],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    };
    let message = DescriptorProto {
        name: Some("M".to_owned()),
        field: vec![
            field("i", 1, Type::Int32, None, one),
            field("l", 2, Type::Uint64, None, one),
            field("f", 3, Type::Float, None, one),
            field("d", 4, Type::Double, None, one),
            field("b", 5, Type::Bool, None, one),
            field("ts", 6, Type::Sfixed64, None, one),
            field("s", 7, Type::String, None, one),
            field("y", 8, Type::Bytes, None, one),
            field("j", 9, Type::Message, Some(".M"), one),
            field("m", 10, Type::String, None, one),
            field("u", 11, Type::Bytes, None, one),
            field("is", 12, Type::Sint32, None, Label::Repeated),
            field("ss", 13, Type::String, None, Label::Repeated),
            field("js", 14, Type::Message, Some(".M.JsEntry"), Label::Repeated),
        ],
        nested_type: vec![entry],
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("m.proto".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![message],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] };
    FormatSpec::Protobuf {
        descriptor: Descriptor::Inline(STANDARD.encode(set.encode_to_vec())),
        message: "M".to_owned(),
    }
}
