//! What nobody should send, in each format: NUL in texts, whole numbers of more than 64 bits,
//! fields that come twice, values that are nested without end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use schemas::DataType;
use schemas::decoding::{CsvSpec, DecoderSpec, Descriptor, Envelope, FormatSpec};

use crate::testing::{decode, messages, shown, spec};
use crate::{Decoder, NoExpressions};

const DEEP: usize = 10_000;
const COLUMNS: [(&str, DataType); 4] = [
    ("n", DataType::Long),
    ("u", DataType::BigDecimal),
    ("s", DataType::String),
    ("j", DataType::Json),
];

fn of(format: FormatSpec) -> DecoderSpec {
    DecoderSpec {
        format,
        ..DecoderSpec::default()
    }
}

/// The values of a message's row, or why it is rejected.
fn read(decoder: &DecoderSpec, payload: &[u8]) -> Result<Vec<String>, String> {
    let spec = spec(&COLUMNS, decoder.clone());
    let mut decoder = Decoder::new(&spec, &NoExpressions).unwrap();
    let mut decoded = decode(&mut decoder, &[payload.to_vec()]);
    match decoded.rejected.pop() {
        Some(rejected) => Err(rejected.reason),
        None => Ok(shown(&decoded.batches, COLUMNS.len()).remove(0)),
    }
}

fn row(n: &str, u: &str, s: &str) -> Vec<String> {
    [n, u, s, "-"].map(str::to_owned).to_vec()
}

fn nested(open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP))
}

#[test]
fn no_more_messages_are_taken_than_their_rows_have_room() {
    let payloads = ["a", "b", "c", "d", "e"].map(|text| {
        let text = text.repeat(400);
        format!(r#"{{"s":"{text}"}}"#).into_bytes()
    });
    let spec = spec(&COLUMNS, DecoderSpec::default());
    let mut decoder = Decoder::new(&spec, &NoExpressions).unwrap();
    let mut taken = |from: usize| {
        let decoded = decoder.decode_within(messages(&payloads).skip(from), 0, 600);
        (decoded.taken, decoded.batches[0].num_rows())
    };
    assert_eq!(taken(0), (2, 2));
    assert_eq!(taken(2), (2, 2));
    assert_eq!(taken(4), (1, 1));
}

#[test]
fn json_and_debezium() {
    let debezium = DecoderSpec {
        envelope: Envelope::Debezium,
        ..DecoderSpec::default()
    };
    let wrapped = |json: &str| format!(r#"{{"op":"c","after":{json},"before":{json}}}"#);
    let both = |json: &str| {
        let plain = read(&DecoderSpec::default(), json.as_bytes());
        let change = read(&debezium, wrapped(json).as_bytes());
        assert_eq!(plain.is_ok(), change.is_ok(), "{plain:?} {change:?}");
        plain
    };
    let zeros = ".000000000000000000";
    let wide = "18446744073709551616";
    assert_eq!(
        both(&format!(
            r#"{{"n":1,"n":2,"u":{wide},"s":"a\u0000b","x":{wide}}}"#
        ))
        .unwrap(),
        row("2", &format!("{wide}{zeros}"), "a\0b")
    );
    assert!(
        both(r#"{"n":9223372036854775808}"#)
            .unwrap_err()
            .contains("`n` is LONG")
    );
    assert!(both("{\"s\":\"a\0b\"}").is_err());
    let deep = nested("[", "]");
    assert!(
        both(&format!(r#"{{"s":{deep}}}"#))
            .unwrap_err()
            .contains("recursion")
    );
    let kept = both(&format!(r#"{{"j":{deep},"x":{deep}}}"#)).unwrap();
    assert_eq!(kept[3], deep);
}

/// Varints of Avro and Protobuf.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn avro() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"},
        {"name":"s","type":"string"},{"name":"j","type":["null","R"]}]}"#;
    let decoder = of(FormatSpec::Avro {
        schema: Some(schema.to_owned()),
    });
    let record = |n: &[u8]| [n, &[6], b"a\0b".as_slice()].concat();
    let flat = [record(&varint(4)), vec![0]].concat();
    assert_eq!(read(&decoder, &flat).unwrap(), row("2", "-", "a\0b"));
    let wide = [record(&[0xFF; 10]), vec![0]].concat();
    assert!(
        read(&decoder, &wide)
            .unwrap_err()
            .contains("more than 64 bits")
    );
    let level = [record(&[2]), vec![2]].concat();
    let deep = [level.repeat(DEEP), flat].concat();
    assert!(
        read(&decoder, &deep)
            .unwrap_err()
            .contains("deeper than 64")
    );
}

/// A message that may hold itself.
fn recursive() -> FormatSpec {
    let field = |name: &str, number, of: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(of.into()),
        type_name: (of == Type::Message).then(|| ".Node".to_owned()),
        label: Some(Label::Optional.into()),
        ..FieldDescriptorProto::default()
    };
    let node = DescriptorProto {
        name: Some("Node".to_owned()),
        field: vec![
            field("n", 1, Type::Uint64),
            field("s", 2, Type::String),
            field("j", 3, Type::Message),
        ],
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("node.proto".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![node],
        ..FileDescriptorProto::default()
    };
    let files = FileDescriptorSet { file: vec![file] };
    FormatSpec::Protobuf {
        descriptor: Descriptor::Inline(STANDARD.encode(files.encode_to_vec())),
        message: "Node".to_owned(),
    }
}

#[test]
fn protobuf() {
    let decoder = of(recursive());
    let text = [&[0x12, 3][..], b"a\0b"].concat();
    let twice = [&[0x08, 1, 0x08, 2][..], &text].concat();
    assert_eq!(read(&decoder, &twice).unwrap(), row("2", "-", "a\0b"));
    let beyond = [vec![0x08], varint(u64::MAX)].concat();
    assert!(read(&decoder, &beyond).unwrap_err().contains("`n` is LONG"));
    let wide = [&[0x08][..], &[0xFF; 10], &[1]].concat();
    assert!(
        read(&decoder, &wide)
            .unwrap_err()
            .contains("more than 64 bits")
    );
    let mut deep = Vec::new();
    for _ in 0..DEEP {
        deep = [vec![0x1A], varint(deep.len() as u64), deep].concat();
    }
    assert!(
        read(&decoder, &deep)
            .unwrap_err()
            .contains("recursion limit")
    );
    let groups = vec![0x1B_u8; DEEP];
    assert!(
        read(&decoder, &groups)
            .unwrap_err()
            .contains("deeper than 64")
    );
}

#[test]
fn csv() {
    let decoder = of(FormatSpec::Csv(CsvSpec {
        names: COLUMNS.map(|(name, _)| name.to_owned()).to_vec(),
        ..CsvSpec::default()
    }));
    let wide = "18446744073709551616";
    let shown = format!("{wide}.000000000000000000");
    let read = |line: &str| read(&decoder, line.as_bytes());
    assert_eq!(
        read(&format!("1,{wide},a\0b,")).unwrap(),
        row("1", &shown, "a\0b")
    );
    assert!(
        read("9223372036854775808,,,")
            .unwrap_err()
            .contains("`n` is LONG")
    );
    let deep = nested("[", "]");
    assert_eq!(read(&format!(",,,{deep}")).unwrap()[3], deep);
}
