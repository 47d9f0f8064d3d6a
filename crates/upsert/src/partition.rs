//! The keys of one partition and the rows of its segments that count.
//!
//! Invariants:
//! - a key's newest row is where the map says, and of all its rows only that one may count;
//! - rows become visible, and those that they replace invisible, under one lock, under which
//!   queries take all of the partition's segments: no query sees a key twice or not at all;
//! - rows are known by their offsets, which stay when rows move: from the consuming segment to the
//!   sealed one, sorted or not, or to a file that is loaded again;
//! - the state follows from the stored rows alone: after a start the same comes out.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, filter_record_batch, take};
use arrow::error::ArrowError;
use parking_lot::Mutex;
use schemas::{Offset, Sequence, TableSpec};
use segment::view::ValidRows;
use segment::{MutableSegment, SealedSegment, Segment, SegmentError, SegmentView};

use crate::map::Spill;
use crate::merge::{StoredRows, chain, merge};
use crate::places::Places;
use crate::rules::{Looked, Rules};
use crate::writer::{Decided, Keys, seeds};

#[derive(Debug)]
pub struct PartitionKeys {
    rules: Rules,
    stored: Arc<dyn StoredRows>,
    keys: Mutex<Keys>,
    /// Taken after `keys`.
    segments: Mutex<Segments>,
}

/// By first offset: a segment without offsets begins where the next one does.
#[derive(Debug, Default)]
struct Segments(BTreeMap<(Offset, Sequence), Placed>);

#[derive(Debug)]
struct Placed {
    segment: Segment,
    valid: ValidRows,
    places: Places,
    /// Of the file; `None` while it consumes.
    crc: Option<u32>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub rows: u64,
    /// Not taken: their keys are there, or newer rows of them.
    pub filtered: u64,
}

/// For whoever watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFigures {
    pub keys: u64,
    pub bytes: u64,
    pub spilled_bytes: u64,
    pub rows: u64,
    pub live_rows: u64,
}

impl AddAssign for KeyFigures {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.spilled_bytes += other.spilled_bytes;
        self.rows += other.rows;
        self.live_rows += other.live_rows;
    }
}

impl PartitionKeys {
    /// `None`: the table has no such rules.
    pub fn new(
        spec: &Arc<TableSpec>,
        spill: &Spill,
        stored: Arc<dyn StoredRows>,
    ) -> Result<Option<Self>, SegmentError> {
        let seeds = seeds();
        let rules = Rules::new(spec, seeds)?;
        Ok(rules.map(|rules| Self {
            keys: Mutex::new(Keys::new(&rules, seeds[0], spill)),
            segments: Mutex::default(),
            stored,
            rules,
        }))
    }

    /// A segment that takes rows from now on.
    pub fn open(&self, segment: &Arc<MutableSegment>) {
        let key = (segment.start_offset(), segment.id().sequence);
        let empty = Placed {
            segment: Segment::Consuming(Arc::clone(segment)),
            valid: ValidRows::default(),
            places: Places::default(),
            crc: None,
        };
        self.segments.lock().0.insert(key, empty);
    }

    /// Adds the rows of a batch to an open segment as the rules want it, or none.
    pub fn append(
        &self,
        segment: &MutableSegment,
        batch: &RecordBatch,
    ) -> Result<Appended, SegmentError> {
        let looked = self.rules.look_at_batch(batch)?;
        let mut keys = self.keys.lock();
        let decided = keys.decide(&self.rules, &looked);
        let mut published = false;
        let merged = self.merge(segment.spec(), batch, (&looked, &decided));
        let shaped = merged.and_then(|merged| self.shaped(merged, &decided));
        let outcome = shaped.and_then(|shaped| {
            if shaped.num_rows() > 0 {
                segment.append_with(&shaped, |publish| {
                    let key = (segment.start_offset(), segment.id().sequence);
                    self.show(key, (&looked, &decided), publish);
                    published = true;
                })?;
            }
            Ok(Appended {
                rows: shaped.num_rows() as u64,
                filtered: decided.dropped.len() as u64,
            })
        });
        // What is visible stays, whatever was wrong afterwards.
        if outcome.is_err() && !published {
            keys.undo();
        }
        outcome
    }

    fn show(
        &self,
        key: (Offset, Sequence),
        (looked, decided): (&Looked, &Decided),
        publish: &dyn Fn(),
    ) {
        let mut segments = self.segments.lock();
        if let Some(placed) = segments.0.get_mut(&key) {
            match decided.dropped.is_empty() {
                true => placed.places.extend(&looked.offsets),
                false => placed.places.extend(&decided.kept(&looked.offsets)),
            }
            let added = placed.places.rows() - placed.valid.row_count();
            placed.valid.extend(added);
        }
        segments.clear(&decided.dead);
        publish();
    }

    /// The batch with the values that are made of the rows before.
    fn merge(
        &self,
        spec: &TableSpec,
        batch: &RecordBatch,
        (looked, decided): (&Looked, &Decided),
    ) -> Result<RecordBatch, SegmentError> {
        let merged = self.rules.merged(spec);
        if merged.is_empty() || decided.previous.is_empty() {
            return Ok(batch.clone());
        }
        let (chain, stored) = chain(&looked.offsets, &decided.previous);
        let columns: Vec<usize> = merged.iter().map(|(position, _)| *position).collect();
        let none = columns.iter().map(|at| batch.column(*at).slice(0, 0));
        let mut pieces = vec![none.collect::<Vec<ArrayRef>>()];
        for (view, rows) in self.segments.lock().rows_of(&stored)? {
            // Rows of a sorted segment are in another order than their offsets.
            let mut ascending = rows.clone();
            ascending.sort_unstable();
            let place = |row: &u32| ascending.partition_point(|own| own < row) as u32;
            let places = UInt32Array::from_iter_values(rows.iter().map(place));
            let read = self.stored.read(&view, spec, &columns, &ascending)?;
            let taken = read.iter().map(|column| take(column, &places, None));
            pieces.push(taken.collect::<Result<_, _>>().map_err(|e| failed(&e))?);
        }
        let columns = (0..columns.len()).map(|at| {
            let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| piece[at].as_ref()).collect();
            concat(&pieces)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(|error| failed(&error))?;
        merge(batch, &merged, &columns, &chain).map_err(|error| failed(&error))
    }

    /// The batch without the rows that are dropped and with marks on those that are late.
    fn shaped(&self, batch: RecordBatch, decided: &Decided) -> Result<RecordBatch, SegmentError> {
        let mut shaped = batch;
        let marked = self.rules.marks.as_ref();
        if let Some((position, _)) =
            marked.and_then(|name| shaped.schema_ref().column_with_name(name))
        {
            let mut marks = vec![false; shaped.num_rows()];
            decided.late.iter().for_each(|row| marks[*row] = true);
            let mut columns = shaped.columns().to_vec();
            columns[position] = Arc::new(BooleanArray::from(marks));
            let marked = RecordBatch::try_new(shaped.schema(), columns);
            shaped = marked.map_err(|error| failed(&error))?;
        }
        if !decided.dropped.is_empty() {
            let mut kept = vec![true; shaped.num_rows()];
            decided.dropped.iter().for_each(|row| kept[*row] = false);
            let kept = filter_record_batch(&shaped, &BooleanArray::from(kept));
            shaped = kept.map_err(|error| failed(&error))?;
        }
        Ok(shaped)
    }

    /// The sealed form of a segment takes the place of the other, or a file is shown again. One
    /// that was not here before brings its keys.
    pub fn seat(&self, segment: &Arc<SealedSegment>) -> Result<(), SegmentError> {
        let key = (segment.start(), segment.id().sequence);
        let crc = Some(segment.crc());
        if let Some(held) = self.segments.lock().0.get_mut(&key)
            && held.crc == crc
        {
            held.segment = Segment::Sealed(Arc::clone(segment));
            return Ok(());
        }
        let view = segment.view();
        let places = Places::of(&self.rules.offsets(&view)?);
        let mut keys = self.keys.lock();
        let unknown = {
            let mut segments = self.segments.lock();
            let held = segments.0.remove(&key);
            let (valid, unknown) = moved(held, &places);
            let segment = Segment::Sealed(Arc::clone(segment));
            let placed = Placed {
                segment,
                valid,
                places,
                crc,
            };
            segments.0.insert(key, placed);
            unknown
        };
        match unknown.is_empty() {
            true => Ok(()),
            false => self.admit(&mut keys, segment, &unknown),
        }
    }

    /// Rows at these offsets, which nobody knew, are judged beside all others.
    fn admit(
        &self,
        keys: &mut Keys,
        segment: &Arc<SealedSegment>,
        unknown: &[Range<Offset>],
    ) -> Result<(), SegmentError> {
        let view = segment.view();
        let is_sorted = {
            let segments = self.segments.lock();
            let held = segments.0.get(&(segment.start(), segment.id().sequence));
            held.is_some_and(|held| held.places.order().is_some())
        };
        let is_unknown = |offset: Offset| {
            let after = unknown.partition_point(|range| range.start <= offset);
            after > 0 && unknown[after - 1].contains(&offset)
        };
        let mut looked = Vec::new();
        // Their blocks are not in the order of the log.
        let waits = is_sorted && self.rules.forgets();
        self.rules.look_at_segment(&view, |block| match waits {
            true => looked.push(block),
            false => {
                let dead = keys.admit(&self.rules, &[block], &is_unknown);
                self.segments.lock().clear(&dead);
            }
        })?;
        let dead = keys.admit(&self.rules, &looked, &is_unknown);
        self.segments.lock().clear(&dead);
        Ok(())
    }

    /// The segment is gone for good, and its keys with it.
    pub fn retire(&self, segment: &SealedSegment) {
        let mut keys = self.keys.lock();
        let key = (segment.start(), segment.id().sequence);
        if self.segments.lock().0.remove(&key).is_some() {
            keys.gone.push(segment.start()..segment.end());
        }
    }

    /// Gives back the room of keys that are not known any more.
    pub fn tidy(&self) {
        let mut keys = self.keys.lock();
        if self.rules.forgets() || !keys.gone.is_empty() {
            keys.tidy(&self.rules);
        }
    }

    /// What `take` makes of the partition's segments at one moment: while it runs no row becomes
    /// visible and none is replaced. It is given the rows that count, of a segment by its first
    /// offset and sequence.
    pub fn at_one_moment<T>(
        &self,
        take: impl FnOnce(&dyn Fn(SegmentView) -> Option<SegmentView>) -> T,
    ) -> T {
        let segments = self.segments.lock();
        take(&|view| {
            let placed = segments.0.get(&(view.start_offset(), view.id().sequence))?;
            Some(view.with_valid(placed.valid.clone()))
        })
    }

    /// The file with this checksum is the one whose rows are known.
    pub fn holds(&self, segment: &SealedSegment) -> bool {
        let key = (segment.start(), segment.id().sequence);
        let segments = self.segments.lock();
        let held = segments.0.get(&key);
        held.is_some_and(|held| held.crc == Some(segment.crc()))
    }

    pub fn figures(&self) -> KeyFigures {
        let mut figures = self.keys.lock().figures();
        for placed in self.segments.lock().0.values() {
            figures.rows += u64::from(placed.valid.row_count());
            figures.live_rows += u64::from(placed.valid.live());
        }
        figures
    }
}

impl Segments {
    /// Where these offsets lie, which ascend: for each segment its rows in their order.
    fn rows_of(&self, offsets: &[Offset]) -> Result<Vec<(SegmentView, Vec<u32>)>, SegmentError> {
        let mut found: Vec<(SegmentView, Vec<u32>)> = Vec::new();
        let mut last = None;
        for offset in offsets {
            let upto = self.0.range(..=(*offset, Sequence::MAX)).next_back();
            let row = upto.and_then(|(_, placed)| placed.places.row_of(*offset));
            let (Some((key, placed)), Some(row)) = (upto, row) else {
                let what = format!("the row at offset {offset}, to be merged with, is not here");
                return Err(SegmentError::Batch { what });
            };
            if last.replace(key) != Some(key) {
                let view = match &placed.segment {
                    Segment::Sealed(segment) => segment.view(),
                    Segment::Consuming(segment) => segment.view(),
                };
                found.push((view, Vec::new()));
            }
            if let Some((_, rows)) = found.last_mut() {
                rows.push(row);
            }
        }
        Ok(found)
    }

    /// The rows at these offsets count no more.
    fn clear(&mut self, dead: &[Offset]) {
        for offset in dead {
            let mut upto = self.0.range_mut(..=(*offset, Sequence::MAX));
            if let Some((_, placed)) = upto.next_back()
                && let Some(row) = placed.places.row_of(*offset)
            {
                placed.valid.clear(row);
            }
        }
    }
}

/// Which rows count where they lie now, and the offsets that nobody knew.
fn moved(held: Option<Placed>, places: &Places) -> (ValidRows, Vec<Range<Offset>>) {
    let rows = places.rows();
    let Some(held) = held else {
        let every = std::iter::once(Offset::MIN..Offset::MAX);
        return (ValidRows::all(rows), every.collect());
    };
    if held.places == *places {
        return (held.valid, Vec::new());
    }
    let (mut valid, mut unknown) = (ValidRows::all(rows), Vec::new());
    places.each(|offset, row| match held.places.row_of(offset) {
        Some(before) if held.valid.contains(before) => {}
        Some(_) => {
            valid.clear(row);
        }
        None => unknown.push(offset..offset + 1),
    });
    (valid, unknown)
}

fn failed(error: &ArrowError) -> SegmentError {
    SegmentError::Batch {
        what: error.to_string(),
    }
}
