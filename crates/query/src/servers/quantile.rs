//! How long fragments of a shape take, nearly always.
//!
//! A shape is a fragment's plan without its values: what is fast for one is slow for another.
//! Invariants: what is known takes a bounded number of bytes; what is old counts ever less.

use std::collections::HashMap;
use std::time::Duration;

/// Shapes that are known at once.
const SHAPES_MAX: usize = 1024;
/// Fewer answers tell nothing.
const ANSWERS_MIN: u32 = 20;
/// From so many on older ones count half.
const ANSWERS_MAX: u32 = 1000;

/// Each bucket ends a quarter above the one before it: from 50 µs to more than a minute.
const BUCKETS: usize = 64;
const FIRST_US: f64 = 50.0;
const STEP: f64 = 1.25;

#[derive(Debug, Default)]
pub(super) struct Quantiles(HashMap<u64, Histogram>);

#[derive(Debug)]
struct Histogram {
    counts: [u16; BUCKETS],
    total: u32,
}

impl Quantiles {
    pub(super) fn observe(&mut self, shape: u64, elapsed: Duration) {
        if self.0.len() >= SHAPES_MAX && !self.0.contains_key(&shape) {
            self.0.clear();
        }
        let histogram = self.0.entry(shape).or_insert(Histogram {
            counts: [0; BUCKETS],
            total: 0,
        });
        histogram.counts[bucket(elapsed)] += 1;
        histogram.total += 1;
        if histogram.total >= ANSWERS_MAX {
            histogram.counts.iter_mut().for_each(|count| *count /= 2);
            histogram.total = histogram.counts.iter().map(|count| u32::from(*count)).sum();
        }
    }

    /// `None`: too little is known.
    pub(super) fn p95(&self, shape: u64) -> Option<Duration> {
        let Histogram { counts, total } = self.0.get(&shape)?;
        if *total < ANSWERS_MIN {
            return None;
        }
        let mut beyond = total / 20;
        let last = counts.iter().rposition(|count| {
            let more = u32::from(*count) > beyond;
            beyond = beyond.saturating_sub(u32::from(*count));
            more
        })?;
        let end_us = FIRST_US * STEP.powi(last as i32);
        Some(Duration::from_micros(end_us as u64))
    }
}

fn bucket(elapsed: Duration) -> usize {
    let steps = (elapsed.as_micros() as f64 / FIRST_US).max(1.0).log(STEP);
    (steps.ceil() as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_one_in_twenty_are_within_it() {
        let mut quantiles = Quantiles::default();
        let ms = Duration::from_millis;
        for at in 0..200 {
            assert_eq!(quantiles.p95(7).is_some(), at >= 20, "{at}");
            quantiles.observe(7, if at % 20 == 0 { ms(900) } else { ms(2) });
        }
        let p95 = quantiles.p95(7).unwrap();
        assert!(p95 >= ms(2) && p95 < ms(3), "{p95:?}");
        for _ in 0..300 {
            quantiles.observe(7, ms(40));
        }
        let p95 = quantiles.p95(7).unwrap();
        assert!(p95 >= ms(40) && p95 < ms(51), "{p95:?}");
        for _ in 0..20_000 {
            quantiles.observe(7, ms(1));
        }
        assert!(quantiles.p95(7).unwrap() < ms(2));
        assert_eq!(quantiles.p95(8), None);
        for shape in 100..3000 {
            quantiles.observe(shape, ms(1));
            assert!(quantiles.0.len() <= SHAPES_MAX);
        }
    }
}
