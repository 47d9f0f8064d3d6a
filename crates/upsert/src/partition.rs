//! The keys of one partition and the rows of its segments that count.
//!
//! Invariants:
//! - a key's newest row is where the map says, and of all its rows only that one may count;
//! - rows become visible, and those that they replace invisible, under one lock, under which
//!   queries take all of the partition's segments: no query sees a key twice or not at all;
//! - rows are known by their offsets, which stay when rows move: from the consuming segment to the
//!   sealed one, sorted or not, or to a file that is loaded again;
//! - what is sealed tells what was known at its end: after a start the same comes out, also when
//!   rows have gone that had replaced others;
//! - a file takes the place of another only when it has all of its rows by which a key is known
//!   here: so both answer alike at that moment, whenever the other replicas turn to it.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, filter_record_batch, take};
use arrow::error::ArrowError;
use parking_lot::{Mutex, RwLock};
use schemas::{Offset, Sequence, TableSpec};
use segment::{
    KeyRows, KeysAtEnd, MutableSegment, SealedSegment, Segment, SegmentError, SegmentView,
};

use crate::map::Spill;
use crate::merge::{StoredRows, chain, merge};
use crate::places::Places;
use crate::rules::{Looked, Rules};
use crate::writer::{Dead, Decided, Keys, Stored, keys, seeds};

/// Blocks of stored rows that are taken up at once: so many that some are of each shard of the map.
pub(crate) const BLOCKS: usize = 16;

#[derive(Debug)]
pub struct PartitionKeys {
    pub(crate) rules: Rules,
    stored: Arc<dyn StoredRows>,
    /// Shared while what is sealed is read.
    pub(crate) keys: RwLock<Box<dyn Keys>>,
    /// Taken after `keys`.
    pub(crate) segments: Mutex<Segments>,
}

/// By first offset: a segment without offsets begins where the next one does.
#[derive(Debug, Default)]
pub(crate) struct Segments(BTreeMap<(Offset, Sequence), Placed>);

#[derive(Debug)]
struct Placed {
    segment: Segment,
    rows: KeyRows,
    places: Places,
    /// Of the file; `None` while it consumes.
    crc: Option<u32>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub rows: u64,
    /// Not taken: their keys are there, or newer rows of them.
    pub filtered: u64,
    /// Offsets of rows that cannot be compared, which are rejected, and why.
    pub rejected: Vec<Offset>,
    pub reason: String,
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
            keys: RwLock::new(keys(&rules, seeds[0], spill)),
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
            rows: KeyRows::all(0, self.rules.deletes()),
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
        let mut keys = self.keys.write();
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
            let undecided = &looked.undecided;
            Ok(Appended {
                rows: shaped.num_rows() as u64,
                filtered: (decided.dropped.len() - undecided.len()) as u64,
                rejected: undecided.iter().map(|row| looked.offsets[*row]).collect(),
                reason: match undecided.is_empty() {
                    true => String::new(),
                    false => self.rules.compared.refusal(),
                },
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
            let added = placed.places.rows() - placed.rows.live().row_count();
            placed.rows.extend(added);
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
        let filled = self.rules.compared.fill(batch.clone(), &decided.filled);
        let batch = &filled.map_err(|error| failed(&error))?;
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
    /// that was not here before brings its keys; one that lacks rows which count here is refused
    /// with [`SegmentError::Early`], and nothing changes.
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
        let mut keys = self.keys.write();
        let unknown = {
            let mut segments = self.segments.lock();
            let held = segments.0.get(&key);
            let missing = held.map_or(0, |held| held.missing_in(&places));
            if missing > 0 {
                let path = segment.path().to_owned();
                return Err(SegmentError::Early {
                    path,
                    rows: missing,
                });
            }
            let held = segments.0.remove(&key);
            let (rows, unknown) = moved(held, &places, self.rules.deletes());
            let segment = Segment::Sealed(Arc::clone(segment));
            let placed = Placed {
                segment,
                rows,
                places,
                crc,
            };
            segments.0.insert(key, placed);
            unknown
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let newest = self.admit(&**keys, segment, &unknown, keys.newest())?;
        keys.set_newest(newest);
        Ok(())
    }

    /// Where the rows of a segment lie of which nothing else is known here, and which count.
    pub(crate) fn place(
        &self,
        segment: &Arc<SealedSegment>,
        rows: Option<&KeyRows>,
    ) -> Result<(), SegmentError> {
        let places = Places::of(&self.rules.offsets(&segment.view())?);
        let all = || KeyRows::all(places.rows(), self.rules.deletes());
        let placed = Placed {
            segment: Segment::Sealed(Arc::clone(segment)),
            rows: rows.cloned().unwrap_or_else(all),
            places,
            crc: Some(segment.crc()),
        };
        let key = (segment.start(), segment.id().sequence);
        self.segments.lock().0.insert(key, placed);
        Ok(())
    }

    /// Rows at these offsets, which nobody knew, are judged beside all others. Gives the greatest
    /// compared value, which was `newest` before.
    pub(crate) fn admit(
        &self,
        keys: &dyn Keys,
        segment: &Arc<SealedSegment>,
        unknown: &[Range<Offset>],
        newest: i64,
    ) -> Result<i64, SegmentError> {
        let view = segment.view();
        let is_sorted = {
            let segments = self.segments.lock();
            let held = segments.0.get(&(segment.start(), segment.id().sequence));
            held.is_some_and(|held| held.places.order().is_some())
        };
        let is_meant = |looked: &Looked, row: usize| {
            let offset = looked.offsets[row];
            let after = unknown.partition_point(|range| range.start <= offset);
            after > 0 && unknown[after - 1].contains(&offset)
        };
        let mut newest = newest;
        let mut admit = |looked: &[Looked]| {
            let rows = Stored {
                looked,
                is_meant: &is_meant,
            };
            let (dead, greatest) = keys.admit(&self.rules, rows, newest);
            newest = greatest;
            self.segments.lock().clear(&dead);
        };
        let mut looked = Vec::new();
        // Their blocks are not in the order of the log.
        let waits = is_sorted && self.rules.forgets();
        self.rules.look_at_segment(
            &view,
            |_| true,
            |block| {
                looked.push(block);
                if !waits && looked.len() >= BLOCKS {
                    admit(&looked);
                    looked.clear();
                }
            },
        )?;
        admit(&looked);
        Ok(newest)
    }

    /// What is known at the end of a segment that takes no more rows, before the next one has any.
    pub fn at_end(&self, segment: &MutableSegment) -> KeysAtEnd {
        let keys = self.keys.read();
        let segments = self.segments.lock();
        let key = (segment.start_offset(), segment.id().sequence);
        let own = segments.0.get(&key).map(|placed| placed.rows.clone());
        // All that deduplication let in counts.
        let before = segments.0.range(..key).filter(|_| !self.rules.is_dedup);
        let others = before.filter_map(|((_, sequence), placed)| {
            let name = (*sequence, placed.crc?);
            Some((name, placed.rows.clone()))
        });
        KeysAtEnd {
            newest: keys.newest(),
            own: own.unwrap_or_default(),
            others: others.collect(),
        }
    }

    /// The segment is gone for good, and its keys with it.
    pub fn retire(&self, segment: &SealedSegment) {
        let mut keys = self.keys.write();
        let key = (segment.start(), segment.id().sequence);
        if self.segments.lock().0.remove(&key).is_some() {
            keys.retire(segment.start()..segment.end());
        }
    }

    /// Gives back the room of keys that are not known any more.
    pub fn tidy(&self) {
        self.keys.write().tidy(&self.rules);
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
            Some(view.with_valid(placed.rows.live().clone()))
        })
    }

    /// The file with this checksum is the one whose rows are known.
    pub fn holds(&self, segment: &SealedSegment) -> bool {
        let key = (segment.start(), segment.id().sequence);
        let segments = self.segments.lock();
        let held = segments.0.get(&key);
        held.is_some_and(|held| held.crc == Some(segment.crc()))
    }

    /// Of sealed segments the rows by which no key is known, and all.
    pub fn dead_rows(&self) -> Vec<(Sequence, u32, u32)> {
        let segments = self.segments.lock();
        let sealed = segments.0.iter().filter(|(_, placed)| placed.crc.is_some());
        let dead = sealed.map(|((_, sequence), placed)| {
            let newest = placed.rows.newest();
            (
                *sequence,
                newest.row_count() - newest.live(),
                newest.row_count(),
            )
        });
        dead.collect()
    }

    pub fn figures(&self) -> KeyFigures {
        let mut figures = self.keys.read().figures();
        for placed in self.segments.lock().0.values() {
            figures.rows += u64::from(placed.rows.live().row_count());
            figures.live_rows += u64::from(placed.rows.live().live());
        }
        figures
    }
}

impl Placed {
    /// Rows by which a key is known and that are not there.
    fn missing_in(&self, places: &Places) -> usize {
        if self.places == *places {
            return 0;
        }
        let (newest, mut missing) = (self.rows.newest(), 0);
        self.places.each(|offset, row| {
            let is_gone = newest.contains(row) && places.row_of(offset).is_none();
            missing += usize::from(is_gone);
        });
        missing
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

    pub(crate) fn clear(&mut self, dead: &Dead) {
        self.each_at(&dead.replaced, |placed, rows| placed.rows.replace(rows));
        self.each_at(&dead.deleting, |placed, rows| placed.rows.delete(rows));
    }

    /// The rows at these offsets, segment by segment.
    fn each_at(&mut self, offsets: &[Offset], mut each: impl FnMut(&mut Placed, &[u32])) {
        let mut offsets = offsets.to_vec();
        offsets.sort_unstable();
        let mut rows = Vec::new();
        let mut left = offsets.as_slice();
        while let Some(first) = left.first() {
            let mut after = self.0.range((*first, Sequence::MAX)..);
            let next = after.find(|((start, _), _)| start > first);
            let count = next.map_or(left.len(), |((start, _), _)| {
                left.partition_point(|offset| offset < start)
            });
            let (own, rest) = left.split_at(count);
            if let Some((_, placed)) = self.0.range_mut(..=(*first, Sequence::MAX)).next_back() {
                rows.clear();
                rows.extend(
                    own.iter()
                        .filter_map(|offset| placed.places.row_of(*offset)),
                );
                each(placed, &rows);
            }
            left = rest;
        }
    }
}

/// Which rows count where they lie now, and the offsets that nobody knew.
fn moved(held: Option<Placed>, places: &Places, deletes: bool) -> (KeyRows, Vec<Range<Offset>>) {
    let mut rows = KeyRows::all(places.rows(), deletes);
    let Some(held) = held else {
        let every = std::iter::once(Offset::MIN..Offset::MAX);
        return (rows, every.collect());
    };
    if held.places == *places {
        return (held.rows, Vec::new());
    }
    let (mut replaced, mut deleting, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    places.each(|offset, row| match held.places.row_of(offset) {
        Some(before) if held.rows.live().contains(before) => {}
        Some(before) if held.rows.newest().contains(before) => deleting.push(row),
        Some(_) => replaced.push(row),
        None => unknown.push(offset..offset + 1),
    });
    rows.replace(&replaced);
    rows.delete(&deleting);
    (rows, unknown)
}

fn failed(error: &ArrowError) -> SegmentError {
    SegmentError::Batch {
        what: error.to_string(),
    }
}
