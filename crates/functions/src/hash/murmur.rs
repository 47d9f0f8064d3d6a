//! MurmurHash in the forms that producers and partition functions use.

use arrow::datatypes::DataType;
use schemas::partition::{
    murmur2, murmur2_64, murmur3_128, murmur3_draft, murmur3_x64, murmur3_x86,
};

use crate::docs::Section;
use crate::plain::{Plain, Takes};

/// Of `murmurHash2Bit64` without a seed.
const SEED: i32 = 0xe17a_1465_u32 as i32;

pub(super) fn all() -> Vec<Plain> {
    [narrow(), wide()].concat()
}

fn wide() -> Vec<Plain> {
    use Takes::{Bytes, Int};
    let longs = |name: &str, shown: &str, about: &str, of: fn(&[u8], i32) -> i64, value| {
        let example: &'static str = format!("{shown}('a', 0)").leak();
        Plain::new(name, &[Bytes, Int], DataType::Int64, move |rows| {
            rows.map2(|bytes: &[u8], seed: i32| Some(of(bytes, seed)))
        })
        .says(
            Section::Hash,
            &format!("{shown}(bytes, seed)"),
            about,
            &[(example, value)],
        )
    };
    let bytes = |name: &str, shown: &str, about: &str, of: fn(&[u8], i32) -> [u8; 16], value| {
        let example: &'static str = format!("{shown}('a', 0)").leak();
        Plain::new(name, &[Bytes, Int], DataType::BinaryView, move |rows| {
            rows.map2(|bytes: &[u8], seed: i32| Some(of(bytes, seed).to_vec()))
        })
        .says(
            Section::Hash,
            &format!("{shown}(bytes, seed)"),
            about,
            &[(example, value)],
        )
    };
    vec![
        Plain::new("murmur_hash2_bit64", &[Bytes], DataType::Int64, |rows| {
            rows.map(|bytes: &[u8]| Some(murmur2_64(bytes, SEED)))
        })
        .says(
            Section::Hash,
            "MURMURHASH2BIT64(bytes)",
            "MurmurHash2 of 64 bits.",
            &[("MURMURHASH2BIT64('a')", "584566915021039271")],
        ),
        longs(
            "murmur_hash3_bit64",
            "MURMURHASH3BIT64",
            "The first half of the MurmurHash3 of 128 bits.",
            |bytes, seed| murmur3_128(bytes, seed)[0] as i64,
            "-8839064797231613815",
        ),
        bytes(
            "murmur_hash3_bit128",
            "MURMURHASH3BIT128",
            "MurmurHash3 of 128 bits.",
            |bytes, seed| {
                let [first, second] = murmur3_128(bytes, seed);
                both(first.to_le_bytes(), second.to_le_bytes())
            },
            "897859f6655555855a890e51483ab5e6",
        ),
        longs(
            "murmur_hash3_x64_bit64",
            "MURMURHASH3X64BIT64",
            "The 32 bits of MURMURHASH3X64BIT32 as a LONG, as Pinot gives them.",
            |bytes, seed| murmur3_x64(bytes, seed).into(),
            "-1127638319",
        ),
        bytes(
            "murmur_hash3_x64_bit128",
            "MURMURHASH3X64BIT128",
            "All 128 bits of the MurmurHash3 that Infinispan and Debezium compute.",
            |bytes, seed| {
                let [first, second] = murmur3_draft(bytes, seed);
                both(first.to_be_bytes(), second.to_be_bytes())
            },
            "bcc99ad1133b273840b212eae8a5cb1d",
        ),
    ]
}

fn both(first: [u8; 8], second: [u8; 8]) -> [u8; 16] {
    let mut whole = [0; 16];
    whole[..8].copy_from_slice(&first);
    whole[8..].copy_from_slice(&second);
    whole
}

fn narrow() -> Vec<Plain> {
    use Takes::{Bytes, Int};
    let seeded = |name: &str, shown: &str, about: &str, of: fn(&[u8], i32) -> i32, value| {
        let example: &'static str = format!("{shown}('a', 0)").leak();
        Plain::new(name, &[Bytes, Int], DataType::Int32, move |rows| {
            rows.map2(|bytes: &[u8], seed: i32| Some(of(bytes, seed)))
        })
        .says(
            Section::Hash,
            &format!("{shown}(bytes, seed)"),
            about,
            &[(example, value)],
        )
    };
    vec![
        Plain::new("murmur_hash2", &[Bytes], DataType::Int32, |rows| {
            rows.map(|bytes: &[u8]| Some(murmur2(bytes)))
        })
        .alias("murmur_hash2_utf8")
        .says(
            Section::Hash,
            "MURMURHASH2(bytes)",
            "MurmurHash2 as Kafka's producers compute it. MURMURHASH2UTF8 is the same.",
            &[("MURMURHASH2('21')", "-973932308")],
        ),
        seeded(
            "murmur_hash3_bit32",
            "MURMURHASH3BIT32",
            "MurmurHash3 of 32 bits.",
            murmur3_x86,
            "1009084850",
        ),
        seeded(
            "murmur_hash3_x64_bit32",
            "MURMURHASH3X64BIT32",
            "The upper half of the MurmurHash3 that Infinispan and Debezium compute.",
            murmur3_x64,
            "-1127638319",
        ),
    ]
}
