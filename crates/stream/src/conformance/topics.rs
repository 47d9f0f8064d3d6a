//! Topics and partitions: made, grown, emptied, deleted, and named when they are missing.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewPartitions, ResourceSpecifier};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::time::{Instant, sleep};

use super::{Bench, Outcome, PATIENCE, ensure};
use crate::{KafkaProducer, StreamError, StreamSource};

/// An error that names the trouble must come within this time.
const ERROR_WITHIN: Duration = Duration::from_secs(8);

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

pub(super) async fn topics_grow_and_go(bench: &Bench) -> Outcome {
    let topic = bench.topic("grown", 2).await?;
    let admin = bench.admin()?;
    let grown = admin
        .create_partitions(&[NewPartitions::new(&topic, 5)], &options())
        .await?;
    ensure!(grown.iter().all(Result::is_ok), "not grown: {grown:?}");
    let deadline = Instant::now() + PATIENCE;
    while bench.source.partitions(&topic).await? != 5 {
        ensure!(Instant::now() < deadline, "the new partitions never came");
        sleep(Duration::from_millis(50)).await;
    }
    let producer = KafkaProducer::new(&bench.brokers)?;
    producer.produce(&topic, Some(4), None, b"here").await?;
    let read = bench.read((&topic, 4), 0, 1).await?;
    ensure!(
        read.len() == 1,
        "{} messages in the new partition",
        read.len()
    );

    let deleted = admin.delete_topics(&[&topic], &options()).await?;
    ensure!(
        deleted.iter().all(Result::is_ok),
        "not deleted: {deleted:?}"
    );
    loop {
        match bench.source.partitions(&topic).await {
            Err(StreamError::TopicMissing { .. }) => return Ok(()),
            _ => ensure!(Instant::now() < deadline, "the topic never went"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn settings_are_told(bench: &Bench) -> Outcome {
    let topic = bench.topic("settings", 1).await?;
    let asked = [ResourceSpecifier::Topic(&topic)];
    let told = bench.admin()?.describe_configs(&asked, &options()).await?;
    let told = told.into_iter().next().ok_or("nothing was told")??;
    let policy = told
        .get("cleanup.policy")
        .and_then(|entry| entry.value.as_deref());
    ensure!(policy == Some("delete"), "cleanup.policy is {policy:?}");
    Ok(())
}

pub(super) async fn records_are_deleted(bench: &Bench) -> Outcome {
    let topic = bench.topic("emptied", 1).await?;
    let producer = KafkaProducer::new(&bench.brokers)?;
    for number in 0..100 {
        let payload = number.to_string();
        producer
            .send(&topic, Some(0), None, payload.as_bytes())
            .await?;
    }
    producer.flush(PATIENCE).await?;
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, KafkaOffset::Offset(40))?;
    bench.admin()?.delete_records(&before, &options()).await?;
    let held = bench.source.watermarks(&topic, 0).await?;
    ensure!(
        held == (40, 100),
        "after deleting below 40 it holds {held:?}"
    );
    let mut reader = bench.open(&topic, 0, 0).await?;
    let deadline = Instant::now() + ERROR_WITHIN;
    let error = loop {
        match reader.fetch(Duration::from_millis(200)).await {
            Err(error) => break error,
            Ok(fetched) => ensure!(fetched.messages.is_empty(), "deleted messages were read"),
        }
        ensure!(Instant::now() < deadline, "no error for a deleted offset");
    };
    let named = matches!(
        error,
        StreamError::OffsetOutOfRange {
            wanted: 0,
            start: 40,
            end: 100,
            ..
        }
    );
    ensure!(named, "reading deleted messages: {error}");
    let read = bench.read((&topic, 0), 40, 100).await?;
    ensure!(
        read.len() == 60 && read[0].offset == 40,
        "{} messages are left",
        read.len()
    );
    Ok(())
}
