//! The next step of a segment on its way: who comes comes first, then the others go.
//!
//! Invariants: who leaves is let go only when all of those that shall have it say that they do, or,
//! where space is short, when as many as are asked for still do; taken again, a step that was taken
//! changes nothing.

use schemas::InstanceId;

/// How it is moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// At once, whoever can be asked meanwhile.
    pub(crate) downtime: bool,
    /// Who goes goes first, where so many remain; 0: who comes comes first.
    pub(crate) leave_first_keeping: u32,
}

/// Who shall hold it now, and in the end. `None`: nothing is to be done yet.
pub(crate) fn step(
    assigned: &[InstanceId],
    target: &[InstanceId],
    manner: Manner,
    is_ready: impl Fn(&InstanceId) -> bool,
    may_come: impl Fn(&InstanceId) -> bool,
) -> Option<(Vec<InstanceId>, Vec<InstanceId>)> {
    if target.is_empty() {
        return None;
    }
    let are_there = target.iter().all(|id| assigned.contains(id));
    if manner.downtime || (are_there && target.iter().all(&is_ready)) {
        return Some((target.to_vec(), Vec::new()));
    }
    if manner.leave_first_keeping > 0 {
        let left = without_leaving(assigned, target, manner.leave_first_keeping, &is_ready);
        if left.len() < assigned.len() {
            return Some((left, target.to_vec()));
        }
    }
    let is_there = |id: &&InstanceId| assigned.contains(id) || may_come(id);
    let mut next: Vec<InstanceId> = target.iter().filter(is_there).cloned().collect();
    let comes = next.iter().any(|id| !assigned.contains(id));
    next.extend(assigned.iter().filter(|id| !target.contains(id)).cloned());
    comes.then(|| (next, target.to_vec()))
}

/// Without those who may go: so many that are ready remain.
fn without_leaving(
    assigned: &[InstanceId],
    target: &[InstanceId],
    keeping: u32,
    is_ready: impl Fn(&InstanceId) -> bool,
) -> Vec<InstanceId> {
    let mut ready = assigned.iter().filter(|id| is_ready(id)).count();
    let mut left = Vec::new();
    for id in assigned {
        let own = usize::from(is_ready(id));
        if !target.contains(id) && ready - own >= keeping as usize {
            ready -= own;
        } else {
            left.push(id.clone());
        }
    }
    left
}

/// Where it stays when the way is broken off: who had it before, as far as it can be told.
pub(crate) fn turned_back(
    assigned: &[InstanceId],
    target: &[InstanceId],
    replicas: usize,
    is_ready: impl Fn(&InstanceId) -> bool,
) -> Vec<InstanceId> {
    let rank = |id: &&InstanceId| match (target.contains(id), is_ready(id)) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 2,
    };
    let mut order: Vec<&InstanceId> = assigned.iter().collect();
    order.sort_by_key(rank);
    order.truncate(replicas.max(1));
    let stays = assigned.iter().filter(|id| order.contains(id));
    stays.cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn servers(of: &[u8]) -> Vec<InstanceId> {
        of.iter().map(|at| InstanceId(format!("s{at}"))).collect()
    }

    fn some() -> impl Strategy<Value = Vec<InstanceId>> {
        prop::collection::btree_set(0..6_u8, 1..4)
            .prop_map(|set| servers(&set.into_iter().collect::<Vec<u8>>()))
    }

    proptest! {
        /// Servers become ready one after the other, and now and then one is away.
        #[test]
        fn it_arrives_and_is_never_on_fewer(
            begin in some(),
            target in some(),
            keeping in 0..3_u32,
            away in prop::collection::vec((0..40_usize, 0..6_u8), 0..6),
        ) {
            let manner = Manner { downtime: false, leave_first_keeping: keeping };
            let mut assigned = begin.clone();
            let mut wanted = target.clone();
            let mut holding: BTreeSet<InstanceId> = begin.iter().cloned().collect();
            let floor = match keeping {
                0 => begin.len().min(target.len()),
                keeping => begin.len().min(target.len()).min(keeping as usize),
            };
            for turn in 0..80 {
                let is_away = |id: &InstanceId| away.iter().any(|(at, who)| {
                    turn < 40 && turn / 4 == at / 4 && id.0 == format!("s{who}")
                });
                let ready = |id: &InstanceId| holding.contains(id) && !is_away(id);
                let batch = |_: &InstanceId| turn % 3 != 0;
                if let Some((now, then)) = step(&assigned, &wanted, manner, ready, batch) {
                    let twice = step(&now, &then, manner, ready, batch);
                    prop_assert!(twice != Some((now.clone(), then.clone())), "it stands still");
                    (assigned, wanted) = (now, then);
                }
                // Those who do not hold it any more let go; one that holds nothing loads it.
                holding.retain(|id| assigned.contains(id));
                prop_assert!(holding.len() >= floor, "{holding:?} of {begin:?}, {target:?}");
                let loads = assigned.iter().find(|id| !holding.contains(*id));
                holding.extend(loads.cloned());
            }
            prop_assert!(wanted.is_empty());
            prop_assert_eq!(assigned, target);
        }

        #[test]
        fn broken_off_it_is_where_it_was(begin in some(), target in some()) {
            let ready = |id: &InstanceId| begin.contains(id);
            let (assigned, _) = step(&begin, &target, Manner::default(), ready, |_| true)
                .unwrap_or((begin.clone(), target.clone()));
            if !target.iter().all(|id| begin.contains(id)) {
                let mut back = turned_back(&assigned, &target, begin.len(), ready);
                back.sort();
                prop_assert_eq!(back, begin);
            }
        }
    }

    #[test]
    fn with_downtime_it_is_there_at_once() {
        let manner = Manner {
            downtime: true,
            leave_first_keeping: 0,
        };
        let (ab, cd) = (servers(&[0, 1]), servers(&[2, 3]));
        let now = step(&ab, &cd, manner, |_| false, |_| false);
        assert_eq!(now, Some((cd, Vec::new())));
    }
}
