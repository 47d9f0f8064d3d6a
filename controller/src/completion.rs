//! The completion protocol: which replica commits a consuming segment, and at which offset.
//!
//! The first replica that reports becomes the committer with its offset; the others come up to that
//! offset and wait. A committer that is dead, or silent too long, loses its turn to the next that
//! reports, under a higher epoch. The state is only in memory: losing it starts the protocol again,
//! and the epoch in the catalog fences whoever still acts on the old one.
//!
//! Invariant: of two elections for a segment the one with the higher epoch stands.
//!
//! Here is only the decision; the epoch comes from the caller, who makes it durable first.

use std::collections::HashMap;
use std::time::Duration;

use schemas::{InstanceId, Offset, SegmentId, TableId};

/// How long a committer may build before it asks for leave to write.
pub(crate) const BUILD_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may upload then. Long: a slow store must not make replicas take turns for ever.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(crate) struct Completion {
    elections: HashMap<SegmentId, Election>,
}

#[derive(Clone, Debug)]
struct Election {
    committer: InstanceId,
    offset: Offset,
    epoch: u64,
    ends: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody commits: raise the epoch, then call [`Completion::elected`].
    Elect,
    Commit {
        offset: Offset,
        epoch: u64,
    },
    CatchUp {
        offset: Offset,
    },
    Hold,
}

impl Completion {
    pub(crate) fn consumed(
        &mut self,
        id: SegmentId,
        reporter: &InstanceId,
        offset: Offset,
        now: Duration,
        may_live: impl Fn(&InstanceId) -> bool,
    ) -> Verdict {
        let stands = |e: &&Election| e.ends > now && may_live(&e.committer);
        let Some(election) = self.elections.get(&id).filter(stands) else {
            return Verdict::Elect;
        };
        if election.committer == *reporter {
            // Its process may have started again and consumed to another offset.
            if election.offset != offset {
                return Verdict::Elect;
            }
            return Verdict::Commit {
                offset,
                epoch: election.epoch,
            };
        }
        if offset < election.offset {
            Verdict::CatchUp {
                offset: election.offset,
            }
        } else {
            Verdict::Hold
        }
    }

    pub(crate) fn elected(
        &mut self,
        id: SegmentId,
        committer: InstanceId,
        offset: Offset,
        epoch: u64,
        now: Duration,
    ) -> Verdict {
        if let Some(newer) = self.elections.get(&id).filter(|e| e.epoch > epoch) {
            let (behind, offset) = (offset < newer.offset, newer.offset);
            return if behind {
                Verdict::CatchUp { offset }
            } else {
                Verdict::Hold
            };
        }
        let ends = now + BUILD_PATIENCE;
        self.elections.insert(
            id,
            Election {
                committer,
                offset,
                epoch,
                ends,
            },
        );
        Verdict::Commit { offset, epoch }
    }

    /// Whether `committer` still holds the turn; gives it more time.
    pub(crate) fn start(
        &mut self,
        id: SegmentId,
        committer: &InstanceId,
        epoch: u64,
        now: Duration,
    ) -> bool {
        match self.elections.get_mut(&id) {
            Some(election) if election.committer == *committer && election.epoch == epoch => {
                election.ends = now + UPLOAD_PATIENCE;
                true
            }
            _ => false,
        }
    }

    /// Who was told to commit it.
    pub(crate) fn committer(&self, id: SegmentId) -> Option<&InstanceId> {
        self.elections.get(&id).map(|election| &election.committer)
    }

    /// Somebody was told to commit it: rows that come now are in the next one.
    pub(crate) fn is_ending(&self, id: SegmentId) -> bool {
        self.elections.contains_key(&id)
    }

    /// A commit was accepted, or refused: then only the election that it acted on is over.
    pub(crate) fn ended(&mut self, id: SegmentId, epoch: u64, accepted: bool) {
        if accepted || self.elections.get(&id).is_some_and(|e| e.epoch <= epoch) {
            self.elections.remove(&id);
        }
    }

    pub(crate) fn forget_table(&mut self, table: TableId) {
        self.elections.retain(|id, _| id.table != table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::from_secs(100);

    fn name(text: &str) -> InstanceId {
        InstanceId(text.to_owned())
    }

    fn segment() -> SegmentId {
        SegmentId {
            table: TableId::random(),
            partition: 0,
            sequence: 3,
        }
    }

    fn all_live(_: &InstanceId) -> bool {
        true
    }

    #[test]
    fn the_first_commits_the_others_follow() {
        let (mut completion, id) = (Completion::default(), segment());
        let mut report =
            |who: &str, offset| completion.consumed(id, &name(who), offset, T0, all_live);
        assert_eq!(report("a", 100), Verdict::Elect);
        let commit = Verdict::Commit {
            offset: 100,
            epoch: 1,
        };
        assert_eq!(completion.elected(id, name("a"), 100, 1, T0), commit);
        let mut report =
            |who: &str, offset| completion.consumed(id, &name(who), offset, T0, all_live);
        assert_eq!(report("a", 100), commit, "asked again");
        assert_eq!(report("b", 90), Verdict::CatchUp { offset: 100 });
        assert_eq!(report("b", 100), Verdict::Hold);
        assert_eq!(report("c", 120), Verdict::Hold);
        completion.forget_table(id.table);
        let anew = completion.consumed(id, &name("b"), 90, T0, all_live);
        assert_eq!(anew, Verdict::Elect);
    }

    #[test]
    fn a_silent_committer_loses_its_turn() {
        let (mut completion, id) = (Completion::default(), segment());
        completion.elected(id, name("a"), 100, 1, T0);
        let later = T0 + BUILD_PATIENCE;
        let verdict = completion.consumed(id, &name("b"), 90, later, all_live);
        assert_eq!(verdict, Verdict::Elect);
        completion.elected(id, name("b"), 90, 2, later);
        assert!(!completion.start(id, &name("a"), 1, later), "fenced");
        assert!(completion.start(id, &name("b"), 2, later));
        let later = later + BUILD_PATIENCE;
        let verdict = completion.consumed(id, &name("c"), 90, later, all_live);
        assert_eq!(verdict, Verdict::Hold, "uploads may take long");
        let later = later + UPLOAD_PATIENCE;
        let verdict = completion.consumed(id, &name("c"), 90, later, all_live);
        assert_eq!(verdict, Verdict::Elect, "but not for ever");
    }

    #[test]
    fn a_dead_committer_loses_its_turn_at_once() {
        let (mut completion, id) = (Completion::default(), segment());
        completion.elected(id, name("a"), 100, 1, T0);
        assert!(completion.start(id, &name("a"), 1, T0));
        let a_is_dead = |who: &InstanceId| *who != name("a");
        let verdict = completion.consumed(id, &name("b"), 90, T0, a_is_dead);
        assert_eq!(verdict, Verdict::Elect);
    }

    #[test]
    fn a_committer_that_started_again_is_elected_anew() {
        let (mut completion, id) = (Completion::default(), segment());
        completion.elected(id, name("a"), 100, 1, T0);
        let verdict = completion.consumed(id, &name("a"), 80, T0, all_live);
        assert_eq!(verdict, Verdict::Elect);
    }

    #[test]
    fn the_higher_epoch_stands() {
        let (mut completion, id) = (Completion::default(), segment());
        let second = completion.elected(id, name("b"), 90, 2, T0);
        let commit = Verdict::Commit {
            offset: 90,
            epoch: 2,
        };
        assert_eq!(second, commit);
        // Elected before, told after.
        let first = completion.elected(id, name("a"), 80, 1, T0);
        assert_eq!(first, Verdict::CatchUp { offset: 90 });
        assert_eq!(completion.elected(id, name("a"), 95, 1, T0), Verdict::Hold);
        completion.ended(id, 1, false);
        assert!(completion.start(id, &name("b"), 2, T0), "still its turn");
        completion.ended(id, 1, true);
        assert!(!completion.start(id, &name("b"), 2, T0), "it is committed");
    }
}
