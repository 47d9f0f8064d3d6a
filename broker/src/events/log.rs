//! The logs that events are appended to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use runtime::Clock;
use schemas::fault::pinot_code;
use schemas::table::{StreamSpec, partition_id};
use schemas::{Fault, FaultKind, Offset, Partition, TableSpec};
use stream::{KafkaProducer, Record, StreamError, StreamSource, Streams};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Event;
use super::seen::{Done, HEADER, Seen, WINDOW};
use super::topic_of;

/// Bytes of requests that are under way; more are told to come again.
const UNDER_WAY_BYTES_MAX: usize = 256 << 20;
const PERMIT_BYTES: usize = 1 << 10;
/// How long the log may take to acknowledge.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long reading the log may wait for what its broker says is there.
const LOOK_WAIT: Duration = Duration::from_secs(10);

/// Of a topic that is made here.
const NEW_TOPIC_PARTITIONS: u32 = 2;

/// Events that carry a key, so that they are appended once.
#[derive(Clone, Debug)]
pub(super) struct Once {
    pub(super) key: String,
    /// The client says that it never sent the request before.
    pub(super) is_first: bool,
}

/// Addresses, and options of the client.
type Brokers = (String, Vec<(String, String)>);

#[derive(Debug)]
pub(crate) struct Logs {
    streams: Arc<dyn Streams>,
    clock: Arc<dyn Clock>,
    started: Duration,
    room: Arc<Semaphore>,
    producers: Mutex<HashMap<Brokers, Arc<KafkaProducer>>>,
    seen: Seen,
    turn: AtomicU32,
}

impl Logs {
    pub(crate) fn new(streams: Arc<dyn Streams>, clock: Arc<dyn Clock>) -> Self {
        Self {
            streams,
            started: clock.monotonic(),
            clock,
            room: Arc::new(Semaphore::new(UNDER_WAY_BYTES_MAX / PERMIT_BYTES)),
            producers: Mutex::default(),
            seen: Seen::default(),
            turn: AtomicU32::new(0),
        }
    }

    /// A place for a request of so many bytes, or a fault that says to come again.
    pub(super) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Fault> {
        let permits = bytes.div_ceil(PERMIT_BYTES).max(1) as u32;
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
        room.map_err(|_| {
            let message = "too many rows are on their way into logs; try again in a moment";
            Fault::new(
                FaultKind::Unavailable,
                pinot_code::TOO_MANY_REQUESTS,
                message.to_owned(),
            )
        })
    }

    /// Where the events end in each partition, once all are acknowledged. `alone`: no other broker
    /// could have appended them.
    pub(super) async fn append(
        &self,
        spec: &TableSpec,
        events: &[Event],
        once: Option<Once>,
        alone: bool,
    ) -> Result<Vec<(Partition, Offset)>, Fault> {
        let log = self.log(spec)?;
        let partitions = log.partitions().await?;
        let Some(once) = once else {
            let mut done = Done::default();
            let partition = self.turn.fetch_add(1, Ordering::Relaxed) % partitions;
            log.send(events, partition, None, &mut done).await?;
            return Ok(log.ends(&done));
        };
        let now = self.clock.monotonic();
        let mut known = self.seen.turn(spec.id, &once.key, now).await;
        let is_remembered = alone && now.saturating_sub(self.started) >= WINDOW;
        let partition = partition_of(&once.key, partitions);
        let mut done = match known.take() {
            Some(done) => done,
            None if once.is_first || is_remembered => Done::default(),
            None => {
                let since_ms = self.clock.now_ms() - WINDOW.as_millis() as i64;
                // Rows with keys of their own can be anywhere.
                let looked_at = match spec.primary_key.is_empty() {
                    true => partition..partition + 1,
                    false => 0..partitions,
                };
                let found = looked_at.map(|partition| log.find(&once.key, partition, since_ms));
                let mut done = Done::default();
                for found in join_all(found).await {
                    for (number, partition, offset) in found? {
                        done.add(number, partition, offset);
                    }
                }
                done
            }
        };
        let sent = log
            .send(events, partition, Some(&once.key), &mut done)
            .await;
        let ends = log.ends(&done);
        *known = Some(done);
        sent.map(|()| ends)
    }

    fn log(&self, spec: &TableSpec) -> Result<Log, Fault> {
        let (index, stream) =
            topic_of(spec).ok_or_else(|| Fault::invalid("the table has no topic"))?;
        let mut source = stream.clone();
        // The headers are what is looked for.
        source.decoder.metadata = true;
        Ok(Log {
            index,
            topic: stream.topic.clone(),
            producer: self.producer(stream)?,
            source: self.streams.source(&source, "tannin-events")?,
        })
    }

    fn producer(&self, stream: &StreamSpec) -> Result<Arc<KafkaProducer>, StreamError> {
        let id = (stream.brokers.clone(), stream.client_options.clone());
        let mut producers = self.producers.lock();
        if let Some(producer) = producers.get(&id) {
            return Ok(Arc::clone(producer));
        }
        let own = [
            // As Kafka's own producer puts keys into partitions.
            ("partitioner", "murmur2_random"),
            ("linger.ms", "1"),
        ];
        let given = stream.client_options.iter();
        let given = given.filter(|(name, _)| is_for_producers(name));
        let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
        let options: Vec<(&str, &str)> = own.into_iter().chain(given).collect();
        let producer = Arc::new(KafkaProducer::with_options(&stream.brokers, &options)?);
        producers.insert(id, Arc::clone(&producer));
        Ok(producer)
    }
}

/// Of what the table's consumers are told: how to reach the brokers.
fn is_for_producers(option: &str) -> bool {
    let prefixes = ["security.", "sasl.", "ssl.", "broker.address."];
    prefixes.iter().any(|prefix| option.starts_with(prefix))
}

fn partition_of(key: &str, partitions: u32) -> Partition {
    schemas::partition::murmur2(key.as_bytes()).unsigned_abs() % partitions
}

/// The topic of a table.
struct Log {
    /// Among the topics of the table.
    index: usize,
    topic: String,
    producer: Arc<KafkaProducer>,
    source: Arc<dyn StreamSource>,
}

impl Log {
    /// A topic that is not there yet is made: the table waits for it.
    async fn partitions(&self) -> Result<u32, StreamError> {
        match self.source.partitions(&self.topic).await {
            Err(StreamError::TopicMissing { .. }) => {
                let wanted = NEW_TOPIC_PARTITIONS;
                self.source.create_topic(&self.topic, wanted).await?;
                Ok(wanted)
            }
            partitions => Ok(partitions?.max(1)),
        }
    }

    /// By the table's ids of partitions.
    fn ends(&self, done: &Done) -> Vec<(Partition, Offset)> {
        let ends = done.ends.iter();
        ends.filter_map(|(partition, end)| Some((partition_id(self.index, *partition)?, *end)))
            .collect()
    }

    /// Sends the events that are not done, and waits for all of them.
    async fn send(
        &self,
        events: &[Event],
        partition: Partition,
        key: Option<&str>,
        done: &mut Done,
    ) -> Result<(), Fault> {
        let missing = events.iter().enumerate();
        let missing = missing.filter(|(number, _)| !done.events.contains(number));
        let sent = missing.map(async |(number, event)| {
            let header = key.map(|key| format!("{number}:{key}"));
            let record = Record {
                topic: &self.topic,
                // A key of its own says where.
                partition: event.key.is_none().then_some(partition as i32),
                key: event.key.as_deref(),
                payload: &event.payload,
                header: header.as_ref().map(|value| (HEADER, value.as_bytes())),
            };
            (number, self.producer.produce_record(record).await)
        });
        let all = tokio::time::timeout(ACK_TIMEOUT, join_all(sent)).await;
        let all = all.map_err(|_| {
            Fault::unavailable(format!(
                "the log of topic `{}` did not acknowledge within {ACK_TIMEOUT:?}: rows may be in \
                 it; send the request again with the same Idempotency-Key",
                self.topic
            ))
        })?;
        let mut failed = None;
        for (number, delivered) in all {
            match delivered {
                Ok((partition, offset)) => done.add(number, partition, offset),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => Ok(()),
            Some(error) => Err(Fault::unavailable(format!(
                "{} of {} rows are in topic `{}`: {error}",
                done.events.len(),
                events.len(),
                self.topic
            ))),
        }
    }

    /// Number, partition and offset of each event of the key.
    async fn find(
        &self,
        key: &str,
        partition: Partition,
        since_ms: i64,
    ) -> Result<Vec<(usize, Partition, Offset)>, Fault> {
        let (_, end) = self.source.watermarks(&self.topic, partition).await?;
        let from = self.source.offset_at(&self.topic, partition, since_ms);
        let Some(from) = from.await?.filter(|from| *from < end) else {
            return Ok(Vec::new());
        };
        let mut reader = self.source.open(&self.topic, partition, from).await?;
        let (mut found, mut next) = (Vec::new(), from);
        while next < end {
            let read = reader.fetch(LOOK_WAIT).await?;
            if read.next == next {
                return Err(Fault::unavailable(format!(
                    "topic `{}` partition {partition} cannot be read to its end: whether rows of \
                     the key are in it is not known; try again",
                    self.topic
                )));
            }
            next = read.next;
            for message in &read.messages {
                let values = message
                    .headers
                    .iter()
                    .filter(|(name, _)| name == HEADER.as_bytes());
                let numbers = values.filter_map(|(_, value)| {
                    let text = std::str::from_utf8(value.as_deref()?).ok()?;
                    let (number, of) = text.split_once(':')?;
                    (of == key).then(|| number.parse().ok()).flatten()
                });
                found.extend(numbers.map(|number| (number, partition, message.offset)));
            }
        }
        Ok(found)
    }
}
