//! Which segments of a table count: segments that replace others, as in Pinot's segment lineage.
//!
//! Invariant: what a query sees of a table follows from its segments and its lineage alone
//! ([`Lineage::hidden`]). Of a replacement that is under way or was taken back the new segments are
//! hidden, of one that is done the old ones. A replacement changes its state in one step.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fault::Fault;
use crate::ids::Sequence;
use crate::task::WatermarkMove;

/// Replaced segments stay for so long, in which a replacement can be taken back.
const REPLACED_KEPT_MS: i64 = 3_600_000;
/// A replacement that nobody has touched for so long is taken back.
const ABANDONED_MS: i64 = 86_400_000;

/// The replacements of a table, in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(Vec<Replacement>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    pub id: Uuid,
    pub state: ReplacementState,
    /// Names of segments that count until it is done.
    pub from: BTreeSet<String>,
    /// Names of segments that count from then on.
    pub to: BTreeSet<String>,
    pub changed_ms: i64,
    /// Names the import that it belongs to: one with the same key goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Segments that come for it have this sequence or a later one.
    #[serde(default)]
    pub first_sequence: Sequence,
    /// Of a task in the background: it gives way to what people do, and is done only while all that
    /// it replaces is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yields: bool,
    /// Moves in the step in which it is done, and back when it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<WatermarkMove>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplacementState {
    InProgress,
    Completed,
    Reverted,
}

impl ReplacementState {
    /// As Pinot writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Reverted => "REVERTED",
        }
    }
}

impl Lineage {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn replacements(&self) -> &[Replacement] {
        &self.0
    }

    pub fn find(&self, id: Uuid) -> Result<&Replacement, Fault> {
        let found = self.0.iter().find(|one| one.id == id);
        found.ok_or_else(|| unknown(id))
    }

    /// One under way, of the import with this key.
    pub fn under_way(&self, key: &str) -> Option<&Replacement> {
        let mut under_way = self.0.iter().filter(|one| one.is_under_way());
        under_way.find(|one| one.key.as_deref() == Some(key))
    }

    /// Names of segments that no query sees.
    pub fn hidden(&self) -> HashSet<&str> {
        let names = self.0.iter().flat_map(|one| match one.state {
            ReplacementState::Completed => &one.from,
            ReplacementState::InProgress | ReplacementState::Reverted => &one.to,
        });
        names.map(String::as_str).collect()
    }

    /// Begins a replacement of segments that are `there`. One under way that replaces the same ones
    /// stands against it, unless that is taken back: by `force`, or because it yields.
    pub fn start(
        &mut self,
        new: Replacement,
        there: &HashSet<&str>,
        force: bool,
    ) -> Result<(), Fault> {
        let hidden = self.hidden();
        let is_seen = |name: &str| there.contains(name) && !hidden.contains(name);
        if let Some(unseen) = new.from.iter().find(|name| !is_seen(name)) {
            return Err(Fault::invalid(format!(
                "segmentsFrom: the table has no segment `{unseen}` that queries see"
            )));
        }
        if let Some(taken) = new.to.iter().find(|name| there.contains(name.as_str())) {
            return Err(Fault::conflict(format!(
                "segmentsTo: the table has a segment `{taken}` already"
            )));
        }
        for other in self.0.iter_mut().filter(|one| one.is_under_way()) {
            let stands_against =
                !other.from.is_disjoint(&new.from) || !other.to.is_disjoint(&new.to);
            match stands_against {
                true if force || (other.yields && !new.yields) => {
                    other.move_to(ReplacementState::Reverted, new.changed_ms)
                }
                true => {
                    return Err(Fault::conflict(format!(
                        "replacement {} of some of these segments is under way; end it, take it \
                         back, or say forceCleanup=true",
                        other.id
                    )));
                }
                false => {}
            }
        }
        self.0.push(new);
        Ok(())
    }

    /// A segment comes for a replacement under way.
    pub fn add(&mut self, id: Uuid, segment: &str, now_ms: i64) -> Result<(), Fault> {
        let one = self.under_way_mut(id)?;
        one.to.insert(segment.to_owned());
        one.changed_ms = now_ms;
        Ok(())
    }

    /// From now on its segments count: all, or those that are named; the others never will, and are
    /// returned. Ending it twice is fine.
    pub fn end(
        &mut self,
        id: Uuid,
        to: Option<&BTreeSet<String>>,
        there: &HashSet<&str>,
        now_ms: i64,
    ) -> Result<BTreeSet<String>, Fault> {
        let known = self.find(id)?;
        if known.state == ReplacementState::Completed && to.is_none_or(|to| *to == known.to) {
            return Ok(BTreeSet::new());
        }
        let one = self.under_way_mut(id)?;
        // Rows of a segment that somebody has removed must not come back.
        if one.yields
            && let Some(gone) = one.from.iter().find(|name| !there.contains(name.as_str()))
        {
            return Err(Fault::conflict(format!(
                "segment `{gone}`, which replacement {id} replaces, was removed meanwhile"
            )));
        }
        let to = to.unwrap_or(&one.to);
        if let Some(foreign) = to.iter().find(|name| !one.to.contains(*name)) {
            return Err(Fault::invalid(format!(
                "segment `{foreign}` is none of replacement {id}"
            )));
        }
        if let Some(missing) = to.iter().find(|name| !there.contains(name.as_str())) {
            return Err(Fault::conflict(format!(
                "segment `{missing}` of replacement {id} has not come yet"
            )));
        }
        let left = one.to.difference(to).cloned().collect();
        one.to = to.clone();
        one.move_to(ReplacementState::Completed, now_ms);
        Ok(left)
    }

    /// From now on the old segments count again. One that is under way is only taken back by
    /// `force`: somebody may work on it.
    pub fn revert(
        &mut self,
        id: Uuid,
        force: bool,
        there: &HashSet<&str>,
        now_ms: i64,
    ) -> Result<(), Fault> {
        let hidden: HashSet<String> = self.hidden().into_iter().map(str::to_owned).collect();
        let one = self.0.iter_mut().find(|one| one.id == id);
        let one = one.ok_or_else(|| unknown(id))?;
        match one.state {
            ReplacementState::Reverted => return Ok(()),
            ReplacementState::InProgress if !force => {
                return Err(Fault::conflict(format!(
                    "replacement {id} is under way; say forceRevert=true to take it back"
                )));
            }
            ReplacementState::InProgress => {}
            ReplacementState::Completed => {
                if let Some(gone) = one.from.iter().find(|name| !there.contains(name.as_str())) {
                    return Err(Fault::conflict(format!(
                        "replacement {id} cannot be taken back: segment `{gone}` was removed"
                    )));
                }
                if let Some(replaced) = one.to.iter().find(|name| hidden.contains(*name)) {
                    return Err(Fault::conflict(format!(
                        "replacement {id} cannot be taken back: segment `{replaced}` was replaced \
                         since"
                    )));
                }
            }
        }
        one.move_to(ReplacementState::Reverted, now_ms);
        Ok(())
    }

    /// Takes back what was abandoned and forgets what is over. Returned are the segments that count
    /// no more and are to be removed.
    pub fn clean(&mut self, there: &HashSet<&str>, now_ms: i64) -> BTreeSet<String> {
        let mut over = BTreeSet::new();
        for one in &mut self.0 {
            if one.is_under_way() && one.changed_ms < now_ms - ABANDONED_MS {
                one.move_to(ReplacementState::Reverted, now_ms);
            }
            let is_old = one.changed_ms < now_ms - REPLACED_KEPT_MS;
            match one.state {
                ReplacementState::Completed if is_old => over.extend(one.from.iter().cloned()),
                ReplacementState::Reverted => over.extend(one.to.iter().cloned()),
                ReplacementState::Completed | ReplacementState::InProgress => {}
            }
        }
        over.retain(|name| there.contains(name.as_str()));
        // What hides a segment that is there stays: it goes when the segment has gone.
        self.0.retain(|one| {
            let hides = match one.state {
                ReplacementState::Completed => &one.from,
                ReplacementState::InProgress | ReplacementState::Reverted => &one.to,
            };
            let is_old = one.changed_ms < now_ms - REPLACED_KEPT_MS;
            one.is_under_way() || !is_old || hides.iter().any(|name| there.contains(name.as_str()))
        });
        over
    }

    fn under_way_mut(&mut self, id: Uuid) -> Result<&mut Replacement, Fault> {
        let one = self.0.iter_mut().find(|one| one.id == id);
        let one = one.ok_or_else(|| unknown(id))?;
        if !one.is_under_way() {
            let state = one.state.name();
            return Err(Fault::conflict(format!("replacement {id} is {state}")));
        }
        Ok(one)
    }
}

impl Replacement {
    pub fn is_under_way(&self) -> bool {
        self.state == ReplacementState::InProgress
    }

    fn move_to(&mut self, state: ReplacementState, now_ms: i64) {
        self.state = state;
        self.changed_ms = now_ms;
    }
}

fn unknown(id: Uuid) -> Fault {
    Fault::not_found(format!("the table has no replacement {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn replacement(from: &[&str], to: &[&str]) -> Replacement {
        Replacement {
            id: Uuid::new_v4(),
            state: ReplacementState::InProgress,
            from: names(from),
            to: names(to),
            changed_ms: 0,
            key: None,
            first_sequence: 0,
            yields: false,
            watermark: None,
        }
    }

    fn seen<'a>(lineage: &Lineage, there: &HashSet<&'a str>) -> Vec<&'a str> {
        let hidden = lineage.hidden();
        let seen = there.iter().copied().filter(|name| !hidden.contains(name));
        let mut seen: Vec<&str> = seen.collect();
        seen.sort_unstable();
        seen
    }

    #[test]
    fn readers_see_the_old_or_the_new() {
        let mut lineage = Lineage::default();
        let new = replacement(&["a", "b"], &["c"]);
        let id = new.id;
        lineage
            .start(new, &HashSet::from(["a", "b"]), false)
            .unwrap();
        let there = HashSet::from(["a", "b", "c", "d"]);
        assert_eq!(seen(&lineage, &there), ["a", "b", "d"]);
        lineage.add(id, "e", 1).unwrap();
        let there = HashSet::from(["a", "b", "c", "d", "e"]);
        assert_eq!(seen(&lineage, &there), ["a", "b", "d"]);
        let left = lineage.end(id, Some(&names(&["c"])), &there, 2).unwrap();
        assert_eq!(left, names(&["e"]), "it never counts and is to be removed");
        let there = HashSet::from(["a", "b", "c", "d"]);
        assert_eq!(seen(&lineage, &there), ["c", "d"]);
        assert!(
            lineage.end(id, None, &there, 3).unwrap().is_empty(),
            "twice"
        );
        lineage.add(id, "f", 3).unwrap_err();
        lineage.revert(id, false, &there, 4).unwrap();
        assert_eq!(seen(&lineage, &there), ["a", "b", "d"]);
        assert_eq!(lineage.clean(&there, 5), names(&["c"]));
    }

    #[test]
    fn what_works_in_the_background_gives_way_and_brings_nothing_back() {
        let mut lineage = Lineage::default();
        let there = HashSet::from(["a", "b"]);
        let of_task = Replacement {
            yields: true,
            ..replacement(&["a", "b"], &["m"])
        };
        let task = of_task.id;
        lineage.start(of_task.clone(), &there, false).unwrap();
        let import = replacement(&["a"], &["c"]);
        lineage.start(import, &there, false).unwrap();
        let state = lineage.find(task).unwrap().state;
        assert_eq!(state, ReplacementState::Reverted);
        // A task does not stop what people do, nor another task.
        let another = Replacement {
            id: Uuid::new_v4(),
            ..of_task.clone()
        };
        lineage.start(another, &there, false).unwrap_err();
        let mut lineage = Lineage::default();
        lineage.start(of_task, &there, false).unwrap();
        let without_a = HashSet::from(["b", "m"]);
        lineage.end(task, None, &without_a, 1).unwrap_err();
        let all = HashSet::from(["a", "b", "m"]);
        lineage.end(task, None, &all, 1).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let mut lineage = Lineage::default();
        let there = HashSet::from(["a", "b"]);
        lineage
            .start(replacement(&["x"], &["c"]), &there, false)
            .unwrap_err();
        lineage
            .start(replacement(&["a"], &["b"]), &there, false)
            .unwrap_err();
        let first = replacement(&["a"], &["c"]);
        let first_id = first.id;
        lineage.start(first, &there, false).unwrap();
        lineage
            .start(replacement(&["a"], &["d"]), &there, false)
            .unwrap_err();
        lineage.end(first_id, None, &there, 1).unwrap_err();
        lineage.revert(first_id, false, &there, 1).unwrap_err();
        assert_eq!(lineage.replacements().len(), 1);
        let second = replacement(&["a"], &["d"]);
        let second_id = second.id;
        lineage.start(second, &there, true).unwrap();
        assert_eq!(
            lineage.find(first_id).unwrap().state,
            ReplacementState::Reverted
        );
        let there = HashSet::from(["a", "b", "d"]);
        lineage.end(second_id, None, &there, 2).unwrap();
        // What was replaced since does not come back.
        let third = replacement(&["d"], &["e"]);
        let third_id = third.id;
        lineage.start(third, &there, false).unwrap();
        let there = HashSet::from(["a", "b", "d", "e"]);
        lineage.end(third_id, None, &there, 3).unwrap();
        lineage.revert(second_id, true, &there, 4).unwrap_err();
        assert_eq!(seen(&lineage, &there), ["b", "e"]);
    }

    #[test]
    fn what_is_over_is_forgotten_when_its_segments_are_gone() {
        let mut lineage = Lineage::default();
        let done = replacement(&["a"], &["b"]);
        let done_id = done.id;
        lineage.start(done, &HashSet::from(["a"]), false).unwrap();
        lineage
            .end(done_id, None, &HashSet::from(["a", "b"]), 0)
            .unwrap();
        lineage
            .start(replacement(&[], &["c"]), &HashSet::from(["a", "b"]), false)
            .unwrap();
        let there = HashSet::from(["a", "b", "c"]);
        assert!(lineage.clean(&there, HOUR_MS).is_empty());
        assert_eq!(lineage.clean(&there, HOUR_MS + 1), names(&["a"]));
        assert_eq!(
            lineage.replacements().len(),
            2,
            "it hides `a` until that is gone"
        );
        let there = HashSet::from(["b", "c"]);
        assert!(lineage.clean(&there, HOUR_MS + 1).is_empty());
        assert_eq!(lineage.replacements().len(), 1);
        assert_eq!(
            lineage.clean(&there, 25 * HOUR_MS),
            names(&["c"]),
            "abandoned"
        );
        assert_eq!(seen(&lineage, &there), ["b"]);
        assert!(
            lineage
                .clean(&HashSet::from(["b"]), 27 * HOUR_MS)
                .is_empty()
        );
        assert!(lineage.is_empty());
    }
}
