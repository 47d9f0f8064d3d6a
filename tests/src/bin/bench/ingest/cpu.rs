//! Processor time of the node: all of it, and what its threads had of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// What a process had until now.
#[derive(Debug)]
pub(crate) struct Cpu {
    all: Duration,
    /// By thread, with its name.
    threads: BTreeMap<u32, (String, Duration)>,
}

/// What it had between two moments.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) all: Duration,
    /// By what threads are called, the most first. What ended meanwhile is missing.
    pub(crate) by_name: Vec<(String, Duration)>,
}

impl Cpu {
    pub(crate) fn of(process: u32) -> Result<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(process.cast_signed()));
        let clock = clock.context("the node has no clock")?;
        let all = clock.now()?.num_nanoseconds();
        let mut threads = BTreeMap::new();
        for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let path = entry?.path();
            let read = |file: &str| std::fs::read_to_string(path.join(file));
            // A thread may end while it is looked at.
            let (Ok(name), Ok(told)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            let id = path.file_name().and_then(|id| id.to_str()?.parse().ok());
            let nanoseconds = told.split(' ').next().and_then(|text| text.parse().ok());
            if let (Some(id), Some(nanoseconds)) = (id, nanoseconds) {
                let name = kind(name.trim()).to_owned();
                threads.insert(id, (name, Duration::from_nanos(nanoseconds)));
            }
        }
        Ok(Self {
            all: Duration::from_nanos(all.unsigned_abs()),
            threads,
        })
    }

    pub(crate) fn since(&self, before: &Self) -> Used {
        let mut by_name: BTreeMap<&str, Duration> = BTreeMap::new();
        for (id, (name, now)) in &self.threads {
            let then = before
                .threads
                .get(id)
                .map_or(Duration::ZERO, |(_, then)| *then);
            *by_name.entry(name).or_default() += now.saturating_sub(then);
        }
        let mut by_name: Vec<(String, Duration)> = by_name
            .into_iter()
            .map(|(name, used)| (name.to_owned(), used))
            .collect();
        by_name.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
        Used {
            all: self.all.saturating_sub(before.all),
            by_name,
        }
    }
}

/// Threads that do the same are called the same.
fn kind(name: &str) -> &str {
    match name {
        _ if name.starts_with("rdk:") => "Kafka's client",
        _ if name.starts_with("kafka ") => "readers of partitions",
        _ if name.starts_with("tokio") => "runtime",
        _ => name,
    }
}

impl Used {
    /// Of the threads that used most.
    pub(crate) fn shares(&self) -> String {
        let all = self.all.as_secs_f64().max(f64::MIN_POSITIVE);
        let shares = self.by_name.iter().take(5).map(|(name, used)| {
            let share = used.as_secs_f64() / all * 100.0;
            format!("{name} {share:.0} %")
        });
        shares.collect::<Vec<_>>().join(", ")
    }
}
