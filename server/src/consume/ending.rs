//! How a segment ends: reported, frozen, replaced by what another replica committed.

use std::sync::Arc;
use std::time::Duration;

use runtime::CancellationToken;
use schemas::ingest_event::EventKind;
use schemas::proto::SegmentConsumedReply;
use schemas::proto::segment_consumed_reply::Action;
use schemas::segment::display_name;
use schemas::table::topic_partition;
use schemas::{Fault, Offset, SegmentId};
use segment::MutableSegment;
use tokio::sync::mpsc;

use super::completion::{Completion, Finished, Frozen, consumed_request};
use super::feeder::Feeder;
use super::pressure::Relief;
use super::status::Phase;
use super::{Flow, Runner, Swap, open_segment};
use crate::store::segment_fault;

/// How long the end of a segment may be discussed before consumption goes on.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

impl Runner {
    /// Freezes the segment at once. Should another replica have ended it elsewhere after all, its
    /// completion gets to know, as it does when another commits first.
    pub(super) fn end(&mut self, reason: &'static str) -> Result<Flow, Fault> {
        self.freeze(None, self.current.next_offset(), reason)?;
        Ok(Flow::GoOn)
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
            _ => self.freeze(Some(reply), offset, reason)?,
        }
        Ok(Flow::GoOn)
    }

    /// Puts an empty segment of the table's present config in the place of the current one.
    pub(super) fn renew(&mut self) -> Result<Flow, Fault> {
        let old = Arc::clone(&self.current);
        let spec = Arc::clone(&self.table.view().spec);
        let (id, start) = (old.id(), old.start_offset());
        let new = open_segment(&spec, id, old.name().to_owned(), start)?;
        new.succeed(&old);
        if let Some(keys) = &self.keys {
            keys.open(&new);
        }
        self.take_place(&old, new);
        let (topic, _) = topic_partition(id.partition);
        self.feeder = Feeder::new(spec, topic);
        Ok(Flow::GoOn)
    }

    /// Shows a segment of the same offsets in the place of the current one.
    pub(super) fn take_place(&mut self, old: &Arc<MutableSegment>, new: Arc<MutableSegment>) {
        self.current = Arc::clone(&new);
        self.table.publish(|view| {
            let mut run = view.run(self.partition).to_vec();
            // Not while it is consumed again, aside.
            if let Some(own) = run.iter_mut().find(|own| Arc::ptr_eq(own, old)) {
                *own = new;
                view.set_run(self.partition, run);
            }
        });
    }

    /// The current segment takes no more rows; consumption goes on into the next.
    fn freeze(
        &mut self,
        reply: Option<SegmentConsumedReply>,
        end: Offset,
        reason: &'static str,
    ) -> Result<(), Fault> {
        self.tell_absent(&self.current, end);
        let frozen = self.frozen(end, reason);
        let spec = Arc::clone(&self.table.view().spec);
        let id = self.current.id();
        let next = SegmentId {
            sequence: id.sequence + 1,
            ..id
        };
        self.open_next(next, &spec, end)?;
        if let Some(keys) = &self.keys {
            keys.open(&self.current);
        }
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
            // Before the next segment has rows.
            keys: self.keys.as_ref().map(|keys| keys.at_end(&self.current)),
            created_ms: self.created_ms,
            reason,
            memory: self.memory.take(),
            relief: self.relief(),
        }
    }

    /// When it is the partition that seals so that others find memory.
    fn relief(&self) -> Option<Relief> {
        let pressure = &self.core.pressure;
        let relief = pressure.relief((self.table.id, self.partition));
        if relief.is_some() {
            let span = (self.current.start_offset(), self.current.next_offset());
            let text = "the memory for consuming rows is used up, and this partition held most";
            self.event(EventKind::SealedEarly, span, text.to_owned());
        }
        relief
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
            let (topic, _) = topic_partition(id.partition);
            self.feeder = Feeder::new(Arc::clone(spec), topic);
        }
        self.opened = self.core.clock.monotonic();
        self.created_ms = now_ms;
        self.limits = self.known.limits;
        self.memory = None;
        self.memory_pressed = false;
        self.is_full = false;
        self.rolled_up = 0;
        self.core.pressure.note((self.table.id, self.partition), 0);
        self.target = None;
        self.superseded = false;
        self.report_at = Duration::ZERO;
        Ok(())
    }

    fn complete(&mut self, frozen: Frozen, reply: Option<SegmentConsumedReply>) {
        let completion = Completion::new(
            Arc::clone(&self.core),
            Arc::clone(&self.table),
            frozen,
            Arc::clone(&self.trouble),
        );
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
        self.complete(frozen, Some(reply));
    }

    pub(super) fn supersede(&mut self, end: Offset) -> Result<Flow, Fault> {
        let offset = self.current.next_offset();
        let keep = SegmentConsumedReply {
            action: Action::Keep.into(),
            offset: end,
            ..SegmentConsumedReply::default()
        };
        if offset == end {
            self.freeze(Some(keep), end, "COMMITTED")?;
        } else {
            self.await_replacement(keep, "COMMITTED");
        }
        Ok(Flow::GoOn)
    }

    pub(super) fn finish(&mut self, finished: Option<Finished>) -> Result<Flow, Fault> {
        self.completion = None;
        *self.trouble.lock() = None;
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
            let shown = self.table.publish(|view| view.seal(sealed));
            self.core.indexer.shown(&self.table.view(), id);
            self.core.heart.hurry();
            return shown.map_err(|error| segment_fault(&error));
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
        // Rows are judged again, beside what was committed.
        self.keys = None;
        self.swap = Some(Swap { sealed, seen });
        self.status.phase(Phase::CatchingUp);
        Ok(())
    }

    pub(super) fn show_swap(&mut self) -> Result<Flow, Fault> {
        if let Some(Swap { sealed, .. }) = self.swap.take() {
            let id = sealed.id();
            let (partition, current) = (self.partition, Arc::clone(&self.current));
            let keys = self.keys.clone();
            let shown = self.table.publish(|view| {
                view.remove_keys(partition);
                view.add_sealed(sealed)?;
                view.set_run(partition, vec![current]);
                keys.map_or(Ok(()), |keys| view.set_keys(partition, keys))
            });
            self.core.indexer.shown(&self.table.view(), id);
            self.core.heart.hurry();
            shown.map_err(|error| segment_fault(&error))?;
        }
        Ok(Flow::GoOn)
    }
}
