//! Replicas over servers, in numbers: rows are what is spread, servers are positions in a list.
//!
//! Invariants: no row has a server twice; a row keeps its servers unless they have too much; as
//! many are moved as have to be, and one more for each row that could otherwise only be given a
//! server that it has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Gives rows what they lack, to those who have least.
    Repair,
    /// And takes from those who have more than their share.
    Balance,
}

/// Servers of each row, side by side in one list.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    width: usize,
    slots: Vec<u32>,
    lengths: Vec<u16>,
}

impl Rows {
    pub(super) fn new(width: usize, rows: usize) -> Self {
        Self {
            width,
            slots: Vec::with_capacity(width * rows),
            lengths: Vec::with_capacity(rows),
        }
    }

    /// One more than `width` are left out, and so is one that is there already.
    pub(super) fn push(&mut self, servers: impl Iterator<Item = u32>) {
        let begin = self.slots.len();
        for server in servers {
            let row = &self.slots[begin..];
            if row.len() < self.width && !row.contains(&server) {
                self.slots.push(server);
            }
        }
        self.lengths.push((self.slots.len() - begin) as u16);
        self.slots.resize(begin + self.width, u32::MAX);
    }

    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn row(&self, at: usize) -> &[u32] {
        let begin = at * self.width;
        &self.slots[begin..begin + self.lengths[at] as usize]
    }

    fn add(&mut self, at: usize, server: u32) {
        self.slots[at * self.width + self.lengths[at] as usize] = server;
        self.lengths[at] += 1;
    }

    fn remove(&mut self, at: usize, place: usize) -> u32 {
        let (begin, length) = (at * self.width, self.lengths[at] as usize);
        let removed = self.slots[begin + place];
        self.slots
            .copy_within(begin + place + 1..begin + length, begin + place);
        self.lengths[at] -= 1;
        removed
    }
}

/// The servers, by position.
#[derive(Clone, Debug, Default)]
pub(super) struct Capacity {
    /// Whether it may be given something. One that may not keeps what it has.
    pub(super) takes: Vec<bool>,
    /// What it holds otherwise: of those with equally many rows, who has less gets more.
    pub(super) burden: Vec<u64>,
}

pub(super) fn spread(rows: &mut Rows, capacity: &Capacity, replicas: usize, aim: Aim) {
    let replicas = replicas.min(rows.width);
    let mut spreading = Spreading {
        load: vec![0; capacity.takes.len()],
        quota: Vec::new(),
        cursor: 0,
        rows,
        capacity,
        replicas,
        aim,
    };
    spreading.count();
    spreading.trim();
    if aim == Aim::Balance {
        spreading.set_quotas();
        spreading.shed();
    }
    spreading.fill();
}

struct Spreading<'a> {
    rows: &'a mut Rows,
    capacity: &'a Capacity,
    replicas: usize,
    aim: Aim,
    load: Vec<i64>,
    /// When balancing: how many each shall have.
    quota: Vec<i64>,
    /// Where a row to swap with is looked for next.
    cursor: usize,
}

impl Spreading<'_> {
    fn takes(&self, server: u32) -> bool {
        self.capacity.takes[server as usize]
    }

    fn count(&mut self) {
        for at in 0..self.rows.len() {
            for server in self.rows.row(at) {
                self.load[*server as usize] += 1;
            }
        }
    }

    /// Rows with too many replicas give up those on the fullest servers.
    fn trim(&mut self) {
        for at in 0..self.rows.len() {
            while self.rows.row(at).len() > self.replicas {
                let row = self.rows.row(at).iter().enumerate();
                let fullest = row.max_by_key(|(_, server)| {
                    (!self.takes(**server), self.load[**server as usize])
                });
                let Some((place, _)) = fullest else { break };
                let server = self.rows.remove(at, place);
                self.load[server as usize] -= 1;
            }
        }
    }

    /// Equal shares; the odd ones stay with those who have most.
    fn set_quotas(&mut self) {
        let takers: Vec<u32> = (0..self.load.len() as u32)
            .filter(|server| self.takes(*server))
            .collect();
        self.quota = vec![0; self.load.len()];
        if takers.is_empty() {
            return;
        }
        let wanted = |at: usize| {
            let kept = self.rows.row(at).iter();
            let kept = kept.filter(|server| !self.takes(**server)).count();
            (self.replicas - kept).min(takers.len())
        };
        let total: usize = (0..self.rows.len()).map(wanted).sum();
        let (each, odd) = (total / takers.len(), total % takers.len());
        let mut order = takers;
        order.sort_by_key(|server| {
            let at = *server as usize;
            (Reverse(self.load[at]), self.capacity.burden[at], *server)
        });
        for (rank, server) in order.into_iter().enumerate() {
            self.quota[server as usize] = (each + usize::from(rank < odd)) as i64;
        }
    }

    /// From each row one before two are taken from any: those who lack something are few, and may
    /// come to a row once.
    fn shed(&mut self) {
        for holes in 1..=self.replicas {
            for at in 0..self.rows.len() {
                let row = self.rows.row(at);
                if row.len() + holes <= self.replicas {
                    continue;
                }
                let over = |server: &u32| {
                    self.takes(*server)
                        && self.load[*server as usize] > self.quota[*server as usize]
                };
                if let Some(place) = row.iter().position(over) {
                    let server = self.rows.remove(at, place);
                    self.load[server as usize] -= 1;
                }
            }
        }
    }

    fn fill(&mut self) {
        let mut heap: BinaryHeap<Candidate> = (0..self.load.len() as u32)
            .filter(|server| self.takes(*server))
            .map(|server| self.candidate(server))
            .collect();
        let mut passed = Vec::new();
        for at in 0..self.rows.len() {
            while self.rows.row(at).len() < self.replicas {
                let found = loop {
                    let Some(best) = heap.pop() else { break None };
                    if self.rows.row(at).contains(&best.server) {
                        passed.push(best);
                    } else {
                        break Some(best);
                    }
                };
                let Some(found) = found else { break };
                // Those who lack something have this row already: another row helps.
                let lacks = |one: &Candidate| self.aim == Aim::Balance && one.score > 0;
                let short = passed.iter().position(lacks);
                if let Some(short) = short.filter(|_| found.score <= 0)
                    && self.swap(at, passed[short].server)
                {
                    let given = passed.swap_remove(short).server;
                    self.load[given as usize] += 1;
                    heap.push(self.candidate(given));
                    heap.push(found);
                } else {
                    self.rows.add(at, found.server);
                    self.load[found.server as usize] += 1;
                    heap.push(self.candidate(found.server));
                }
                heap.extend(passed.drain(..));
            }
            heap.extend(passed.drain(..));
        }
    }

    fn candidate(&self, server: u32) -> Candidate {
        let at = server as usize;
        let score = match self.aim {
            Aim::Repair => -self.load[at],
            Aim::Balance => self.quota[at] - self.load[at],
        };
        Candidate {
            score,
            burden: Reverse(self.capacity.burden[at]),
            position: Reverse(server),
            server,
        }
    }

    /// Another row gives one of its servers to this one and takes `server`, which this one has.
    fn swap(&mut self, at: usize, server: u32) -> bool {
        let rows = self.rows.len();
        for step in 0..rows {
            let other = (self.cursor + step) % rows;
            if other == at || self.rows.row(other).contains(&server) {
                continue;
            }
            let own = self.rows.row(at);
            let given = self.rows.row(other).iter().copied().enumerate();
            let mut given = given.filter(|(_, one)| self.takes(*one) && !own.contains(one));
            if let Some((place, one)) = given.next() {
                self.rows.slots[other * self.rows.width + place] = server;
                self.rows.add(at, one);
                self.cursor = other + 1;
                return true;
            }
        }
        false
    }
}

/// In the order in which servers are given something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    score: i64,
    burden: Reverse<u64>,
    position: Reverse<u32>,
    server: u32,
}
