//! How fast the built-in log takes and gives messages, and how soon a waiting reader has one:
//! `cargo bench -p stream`. It measures, it does not judge; no message may be lost.

#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use runtime::{OsFiles, SystemClock, TaskGroup};
use stream::embedded::{EmbeddedLog, LogConfig, SyncPolicy};
use stream::{KafkaProducer, KafkaSource, PartitionReader, StreamSource};
use tokio::net::TcpListener;
use tokio::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

const COUNT: u32 = 100_000;
/// At 1,000 a second.
const PACED: usize = 2000;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let policies = [
        SyncPolicy::Every(Duration::from_millis(50)),
        SyncPolicy::OnAck,
    ];
    for sync in policies {
        measure(sync).await?;
    }
    Ok(())
}

async fn measure(sync: SyncPolicy) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let brokers = listener.local_addr()?.to_string();
    let tasks = TaskGroup::new("log");
    let config = LogConfig {
        sync,
        ..LogConfig::new(folder.path().to_owned())
    };
    let clock = SystemClock::shared();
    let log = EmbeddedLog::start(config, listener, Arc::new(OsFiles), clock, &tasks)?;
    let source = KafkaSource::new(&brokers, &[], "bench")?;
    source.create_topic("t", 1).await?;

    let produced = produce(&brokers).await?;
    let began = Instant::now();
    let mut reader = source.open("t", 0, 0).await?;
    let mut count = 0;
    while count < COUNT as usize {
        count += reader.fetch(PATIENCE).await?.messages.len();
    }
    let consumed = began.elapsed();
    let latencies = paced(&brokers, &mut *reader).await?;
    let per_second = |elapsed: Duration| f64::from(COUNT) / elapsed.as_secs_f64();
    println!(
        "{sync:?}: produced {:.0}/s, consumed {:.0}/s; at 1000/s one takes p50 {:?}, p99 {:?}",
        per_second(produced),
        per_second(consumed),
        latencies[PACED / 2],
        latencies[PACED * 99 / 100],
    );
    drop(reader);
    drop(log);
    tasks.stop(Duration::from_secs(5)).await;
    Ok(())
}

/// Messages of 249 bytes, as fast as they are taken.
async fn produce(brokers: &str) -> Outcome<Duration> {
    let producer = KafkaProducer::with_options(brokers, &[("linger.ms", "5")])?;
    producer.produce("t", Some(0), None, b"0").await?;
    let began = Instant::now();
    for number in 1..COUNT {
        let payload = format!("{number:0>249}");
        let sent = producer.send("t", Some(0), None, payload.as_bytes());
        sent.await?;
    }
    producer.flush(PATIENCE).await?;
    Ok(began.elapsed())
}

/// Sorted times from handing a message to the producer to having it from the reader.
async fn paced(brokers: &str, reader: &mut dyn PartitionReader) -> Outcome<Vec<Duration>> {
    let producer = KafkaProducer::new(brokers)?;
    producer.produce("t", Some(0), None, b"warm").await?;
    reader.fetch(PATIENCE).await?;
    let began = Instant::now();
    let send = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..PACED {
            ticks.tick().await;
            let at = began.elapsed().as_nanos().to_string();
            producer.send("t", Some(0), None, at.as_bytes()).await?;
        }
        Outcome::Ok(())
    };
    let read = async {
        let mut latencies = Vec::new();
        while latencies.len() < PACED {
            let fetched = reader.fetch(PATIENCE).await?;
            let now = began.elapsed();
            for message in fetched.messages {
                let text = String::from_utf8(message.payload.unwrap_or_default().to_vec())?;
                latencies.push(now.saturating_sub(Duration::from_nanos(text.parse()?)));
            }
        }
        latencies.sort_unstable();
        Outcome::Ok(latencies)
    };
    let ((), latencies) = tokio::try_join!(send, read)?;
    Ok(latencies)
}
