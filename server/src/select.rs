//! What a fragment reads of a table, taken from one view of it.
//!
//! Invariants: where keys have rules, all that is asked of a partition is taken at one moment, with
//! the rows that count, or none of it is: another server then answers for all of the partition.
//! A file of such a table answers for one that took its place, and the other way round: the rows
//! that count are in both, or the server would not have turned ([`upsert::PartitionKeys::seat`]).
//! Nothing is taken of a run whose consumer has not caught up with another replica: whoever read
//! that one would see rows go again. A broker may not have heard yet that this server began anew.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use schemas::proto::{
    ConsumingFrom, MissingSegment, PartitionOffset, SegmentRef, TableProgress, TableScan,
};
use schemas::{Partition, TableId, TableSpec};
use segment::{SealedSegment, Segment, SegmentView};

use crate::cache::Pins;
use crate::view::TableView;

/// What a fragment reads.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) tables: HashMap<TableId, Arc<Vec<SegmentView>>>,
    pub(crate) specs: HashMap<TableId, Arc<TableSpec>>,
    pub(crate) missing: Vec<MissingSegment>,
    pub(crate) progress: Vec<TableProgress>,
    /// Partitions that are not read to their end, for people.
    pub(crate) behind: Vec<String>,
    /// What is read stays on the disk meanwhile.
    pub(crate) pins: Vec<Pins>,
}

impl Selection {
    pub(crate) fn sealed(&self) -> impl Iterator<Item = &Arc<SealedSegment>> {
        let views = self.tables.values().flat_map(|views| views.iter());
        views.filter_map(|view| match &view.segment {
            Segment::Sealed(segment) => Some(segment),
            Segment::Consuming(_) => None,
        })
    }
}

/// What is taken of one table.
#[derive(Default)]
struct Taken {
    views: Vec<SegmentView>,
    missing: Vec<SegmentRef>,
    read_up_to: Vec<PartitionOffset>,
}

/// Whether the file with this checksum is the committed one, or one whose place that has taken, as
/// far as the cluster's state is known here.
pub(crate) type IsCommitted<'a> = &'a dyn Fn(&SealedSegment) -> bool;

/// `all_rows`: also those that newer ones have replaced.
pub(crate) fn select_table(
    view: &TableView,
    (id, all_rows): (TableId, bool),
    (scan, is_committed): (&TableScan, IsCommitted<'_>),
    to: &mut Selection,
) {
    let is_keyed = view.spec.keyed.is_some();
    let fits = |held: &SealedSegment, wanted: &SegmentRef| {
        held.crc() == wanted.crc || (is_keyed && is_committed(held))
    };
    let taken = match is_keyed && !all_rows {
        true => by_partition(view, scan, &fits),
        false => {
            let all = (&scan.sealed[..], &scan.consuming[..]);
            take(view, all, (&fits, &|view| Some(view)))
        }
    };
    to.missing
        .extend(taken.missing.iter().map(|segment| MissingSegment {
            table_id: id.to_bytes(),
            segment: Some(*segment),
        }));
    let newest = taken.views.iter().map(SegmentView::newest_ingest_ms).max();
    to.progress.push(TableProgress {
        table_id: id.to_bytes(),
        read_up_to: taken.read_up_to,
        newest_event_ms: newest.unwrap_or(0).max(0),
    });
    to.specs.insert(id, Arc::clone(&view.spec));
    let known = to.tables.entry(id).or_default();
    match known.is_empty() {
        true => *known = Arc::new(taken.views),
        false => Arc::make_mut(known).extend(taken.views),
    }
}

/// The scan without runs of `hidden` partitions; they are named as missing, and where keys have
/// rules all of their partitions.
pub(crate) fn without_hidden<'a>(
    scan: &'a TableScan,
    hidden: &BTreeSet<Partition>,
    is_keyed: bool,
) -> (Cow<'a, TableScan>, Vec<MissingSegment>) {
    let runs = scan.consuming.iter();
    let runs = runs.filter(|run| hidden.contains(&run.partition));
    let behind: BTreeSet<Partition> = runs.map(|run| run.partition).collect();
    if behind.is_empty() {
        return (Cow::Borrowed(scan), Vec::new());
    }
    let is_behind = |partition: Partition| behind.contains(&partition);
    let mut shown = scan.clone();
    shown.consuming.retain(|run| !is_behind(run.partition));
    let runs = scan.consuming.iter();
    let runs = runs.filter(|run| is_behind(run.partition));
    let mut missing: Vec<SegmentRef> = runs.map(|run| run_of(*run)).collect();
    if is_keyed {
        shown.sealed.retain(|sealed| !is_behind(sealed.partition));
        let sealed = scan.sealed.iter();
        missing.extend(sealed.filter(|sealed| is_behind(sealed.partition)));
    }
    let missing = missing.into_iter().map(|segment| MissingSegment {
        table_id: scan.table_id.clone(),
        segment: Some(segment),
    });
    (Cow::Owned(shown), missing.collect())
}

/// Whether what is held answers for what is wanted.
type Fits<'a> = &'a dyn Fn(&SealedSegment, &SegmentRef) -> bool;

/// Each partition at one moment, and whole.
fn by_partition(view: &TableView, scan: &TableScan, fits: Fits<'_>) -> Taken {
    let mut asked: BTreeMap<Partition, (Vec<SegmentRef>, Vec<ConsumingFrom>)> = BTreeMap::new();
    for sealed in &scan.sealed {
        asked.entry(sealed.partition).or_default().0.push(*sealed);
    }
    for consuming in &scan.consuming {
        asked
            .entry(consuming.partition)
            .or_default()
            .1
            .push(*consuming);
    }
    let mut all = Taken::default();
    for (partition, (sealed, consuming)) in asked {
        let taken = view.keys(partition).map(|keys| {
            keys.at_one_moment(|valid| take(view, (&sealed, &consuming), (fits, valid)))
        });
        match taken.filter(|taken| taken.missing.is_empty()) {
            Some(taken) => {
                all.views.extend(taken.views);
                all.read_up_to.extend(taken.read_up_to);
            }
            None => {
                all.missing.extend(sealed);
                all.missing.extend(consuming.into_iter().map(run_of));
            }
        }
    }
    all
}

/// `shown` gives a segment with the rows that count; `None`: it is not known which.
fn take(
    view: &TableView,
    (sealed, consuming): (&[SegmentRef], &[ConsumingFrom]),
    (fits, shown): (Fits<'_>, &dyn Fn(SegmentView) -> Option<SegmentView>),
) -> Taken {
    let mut taken = Taken::default();
    for wanted in sealed {
        let found = view.find(wanted.partition, wanted.sequence);
        let found = found.filter(|segment| fits(segment, wanted));
        match found.and_then(|segment| shown(segment.view())) {
            Some(segment) => taken.views.push(segment),
            None => taken.missing.push(*wanted),
        }
    }
    for from in consuming {
        let run = view.consuming_from(from.partition, from.from_sequence, from.start);
        let run = run.map(|run| run.into_iter().map(shown).collect::<Option<Vec<_>>>());
        match run.flatten() {
            Some(run) => {
                let next = run.last().map_or(from.start, SegmentView::next_offset);
                taken.read_up_to.push(PartitionOffset {
                    partition: from.partition,
                    offset: next,
                });
                taken.views.extend(run);
            }
            None => taken.missing.push(run_of(*from)),
        }
    }
    taken
}

fn run_of(from: ConsumingFrom) -> SegmentRef {
    SegmentRef {
        partition: from.partition,
        sequence: from.from_sequence,
        crc: 0,
    }
}
