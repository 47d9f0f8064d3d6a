//! How old an event is when a query first sees it: events come at a steady rate, and the broker is
//! asked as fast as it answers. The clock runs from when the event was due to be handed to the
//! producer until the answer that holds it is parsed, so it holds the log, the decoder and one
//! query.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stream::{KafkaProducer, KafkaSource, StreamSource};
use tests::process::{Ports, Sql};

use crate::figures::Times;
use crate::ingest::events::Event;
use crate::ingest::table::{Format, Table};

const WAIT_MAX: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(1);
/// More stalls than these are only counted.
const STALLS_TOLD: usize = 20;
/// An answer whose newest event is older is one of a stall.
const STALLED: Duration = Duration::from_millis(15);

/// What is produced into a new table of one partition, and how fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh<'a> {
    /// Of the table and its topic.
    pub(crate) name: &'a str,
    pub(crate) brokers: &'a str,
    pub(crate) flush_rows: u64,
    /// Events a second.
    pub(crate) rate: f64,
    /// Events whose times do not count.
    pub(crate) warm_up: usize,
    pub(crate) events: usize,
    /// Of the producer.
    pub(crate) linger_ms: &'a str,
}

impl Fresh<'_> {
    pub(crate) async fn measure(&self, http: &reqwest::Client, ports: &Ports) -> Result<Times> {
        let table = Table {
            name: self.name,
            brokers: self.brokers,
            topic: self.name,
            format: Format::Json,
            upsert: false,
            flush_rows: self.flush_rows,
        };
        KafkaSource::new(self.brokers, &[], "bench")?
            .create_topic(self.name, 1)
            .await?;
        table.create(http, ports).await?;
        let sql = Sql::new(http, &ports.broker);
        // An idempotent producer of librdkafka has no more than five messages on their way, and its
        // thread looks without a pause for their end while others wait: it would take a core from
        // those who are to answer it, whenever they are late once.
        let options = [
            ("linger.ms", self.linger_ms),
            ("enable.idempotence", "false"),
            ("message.send.max.retries", "0"),
        ];
        let producer = KafkaProducer::with_options(self.brokers, &options)?;
        // The first event brings the partition to life.
        let first = Event::new(0).json();
        producer.produce(self.name, Some(0), None, &first).await?;
        table.wait_rows(&sql, 1).await?;
        let begin = Instant::now();
        let (sent, times) = tokio::join!(self.produce(&producer, begin), self.watch(&sql, begin));
        sent?;
        times
    }

    fn total(&self) -> usize {
        self.warm_up + self.events
    }

    /// Events come evenly, also when an earlier one was late.
    fn due(&self, event: usize) -> Duration {
        Duration::from_secs_f64(event as f64 / self.rate)
    }

    async fn produce(&self, producer: &KafkaProducer, begin: Instant) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        let mut next = 1;
        while next <= self.total() {
            ticks.tick().await;
            while next <= self.total() && begin.elapsed() >= self.due(next) {
                let payload = Event::new(next as u64).json();
                producer.send(self.name, Some(0), None, &payload).await?;
                next += 1;
            }
        }
        producer.flush(WAIT_MAX).await.context("producing")
    }

    /// Event `n` has the offset `n`.
    async fn watch(&self, sql: &Sql, begin: Instant) -> Result<Times> {
        let statement = format!("SELECT MAX(\"$offset\") FROM {}", self.name);
        let mut times = Times::default();
        let mut stalls: Vec<(Duration, Duration)> = Vec::new();
        let mut seen = 0;
        while seen < self.total() {
            let newest = sql.numbers(&statement).await?;
            let now = begin.elapsed();
            let newest = usize::try_from(newest.first().copied().unwrap_or(0))?;
            for event in (seen + 1).max(self.warm_up + 1)..=newest {
                times.add(now.saturating_sub(self.due(event)));
            }
            if newest > seen {
                let oldest = now.saturating_sub(self.due(seen + 1));
                stalls.extend((oldest > STALLED).then_some((now, oldest)));
            }
            seen = seen.max(newest);
            ensure!(
                now < self.due(self.total()) + WAIT_MAX,
                "saw {seen} of {} events in {now:?}",
                self.total()
            );
        }
        let more = stalls.len().saturating_sub(STALLS_TOLD);
        for (end, long) in stalls.iter().take(STALLS_TOLD) {
            println!("  at {end:.3?} events were there that are {long:.1?} old");
        }
        if more > 0 {
            println!("  and {more} times more");
        }
        Ok(times)
    }
}
