//! The bloom filter: which values are surely not in a segment.
//!
//! A split-block filter: a value sets one bit in each of the eight words of one block, so that a
//! look-up touches one cache line. Values are bytes: strings as they are, numbers as the eight
//! bytes of their key ([`crate::range::order_key`] for floats).

mod reader;
mod serializer;
mod writer;

pub use reader::BloomReader;
pub use serializer::serialize;
pub use writer::BloomWriter;

/// Odd constants, one for each word of a block.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The hash of a value. It is part of the format: never change it.
pub fn hash(value: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(FACTOR);
        (mixed ^ (mixed >> 32)).wrapping_mul(FACTOR).rotate_left(27)
    };
    let (words, rest) = value.as_chunks::<8>();
    let mut hash = words.iter().fold(value.len() as u64, |hash, word| {
        mix(hash, u64::from_le_bytes(*word))
    });
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    hash = mix(hash, u64::from_le_bytes(last));
    hash ^ (hash >> 29)
}

/// The block of a hash, and the bit of each of its words.
fn place(hash: u64, blocks: u32) -> (usize, [u32; 8]) {
    let block = ((hash >> 32) * u64::from(blocks)) >> 32;
    let bits = SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27));
    (block as usize, bits)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn filter(values: u32, false_positives: f64, bytes_max: u64) -> BloomReader {
        let mut writer = BloomWriter::new(u64::from(values), false_positives, bytes_max);
        for value in 0..values {
            writer.add(hash(format!("value {value}").as_bytes()));
        }
        BloomReader::open(Bytes::from(serialize(&writer))).unwrap()
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        for (values, wanted) in [(1, 0.05), (100, 0.05), (20_000, 0.05), (20_000, 0.001)] {
            let reader = filter(values, wanted, 1 << 20);
            for value in 0..values {
                assert!(reader.may_have(hash(format!("value {value}").as_bytes())));
            }
            let absent = (0..20_000).map(|n| hash(format!("other {n}").as_bytes()));
            let told = absent.filter(|hash| reader.may_have(*hash)).count() as f64 / 20_000.0;
            assert!(told <= wanted * 3.0, "{told} of {values} with {wanted}");
        }
        assert!(filter(100_000, 0.01, 4096).bytes() <= 4096 + 32);
    }

    #[test]
    fn the_hash_is_part_of_the_format() {
        assert_eq!(hash(b""), 0x0);
        assert_eq!(hash(b"carrier"), 0x5139_621f_bd38_c732);
        assert_eq!(hash(&7_i64.to_le_bytes()), 0xc411_a331_d286_1cbf);
    }

    #[test]
    fn damage_is_an_error() {
        let mut writer = BloomWriter::new(10, 0.05, 1 << 20);
        writer.add(hash(b"x"));
        let bytes = serialize(&writer);
        for end in 0..bytes.len() {
            assert!(BloomReader::open(Bytes::copy_from_slice(&bytes[..end])).is_err());
        }
        let mut foreign = bytes;
        foreign[0] = b'X';
        assert!(BloomReader::open(Bytes::from(foreign)).is_err());
    }
}
