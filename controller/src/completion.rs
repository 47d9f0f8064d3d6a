//! The completion protocol: which replica commits a consuming segment, and at which offset.
//!
//! The first replica that reports becomes the committer with its offset; the others come up to that
//! offset and wait. A committer that is silent too long loses its turn to the next that reports,
//! under a higher epoch. The state is only in memory: losing it starts the protocol again, and the
//! epoch in the catalog fences whoever still acts on the old one.
//!
//! Here is only the decision; the epoch comes from the caller, who makes it durable first.

use std::collections::HashMap;
use std::time::Duration;

use schemas::{InstanceId, Offset, SegmentId};

/// How long a committer may build and upload without a word.
pub(crate) const COMMITTER_PATIENCE: Duration = Duration::from_secs(60);

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
    ) -> Verdict {
        let Some(election) = self
            .elections
            .get(&id)
            .filter(|election| election.ends > now)
        else {
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
        let ends = now + COMMITTER_PATIENCE;
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
                election.ends = now + COMMITTER_PATIENCE;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn ended(&mut self, id: SegmentId) {
        self.elections.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::TableId;

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

    #[test]
    fn the_first_commits_the_others_follow() {
        let (mut completion, id) = (Completion::default(), segment());
        assert_eq!(completion.consumed(id, &name("a"), 100, T0), Verdict::Elect);
        let commit = Verdict::Commit {
            offset: 100,
            epoch: 1,
        };
        assert_eq!(completion.elected(id, name("a"), 100, 1, T0), commit);
        assert_eq!(
            completion.consumed(id, &name("a"), 100, T0),
            commit,
            "asked again"
        );
        let catch_up = Verdict::CatchUp { offset: 100 };
        assert_eq!(completion.consumed(id, &name("b"), 90, T0), catch_up);
        assert_eq!(completion.consumed(id, &name("b"), 100, T0), Verdict::Hold);
        assert_eq!(completion.consumed(id, &name("c"), 120, T0), Verdict::Hold);
    }

    #[test]
    fn a_silent_committer_loses_its_turn() {
        let (mut completion, id) = (Completion::default(), segment());
        completion.elected(id, name("a"), 100, 1, T0);
        let later = T0 + COMMITTER_PATIENCE;
        assert_eq!(
            completion.consumed(id, &name("b"), 90, later),
            Verdict::Elect
        );
        completion.elected(id, name("b"), 90, 2, later);
        assert!(!completion.start(id, &name("a"), 1, later), "fenced");
        assert!(completion.start(id, &name("b"), 2, later));
    }

    #[test]
    fn a_committer_that_started_again_is_elected_anew() {
        let (mut completion, id) = (Completion::default(), segment());
        completion.elected(id, name("a"), 100, 1, T0);
        assert_eq!(completion.consumed(id, &name("a"), 80, T0), Verdict::Elect);
    }
}
