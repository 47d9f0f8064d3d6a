//! The steps of a consumer. Each is either without an await or leaves nothing half done.

use std::sync::Arc;
use std::time::Duration;

use runtime::{CancellationToken, MemoryPermit};
use schemas::proto::SegmentConsumedReply;
use schemas::proto::segment_consumed_reply::Action;
use schemas::segment::display_name;
use schemas::{Fault, FaultKind, Offset, Partition, SegmentId};
use stream::{Message, Messages, PartitionReader, StreamError};
use tokio::sync::mpsc;

use super::completion::{Completion, Finished, Frozen, consumed_request};
use super::feeder::{Feeder, Feeding};
use super::status::Phase;
use super::{Flow, Runner, Step, Swap, limits, open_segment};
use crate::Core;
use crate::view::Table;

/// Messages that are decoded at once; not more than a batch has rows.
const CHUNK_MESSAGES: usize = ingest::BATCH_ROWS_MAX;
/// How long the end of a segment may be discussed before consumption goes on.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long consumption pauses at a segment's limit when it cannot be ended at once.
const PATIENCE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_millis(500);
/// After a fault that only an operator can mend.
const LONG_RETRY: Duration = Duration::from_secs(30);

/// Opens the reader if there is none and waits for messages. Cancel-safe.
pub(super) async fn fetch(
    core: &Core,
    table: &Table,
    partition: Partition,
    reader: &mut Option<Box<dyn PartitionReader>>,
    from: Offset,
    wait: Duration,
) -> Result<Messages, StreamError> {
    let reader = match reader {
        Some(reader) => reader,
        None => {
            let spec = Arc::clone(&table.view().spec);
            let Some(stream) = &spec.stream else {
                return Err(StreamError::Client("the table has no stream".to_owned()));
            };
            let source = table.source(stream, core)?;
            reader.insert(source.open(&stream.topic, partition, from).await?)
        }
    };
    reader.fetch(wait).await
}

impl Runner {
    pub(super) fn next_step(&mut self) -> Step {
        let now = self.core.clock.monotonic();
        if let Some(swap) = &self.swap
            && self.current.next_offset() >= swap.seen
        {
            return Step::ShowSwap;
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
            return Step::Wait(IDLE);
        }
        let limits = self.current.spec().flush;
        let is_full = self.memory_pressed || limits::overflows(&limits, &self.current);
        // What is consumed again aside must get to its end: it takes the place of as many rows.
        if is_full && self.swap.is_none() {
            self.status.phase(Phase::Holding);
            self.memory_pressed = !self.reserve();
            return Step::Wait(IDLE);
        }
        if let Some(left) = self.patience(now) {
            return Step::Wait(left);
        }
        if !self.pending.is_empty() {
            return Step::Feed;
        }
        if now < self.fetch_at {
            return Step::Wait(self.fetch_at - now);
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
            return Some(Step::Report("CATCH_UP"));
        }
        let limits = self.current.spec().flush;
        let age = now.saturating_sub(self.opened);
        let mut reason = limits::reached(&limits, &self.current, age);
        if self.memory_pressed && limits::holds_anything(&self.current) {
            reason = reason.or(Some("SIZE"));
        }
        reason.map(Step::Report)
    }

    /// How long to wait with a complete segment for the end of the one before, or for an answer of
    /// the controller, before the segment grows past its limit.
    fn patience(&mut self, now: Duration) -> Option<Duration> {
        let limits = self.current.spec().flush;
        if self.swap.is_some() || !limits::is_complete(&limits, &self.current) {
            self.complete_since = None;
            return None;
        }
        let since = *self.complete_since.get_or_insert(now);
        let until = since + PATIENCE;
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
                self.status.phase(Phase::Consuming);
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
                self.status.failed(&error);
            }
        }
        self.settle();
    }

    /// Passes offsets that the log does not hand out.
    fn skip_to(&mut self, offset: Offset) {
        let until = self.target.map_or(offset, |target| target.min(offset));
        self.current.advance_to(until);
        self.table.progress.notify_waiters();
    }

    pub(super) async fn feed(&mut self) -> Result<Flow, Fault> {
        let chunk = self.next_chunk();
        if chunk.is_empty() {
            // The next message lies past the target: what is between is not in the log.
            let target = self.target.unwrap_or(self.fetched);
            self.skip_to(target);
            return Ok(Flow::GoOn);
        }
        match self.feeder.feed(&self.core, &self.current, chunk).await? {
            Feeding::Taken(fed) => {
                self.core.metrics.rows.inc_by(fed.rows);
                self.core.metrics.rejected.inc_by(fed.rejected);
                self.status.fed(&fed, self.core.clock.monotonic());
            }
            Feeding::Full(chunk) => {
                self.put_back(chunk);
                self.memory_pressed = true;
                return Ok(Flow::GoOn);
            }
        }
        if self.pending.is_empty() {
            self.skip_to(self.fetched);
        }
        self.memory_pressed = !self.reserve();
        self.table.progress.notify_waiters();
        self.settle();
        Ok(Flow::GoOn)
    }

    fn next_chunk(&mut self) -> Vec<Message> {
        let room = limits::room(&self.current.spec().flush, &self.current);
        let most = CHUNK_MESSAGES.min(room.max(1)).min(self.pending.len());
        let below = |message: &Message| self.target.is_none_or(|target| message.offset < target);
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
    fn reserve(&mut self) -> bool {
        let wanted = self.current.memory_bytes();
        let held = self.memory.as_ref().map_or(0, MemoryPermit::bytes);
        if wanted <= held {
            return true;
        }
        match &mut self.memory {
            Some(permit) => permit.try_grow(wanted - held).is_ok(),
            None => {
                self.memory = self.core.ingest_memory.try_reserve(wanted).ok();
                self.memory.is_some()
            }
        }
    }

    /// Asks the controller how the segment ends. Without an answer consumption goes on.
    pub(super) async fn report(
        &mut self,
        reason: &'static str,
        stop: &CancellationToken,
    ) -> Result<Flow, Fault> {
        let offset = self.current.next_offset();
        let request = consumed_request(&self.core, self.current.id(), offset, reason);
        let asked = async {
            let controller = self.core.network.controller()?;
            controller.segment_consumed(request).await
        };
        let limited = tokio::time::timeout(REPORT_TIMEOUT, asked);
        let Some(answer) = stop.run_until_cancelled(limited).await else {
            return Ok(Flow::GoOn);
        };
        match answer {
            Ok(Ok(reply)) => {
                self.report_backoff.reset();
                self.answered(reply, offset, reason)
            }
            other => {
                let cause = match other {
                    Ok(Err(fault)) => fault.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                let delay = self.report_backoff.next_delay();
                tracing::debug!(segment = %self.current.id(), cause, ?delay, "cannot report");
                self.report_at = self.core.clock.monotonic() + delay;
                Ok(Flow::GoOn)
            }
        }
    }

    fn answered(
        &mut self,
        reply: SegmentConsumedReply,
        offset: Offset,
        reason: &'static str,
    ) -> Result<Flow, Fault> {
        let segment = self.current.id();
        tracing::debug!(%segment, offset, reason, action = ?reply.action(), "reported");
        match reply.action() {
            Action::Fenced => return Ok(Flow::Fenced),
            Action::CatchUp if reply.offset > offset => {
                self.target = Some(reply.offset);
                self.status.phase(Phase::CatchingUp);
            }
            Action::Discard => self.await_replacement(reply, reason),
            // With our offset or not: the rows up to it stay visible, the next ones follow.
            _ => self.freeze(reply, offset, reason)?,
        }
        Ok(Flow::GoOn)
    }

    /// The current segment takes no more rows; consumption goes on into the next.
    fn freeze(
        &mut self,
        reply: SegmentConsumedReply,
        end: Offset,
        reason: &'static str,
    ) -> Result<(), Fault> {
        let frozen = self.frozen(end, reason);
        let spec = Arc::clone(&self.table.view().spec);
        let id = self.current.id();
        let next = SegmentId {
            sequence: id.sequence + 1,
            ..id
        };
        self.open_next(next, &spec, end)?;
        let opened = Arc::clone(&self.current);
        self.table.publish(|view| {
            let mut run = view.run(id.partition).to_vec();
            run.push(opened);
            view.set_run(id.partition, run);
        });
        self.core.heart.hurry();
        self.complete(frozen, reply);
        Ok(())
    }

    fn frozen(&mut self, end: Offset, reason: &'static str) -> Frozen {
        Frozen {
            ledger: self.current.ledger(),
            segment: Arc::clone(&self.current),
            end,
            created_ms: self.created_ms,
            reason,
            memory: self.memory.take(),
        }
    }

    fn open_next(
        &mut self,
        id: SegmentId,
        spec: &Arc<schemas::TableSpec>,
        start: Offset,
    ) -> Result<(), Fault> {
        let now_ms = self.core.clock.now_ms();
        let name = display_name(spec, id, now_ms);
        self.current = open_segment(spec, id, name, start)?;
        if !Arc::ptr_eq(self.feeder.spec(), spec) {
            self.feeder = Feeder::new(Arc::clone(spec));
        }
        self.opened = self.core.clock.monotonic();
        self.created_ms = now_ms;
        self.memory = None;
        self.memory_pressed = false;
        self.target = None;
        self.superseded = false;
        self.report_at = Duration::ZERO;
        Ok(())
    }

    fn complete(&mut self, frozen: Frozen, reply: SegmentConsumedReply) {
        let completion = Completion::new(Arc::clone(&self.core), Arc::clone(&self.table), frozen);
        let (done, finished) = mpsc::channel(1);
        self.completion = Some(finished);
        self.tasks.spawn("complete a segment", |stop| async move {
            if let Some(outcome) = stop.run_until_cancelled(completion.run(reply)).await {
                // Nobody listens when the consumer has ended.
                let _ = done.send(outcome).await;
            }
        });
    }

    /// Our rows of the segment are not those that were committed.
    fn await_replacement(&mut self, reply: SegmentConsumedReply, reason: &'static str) {
        let frozen = self.frozen(self.current.next_offset(), reason);
        self.superseded = true;
        self.complete(frozen, reply);
    }

    pub(super) fn supersede(&mut self, end: Offset) -> Result<Flow, Fault> {
        let offset = self.current.next_offset();
        let keep = SegmentConsumedReply {
            action: Action::Keep.into(),
            offset: end,
            ..SegmentConsumedReply::default()
        };
        if offset == end {
            self.freeze(keep, end, "COMMITTED")?;
        } else {
            self.await_replacement(keep, "COMMITTED");
        }
        Ok(Flow::GoOn)
    }

    pub(super) fn finish(&mut self, finished: Option<Finished>) -> Result<Flow, Fault> {
        self.completion = None;
        match finished {
            Some(Finished::Committed) => Ok(Flow::GoOn),
            Some(Finished::Replaced { sealed, end }) => {
                self.replace(sealed, end)?;
                Ok(Flow::GoOn)
            }
            Some(Finished::Fenced) => Ok(Flow::Fenced),
            None => Err(Fault::internal("the completion of a segment broke off")),
        }
    }

    /// Takes the committed segment. When it ends elsewhere than ours did, what follows it is
    /// consumed again, aside, until it has all that queries saw.
    fn replace(&mut self, sealed: Arc<segment::SealedSegment>, end: Offset) -> Result<(), Fault> {
        let id = sealed.id();
        if self.current.id().sequence > id.sequence && self.current.start_offset() == end {
            self.table.publish(|view| view.seal(sealed));
            self.core.heart.hurry();
            return Ok(());
        }
        let seen = self.current.next_offset();
        tracing::info!(segment = %id, end, seen, "committed by another replica at another offset");
        let next = SegmentId {
            sequence: id.sequence + 1,
            ..id
        };
        let spec = Arc::clone(&self.table.view().spec);
        self.open_next(next, &spec, end)?;
        self.reader = None;
        self.pending.clear();
        self.fetched = end;
        self.swap = Some(Swap { sealed, seen });
        self.status.phase(Phase::CatchingUp);
        Ok(())
    }

    pub(super) fn show_swap(&mut self) -> Flow {
        if let Some(Swap { sealed, .. }) = self.swap.take() {
            let (partition, current) = (self.partition, Arc::clone(&self.current));
            self.table.publish(|view| {
                view.add_sealed(sealed);
                view.set_run(partition, vec![current]);
            });
            self.core.heart.hurry();
        }
        Flow::GoOn
    }

    /// Whether the end of the log, as it was when this consumer began, is reached.
    fn settle(&mut self) {
        let changed = self.status.settle(self.current.next_offset());
        if changed {
            self.core
                .ready
                .consumer_settled(self.table.id, self.partition);
            self.core.heart.hurry();
        }
    }
}
