//! Rejected messages are sent again, once, when what was wrong with them is mended.
//!
//! A message is read from the log at its offset and appended to its partition anew, with its key:
//! it gets a new offset and is consumed as any other. Other readers of the topic see it again too.
//!
//! Invariant: what is sent was marked before, so that no request sends a message that another has,
//! not even after one that broke off.

use std::collections::BTreeMap;
use std::time::Duration;

use metastore::catalog::StoredTable;
use schemas::cluster::TableState;
use schemas::table::{StreamKind, StreamSpec, topic_partition};
use schemas::{Fault, Offset, Partition};
use stream::{KafkaProducer, Message, PartitionReader, StreamError, StreamSource};

use crate::state::State;

/// Messages that are in memory at once.
const CHUNK: usize = 500;
/// A reader passes over so many messages; beyond that another one is opened.
const PASS_OVER_MAX: Offset = 10_000;
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// Without anything new for so many waits the log is taken as away.
const WAITS_MAX: u32 = 20;
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// What became of the messages that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retried {
    pub(crate) sent: u64,
    /// They are not in the log any more, or cannot be read.
    pub(crate) gone: u64,
    /// They were sent by an earlier request.
    pub(crate) before: u64,
}

impl State {
    pub(crate) async fn retry_rejected(
        &self,
        table: &TableState,
        wanted: BTreeMap<Partition, Vec<Offset>>,
    ) -> Result<Retried, Fault> {
        let mut retried = Retried::default();
        for (partition, mut offsets) in wanted {
            offsets.sort_unstable();
            offsets.dedup();
            let end = self.log_end(table, partition).await?;
            let there = offsets.partition_point(|offset| *offset < end);
            retried.gone += (offsets.len() - there) as u64;
            offsets.truncate(there);
            let marked = table.orders.retried.get(&partition).copied().unwrap_or(0);
            let fresh = offsets.partition_point(|offset| *offset < marked);
            retried.before += fresh as u64;
            let mut from = marked;
            for chunk in offsets[fresh..].chunks(CHUNK) {
                let until = self.send_again(table, partition, (from, chunk), &mut retried);
                from = until.await?;
            }
        }
        Ok(retried)
    }

    async fn log_end(&self, table: &TableState, partition: Partition) -> Result<Offset, Fault> {
        let (topic, number) = topic_partition(partition);
        let stream = table.spec.streams.get(topic);
        let Some(stream) = stream.filter(|stream| stream.kind == StreamKind::Kafka) else {
            let what = format!("partition {partition} is none of a Kafka topic of the table");
            return Err(Fault::invalid(what));
        };
        let source = self.source(&table.spec, topic)?;
        Ok(source.watermarks(&stream.topic, number).await?.1)
    }

    /// `from`: the mark as it must stand now; gives the one that stands afterwards.
    async fn send_again(
        &self,
        table: &TableState,
        partition: Partition,
        (from, offsets): (Offset, &[Offset]),
        retried: &mut Retried,
    ) -> Result<Offset, Fault> {
        let (topic, number) = topic_partition(partition);
        let stream = &table.spec.streams[topic];
        let source = self.source(&table.spec, topic)?;
        let messages = read(&*source, (&stream.topic, number), offsets).await?;
        let until = offsets.last().map_or(from, |last| last + 1);
        self.mark(table, partition, (from, until)).await?;
        retried.gone += (offsets.len() - messages.len()) as u64;
        send(stream, number, &messages).await?;
        retried.sent += messages.len() as u64;
        Ok(until)
    }

    async fn mark(
        &self,
        table: &TableState,
        partition: Partition,
        (from, until): (Offset, Offset),
    ) -> Result<(), Fault> {
        let id = table.spec.id;
        let mut is_ours = false;
        let change = |stored: &mut StoredTable| {
            let mark = stored.orders.retried.entry(partition).or_insert(0);
            is_ours = *mark == from;
            if is_ours {
                *mark = until;
            }
        };
        self.catalog.change_table(id, change).await?;
        if !is_ours {
            let what = format!("another request sends messages of partition {partition} again");
            return Err(Fault::conflict(what));
        }
        self.publish(id).await?;
        Ok(())
    }
}

/// The messages at `offsets`, which ascend; those that are gone are left out.
async fn read(
    source: &dyn StreamSource,
    (topic, partition): (&str, u32),
    offsets: &[Offset],
) -> Result<Vec<Message>, StreamError> {
    let (start, end) = source.watermarks(topic, partition).await?;
    let there = offsets.iter().copied();
    let mut there = there
        .filter(|offset| (start..end).contains(offset))
        .peekable();
    let mut found = Vec::new();
    let mut open: Option<(Box<dyn PartitionReader>, Offset)> = None;
    let mut waits = 0;
    while let Some(offset) = there.peek().copied() {
        let near = open.take();
        let near = near.filter(|(_, next)| *next <= offset && offset - next < PASS_OVER_MAX);
        let (mut reader, _) = match near {
            Some(near) => near,
            None => (source.open(topic, partition, offset).await?, offset),
        };
        let fetched = match reader.fetch(FETCH_WAIT).await {
            Ok(fetched) => fetched,
            // It was rejected for that.
            Err(StreamError::TooLarge { .. }) => {
                there.next();
                continue;
            }
            Err(error) => return Err(error),
        };
        for message in fetched.messages {
            while there.next_if(|offset| *offset < message.offset).is_some() {}
            if there.next_if_eq(&message.offset).is_some() {
                found.push(message);
            }
        }
        while there.next_if(|offset| *offset < fetched.next).is_some() {}
        waits = if there.peek() == Some(&offset) {
            waits + 1
        } else {
            0
        };
        if waits > WAITS_MAX {
            let detail = format!("offset {offset} of `{topic}` partition {partition} never came");
            return Err(StreamError::Client(detail));
        }
        open = Some((reader, fetched.next));
    }
    Ok(found)
}

async fn send(stream: &StreamSpec, partition: u32, messages: &[Message]) -> Result<(), Fault> {
    let options = stream.client_options.iter();
    let options: Vec<_> = options.map(|(o, v)| (o.as_str(), v.as_str())).collect();
    let producer = KafkaProducer::with_options(&stream.brokers, &options)?;
    for message in messages {
        let payload = message.payload.as_deref().unwrap_or_default();
        let (partition, key) = (Some(partition as i32), message.key.as_deref());
        producer
            .send(&stream.topic, partition, key, payload)
            .await?;
    }
    let flushed = producer.flush(FLUSH_WITHIN).await;
    flushed.map_err(|error| {
        Fault::unavailable(format!(
            "some of the last {} messages may not have been sent, and are not sent again: {error}",
            messages.len()
        ))
    })
}
