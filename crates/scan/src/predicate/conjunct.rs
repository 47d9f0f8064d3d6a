//! One conjunct at work on blocks.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use roaring::RoaringBitmap;
use segment::BLOCK_ROWS;
use segment::view::{Codes, ColumnView, DictionaryColumn, Nulls, RawColumn, RawValues, Zone};

use super::codes::CodeSet;
use super::evaluate;
use crate::columns::Source;
use crate::kernels::{InRange, i32_in_range, i64_in_range, test_all};
use crate::ranges::{RangeSet, order_key};
use crate::rows::{BlockMask, WORDS};

/// With fewer rows than one in so many left, values are looked up instead of scanned.
const PROBE_BELOW: u32 = 32;
/// More ranges than these are searched for each value.
const RANGES_SCANNED_MAX: usize = 6;

#[derive(Debug)]
pub(crate) enum Conjunct<'a> {
    /// The documents, from an index.
    Documents(RoaringBitmap),
    Codes {
        codes: Option<CodeSet>,
        column: DictionaryColumn<'a>,
        /// With SQL nulls.
        nulls: Option<Nulls<'a>>,
        null_matches: bool,
    },
    Ranges {
        set: RangeSet,
        column: ColumnView<'a>,
        values: RawColumn<'a>,
        nulls: Option<Nulls<'a>>,
        /// Blocks are judged by their zones.
        zones: bool,
    },
    Evaluate {
        expr: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        sources: Vec<Source<'a>>,
    },
}

/// What a zone says about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    None,
    All,
    Look,
}

pub(super) fn judge(set: &RangeSet, zone: Option<Zone>) -> Verdict {
    let (low, high) = match zone {
        None => return Verdict::Look,
        Some(Zone::I64 { min, max }) => (min, max),
        Some(Zone::F64 { min, max }) => (order_key(min), order_key(max)),
    };
    if !set.overlaps(low, high) {
        Verdict::None
    } else if set.covers(low, high) {
        Verdict::All
    } else {
        Verdict::Look
    }
}

impl Conjunct<'_> {
    /// What is cheap and exact comes first.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Documents(_) => 0,
            Self::Codes { .. } => 1,
            Self::Ranges { .. } => 2,
            Self::Evaluate { .. } => 3,
        }
    }

    /// Keeps in `mask` the rows of the block at `start` that match. Returns the values looked at.
    pub(crate) fn apply(&self, start: u32, mask: &mut BlockMask) -> Result<u64> {
        let len = mask.len;
        match self {
            Self::Documents(documents) => {
                let mut hits = BlockMask::none(len);
                for document in documents.range(start..start + len) {
                    hits.set(document - start);
                }
                mask.and(&hits);
                Ok(0)
            }
            Self::Codes {
                codes,
                column,
                nulls,
                null_matches,
            } => {
                let stored = column.codes(start..start + len);
                let hits = match codes {
                    Some(codes) if mask.count() < len / PROBE_BELOW => probe(codes, stored, mask),
                    Some(codes) => codes.scan(stored, len),
                    None => BlockMask::none(len),
                };
                with_nulls(hits, nulls.as_ref(), start, *null_matches, mask);
                Ok(u64::from(len))
            }
            Self::Ranges {
                set,
                column,
                values,
                nulls,
                zones,
            } => {
                let zone = zones.then(|| column.zone(start / BLOCK_ROWS)).flatten();
                let (hits, entries) = match judge(set, zone) {
                    Verdict::None => (BlockMask::none(len), 0),
                    Verdict::All => (BlockMask::all(len), 0),
                    Verdict::Look => (scan(set, values.values(start..start + len), len), len),
                };
                with_nulls(hits, nulls.as_ref(), start, false, mask);
                Ok(u64::from(entries))
            }
            Self::Evaluate {
                expr,
                schema,
                sources,
            } => {
                let mut rows = Vec::new();
                mask.collect_into(&mut rows);
                let picked = (!mask.is_full()).then_some(rows.as_slice());
                let columns = sources
                    .iter()
                    .map(|source| source.array(start, len, picked))
                    .collect::<Result<Vec<_>>>()?;
                let verdict = evaluate(expr, schema, columns, rows.len())?;
                let mut hits = BlockMask::none(len);
                let kept = rows.iter().zip(verdict).filter(|(_, hit)| *hit);
                kept.for_each(|(row, _)| hits.set(*row));
                mask.and(&hits);
                Ok(rows.len() as u64 * sources.len() as u64)
            }
        }
    }

    /// The first block at or after `block` that can have a match; `None` = no more.
    pub(crate) fn next_block(&self, block: u32, blocks: u32) -> Option<u32> {
        match self {
            Self::Documents(documents) => documents
                .range(block * BLOCK_ROWS..)
                .next()
                .map(|document| document / BLOCK_ROWS),
            Self::Ranges {
                set,
                column,
                zones: true,
                ..
            } => (block..blocks).find(|at| judge(set, column.zone(*at)) != Verdict::None),
            _ => Some(block),
        }
    }
}

fn with_nulls(
    mut hits: BlockMask,
    nulls: Option<&Nulls<'_>>,
    start: u32,
    null_matches: bool,
    mask: &mut BlockMask,
) {
    if let Some(nulls) = nulls {
        let mut null = [0; WORDS];
        nulls.fill_mask(start, &mut null);
        for (word, null) in hits.words.iter_mut().zip(null) {
            *word = if null_matches {
                *word | null
            } else {
                *word & !null
            };
        }
    }
    mask.and(&hits);
}

fn probe(codes: &CodeSet, stored: Codes<'_>, mask: &BlockMask) -> BlockMask {
    let mut hits = BlockMask::none(mask.len);
    let mut rows = Vec::new();
    mask.collect_into(&mut rows);
    for row in rows {
        let at = row as usize;
        let code = match stored {
            Codes::U8(codes) => u32::from(codes[at]),
            Codes::U16(codes) => u32::from(codes[at]),
            Codes::U32(codes) => codes[at],
        };
        if codes.contains(code) {
            hits.set(row);
        }
    }
    hits
}

fn scan(set: &RangeSet, values: RawValues<'_>, len: u32) -> BlockMask {
    let mut hits = BlockMask::none(len);
    if set.ranges().len() > RANGES_SCANNED_MAX {
        let words = &mut hits.words;
        match values {
            RawValues::U8 { base, values } => {
                test_all(values, words, |v| set.contains(base + i64::from(v)));
            }
            RawValues::U16 { base, values } => {
                test_all(values, words, |v| set.contains(base + i64::from(v)));
            }
            RawValues::U32 { base, values } => {
                let at = |v: u32| base.wrapping_add(i64::from(v));
                test_all(values, words, |v| set.contains(at(v)));
            }
            RawValues::I32(values) => test_all(values, words, |v| set.contains(i64::from(v))),
            RawValues::I64(values) => test_all(values, words, |v| set.contains(v)),
            _ => scan_ranges(set, values, &mut hits),
        }
        return hits;
    }
    scan_ranges(set, values, &mut hits);
    hits
}

fn scan_ranges(set: &RangeSet, values: RawValues<'_>, hits: &mut BlockMask) {
    for (low, high) in set.ranges() {
        let mut words = [0; WORDS];
        scan_range(*low, *high, values, &mut words);
        for (word, more) in hits.words.iter_mut().zip(words) {
            *word |= more;
        }
    }
}

/// The range among the stored forms of values `base ..= base + max`.
fn stored_range(low: i64, high: i64, base: i64, max: u64) -> Option<(u64, u64)> {
    let distance = |value: i64| i128::from(value) - i128::from(base);
    let (low, high) = (distance(low).max(0), distance(high).min(i128::from(max)));
    (low <= high).then_some((low as u64, high as u64))
}

fn scan_range(low: i64, high: i64, values: RawValues<'_>, words: &mut [u64; WORDS]) {
    match values {
        RawValues::U8 { base, values } => {
            if let Some((low, high)) = stored_range(low, high, base, u64::from(u8::MAX)) {
                u8::in_range(values, low as u8, high as u8, words);
            }
        }
        RawValues::U16 { base, values } => {
            if let Some((low, high)) = stored_range(low, high, base, u64::from(u16::MAX)) {
                u16::in_range(values, low as u16, high as u16, words);
            }
        }
        RawValues::U32 { base, values } => {
            if let Some((low, high)) = stored_range(low, high, base, u64::from(u32::MAX)) {
                u32::in_range(values, low as u32, high as u32, words);
            }
        }
        RawValues::I32(values) => {
            let low = low.max(i64::from(i32::MIN));
            let high = high.min(i64::from(i32::MAX));
            if low <= high {
                i32_in_range(values, low as i32, high as i32, words);
            }
        }
        RawValues::I64(values) => i64_in_range(values, low, high, words),
        RawValues::F32(values) => test_all(values, words, |value| {
            (low..=high).contains(&order_key(f64::from(value)))
        }),
        RawValues::F64(values) => {
            test_all(values, words, |value| {
                (low..=high).contains(&order_key(value))
            });
        }
        RawValues::Sequence { first, count } => {
            if let Some((from, to)) = stored_range(low, high, first, (count as u64).max(1) - 1) {
                let rows = from as usize..=(to as usize).min(count.saturating_sub(1));
                rows.for_each(|row| words[row / 64] |= 1 << (row % 64));
            }
        }
        // No range set is made for them.
        RawValues::I256(_) => {}
    }
}
