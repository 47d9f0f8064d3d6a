//! RealtimeToOfflineSegmentsTask: rows of a stream, bucket by bucket of their time, become segments
//! of the OFFLINE part.
//!
//! Invariant: a bucket is moved once, after everything that was consumed with a time before its
//! end is sealed, as far as that is known: the newest sealed segment of each partition reaches its
//! end, or nothing consumes there. The watermark moves in the transaction in which the segments
//! count; two tasks of one bucket cannot both end.

use std::collections::BTreeMap;

use schemas::task::{MergeType, MoveSpec, RewriteOrder, TaskType, WatermarkMove, roll_up_of};
use schemas::{Partition, Sequence};

use super::{Known, Plan, floor};

pub(super) const WATERMARK: &str = TaskType::RealtimeToOfflineSegmentsTask.name();

pub(super) fn plan(known: &Known<'_>, spec: &MoveSpec) -> Plan {
    let segments = known.table.seen().filter(|one| one.record.is_done());
    let timed = segments.filter_map(|one| Some((one, one.record.time_range?)));
    let timed: Vec<_> = timed.collect();
    if timed.iter().any(|(one, _)| known.is_busy(&one.record)) {
        return Plan::waiting("a task moves the bucket before");
    }
    let Some(oldest) = timed.iter().map(|(_, range)| range.0).min() else {
        return Plan::waiting("no segment is sealed yet");
    };
    let stored = known.watermarks.get(WATERMARK).copied();
    let begin = stored.unwrap_or_else(|| floor(oldest, spec.bucket_ms));
    // Buckets in which nothing is are passed over.
    let left = timed.iter().filter(|(_, range)| range.1 >= begin);
    let starts = left.map(|(_, range)| floor(range.0, spec.bucket_ms).max(begin));
    let Some(start) = starts.min() else {
        return Plan::waiting("everything that is sealed was moved");
    };
    let end = start.saturating_add(spec.bucket_ms);
    if end > known.now_ms.saturating_sub(spec.buffer_ms) {
        return Plan::waiting(format!(
            "the bucket from {start} to {end} and its buffer are not over"
        ));
    }
    if let Some(partition) = unsealed(known, end) {
        return Plan::waiting(format!(
            "partition {partition} may still consume rows from before {end}"
        ));
    }
    let inputs = timed
        .iter()
        .filter(|(_, range)| range.0 < end && range.1 >= start);
    let inputs: Option<Vec<_>> = inputs
        .map(|(one, _)| schemas::task::InputSegment::of(&one.record))
        .collect();
    let Some(inputs) = inputs else {
        return Plan::waiting("a segment is not in the deep store yet");
    };
    let mut order: RewriteOrder = known.order(TaskType::RealtimeToOfflineSegmentsTask, inputs);
    order.window_ms = Some((start, end));
    order.round_ms = spec.round_ms;
    order.merge = spec.merge;
    if order.merge == MergeType::Rollup {
        order.roll_up = roll_up_of(&known.target.spec, &spec.roll_up);
    }
    order.rows_max = spec.rows_max;
    order.watermark = Some(WatermarkMove {
        name: WATERMARK.to_owned(),
        from_ms: stored,
        to_ms: end,
    });
    Plan {
        orders: vec![order],
        ..Plan::default()
    }
}

/// A partition of which rows before `end` may not be sealed.
fn unsealed(known: &Known<'_>, end: i64) -> Option<Partition> {
    let mut newest: BTreeMap<Partition, (Option<Sequence>, i64)> = BTreeMap::new();
    for one in &known.table.segments {
        let record = &one.record;
        let of = newest
            .entry(record.id.partition)
            .or_insert((None, i64::MIN));
        if record.is_done() && of.0.is_none_or(|sequence| sequence < record.id.sequence) {
            // Times of a segment without rows say nothing; those before it do.
            let newest_ms = record.time_range.map_or(of.1, |range| range.1.max(of.1));
            *of = (Some(record.id.sequence), newest_ms);
        }
    }
    let id = known.table.spec.id.to_bytes();
    let is_open = |(partition, (sealed, newest_ms)): &(&Partition, &(Option<Sequence>, i64))| {
        if *newest_ms >= end {
            return false;
        }
        let next = sealed.map_or(0, |sequence| sequence + 1);
        let mut own = known.consumers.iter().filter(|one| {
            one.partition == **partition && one.table_id == id && one.sequence == next
        });
        // Somebody has to say that nothing is in memory.
        let Some(first) = own.next() else {
            return true;
        };
        let is_empty = |one: &schemas::proto::ConsumerState| {
            one.rows == 0 && one.next_offset == one.log_end_offset
        };
        !(is_empty(first) && own.all(is_empty))
    };
    let mut open = newest.iter().filter(is_open);
    open.next().map(|(partition, _)| *partition)
}
