//! What routing looks up in a table, so that a query does not look at segments that it cannot read.
//!
//! Invariants: an index is of one state of its table, and is made anew with the next; what it
//! leaves out, the records of the segments leave out too. In doubt a segment is a candidate.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use schemas::cluster::{ClusterState, TableState};
use schemas::partition::Partitioning;
use schemas::segment::SegmentRecord;
use schemas::table::virtual_column;
use schemas::{Partition, TableId, Value};
use tokio::sync::watch;

/// Positions are those in the table's segments.
#[derive(Debug, Default)]
pub(crate) struct TableIndex {
    segments: usize,
    /// Not sealed yet.
    pub(super) open: Vec<u32>,
    /// Sealed ones of each partition, oldest first.
    pub(super) sealed: HashMap<Partition, Vec<u32>>,
    /// Sealed segments that queries see, and their rows.
    pub(super) seen: (u64, u64),
    times: Times,
    partitioned: HashMap<String, Partitioned>,
}

/// Sealed segments by the values of the time column.
#[derive(Debug, Default)]
struct Times {
    column: Option<String>,
    /// Least values in their order, and where.
    starts: Vec<(i64, u32)>,
    /// The greatest value of this one and all before it.
    ends: Vec<i64>,
    unknown: Vec<u32>,
}

/// Sealed segments by the partitions that a column's values are in.
#[derive(Debug, Default)]
struct Partitioned {
    groups: Vec<(Partitioning, HashMap<u32, Vec<u32>>)>,
    unknown: Vec<u32>,
}

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
    pub(crate) fn of(table: &TableState) -> Self {
        let mut index = Self {
            segments: table.segments.len(),
            ..Self::default()
        };
        index.times.column.clone_from(&table.spec.time_column);
        let columns = table.spec.columns.iter();
        let partitioned = columns.filter(|column| column.partitioning.is_some());
        let partitioned = partitioned.map(|column| (column.name.clone(), Partitioned::default()));
        index.partitioned = partitioned.collect();
        for (at, segment) in table.segments.iter().enumerate() {
            let (at, record) = (at as u32, &segment.record);
            if !record.is_done() {
                index.open.push(at);
                continue;
            }
            if !segment.hidden {
                index.seen.0 += 1;
                index.seen.1 += record.ledger.rows;
            }
            let partition = index.sealed.entry(record.id.partition).or_default();
            partition.push(at);
            index.times.add(at, record);
            for (column, known) in &mut index.partitioned {
                known.add(at, column, record);
            }
        }
        let sequence = |at: &u32| table.segments[*at as usize].record.id.sequence;
        for sealed in index.sealed.values_mut() {
            sealed.sort_by_key(sequence);
        }
        index.times.finish();
        index
    }

    /// In the order of the table.
    pub(crate) fn candidates(&self, conditions: &dyn Conditions) -> Vec<u32> {
        let mut fewest = self.times.within(conditions);
        let mut offer = |found: Option<Vec<&[u32]>>| {
            let Some(found) = found else { return };
            let count = |lists: &[&[u32]]| lists.iter().map(|list| list.len()).sum::<usize>();
            if fewest.as_ref().is_none_or(|few| count(&found) < few.len()) {
                fewest = Some(found.concat());
            }
        };
        for name in [virtual_column::PARTITION, virtual_column::PARTITION_ID] {
            let Bounds { least, greatest } = conditions.bounds(name);
            if let (Some(least), Some(greatest)) = (least, greatest)
                && least == greatest
            {
                let only = u32::try_from(least).ok();
                let only = only.and_then(|partition| self.sealed.get(&partition));
                offer(Some(only.map(Vec::as_slice).into_iter().collect()));
            }
        }
        for (column, known) in &self.partitioned {
            offer(known.holding(column, conditions));
        }
        let Some(mut found) = fewest else {
            return (0..self.segments as u32).collect();
        };
        found.extend(&self.open);
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Times {
    fn add(&mut self, at: u32, record: &SegmentRecord) {
        let Some(column) = &self.column else { return };
        let mut ranges = record.column_ranges.iter();
        match ranges.find(|(name, ..)| name == column) {
            Some((_, Value::Long(least), Value::Long(greatest))) => {
                self.starts.push((*least, at));
                self.ends.push(*greatest);
            }
            _ => self.unknown.push(at),
        }
    }

    fn finish(&mut self) {
        let ends = self.ends.drain(..);
        let mut both: Vec<((i64, u32), i64)> = self.starts.drain(..).zip(ends).collect();
        both.sort_unstable();
        let mut greatest = i64::MIN;
        for (start, end) in both {
            greatest = greatest.max(end);
            self.starts.push(start);
            self.ends.push(greatest);
        }
    }

    /// `None`: the conditions say nothing about time.
    fn within(&self, conditions: &dyn Conditions) -> Option<Vec<u32>> {
        let bounds = conditions.bounds(self.column.as_deref()?);
        if bounds == Bounds::default() {
            return None;
        }
        let first = bounds
            .least
            .map_or(0, |least| self.ends.partition_point(|end| *end < least));
        let behind = |greatest| self.starts.partition_point(|(start, _)| *start <= greatest);
        let behind = bounds.greatest.map_or(self.starts.len(), behind);
        let found = self.starts.get(first..behind).unwrap_or_default();
        let found = found.iter().map(|(_, at)| *at);
        Some(found.chain(self.unknown.iter().copied()).collect())
    }
}

impl Partitioned {
    fn add(&mut self, at: u32, column: &str, record: &SegmentRecord) {
        let mut known = record.partitions.iter();
        let Some(known) = known.find(|known| known.column == column) else {
            self.unknown.push(at);
            return;
        };
        let of = self.groups.iter().position(|(by, _)| *by == known.by);
        let of = of.unwrap_or_else(|| {
            self.groups.push((known.by, HashMap::new()));
            self.groups.len() - 1
        });
        for partition in &known.held {
            self.groups[of].1.entry(*partition).or_default().push(at);
        }
    }

    /// `None`: the conditions name no single value.
    fn holding(&self, column: &str, conditions: &dyn Conditions) -> Option<Vec<&[u32]>> {
        let mut found = vec![self.unknown.as_slice()];
        for (by, held) in &self.groups {
            let partition = conditions.partition(column, by)?;
            found.extend(held.get(&partition).map(Vec::as_slice));
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
        let index = Arc::new(TableIndex::of(table));
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
