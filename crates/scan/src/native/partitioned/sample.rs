//! A look at some blocks, whether there are so many groups that partitions are worth it.

use std::collections::HashSet;

use datafusion::common::Result;
use runtime::compute::Turn;
use schemas::proto::Explain;
use segment::BLOCK_ROWS;

use super::super::exec::NativeAggregateExec;
use super::super::keys::Key;
use super::super::number::BlockRows;
use super::table::hash;
use crate::columns::longs;
use crate::filter::Filters;
use crate::stats::Counters;

/// Fewer groups than these are found in one table.
const GROUPS_MIN: u64 = 1 << 16;
/// Groups that a core finds by their place, and rows for each that make it worth an array.
const DIRECT_MAX: u64 = 1 << 19;
const DIRECT_ROWS: u64 = 8;
/// Segments that are looked at, and blocks and rows of each at most.
const SEGMENTS: usize = 2;
const BLOCKS: u32 = 8;
const ROWS: u64 = 24_000;
/// With fewer rows than these nothing can be said.
const SAMPLE_MIN: u64 = 500;

/// What is to be expected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Rows that match.
    pub(super) matching: u64,
    pub(super) groups: u64,
}

/// What some blocks of a segment have.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    rows: u64,
    matching: u64,
    groups: u64,
    /// Groups of the last block, and those of them that the blocks before did not have.
    last: u64,
    new: u64,
}

/// About how many rows match, where there are very many groups.
pub(super) fn many(
    operator: &NativeAggregateExec,
    turn: &mut Turn,
    filters: &Filters<'_>,
    (rows, most): (u64, bool),
) -> Result<Option<Sample>> {
    let rows_min = operator.shared.many_groups.rows_min;
    if rows_min == 0 {
        return Ok(Some(Sample {
            matching: rows,
            groups: 0,
        }));
    }
    if rows < rows_min {
        return Ok(None);
    }
    let segments = operator.segments();
    let filled = (0..segments.len()).filter(|at| segments[*at].row_count() > 0);
    let filled: Vec<usize> = filled.collect();
    let chosen = filled.len().min(SEGMENTS);
    let mut keys_of = Vec::with_capacity(chosen);
    for nth in 0..chosen {
        let at = filled[nth * filled.len() / chosen];
        let compiler = operator.compiler(&segments[at]);
        let keys = operator.keys.iter().map(|key| Key::new(key, &compiler));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let fit = |key: &Key<'_>| key.is_steady() || key.whole_numbers().is_some();
        if !keys.iter().all(fit) || groups_at_most(&keys) < GROUPS_MIN {
            return Ok(None);
        }
        keys_of.push((at, keys));
    }
    if is_direct(operator, &keys_of) {
        return Ok(None);
    }
    // The groups of one dictionary with the most rows are found without the others; where nothing
    // else is asked of them, they are marked.
    let is_dictionary = |keys: &[Key<'_>]| keys.len() == 1 && keys[0].dictionary().is_some();
    if (most || operator.aggregates.is_empty())
        && keys_of.iter().all(|(_, keys)| is_dictionary(keys))
    {
        return Ok(None);
    }
    // EXPLAIN tells what those did who read all, and nothing of this look.
    let counters = Counters::default();
    let explains = operator.shared.options.explain() != Explain::None;
    let own = explains.then(|| operator.filters(&counters));
    let mut all = Look::default();
    for (at, keys) in keys_of {
        let rows = segments[at].row_count();
        let own = match &own {
            Some(filters) => look(turn, filters, (at, rows), &keys)?,
            None => look(turn, filters, (at, rows), &keys)?,
        };
        all.rows += own.rows;
        all.matching += own.matching;
        all.groups += own.groups;
        all.last += own.last;
        all.new += own.new;
    }
    let matching = operator.rows() * all.matching / all.rows.max(1);
    if all.matching < SAMPLE_MIN || matching < rows_min {
        return Ok(None);
    }
    let groups = matching * all.groups / all.matching;
    // Rows that lie together may be of few groups: there are many if each block brings others.
    let is_many = all.new * 2 >= all.last && groups >= GROUPS_MIN;
    Ok(is_many.then_some(Sample { matching, groups }))
}

fn groups_at_most(keys: &[Key<'_>]) -> u64 {
    let domains = keys.iter().map(|key| key.domain);
    domains.fold(1, u64::saturating_mul)
}

/// Whether each worker finds all groups of all segments at their place in one short array, which
/// has several rows for each.
fn is_direct(operator: &NativeAggregateExec, keys_of: &[(usize, Vec<Key<'_>>)]) -> bool {
    let Some(((_, first), others)) = keys_of.split_first() else {
        return false;
    };
    let most = groups_at_most(first);
    let alike = |keys: &Vec<Key<'_>>| {
        let mut pairs = first.iter().zip(keys);
        pairs.all(|(own, other)| own.is_known() && own.numbers_as(other))
    };
    most <= DIRECT_MAX
        && most <= operator.rows() / DIRECT_ROWS
        && others.iter().all(|(_, keys)| alike(keys))
}

fn look(
    turn: &mut Turn,
    filters: &Filters<'_>,
    (segment, row_count): (usize, u32),
    keys: &[Key<'_>],
) -> Result<Look> {
    let Some(filter) = filters.of(segment)? else {
        return Ok(Look {
            rows: row_count.into(),
            ..Look::default()
        });
    };
    let mut look = Look::default();
    let mut seen = HashSet::new();
    let blocks = row_count.div_ceil(BLOCK_ROWS);
    let mut picked = Vec::new();
    for block in (0..blocks).step_by(blocks.div_ceil(BLOCKS).max(1) as usize) {
        if look.matching >= ROWS {
            break;
        }
        look.rows += u64::from(BLOCK_ROWS.min(row_count - block * BLOCK_ROWS));
        let mut found = filter.blocks(block..block + 1);
        while let Some((start, mask)) = found.next(turn)? {
            mask.collect_into(&mut picked);
            let rows = BlockRows {
                start,
                len: mask.len,
                picked: Some(&picked),
                mask,
                entries: None,
            };
            let here: HashSet<u64> = hashes(keys, rows)?.into_iter().collect();
            let before = seen.len();
            look.matching += picked.len() as u64;
            look.last = here.len() as u64;
            seen.extend(here);
            look.new = (seen.len() - before) as u64;
        }
    }
    look.groups = seen.len() as u64;
    Ok(look)
}

/// Of the keys of each row.
fn hashes(keys: &[Key<'_>], rows: BlockRows<'_>) -> Result<Vec<u64>> {
    let mut hashes = vec![0; rows.count()];
    let mut numbers = Vec::new();
    for key in keys {
        match key.whole_numbers() {
            Some((values, _, _)) => {
                let values = longs(values.values(rows.range()), rows.picked);
                for (own, value) in hashes.iter_mut().zip(values) {
                    *own = hash(*own, value as u64);
                }
            }
            None => {
                key.known_into(rows, &mut numbers)?;
                for (own, number) in hashes.iter_mut().zip(&numbers) {
                    *own = hash(*own, u64::from(*number));
                }
            }
        }
    }
    Ok(hashes)
}
