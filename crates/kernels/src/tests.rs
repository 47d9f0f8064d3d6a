//! Every level finds what a test of each value finds.

use std::sync::Mutex;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The level belongs to the process: one test at a time sets it.
static LEVEL: Mutex<()> = Mutex::new(());

fn at_each_level(mut check: impl FnMut(Level)) {
    let _guard = LEVEL
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    for level in Level::ALL {
        if level.limit() == level {
            check(level);
        }
    }
    Level::of_cpu().limit();
}

/// `fill` writes what it finds over a dirty mask that is a word too long.
fn assert_finds<T: Copy>(values: &[T], fill: impl Fn(&mut [u64]), test: impl Fn(T) -> bool) {
    at_each_level(|level| {
        let mut words = vec![u64::MAX; values.len().div_ceil(64)];
        words.push(7);
        fill(&mut words);
        assert_eq!(words.pop(), Some(7), "{level:?} wrote past the last value");
        for (row, value) in values.iter().enumerate() {
            let bit = words[row / 64] >> (row % 64) & 1 == 1;
            assert_eq!(bit, test(*value), "{level:?}, row {row}");
        }
        let past = words.last().map_or(0, |last| match values.len() % 64 {
            0 => 0,
            used => last >> used,
        });
        assert_eq!(past, 0, "{level:?} set bits past the values");
    });
}

fn assert_finds_range<T: InRange + PartialOrd>(values: &[T], (a, b): (T, T)) {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let fill = |words: &mut [u64]| T::in_range(values, low, high, words);
    assert_finds(values, fill, |value| value >= low && value <= high);
}

const VALUES_MAX: usize = if cfg!(miri) { 140 } else { 400 };

/// Values that lie close together as often as anywhere.
fn numbers() -> impl Strategy<Value = Vec<u64>> {
    vec(prop_oneof![any::<u64>(), 0..300_u64], 0..VALUES_MAX)
}

fn doubles() -> impl Strategy<Value = f64> {
    let special = prop::sample::select(vec![
        -0.0,
        0.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        5e-324,
        -5e-324,
    ]);
    prop_oneof![
        special,
        any::<u64>().prop_map(f64::from_bits),
        (-9..9).prop_map(f64::from)
    ]
}

/// Miri is a thousand times slower, and lets nobody look for files.
fn config() -> ProptestConfig {
    match cfg!(miri) {
        true => ProptestConfig {
            cases: 2,
            failure_persistence: None,
            ..ProptestConfig::default()
        },
        false => ProptestConfig::default(),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn numbers_in_a_range_are_found(values in numbers(), ends: (u64, u64), near in 0..300_u64) {
        let narrow: Vec<u8> = values.iter().map(|v| *v as u8).collect();
        assert_finds_range(&narrow, (ends.0 as u8, near as u8));
        let short: Vec<u16> = values.iter().map(|v| *v as u16).collect();
        assert_finds_range(&short, (ends.0 as u16, near as u16));
        let int: Vec<u32> = values.iter().map(|v| *v as u32).collect();
        assert_finds_range(&int, (ends.0 as u32, near as u32));
        assert_finds_range(&values, (near, ends.0));
        assert_finds_range(&values, ends);
    }

    #[test]
    fn signed_numbers_in_a_range_are_found(values in numbers(), a: i64, b: i64) {
        let (low, high) = (a.min(b), a.max(b));
        let longs: Vec<i64> = values.iter().map(|v| *v as i64 - 100).collect();
        assert_finds(
            &longs,
            |words| i64_in_range(&longs, low, high, words),
            |v| (low..=high).contains(&v),
        );
        let (low, high) = ((a as i32).min(b as i32), (a as i32).max(b as i32));
        let ints: Vec<i32> = values.iter().map(|v| (*v as i32).wrapping_sub(100)).collect();
        assert_finds(
            &ints,
            |words| i32_in_range(&ints, low, high, words),
            |v| (low..=high).contains(&v),
        );
    }

    #[test]
    fn doubles_are_found_by_their_order(
        values in vec(doubles(), 0..VALUES_MAX),
        ends in (doubles(), doubles()),
        shift in -1..=1_i64,
    ) {
        let key = |value: f64| raw_key(if value == 0.0 { 0.0 } else { value });
        let (a, b) = (key(ends.0).saturating_add(shift), key(ends.1));
        let (low, high) = (a.min(b), a.max(b));
        assert_finds(
            &values,
            |words| double_in_range(&values, low, high, words),
            |v| (low..=high).contains(&key(v)),
        );
    }

    #[test]
    fn codes_of_a_set_are_found(values in numbers(), set: [u64; 4]) {
        let has = |code: u8| set[usize::from(code) / 64] >> (code % 64) & 1 == 1;
        let codes: Vec<u8> = values.iter().map(|v| *v as u8).collect();
        assert_finds(&codes, |words| in_table(&codes, &set, words), has);
        let wide: Vec<u16> = values.iter().map(|v| *v as u16).collect();
        let in_set = |code| u8::try_from(code).is_ok_and(has);
        assert_finds(&wide, |words| in_bits(&wide, &set, words), in_set);
    }

    #[test]
    fn bits_that_are_set_are_counted_and_listed(
        mut words in vec(any::<u64>(), 0..VALUES_MAX / 5),
        sparse: bool,
    ) {
        if sparse {
            words.iter_mut().for_each(|word| *word &= *word << 7 & *word >> 9);
        }
        let bit = |row: &u32| words[*row as usize / 64] >> (row % 64) & 1 == 1;
        let expected: Vec<u32> = (0..words.len() as u32 * 64).filter(bit).collect();
        at_each_level(|level| {
            let mut rows = vec![9; 3];
            set_bits(&words, &mut rows);
            assert_eq!(rows, expected, "{level:?}");
            assert_eq!(count_ones(&words) as usize, expected.len(), "{level:?}");
        });
    }

    #[test]
    fn numbers_of_three_bytes_are_widened(bytes in vec(any::<u8>(), 0..400), before in 0..99_usize) {
        let numbers = bytes.chunks_exact(3).map(|b| u32::from_le_bytes([b[0], b[1], b[2], 0]));
        let expected: Vec<u32> = numbers.collect();
        at_each_level(|level| {
            let mut found = vec![9; before];
            widen_triples(&bytes, &mut found);
            assert_eq!(found, expected, "{level:?}");
        });
    }
}
