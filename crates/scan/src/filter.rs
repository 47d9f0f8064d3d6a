//! The filter of a scan at work on segments: compiled once for each segment, then asked block by
//! block, by several workers at once.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use query::scan_exec::ScanDescription;
use runtime::compute::Turn;
use schemas::TableSpec;
use schemas::proto::ScanOptions;
use segment::{BLOCK_ROWS, SegmentView};

use crate::learned;
use crate::predicate::{Compiled, Compiler, Conjunct, Story, next_block};
use crate::rows::BlockMask;
use crate::shared::checked;
use crate::stats::Counters;

/// Of these it is told how many rows match in all.
const BLOCKS_TRIED: u32 = 8;
const SEGMENTS_TRIED: usize = 16;

/// What is left of the filter in one segment.
#[derive(Debug)]
pub(crate) struct SegmentFilter<'a> {
    conjuncts: Vec<Conjunct<'a>>,
    rows: u32,
    consuming: bool,
    /// The segment was counted among those that match.
    matched: AtomicBool,
    counters: &'a Counters,
    story: Option<Story>,
}

impl Drop for SegmentFilter<'_> {
    fn drop(&mut self) {
        if let Some(story) = &self.story {
            story.end(Some(&self.conjuncts), self.counters);
        }
    }
}

impl<'a> SegmentFilter<'a> {
    /// `None`: no row of the segment can match. Counts the segment.
    pub(crate) fn new(
        view: &'a SegmentView,
        spec: &TableSpec,
        description: &ScanDescription,
        options: &ScanOptions,
        counters: &'a Counters,
    ) -> Result<Option<Self>> {
        let consuming = view.is_consuming();
        counters.update(|stats| {
            stats.segments_queried += 1;
            stats.consuming_queried += u64::from(consuming);
            stats.docs_total += u64::from(view.row_count());
        });
        let compiler = Compiler {
            view,
            spec,
            table_schema: &description.table_schema,
            null_mode: description.null_mode,
            options,
            counters,
        };
        let story = Story::begin(view, &description.table_name, options);
        let filters = learned::current(description, view, options, |quick| {
            let untold = Counters::default();
            let compiler = Compiler {
                counters: &untold,
                ..compiler
            };
            Ok(match compiler.compile(quick)? {
                Compiled::Never => 0,
                Compiled::Rows(conjuncts) => rows_about(&conjuncts, view.row_count())?,
            })
        })?;
        let Compiled::Rows(mut conjuncts) = compiler.compile(&filters)? else {
            if let Some(story) = story {
                story.end(None, counters);
            }
            counters.update(|stats| stats.segments_pruned += 1);
            return Ok(None);
        };
        counters.update(|stats| {
            stats.segments_processed += 1;
            stats.consuming_processed += u64::from(consuming);
        });
        if let Some(valid) = view.valid() {
            conjuncts.insert(0, Conjunct::valid(valid));
        }
        Ok(Some(Self {
            conjuncts,
            rows: view.row_count(),
            consuming,
            matched: AtomicBool::new(false),
            counters,
            story,
        }))
    }

    /// Counts rows that were found and values of them that were read.
    pub(crate) fn count(&self, rows: u64, values: u64) {
        let first = rows > 0 && !self.matched.swap(true, Ordering::Relaxed);
        self.counters.update(|stats| {
            stats.docs_scanned += rows;
            stats.entries_scanned_post_filter += values;
            stats.segments_matched += u64::from(first);
            stats.consuming_matched += u64::from(first && self.consuming);
        });
    }

    /// How many rows match, where that is known before any is looked at.
    pub(crate) fn exact_rows(&self) -> Option<u64> {
        match &self.conjuncts[..] {
            [] => Some(u64::from(self.rows)),
            [one] => one.exact_rows(),
            _ => None,
        }
    }

    /// No more rows than these can match.
    pub(crate) fn rows_at_most(&self) -> u64 {
        rows_at_most(&self.conjuncts, self.rows)
    }

    pub(crate) fn is_unfiltered(&self) -> bool {
        self.conjuncts.is_empty()
    }

    pub(crate) fn blocks(&self, blocks: Range<u32>) -> BlockFilter<'_> {
        BlockFilter {
            filter: self,
            blocks,
            mask: BlockMask::none(0),
            entries: 0,
        }
    }
}

/// Of `rows` in all.
fn rows_at_most(conjuncts: &[Conjunct<'_>], rows: u32) -> u64 {
    let each = conjuncts.iter().filter_map(Conjunct::rows_at_most);
    each.fold(u64::from(rows), u64::min)
}

/// About so many of `rows` match, by a look at some blocks.
fn rows_about(conjuncts: &[Conjunct<'_>], rows: u32) -> Result<u64> {
    let blocks = rows.div_ceil(BLOCK_ROWS);
    let (mut looked_at, mut found) = (0, 0);
    for block in (0..blocks).step_by(blocks.div_ceil(BLOCKS_TRIED).max(1) as usize) {
        let start = block * BLOCK_ROWS;
        let mut mask = BlockMask::all(BLOCK_ROWS.min(rows - start));
        looked_at += u64::from(mask.len);
        for conjunct in conjuncts {
            conjunct.apply(start, &mut mask)?;
        }
        found += u64::from(mask.count());
    }
    let about = u64::from(rows) * found / looked_at.max(1);
    Ok(about.min(rows_at_most(conjuncts, rows)))
}

/// The filters of all segments of a scan, each compiled by the first worker that needs it.
#[derive(Debug)]
pub(crate) struct Filters<'a> {
    description: &'a ScanDescription,
    spec: &'a TableSpec,
    segments: &'a [SegmentView],
    options: &'a ScanOptions,
    counters: &'a Counters,
    filters: Vec<OnceLock<Result<Option<SegmentFilter<'a>>, Arc<DataFusionError>>>>,
}

impl<'a> Filters<'a> {
    pub(crate) fn new(
        description: &'a ScanDescription,
        spec: &'a TableSpec,
        segments: &'a [SegmentView],
        options: &'a ScanOptions,
        counters: &'a Counters,
    ) -> Self {
        let filters = segments.iter().map(|_| OnceLock::new());
        Self {
            description,
            spec,
            segments,
            options,
            counters,
            filters: filters.collect(),
        }
    }

    /// `None`: no row of the segment can match.
    pub(crate) fn of(&self, segment: usize) -> Result<Option<&SegmentFilter<'a>>> {
        let compiled = self.filters[segment].get_or_init(|| {
            let view = &self.segments[segment];
            let (options, counters) = (self.options, self.counters);
            SegmentFilter::new(view, self.spec, self.description, options, counters)
                .map_err(Arc::new)
        });
        match compiled {
            Ok(filter) => Ok(filter.as_ref()),
            Err(error) => Err(DataFusionError::Shared(Arc::clone(error))),
        }
    }
}

impl Filters<'_> {
    /// Looks at segments without rows, which no worker comes to, so that they are counted.
    pub(crate) fn see_empty(&self) -> Result<()> {
        let segments = self.segments.iter().enumerate();
        let mut empty = segments.filter(|(_, view)| view.row_count() == 0);
        empty.try_for_each(|(at, _)| self.of(at).map(drop))
    }

    /// Whether filters are compiled without a look at every value of a dictionary.
    pub(crate) fn are_quick(&self) -> bool {
        let has_consuming = self.segments.iter().any(SegmentView::is_consuming);
        let is_quick = |filter| is_quick(filter, has_consuming);
        self.description.filters.iter().all(is_quick)
    }

    /// About so many rows match, by a look at some blocks of some segments; `None`: it cannot be
    /// told quickly.
    pub(crate) fn rows_about(&self) -> Result<Option<u64>> {
        if !self.are_quick() {
            return Ok(None);
        }
        let step = self.segments.len().div_ceil(SEGMENTS_TRIED).max(1);
        let (mut looked_at, mut found) = (0, 0);
        for at in (0..self.segments.len()).step_by(step) {
            looked_at += u64::from(self.segments[at].row_count());
            if let Some(filter) = self.of(at)? {
                found += rows_about(&filter.conjuncts, filter.rows)?;
            }
        }
        let rows = self.segments.iter().map(|view| u64::from(view.row_count()));
        let rows: u64 = rows.sum();
        let about = u128::from(rows) * u128::from(found) / u128::from(looked_at.max(1));
        Ok(Some(about as u64))
    }

    /// Whether it can be told quickly that no more than `rows` rows match.
    pub(crate) fn few_match(&self, rows: u64) -> Result<bool> {
        self.matches_at_most(rows).map(|most| most.is_some())
    }

    /// So many rows match at most; `None`: it cannot be told quickly that they are no more than
    /// `rows`. Compiles filters as long as it may be so.
    pub(crate) fn matches_at_most(&self, rows: u64) -> Result<Option<u64>> {
        if !self.are_quick() {
            return Ok(None);
        }
        let mut most = 0;
        for at in 0..self.segments.len() {
            most += self.of(at)?.map_or(0, SegmentFilter::rows_at_most);
            if most > rows {
                return Ok(None);
            }
        }
        Ok(Some(most))
    }
}

/// Comparisons with literals, flags, and whether a column is null. The texts of consuming segments
/// have no order.
pub(crate) fn is_quick(filter: &Arc<dyn PhysicalExpr>, has_consuming: bool) -> bool {
    if filter.is::<Column>() {
        return true;
    }
    if let Some(not) = filter.downcast_ref::<NotExpr>() {
        return is_quick(not.arg(), has_consuming);
    }
    let of_null = filter.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
    let of_null = of_null.or(filter
        .downcast_ref::<IsNotNullExpr>()
        .map(IsNotNullExpr::arg));
    if let Some(arg) = of_null {
        return arg.is::<Column>();
    }
    let literal = |expr: &Arc<dyn PhysicalExpr>| {
        let literal = expr.downcast_ref::<Literal>()?;
        Some(literal.value().data_type())
    };
    if let Some(list) = filter.downcast_ref::<InListExpr>() {
        let is_literal = |item| literal(item).is_some();
        return list.expr().is::<Column>() && list.list().iter().all(is_literal);
    }
    let Some(binary) = filter.downcast_ref::<BinaryExpr>() else {
        return false;
    };
    let (left, right) = (binary.left(), binary.right());
    match binary.op() {
        Operator::And | Operator::Or => {
            is_quick(left, has_consuming) && is_quick(right, has_consuming)
        }
        op if op.supports_propagation() => match literal(left).or(literal(right)) {
            Some(compared) => {
                let has_order = !has_consuming || compared.is_numeric() || compared.is_temporal();
                has_order || *op == Operator::Eq
            }
            None => false,
        },
        _ => false,
    }
}

/// One worker's way through some blocks of a segment.
#[derive(Debug)]
pub(crate) struct BlockFilter<'f> {
    filter: &'f SegmentFilter<'f>,
    /// Those that are left.
    blocks: Range<u32>,
    /// Of the block that was found last.
    mask: BlockMask,
    /// Values looked at, told when the filter is dropped.
    entries: u64,
}

impl Drop for BlockFilter<'_> {
    fn drop(&mut self) {
        let entries = self.entries;
        let counters = self.filter.counters;
        counters.update(|stats| stats.entries_scanned_in_filter += entries);
    }
}

impl BlockFilter<'_> {
    /// The next block with a match: its first row and the rows that match.
    pub(crate) fn next(&mut self, turn: &mut Turn) -> Result<Option<(u32, &BlockMask)>> {
        let end = self.blocks.end;
        let story = self.filter.story.as_ref();
        if story.is_some_and(|story| !story.reads()) {
            return Ok(None);
        }
        loop {
            checked(turn)?;
            let next = next_block(&self.filter.conjuncts, self.blocks.start, end);
            self.blocks.start = next.unwrap_or(end);
            let start = self.blocks.start * BLOCK_ROWS;
            if self.blocks.start >= end || start >= self.filter.rows {
                return Ok(None);
            }
            self.blocks.start += 1;
            if let Some(story) = story {
                story.block_read();
            }
            self.mask = BlockMask::all(BLOCK_ROWS.min(self.filter.rows - start));
            for conjunct in &self.filter.conjuncts {
                self.entries += conjunct.apply(start, &mut self.mask)?;
                if self.mask.is_empty() {
                    break;
                }
            }
            if !self.mask.is_empty() {
                return Ok(Some((start, &self.mask)));
            }
        }
    }
}
