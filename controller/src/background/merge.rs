//! MergeRollupTask: small segments of a bucket of time become few large ones, level by level.
//!
//! Invariants: a bucket is worked on when its buffer is over and the level below is done with it;
//! a level never takes segments of a level above; the watermark of a level is the first bucket with
//! something left to be done, and never goes back: what comes late for a bucket before it stays as
//! it is.

use std::collections::BTreeMap;

use schemas::segment::SegmentRecord;
use schemas::task::{InputSegment, MergeLevel, MergeSpec, MergeType, TaskType, roll_up_of};

use super::{Known, Plan, floor};

pub(super) fn plan(known: &Known<'_>, spec: &MergeSpec) -> Plan {
    let mut plan = Plan::default();
    let mut below = i64::MAX;
    for (at, level) in spec.levels.iter().enumerate() {
        let above = spec.levels[at + 1..]
            .iter()
            .map(|level| level.name.as_str());
        let above: Vec<&str> = above.collect();
        let level = Level {
            known,
            spec,
            level,
            above,
            limit_ms: below.min(known.now_ms.saturating_sub(level.buffer_ms)),
        };
        let Some(reached) = level.plan(&mut plan) else {
            break;
        };
        below = reached;
    }
    if plan.orders.is_empty() {
        plan.waits = Some("no bucket that is over has segments to be merged".to_owned());
    }
    plan
}

pub(super) fn watermark_of(level: &str) -> String {
    format!("{}.{level}", TaskType::MergeRollupTask.name())
}

struct Level<'a> {
    known: &'a Known<'a>,
    spec: &'a MergeSpec,
    level: &'a MergeLevel,
    above: Vec<&'a str>,
    /// Buckets that end until then are worked on.
    limit_ms: i64,
}

struct One<'a> {
    record: &'a SegmentRecord,
    input: InputSegment,
    from_ms: i64,
    to_ms: i64,
}

impl Level<'_> {
    /// Up to where the level is done; `None`: there is nothing.
    fn plan(&self, plan: &mut Plan) -> Option<i64> {
        let bucket_ms = self.level.bucket_ms;
        let segments = self.segments();
        let oldest = segments.iter().map(|one| one.from_ms).min()?;
        let newest = segments.iter().map(|one| one.to_ms).max()?;
        let name = watermark_of(&self.level.name);
        let stored = self.known.watermarks.get(&name).copied();
        let begin = stored.unwrap_or_else(|| floor(oldest, bucket_ms));
        let mut cursor = begin;
        let mut first_left = None;
        let mut buckets = 0;
        while buckets < self.level.buckets_max {
            let Some(start) = self.next_bucket(&segments, cursor) else {
                break;
            };
            let end = start.saturating_add(bucket_ms);
            if end > self.limit_ms {
                break;
            }
            cursor = end;
            if self.bucket(&segments, (start, end), plan) {
                first_left.get_or_insert(start);
                buckets += 1;
            }
        }
        let done = floor(newest, bucket_ms).saturating_add(bucket_ms);
        let done = done.min(floor(self.limit_ms, bucket_ms)).max(begin);
        let reached = first_left.unwrap_or(done);
        if stored != Some(reached) {
            plan.watermarks.push((name, reached));
        }
        Some(reached)
    }

    fn segments(&self) -> Vec<One<'_>> {
        let sealed = self.known.sealed();
        let segments = sealed.filter_map(|(one, input)| {
            let (from_ms, to_ms) = one.record.time_range?;
            let level = one.record.marks.merge_level.as_deref();
            let is_above = level.is_some_and(|level| self.above.contains(&level));
            (!is_above).then_some(One {
                record: &one.record,
                input,
                from_ms,
                to_ms,
            })
        });
        let mut segments: Vec<One<'_>> = segments.collect();
        segments.sort_by_key(|one| (one.from_ms, one.record.id.sequence));
        segments
    }

    /// The first bucket at `from` or later with a segment that is not merged on this level.
    fn next_bucket(&self, segments: &[One<'_>], from: i64) -> Option<i64> {
        let left = segments
            .iter()
            .filter(|one| one.to_ms >= from && !self.is_merged(one));
        let starts = left.map(|one| floor(one.from_ms, self.level.bucket_ms).max(from));
        starts.min()
    }

    fn is_merged(&self, one: &One<'_>) -> bool {
        one.record.marks.merge_level.as_ref() == Some(&self.level.name)
    }

    /// Whether something of the bucket is left to be done, be it ordered already.
    fn bucket(&self, segments: &[One<'_>], (start, end): (i64, i64), plan: &mut Plan) -> bool {
        let of_bucket = segments
            .iter()
            .filter(|one| one.from_ms < end && one.to_ms >= start);
        // Segments of different partitions of a column stay apart.
        let mut groups: BTreeMap<String, Vec<&One<'_>>> = BTreeMap::new();
        for one in of_bucket {
            let partitions = format!("{:?}", one.record.partitions);
            groups.entry(partitions).or_default().push(one);
        }
        let mut is_left = false;
        for group in groups.values() {
            if self.is_done(group, (start, end)) {
                continue;
            }
            is_left = true;
            let is_free = |one: &&One<'_>| !self.known.is_busy(one.record);
            if group.iter().all(is_free) {
                self.order(group, (start, end), plan);
            }
        }
        is_left
    }

    fn is_done(&self, group: &[&One<'_>], (start, end): (i64, i64)) -> bool {
        if group.iter().all(|one| self.is_merged(one)) {
            return true;
        }
        let [one] = group else {
            return false;
        };
        let changes_rows = self.level.merge != MergeType::Concat || self.level.round_ms.is_some();
        let is_within = start <= one.from_ms && one.to_ms < end;
        !changes_rows && is_within && one.input.rows <= u64::from(self.level.rows_max)
    }

    fn order(&self, group: &[&One<'_>], window: (i64, i64), plan: &mut Plan) {
        let mut inputs: Vec<InputSegment> = Vec::new();
        let mut rows = 0;
        let mut give = |inputs: &mut Vec<InputSegment>| {
            let inputs = std::mem::take(inputs);
            if inputs.is_empty() {
                return;
            }
            let mut order = self.known.order(TaskType::MergeRollupTask, inputs);
            order.window_ms = Some(window);
            order.bucket_ms = Some(self.level.bucket_ms);
            order.round_ms = self.level.round_ms;
            order.merge = self.level.merge;
            if order.merge == MergeType::Rollup {
                order.roll_up = roll_up_of(&self.known.target.spec, &self.spec.roll_up);
            }
            order.rows_max = self.level.rows_max;
            order.level = Some(self.level.name.clone());
            plan.orders.push(order);
        };
        for one in group {
            if rows + one.input.rows > self.level.task_rows_max {
                give(&mut inputs);
                rows = 0;
            }
            rows += one.input.rows;
            inputs.push(one.input.clone());
        }
        give(&mut inputs);
    }
}
