//! Kafka is killed under a producer and a node, stays away for a while and comes back. Meanwhile
//! the rows that are there are answered and the outage is told; afterwards, by itself, every event
//! is in once and nothing is late.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stream::KafkaProducer;
use tests::process::{Sql, number};

use crate::model::{PARTITIONS, TABLE};
use crate::{Harness, START_MAX, STOP_MAX, produce, verify};

/// Of producing before and after it.
const SOME_TIME: Duration = Duration::from_secs(4);
const TOLD_MAX: Duration = Duration::from_secs(15);
const CAUGHT_UP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// How to kill the Kafka that `cargo xtask kafka up` has started, and to start it again.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) address: String,
    pub(crate) folder: PathBuf,
    pub(crate) xtask: PathBuf,
}

impl Kafka {
    fn kill(&self) -> Result<()> {
        let pid = std::fs::read_to_string(self.folder.join("pid"));
        let pid = pid.context("Kafka's folder names no process")?;
        let pid = pid.trim();
        let killed = Command::new("kill").args(["-KILL", pid]).status()?;
        ensure!(killed.success(), "Kafka's process {pid} cannot be killed");
        // A process that is not waited for yet has no command line.
        let begin = Instant::now();
        while std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
            ensure!(begin.elapsed() < STOP_MAX, "Kafka's process {pid} lives on");
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let port = self.address.rsplit(':').next().unwrap_or_default();
        let mut up = Command::new(&self.xtask);
        let up = up.args(["kafka", "up", port]).arg(&self.folder);
        let started = up.stdin(Stdio::null()).status()?;
        ensure!(started.success(), "Kafka did not start again: {started}");
        Ok(())
    }
}

impl Harness<'_> {
    pub(crate) async fn outage(&mut self, kafka: &Kafka, away: Duration) -> Result<()> {
        let mut node = self.start(None)?;
        let ports = node.wait_ready(START_MAX).await?;
        let sql = Sql::new(&self.http, &ports.broker);
        let producer = KafkaProducer::new(&kafka.address)?;
        produce::for_a_while(&producer, SOME_TIME, &mut self.model).await?;
        println!("killing Kafka for {away:?}");
        kafka.kill()?;
        let (produced, told) = tokio::join!(
            produce::for_a_while(&producer, away, &mut self.model),
            watch(&sql, away)
        );
        produced?;
        println!("told after {:.1} s; Kafka comes back", told?.as_secs_f64());
        kafka.start()?;
        let back = Instant::now();
        produce::for_a_while(&producer, SOME_TIME, &mut self.model).await?;
        producer.flush(CAUGHT_UP_MAX).await?;
        wait_for_no_lag(&sql, back).await?;
        println!(
            "nothing is late {:.1} s after it",
            back.elapsed().as_secs_f64()
        );
        let upserts = self.options.upsert;
        let verified = verify::verify((&sql, upserts), &kafka.address, &mut self.model).await;
        let verified = verified.with_context(|| node.last_words())?;
        println!("{} rows, {} rejected", verified.rows, verified.rejected);
        let told = sql.numbers(
            "SELECT COUNT(DISTINCT \"partition\") FILTER (WHERE kind = 'STOPPED'), \
             COUNT(DISTINCT \"partition\") FILTER (WHERE kind = 'RECOVERED') FROM sys.ingest_events",
        );
        let told = told.await?;
        ensure!(
            told == [PARTITIONS as i64; 2],
            "{told:?} partitions told that they stopped and recovered, of {PARTITIONS}"
        );
        let status = node.terminate(STOP_MAX).await?;
        ensure!(
            status.success(),
            "the node ended with {status} after SIGTERM"
        );
        Ok(())
    }
}

/// Asks all the time; after how long all partitions said what is wrong.
async fn watch(sql: &Sql, away: Duration) -> Result<Duration> {
    let (begin, mut told, mut most) = (Instant::now(), None, 0);
    while begin.elapsed() < away {
        let rows = sql
            .numbers(&format!("SELECT COUNT(*) FROM {TABLE}"))
            .await?;
        let rows = rows.first().copied().unwrap_or(0);
        ensure!(rows >= most, "{rows} rows are answered, {most} were there");
        most = rows;
        let stopped = format!(
            "SELECT COUNT(*) FROM sys.partitions WHERE \"table\" = '{TABLE}' AND state = 'ERROR' \
             AND detail LIKE '%no Kafka broker answers%'"
        );
        if told.is_none() && sql.numbers(&stopped).await? == [PARTITIONS as i64] {
            told = Some(begin.elapsed());
        }
        let patient = told.is_some() || begin.elapsed() < TOLD_MAX;
        ensure!(patient, "the outage is not told after {TOLD_MAX:?}");
        tokio::time::sleep(POLL).await;
    }
    told.context("the outage was over before it was told")
}

async fn wait_for_no_lag(sql: &Sql, back: Instant) -> Result<()> {
    loop {
        let partitions = sql
            .rows(&format!(
                "SELECT state, log_end_offset - next_offset, detail FROM sys.partitions \
                 WHERE \"table\" = '{TABLE}'"
            ))
            .await?;
        let fine = |row: &Vec<serde_json::Value>| row[0] == "CONSUMING" && number(&row[1]) == 0;
        if partitions.len() == PARTITIONS && partitions.iter().all(fine) {
            return Ok(());
        }
        ensure!(
            back.elapsed() < CAUGHT_UP_MAX,
            "{CAUGHT_UP_MAX:?} after Kafka came back: {partitions:?}"
        );
        tokio::time::sleep(POLL).await;
    }
}
