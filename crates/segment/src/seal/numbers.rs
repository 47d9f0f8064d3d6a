//! Numbers as keys that order like their values, and dictionaries of them.
//!
//! Floats order by IEEE 754's total order: -0 below 0, NaNs at the ends, as Arrow compares them.

use arrow::datatypes::i256;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use schemas::DataType;

use super::rows::Rows;
use crate::mutable::Values;
use crate::mutable::dictionary::DictionaryReader;

/// BIG_DECIMAL needs 256 bits, all else fits 64.
#[derive(Debug)]
pub(super) enum Keys {
    Narrow(Vec<i64>),
    Wide(Vec<i256>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    Narrow(i64),
    Wide(i256),
}

/// Of all but strings.
pub(super) fn keys(values: &Values, rows: &Rows) -> Keys {
    Keys::Narrow(match values {
        Values::Boolean(values) => widen(rows.collect(values), i64::from),
        Values::I32(values) => widen(rows.collect(values), i64::from),
        Values::I64(values) => rows.collect(values),
        Values::F32(values) => widen(rows.collect(values), |value| {
            key_of_double(f64::from(value))
        }),
        Values::F64(values) => widen(rows.collect(values), key_of_double),
        Values::I256(values) => return Keys::Wide(rows.collect(values)),
        Values::Dictionary { .. } | Values::Multi(_) => unreachable!("they have codes"),
    })
}

/// Of the entries of a column with several values a row, whose codes are of `dictionary`.
pub(super) fn keys_of_entries(
    data_type: DataType,
    codes: &[u32],
    dictionary: &DictionaryReader,
) -> Keys {
    let values = || (0..dictionary.cardinality()).map(|code| dictionary.value(code));
    if data_type == DataType::BigDecimal {
        let wide = values().map(|value| i256::from_le_bytes(*fixed(value)));
        let wide: Vec<i256> = wide.collect();
        return Keys::Wide(codes.iter().map(|code| wide[*code as usize]).collect());
    }
    let narrow = values().map(|value| match data_type {
        DataType::Float => key_of_double(f64::from(f32::from_le_bytes(*fixed(value)))),
        DataType::Double => key_of_double(f64::from_le_bytes(*fixed(value))),
        _ => i64::from_le_bytes(*fixed(value)),
    });
    let narrow: Vec<i64> = narrow.collect();
    Keys::Narrow(codes.iter().map(|code| narrow[*code as usize]).collect())
}

fn fixed<const N: usize>(value: &[u8]) -> &[u8; N] {
    let fixed = value.first_chunk();
    fixed.expect("all numbers of a type have one width")
}

fn widen<T>(values: Vec<T>, to: impl Fn(T) -> i64) -> Vec<i64> {
    values.into_iter().map(to).collect()
}

pub(super) fn key_of_double(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Distinct keys in ascending order, and the code of each row.
#[derive(Debug)]
pub(super) struct Dictionary {
    pub(super) values: Vec<Key>,
    pub(super) codes: Vec<u32>,
    pub(super) doc_counts: Vec<u32>,
}

/// Spreads up to this are coded by a table instead of a hash map.
const TABLE_MAX: u64 = 1 << 20;

impl Dictionary {
    pub(super) fn of(keys: &Keys) -> Self {
        match keys {
            Keys::Narrow(keys) => {
                let distinct = distinct(keys, usize::MAX).unwrap_or_default();
                Self::of_narrow(keys, distinct)
            }
            Keys::Wide(keys) => {
                let mut distinct = keys.clone();
                distinct.sort_unstable();
                distinct.dedup();
                let code_of = |key: &i256| {
                    let found = distinct.binary_search(key);
                    found.expect("the distinct keys hold every key") as u32
                };
                let codes = keys.iter().map(code_of).collect();
                Self::new(distinct.into_iter().map(Key::Wide).collect(), codes)
            }
        }
    }

    /// `distinct` are the keys, ascending, each once.
    pub(super) fn of_narrow(keys: &[i64], distinct: Vec<i64>) -> Self {
        let codes = codes_of(keys, &distinct);
        Self::new(distinct.into_iter().map(Key::Narrow).collect(), codes)
    }

    fn new(values: Vec<Key>, codes: Vec<u32>) -> Self {
        let mut doc_counts = vec![0; values.len()];
        for code in &codes {
            doc_counts[*code as usize] += 1;
        }
        Self {
            values,
            codes,
            doc_counts,
        }
    }
}

fn codes_of(keys: &[i64], distinct: &[i64]) -> Vec<u32> {
    let (Some(least), Some(greatest)) = (distinct.first(), distinct.last()) else {
        return Vec::new();
    };
    let spread = greatest.wrapping_sub(*least) as u64;
    if spread <= TABLE_MAX {
        let mut table = vec![0_u32; spread as usize + 1];
        for (code, key) in distinct.iter().enumerate() {
            table[key.wrapping_sub(*least) as usize] = code as u32;
        }
        let code_of = |key: &i64| table[key.wrapping_sub(*least) as usize];
        return keys.iter().map(code_of).collect();
    }
    let codes: HashMap<i64, u32, RandomState> = distinct.iter().copied().zip(0..).collect();
    keys.iter().map(|key| codes[key]).collect()
}

/// Distinct keys, ascending; `None` when there are more than `limit`.
pub(super) fn distinct(keys: &[i64], limit: usize) -> Option<Vec<i64>> {
    let (least, greatest) = bounds(keys).unwrap_or((0, 0));
    let spread = greatest.wrapping_sub(least) as u64;
    if spread <= TABLE_MAX && !keys.is_empty() {
        let mut seen = vec![false; spread as usize + 1];
        for key in keys {
            seen[key.wrapping_sub(least) as usize] = true;
        }
        let present = (least..=greatest).zip(&seen).filter(|(_, seen)| **seen);
        let distinct: Vec<i64> = present.map(|(key, _)| key).collect();
        return (distinct.len() <= limit).then_some(distinct);
    }
    let mut seen = hashbrown::HashSet::<i64, RandomState>::default();
    for key in keys {
        if seen.insert(*key) && seen.len() > limit {
            return None;
        }
    }
    let mut distinct: Vec<i64> = seen.into_iter().collect();
    distinct.sort_unstable();
    Some(distinct)
}

pub(super) fn bounds(keys: &[i64]) -> Option<(i64, i64)> {
    let first = *keys.first()?;
    let fold = |(least, greatest): (i64, i64), key: &i64| (least.min(*key), greatest.max(*key));
    Some(keys.iter().fold((first, first), fold))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{bounds, distinct, key_of_double};
    use index::range::double_of_order_key;

    proptest! {
        #[test]
        fn keys_order_like_doubles(one: f64, other: f64) {
            prop_assert_eq!(key_of_double(one).cmp(&key_of_double(other)), one.total_cmp(&other));
            prop_assert_eq!(double_of_order_key(key_of_double(one)).to_bits(), one.to_bits());
        }

        #[test]
        fn distinct_by_table_and_by_hash(keys in prop::collection::vec(-40_i64..40, 0..200),
                                         far: bool) {
            let keys: Vec<i64> = match far {
                true => keys.iter().map(|key| key << 40).collect(),
                false => keys,
            };
            let mut expected = keys.clone();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(distinct(&keys, expected.len()), Some(expected.clone()));
            if let Some(less) = expected.len().checked_sub(1) {
                prop_assert_eq!(distinct(&keys, less), None);
            }
            let ends = expected.first().copied().zip(expected.last().copied());
            prop_assert_eq!(bounds(&keys), ends);
        }
    }
}
