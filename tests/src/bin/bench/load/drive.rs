//! Sends statements, from as many threads as there are connections.
//!
//! In the open loop every request has a time at which it is due, whatever became of those before
//! it, and its latency begins there: an answer that comes late makes all that waited for it late,
//! and nothing of that is omitted. A request that is overdue by more than `patience` was given up
//! by its user and is not sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::statements::{PATH, Statement, checksum};
use crate::http::Connection;

const TOO_MANY: u16 = 429;

/// When requests are sent.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// At these times after the beginning.
    Open {
        due: Vec<Duration>,
        patience: Duration,
    },
    /// The next as soon as the one before is answered, for so long.
    Closed(Duration),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) right: Vec<Sample>,
    /// Refused with 429, and how long that took.
    pub(crate) refused: Vec<Sample>,
    /// Answers with another table than at rest.
    pub(crate) wrong: u64,
    /// Other statuses and broken connections, with an example.
    pub(crate) failed: u64,
    pub(crate) example: Option<String>,
    /// Not sent: overdue.
    pub(crate) given_up: u64,
    pub(crate) took: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// After the beginning.
    pub(crate) due: Duration,
    /// From when it was due.
    pub(crate) latency: Duration,
    /// From when it was sent.
    pub(crate) service: Duration,
}

/// Requests that come at random at `rate` a second, as those of many users do.
pub(crate) fn arrivals(rate: f64, within: Duration, seed: u64) -> Vec<Duration> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut due = Vec::new();
    let mut at = 0.0;
    loop {
        at += -f64::ln(1.0 - rng.random::<f64>()) / rate;
        if at >= within.as_secs_f64() {
            return due;
        }
        due.push(Duration::from_secs_f64(at));
    }
}

pub(crate) fn run(
    host: &str,
    connections: usize,
    statements: &[Statement],
    plan: &Plan,
) -> Result<Outcome> {
    let next = AtomicUsize::new(0);
    let open: Vec<Connection> = (0..connections)
        .map(|_| Connection::open(host))
        .collect::<Result<_>>()?;
    let begin = Instant::now();
    let next = &next;
    let parts: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = open
            .into_iter()
            .map(|connection| {
                let worker = Worker {
                    host,
                    connection: Some(connection),
                    statements,
                    begin,
                    outcome: Outcome::default(),
                };
                scope.spawn(move || worker.run(plan, next))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|part| part.map_err(|_| anyhow!("a sender panicked")))
            .collect::<Result<_>>()
    })?;
    let mut sum = Outcome::default();
    for part in parts {
        sum.add(part);
    }
    sum.took = begin.elapsed();
    Ok(sum)
}

struct Worker<'a> {
    host: &'a str,
    connection: Option<Connection>,
    statements: &'a [Statement],
    begin: Instant,
    outcome: Outcome,
}

impl Worker<'_> {
    fn run(mut self, plan: &Plan, next: &AtomicUsize) -> Outcome {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let due = match plan {
                Plan::Closed(within) if self.begin.elapsed() < *within => self.begin.elapsed(),
                Plan::Closed(_) => return self.outcome,
                Plan::Open { due, patience } => {
                    let Some(due) = due.get(turn) else {
                        return self.outcome;
                    };
                    let now = self.begin.elapsed();
                    std::thread::sleep(due.saturating_sub(now));
                    if now.saturating_sub(*due) > *patience {
                        self.outcome.given_up += 1;
                        continue;
                    }
                    *due
                }
            };
            // Neighbours in time are other statements: a stride that meets all of them.
            let statement = &self.statements[turn * 7919 % self.statements.len()];
            if let Err(error) = self.send(statement, due) {
                self.connection = None;
                self.outcome.failed += 1;
                self.outcome.example = Some(format!("{error:#}"));
            }
        }
    }

    fn send(&mut self, statement: &Statement, due: Duration) -> Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(Connection::open(self.host)?),
        };
        let sent = self.begin.elapsed();
        let answer = connection.post(PATH, &statement.body)?;
        let now = self.begin.elapsed();
        let sample = Sample {
            due,
            latency: now - due,
            service: now - sent,
        };
        match (answer.status, checksum(answer.body)) {
            (200, Some(sum)) if sum == statement.checksum => self.outcome.right.push(sample),
            (200, Some(_)) => self.outcome.wrong += 1,
            (TOO_MANY, _) => self.outcome.refused.push(sample),
            (status, _) => {
                let body = String::from_utf8_lossy(answer.body);
                let body: String = body.chars().take(300).collect();
                self.outcome.failed += 1;
                self.outcome.example = Some(format!("status {status}: {body}"));
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn add(&mut self, mut more: Self) {
        self.right.append(&mut more.right);
        self.refused.append(&mut more.refused);
        self.wrong += more.wrong;
        self.failed += more.failed;
        self.given_up += more.given_up;
        self.example = self.example.take().or(more.example);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_in_order_and_as_many_as_asked_for() {
        let due = arrivals(1000.0, Duration::from_secs(10), 7);
        assert!((9_500..10_500).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted());
        assert_eq!(due, arrivals(1000.0, Duration::from_secs(10), 7));
    }
}
