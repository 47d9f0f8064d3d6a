//! Texts as bytes and back, Base64 among them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::DataFusionError;
use serde_json::Value;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::TEXT;
use arrow::datatypes::DataType;

fn not_base64(name: &str, text: &str) -> DataFusionError {
    wrong(format!("{name}: `{text}` is no Base64"))
}

fn to_ascii(text: &str) -> Vec<u8> {
    let ascii = |c: char| if c.is_ascii() { c as u8 } else { b'?' };
    text.chars().map(ascii).collect()
}

fn text_of(bytes: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn to_utf8() -> Plain {
    use Takes::Text;
    Plain::new("to_utf8", &[Text], DataType::BinaryView, |rows| {
        rows.map::<&str, &[u8]>(|text| Some(text.as_bytes()))
    })
    .alias("to_bytes")
    .says(
        Section::Conversion,
        "TOUTF8(text)",
        "The text's bytes in UTF-8. Also called TOBYTES.",
        &[("TOUTF8('aé')", "61c3a9")],
    )
}

fn from_utf8() -> Plain {
    use Takes::Bytes;
    Plain::new("from_utf8", &[Bytes], TEXT, move |rows| rows.map(text_of))
        .alias("from_bytes")
        .says(
            Section::Conversion,
            "FROMUTF8(bytes)",
            "The text that bytes are in UTF-8. Also called FROMBYTES.",
            &[("FROMUTF8(HEXTOBYTES('61c3a9'))", "aé")],
        )
}

fn to_ascii_function() -> Plain {
    use Takes::Text;
    Plain::new("to_ascii", &[Text], DataType::BinaryView, |rows| {
        rows.map(|text: &str| Some(to_ascii(text)))
    })
    .says(
        Section::Conversion,
        "TOASCII(text)",
        "The text's bytes in ASCII, `?` for what ASCII has not.",
        &[("TOASCII('aé')", "613f")],
    )
}

fn from_ascii() -> Plain {
    use Takes::Bytes;
    Plain::new("from_ascii", &[Bytes], TEXT, move |rows| rows.map(text_of)).says(
        Section::Conversion,
        "FROMASCII(bytes)",
        "The text that bytes are in ASCII.",
        &[("FROMASCII(HEXTOBYTES('6162'))", "ab")],
    )
}

fn to_base64() -> Plain {
    use Takes::Bytes;
    Plain::new("to_base64", &[Bytes], TEXT, |rows| {
        rows.map(|bytes: &[u8]| Some(STANDARD.encode(bytes)))
    })
    .of_entries()
    .says(
        Section::Conversion,
        "TOBASE64(bytes)",
        "Bytes, or those of a text, as Base64.",
        &[("TOBASE64('hello')", "aGVsbG8=")],
    )
}

fn from_base64() -> Plain {
    use Takes::Text;
    Plain::new("from_base64", &[Text], TEXT, |rows| {
        rows.try_map(|text: &str| {
            let bytes = STANDARD.decode(text);
            let bytes = bytes.map_err(|_| not_base64("FROMBASE64", text))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        })
    })
    .of_entries()
    .says(
        Section::Conversion,
        "FROMBASE64(text)",
        "The text whose bytes are in Base64.",
        &[("FROMBASE64('aGVsbG8=')", "hello")],
    )
}

fn base64_encode() -> Plain {
    use Takes::Bytes;
    Plain::new("base64_encode", &[Bytes], DataType::BinaryView, |rows| {
        rows.map(|bytes: &[u8]| Some(STANDARD.encode(bytes).into_bytes()))
    })
    .says(
        Section::Conversion,
        "BASE64ENCODE(bytes)",
        "Bytes as those of their Base64.",
        &[("FROMUTF8(BASE64ENCODE(TOUTF8('hello')))", "aGVsbG8=")],
    )
}

fn base64_decode() -> Plain {
    use Takes::Bytes;
    Plain::new("base64_decode", &[Bytes], DataType::BinaryView, |rows| {
        rows.try_map(|bytes: &[u8]| {
            let decoded = STANDARD.decode(bytes).map(Some);
            decoded.map_err(|_| not_base64("BASE64DECODE", &String::from_utf8_lossy(bytes)))
        })
    })
    .says(
        Section::Conversion,
        "BASE64DECODE(bytes)",
        "Bytes whose Base64 these are.",
        &[("FROMUTF8(BASE64DECODE(TOUTF8('aGVsbG8=')))", "hello")],
    )
}

fn is_json() -> Plain {
    use Takes::Text;
    Plain::new("is_json", &[Text], DataType::Boolean, |rows| {
        rows.map(|text: &str| Some(serde_json::from_str::<Value>(text).is_ok()))
    })
    .of_entries()
    .says(
        Section::Json,
        "ISJSON(text)",
        "Whether the text is JSON.",
        &[("ISJSON('{\"a\":1}')", "true")],
    )
}

fn is_valid_ascii() -> Plain {
    use Takes::Bytes;
    Plain::new("is_valid_ascii", &[Bytes], DataType::Boolean, |rows| {
        rows.map(|bytes: &[u8]| Some(bytes.is_ascii()))
    })
    .says(
        Section::Text,
        "ISVALIDASCII(text)",
        "Whether the text, or the bytes, are ASCII alone.",
        &[("ISVALIDASCII('aé')", "false")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        to_utf8(),
        from_utf8(),
        to_ascii_function(),
        from_ascii(),
        to_base64(),
        from_base64(),
        base64_encode(),
        base64_decode(),
        is_json(),
        is_valid_ascii(),
    ]
}
