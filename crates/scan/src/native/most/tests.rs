//! Whatever is chosen keeps all of its rows.

use std::collections::HashMap;

use super::*;

fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ 0x9e37_79b9) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

/// A key of these values, in the order of its codes.
fn key(values: impl IntoIterator<Item = i64>, may_be_null: bool) -> KeyCodes<'static> {
    let values: Vec<i64> = values.into_iter().collect();
    let count = values.len() as u32;
    KeyCodes {
        values: OrderedValues::Longs(values.into()),
        search: Search::Ordered,
        null: may_be_null.then_some(count),
        domain: u64::from(count) + u64::from(may_be_null),
    }
}

/// Values of one segment in the order of its codes, each with its rows.
fn segment(seed: u64, skew: u64, is_ordered: bool) -> Vec<(i64, u64)> {
    let mut values: Vec<(i64, u64)> = (0..900u64)
        .filter(|value| !mix(seed ^ (value << 20)).is_multiple_of(3))
        .map(|value| {
            let rows = 3_000 / (1 + value * skew) + mix(seed + value) % 4;
            ((mix(value) >> 1) as i64, rows)
        })
        .collect();
    if is_ordered {
        values.sort_unstable();
    }
    values
}

#[test]
fn the_few_with_the_most_rows_keep_all_of_them() {
    for (skew, few, parts) in [(1, 10, 4), (1, 1, 2), (3, 25, 7), (1, 100, 1)] {
        let segments: Vec<Vec<(i64, u64)>> = (0..parts)
            .map(|at| segment(at * 77, skew, at != 2))
            .collect();
        let mut totals: HashMap<i64, u64> = HashMap::new();
        for (value, rows) in segments.iter().flatten() {
            *totals.entry(*value).or_default() += rows;
        }
        let mut ranks: Vec<u64> = totals.values().copied().collect();
        ranks.sort_unstable_by_key(|rows| Reverse(*rows));
        // In some the groups have come in another order than that of their codes.
        let codes = segments.iter().enumerate().map(|(at, own)| {
            let mut codes = Numbers::default();
            let backwards: Vec<i64> = (0..own.len() as i64).rev().collect();
            codes.number(&backwards, |_, _| {});
            (at % 3 == 1).then_some(codes)
        });
        let codes: Vec<Option<Numbers>> = codes.collect();
        let code = |at: usize, group: usize| match &codes[at] {
            None => group,
            Some(codes) => codes.values[group] as usize,
        };
        let rows = segments.iter().enumerate().map(|(at, own)| {
            let rows = (0..own.len()).map(|group| own[code(at, group)].1);
            RowCounts::Counted(rows.collect())
        });
        let rows: Vec<RowCounts<'_>> = rows.collect();
        let counts: Vec<Counts<'_>> = segments
            .iter()
            .zip(&rows)
            .enumerate()
            .map(|(at, (own, rows))| Counts {
                rows,
                numbers: codes[at].as_ref(),
                keys: vec![KeyCodes {
                    search: if at == 2 {
                        Search::Each
                    } else {
                        Search::Ordered
                    },
                    ..key(own.iter().map(|(value, _)| *value), false)
                }],
                measure: None,
            })
            .collect();
        let mark = ranks[few - 1];
        let left_by = |limit| left(&counts, limit).unwrap();
        // A condition sets the same mark.
        let left = left_by(Limit::First(few));
        assert_eq!(left, left_by(Limit::Mark(mark as f64)));
        let kept: usize = left.iter().map(Vec::len).sum();
        let groups: usize = segments.iter().map(Vec::len).sum();
        assert!(kept < groups / 2, "{kept} of {groups}");
        let mut found: HashMap<i64, u64> = HashMap::new();
        for (at, (own, kept)) in segments.iter().zip(&left).enumerate() {
            for group in kept {
                let (value, rows) = own[code(at, *group as usize)];
                *found.entry(value).or_default() += rows;
            }
        }
        for (value, rows) in &totals {
            match found.get(value) {
                Some(found) if *rows >= ranks[few - 1] => assert_eq!(found, rows),
                Some(found) => assert!(found <= rows),
                None => assert!(*rows < ranks[few - 1]),
            }
        }
    }
}

/// What each group has in a segment, where it has rows.
fn number(rank: Rank, seed: u64, value: i64) -> f64 {
    let drawn = mix(seed ^ value as u64);
    let own = (mix(value as u64) % 1000) as f64 + (drawn % 50) as f64;
    match rank {
        // A few have much more than all others.
        Rank::Sum => own * if value % 40 == 0 { 30.0 } else { 1.0 },
        _ => own - 300.0,
    }
}

#[test]
fn the_few_with_the_greatest_sums_means_and_ends_keep_all_of_them() {
    for rank in [Rank::Sum, Rank::Mean, Rank::Greatest, Rank::Least] {
        let segments: Vec<Vec<(i64, u64)>> = (0..4)
            .map(|at| segment(at * 77, 1, true).into_iter())
            .map(|own| own.filter(|(_, rows)| *rows > 0).collect())
            .collect();
        let numbers: Vec<Vec<f64>> = (0u64..)
            .zip(&segments)
            .map(|(seed, own)| own.iter().map(|(v, _)| number(rank, seed, *v)).collect())
            .collect();
        let rows = segments
            .iter()
            .map(|own| own.iter().map(|(_, rows)| *rows).collect());
        let rows: Vec<RowCounts<'_>> = rows.map(RowCounts::Counted).collect();
        let parts = segments.iter().zip(&numbers).zip(&rows);
        let counts = parts.map(|((own, numbers), rows)| Counts {
            rows,
            numbers: None,
            keys: vec![key(own.iter().map(|(value, _)| *value), false)],
            measure: Some(Measure {
                rank,
                numbers: numbers.clone(),
                counts: own.iter().map(|(_, rows)| *rows).collect(),
            }),
        });
        let counts: Vec<Counts<'_>> = counts.collect();
        let left_by = |limit| left(&counts, limit).unwrap();
        let by_order = left_by(Limit::First(10));
        let mut parts: HashMap<i64, Vec<(f64, u64)>> = HashMap::new();
        let mut kept: HashMap<i64, usize> = HashMap::new();
        for ((own, numbers), left) in segments.iter().zip(&numbers).zip(&by_order) {
            for ((value, rows), number) in own.iter().zip(numbers) {
                parts.entry(*value).or_default().push((*number, *rows));
            }
            for group in left {
                *kept.entry(own[*group as usize].0).or_default() += 1;
            }
        }
        assert!(kept.len() < parts.len() / 2, "{rank:?}: {}", kept.len());
        let total = |value: &i64| rank.total(parts[value].iter().copied());
        let mut best: Vec<i64> = parts.keys().copied().collect();
        best.sort_unstable_by(|a, b| total(b).total_cmp(&total(a)));
        for value in &best[..10] {
            let all = parts[value].len();
            assert_eq!(kept.get(value), Some(&all), "{rank:?}");
        }
        let mark = match rank {
            Rank::Least => -total(&best[9]),
            _ => total(&best[9]),
        };
        assert_eq!(left_by(Limit::Mark(mark)), by_order, "{rank:?}");
    }
}

#[test]
fn what_is_alike_is_not_chosen_from() {
    let rows = RowCounts::Counted((0..2_001).map(|at| 5 + at / 2_000 * 100).collect());
    let of = |rows| Counts {
        rows,
        numbers: None,
        keys: vec![key(0..2_000, true)],
        measure: None,
    };
    assert_eq!(left(&[of(&rows)], Limit::First(3)), None);
    let rows = RowCounts::Counted((0..2_001).map(|at| 5 + at % 500).collect());
    let kept = vec![499, 999, 1499, 1999];
    assert_eq!(
        left(&[of(&rows)], Limit::First(4)),
        Some(vec![kept.clone()])
    );
    // No row of the second one matched.
    let none = RowCounts::Counted(Vec::new());
    assert_eq!(
        left(&[of(&rows), of(&none)], Limit::First(4)),
        Some(vec![kept, Vec::new()])
    );
}

/// Groups of two keys, one of which may be null, of segments with other dictionaries.
#[test]
fn groups_of_two_keys_keep_all_of_their_rows() {
    type Pair = (i64, Option<i64>);
    let mut totals: HashMap<Pair, u64> = HashMap::new();
    let mut segments: Vec<(Vec<Pair>, RowCounts<'_>, [Vec<i64>; 2])> = Vec::new();
    for seed in 0..3u64 {
        let some = |salt: u64, of: u64| {
            let of = 0..of;
            of.filter(move |value| !mix(salt + seed * 100 + value).is_multiple_of(4))
        };
        let firsts: Vec<i64> = some(7, 60).map(|value| value as i64).collect();
        let seconds: Vec<i64> = some(9, 30).map(|value| value as i64).collect();
        let own = firsts.iter().flat_map(|first| {
            let seconds = seconds.iter().map(|second| Some(*second)).chain([None]);
            seconds.map(|second| (*first, second))
        });
        let own: Vec<Pair> = own.collect();
        let rows = |(first, second): &Pair| {
            let drawn = mix(*first as u64 * 100 + second.unwrap_or(99) as u64);
            (5_000 >> (drawn % 14)) + mix(drawn + seed) % 5
        };
        let rows: Vec<u64> = own.iter().map(rows).collect();
        for (pair, rows) in own.iter().zip(&rows) {
            *totals.entry(*pair).or_default() += rows;
        }
        segments.push((own, RowCounts::Counted(rows), [firsts, seconds]));
    }
    let counts = segments.iter().map(|(_, rows, [firsts, seconds])| Counts {
        rows,
        numbers: None,
        keys: vec![
            key(firsts.iter().copied(), false),
            key(seconds.iter().copied(), true),
        ],
        measure: None,
    });
    let counts: Vec<Counts<'_>> = counts.collect();
    let mut ranks: Vec<u64> = totals.values().copied().collect();
    ranks.sort_unstable_by_key(|rows| Reverse(*rows));
    for few in [1, 10, 40] {
        let left = left(&counts, Limit::First(few)).unwrap();
        let mut found: HashMap<Pair, u64> = HashMap::new();
        for ((own, rows, _), kept) in segments.iter().zip(&left) {
            for group in kept {
                *found.entry(own[*group as usize]).or_default() += rows.of(*group);
            }
        }
        assert!(found.len() < totals.len() / 4);
        assert!(found.keys().any(|(_, second)| second.is_none()));
        for (pair, rows) in &totals {
            match found.get(pair) {
                Some(found) => assert!(found == rows || *rows < ranks[few - 1]),
                None => assert!(*rows < ranks[few - 1], "{pair:?}"),
            }
        }
    }
}
