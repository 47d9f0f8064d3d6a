//! One conjunct at work on blocks.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use roaring::RoaringBitmap;
use segment::BLOCK_ROWS;
use segment::view::{
    CodeRoom, ColumnView, DictionaryColumn, MultiColumn, Nulls, RawColumn, ValidRows,
};

use super::codes::{CodeSet, code_at};
use super::note::Note;
use super::raw::{self, Verdict, judge};
use super::sieve::Sieve;
use super::{entries, evaluate};
use crate::columns::Source;
use crate::native::{BlockRows, Combined};
use crate::ranges::RangeSet;
use crate::rows::{BlockMask, WORDS};

/// With fewer rows than one in so many left, values are looked up instead of scanned.
const PROBE_BELOW: u32 = 32;

#[derive(Debug)]
pub(crate) struct Conjunct<'a> {
    pub(super) access: Access<'a>,
    /// Rows of the segment that it keeps, about.
    pub(super) estimate: u64,
    /// The estimate is what it keeps.
    pub(super) is_exact: bool,
    /// For a query that asks how it is answered.
    pub(super) note: Option<Box<Note>>,
}

/// How the rows are found.
#[derive(Debug)]
pub(super) enum Access<'a> {
    /// The documents, from an index.
    Documents(RoaringBitmap),
    /// As above, where they follow each other. Ascending.
    Ranges(Vec<Range<u32>>),
    /// Those that no newer one has replaced.
    Valid(&'a ValidRows),
    Nulls {
        nulls: Nulls<'a>,
        are_wanted: bool,
    },
    Codes {
        codes: Option<CodeSet>,
        column: DictionaryColumn<'a>,
        /// With SQL nulls.
        nulls: Option<Nulls<'a>>,
        null_matches: bool,
        /// Blocks are judged by their least and greatest code.
        zones: Option<ColumnView<'a>>,
    },
    Values {
        set: RangeSet,
        /// Where there are many ranges.
        sieve: Option<Sieve>,
        column: ColumnView<'a>,
        values: RawColumn<'a>,
        nulls: Option<Nulls<'a>>,
        null_matches: bool,
        /// Blocks are judged by their zones.
        zones: bool,
    },
    /// Rows by their entries.
    Entries {
        codes: CodeSet,
        column: MultiColumn<'a>,
        negated: bool,
        nulls: Option<Nulls<'a>>,
    },
    /// By the values that come together in a row.
    Combined {
        combined: Combined<'a>,
        held: Vec<bool>,
    },
    Evaluate {
        expr: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        sources: Vec<Source<'a>>,
    },
    /// Rows that all conjuncts of any of these keep.
    Any(Vec<Vec<Conjunct<'a>>>),
}

impl<'a> Conjunct<'a> {
    /// Rows that an index named.
    pub(crate) fn documents(documents: RoaringBitmap) -> Self {
        Self {
            estimate: documents.len(),
            is_exact: true,
            note: None,
            access: Access::Documents(documents),
        }
    }

    /// Rows that no newer one has replaced.
    pub(crate) fn valid(rows: &'a ValidRows) -> Self {
        Self {
            access: Access::Valid(rows),
            estimate: rows.live().into(),
            is_exact: true,
            note: None,
        }
    }

    /// Values in a range, by their numbers; null is not in it.
    pub(crate) fn within(
        (low, high): (i64, i64),
        column: ColumnView<'a>,
        values: RawColumn<'a>,
        nulls: Option<Nulls<'a>>,
    ) -> Self {
        Self::looked_up(Access::Values {
            set: RangeSet::of(low, high),
            sieve: None,
            column,
            values,
            nulls,
            null_matches: false,
            zones: true,
        })
    }

    /// Codes in a range; null is not in it.
    pub(crate) fn among(
        codes: RangeInclusive<u32>,
        column: DictionaryColumn<'a>,
        nulls: Option<Nulls<'a>>,
    ) -> Self {
        let set = RangeSet::of(i64::from(*codes.start()), i64::from(*codes.end()));
        Self::looked_up(Access::Codes {
            codes: CodeSet::new(&set, column.cardinality()),
            column,
            nulls,
            null_matches: false,
            zones: None,
        })
    }

    fn looked_up(access: Access<'a>) -> Self {
        Self {
            access,
            estimate: 0,
            is_exact: false,
            note: None,
        }
    }

    /// No more rows than these match, as far as an index or zones tell.
    pub(crate) fn rows_at_most(&self) -> Option<u64> {
        match &self.access {
            _ if self.is_exact => Some(self.estimate),
            Access::Documents(documents) => Some(documents.len()),
            Access::Values {
                set,
                column,
                zones: true,
                null_matches: false,
                ..
            } => {
                let blocks = 0..column.row_count().div_ceil(BLOCK_ROWS);
                let some = blocks.filter(|at| judge(set, column.zone(*at)) != Verdict::None);
                Some(some.count() as u64 * u64::from(BLOCK_ROWS))
            }
            Access::Any(alternatives) => {
                let each = alternatives.iter().map(|conjuncts| {
                    let own = conjuncts.iter().filter_map(Conjunct::rows_at_most);
                    own.min()
                });
                each.sum()
            }
            _ => None,
        }
    }

    /// How many rows of the segment it keeps, where that is known before they are looked at.
    pub(crate) fn exact_rows(&self) -> Option<u64> {
        self.is_exact.then_some(self.estimate)
    }

    /// Keeps in `mask` the rows of the block at `start` that match. Returns the values looked at.
    pub(crate) fn apply(&self, start: u32, mask: &mut BlockMask) -> Result<u64> {
        let Some(note) = &self.note else {
            return self.keep(start, mask);
        };
        let given = mask.count();
        let looked_at = self.keep(start, mask)?;
        note.add(given, mask.count());
        Ok(looked_at)
    }

    fn keep(&self, start: u32, mask: &mut BlockMask) -> Result<u64> {
        let len = mask.len;
        match &self.access {
            Access::Documents(documents) => {
                let mut hits = BlockMask::none(len);
                for document in documents.range(start..start + len) {
                    hits.set(document - start);
                }
                mask.and(&hits);
                Ok(0)
            }
            Access::Valid(rows) => {
                if let Some(words) = rows.block(start) {
                    mask.and_words(words);
                }
                Ok(0)
            }
            Access::Ranges(ranges) => {
                let mut hits = BlockMask::none(len);
                let first = ranges.partition_point(|range| range.end <= start);
                let near = ranges[first..].iter();
                for range in near.take_while(|range| range.start < start + len) {
                    let from = range.start.max(start) - start;
                    hits.set_range(from..range.end.min(start + len) - start);
                }
                mask.and(&hits);
                Ok(0)
            }
            Access::Nulls { nulls, are_wanted } => {
                let of_nulls = BlockMask::of_nulls(*nulls, start, len);
                match are_wanted {
                    true => mask.and(&of_nulls),
                    false => mask.and_not(&of_nulls),
                }
                Ok(0)
            }
            Access::Codes { .. } => Ok(self.apply_codes(start, mask)),
            Access::Values { .. } => Ok(self.apply_values(start, mask)),
            Access::Entries {
                codes,
                column,
                negated,
                nulls,
            } => {
                let looked_at = entries::apply(codes, column, *negated, start, mask);
                without_nulls(nulls.as_ref(), start, mask);
                Ok(looked_at)
            }
            Access::Combined { combined, held } => combine_block(combined, held, start, mask),
            Access::Evaluate {
                expr,
                schema,
                sources,
            } => evaluate_block(expr, schema, sources, start, mask),
            Access::Any(alternatives) => any(alternatives, start, mask),
        }
    }

    fn apply_codes(&self, start: u32, mask: &mut BlockMask) -> u64 {
        let Access::Codes {
            codes,
            column,
            nulls,
            null_matches,
            zones,
        } = &self.access
        else {
            return 0;
        };
        let len = mask.len;
        let Some(codes) = codes else {
            let none = BlockMask::none(len);
            with_nulls(none, nulls.as_ref(), start, *null_matches, mask);
            return 0;
        };
        let mut room = CodeRoom::default();
        let stored = column.codes(start..start + len, &mut room);
        if few_left(mask) && !null_matches {
            let looked_at = mask.count();
            mask.retain(|row| codes.contains(code_at(stored, row)));
            without_nulls(nulls.as_ref(), start, mask);
            return u64::from(looked_at);
        }
        let zone = zones.and_then(|column| column.code_zone(start / BLOCK_ROWS));
        let (hits, looked_at) = match zone {
            Some(zone) if codes.covers_all(zone) => (BlockMask::all(len), 0),
            _ => (codes.scan(stored, len), len),
        };
        with_nulls(hits, nulls.as_ref(), start, *null_matches, mask);
        u64::from(looked_at)
    }

    fn apply_values(&self, start: u32, mask: &mut BlockMask) -> u64 {
        let Access::Values {
            set,
            sieve,
            column,
            values,
            nulls,
            null_matches,
            zones,
        } = &self.access
        else {
            return 0;
        };
        let len = mask.len;
        let zone = zones.then(|| column.zone(start / BLOCK_ROWS)).flatten();
        let (hits, looked_at) = match judge(set, zone) {
            Verdict::None => (BlockMask::none(len), 0),
            Verdict::All => (BlockMask::all(len), 0),
            Verdict::Look => {
                let stored = values.values(start..start + len);
                if few_left(mask) && !null_matches {
                    let looked_at = mask.count();
                    mask.retain(|row| set.contains(raw::key_at(stored, row)));
                    without_nulls(nulls.as_ref(), start, mask);
                    return u64::from(looked_at);
                }
                (raw::scan(set, sieve.as_ref(), stored, len), len)
            }
        };
        with_nulls(hits, nulls.as_ref(), start, *null_matches, mask);
        u64::from(looked_at)
    }

    /// The first block at or after `block` that can have a match; `None` = no more.
    pub(crate) fn next_block(&self, block: u32, blocks: u32) -> Option<u32> {
        match &self.access {
            Access::Documents(documents) => documents
                .range(block * BLOCK_ROWS..)
                .next()
                .map(|document| document / BLOCK_ROWS),
            Access::Ranges(ranges) => {
                let start = block * BLOCK_ROWS;
                let next = ranges.partition_point(|range| range.end <= start);
                ranges
                    .get(next)
                    .map(|range| block.max(range.start / BLOCK_ROWS))
            }
            Access::Values {
                set,
                column,
                zones: true,
                null_matches: false,
                ..
            } => (block..blocks).find(|at| judge(set, column.zone(*at)) != Verdict::None),
            Access::Codes {
                codes: Some(codes),
                zones: Some(column),
                null_matches: false,
                ..
            } => (block..blocks).find(|at| {
                let zone = column.code_zone(*at);
                zone.is_none_or(|zone| codes.overlaps(zone))
            }),
            Access::Any(alternatives) => {
                let next = |conjuncts: &Vec<Self>| next_block(conjuncts, block, blocks);
                alternatives.iter().filter_map(next).min()
            }
            _ => Some(block),
        }
    }
}

/// The first block at or after `block` that all of them may have a match in.
pub(crate) fn next_block(conjuncts: &[Conjunct<'_>], mut block: u32, blocks: u32) -> Option<u32> {
    loop {
        let from = block;
        for conjunct in conjuncts {
            block = conjunct.next_block(block, blocks)?;
        }
        if block == from {
            return Some(block);
        }
    }
}

fn evaluate_block(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
    sources: &[Source<'_>],
    start: u32,
    mask: &mut BlockMask,
) -> Result<u64> {
    let mut rows = Vec::new();
    mask.collect_into(&mut rows);
    let picked = (!mask.is_full()).then_some(rows.as_slice());
    let columns = sources
        .iter()
        .map(|source| source.array(start, mask.len, picked))
        .collect::<Result<Vec<_>>>()?;
    let verdict = evaluate(expr, schema, columns, rows.len())?;
    let mut hits = BlockMask::none(mask.len);
    let kept = rows.iter().zip(verdict).filter(|(_, hit)| *hit);
    kept.for_each(|(row, _)| hits.set(*row));
    mask.and(&hits);
    Ok(rows.len() as u64 * sources.len() as u64)
}

fn combine_block(
    combined: &Combined<'_>,
    held: &[bool],
    start: u32,
    mask: &mut BlockMask,
) -> Result<u64> {
    let mut rows = Vec::new();
    mask.collect_into(&mut rows);
    let numbers = combined.numbers(BlockRows {
        start,
        len: mask.len,
        picked: (!mask.is_full()).then_some(&rows[..]),
        mask,
        entries: None,
    })?;
    let mut hits = BlockMask::none(mask.len);
    let kept = rows.iter().zip(numbers);
    let kept = kept.filter(|(_, number)| held[*number as usize]);
    kept.for_each(|(row, _)| hits.set(*row));
    mask.and(&hits);
    Ok(rows.len() as u64)
}

fn any(alternatives: &[Vec<Conjunct<'_>>], start: u32, mask: &mut BlockMask) -> Result<u64> {
    let mut hits = BlockMask::none(mask.len);
    let mut looked_at = 0;
    for conjuncts in alternatives {
        // Rows that no alternative before this one has kept.
        let mut left = mask.clone();
        left.and_not(&hits);
        for conjunct in conjuncts {
            if left.is_empty() {
                break;
            }
            looked_at += conjunct.apply(start, &mut left)?;
        }
        hits.or(&left);
    }
    mask.and(&hits);
    Ok(looked_at)
}

fn few_left(mask: &BlockMask) -> bool {
    !mask.is_full() && mask.count() < mask.len / PROBE_BELOW
}

fn without_nulls(nulls: Option<&Nulls<'_>>, start: u32, mask: &mut BlockMask) {
    if let Some(nulls) = nulls {
        mask.and_not(&BlockMask::of_nulls(*nulls, start, mask.len));
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
