//! What a consumer tells about itself: in heartbeats, and through them in `tannin table status`.

use std::time::Duration;

use schemas::proto::ConsumerState;
use schemas::{Fault, FaultKind, Offset};
use stream::StreamError;

use super::Runner;
use super::feeder::Fed;
use crate::view::ConsumerStatus;

/// A fetch without messages returns after so long, to look whether the segment is old enough.
pub(super) const FETCH_WAIT: Duration = Duration::from_millis(500);
/// A stream that failed for so long does not keep the server from being ready.
const FAILING_LONG: Duration = Duration::from_secs(5);
/// The rate is an average over about so long.
const RATE_WINDOW: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Consuming,
    Holding,
    CatchingUp,
    Paused,
    Error,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Consuming => "CONSUMING",
            Self::Holding => "HOLDING",
            Self::CatchingUp => "CATCHING_UP",
            Self::Paused => "PAUSED",
            Self::Error => "ERROR",
        }
    }
}

#[derive(Debug)]
pub(super) struct Status {
    phase: Phase,
    detail: String,
    log_end: Option<Offset>,
    /// The end of the log when it was first seen.
    settles_at: Option<Offset>,
    settled: bool,
    hidden: bool,
    last_rejection: String,
    /// Since when nothing but errors came from the stream.
    failing_since: Option<Duration>,
    is_final: bool,
    newest_ms: i64,
    rate: f64,
    counted: u64,
    counted_since: Option<Duration>,
}

impl Status {
    pub(super) fn new(hidden: bool) -> Self {
        Self {
            phase: Phase::Consuming,
            detail: String::new(),
            log_end: None,
            settles_at: None,
            settled: false,
            hidden,
            last_rejection: String::new(),
            failing_since: None,
            is_final: false,
            newest_ms: 0,
            rate: 0.0,
            counted: 0,
            counted_since: None,
        }
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            self.detail.clear();
        }
    }

    pub(super) fn failed(&mut self, error: &StreamError, now: Duration) {
        self.phase = Phase::Error;
        self.detail = schemas::fault::chain(error);
        self.failing_since.get_or_insert(now);
        self.is_final = error.kind() != FaultKind::Unavailable;
    }

    pub(super) fn works(&mut self) {
        self.failing_since = None;
        self.is_final = false;
        self.phase(Phase::Consuming);
    }

    pub(super) fn broken(&mut self, fault: &Fault) {
        self.phase = Phase::Error;
        self.detail.clone_from(&fault.message);
    }

    pub(super) fn log_end(&mut self, log_end: Option<Offset>) {
        self.log_end = log_end.or(self.log_end);
        self.settles_at = self.settles_at.or(log_end);
    }

    pub(super) fn fed(&mut self, fed: &Fed, now: Duration) {
        if let Some(reason) = &fed.last_rejection {
            self.last_rejection.clone_from(reason);
        }
        self.counted += fed.rows + fed.rejected;
        self.rate_at(now);
    }

    fn rate_at(&mut self, now: Duration) {
        let since = *self.counted_since.get_or_insert(now);
        let elapsed = now.saturating_sub(since);
        if elapsed >= RATE_WINDOW {
            self.rate = self.counted as f64 / elapsed.as_secs_f64();
            self.counted = 0;
            self.counted_since = Some(now);
        }
    }

    /// `true` the first time that nothing is to be waited for any more: the end of the log is
    /// reached, or an operator must do something first.
    pub(super) fn settle(&mut self, next: Offset, now: Duration) -> bool {
        let reached = self.settles_at.is_some_and(|end| next >= end);
        let failing = self
            .failing_since
            .is_some_and(|since| self.is_final || now.saturating_sub(since) >= FAILING_LONG);
        let stuck = failing || self.phase == Phase::Paused;
        let first = !self.settled && (reached || stuck);
        self.settled |= first;
        if reached {
            self.hidden = false;
        }
        first
    }
}

impl Runner {
    pub(super) fn publish_status(&mut self) {
        let now = self.core.clock.monotonic();
        self.status.rate_at(now);
        let newest_ms = self.current.view().newest_ingest_ms();
        self.status.newest_ms = self.status.newest_ms.max(newest_ms);
        let run = self.table.view();
        let run = run.run(self.partition).iter();
        let (rows, rejected) = run.fold((0, 0), |(rows, rejected), segment| {
            let ledger = segment.ledger();
            (rows + ledger.rows, rejected + ledger.rejected)
        });
        let detail = match self.status.detail.is_empty() {
            true => self.trouble.lock().clone().unwrap_or_default(),
            false => self.status.detail.clone(),
        };
        let state = ConsumerState {
            table_id: self.table.id.to_bytes(),
            partition: self.partition,
            sequence: self.current.id().sequence,
            state: self.status.phase.name().to_owned(),
            detail,
            next_offset: self.current.next_offset(),
            log_end_offset: self.status.log_end.unwrap_or(-1),
            rows,
            rejected: self.known.rejected + rejected,
            last_rejection: self.status.last_rejection.clone(),
            newest_event_ms: self.status.newest_ms,
            rows_per_second: self.status.rate,
        };
        let hidden = self.status.hidden;
        self.table
            .report(self.partition, ConsumerStatus { state, hidden });
    }
}
