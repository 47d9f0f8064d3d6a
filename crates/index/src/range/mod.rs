//! The range index: buckets of numbers that lie close together → their documents.
//!
//! Numbers are `i64` whose order is that of the column: whole numbers as they are, floats by
//! [`order_key`], a column with a dictionary by its codes. A range takes the documents of the
//! buckets that lie in it; of those that only touch it, at its ends, the caller looks at the
//! values.

mod reader;
mod serializer;
mod writer;

pub use reader::{Buckets, RangeReader};
pub use serializer::serialize;
pub use writer::RangeWriter;

/// Ascends as comparisons of floats do: -NaN, -∞, …, both zeros, …, ∞, NaN.
pub fn order_key(value: f64) -> i64 {
    let value = if value == 0.0 { 0.0 } else { value };
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The double of an [`order_key`].
pub fn double_of_order_key(key: i64) -> f64 {
    f64::from_bits((key ^ (((key >> 63) as u64) >> 1) as i64) as u64)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn index(keys: &[i64]) -> Vec<u8> {
        serialize(&RangeWriter::new(keys)).unwrap()
    }

    fn key() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            -40_i64..40,
            Just(7),
            Just(i64::MIN),
            Just(i64::MAX)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn buckets_hold_what_lies_in_a_range(
            mut keys in prop::collection::vec(key(), 0..1_200),
            ends in prop::collection::vec(key(), 2..6),
            repeat in 0_usize..700,
        ) {
            keys.extend(std::iter::repeat_n(7, repeat));
            let reader = RangeReader::open(Bytes::from(index(&keys))).unwrap();
            prop_assert_eq!(reader.doc_count() as usize, keys.len());
            let mut ends = ends;
            ends.sort_unstable();
            ends.dedup();
            let ranges: Vec<(i64, i64)> = ends.chunks_exact(2).map(|e| (e[0], e[1])).collect();
            let found = reader.find(&ranges);
            let is_in = |key: i64| ranges.iter().any(|(low, high)| (*low..=*high).contains(&key));
            let whole = reader.docs_of(&found.whole).unwrap();
            prop_assert_eq!(whole.len(), found.whole_docs);
            prop_assert!(whole.iter().all(|doc| is_in(keys[doc as usize])));
            let touched = reader.docs_of(&found.touched).unwrap();
            prop_assert_eq!(touched.len(), found.touched_docs);
            let either = whole | touched;
            for (doc, key) in keys.iter().enumerate() {
                prop_assert!(!is_in(*key) || either.contains(doc as u32), "{}", key);
            }
        }
    }

    #[test]
    fn a_value_that_is_held_often_has_a_bucket_of_its_own() {
        let keys: Vec<i64> = (0..100_000)
            .map(|n| if n % 3 == 0 { 500 } else { n })
            .collect();
        let reader = RangeReader::open(Bytes::from(index(&keys))).unwrap();
        let found = reader.find(&[(500, 500)]);
        let held = keys.iter().filter(|key| **key == 500).count() as u64;
        assert_eq!((found.whole_docs, found.touched_docs), (held, 0));
        let few = reader.find(&[(70_000, 70_000)]);
        assert!(few.whole_docs + few.touched_docs < 1_000, "{few:?}");
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = index(&(0..5_000).collect::<Vec<_>>());
        for at in 0..bytes.len().min(600) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            if let Ok(reader) = RangeReader::open(Bytes::from(damaged)) {
                let found = reader.find(&[(0, 2_000), (2_100, 2_200)]);
                let _ = reader.docs_of(&found.whole);
            }
            assert!(RangeReader::open(Bytes::copy_from_slice(&bytes[..at])).is_err());
        }
        assert!(RangeReader::open(Bytes::from(bytes)).is_ok());
    }
}
