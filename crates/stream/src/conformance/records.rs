//! Messages: every codec, offsets, times, the end of the log, what is too far.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use schemas::Offset;

use super::{Bench, Outcome, PATIENCE, Problem, blocking, ensure};
use crate::{KafkaProducer, SampleFrom, StreamSource, sample};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// 2023-11-14; message i of a batch is i seconds later.
const FIRST_MS: i64 = 1_700_000_000_000;
const COUNT: i64 = 500;

fn payload(number: i64) -> String {
    format!("payload {number}, and a little more of it to be worth packing")
}

/// [`COUNT`] messages with keys, times and a header.
async fn produce_packed(bench: &Bench, topic: &str, codec: &str) -> Outcome {
    let config = bench.config(&[
        ("compression.type", codec),
        ("linger.ms", "50"),
        ("enable.idempotence", "true"),
    ]);
    let topic = topic.to_owned();
    blocking(move || {
        let producer: BaseProducer = config.create()?;
        for number in 0..COUNT {
            let (key, payload) = (number.to_string(), payload(number));
            let header = Header {
                key: "h",
                value: Some("v"),
            };
            let record = BaseRecord::to(&topic)
                .partition(0)
                .key(&key)
                .payload(&payload)
                .timestamp(FIRST_MS + number * 1000)
                .headers(OwnedHeaders::new().insert(header));
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)?;
        Ok(())
    })
    .await
}

pub(super) async fn codecs_keep_offsets_times_and_keys(bench: &Bench) -> Outcome {
    for codec in CODECS {
        let topic = bench.topic(codec, 1).await?;
        // Twice, so that the second batch must be given its place.
        for _ in 0..2 {
            produce_packed(bench, &topic, codec).await?;
        }
        let read = bench.read((&topic, 0), 0, 2 * COUNT).await?;
        ensure!(
            read.len() as i64 == 2 * COUNT,
            "{codec}: {} messages",
            read.len()
        );
        for (index, message) in read.iter().enumerate() {
            let (index, number) = (index as i64, index as i64 % COUNT);
            let offset = message.offset;
            ensure!(
                offset == index,
                "{codec}: offset {offset} instead of {index}"
            );
            let at = message.timestamp_ms;
            ensure!(
                at == FIRST_MS + number * 1000,
                "{codec}: {at} at offset {offset}"
            );
            let (key, text) = (number.to_string(), payload(number));
            let same = message.key.as_deref() == Some(key.as_bytes())
                && message.payload.as_deref() == Some(text.as_bytes())
                && message.headers == [(b"h".to_vec(), Some(b"v".to_vec()))];
            ensure!(
                same,
                "{codec}: another message at offset {offset}: {message:?}"
            );
        }
    }
    Ok(())
}

pub(super) async fn reading_begins_within_a_batch(bench: &Bench) -> Outcome {
    let topic = bench.topic("within", 1).await?;
    produce_packed(bench, &topic, "lz4").await?;
    let held = bench.source.watermarks(&topic, 0).await?;
    ensure!(held == (0, COUNT), "it holds {held:?}");
    for from in [0, 1, 233, COUNT - 1] {
        let read = bench.read((&topic, 0), from, COUNT).await?;
        let first = read.first().map(|message| message.offset);
        ensure!(
            first == Some(from),
            "reading from {from} began at {first:?}"
        );
        ensure!(
            read.len() as i64 == COUNT - from,
            "{} messages from {from}",
            read.len()
        );
    }
    Ok(())
}

pub(super) async fn offsets_are_found_by_time(bench: &Bench) -> Outcome {
    for codec in CODECS {
        let topic = bench.topic(&format!("by-time-{codec}"), 1).await?;
        produce_packed(bench, &topic, codec).await?;
        let ours = bench.source.offset_at(&topic, 0, FIRST_MS + 77_001).await?;
        ensure!(ours == Some(78), "{codec}: our own call gives {ours:?}");
        let past = bench.source.offset_at(&topic, 0, FIRST_MS + COUNT * 1000);
        ensure!(past.await?.is_none(), "{codec}: an offset past all times");
        let config = bench.config(&[("group.id", "conformance")]);
        let found = blocking(move || {
            let consumer: BaseConsumer = config.create()?;
            let at = |ms: i64| -> Result<KafkaOffset, Problem> {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(&topic, 0, KafkaOffset::Offset(ms))?;
                let found = consumer.offsets_for_times(asked, PATIENCE)?;
                Ok(found.elements()[0].offset())
            };
            Ok([
                at(FIRST_MS - 1)?,
                at(FIRST_MS + 77_000)?,
                at(FIRST_MS + 77_001)?,
                at(FIRST_MS + (COUNT - 1) * 1000 + 1)?,
            ])
        });
        let found = found.await?;
        let expected = [0, 77, 78].map(KafkaOffset::Offset);
        ensure!(
            found[..3] == expected && found[3] == KafkaOffset::End,
            "{codec}: {found:?} instead of {expected:?} and the end"
        );
    }
    Ok(())
}

pub(super) async fn idempotent_producers_keep_their_order(bench: &Bench) -> Outcome {
    let topic = bench.topic("ordered", 1).await?;
    let producer = KafkaProducer::new(&bench.brokers)?;
    let count = 3000;
    for number in 0..count {
        let payload = number.to_string();
        producer
            .send(&topic, Some(0), None, payload.as_bytes())
            .await?;
    }
    producer.flush(PATIENCE).await?;
    let acks = producer.acks();
    ensure!(acks.acked == count && acks.failed == 0, "{acks:?}");
    let (partition, offset) = producer.produce(&topic, Some(0), None, b"last").await?;
    ensure!(
        (partition, offset) == (0, count as Offset),
        "the last is at {offset}"
    );
    let read = bench.read((&topic, 0), 0, offset).await?;
    for (number, message) in read.iter().take(count as usize).enumerate() {
        let expected = number.to_string();
        let same = message.payload.as_deref() == Some(expected.as_bytes());
        ensure!(
            same && message.offset == number as Offset,
            "{message:?} as number {number}"
        );
    }
    Ok(())
}

pub(super) async fn large_messages_and_tombstones_pass(bench: &Bench) -> Outcome {
    let topic = bench.topic("large", 1).await?;
    let large: Vec<u8> = (0..900_000u32).map(|byte| (byte % 251) as u8).collect();
    let config = bench.config(&[]);
    let (name, sent) = (topic.clone(), large.clone());
    blocking(move || {
        let producer: BaseProducer = config.create()?;
        let tombstone = BaseRecord::<str, [u8]>::to(&name).partition(0).key("k");
        producer.send(tombstone).map_err(|(error, _)| error)?;
        let record = BaseRecord::<str, [u8]>::to(&name)
            .partition(0)
            .payload(&sent);
        producer.send(record).map_err(|(error, _)| error)?;
        let empty = BaseRecord::<str, [u8]>::to(&name).partition(0).payload(b"");
        producer.send(empty).map_err(|(error, _)| error)?;
        producer.flush(PATIENCE)?;
        Ok(())
    })
    .await?;
    let read = bench.read((&topic, 0), 0, 3).await?;
    ensure!(read.len() == 3, "{} messages", read.len());
    ensure!(read[0].payload.is_none(), "a tombstone has a payload");
    ensure!(
        read[0].key.as_deref() == Some(b"k"),
        "a tombstone lost its key"
    );
    ensure!(
        read[1].payload.as_deref() == Some(&large[..]),
        "a large message has changed"
    );
    ensure!(read[1].key.is_none(), "a message got a key");
    ensure!(
        read[2].payload.as_deref() == Some(b""),
        "an empty payload is none"
    );
    Ok(())
}

pub(super) async fn samples_come_from_either_end(bench: &Bench) -> Outcome {
    let topic = bench.topic("sampled", 3).await?;
    let empty = sample(&bench.source, &topic, 10, SampleFrom::End, PATIENCE).await?;
    ensure!(empty.is_empty(), "a sample of an empty topic");
    let producer = KafkaProducer::new(&bench.brokers)?;
    for number in 0..300 {
        // Partition 2 stays empty.
        let (partition, text) = (number % 2, number.to_string());
        producer
            .send(&topic, Some(partition), None, text.as_bytes())
            .await?;
    }
    producer.flush(PATIENCE).await?;
    for (from, first) in [(SampleFrom::Start, 0), (SampleFrom::End, 145)] {
        let sampled = sample(&bench.source, &topic, 10, from, PATIENCE).await?;
        let offsets: Vec<Offset> = sampled.iter().map(|message| message.offset).collect();
        let expected: Vec<Offset> = (first..first + 5).chain(first..first + 5).collect();
        ensure!(
            offsets == expected,
            "{from:?}: {offsets:?} instead of {expected:?}"
        );
    }
    let all = sample(&bench.source, &topic, 1000, SampleFrom::End, PATIENCE).await?;
    ensure!(
        all.len() == 300,
        "{} of 300 when 1000 were asked for",
        all.len()
    );
    Ok(())
}
