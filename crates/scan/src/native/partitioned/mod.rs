//! Very many groups: rows go to partitions by the hash of their keys, and each partition is grouped
//! by itself, in a table that stays in the core's own cache.
//!
//! Invariants:
//! - keys are bits that mean the same in all segments ([`keys`]), so no group is in two partitions,
//!   and segments need not be joined afterwards;
//! - rows that wait for their partition take no more than [`WAITING_BYTES_MAX`] a worker: then the
//!   partitions take them up before more are read;
//! - whoever cannot be answered so (other aggregates, few groups, few rows) is left to the workers
//!   of [`super::worker`].
//!
//! The method is that of radix-partitioned aggregation: Manegold, Boncz and Kersten, "Optimizing
//! Main-Memory Join on Modern Hardware" (2002), with the partitions aggregated as in Müller et al.,
//! "Cache-Efficient Aggregation: Hashing Is Sorting" (2015).

mod keys;
mod rows;
mod sample;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use parking_lot::Mutex;
use runtime::compute::Turn;
use segment::{BLOCK_ROWS, SegmentView};

pub(super) use self::keys::PackedKeys;
use self::rows::{Arguments, Scatter};
use self::sample::Sample;
use self::table::Partition;
use super::aggregate::{Aggregate, Kind, Width};
use super::exec::NativeAggregateExec;
use super::grouped::{GroupKeys, Grouped, Piece, PieceGroups};
use super::star_tree::Trees;
use crate::filter::Filters;
use crate::morsels::Morsel;
use crate::shared::in_turns;

/// Blocks that a worker takes at once.
const BLOCKS: u32 = 64;
/// Of each worker.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// Rows of a partition whose groups, if all differ, are still in the core's cache.
const PARTITION_ROWS: u64 = 16 << 10;
const PARTITIONS_MAX: u64 = 1024;

/// What one query needs to know of rows that wait.
#[derive(Debug)]
struct Layout {
    key_words: usize,
    /// Words of a row: keys, arguments, and which arguments are there.
    stride: usize,
    partition_bits: u32,
    /// About as many groups as one partition will have.
    groups: usize,
}

/// The groups, if they are many and of a kind that can be found this way.
pub(super) fn grouped(
    operator: &NativeAggregateExec,
    turn: &mut Turn,
    memory: &MemoryReservation,
    (filters, trees): (&Filters<'_>, &Trees<'_>),
    (rows, most): (u64, bool),
) -> Result<Option<Grouped>> {
    let segments = operator.segments();
    let fits = !operator.keys.is_empty() && operator.entries.is_none();
    if !fits || !operator.aggregates.iter().all(is_total) {
        return Ok(None);
    }
    for segment in 0..segments.len() {
        if trees.of(segment)?.is_some() {
            return Ok(None);
        }
    }
    let Some(Sample { matching, groups }) = sample::many(operator, turn, filters, (rows, most))?
    else {
        return Ok(None);
    };
    let workers = operator.shared.workers(rows);
    let Some(keys) = keys::open(operator, turn, filters, workers)? else {
        return Ok(None);
    };
    let arguments = Arguments::open(operator, filters)?;
    let words = keys.packed.words;
    if !arguments.fit(words) || !table::KEY_WORDS.contains(&words) {
        return Ok(None);
    }
    let partitions = (matching / PARTITION_ROWS)
        .clamp(8, PARTITIONS_MAX)
        .next_power_of_two();
    let layout = Layout {
        key_words: words,
        stride: words + arguments.words(),
        partition_bits: partitions.trailing_zeros(),
        groups: (groups / partitions) as usize,
    };
    let pieces = in_phases(
        operator,
        turn,
        memory,
        (filters, &keys, &arguments),
        &layout,
        (workers, matching),
    )?;
    operator.shared.many_groups.count();
    let keys = GroupKeys::Packed(keys.packed);
    Ok(Some(operator.grouped_of(keys, pieces)))
}

/// Counts, sums and ends of numbers.
fn is_total(aggregate: &Aggregate) -> bool {
    let kind = match aggregate.kind {
        Kind::Count => true,
        Kind::Sum | Kind::Avg | Kind::Min | Kind::Max => aggregate.width != Width::Own,
        _ => false,
    };
    kind && aggregate.filter.is_none()
}

/// Reads rows and takes them up, in turns, until there are none left.
fn in_phases(
    operator: &NativeAggregateExec,
    turn: &mut Turn,
    memory: &MemoryReservation,
    (filters, keys, arguments): (&Filters<'_>, &keys::Keys<'_>, &Arguments<'_>),
    layout: &Layout,
    (workers, matching): (usize, u64),
) -> Result<Vec<Piece>> {
    let morsels = morsels(operator.segments());
    let next = AtomicUsize::new(0);
    let held = memory.new_empty();
    let bins = (0..1usize << layout.partition_bits).map(|_| {
        Mutex::new(Bin {
            waiting: Vec::new(),
            groups: Partition::new(layout, &operator.aggregates, arguments),
        })
    });
    let mut bins: Vec<Mutex<Bin>> = bins.collect();
    loop {
        let read = turn.split(workers, |turn| {
            let mut waiting = Scatter::new(layout, matching / workers as u64);
            while waiting.bytes() < WAITING_BYTES_MAX {
                let Some(Morsel { segment, blocks }) =
                    morsels.get(next.fetch_add(1, Ordering::Relaxed)).cloned()
                else {
                    break;
                };
                let Some(filter) = filters.of(segment)? else {
                    continue;
                };
                let mut matched = 0;
                let mut blocks = filter.blocks(blocks);
                while let Some((start, mask)) = blocks.next(turn)? {
                    matched += waiting.add((keys, arguments), segment, (start, mask))?;
                }
                filter.count(matched, matched * operator.columns());
            }
            Ok::<_, DataFusionError>(waiting)
        });
        for read in read {
            let read = read?;
            held.try_grow(read.bytes())?;
            for (bin, rows) in bins.iter_mut().zip(read.partitions()) {
                bin.get_mut().waiting.push(rows);
            }
        }
        in_turns(turn, workers, bins.len(), |at| {
            bins[at].lock().take_up(&held)
        })?;
        if next.load(Ordering::Relaxed) >= morsels.len() {
            break;
        }
    }
    memory.grow(held.size());
    let pieces = bins.into_iter().map(|bin| {
        let (words, states) = bin.into_inner().groups.finish();
        let groups = words.len() / layout.key_words;
        Piece {
            groups: PieceGroups::Words(words, groups),
            states,
        }
    });
    Ok(pieces.filter(|piece| piece.groups.len() > 0).collect())
}

/// A partition and the rows that wait for it.
#[derive(Debug)]
struct Bin {
    waiting: Vec<Vec<u64>>,
    groups: Partition,
}

impl Bin {
    /// What was waiting is given back as soon as it is taken up, so that the groups come to lie
    /// where rows were.
    fn take_up(&mut self, held: &MemoryReservation) -> Result<()> {
        for rows in self.waiting.drain(..) {
            let before = self.groups.memory_bytes();
            self.groups.add(&rows);
            held.try_grow(self.groups.memory_bytes() - before)?;
            held.shrink(rows.len() * size_of::<u64>());
        }
        Ok(())
    }
}

fn morsels(segments: &[SegmentView]) -> Vec<Morsel> {
    let mut morsels = Vec::new();
    for (segment, view) in segments.iter().enumerate() {
        let end = view.row_count().div_ceil(BLOCK_ROWS);
        for from in (0..end).step_by(BLOCKS as usize) {
            let blocks = from..end.min(from + BLOCKS);
            morsels.push(Morsel { segment, blocks });
        }
    }
    morsels
}
