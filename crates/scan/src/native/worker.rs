//! One worker: it takes blocks, stays in a segment as long as there are some, and leaves the groups
//! of each segment that it saw.

use std::collections::HashSet;

use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::expressions::Column;
use runtime::compute::Turn;
use schemas::proto::IndexKind;
use segment::SegmentView;

use super::accumulate::Accumulator;
use super::aggregate::Aggregate;
use super::chunks::{Chunks, is_short};
use super::enough::Enough;
use super::entries::Exploded;
use super::exec::NativeAggregateExec;
use super::fold::Slots;
use super::groups::Groups;
use super::keys::Key;
use super::most::{By, Counts, RowCounts};
use super::number::BlockRows;
use super::star_tree::Trees;
use super::states::States;
use super::values::ValueColumn;
use super::whole::{Whole, Wholes};
use crate::filter::{Filters, SegmentFilter};
use crate::morsels::{Morsel, Morsels};

/// The groups of one segment, or of some blocks of it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) keys: Vec<ValueColumn>,
    /// Of all keys together.
    pub(super) hashes: Vec<u64>,
    pub(super) states: Vec<States>,
}

impl Part {
    pub(super) fn groups(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let states = self.states.iter().map(States::memory_bytes);
        self.hashes.len() * (8 + 24 * self.keys.len()) + states.sum::<usize>()
    }
}

/// States of one segment, while it is read.
pub(super) struct Running<'a> {
    segment: usize,
    groups: Groups<'a>,
    accumulators: Vec<Accumulator<'a>>,
    row_counts: RowCounts<'a>,
    /// Rows come once for each entry.
    entries: Option<Exploded<'a>>,
    /// Kept from block to block.
    picked: Vec<u32>,
    assigned: Vec<u32>,
}

/// What all workers have in common.
#[derive(Clone, Copy)]
pub(super) struct Common<'a, 'f> {
    pub(super) filters: &'f Filters<'a>,
    pub(super) trees: &'f Trees<'a>,
    pub(super) wholes: &'f Wholes<'a>,
    /// Groups of a dictionary's codes are left to whoever can choose among them by this.
    pub(super) waits: Option<By>,
    pub(super) enough: Option<&'f Enough>,
    pub(super) chunks: Option<&'f Chunks>,
}

pub(super) struct Worker<'a, 'f> {
    operator: &'a NativeAggregateExec,
    segments: &'a [SegmentView],
    common: Common<'a, 'f>,
    memory: MemoryReservation,
    /// Bytes of the parts that are done.
    done_bytes: usize,
    parts: Vec<Part>,
    waiting: Vec<Running<'a>>,
}

impl<'a, 'f> Worker<'a, 'f> {
    pub(super) fn new(
        operator: &'a NativeAggregateExec,
        segments: &'a [SegmentView],
        common: Common<'a, 'f>,
        memory: MemoryReservation,
    ) -> Self {
        Self {
            operator,
            segments,
            common,
            memory,
            done_bytes: 0,
            parts: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// The parts, what waits, and the memory that they hold.
    pub(super) fn run(
        mut self,
        turn: &mut Turn,
        morsels: &Morsels,
    ) -> Result<(Vec<Part>, Vec<Running<'a>>, MemoryReservation)> {
        let mut running: Option<Running<'a>> = None;
        let mut counted = HashSet::new();
        let mut at = None;
        while let Some(Morsel { segment, blocks }) = morsels.next(at) {
            at = Some(segment);
            if self.has_enough() {
                break;
            }
            let suspects = &self.operator.shared.suspects;
            let _reading = suspects.reading(&self.segments[segment]);
            let Common { filters, trees, .. } = self.common;
            if let Some(tree) = trees.of(segment)? {
                // All that it tells comes with the first block.
                if blocks.start == 0
                    && let Some(part) = tree.part(self.operator)?
                {
                    self.keep(turn, part)?;
                }
                continue;
            }
            let Some(filter) = filters.of(segment)? else {
                continue;
            };
            if counted.contains(&segment) {
                continue;
            }
            let whole = self.common.wholes.of(segment, filter)?;
            let is_told = whole.is_some_and(Whole::is_all);
            if is_told && blocks.start > 0 {
                continue;
            }
            let mut own = match running.take() {
                Some(running) if running.segment == segment => running,
                before => {
                    let is_first = blocks.start == 0;
                    let mut own = self.start(segment, filter, (whole, is_first))?;
                    if let Some(counts) = self.counted(filter, (&own, is_told)) {
                        // Known without a look at the rows; whoever has the first block tells it.
                        counted.insert(segment);
                        if is_first {
                            filter.count(filter.exact_rows().unwrap_or(0), 0);
                            own.row_counts = counts;
                            self.finish(turn, own)?;
                        }
                        running = before;
                        continue;
                    }
                    if let Some(mut done) = before
                        && !own.resume(&mut done)
                    {
                        self.finish(turn, done)?;
                    }
                    own
                }
            };
            self.read(turn, &mut own, filter, blocks)?;
            running = Some(own);
        }
        if let Some(done) = running {
            self.finish(turn, done)?;
        }
        Ok((self.parts, self.waiting, self.memory))
    }

    fn start(
        &self,
        segment: usize,
        filter: &SegmentFilter<'_>,
        (whole, is_first): (Option<&Whole>, bool),
    ) -> Result<Running<'a>> {
        let operator = self.operator;
        let view = &self.segments[segment];
        let compiler = operator.compiler(view);
        let table = &operator.description.table_schema;
        let mode = operator.description.null_mode;
        let by_entry = operator.entries;
        let entries = by_entry.map(|by| Exploded::new(view, table, by, mode));
        let entries = entries.transpose()?;
        let keys = operator.keys.iter().map(|key| {
            let column = key.downcast_ref::<Column>().map(Column::index);
            match entries
                .as_ref()
                .filter(|_| column == by_entry.map(|by| by.column))
            {
                Some(entries) => Key::of_entries(key, entries.column(), table),
                None => Key::new(key, &compiler),
            }
        });
        let rows = match self.common.chunks {
            // Room for all groups that there could be is not to be had.
            Some(chunks) if chunks.is_used() => 0,
            _ => filter.rows_at_most(),
        };
        let groups = Groups::new(keys.collect::<Result<Vec<_>>>()?, rows)?;
        let most = (groups.known(), filter.rows_at_most());
        let accumulators = operator.runs().enumerate().map(|(at, run)| {
            let told = whole.and_then(|whole| whole.accumulator(at, run, is_first));
            match told {
                Some(told) => told,
                None => Accumulator::new(run, &compiler, most),
            }
        });
        Ok(Running {
            segment,
            groups,
            accumulators: accumulators.collect::<Result<Vec<_>>>()?,
            row_counts: match operator.aggregates.is_empty() {
                true => RowCounts::Marked(Vec::new()),
                false => RowCounts::Counted(Vec::new()),
            },
            entries,
            picked: Vec::new(),
            assigned: Vec::new(),
        })
    }

    /// Rows of each group, where only rows are counted and nothing needs to be read for that.
    fn counted(
        &self,
        filter: &SegmentFilter<'_>,
        (running, is_told): (&Running<'a>, bool),
    ) -> Option<RowCounts<'a>> {
        if !is_told && !self.operator.aggregates.iter().all(Aggregate::counts_rows) {
            return None;
        }
        match running.groups.keys() {
            [] => Some(RowCounts::Counted(vec![filter.exact_rows()?])),
            [key] if filter.is_unfiltered() => {
                // Of other keys only those of a timestamp index are counted, which may be used.
                let options = &self.operator.shared.options;
                if let Some(column) = self.operator.keys[0].downcast_ref::<Column>()
                    && !options.uses(column.name(), IndexKind::Dictionary)
                {
                    return None;
                }
                let counts = key.plain_dictionary()?.doc_counts();
                (counts.len() <= running.groups.count()).then_some(RowCounts::Stored(counts))
            }
            _ => None,
        }
    }

    fn read(
        &mut self,
        turn: &mut Turn,
        running: &mut Running<'a>,
        filter: &SegmentFilter<'_>,
        blocks: std::ops::Range<u32>,
    ) -> Result<()> {
        let mut picked = std::mem::take(&mut running.picked);
        let (mut matched, mut counted) = (0, 1);
        let mut blocks = filter.blocks(blocks);
        while let Some((start, mask)) = blocks.next(turn)? {
            let is_full = mask.is_full();
            if !is_full {
                mask.collect_into(&mut picked);
            }
            let rows = BlockRows {
                start,
                len: mask.len,
                picked: (!is_full).then_some(picked.as_slice()),
                mask,
                entries: None,
            };
            running.add(rows)?;
            matched += rows.count() as u64;
            self.hold(turn, running, filter)?;
            if let Some(enough) = self.common.enough {
                // Counted as often as is worth it.
                if matched >= counted {
                    counted = matched * 2;
                    enough.found(running.row_counts.used().len());
                }
                if enough.is_reached() {
                    break;
                }
            }
        }
        drop(blocks);
        running.picked = picked;
        filter.count(matched, matched * self.operator.columns());
        Ok(())
    }

    fn has_enough(&self) -> bool {
        self.common.enough.is_some_and(Enough::is_reached)
    }

    /// Memory for what is known by now. Where there is none, states go out, if they may.
    fn hold(
        &mut self,
        turn: &mut Turn,
        running: &mut Running<'a>,
        filter: &SegmentFilter<'_>,
    ) -> Result<()> {
        let bytes = self.done_bytes + running.memory_bytes();
        if bytes <= self.memory.size() {
            return Ok(());
        }
        let chunks = self.common.chunks;
        let is_much = chunks.is_some_and(|chunks| bytes > chunks.bytes_max());
        let chunks = match (is_much, self.memory.try_resize(bytes)) {
            (false, Ok(())) => return Ok(()),
            (_, Err(error)) => chunks.filter(|_| is_short(&error)).ok_or(error)?,
            (true, Ok(())) => match chunks {
                Some(chunks) => chunks,
                None => return Ok(()),
            },
        };
        // What is known of the whole segment is told once.
        let whole = self.common.wholes.of(running.segment, filter)?;
        let fresh = self.start(running.segment, filter, (whole, false))?;
        let done = std::mem::replace(running, fresh);
        self.parts.extend(done.finish(None)?);
        self.give_out(turn, chunks)
    }

    fn give_out(&mut self, turn: &mut Turn, chunks: &Chunks) -> Result<()> {
        chunks.put(turn, self.operator, std::mem::take(&mut self.parts))?;
        self.done_bytes = 0;
        self.memory.free();
        Ok(())
    }

    fn finish(&mut self, turn: &mut Turn, running: Running<'a>) -> Result<()> {
        if self.common.waits.is_some() && running.by_dictionary(By::Rows).is_some() {
            self.done_bytes += running.memory_bytes();
            self.waiting.push(running);
        } else if let Some(part) = running.finish(None)? {
            return self.keep(turn, part);
        }
        self.memory.try_resize(self.done_bytes)
    }

    fn keep(&mut self, turn: &mut Turn, part: Part) -> Result<()> {
        if let Some(enough) = self.common.enough {
            enough.found_all(&part.hashes);
        }
        self.done_bytes += part.memory_bytes();
        self.parts.push(part);
        let held = self.memory.try_resize(self.done_bytes);
        match (held, self.common.chunks) {
            (Err(error), Some(chunks)) if is_short(&error) => self.give_out(turn, chunks),
            (held, _) => held,
        }
    }
}

impl Running<'_> {
    fn add(&mut self, rows: BlockRows<'_>) -> Result<()> {
        let Self {
            groups,
            accumulators,
            row_counts,
            entries,
            assigned,
            ..
        } = self;
        let mut add = |rows: BlockRows<'_>| {
            let slots = match groups.keys() {
                [] => Slots::One,
                _ => Slots::Each(groups.assign(rows, assigned)?),
            };
            let count = groups.count();
            row_counts.add(slots, rows.count(), count)?;
            let mut accumulators = accumulators.iter_mut();
            accumulators.try_for_each(|accumulator| accumulator.add(rows, slots, count))
        };
        match entries {
            None => add(rows),
            Some(entries) => entries.each(rows, &mut add),
        }
    }

    /// Goes on with the groups of another segment, where they have the same numbers here.
    fn resume(&mut self, done: &mut Self) -> bool {
        let mut pairs = self.accumulators.iter().zip(&done.accumulators);
        if !pairs.all(|(own, others)| own.continues(others))
            || !self.groups.resume(&mut done.groups)
        {
            return false;
        }
        let others = std::mem::take(&mut done.accumulators);
        for (own, others) in self.accumulators.iter_mut().zip(others) {
            own.resume(others);
        }
        std::mem::swap(&mut self.row_counts, &mut done.row_counts);
        true
    }

    /// Rows by the values of dictionaries, where groups are just that.
    pub(super) fn by_dictionary(&self, by: By) -> Option<Counts<'_>> {
        let keys = self.groups.dictionaries();
        let counts = Counts::new(&self.row_counts, self.groups.numbers(), keys)?;
        let By::Aggregate { run, at, rank } = by else {
            return Some(counts);
        };
        let measure = self.accumulators[run].measure((at, rank), &self.row_counts)?;
        Some(counts.with(Some(measure)))
    }

    /// What was found of the groups at `used`, `None` = all that have rows.
    pub(super) fn finish(self, used: Option<Vec<u32>>) -> Result<Option<Part>> {
        let used = used.unwrap_or_else(|| self.row_counts.used());
        if used.is_empty() {
            return Ok(None);
        }
        let mut hashes = vec![0; used.len()];
        let mut keys = Vec::with_capacity(self.groups.keys().len());
        for values in self.groups.values(&used)? {
            let column = ValueColumn::new(values)?;
            column.hash_into(&mut hashes);
            keys.push(column);
        }
        let states = self.accumulators.into_iter();
        let states = states.map(|accumulator| match &self.row_counts {
            RowCounts::Counted(counts) => accumulator.finish(&used, counts),
            // Nothing else was asked for.
            counts => {
                let counts = used.iter().map(|group| counts.of(*group)).collect();
                Ok(vec![States::Counts(counts)])
            }
        });
        let states = states.collect::<Result<Vec<_>>>()?;
        Ok(Some(Part {
            states: states.into_iter().flatten().collect(),
            keys,
            hashes,
        }))
    }

    fn memory_bytes(&self) -> usize {
        let accumulators = self.accumulators.iter().map(Accumulator::memory_bytes);
        self.groups.memory_bytes() + self.row_counts.memory_bytes() + accumulators.sum::<usize>()
    }
}
