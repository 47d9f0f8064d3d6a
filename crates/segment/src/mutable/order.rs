//! The order of the values of a growing dictionary.
//!
//! It goes on from the order of fewer values: only what is new is sorted, and put between the
//! others.

use std::cmp::Ordering;
use std::sync::OnceLock;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type, Int64Type};

use super::dictionary::DictionaryReader;

#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Ascending by their values.
    pub(crate) codes: Vec<u32>,
    /// Of each code its place among them.
    pub(crate) ranks: Vec<u32>,
    array: OnceLock<ArrayRef>,
}

impl Order {
    fn of(codes: Vec<u32>) -> Self {
        let mut ranks = vec![0; codes.len()];
        for (rank, code) in (0..).zip(&codes) {
            ranks[*code as usize] = rank;
        }
        Self {
            codes,
            ranks,
            array: OnceLock::new(),
        }
    }

    pub(super) fn cardinality(&self) -> u32 {
        self.codes.len() as u32
    }

    /// Of fewer values.
    pub(super) fn first(&self, cardinality: u32) -> Self {
        let codes = self.codes.iter().copied();
        Self::of(codes.filter(|code| *code < cardinality).collect())
    }

    /// Of more values.
    pub(super) fn extended(&self, dictionary: &DictionaryReader, cardinality: u32) -> Self {
        let new = self.cardinality()..cardinality;
        if dictionary.holds_bytes() {
            let arena = dictionary.arena();
            let views: Vec<&[u128]> = dictionary.views(cardinality).collect();
            let view = |code: u32| {
                let spot = crate::prefix::place(code as usize);
                &views[spot.chunk][spot.at]
            };
            let value = |code: u32| arena.value(view(code));
            let sorted = by_beginnings(new, value);
            return self.with(sorted, |a, b| value(a).cmp(value(b)));
        }
        let array = dictionary.array(cardinality);
        let longs: Vec<i64> = match array.data_type() {
            DataType::Int32 => {
                let ints = array.as_primitive::<Int32Type>().values();
                ints.iter().map(|value| i64::from(*value)).collect()
            }
            _ => array.as_primitive::<Int64Type>().values().to_vec(),
        };
        let value = |code: u32| longs[code as usize];
        let mut sorted: Vec<u32> = new.collect();
        sorted.sort_unstable_by_key(|code| value(*code));
        self.with(sorted, |a, b| value(a).cmp(&value(b)))
    }

    fn with(&self, new: Vec<u32>, compare: impl Fn(u32, u32) -> Ordering) -> Self {
        if self.codes.is_empty() {
            return Self::of(new);
        }
        let mut all = Vec::with_capacity(self.codes.len() + new.len());
        let mut rest = &self.codes[..];
        for code in new {
            // Most lie near the one before where there are many.
            let mut step = 1;
            while step < rest.len() && compare(rest[step], code).is_lt() {
                step *= 2;
            }
            let near = &rest[..rest.len().min(step + 1)];
            let at = near.partition_point(|known| compare(*known, code).is_lt());
            all.extend_from_slice(&rest[..at]);
            all.push(code);
            rest = &rest[at..];
        }
        all.extend_from_slice(rest);
        Self::of(all)
    }

    /// The values in their order.
    pub(super) fn array(&self, dictionary: &DictionaryReader) -> ArrayRef {
        let array = self.array.get_or_init(|| {
            let codes = UInt32Array::from(self.codes.clone());
            let values = dictionary.array(self.cardinality());
            take(&values, &codes, None).expect("all codes are below the cardinality")
        });
        ArrayRef::clone(array)
    }
}

/// Codes in the order of their values. These are mostly told apart by the first bytes behind those
/// that all of them begin with.
pub(crate) fn by_beginnings<'v>(
    codes: impl Iterator<Item = u32> + Clone,
    value: impl Fn(u32) -> &'v [u8],
) -> Vec<u32> {
    let shared = shared_beginning(codes.clone().map(&value));
    let beginning = |value: &[u8]| {
        let own = &value[shared..];
        if let Some(bytes) = own.first_chunk() {
            return u128::from_be_bytes(*bytes);
        }
        let mut bytes = [0; 16];
        bytes[..own.len()].copy_from_slice(own);
        u128::from_be_bytes(bytes)
    };
    let mut keyed: Vec<(u128, u32)> = codes.map(|code| (beginning(value(code)), code)).collect();
    keyed.sort_unstable_by(|a, b| {
        let by_value = || value(a.1).cmp(value(b.1));
        a.0.cmp(&b.0).then_with(by_value)
    });
    keyed.into_iter().map(|(_, code)| code).collect()
}

/// How many bytes all values begin with alike.
fn shared_beginning<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> usize {
    let Some(first) = values.next() else {
        return 0;
    };
    values.fold(first.len(), |shared, value| {
        let shared = shared.min(value.len());
        match first[..shared] == value[..shared] {
            true => shared,
            false => first.iter().zip(value).take_while(|(a, b)| a == b).count(),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_are_in_their_order(shared in "[ab]{0,20}",
                                     ends in prop::collection::hash_set("[a\0]{0,18}", 0..40)) {
            let values: Vec<String> = ends.iter().map(|end| format!("{shared}{end}")).collect();
            let codes = 0..values.len() as u32;
            let value = |code: u32| values[code as usize].as_bytes();
            let mut expected: Vec<u32> = codes.clone().collect();
            expected.sort_by_key(|code| value(*code));
            prop_assert_eq!(by_beginnings(codes, value), expected);
        }
    }
}
