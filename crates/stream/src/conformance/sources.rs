//! What every source of messages must do, whatever is behind it: a log of Kafka's protocol, or
//! files.

use std::time::Duration;

use async_trait::async_trait;
use schemas::Offset;
use tokio::time::Instant;

use super::{Failed, Outcome, PATIENCE, Problem, ensure, read_until};
use crate::{Message, PartitionReader, SampleFrom, StreamError, StreamSource, sample};

/// An error that names the trouble must come within this time.
const ERROR_WITHIN: Duration = Duration::from_secs(8);

/// Puts messages into the log behind a source.
#[async_trait]
pub trait Writer: std::fmt::Debug + Send + Sync {
    async fn append(&self, topic: &str, partition: u32, payloads: &[String]) -> Outcome;
}

/// A source, and who writes to what it reads.
pub(super) struct Under<'a> {
    source: &'a dyn StreamSource,
    writer: &'a dyn Writer,
    prefix: &'a str,
}

/// Runs the checks that any source passes; gives the names of those that passed, or the first that
/// did not. Topics are called `prefix` and more.
pub async fn source_conformance(
    source: &dyn StreamSource,
    writer: &dyn Writer,
    prefix: &str,
) -> Result<Vec<&'static str>, Failed> {
    let under = Under {
        source,
        writer,
        prefix,
    };
    let mut passed = Vec::new();
    macro_rules! run {
        ($($check:ident),+ $(,)?) => {
            $(
                let outcome = Box::pin($check(&under)).await;
                outcome.map_err(|problem| Failed { check: stringify!($check), problem })?;
                passed.push(stringify!($check));
            )+
        };
    }
    run! {
        topics_are_made_once,
        what_is_missing_is_named,
        reading_goes_on_from_any_message,
        the_end_is_told_at_once,
        a_waiting_reader_is_woken,
        the_oldest_are_sampled,
        offsets_that_are_not_there_are_refused,
    }
    Ok(passed)
}

impl Under<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    async fn topic(&self, name: &str, partitions: u32) -> Result<String, Problem> {
        let topic = self.name(name);
        self.source.create_topic(&topic, partitions).await?;
        Ok(topic)
    }

    async fn open(&self, topic: &str, from: Offset) -> Result<Box<dyn PartitionReader>, Problem> {
        Ok(self.source.open(topic, 0, from).await?)
    }

    async fn append(&self, topic: &str, partition: u32, payloads: &[&str]) -> Outcome {
        let payloads: Vec<String> = payloads.iter().map(ToString::to_string).collect();
        self.writer.append(topic, partition, &payloads).await
    }

    async fn end(&self, topic: &str) -> Result<Offset, Problem> {
        Ok(self.source.watermarks(topic, 0).await?.1)
    }
}

async fn topics_are_made_once(under: &Under<'_>) -> Outcome {
    let topic = under.topic("made", 3).await?;
    let count = under.source.partitions(&topic).await?;
    ensure!(count == 3, "3 partitions were asked for, {count} are there");
    under.source.create_topic(&topic, 5).await?;
    let count = under.source.partitions(&topic).await?;
    ensure!(
        count == 3,
        "making it again has changed it to {count} partitions"
    );
    for partition in 0..3 {
        let held = under.source.watermarks(&topic, partition).await?;
        ensure!(held == (0, 0), "partition {partition} holds {held:?}");
    }
    Ok(())
}

async fn what_is_missing_is_named(under: &Under<'_>) -> Outcome {
    let topic = under.name("never-made");
    let asked = under.source.partitions(&topic).await;
    let missing = |error: &StreamError| matches!(error, StreamError::TopicMissing { .. });
    ensure!(
        asked.as_ref().is_err_and(missing),
        "partitions of a missing topic: {asked:?}"
    );
    let asked = under.source.watermarks(&topic, 0).await;
    ensure!(
        asked.as_ref().is_err_and(missing),
        "watermarks of a missing topic: {asked:?}"
    );
    let error = first_error(under, &topic, 0).await?;
    ensure!(missing(&error), "reading a missing topic: {error}");

    let topic = under.topic("small", 1).await?;
    let missing =
        |error: &StreamError| matches!(error, StreamError::PartitionMissing { partition: 7, .. });
    let asked = under.source.watermarks(&topic, 7).await;
    ensure!(
        asked.as_ref().is_err_and(missing),
        "watermarks of a missing partition: {asked:?}"
    );
    let error = first_error(under, &topic, 7).await?;
    ensure!(missing(&error), "reading a missing partition: {error}");
    Ok(())
}

async fn first_error(
    under: &Under<'_>,
    topic: &str,
    partition: u32,
) -> Result<StreamError, Problem> {
    let deadline = Instant::now() + ERROR_WITHIN;
    let mut reader = under.source.open(topic, partition, 0).await?;
    loop {
        if let Err(error) = reader.fetch(Duration::from_millis(200)).await {
            let again = reader.fetch(Duration::ZERO).await;
            ensure!(again.is_err(), "the reader goes on after `{error}`");
            return Ok(error);
        }
        ensure!(
            Instant::now() < deadline,
            "no error within {ERROR_WITHIN:?}"
        );
    }
}

/// In order, each once, with the same offsets whoever reads.
async fn reading_goes_on_from_any_message(under: &Under<'_>) -> Outcome {
    const COUNT: usize = 1000;
    let topic = under.topic("anywhere", 2).await?;
    let payloads: Vec<String> = (0..COUNT).map(|n| format!("message {n}")).collect();
    for part in payloads.chunks(300) {
        under.writer.append(&topic, 0, part).await?;
    }
    under.append(&topic, 1, &["of another partition"]).await?;
    let end = under.end(&topic).await?;
    let mut reader = under.open(&topic, 0).await?;
    let all = read_until(&mut *reader, end).await?;
    ensure!(all.len() == COUNT, "{} of {COUNT} messages", all.len());
    ensure!(
        all.windows(2).all(|two| two[0].offset < two[1].offset),
        "offsets do not ascend"
    );
    let texts = |read: &[Message]| -> Vec<String> {
        let payloads = read.iter().filter_map(|message| message.payload.as_deref());
        payloads
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    };
    ensure!(texts(&all) == payloads, "messages changed, or their order");
    for from in [1, 299, 300, COUNT - 1] {
        let mut reader = under.open(&topic, all[from].offset).await?;
        let read = read_until(&mut *reader, end).await?;
        ensure!(
            texts(&read) == payloads[from..],
            "reading from message {from} gives {} messages",
            read.len()
        );
        ensure!(read[0].offset == all[from].offset, "another offset");
    }
    Ok(())
}

async fn the_end_is_told_at_once(under: &Under<'_>) -> Outcome {
    let topic = under.topic("end", 1).await?;
    for _ in 0..2 {
        let from = under.end(&topic).await?;
        let mut reader = under.open(&topic, from).await?;
        let deadline = Instant::now() + PATIENCE;
        let told = loop {
            let fetched = reader.fetch(Duration::from_secs(1)).await?;
            ensure!(fetched.messages.is_empty(), "messages past the end");
            if let Some(end) = fetched.log_end {
                break (fetched.next, end, fetched.log_start);
            }
            ensure!(
                Instant::now() < deadline,
                "the end of the log was never told"
            );
        };
        ensure!(
            told == (from, from, Some(0)),
            "next, end and start are {told:?}"
        );
        under.append(&topic, 0, &["one"]).await?;
    }
    Ok(())
}

async fn a_waiting_reader_is_woken(under: &Under<'_>) -> Outcome {
    let topic = under.topic("woken", 1).await?;
    let mut reader = under.open(&topic, 0).await?;
    read_until(&mut *reader, 0).await?;
    for number in 0..20 {
        let text = number.to_string();
        let one = [text.as_str()];
        let appended = under.append(&topic, 0, &one);
        let (appended, read) = tokio::join!(appended, next_message(&mut *reader));
        appended?;
        let read = read?;
        ensure!(
            read.payload.as_deref() == Some(text.as_bytes()),
            "{read:?} as number {number}"
        );
    }
    // Dropping a fetch that waits loses nothing, nor does dropping many while messages come.
    for number in 0..20 {
        let wait = Duration::from_millis(number % 4);
        let dropped = tokio::time::timeout(wait, reader.fetch(PATIENCE)).await;
        ensure!(
            !matches!(&dropped, Ok(Ok(fetched)) if !fetched.messages.is_empty()),
            "something came: {dropped:?}"
        );
    }
    under.append(&topic, 0, &["last"]).await?;
    let read = next_message(&mut *reader).await?;
    ensure!(
        read.payload.as_deref() == Some(b"last".as_slice()),
        "{read:?} after a dropped fetch"
    );
    Ok(())
}

async fn next_message(reader: &mut dyn PartitionReader) -> Result<Message, Problem> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut fetched = reader.fetch(Duration::from_millis(200)).await?;
        match fetched.messages.len() {
            0 => ensure!(Instant::now() < deadline, "the message never came"),
            1 => return Ok(fetched.messages.remove(0)),
            count => return Err(format!("{count} messages instead of one").into()),
        }
    }
}

async fn the_oldest_are_sampled(under: &Under<'_>) -> Outcome {
    let topic = under.topic("oldest", 2).await?;
    let empty = sample(under.source, &topic, 10, SampleFrom::Start, PATIENCE).await?;
    ensure!(empty.is_empty(), "a sample of an empty topic");
    for partition in 0..2 {
        let payloads: Vec<String> = (0..50).map(|n| format!("{partition} {n}")).collect();
        under.writer.append(&topic, partition, &payloads).await?;
    }
    let sampled = sample(under.source, &topic, 10, SampleFrom::Start, PATIENCE).await?;
    let texts = sampled.iter().filter_map(|message| {
        let payload = message.payload.as_deref()?;
        std::str::from_utf8(payload).ok()
    });
    let texts: Vec<&str> = texts.collect();
    let expected: Vec<String> = (0..2)
        .flat_map(|partition| (0..5).map(move |n| format!("{partition} {n}")))
        .collect();
    ensure!(texts == expected, "{texts:?}");
    Ok(())
}

async fn offsets_that_are_not_there_are_refused(under: &Under<'_>) -> Outcome {
    let topic = under.topic("far", 1).await?;
    under.append(&topic, 0, &["one"]).await?;
    let held = under.end(&topic).await?;
    let mut reader = under.open(&topic, 99_999).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match reader.fetch(Duration::from_millis(200)).await {
            Err(StreamError::OffsetOutOfRange {
                wanted: 99_999,
                start: 0,
                end,
                ..
            }) if end == held => break,
            Err(error) => return Err(error.into()),
            Ok(fetched) => ensure!(fetched.messages.is_empty(), "messages past the end"),
        }
        ensure!(
            Instant::now() < deadline,
            "no error for an offset past the end"
        );
    }
    let again = reader.fetch(Duration::ZERO).await;
    let same = matches!(again, Err(StreamError::OffsetOutOfRange { .. }));
    ensure!(same, "asked again, the reader says {again:?}");
    Ok(())
}
