//! UpsertCompactionTask: segments that are mostly rows which newer ones have replaced, partition by
//! partition.
//!
//! Invariant: the newest sealed segment of a partition is left as it is: it tells which rows of it
//! and of the others count.

use std::collections::BTreeMap;

use schemas::Partition;
use schemas::segment::SegmentRecord;
use schemas::task::{CompactOrder, CompactSpec, InputSegment};

use super::{Known, Plan};

/// Of one task: rows that it reads, and segments.
const TASK_ROWS_MAX: u64 = 50_000_000;
const TASK_SEGMENTS_MAX: usize = 32;

pub(super) fn plan(known: &Known<'_>, spec: &CompactSpec) -> Plan {
    let mut partitions: BTreeMap<Partition, Vec<(&SegmentRecord, InputSegment)>> = BTreeMap::new();
    for (one, input) in known.sealed() {
        let partition = one.record.id.partition;
        partitions
            .entry(partition)
            .or_default()
            .push((&one.record, input));
    }
    let orders = partitions
        .into_iter()
        .filter_map(|(partition, mut sealed)| {
            sealed.sort_by_key(|(record, _)| record.id.sequence);
            let (_, newest) = sealed.pop()?;
            // One that is not in the deep store yet may be newer.
            let of_all = known.table.segments.iter().map(|one| &one.record);
            let done = of_all.filter(|one| one.is_done() && one.id.partition == partition);
            let last = done.map(|one| one.id.sequence).max();
            (last == Some(newest.id.sequence)).then(|| of_partition(known, spec, newest, sealed))?
        });
    let compactions: Vec<CompactOrder> = orders.collect();
    Plan {
        waits: compactions
            .is_empty()
            .then(|| "no segment that is old enough has enough dead rows".to_owned()),
        compactions,
        ..Plan::default()
    }
}

/// Those with the most dead rows.
fn of_partition(
    known: &Known<'_>,
    spec: &CompactSpec,
    newest: InputSegment,
    sealed: Vec<(&SegmentRecord, InputSegment)>,
) -> Option<CompactOrder> {
    let before = known.now_ms.saturating_sub(spec.buffer_ms);
    let due = sealed.into_iter().filter_map(|(record, input)| {
        let dead = known.dead.get(&record.id).copied().unwrap_or(0);
        let end = record.time_range.map(|range| range.1).or(record.sealed_ms);
        let is_due = end.is_none_or(|end| end <= before) && spec.is_due(input.rows, dead);
        (is_due && !known.is_busy(record)).then_some((dead, input))
    });
    let mut due: Vec<(u64, InputSegment)> = due.collect();
    due.sort_by_key(|(dead, input)| (std::cmp::Reverse(*dead), input.id.sequence));
    let mut rows = 0;
    let inputs = due.into_iter().map(|(_, input)| input).take_while(|input| {
        let fits = rows == 0 || rows + input.rows <= TASK_ROWS_MAX;
        rows += input.rows;
        fits
    });
    let inputs: Vec<InputSegment> = inputs.take(TASK_SEGMENTS_MAX).collect();
    (!inputs.is_empty()).then(|| CompactOrder {
        table_name: known.table.spec.physical_name(),
        spec: known.table.spec.clone(),
        newest,
        inputs,
        due: *spec,
    })
}
