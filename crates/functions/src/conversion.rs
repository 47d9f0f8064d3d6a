//! BYTES, texts and numbers as each other.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;
use uuid::Uuid;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes};
use crate::rows::TEXT;

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

pub(crate) fn of_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

fn hex_to_bytes() -> Plain {
    use Takes::Text;
    Plain::new("hex_to_bytes", &[Text], DataType::BinaryView, |rows| {
        rows.try_map(|text: &str| {
            let bytes = of_hex(text).map(Some);
            bytes.ok_or_else(|| wrong(format!("HEXTOBYTES: `{text}` is not hexadecimal")))
        })
    })
    .says(
        Section::Conversion,
        "HEXTOBYTES(text)",
        "Bytes that are written as hexadecimal digits.",
        &[("HEXTOBYTES('00ff')", "00ff")],
    )
}

fn bytes_to_hex() -> Plain {
    use Takes::Bytes;
    Plain::new("bytes_to_hex", &[Bytes], TEXT, |rows| {
        rows.map(|bytes: &[u8]| Some(to_hex(bytes)))
    })
    .says(
        Section::Conversion,
        "BYTESTOHEX(bytes)",
        "Bytes as hexadecimal digits.",
        &[("BYTESTOHEX(TOUTF8('az'))", "617a")],
    )
}

/// The functions of casts between texts and BYTES in Pinot's dialect.
pub fn bytes_of_hex() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(hex_to_bytes().with_canonical_names()))
}

pub fn hex_of_bytes() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(bytes_to_hex().with_canonical_names()))
}

fn hex_decimal_to_long() -> Plain {
    use Takes::Text;
    Plain::new("hex_decimal_to_long", &[Text], DataType::Int64, |rows| {
        rows.try_map(|text: &str| {
            let digits = text.trim().to_ascii_lowercase();
            let digits = digits.strip_prefix("0x").unwrap_or(&digits).to_owned();
            let fault = |_| wrong(format!("HEXDECIMALTOLONG: `{text}` is not hexadecimal"));
            i64::from_str_radix(&digits, 16).map(Some).map_err(fault)
        })
    })
    .of_entries()
    .says(
        Section::Conversion,
        "HEXDECIMALTOLONG(text)",
        "The number of hexadecimal digits, with 0x before them or without.",
        &[("HEXDECIMALTOLONG('0xff')", "255")],
    )
}

fn long_to_hex_decimal() -> Plain {
    use Takes::Long;
    Plain::new("long_to_hex_decimal", &[Long], TEXT, |rows| {
        rows.map(|number: i64| Some(format!("{number:x}")))
    })
    .of_entries()
    .says(
        Section::Conversion,
        "LONGTOHEXDECIMAL(number)",
        "The hexadecimal digits of a number.",
        &[("LONGTOHEXDECIMAL(255)", "ff")],
    )
}

fn to_uuid_bytes() -> Plain {
    use Takes::Text;
    Plain::new("to_uuid_bytes", &[Text], DataType::BinaryView, |rows| {
        rows.map(|text: &str| Some(Uuid::parse_str(text).ok()?.as_bytes().to_vec()))
    })
    .alias("uuid_to_bytes")
    .says(
        Section::Conversion,
        "TOUUIDBYTES(text)",
        "The 16 bytes of a UUID; null if it is none. Also called UUIDTOBYTES.",
        &[(
            "TOUUIDBYTES('f81d4fae-7dec-11d0-a765-00a0c91e6bf6')",
            "f81d4fae7dec11d0a76500a0c91e6bf6",
        )],
    )
}

fn from_uuid_bytes() -> Plain {
    use Takes::Bytes;
    Plain::new("from_uuid_bytes", &[Bytes], TEXT, |rows| {
        rows.map(|bytes: &[u8]| Some(Uuid::from_slice(bytes).ok()?.to_string()))
    })
    .alias("bytes_to_uuid")
    .says(
        Section::Conversion,
        "FROMUUIDBYTES(bytes)",
        "The UUID of 16 bytes; null if they are none. Also called BYTESTOUUID.",
        &[(
            "FROMUUIDBYTES(HEXTOBYTES('f81d4fae7dec11d0a76500a0c91e6bf6'))",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        )],
    )
}

fn to_uuid() -> Plain {
    use Takes::Text;
    Plain::new("to_uuid", &[Text], TEXT, |rows| {
        rows.map(|text: &str| Some(Uuid::parse_str(text).ok()?.to_string()))
    })
    .alias("uuid_to_string")
    .of_entries()
    .says(
        Section::Conversion,
        "TOUUID(text)",
        "The UUID as UUIDs are written, in small letters with hyphens; null if it is none. Also \
         called UUIDTOSTRING.",
        &[(
            "TOUUID('F81D4FAE7DEC11D0A76500A0C91E6BF6')",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        )],
    )
}

fn is_uuid() -> Plain {
    use Takes::Text;
    Plain::new("is_uuid", &[Text], DataType::Boolean, |rows| {
        rows.map(|text: &str| Some(Uuid::parse_str(text).is_ok()))
    })
    .of_entries()
    .says(
        Section::Conversion,
        "ISUUID(text)",
        "Whether the text is a UUID.",
        &[("ISUUID('f81d4fae')", "false")],
    )
}

fn uuid_version() -> Plain {
    use Takes::Text;
    Plain::new("uuid_version", &[Text], DataType::Int32, |rows| {
        rows.map(|text: &str| {
            let version = Uuid::parse_str(text).ok()?.get_version_num();
            i32::try_from(version).ok()
        })
    })
    .of_entries()
    .says(
        Section::Conversion,
        "UUIDVERSION(uuid)",
        "The version of a UUID; null if it is none.",
        &[("UUIDVERSION('f81d4fae-7dec-11d0-a765-00a0c91e6bf6')", "1")],
    )
}

pub(super) fn all() -> Vec<Plain> {
    vec![
        hex_to_bytes(),
        bytes_to_hex(),
        hex_decimal_to_long(),
        long_to_hex_decimal(),
        to_uuid_bytes(),
        from_uuid_bytes(),
        to_uuid(),
        is_uuid(),
        uuid_version(),
    ]
}
