//! What routing looks up in a table, so that a query does not look at segments that it cannot read.
//!
//! Invariants: an index is of one state of its table; the next is made of it, anew only for the
//! chunks of segments that changed. What it leaves out, the records of the segments leave out too.
//! In doubt a segment is a candidate.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use schemas::cluster::{ClusterState, SegmentState, TableState};
use schemas::partition::Partitioning;
use schemas::segment::SegmentRecord;
use schemas::segments::PerChunk;
use schemas::table::virtual_column;
use schemas::{Partition, TableId, Value};
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(crate) struct TableIndex {
    columns: Columns,
    chunks: PerChunk<Glance>,
    /// Not sealed yet, in the order of the table.
    pub(super) open: Vec<Arc<SegmentState>>,
    /// Sealed segments that queries see, and their rows.
    pub(super) seen: (u64, u64),
}

/// What is looked up, by the config of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Columns {
    time: Option<String>,
    partitioned: Vec<String>,
}

/// What tells whether a look into a chunk is worth it.
#[derive(Clone, Debug)]
struct Glance {
    /// Of the stream, of the first segment and of the last.
    partitions: (Partition, Partition),
    /// Least and greatest of its sealed segments.
    times: (i64, i64),
    look: Arc<Look>,
}

/// The sealed segments of a chunk, by position.
#[derive(Debug, Default)]
struct Look {
    sealed: Vec<u16>,
    /// Of each of these; what is not known is any time.
    times: Vec<(i64, i64)>,
    /// In the order of [`Columns::partitioned`].
    partitioned: Vec<Partitioned>,
    open: Vec<Arc<SegmentState>>,
    seen: (u64, u64),
}

/// Sealed segments by the partitions that a column's values are in: positions in [`Look::sealed`].
#[derive(Debug, Default)]
struct Partitioned {
    groups: Vec<(Partitioning, Vec<(u32, u16)>)>,
    unknown: Vec<u16>,
}

const ANY_TIME: (i64, i64) = (i64::MIN, i64::MAX);

/// What a query's conditions say about one column: all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) least: Option<i64>,
    pub(crate) greatest: Option<i64>,
}

impl Bounds {
    pub(crate) fn at_least(&mut self, value: i64) {
        self.least = Some(self.least.map_or(value, |own| own.max(value)));
    }

    pub(crate) fn at_most(&mut self, value: i64) {
        self.greatest = Some(self.greatest.map_or(value, |own| own.min(value)));
    }
}

/// How conditions are asked.
pub(crate) trait Conditions {
    /// Of a column of whole numbers or times.
    fn bounds(&self, column: &str) -> Bounds;
    /// The partition of the only value that the column may have.
    fn partition(&self, column: &str, by: &Partitioning) -> Option<u32>;
}

impl TableIndex {
    /// Nothing of the table is consuming.
    pub(crate) fn is_sealed(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn of(table: &TableState) -> Self {
        Self::default().updated(table)
    }

    /// Of another state of the table.
    fn updated(&self, table: &TableState) -> Self {
        let partitioned = table.spec.columns.iter();
        let partitioned = partitioned.filter(|column| column.partitioning.is_some());
        let columns = Columns {
            time: table.spec.time_column.clone(),
            partitioned: partitioned.map(|column| column.name.clone()).collect(),
        };
        let nothing = PerChunk::default();
        let known = match columns == self.columns {
            true => &self.chunks,
            false => &nothing,
        };
        let chunks = known.updated(&table.segments, |chunk| Glance::at(chunk, &columns));
        let mut index = Self {
            columns,
            ..Self::default()
        };
        for (_, Glance { look, .. }) in chunks.iter() {
            index.open.extend(look.open.iter().cloned());
            index.seen.0 += look.seen.0;
            index.seen.1 += look.seen.1;
        }
        index.chunks = chunks;
        index
    }

    /// In the order of the table.
    pub(crate) fn candidates(&self, conditions: &dyn Conditions) -> Vec<&SegmentState> {
        let wanted = Sought::of(&self.columns, conditions);
        let mut found = Vec::new();
        for (chunk, glance) in self.chunks.iter() {
            let before = found.len();
            if wanted.may_be_in(glance) {
                wanted.look(chunk, &glance.look, &self.columns, conditions, &mut found);
            }
            if !glance.look.open.is_empty() {
                found.extend(glance.look.open.iter().map(|open| &**open));
                found[before..].sort_by_key(|segment| segment.record.id.key());
            }
        }
        found
    }
}

/// What conditions say of times and of the stream's partitions.
struct Sought {
    /// From the least to the greatest.
    times: (i64, i64),
    partition: Option<Option<Partition>>,
    by_column: bool,
}

impl Sought {
    fn of(columns: &Columns, conditions: &dyn Conditions) -> Self {
        let time = columns.time.as_deref();
        let bounds = time
            .map(|column| conditions.bounds(column))
            .unwrap_or_default();
        let only = [virtual_column::PARTITION, virtual_column::PARTITION_ID];
        let mut only = only.into_iter().filter_map(|name| {
            let Bounds { least, greatest } = conditions.bounds(name);
            // One that cannot be is in no chunk.
            (least.is_some() && least == greatest).then(|| u32::try_from(least?).ok())
        });
        Self {
            times: (
                bounds.least.unwrap_or(i64::MIN),
                bounds.greatest.unwrap_or(i64::MAX),
            ),
            partition: only.next(),
            by_column: !columns.partitioned.is_empty(),
        }
    }

    fn is_in(&self, (least, greatest): (i64, i64)) -> bool {
        least <= self.times.1 && greatest >= self.times.0
    }

    fn may_be_in(&self, glance: &Glance) -> bool {
        let (first, last) = glance.partitions;
        let in_partition = match self.partition {
            None => true,
            Some(only) => only.is_some_and(|only| (first..=last).contains(&only)),
        };
        in_partition && self.is_in(glance.times)
    }

    /// Adds the sealed segments that may be wanted.
    fn look<'a>(
        &self,
        chunk: &'a [Arc<SegmentState>],
        look: &Look,
        columns: &Columns,
        conditions: &dyn Conditions,
        found: &mut Vec<&'a SegmentState>,
    ) {
        let mut add = |at: usize| {
            let segment = &chunk[look.sealed[at] as usize];
            let in_partition = match self.partition {
                None => true,
                Some(only) => only == Some(segment.record.id.partition),
            };
            if in_partition && self.is_in(look.times[at]) {
                found.push(&**segment);
            }
        };
        let mut fewest: Option<Vec<u16>> = None;
        if self.by_column {
            for (column, known) in columns.partitioned.iter().zip(&look.partitioned) {
                if let Some(held) = known.holding(column, conditions)
                    && fewest.as_ref().is_none_or(|few| held.len() < few.len())
                {
                    fewest = Some(held);
                }
            }
        }
        match fewest {
            Some(mut few) => {
                few.sort_unstable();
                few.dedup();
                few.into_iter().for_each(|at| add(at as usize));
            }
            None => (0..look.sealed.len()).for_each(add),
        }
    }
}

impl Glance {
    fn at(chunk: &[Arc<SegmentState>], columns: &Columns) -> Self {
        let partition = |segment: Option<&Arc<SegmentState>>| {
            segment.map_or(0, |segment| segment.record.id.partition)
        };
        let mut look = Look {
            partitioned: columns
                .partitioned
                .iter()
                .map(|_| Partitioned::default())
                .collect(),
            ..Look::default()
        };
        for (at, segment) in chunk.iter().enumerate() {
            let record = &segment.record;
            if !record.is_done() {
                look.open.push(Arc::clone(segment));
                continue;
            }
            if !segment.hidden {
                look.seen.0 += 1;
                look.seen.1 += record.ledger.rows;
            }
            let place = look.sealed.len() as u16;
            look.sealed.push(at as u16);
            look.times.push(times(record, columns.time.as_deref()));
            for (column, known) in columns.partitioned.iter().zip(&mut look.partitioned) {
                known.add(place, column, record);
            }
        }
        look.partitioned.iter_mut().for_each(Partitioned::finish);
        let least = look.times.iter().map(|(least, _)| *least).min();
        let greatest = look.times.iter().map(|(_, greatest)| *greatest).max();
        Self {
            partitions: (partition(chunk.first()), partition(chunk.last())),
            // Without sealed segments there is nothing at any time.
            times: least.zip(greatest).unwrap_or((i64::MAX, i64::MIN)),
            look: Arc::new(look),
        }
    }
}

fn times(record: &SegmentRecord, column: Option<&str>) -> (i64, i64) {
    let Some(column) = column else {
        return ANY_TIME;
    };
    let mut ranges = record.column_ranges.iter();
    match ranges.find(|(name, ..)| name == column) {
        Some((_, Value::Long(least), Value::Long(greatest))) => (*least, *greatest),
        _ => ANY_TIME,
    }
}

impl Partitioned {
    fn add(&mut self, at: u16, column: &str, record: &SegmentRecord) {
        let mut known = record.partitions.iter();
        let Some(known) = known.find(|known| known.column == column) else {
            self.unknown.push(at);
            return;
        };
        let of = self.groups.iter().position(|(by, _)| *by == known.by);
        let of = of.unwrap_or_else(|| {
            self.groups.push((known.by, Vec::new()));
            self.groups.len() - 1
        });
        let held = known.held.iter().map(|partition| (*partition, at));
        self.groups[of].1.extend(held);
    }

    fn finish(&mut self) {
        for (_, held) in &mut self.groups {
            held.sort_unstable();
            held.shrink_to_fit();
        }
    }

    /// `None`: the conditions name no single value.
    fn holding(&self, column: &str, conditions: &dyn Conditions) -> Option<Vec<u16>> {
        let mut found = self.unknown.clone();
        for (by, held) in &self.groups {
            let wanted = conditions.partition(column, by)?;
            let from = held.partition_point(|(partition, _)| *partition < wanted);
            let held = held[from..]
                .iter()
                .take_while(|(partition, _)| *partition == wanted);
            found.extend(held.map(|(_, at)| *at));
        }
        (!self.groups.is_empty()).then_some(found)
    }
}

/// Indexes of the tables as they are now.
#[derive(Debug, Default)]
pub struct TableIndexes {
    known: Mutex<HashMap<TableId, Known>>,
}

#[derive(Debug)]
struct Known {
    /// An old state is not held by it.
    of: Weak<TableState>,
    index: Arc<TableIndex>,
}

impl TableIndexes {
    pub(crate) fn get(&self, table: &Arc<TableState>) -> Arc<TableIndex> {
        let id = table.spec.id;
        if let Some(known) = self.known.lock().get(&id)
            && known.of.as_ptr() == Arc::as_ptr(table)
        {
            return Arc::clone(&known.index);
        }
        let before = self
            .known
            .lock()
            .get(&id)
            .map(|known| Arc::clone(&known.index));
        let index = Arc::new(match before {
            Some(before) => before.updated(table),
            None => TableIndex::of(table),
        });
        let known = Known {
            of: Arc::downgrade(table),
            index: Arc::clone(&index),
        };
        self.known.lock().insert(id, known);
        index
    }

    /// Makes them before a query needs them, until it is dropped.
    pub async fn follow(&self, mut cluster: watch::Receiver<Arc<ClusterState>>) {
        loop {
            let state = Arc::clone(&cluster.borrow_and_update());
            let is_there = |id: &TableId| state.tables.contains_key(id);
            self.known.lock().retain(|id, _| is_there(id));
            for table in state.tables.values() {
                self.get(table);
                tokio::task::yield_now().await;
            }
            drop(state);
            if cluster.changed().await.is_err() {
                return;
            }
        }
    }
}
