//! The map beside a plain one: what is put in is found, whatever was moved to disk.

use std::collections::HashMap;

use proptest::prelude::*;
use runtime::MemoryBudget;

use super::*;

fn spill(bytes: u64) -> (Spill, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let budget = MemoryBudget::root("keys", bytes);
    (Spill::new(budget, folder.path().to_owned()), folder)
}

fn entry<const V: usize>(offset: Offset) -> Entry<V> {
    Entry {
        offset,
        compared: std::array::from_fn(|at| at as i64 - offset),
        deleted: offset % 3 == 0,
    }
}

/// Of 1,000 keys, some of which share their shard and bucket.
fn key<const W: usize>(number: u16) -> Key<W> {
    let mut key = [u64::from(number % 500) << 56 | u64::from(number % 7); W];
    key[W - 1] ^= u64::from(number);
    key
}

#[derive(Clone, Debug)]
enum Step {
    Put(u16, Offset),
    Look(u16),
    Forget(u16),
    Retain(Offset),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0..1000_u16;
    let step = prop_oneof![
        20 => (number.clone(), 0..1_000_000_i64).prop_map(|(key, offset)| Step::Put(key, offset)),
        5 => number.clone().prop_map(Step::Look),
        3 => number.prop_map(Step::Forget),
        1 => (0..1_000_000_i64).prop_map(Step::Retain),
    ];
    prop::collection::vec(step, 1..3000)
}

fn agrees<const W: usize, const V: usize>(steps: &[Step], bytes: u64) {
    let (spill, _folder) = spill(bytes);
    let mut map = KeyMap::<W, V>::new(77, spill);
    let mut model: HashMap<u16, Entry<V>> = HashMap::new();
    for step in steps {
        match step {
            Step::Put(number, offset) => {
                map.update(&key(*number), |known| {
                    assert_eq!(known, model.get(number).copied());
                    Some(entry(*offset))
                });
                model.insert(*number, entry(*offset));
            }
            Step::Look(number) => {
                let numbers: Vec<u16> = (*number..1000).take(40).collect();
                let keys: Vec<Key<W>> = numbers.iter().map(|number| key(*number)).collect();
                map.update_each(&keys, |at, known| {
                    assert_eq!(known, model.get(&numbers[at]).copied());
                    None
                });
            }
            Step::Forget(number) => {
                map.forget(&key(*number));
                model.remove(number);
            }
            Step::Retain(least) => {
                map.retain(|entry| entry.offset >= *least);
                model.retain(|_, entry| entry.offset >= *least);
                assert_eq!(map.len(), model.len());
            }
        }
    }
    assert_eq!(map.len(), model.len());
    for number in 0..1000 {
        assert_eq!(map.get(&key(number)), model.get(&number).copied());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn keys_are_known_as_a_plain_map_knows_them(steps in steps()) {
        agrees::<1, 1>(&steps, u64::MAX);
        agrees::<2, 1>(&steps, u64::MAX);
        agrees::<1, 2>(&steps, u64::MAX);
        agrees::<2, 4>(&steps, u64::MAX);
        agrees::<1, 1>(&steps, 40_000);
    }
}

/// The rows of a key stay in their order, and no thread undoes what another did.
#[test]
fn several_threads_share_the_map() {
    const KEYS: u64 = 20_000;
    let (spill, _folder) = spill(u64::MAX);
    let map = KeyMap::<1>::new(77, spill);
    map.reserve(KEYS as usize / 2);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let map = &map;
            scope.spawn(move || {
                let rows = (0..3 * KEYS).map(|at| ([(at * 7919 + thread) % KEYS], at));
                let rows: Vec<(Key<1>, u64)> = rows.collect();
                for rows in rows.chunks(5000) {
                    map.update_all(rows, |at, known| {
                        let offset = (at * 4 + thread) as i64;
                        let is_last = known.is_none_or(|known| known.offset < offset);
                        is_last.then(|| entry(offset))
                    });
                }
            });
        }
    });
    assert_eq!(map.len() as u64, KEYS);
    let mut last = HashMap::new();
    for (thread, at) in (0..4).flat_map(|thread| (0..3 * KEYS).map(move |at| (thread, at))) {
        let offset = last.entry((at * 7919 + thread) % KEYS).or_insert(0);
        *offset = (at * 4 + thread).max(*offset);
    }
    for (key, offset) in last {
        assert_eq!(map.get(&[key]), Some(entry(offset as i64)));
    }
}

#[test]
fn a_key_takes_no_more_than_was_promised() {
    let (budget, _folder) = spill(u64::MAX);
    let mut numbers = KeyMap::<1>::new(5, budget.clone());
    let mut hashed = KeyMap::<2>::new(5, budget);
    for at in 0..400_000_u64 {
        let hash = folded(at ^ 0x1234_5678, 0x9e37_79b9_7f4a_7c15);
        numbers.update(&[at * 8], |_| Some(entry(at as i64)));
        hashed.update(&[hash, at], |_| Some(entry(at as i64)));
        if at > 250_000 && at % 1000 == 0 {
            assert!(numbers.bytes() <= numbers.len() * 32, "{}", numbers.bytes());
            assert!(hashed.bytes() <= hashed.len() * 40, "{}", hashed.bytes());
        }
    }
}

#[test]
fn what_the_budget_has_no_memory_for_is_on_disk() {
    let (budget, _folder) = spill(1 << 20);
    let mut map = KeyMap::<1>::new(5, budget);
    for at in 0..100_000 {
        map.update(&[at], |_| Some(entry(at as i64)));
    }
    let spilled = map.spilled_bytes();
    assert!(
        map.bytes() - spilled < 2 << 20 && spilled > 1 << 20,
        "{spilled}"
    );
    assert!((0..100_000).all(|at| map.get(&[at]) == Some(entry(at as i64))));
}
