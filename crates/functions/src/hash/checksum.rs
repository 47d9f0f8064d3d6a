//! CRC32, CRC32C, ADLER32.

use arrow::datatypes::DataType;

use crate::docs::Section;
use crate::plain::{Plain, Takes};

fn adler32(bytes: &[u8]) -> u32 {
    adler2::adler32_slice(bytes)
}

pub(super) fn all() -> Vec<Plain> {
    let of = |name: &str, about: &str, of: fn(&[u8]) -> u32, value: &'static str| {
        let shown = name.to_uppercase();
        let example: &'static str = format!("{shown}('123456789')").leak();
        Plain::new(name, &[Takes::Bytes], DataType::Int64, move |rows| {
            rows.map(|bytes: &[u8]| Some(i64::from(of(bytes))))
        })
        .says(
            Section::Hash,
            &format!("{shown}(bytes)"),
            about,
            &[(example, value)],
        )
    };
    vec![
        of(
            "crc32",
            "The checksum of ZIP and PNG.",
            crc32fast::hash,
            "3421780262",
        ),
        of(
            "crc32c",
            "The checksum of Castagnoli.",
            crc32c::crc32c,
            "3808858755",
        ),
        of("adler32", "The checksum of zlib.", adler32, "152961502"),
    ]
}
