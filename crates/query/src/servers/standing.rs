//! Which of the servers that hold something shall be asked.
//!
//! Those that are about as good as the best take turns: what one is better by than another within
//! [`TOLERANCE`] says nothing. One query in [`LOOK_EVERY`] does not look at it, so that a server
//! that became faster is noticed. Silent servers are asked only for what nobody else holds.

use std::collections::HashMap;

use schemas::InstanceId;

/// As good as the best is who costs at most so many times as much.
const TOLERANCE: f64 = 2.0;
/// Added to each latency: differences far below it do not count.
const LATENCY_FLOOR_US: f64 = 1000.0;
const LOOK_EVERY: usize = 16;

/// What a query knows of servers, the same for all of its scans.
#[derive(Clone, Debug, Default)]
pub struct Standing(HashMap<InstanceId, Stands>);

/// How a server stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stands {
    /// `None`: it has not answered yet.
    cost: Option<f64>,
    silent: bool,
}

impl Stands {
    /// Of several servers that are asked together.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        Self {
            silent: self.silent || other.silent,
            cost: match (self.cost, other.cost) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

impl Standing {
    /// Servers with their latency, what they have in flight, and whether they are silent.
    pub(super) fn of(servers: impl Iterator<Item = (InstanceId, u64, usize, bool)>) -> Self {
        let stands = servers.map(|(id, latency_us, in_flight, silent)| {
            let busy = (1 + in_flight) as f64;
            let cost = (latency_us as f64 + LATENCY_FLOOR_US) * busy;
            let cost = (latency_us > 0).then_some(cost);
            (id, Stands { cost, silent })
        });
        Self(stands.collect())
    }

    /// For the query with this turn, and which turn that is among the servers.
    pub(super) fn for_turn(self, turn: usize) -> (usize, Self) {
        match turn % LOOK_EVERY == LOOK_EVERY - 1 {
            true => (turn / LOOK_EVERY, self.without_costs()),
            false => (turn, self),
        }
    }

    pub(crate) fn stands(&self, id: &InstanceId) -> Stands {
        self.0.get(id).copied().unwrap_or_default()
    }

    /// The same but for speed: only silent ones are passed over.
    pub(crate) fn without_costs(&self) -> Self {
        let stands = self.0.iter().map(|(id, stands)| {
            let silent = stands.silent;
            (id.clone(), Stands { cost: None, silent })
        });
        Self(stands.collect())
    }
}

/// One of `able`, whose turn it is.
pub(crate) fn choose<T: Copy>(
    able: impl Iterator<Item = (T, Stands)> + Clone,
    turn: usize,
) -> Option<T> {
    let heard = || able.clone().filter(|(_, stands)| !stands.silent);
    if heard().next().is_none() {
        return nth(able, turn);
    }
    let least = heard().filter_map(|(_, stands)| stands.cost);
    let least = least.fold(f64::INFINITY, f64::min);
    if least.is_infinite() {
        return nth(heard(), turn);
    }
    let is_good = |stands: &Stands| stands.cost.is_none_or(|cost| cost <= least * TOLERANCE);
    nth(heard().filter(|(_, stands)| is_good(stands)), turn)
}

fn nth<T>(able: impl Iterator<Item = (T, Stands)> + Clone, turn: usize) -> Option<T> {
    let count = able.clone().count();
    let (one, _) = able.clone().nth(turn % count.max(1))?;
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> InstanceId {
        InstanceId(name.to_owned())
    }

    fn chosen(servers: &[(&str, u64, usize, bool)], turns: usize) -> Vec<usize> {
        let servers = servers.iter();
        let known = servers
            .clone()
            .map(|(name, us, in_flight, silent)| (id(name), *us, *in_flight, *silent));
        let standing = Standing::of(known);
        let mut counts = vec![0; servers.len()];
        for turn in 0..turns {
            let (turn, standing) = standing.clone().for_turn(turn);
            let able = servers.clone().enumerate();
            let able = able.map(|(at, (name, ..))| (at, standing.stands(&id(name))));
            counts[choose(able, turn).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn who_is_about_as_good_takes_turns() {
        let equal = |a, b| [("a", a, 0, false), ("b", b, 0, false)];
        assert_eq!(chosen(&equal(0, 0), 160), [85, 75]);
        assert_eq!(chosen(&equal(300, 900), 160), [85, 75]);
        // Nothing is known of b: it is tried.
        assert_eq!(chosen(&equal(300, 0), 160), [85, 75]);
        // Of the ten looks each has five.
        assert_eq!(chosen(&equal(300, 30_000), 160), [155, 5]);
        let busy = [("a", 300, 0, false), ("b", 300, 4, false)];
        assert_eq!(chosen(&busy, 160), [155, 5]);
    }

    #[test]
    fn silent_servers_are_asked_when_nobody_else_can_be() {
        let one = [("a", 300, 0, true), ("b", 90_000, 9, false)];
        assert_eq!(chosen(&one, 160), [0, 160]);
        let both = [("a", 300, 0, true), ("b", 300, 0, true)];
        assert_eq!(chosen(&both, 160), [85, 75]);
        let none: [(usize, Stands); 0] = [];
        assert_eq!(choose(none.into_iter(), 3), None);
    }

    #[test]
    fn a_group_is_as_its_worst() {
        let slow = Stands {
            cost: Some(9.0),
            silent: false,
        };
        let silent = Stands {
            cost: None,
            silent: true,
        };
        let both = slow.or_worse(silent);
        assert!(both.silent && both.cost == Some(9.0));
        let fast = Stands {
            cost: Some(1.0),
            silent: false,
        };
        let able = [(0, both), (1, slow), (2, fast)];
        assert_eq!(choose(able.into_iter(), 0), Some(2));
    }
}
