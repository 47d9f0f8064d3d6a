//! The search for the first rows: workers take blocks in the order of what they promise.
//!
//! Invariants: a row is left out only when at least as many rows as wanted come before it, or, in
//! an order of one column, stand equal with it. `worst` only gets better.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, ArrayRef, make_comparator};
use arrow::compute::{SortOptions, sort_to_indices};
use datafusion::common::Result;
use parking_lot::Mutex;
use runtime::compute::Turn;
use segment::view::Values;
use segment::{BLOCK_ROWS, SegmentView};

use super::exec::TopRowsExec;
use super::keys::{Cut, Keys, NO_LIMIT, OrderColumn, Place};
use crate::columns::{Source, source};
use crate::filter::{Filters, SegmentFilter};
use crate::gather::gather;
use crate::morsels::Morsels;
use crate::stats::Counters;

/// So many blocks are looked at sooner than another thread would begin.
const BLOCKS_HERE_MAX: i64 = 16;

/// So few rows of a segment are looked at one by one.
const ROWS_FEW: u64 = 4096;

/// Rows found by one worker in one segment.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) segment: usize,
    /// As many as wanted, at most.
    pub(super) documents: Vec<u32>,
}

/// How a worker's search ended.
#[derive(Debug)]
pub(super) enum End {
    Found(Vec<Found>),
    /// It is more than should be done without a thread for it.
    TooLong,
}

pub(super) struct Search<'a> {
    exec: &'a TopRowsExec,
    filters: Filters<'a>,
    /// The most promising first.
    segments: Vec<Promise<'a>>,
    /// Over `segments`; its blocks are places in their lists.
    morsels: Morsels,
    /// Enough rows are known that come no later.
    worst: Mutex<Option<Place>>,
    /// Blocks that may be looked at without a thread.
    blocks_left: Option<AtomicI64>,
}

/// What is known of a segment beforehand.
struct Promise<'a> {
    segment: usize,
    /// Of the first column of the order.
    keys: Keys<'a>,
    best: Option<Place>,
    blocks: OnceLock<Vec<(i128, u32)>>,
}

/// A row, behind the key of its first column.
type Candidate = (i128, u32);

/// A worker in one segment.
struct Worker<'s> {
    promise: &'s Promise<'s>,
    view: &'s SegmentView,
    filter: &'s SegmentFilter<'s>,
    candidates: Vec<Candidate>,
    limit: i128,
    /// The place that `limit` was made from.
    seen: Option<Place>,
    rows: Vec<u32>,
}

impl<'a> Search<'a> {
    pub(super) fn new(exec: &'a TopRowsExec, counters: &'a Counters) -> Result<Self> {
        let scan = &exec.scan;
        let first = exec.order[0];
        let mut segments = Vec::with_capacity(scan.segments.len());
        for (segment, view) in scan.segments.iter().enumerate() {
            let keys = exec.keys(view, first)?;
            let (best, blocks) = promised(&keys, view)?;
            segments.push(Promise {
                segment,
                keys,
                best,
                blocks,
            });
        }
        // Without rows nothing is promised, which comes first and costs nothing.
        segments.sort_by(|a, b| compare(&a.best, &b.best, first.options));
        let views = segments
            .iter()
            .map(|promise| &scan.segments[promise.segment]);
        Ok(Self {
            exec,
            filters: Filters::new(
                &scan.description,
                &scan.spec,
                &scan.segments,
                &scan.shared.options,
                counters,
            ),
            morsels: Morsels::of(views, scan.shared.morsel_blocks()),
            segments,
            worst: Mutex::new(None),
            blocks_left: None,
        })
    }

    /// All of it on the caller's thread, if that is short.
    pub(super) fn here(mut self) -> Result<End> {
        let rows = self.exec.scan.rows();
        if rows > self.exec.scan.shared.rows_here_max() {
            if !self.filters.are_quick() {
                return Ok(End::TooLong);
            }
            self.blocks_left = Some(AtomicI64::new(BLOCKS_HERE_MAX));
        }
        self.filters.see_empty()?;
        self.work(&mut self.exec.scan.shared.turns.here())
    }

    pub(super) fn run(&self, turn: &mut Turn) -> Result<Vec<Found>> {
        self.filters.see_empty()?;
        let workers = self.exec.scan.shared.workers(self.exec.scan.rows());
        let mut all = Vec::new();
        for end in turn.split(workers, |turn| self.work(turn)) {
            if let End::Found(found) = end? {
                all.extend(found);
            }
        }
        Ok(all)
    }

    fn work(&self, turn: &mut Turn) -> Result<End> {
        let mut found = Vec::new();
        let mut current: Option<(usize, Option<Worker<'_>>)> = None;
        while let Some(morsel) = self.morsels.next(current.as_ref().map(|(at, _)| *at)) {
            let scan = &self.exec.scan;
            let view = &scan.segments[self.segments[morsel.segment].segment];
            let _reading = scan.shared.suspects.reading(view);
            if current.as_ref().is_none_or(|(at, _)| *at != morsel.segment) {
                found.extend(self.leave(current.take())?);
                current = Some((morsel.segment, self.enter(&self.segments[morsel.segment])?));
            }
            let Some((_, Some(worker))) = &mut current else {
                continue;
            };
            if !self.read(turn, worker, morsel.blocks)? {
                return Ok(End::TooLong);
            }
        }
        found.extend(self.leave(current)?);
        Ok(End::Found(found))
    }

    /// `false`: it is more than should be done without a thread for it.
    fn read(&self, turn: &mut Turn, worker: &mut Worker<'_>, places: Range<u32>) -> Result<bool> {
        self.learn(worker)?;
        if worker.filter.rows_at_most() <= ROWS_FEW {
            // The filter leads to them, whatever blocks promise.
            let all = 0..worker.view.row_count().div_ceil(BLOCK_ROWS);
            return match places.start {
                0 if !self.may_go_on() => Ok(false),
                0 => self.look(turn, worker, all).map(|()| true),
                _ => Ok(true),
            };
        }
        let listed = worker.promise.listed(worker.view);
        for (best, block) in &listed[places.start as usize..places.end as usize] {
            self.learn(worker)?;
            if *best >= worker.limit {
                break;
            }
            if !self.may_go_on() {
                return Ok(false);
            }
            self.look(turn, worker, *block..block + 1)?;
        }
        Ok(true)
    }

    fn may_go_on(&self) -> bool {
        let left = self.blocks_left.as_ref();
        left.is_none_or(|left| left.fetch_sub(1, Ordering::Relaxed) > 0)
    }

    /// `None`: no row of the segment is among the first.
    fn enter<'s>(&'s self, promise: &'s Promise<'a>) -> Result<Option<Worker<'s>>> {
        let view = &self.exec.scan.segments[promise.segment];
        if let (Some(worst), Some(best)) = (&*self.worst.lock(), &promise.best)
            && best.compare(worst, self.exec.order[0].options).is_gt()
        {
            return Ok(None);
        }
        let Some(filter) = self.filters.of(promise.segment)? else {
            return Ok(None);
        };
        Ok(Some(Worker {
            promise,
            view,
            filter,
            candidates: Vec::new(),
            limit: NO_LIMIT,
            seen: None,
            rows: Vec::new(),
        }))
    }

    fn leave(&self, worker: Option<(usize, Option<Worker<'_>>)>) -> Result<Option<Found>> {
        let Some((_, Some(mut worker))) = worker else {
            return Ok(None);
        };
        self.prune(&mut worker)?;
        let documents = worker.candidates.iter().map(|(_, document)| *document);
        Ok(Some(Found {
            segment: worker.promise.segment,
            documents: documents.collect(),
        }))
    }

    fn has_ties(&self) -> bool {
        self.exec.order.len() > 1
    }

    /// Takes over what other workers know.
    fn learn(&self, worker: &mut Worker<'_>) -> Result<()> {
        let worst = self.worst.lock();
        if let Some(worst) = &*worst
            && worker.seen.as_ref() != Some(worst)
        {
            let limit = worker.promise.keys.limit(worst, self.has_ties())?;
            worker.limit = worker.limit.min(limit);
            worker.seen = Some(worst.clone());
        }
        Ok(())
    }

    fn look(&self, turn: &mut Turn, worker: &mut Worker<'_>, blocks: Range<u32>) -> Result<()> {
        let filter = worker.filter;
        let mut blocks = filter.blocks(blocks);
        loop {
            let cut = worker.promise.keys.cut(worker.limit);
            if matches!(cut, Cut::Nothing) {
                return Ok(());
            }
            let Some((start, mask)) = blocks.next(turn)? else {
                return Ok(());
            };
            let mut mask = mask.clone();
            let matching = u64::from(mask.count());
            if let Cut::Rows(conjunct) = &cut {
                conjunct.apply(start, &mut mask)?;
            }
            filter.count(matching, matching * self.exec.order.len() as u64);
            mask.collect_into(&mut worker.rows);
            worker.rows.iter_mut().for_each(|row| *row += start);
            self.take(worker)?;
        }
    }

    /// Rows that were found become candidates.
    fn take(&self, worker: &mut Worker<'_>) -> Result<()> {
        if worker.rows.is_empty() {
            return Ok(());
        }
        let keys = worker.promise.keys.keys(&worker.rows);
        let found = keys.into_iter().zip(&worker.rows);
        let better = found.filter(|(key, _)| *key < worker.limit);
        let better = better.map(|(key, row)| (key, *row));
        worker.candidates.extend(better);
        let (fetch, held) = (self.exec.fetch, worker.candidates.len());
        let is_first = worker.limit == NO_LIMIT && held >= fetch;
        if is_first || held >= fetch + (fetch / 2).max(64) {
            self.prune(worker)?;
        }
        Ok(())
    }

    /// Keeps the first rows of the worker's segment, and tells the others how good they are.
    fn prune(&self, worker: &mut Worker<'_>) -> Result<()> {
        let fetch = self.exec.fetch;
        let candidates = &mut worker.candidates;
        if candidates.len() < fetch {
            return Ok(());
        }
        if candidates.len() > fetch {
            if self.has_ties() {
                let all = std::mem::take(candidates);
                *candidates = self.exec.first(worker.view, all)?;
            } else {
                candidates.select_nth_unstable(fetch - 1);
                candidates.truncate(fetch);
            }
        }
        let Some(last) = candidates.iter().map(|(key, _)| *key).max() else {
            return Ok(());
        };
        let place = worker.promise.keys.place(last)?;
        let own = worker.promise.keys.limit(&place, self.has_ties())?;
        worker.limit = worker.limit.min(own);
        let options = self.exec.order[0].options;
        let mut worst = self.worst.lock();
        if worst
            .as_ref()
            .is_none_or(|worst| place.compare(worst, options).is_lt())
        {
            *worst = Some(place);
        }
        Ok(())
    }
}

impl Promise<'_> {
    fn listed(&self, view: &SegmentView) -> &[(i128, u32)] {
        self.blocks.get_or_init(|| self.keys.blocks(view))
    }
}

type Listed = OnceLock<Vec<(i128, u32)>>;

/// The best place that a segment may have, and its blocks if they were needed for that.
fn promised(keys: &Keys<'_>, view: &SegmentView) -> Result<(Option<Place>, Listed)> {
    let blocks = OnceLock::new();
    if view.row_count() == 0 {
        return Ok((None, blocks));
    }
    let listed = blocks.get_or_init(|| keys.blocks(view));
    let best = listed.first().map(|(best, _)| keys.place(*best));
    Ok((best.transpose()?, blocks))
}

fn compare(a: &Option<Place>, b: &Option<Place>, options: SortOptions) -> std::cmp::Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.compare(b, options),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

impl TopRowsExec {
    pub(super) fn keys<'s>(&self, view: &'s SegmentView, by: OrderColumn) -> Result<Keys<'s>> {
        let description = &self.scan.description;
        let field = description.table_schema.field(by.column);
        let source = source(view, &self.scan.spec, field, description.null_mode)?;
        Keys::new(source, by.options)
    }

    /// Of the candidates the first, by all columns of the order. Only those that stand equal with
    /// the last of them in the first column are looked at in others.
    fn first(&self, view: &SegmentView, mut candidates: Vec<Candidate>) -> Result<Vec<Candidate>> {
        let last = self.fetch - 1;
        candidates.select_nth_unstable(last);
        let mark = candidates[last].0;
        let (mut first, rest): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|(key, _)| *key < mark);
        let mut equal = rest.into_iter().filter(|(key, _)| *key == mark);
        let left = self.fetch - first.len();
        let mut documents: Vec<u32> = equal.by_ref().map(|(_, document)| document).collect();
        if documents.len() > left {
            documents.sort_unstable();
            let more = self.order[1..].iter();
            let more = more.map(|by| self.ties(view, *by, &documents));
            let more = more.collect::<Result<Vec<Vec<i128>>>>()?;
            let mut places: Vec<usize> = (0..documents.len()).collect();
            let compare = |a: &usize, b: &usize| {
                let others = more.iter().map(|keys| keys[*a].cmp(&keys[*b]));
                others.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            };
            places.select_nth_unstable_by(left - 1, compare);
            places.truncate(left);
            documents = places.into_iter().map(|at| documents[at]).collect();
        }
        first.extend(documents.into_iter().map(|document| (mark, document)));
        Ok(first)
    }

    /// Keys that compare these documents with each other, and no others.
    fn ties(&self, view: &SegmentView, by: OrderColumn, documents: &[u32]) -> Result<Vec<i128>> {
        let description = &self.scan.description;
        let field = description.table_schema.field(by.column);
        let source = source(view, &self.scan.spec, field, description.null_mode)?;
        // Few values are sooner sorted than all of a dictionary.
        let are_sorted = match &source {
            Source::Stored(stored) => match stored.column.values() {
                Values::Dictionary(dictionary) => !dictionary.is_ordered(),
                Values::Bytes(_) => true,
                Values::Raw(_) | Values::Multi(_) => false,
            },
            _ => false,
        };
        match are_sorted {
            true => ranks(&gather(&source, documents)?, by.options),
            false => Ok(Keys::new(source, by.options)?.keys(documents)),
        }
    }
}

/// The places of values in their order; equal ones have the same.
fn ranks(values: &ArrayRef, options: SortOptions) -> Result<Vec<i128>> {
    let order = sort_to_indices(values, Some(options), None)?;
    let compare = make_comparator(values, values, options)?;
    let mut ranks = vec![0; values.len()];
    let mut rank = 0;
    for pair in order.values().windows(2) {
        let (a, b) = (pair[0] as usize, pair[1] as usize);
        rank += i128::from(compare(a, b).is_ne());
        ranks[b] = rank;
    }
    Ok(ranks)
}
