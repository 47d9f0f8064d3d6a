//! What operators and the table's rules say about a partition: seal now, pass offsets over, stop.
//!
//! Invariant: offsets that are passed over are told of as an event, and stay accounted for in the
//! segment's ledger.

use schemas::Offset;
use schemas::cluster::{CommitJob, Skip};
use schemas::ingest_event::{Event, EventKind};
use schemas::table::{IngestRules, LostOffsets, StreamKind};
use segment::{MutableSegment, RejectedRow};
use stream::StreamError;
use uuid::Uuid;

use super::{Runner, limits};

/// Of fewer messages no share is taken.
const SHARE_OF_AT_LEAST: u64 = 100;

/// Messages of a partition that count for the budget of rejections: since the consumer began, or
/// since an operator let it go on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    rejected: u64,
    all: u64,
}

impl Counted {
    pub(super) fn add(&mut self, rows: u64, rejected: u64) {
        self.rejected += rejected;
        self.all += rows + rejected;
    }

    /// Why the partition must stop.
    pub(super) fn over(&self, rules: &IngestRules) -> Option<String> {
        let Self { rejected, all } = *self;
        let by_count = rules.rejected_max.filter(|most| rejected > *most);
        let share = rejected as f64 / all.max(1) as f64;
        let by_share = rules.rejected_share_max;
        let by_share = by_share.filter(|most| all >= SHARE_OF_AT_LEAST && share > *most);
        let limit = match (by_count, by_share) {
            (Some(most), _) => format!("tannin.ingest.rejectedRowsMax allows {most}"),
            (None, Some(most)) => {
                format!("tannin.ingest.rejectedShareMax allows {}%", most * 100.0)
            }
            (None, None) => return None,
        };
        Some(format!(
            "{rejected} of {all} messages were rejected, {limit}: see sys.rejected_rows, mend what \
             is wrong and resume the table"
        ))
    }
}

impl Runner {
    pub(super) fn event(&self, kind: EventKind, (from, to): (Offset, Offset), text: String) {
        self.core.events.note(Event {
            time_ms: self.core.clock.now_ms(),
            table: self.table.view().spec.name.to_string(),
            partition: self.partition,
            kind,
            from,
            to,
            text,
        });
    }

    /// The stream, or what is needed to read it, does not answer.
    pub(super) fn failed(&mut self, error: &StreamError) {
        if self.status.failed(error, self.core.clock.monotonic()) {
            let at = self.current.next_offset();
            self.event(EventKind::Stopped, (at, at), schemas::fault::chain(error));
        }
    }

    pub(super) fn works(&mut self) {
        if self.status.works() {
            let at = self.current.next_offset();
            self.event(EventKind::Recovered, (at, at), String::new());
        }
    }

    /// The state has changed: what is new of the orders.
    pub(super) fn read_orders(&mut self, was_paused: bool) {
        let at = self.current.next_offset();
        let resumed = self.known.orders.last.as_ref().map(|note| note.at_ms);
        if self.resumed != resumed {
            self.resumed = resumed;
            self.counted = Counted::default();
            self.over_budget = None;
        }
        let note = self.known.orders.last.as_ref();
        let comment = note.map(|note| note.comment.clone()).unwrap_or_default();
        match (was_paused, self.known.paused) {
            (false, true) => self.event(EventKind::Paused, (at, at), comment),
            (true, false) => self.event(EventKind::Resumed, (at, at), comment),
            _ => {}
        }
        if let Some(job) = self.newest_commit()
            && !limits::holds_anything(&self.current)
        {
            self.declined = Some(job);
        }
    }

    /// The newest order to seal the segment that consumes now.
    fn newest_commit(&self) -> Option<Uuid> {
        let sequence = self.current.id().sequence;
        let named = |job: &&CommitJob| job.segments.contains(&(self.partition, sequence));
        let newest = self.known.orders.commits.iter().rev().find(named);
        newest.map(|job| job.id)
    }

    /// Its rows shall be durable now, however few they are.
    pub(super) fn must_end(&self) -> bool {
        let ordered = self.newest_commit();
        self.known.paused || (ordered.is_some() && ordered != self.declined)
    }

    /// The offset that consumption does not pass yet: what is ordered begins there.
    pub(super) fn bound(&self) -> Option<Offset> {
        let next = self.current.next_offset();
        let skip = self.known.orders.skip_after(self.partition, next);
        let skip = skip.map(|skip| skip.from).filter(|from| *from > next);
        match (self.target, skip) {
            (Some(target), Some(from)) => Some(target.min(from)),
            (target, from) => target.or(from),
        }
    }

    /// Passes over what an operator has ordered to, when it is next.
    pub(super) fn follow_skip(&mut self) {
        let next = self.current.next_offset();
        let skip = self.known.orders.skip_after(self.partition, next);
        if let Some(Skip { from, to, .. }) = skip
            && (from..to).contains(&next)
            && self.target.is_none_or(|target| next < target)
        {
            let text = "an operator let consumption go on here".to_owned();
            self.event(EventKind::Skipped, (next, to), text);
            self.pass_over(to);
        }
    }

    fn pass_over(&mut self, to: Offset) {
        self.pending.retain(|message| message.offset >= to);
        if self.fetched < to {
            self.fetched = to;
            self.reader = None;
        }
        let until = self.target.map_or(to, |target| target.min(to));
        self.current.advance_to(until);
        self.table.progress.notify_waiters();
    }

    /// Whether the table's rules say how to go on after `error`, which was done then.
    pub(super) fn passes_lost(&mut self, error: &StreamError) -> bool {
        let &StreamError::OffsetOutOfRange {
            wanted, start, end, ..
        } = error
        else {
            return false;
        };
        // Past the end it is another log: its offsets mean other messages.
        if wanted >= start || start < 0 {
            return false;
        }
        let to = match self.known.rules.lost_offsets {
            LostOffsets::Stop => return false,
            LostOffsets::Earliest => start,
            LostOffsets::Latest => end.max(start),
        };
        let next = self.current.next_offset();
        let text = format!("the log begins at offset {start} now; consumption goes on at {to}");
        self.event(EventKind::Lost, (next, to), text);
        self.pass_over(to);
        true
    }

    /// A message that the client cannot take is rejected when a reader that began with it has met
    /// it too: before that, what it names may not be what it met.
    pub(super) fn passes_too_large(&mut self, error: &StreamError) -> bool {
        let &StreamError::TooLarge { offset, .. } = error else {
            return false;
        };
        self.reader = None;
        let is_sure = offset == self.fetched && self.too_large.replace(offset) == Some(offset);
        if is_sure {
            let reason = schemas::fault::chain(error);
            self.core.metrics.rejected.inc();
            self.counted.add(0, 1);
            self.status.rejected(&reason);
            self.current.reject(RejectedRow {
                partition: self.partition,
                offset,
                time_ms: self.core.clock.now_ms(),
                reason,
                payload: Vec::new(),
            });
            self.pass_over(offset + 1);
            self.check_budget();
        }
        true
    }

    /// After messages were taken: whether too many of them are bad.
    pub(super) fn check_budget(&mut self) {
        if self.over_budget.is_none()
            && let Some(why) = self.counted.over(&self.known.rules)
        {
            let at = self.current.next_offset();
            self.event(EventKind::Stopped, (at, at), why.clone());
            self.over_budget = Some(why);
        }
    }

    /// A segment with offsets that the log did not hand out.
    pub(super) fn tell_absent(&self, segment: &MutableSegment, end: Offset) {
        let absent = segment.ledger().absent;
        // Offsets of files are positions of bytes.
        let stream = self.known.stream.as_ref();
        let counts = stream.is_some_and(|stream| stream.kind == StreamKind::Kafka);
        if absent > 0 && counts {
            let text = format!(
                "{absent} offsets of this segment were not handed out: control records, aborted \
                 transactions, compaction, or what was passed over"
            );
            self.event(EventKind::Absent, (segment.start_offset(), end), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_count_or_a_share() {
        let counted = Counted {
            rejected: 6,
            all: 120,
        };
        let rules = |rejected_max, rejected_share_max| IngestRules {
            rejected_max,
            rejected_share_max,
            ..IngestRules::default()
        };
        assert!(counted.over(&rules(None, None)).is_none());
        assert!(counted.over(&rules(Some(6), Some(0.05))).is_none());
        let why = counted.over(&rules(Some(5), None)).unwrap();
        assert!(why.starts_with("6 of 120 messages were rejected"), "{why}");
        assert!(counted.over(&rules(None, Some(0.04))).is_some());
        let few = Counted {
            rejected: 9,
            all: 9,
        };
        assert!(few.over(&rules(None, Some(0.04))).is_none());
    }
}
