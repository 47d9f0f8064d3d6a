//! Rows over HTTP, one a request, from many connections that each wait for their answer.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::events::Event;
use crate::figures::Times;
use crate::http::Connection;

const CONNECTIONS: u64 = 64;

#[derive(Debug, Default)]
pub(crate) struct Appended {
    pub(crate) count: u64,
    /// A second.
    pub(crate) rate: f64,
    pub(crate) times: Times,
}

pub(crate) fn run(broker: &str, table: &str, seconds: u64) -> Result<Appended> {
    let path = format!("/v1/tables/{table}/events");
    // The first one makes the topic.
    append(&mut Connection::open(broker)?, &path, 0)?;
    let (begin, within) = (Instant::now(), Duration::from_secs(seconds));
    let parts: Vec<Times> = std::thread::scope(|scope| {
        let threads = (0..CONNECTIONS).map(|thread| {
            let path = &path;
            scope.spawn(move || -> Result<Times> {
                let mut connection = Connection::open(broker)?;
                let mut times = Times::default();
                let mut n = thread;
                while begin.elapsed() < within {
                    let sent = Instant::now();
                    append(&mut connection, path, n)?;
                    times.add(sent.elapsed());
                    n += CONNECTIONS;
                }
                Ok(times)
            })
        });
        let threads: Vec<_> = threads.collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|part| part.map_err(|_| anyhow!("a sender panicked"))?)
            .collect::<Result<_>>()
    })?;
    let took = begin.elapsed().as_secs_f64();
    let mut appended = Appended::default();
    for part in parts {
        appended.count += part.count();
        appended.times.join(part);
    }
    appended.rate = appended.count as f64 / took;
    Ok(appended)
}

fn append(connection: &mut Connection, path: &str, n: u64) -> Result<()> {
    let answer = connection.post(path, &Event::new(n).json())?;
    let said = String::from_utf8_lossy(answer.body);
    ensure!(answer.status == 200, "status {}: {said}", answer.status);
    Ok(())
}
