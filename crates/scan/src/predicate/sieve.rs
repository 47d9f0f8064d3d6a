//! Whether a value lies in one of many ranges, mostly told by a look at a table.
//!
//! Between the least and the greatest value of all ranges, the table has a slot for each run of
//! 2^n values: none of them lies in a range, all do, or the ranges must be searched.

use crate::ranges::RangeSet;

const SLOTS_MAX_LOG: u32 = 16;

const NONE: u8 = 0;
const ALL: u8 = 1;
const SOME: u8 = 2;

#[derive(Debug)]
pub(super) struct Sieve {
    least: i64,
    /// A slot is for 2^shift values.
    shift: u32,
    slots: Vec<u8>,
}

impl Sieve {
    /// `None`: there are no ranges.
    pub(super) fn new(set: &RangeSet) -> Option<Self> {
        let (least, most) = (set.ranges().first()?.0, set.ranges().last()?.1);
        let span = most.wrapping_sub(least) as u64;
        let bits = u64::BITS - span.leading_zeros();
        let shift = bits.saturating_sub(SLOTS_MAX_LOG);
        let slot_of = |value: i64| (value.wrapping_sub(least) as u64 >> shift) as usize;
        let mut slots = vec![NONE; slot_of(most) + 1];
        for (low, high) in set.ranges() {
            let (from, to) = (slot_of(*low), slot_of(*high));
            let begins = |slot: usize| least.wrapping_add((slot as i64).wrapping_shl(shift));
            slots[from..=to].fill(ALL);
            // The first and the last are whole only if the range begins and ends with them.
            let last_of = |slot: usize| begins(slot).wrapping_add(((1u64 << shift) - 1) as i64);
            if *low != begins(from) || (from == to && *high != last_of(to)) {
                slots[from] = SOME;
            }
            if *high != last_of(to) {
                slots[to] = SOME;
            }
        }
        Some(Self {
            least,
            shift,
            slots,
        })
    }

    /// Of the set that it is made for.
    #[inline(always)]
    pub(super) fn contains(&self, value: i64, set: &RangeSet) -> bool {
        let slot = value.wrapping_sub(self.least) as u64 >> self.shift;
        match self.slots.get(slot as usize) {
            None | Some(&NONE) => false,
            Some(&ALL) => true,
            Some(_) => set.contains(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends() -> impl Strategy<Value = (i64, i64)> {
        let near = (0..5000i64, 0..300i64).prop_map(|(low, length)| (low, low + length));
        let far = (any::<i64>(), any::<i64>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
        prop_oneof![8 => near, 1 => far]
    }

    proptest! {
        #[test]
        fn a_sieve_says_what_the_ranges_say(
            ranges in prop::collection::vec(ends(), 1..40),
            values in prop::collection::vec(any::<i64>(), 20),
        ) {
            let set = RangeSet::of_any(ranges.clone());
            let sieve = Sieve::new(&set).unwrap();
            let around = ranges.iter().flat_map(|(low, high)| {
                [low.wrapping_sub(1), *low, low.wrapping_add(1), high.wrapping_sub(1), *high,
                 high.wrapping_add(1)]
            });
            for value in around.chain(values).chain(-10..6000).chain([i64::MIN, i64::MAX]) {
                prop_assert_eq!(sieve.contains(value, &set), set.contains(value), "{}", value);
            }
        }
    }
}
