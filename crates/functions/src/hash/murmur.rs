//! MurmurHash in the forms that producers and partition functions use.

use arrow::datatypes::DataType;
use schemas::partition::{murmur2, murmur3_x64, murmur3_x86};

use crate::docs::Section;
use crate::plain::{Plain, Takes};

pub(super) fn all() -> Vec<Plain> {
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
