//! Segments shared out among workers, some blocks at a time.
//!
//! A worker stays in its segment while there are blocks left, so that it has one state for it;
//! then it takes a segment that nobody has begun; last it helps where most is left. Every block is
//! given out exactly once.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use segment::{BLOCK_ROWS, SegmentView};

/// With less than so many morsels left in a segment, help costs more than it brings.
const HELPED_MIN: u32 = 2;

#[derive(Debug)]
pub(crate) struct Morsels {
    supplies: Vec<Supply>,
    /// At most so many are given out at once.
    blocks: u32,
}

#[derive(Debug)]
struct Supply {
    blocks: u32,
    next: AtomicU32,
}

/// Blocks of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Morsel {
    pub(crate) segment: usize,
    pub(crate) blocks: Range<u32>,
}

impl Morsels {
    /// Several workers may share a segment.
    pub(crate) fn new(views: &[SegmentView], blocks: u32) -> Self {
        Self::of(views.iter(), blocks)
    }

    /// Segments in the order in which they are best begun.
    pub(crate) fn of<'v>(views: impl Iterator<Item = &'v SegmentView>, blocks: u32) -> Self {
        let supplies = views.map(|view| Supply {
            blocks: view.row_count().div_ceil(BLOCK_ROWS),
            next: AtomicU32::new(0),
        });
        Self {
            supplies: supplies.collect(),
            blocks,
        }
    }

    /// What comes next for a worker whose last blocks were of segment `current`. Segments without
    /// rows never come.
    pub(crate) fn next(&self, current: Option<usize>) -> Option<Morsel> {
        if let Some(morsel) = current.and_then(|segment| self.more_of(segment)) {
            return Some(morsel);
        }
        let left = |supply: &Supply| supply.blocks.saturating_sub(supply.next());
        for (segment, supply) in self.supplies.iter().enumerate() {
            if supply.next() == 0
                && supply.blocks > 0
                && let Some(morsel) = self.begin(segment)
            {
                return Some(morsel);
            }
        }
        loop {
            let supplies = self.supplies.iter().enumerate();
            let (segment, supply) = supplies.max_by_key(|(_, supply)| left(supply))?;
            if left(supply) < self.blocks.saturating_mul(HELPED_MIN) {
                return None;
            }
            if let Some(morsel) = self.more_of(segment) {
                return Some(morsel);
            }
        }
    }

    /// `None`: somebody else has begun it.
    fn begin(&self, segment: usize) -> Option<Morsel> {
        let supply = &self.supplies[segment];
        let end = self.blocks.min(supply.blocks);
        let taken = supply
            .next
            .compare_exchange(0, end, Ordering::Relaxed, Ordering::Relaxed);
        taken.ok().map(|from| Morsel {
            segment,
            blocks: from..end,
        })
    }

    fn more_of(&self, segment: usize) -> Option<Morsel> {
        let supply = self.supplies.get(segment)?;
        let end = |from: u32| from.saturating_add(self.blocks).min(supply.blocks);
        let taken = supply
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |from| {
                (from < supply.blocks).then(|| end(from))
            });
        taken.ok().map(|from| Morsel {
            segment,
            blocks: from..end(from),
        })
    }
}

impl Supply {
    fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u32 = 64;

    fn supply(blocks: &[u32], at_once: u32) -> Morsels {
        let supplies = blocks.iter().map(|blocks| Supply {
            blocks: *blocks,
            next: AtomicU32::new(0),
        });
        Morsels {
            supplies: supplies.collect(),
            blocks: at_once,
        }
    }

    #[test]
    fn every_block_is_given_out_once_and_workers_stay_where_they_are() {
        let blocks = [300, 0, 1, 65, 700];
        let morsels = supply(&blocks, BLOCKS);
        let mut seen = blocks.map(|blocks| vec![0; blocks as usize]);
        let mut at = [None, None, None];
        let mut segments = [const { Vec::new() }; 3];
        let mut idle = 0;
        for turn in (0..3).cycle() {
            let Some(morsel) = morsels.next(at[turn]) else {
                idle += 1;
                if idle == 10 {
                    break;
                }
                continue;
            };
            for block in morsel.blocks.clone() {
                seen[morsel.segment][block as usize] += 1;
            }
            at[turn] = Some(morsel.segment);
            if segments[turn].last() != Some(&morsel.segment) {
                segments[turn].push(morsel.segment);
            }
        }
        assert!(seen.iter().flatten().all(|times| *times == 1));
        assert_eq!(segments.map(|s| s.first().copied()), [0, 2, 3].map(Some));
        let helped = supply(&[300], BLOCKS);
        assert_eq!(helped.next(None).unwrap().blocks, 0..64);
        assert_eq!(helped.next(None).unwrap().blocks, 64..128);
        assert_eq!(helped.next(None).unwrap().blocks, 128..192);
        assert_eq!(helped.next(None), None, "the rest is for one worker");
        assert_eq!(helped.next(Some(0)).unwrap().blocks, 192..256);
        let whole = supply(&[300, 5], u32::MAX);
        assert_eq!(whole.next(Some(1)).unwrap().blocks, 0..5);
        assert_eq!(whole.next(Some(1)).unwrap().blocks, 0..300);
        assert_eq!(whole.next(Some(0)), None);
    }
}
