//! The steps of a consumer. Each is either without an await or leaves nothing half done.

use std::sync::Arc;
use std::time::Duration;

use runtime::MemoryPermit;
use schemas::table::{StreamSpec, topic_partition};
use schemas::{Fault, FaultKind, Offset, Partition, TableSpec};
use segment::MutableSegment;
use stream::{Message, Messages, PartitionReader, StreamError};

use super::feeder::Feeding;
use super::status::Phase;
use super::{Flow, Runner, Step, limits};
use crate::Core;
use crate::view::{Table, TableView};

/// Messages that are decoded at once; not more than a batch has rows.
const CHUNK_MESSAGES: usize = ingest::BATCH_ROWS_MAX;
const IDLE: Duration = Duration::from_millis(500);
/// Memory comes back when a segment is sealed.
const MEMORY_RETRY: Duration = Duration::from_millis(50);
/// After a fault that only an operator can mend.
const LONG_RETRY: Duration = Duration::from_secs(30);

/// Whether messages that come now would not become the rows that the segment would make of them.
pub(crate) fn is_outdated(view: &TableView, segment: &MutableSegment) -> bool {
    let (new, old) = (&view.spec, segment.spec());
    !Arc::ptr_eq(new, old) && reads_otherwise(new, old)
}

/// Whether the same message can become another row.
fn reads_otherwise(new: &TableSpec, old: &TableSpec) -> bool {
    let decoders = |spec: &TableSpec| {
        let streams = spec.streams.iter();
        streams
            .map(|stream| stream.decoder.clone())
            .collect::<Vec<_>>()
    };
    let transforms = |spec: &TableSpec| {
        let columns = spec.columns.iter();
        columns
            .map(|column| (column.name.clone(), column.transform.clone()))
            .collect::<Vec<_>>()
    };
    new.pipeline != old.pipeline
        || transforms(new) != transforms(old)
        || !decoders(new).starts_with(&decoders(old))
}

/// Opens the reader if there is none and waits for messages. Cancel-safe.
pub(super) async fn fetch(
    core: &Core,
    table: &Table,
    stream: Option<&StreamSpec>,
    partition: Partition,
    reader: &mut Option<Box<dyn PartitionReader>>,
    from: Offset,
    wait: Duration,
) -> Result<Messages, StreamError> {
    let reader = match reader {
        Some(reader) => reader,
        None => {
            let Some(stream) = stream else {
                return Err(StreamError::Client("the table has no stream".to_owned()));
            };
            let source = table.source(stream, core)?;
            let (_, partition) = topic_partition(partition);
            reader.insert(source.open(&stream.topic, partition, from).await?)
        }
    };
    reader.fetch(wait).await
}

impl Runner {
    pub(super) fn next_step(&mut self) -> Step {
        let now = self.core.clock.monotonic();
        if self.keys.is_none() && self.current.spec().keyed.is_some() {
            self.status.phase(Phase::CatchingUp);
            return Step::ReadKeys;
        }
        if let Some(swap) = &self.swap
            && self.current.next_offset() >= swap.seen
        {
            return Step::ShowSwap;
        }
        if !limits::holds_anything(&self.current) && is_outdated(&self.table.view(), &self.current)
        {
            return Step::Renew;
        }
        if self.rolls_up() {
            return Step::RollUp;
        }
        let is_first = self.completion.is_none() && self.swap.is_none();
        if is_first && let Some(step) = self.end_of_segment(now) {
            return step;
        }
        if self.superseded {
            self.status.phase(Phase::CatchingUp);
            return Step::Wait(IDLE);
        }
        if self.known.paused {
            self.status.phase(Phase::Paused);
            self.settle();
            return Step::Wait(IDLE);
        }
        let short = self.core.room.short();
        if let Some(why) = self.over_budget.as_ref().or(short.as_ref()) {
            self.status.stopped(why);
            self.settle();
            return Step::Wait(IDLE);
        }
        self.follow_skip();
        let overflows = self.is_full || limits::overflows(&self.limits, &self.current);
        // What is consumed again aside must get to its end: it takes the place of as many rows.
        // So must the first rows of a segment find room: what is fattest is sealed for them.
        let waits = self.memory_pressed && limits::holds_anything(&self.current);
        if (waits || overflows) && self.swap.is_none() {
            self.status.phase(Phase::Holding);
            self.memory_pressed = !self.reserve();
            return Step::Wait(if overflows { IDLE } else { MEMORY_RETRY });
        }
        if let Some(left) = self.patience(now) {
            return Step::Wait(left);
        }
        if self
            .target
            .is_some_and(|target| self.current.next_offset() >= target)
        {
            return Step::Wait(self.report_at.saturating_sub(now).min(IDLE));
        }
        if now < self.fetch_at {
            return Step::Wait(self.fetch_at - now);
        }
        if !self.pending.is_empty() {
            return match self.pace.allow(self.pending.len(), now) {
                Ok(_) => Step::Feed,
                Err(wait) => Step::Wait(wait),
            };
        }
        Step::Fetch
    }

    /// What to do when the current segment is the first that is not committed and shall end.
    fn end_of_segment(&mut self, now: Duration) -> Option<Step> {
        let next = self.current.next_offset();
        if let Some(end) = self.known.ends.get(&self.current.id().sequence) {
            return Some(Step::Superseded(*end));
        }
        if now < self.report_at {
            return None;
        }
        if self.target.is_some_and(|target| next >= target) {
            return Some(Step::End("CATCH_UP"));
        }
        let age = now.saturating_sub(self.opened);
        let mut reason = limits::reached(&self.limits, &self.current, age);
        if reason.is_none() && limits::holds_anything(&self.current) {
            let key = (self.table.id, self.partition);
            if self.is_full || self.core.pressure.is_chosen(key) {
                reason = Some("SIZE");
            } else if self.must_end() {
                reason = Some("FORCED");
            }
        }
        // Messages are read as the table's new config says from the next segment on.
        let is_outdated = || is_outdated(&self.table.view(), &self.current);
        if reason.is_none() && limits::holds_anything(&self.current) && is_outdated() {
            reason = Some("CONFIG");
        }
        reason.map(|reason| match self.ends_alike(reason) {
            true => Step::End(reason),
            false => Step::Report(reason),
        })
    }

    /// Whether all replicas end the segment at the same offset by themselves.
    fn ends_alike(&self, reason: &str) -> bool {
        let by_rows = reason == limits::ROWS && limits::ends_alike(&self.limits, &self.current);
        by_rows || self.known.replicas <= 1
    }

    /// How long to wait with a complete segment for the end of the one before, or for an answer of
    /// the controller, before the segment grows past its limit.
    fn patience(&mut self, now: Duration) -> Option<Duration> {
        if self.swap.is_some() || !limits::is_complete(&self.limits, &self.current) {
            self.complete_since = None;
            return None;
        }
        let since = *self.complete_since.get_or_insert(now);
        let until = since + self.core.config.seal_patience;
        let mut left = until.saturating_sub(now);
        if self.report_at > now {
            left = left.min(self.report_at - now);
        }
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn fetched(&mut self, fetched: Result<Messages, StreamError>) {
        match fetched {
            Ok(messages) => {
                self.fetch_backoff.reset();
                self.fetched = self.fetched.max(messages.next);
                self.status.log_end(messages.log_end);
                self.pending.extend(messages.messages);
                if self.pending.is_empty() {
                    self.skip_to(self.fetched);
                }
                self.works();
            }
            Err(error) if self.passes_lost(&error) || self.passes_too_large(&error) => {
                self.fetch_at = Duration::ZERO;
            }
            Err(error) => {
                self.core.metrics.stream_errors.inc();
                let delay = match error.kind() {
                    FaultKind::Unavailable | FaultKind::Cancelled => {
                        self.fetch_backoff.next_delay()
                    }
                    _ => LONG_RETRY,
                };
                tracing::debug!(partition = self.partition, %error, ?delay, "no messages");
                // Only this one mends itself.
                if !matches!(error, StreamError::Unreachable { .. }) {
                    self.reader = None;
                }
                self.fetch_at = self.core.clock.monotonic() + delay;
                self.failed(&error);
            }
        }
        self.settle();
    }

    /// Passes offsets that the log does not hand out.
    fn skip_to(&mut self, offset: Offset) {
        let until = self.bound().map_or(offset, |bound| bound.min(offset));
        self.current.advance_to(until);
        self.table.progress.notify_waiters();
    }

    pub(super) async fn feed(&mut self) -> Result<Flow, Fault> {
        let chunk = self.next_chunk();
        if chunk.is_empty() {
            // The next message lies past the bound: what is between is not in the log.
            self.skip_to(self.fetched);
            return Ok(Flow::GoOn);
        }
        let count = chunk.len();
        let keys = self.keys.as_ref();
        let fed = self.feeder.feed(&self.core, (&self.current, keys), chunk);
        match fed.await? {
            Feeding::Taken(mut fed) => {
                let count = count - fed.rest.len();
                self.put_back(std::mem::take(&mut fed.rest));
                self.core.metrics.rows.inc_by(fed.rows);
                self.core.metrics.rejected.inc_by(fed.rejected);
                self.core.metrics.filtered.inc_by(fed.filtered);
                self.core.metrics.incomplete.inc_by(fed.incomplete);
                self.status.fed(&fed, self.core.clock.monotonic());
                self.fetch_backoff.reset();
                self.works();
                self.pace.took(count);
                self.counted.add(fed.rows, fed.rejected);
                self.check_budget();
            }
            Feeding::Full(chunk) => {
                self.put_back(chunk);
                self.is_full = true;
                return Ok(Flow::GoOn);
            }
            Feeding::Waiting(chunk, fault) => {
                self.put_back(chunk);
                let delay = self.fetch_backoff.next_delay();
                self.fetch_at = self.core.clock.monotonic() + delay;
                self.failed(&StreamError::Registry(fault.message));
                self.settle();
                return Ok(Flow::GoOn);
            }
        }
        // Behind its last row replicas have fetched more or less.
        if self.pending.is_empty() && !limits::is_complete(&self.limits, &self.current) {
            self.skip_to(self.fetched);
        }
        self.memory_pressed = !self.reserve();
        self.table.progress.notify_waiters();
        self.settle();
        Ok(Flow::GoOn)
    }

    fn next_chunk(&mut self) -> Vec<Message> {
        let room = limits::room(&self.limits, &self.current);
        let most = CHUNK_MESSAGES.min(room.max(1)).min(self.pending.len());
        let now = self.core.clock.monotonic();
        let most = self.pace.allow(most, now).unwrap_or(1);
        let bound = self.bound();
        let below = |message: &Message| bound.is_none_or(|bound| message.offset < bound);
        let count = self
            .pending
            .iter()
            .take(most)
            .take_while(|m| below(m))
            .count();
        self.pending.drain(..count).collect()
    }

    fn put_back(&mut self, chunk: Vec<Message>) {
        for message in chunk.into_iter().rev() {
            self.pending.push_front(message);
        }
    }

    /// Takes the budget for the rows in memory. `false`: there is none left.
    pub(super) fn reserve(&mut self) -> bool {
        let wanted = self.current.memory_bytes();
        let held = self.memory.as_ref().map_or(0, MemoryPermit::bytes);
        let pressure = &self.core.pressure;
        let holds = limits::holds_anything(&self.current);
        let bytes = if holds { wanted } else { 0 };
        pressure.note((self.table.id, self.partition), bytes);
        if wanted <= held {
            return true;
        }
        let fits = match &mut self.memory {
            Some(permit) => permit.try_grow(wanted - held).is_ok(),
            None => {
                self.memory = self.core.budgets.ingest.try_reserve(wanted).ok();
                self.memory.is_some()
            }
        };
        if !fits {
            pressure.relieve(self.core.budgets.ingest.limit_bytes());
        }
        fits
    }

    /// Whether the end of the log, as it was when this consumer began, is reached.
    fn settle(&mut self) {
        let now = self.core.clock.monotonic();
        let changed = self.status.settle(self.current.next_offset(), now);
        if changed {
            self.core
                .ready
                .consumer_settled(self.table.id, self.partition);
            self.core.heart.hurry();
        }
    }
}
