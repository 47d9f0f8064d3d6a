//! The hashes of Fowler, Noll and Vo.

use arrow::datatypes::DataType;

use crate::docs::Section;
use crate::plain::{Plain, Takes};

fn of32(bytes: &[u8], mixes_first: bool) -> i32 {
    let hash = bytes.iter().fold(0x811c_9dc5u32, |hash, byte| {
        let byte = u32::from(*byte);
        match mixes_first {
            true => (hash ^ byte).wrapping_mul(0x0100_0193),
            false => hash.wrapping_mul(0x0100_0193) ^ byte,
        }
    });
    hash as i32
}

fn of64(bytes: &[u8], mixes_first: bool) -> i64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        let byte = u64::from(*byte);
        match mixes_first {
            true => (hash ^ byte).wrapping_mul(0x0100_0000_01b3),
            false => hash.wrapping_mul(0x0100_0000_01b3) ^ byte,
        }
    });
    hash as i64
}

pub(super) fn all() -> Vec<Plain> {
    let of = |name: &str, mixes_first: bool, is_long: bool, value: &'static str| {
        let gives = if is_long {
            DataType::Int64
        } else {
            DataType::Int32
        };
        let shown = name.to_uppercase().replace('_', "");
        let example: &'static str = format!("{shown}('a')").leak();
        Plain::new(name, &[Takes::Bytes], gives, move |rows| match is_long {
            true => rows.map(|bytes: &[u8]| Some(of64(bytes, mixes_first))),
            false => rows.map(|bytes: &[u8]| Some(of32(bytes, mixes_first))),
        })
        .alias(format!("{name}_utf8"))
        .says(
            Section::Hash,
            &format!("{shown}(bytes)"),
            "The hash of Fowler, Noll and Vo. The name with UTF8 behind it is the same.",
            &[(example, value)],
        )
    };
    vec![
        of("fnv1_hash32", false, false, "84696446"),
        of("fnv1a_hash32", true, false, "-468965076"),
        of("fnv1_hash64", false, true, "-5808590958014384194"),
        of("fnv1a_hash64", true, true, "-5808556873153909620"),
    ]
}
