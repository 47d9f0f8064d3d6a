//! Kafka is killed under a producer and a node, stays away for a while and comes back. Meanwhile
//! the rows that are there are answered and the outage is told; afterwards, by itself, every event
//! is in once and nothing is late.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stream::KafkaProducer;
use tests::exactly_once::model::{PARTITIONS, TABLE};
use tests::exactly_once::{produce, verify};
use tests::kafka::Kafka;
use tests::process::{Sql, number};

use crate::produce::EVENTS_PER_SECOND;
use crate::{Harness, START_MAX, STOP_MAX};

/// Of producing before and after it.
const SOME_TIME: Duration = Duration::from_secs(4);
const TOLD_MAX: Duration = Duration::from_secs(15);
const CAUGHT_UP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

impl Harness<'_> {
    pub(crate) async fn outage(&mut self, kafka: &Kafka, away: Duration) -> Result<()> {
        let mut node = self.start(None)?;
        let ports = node.wait_ready(START_MAX).await?;
        let sql = Sql::new(&self.http, &ports.broker);
        let producer = KafkaProducer::new(&kafka.address)?;
        produce::for_a_while(&producer, EVENTS_PER_SECOND, SOME_TIME, &mut self.model).await?;
        println!("killing Kafka for {away:?}");
        kafka.kill()?;
        let (produced, told) = tokio::join!(
            produce::for_a_while(&producer, EVENTS_PER_SECOND, away, &mut self.model),
            watch(&sql, away)
        );
        produced?;
        println!("told after {:.1} s; Kafka comes back", told?.as_secs_f64());
        kafka.start()?;
        let back = Instant::now();
        produce::for_a_while(&producer, EVENTS_PER_SECOND, SOME_TIME, &mut self.model).await?;
        producer.flush(CAUGHT_UP_MAX).await?;
        wait_for_no_lag(&sql, back).await?;
        println!(
            "nothing is late {:.1} s after it",
            back.elapsed().as_secs_f64()
        );
        let upserts = self.options.upsert;
        let verified = verify::verify(
            (&sql, upserts, Duration::ZERO),
            &kafka.address,
            &mut self.model,
        )
        .await;
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
