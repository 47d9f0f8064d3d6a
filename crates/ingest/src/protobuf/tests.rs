//! Schemas of a registry: by id, by the place of the message in its file, with what they import.

use schemas::DataType;
use schemas::decoding::{DecoderSpec, FormatSpec, RegistrySpec};

use super::*;
use crate::testing::{decode, shown, spec};
use crate::{Decoder, NoExpressions};

const ORDERS: &str = r#"
    syntax = "proto3";
    package shop;
    import "money.proto";
    import "google/protobuf/timestamp.proto";
    message Other { int32 id = 1; }
    message Order {
        message Line { int64 id = 2; string name = 1; }
        int64 id = 1;
        string name = 2;
        Money price = 3;
        google.protobuf.Timestamp at = 4;
    }
"#;
const MONEY: &str = r#"syntax = "proto3"; package shop; message Money { int64 cents = 1; }"#;

fn texts(texts: &[(&str, &str)]) -> Result<Schemas, String> {
    let owned = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Ok(Schemas {
        kind: PROTOBUF.to_owned(),
        texts: owned.collect(),
    })
}

fn decoder(message: &str) -> Decoder {
    let columns = [
        ("id", DataType::Long),
        ("name", DataType::String),
        ("price", DataType::Json),
        ("at", DataType::Timestamp),
    ];
    let of = DecoderSpec {
        format: FormatSpec::Protobuf {
            descriptor: Descriptor::Registry,
            message: message.to_owned(),
        },
        framed: true,
        registry: Some(RegistrySpec {
            url: "http://registry".to_owned(),
            user_info: None,
            token: None,
            tls: Default::default(),
        }),
        ..DecoderSpec::default()
    };
    Decoder::new(&spec(&columns, of), &NoExpressions).unwrap()
}

fn framed(id: u8, indexes: &[u8], record: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, id], indexes, record].concat()
}

#[test]
fn messages_are_those_that_the_indexes_point_to() {
    let mut decoder = decoder("");
    // id 7, name "ab", price { cents 5 }, at 1 s
    let order = [
        0x08, 7, 0x12, 2, b'a', b'b', 0x1A, 2, 0x08, 5, 0x22, 2, 0x08, 1,
    ];
    let payloads = [
        // Other is the first message, Order the second, Line within it the first.
        framed(1, &[0], &[0x08, 3]),
        framed(1, &[2, 2], &order),
        framed(1, &[4, 2, 0], &[0x10, 9, 0x0A, 1, b'x']),
        framed(1, &[2, 8], &order),
        framed(2, &[0], &order),
        framed(3, &[0], &order),
    ];
    let messages = payloads.iter().map(|payload| crate::RawMessage {
        payload: Some(payload),
        ..crate::RawMessage::default()
    });
    assert_eq!(decoder.unknown_schemas(messages), [1, 2, 3]);
    decoder.learn_schema(1, texts(&[("money.proto", MONEY), ("", ORDERS)]));
    decoder.learn_schema(2, texts(&[("", ORDERS)]));
    decoder.learn_schema(3, Ok(Schemas::avro(["\"int\"".to_owned()])));
    let decoded = decode(&mut decoder, &payloads);
    assert_eq!(
        shown(&decoded.batches, 4),
        [
            ["3", "-", "-", "-"],
            ["7", "ab", r#"{"cents":5}"#, "1970-01-01T00:00:01"],
            ["9", "x", "-", "-"],
        ]
    );
    let reasons: Vec<&str> = decoded
        .rejected
        .iter()
        .map(|row| row.reason.as_str())
        .collect();
    assert!(reasons[0].contains("no message at [4]"), "{reasons:?}");
    assert!(reasons[1].contains("money.proto"), "{reasons:?}");
    assert!(
        reasons[2].contains("is AVRO and not PROTOBUF"),
        "{reasons:?}"
    );
}

#[test]
fn a_name_in_the_config_says_which_message_it_is() {
    let mut decoder = decoder("shop.Order");
    decoder.learn_schema(1, texts(&[("money.proto", MONEY), ("", ORDERS)]));
    let payload = framed(1, &[0], &[0x08, 3]);
    let decoded = decode(&mut decoder, &[payload]);
    assert_eq!(shown(&decoded.batches, 2), [["3", ""]]);
}

#[test]
fn a_schema_that_is_nested_without_end_is_refused() {
    let deep = format!("{}{}", "message A {".repeat(100_000), "}".repeat(100_000));
    let mut decoder = decoder("");
    decoder.learn_schema(1, texts(&[("", &deep)]));
    decoder.learn_schema(2, texts(&[("", "message {")]));
    let payloads = [framed(1, &[0], &[]), framed(2, &[0], &[])];
    let decoded = decode(&mut decoder, &payloads);
    assert!(decoded.rejected[0].reason.contains("nested deeper"));
    assert!(
        decoded.rejected[1]
            .reason
            .contains("the schema 2 cannot be used")
    );
}
