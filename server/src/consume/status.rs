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
    last_failure: Option<std::mem::Discriminant<StreamError>>,
    /// By the table's own rules, until an operator lets it go on.
    stopped: bool,
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
            last_failure: None,
            stopped: false,
            newest_ms: 0,
            rate: 0.0,
            counted: 0,
            counted_since: None,
        }
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        if self.phase != phase || self.stopped {
            self.phase = phase;
            self.stopped = false;
            self.detail.clear();
        }
    }

    /// `true`: it is new.
    pub(super) fn failed(&mut self, error: &StreamError, now: Duration) -> bool {
        let kind = std::mem::discriminant(error);
        let is_new = self.phase != Phase::Error || self.last_failure.replace(kind) != Some(kind);
        self.last_failure = Some(kind);
        self.phase = Phase::Error;
        self.detail = schemas::fault::chain(error);
        self.failing_since.get_or_insert(now);
        self.is_final = error.kind() != FaultKind::Unavailable;
        is_new
    }

    /// `true`: it did not before.
    pub(super) fn works(&mut self) -> bool {
        let failed = self.failing_since.take().is_some();
        self.is_final = false;
        self.phase(Phase::Consuming);
        failed
    }

    pub(super) fn stopped(&mut self, why: &str) {
        self.phase = Phase::Error;
        why.clone_into(&mut self.detail);
        self.stopped = true;
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

    pub(super) fn rejected(&mut self, reason: &str) {
        reason.clone_into(&mut self.last_rejection);
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
        let stuck = failing || self.stopped || self.phase == Phase::Paused;
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
        let detail = self.detail();
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
            declined_commit: self.declined.map(|job| job.to_string()).unwrap_or_default(),
        };
        let hidden = self.status.hidden;
        self.table
            .report(self.partition, ConsumerStatus { state, hidden });
    }

    /// What is wrong; otherwise what keeps the partition from being faster.
    fn detail(&self) -> String {
        if !self.status.detail.is_empty() {
            return self.status.detail.clone();
        }
        if let Some(trouble) = &*self.trouble.lock() {
            return trouble.clone();
        }
        match (self.status.phase, self.pace.rate()) {
            (Phase::Holding, _) if self.memory_pressed => {
                let mb = self.core.budgets.ingest.limit_bytes() >> 20;
                format!(
                    "the {mb} MiB for consuming rows are used up: waits until a segment is sealed"
                )
            }
            (Phase::Consuming, Some(rate)) if !self.pending.is_empty() => {
                format!("the table's config allows {rate} messages a second here")
            }
            _ => String::new(),
        }
    }
}
