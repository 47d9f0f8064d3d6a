//! Produces the sample events to the built-in log, as any application would to Kafka.
//!
//! Invariant: event *i* is produced to partition *i* mod [`PARTITIONS`] exactly once over all
//! starts; the end offsets of the log tell where to go on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use runtime::{CancellationToken, Clock};
use stream::{KafkaProducer, KafkaSource, StreamSource};

use crate::sample::{FLIGHT_COUNT, FLIGHTS, Flights, NEWEST_EVENT_MS, PARTITIONS};

/// Live events are produced in steps of this length.
const TICK: Duration = Duration::from_millis(2);

pub(super) struct Feeder {
    pub log: String,
    pub clock: Arc<dyn Clock>,
    /// Added to the time of the history so that its newest event is the first start.
    pub shift_ms: i64,
    pub events_per_second: u32,
}

impl Feeder {
    /// History first, then live events until stopped.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<()> {
        let next = self.next_of_each_partition().await?;
        let start = next.iter().copied().min().unwrap_or(0);
        let producer = KafkaProducer::new(&self.log).context("the built-in log is not there")?;
        let mut flights = Flights::from(start)?;
        let mut index = start;
        let is_missing = |index: u64| index >= next[(index % u64::from(PARTITIONS)) as usize];

        while index < FLIGHT_COUNT && !stop.is_cancelled() {
            let flight = flights.next_flight()?;
            if is_missing(index) {
                let payload = flight.at(flight.event_ms + self.shift_ms);
                self.send(&producer, index, &payload).await?;
            }
            index += 1;
        }
        if self.events_per_second > 0 {
            self.live(&producer, &mut flights, index, &is_missing, stop)
                .await?;
        }
        producer
            .flush(Duration::from_secs(3))
            .await
            .context("events were left behind")
    }

    async fn live(
        &self,
        producer: &KafkaProducer,
        flights: &mut Flights,
        mut index: u64,
        is_missing: &(dyn Fn(u64) -> bool + Sync),
        stop: CancellationToken,
    ) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let begin = self.clock.monotonic();
        let mut sent = 0u64;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let elapsed = (self.clock.monotonic() - begin).as_secs_f64();
            let due = (elapsed * f64::from(self.events_per_second)) as u64;
            while sent < due {
                let flight = flights.next_flight()?;
                if is_missing(index) {
                    let payload = flight.at(self.clock.now_ms());
                    self.send(producer, index, &payload).await?;
                }
                index += 1;
                sent += 1;
            }
        }
    }

    async fn send(&self, producer: &KafkaProducer, index: u64, payload: &[u8]) -> Result<()> {
        let partition = (index % u64::from(PARTITIONS)) as i32;
        producer
            .send(FLIGHTS, Some(partition), None, payload)
            .await?;
        Ok(())
    }

    /// Number of the first event that each partition lacks; creates the topic at the first start.
    async fn next_of_each_partition(&self) -> Result<Vec<u64>> {
        let source = KafkaSource::new(&self.log, &[], "quickstart")?;
        source.create_topic(FLIGHTS, PARTITIONS).await?;
        let mut next = Vec::new();
        for partition in 0..PARTITIONS {
            let (_, end) = source.watermarks(FLIGHTS, partition).await?;
            next.push(end as u64 * u64::from(PARTITIONS) + u64::from(partition));
        }
        Ok(next)
    }
}

/// The shift for a first start at `now_ms`.
pub(super) fn shift_for(now_ms: i64) -> i64 {
    now_ms - NEWEST_EVENT_MS
}
