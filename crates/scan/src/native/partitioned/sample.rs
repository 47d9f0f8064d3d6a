//! A look at some blocks, whether there are so many groups that partitions are worth it.

use std::collections::HashSet;

use datafusion::common::Result;
use runtime::compute::Turn;
use segment::BLOCK_ROWS;

use super::super::exec::NativeAggregateExec;
use super::super::keys::Key;
use super::super::number::BlockRows;
use super::table::hash;
use crate::columns::longs;
use crate::filter::Filters;

/// Fewer groups than these are found in one table.
const GROUPS_MIN: u64 = 1 << 16;
/// Segments that are looked at, and blocks and rows of each at most.
const SEGMENTS: usize = 2;
const BLOCKS: u32 = 8;
const ROWS: usize = 24_000;
/// With fewer rows than these nothing can be said.
const SAMPLE_MIN: u64 = 500;

/// What is to be expected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Rows that match.
    pub(super) matching: u64,
    pub(super) groups: u64,
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
    let chosen = segments.len().min(SEGMENTS);
    let (mut looked_at, mut matching, mut groups) = (0, 0, 0);
    // Of the last block of each segment: groups, and those that the blocks before did not have.
    let (mut last, mut new) = (0, 0);
    for nth in 0..chosen {
        let at = nth * segments.len() / chosen;
        let view = &segments[at];
        let compiler = operator.compiler(view);
        let keys = operator.keys.iter().map(|key| Key::new(key, &compiler));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let fit = |key: &Key<'_>| key.is_steady() || key.whole_numbers().is_some();
        let product = keys
            .iter()
            .fold(1u64, |all, key| all.saturating_mul(key.domain));
        // The groups of one dictionary with the most rows are found without the others.
        let by_dictionary = most && keys.len() == 1 && keys[0].dictionary().is_some();
        if !keys.iter().all(fit) || product < GROUPS_MIN || by_dictionary {
            return Ok(None);
        }
        let mut seen = HashSet::new();
        let Some(filter) = filters.of(at)? else {
            looked_at += u64::from(view.row_count());
            continue;
        };
        let blocks = view.row_count().div_ceil(BLOCK_ROWS);
        let step = blocks.div_ceil(BLOCKS).max(1) as usize;
        let (mut own, mut of_last) = (0, (0, 0));
        for block in (0..blocks).step_by(step).take_while(|_| own < ROWS) {
            looked_at += u64::from(BLOCK_ROWS.min(view.row_count() - block * BLOCK_ROWS));
            let mut found = filter.blocks(block..block + 1);
            while let Some((start, mask)) = found.next(turn)? {
                let mut picked = Vec::new();
                mask.collect_into(&mut picked);
                let rows = BlockRows {
                    start,
                    len: mask.len,
                    picked: Some(&picked),
                    mask,
                    entries: None,
                };
                own += picked.len();
                let here: HashSet<u64> = hashes(&keys, rows)?.into_iter().collect();
                let before = seen.len();
                of_last.0 = here.len();
                seen.extend(here);
                of_last.1 = seen.len() - before;
            }
        }
        matching += own as u64;
        groups += seen.len() as u64;
        (last, new) = (last + of_last.0, new + of_last.1);
    }
    let in_all = operator.rows() * matching / looked_at.max(1);
    if matching < SAMPLE_MIN || in_all < rows_min {
        return Ok(None);
    }
    // Rows that lie together may be of few groups: there are many if each block brings others.
    let sample = Sample {
        matching: in_all,
        groups: in_all * groups / matching,
    };
    let is_many = new * 2 >= last && sample.groups >= GROUPS_MIN;
    Ok(is_many.then_some(sample))
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
