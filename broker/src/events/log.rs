//! The logs that events are appended to.
//!
//! Invariant: what was begun is brought to its end, also when the client has gone: each message is
//! acknowledged or has failed for good before anybody else may send what it belongs to.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use runtime::{Clock, ComputePool, TaskGroup};
use schemas::fault::pinot_code;
use schemas::table::{StreamSpec, partition_id};
use schemas::{Fault, FaultKind, Offset, Partition, TableSpec};
use stream::{KafkaProducer, Record, StreamError, StreamSource, Streams};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::body::Event;
use super::seen::{Done, HEADER, Known, Seen, WINDOW};
use super::tables::Tables;
use super::{READ_ASIDE_AT_ONCE_MAX, topic_of};

/// Bytes of requests that are under way; more are told to come again.
const UNDER_WAY_BYTES_MAX: usize = 256 << 20;
const PERMIT_BYTES: usize = 1 << 10;
/// After so long a message that is not acknowledged has failed.
const ACK_TIMEOUT_MS: &str = "20000";
/// How long reading the log may wait for what its broker says is there.
const LOOK_WAIT: Duration = Duration::from_secs(10);

/// After so long a topic is asked again how many partitions it has.
const PARTITIONS_KNOWN_FOR: Duration = Duration::from_secs(10);
/// Of a topic that is made here.
const NEW_TOPIC_PARTITIONS: u32 = 2;

/// Events that carry a key, so that they are appended once.
#[derive(Clone, Debug)]
pub(super) struct Once {
    pub(super) key: String,
    /// The client says that it never sent the request before.
    pub(super) is_first: bool,
}

/// Of the bytes that are under way.
pub(super) type Room = OwnedSemaphorePermit;

/// Addresses, and options of the client.
type Brokers = (String, Vec<(String, String)>);

#[derive(Debug)]
pub(crate) struct Logs {
    streams: Arc<dyn Streams>,
    clock: Arc<dyn Clock>,
    started: Duration,
    tasks: TaskGroup,
    /// For bodies that take long to read.
    pub(super) aside: ComputePool,
    pub(super) tables: Tables,
    room: Arc<Semaphore>,
    producers: Mutex<HashMap<Brokers, Arc<KafkaProducer>>>,
    topics: Mutex<HashMap<(Brokers, String), Arc<Topic>>>,
    seen: Seen,
    turn: AtomicU32,
}

impl Logs {
    pub(crate) fn new(streams: Arc<dyn Streams>, clock: Arc<dyn Clock>, tasks: TaskGroup) -> Self {
        Self {
            streams,
            started: clock.monotonic(),
            clock,
            tasks,
            aside: ComputePool::new(READ_ASIDE_AT_ONCE_MAX),
            tables: Tables::default(),
            room: Arc::new(Semaphore::new(UNDER_WAY_BYTES_MAX / PERMIT_BYTES)),
            producers: Mutex::default(),
            topics: Mutex::default(),
            seen: Seen::default(),
            turn: AtomicU32::new(0),
        }
    }

    /// A place for a request of so many bytes, or a fault that says to come again.
    pub(super) fn room(&self, bytes: usize) -> Result<Room, Fault> {
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
    /// could have appended them. `room` is given back when they are.
    pub(super) async fn append(
        self: &Arc<Self>,
        spec: Arc<TableSpec>,
        events: Vec<Event>,
        once: Option<Once>,
        alone: bool,
        room: Room,
    ) -> Result<Vec<(Partition, Offset)>, Fault> {
        let logs = Arc::clone(self);
        let (ended, outcome) = oneshot::channel();
        self.tasks.spawn("append events", |_| async move {
            let outcome = match once {
                Some(once) => logs.append_once(&spec, &events, once, alone).await,
                None => logs.append_new(&spec, &events).await,
            };
            drop(room);
            // The client may have gone.
            let _gone = ended.send(outcome);
        });
        let lost = |_| Fault::unavailable("the broker stops: whether the rows are in is not known");
        outcome.await.map_err(lost)?
    }

    async fn append_new(
        &self,
        spec: &TableSpec,
        events: &[Event],
    ) -> Result<Vec<(Partition, Offset)>, Fault> {
        let log = self.log(spec)?;
        let partitions = log.partitions(self.clock.monotonic()).await?;
        let partition = self.turn.fetch_add(1, Ordering::Relaxed) % partitions;
        let mut done = Done::default();
        log.send(events, partition, None, &mut done).await?;
        Ok(log.ends(&done))
    }

    async fn append_once(
        &self,
        spec: &TableSpec,
        events: &[Event],
        once: Once,
        alone: bool,
    ) -> Result<Vec<(Partition, Offset)>, Fault> {
        let log = self.log(spec)?;
        let now = self.clock.monotonic();
        let partitions = log.partitions(now).await?;
        let mut known = self.seen.turn(spec.id, &once.key, now).await;
        let is_remembered = alone && now.saturating_sub(self.started) >= WINDOW;
        let partition = partition_of(&once.key, partitions);
        let mut done = match std::mem::replace(&mut *known, Known::Begun) {
            Known::Done(done) => done,
            Known::Nothing if once.is_first || is_remembered => Done::default(),
            Known::Nothing | Known::Begun => {
                let since_ms = self.clock.now_ms() - WINDOW.as_millis() as i64;
                // Rows with keys of their own can be anywhere.
                let looked_at = match spec.primary_key.is_empty() {
                    true => partition..partition + 1,
                    false => 0..partitions,
                };
                log.find_all(&once.key, looked_at, since_ms).await?
            }
        };
        let key = Some(once.key.as_str());
        log.send(events, partition, key, &mut done).await?;
        let ends = log.ends(&done);
        *known = Known::Done(done);
        Ok(ends)
    }

    fn log(&self, spec: &TableSpec) -> Result<Log, Fault> {
        let (index, stream) =
            topic_of(spec).ok_or_else(|| Fault::invalid("the table has no topic"))?;
        let topic = self.topic(stream)?;
        Ok(Log { index, topic })
    }

    /// Clients are made once: they have connections and threads of their own.
    fn topic(&self, stream: &StreamSpec) -> Result<Arc<Topic>, StreamError> {
        let id = (brokers_of(stream), stream.topic.clone());
        let mut topics = self.topics.lock();
        if let Some(topic) = topics.get(&id) {
            return Ok(Arc::clone(topic));
        }
        let mut source = stream.clone();
        // The headers are what is looked for.
        source.decoder.metadata = true;
        let topic = Arc::new(Topic {
            name: stream.topic.clone(),
            producer: self.producer(stream)?,
            source: self.streams.source(&source, "tannin-events")?,
            partitions: tokio::sync::Mutex::default(),
        });
        topics.insert(id, Arc::clone(&topic));
        Ok(topic)
    }

    fn producer(&self, stream: &StreamSpec) -> Result<Arc<KafkaProducer>, StreamError> {
        let id = brokers_of(stream);
        let mut producers = self.producers.lock();
        if let Some(producer) = producers.get(&id) {
            return Ok(Arc::clone(producer));
        }
        let own = [
            // As Kafka's own producer puts keys into partitions.
            ("partitioner", "murmur2_random"),
            ("linger.ms", "1"),
            ("message.timeout.ms", ACK_TIMEOUT_MS),
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

fn brokers_of(stream: &StreamSpec) -> Brokers {
    (stream.brokers.clone(), stream.client_options.clone())
}

/// Of what the table's consumers are told: how to reach the brokers.
fn is_for_producers(option: &str) -> bool {
    let prefixes = ["security.", "sasl.", "ssl.", "broker.address."];
    prefixes.iter().any(|prefix| option.starts_with(prefix))
}

fn partition_of(key: &str, partitions: u32) -> Partition {
    schemas::partition::murmur2(key.as_bytes()).unsigned_abs() % partitions
}

#[derive(Debug)]
struct Topic {
    name: String,
    producer: Arc<KafkaProducer>,
    source: Arc<dyn StreamSource>,
    /// How many there are, and since when that is known.
    partitions: tokio::sync::Mutex<Option<(u32, Duration)>>,
}

/// The topic of a table.
struct Log {
    /// Among the topics of the table.
    index: usize,
    topic: Arc<Topic>,
}

impl Log {
    /// A topic that is not there yet is made: the table waits for it.
    async fn partitions(&self, now: Duration) -> Result<u32, StreamError> {
        let Topic { name, source, .. } = &*self.topic;
        let mut known = self.topic.partitions.lock().await;
        if let Some((count, since)) = *known
            && now.saturating_sub(since) < PARTITIONS_KNOWN_FOR
        {
            return Ok(count);
        }
        let count = match source.partitions(name).await {
            Err(StreamError::TopicMissing { .. }) => {
                source.create_topic(name, NEW_TOPIC_PARTITIONS).await?;
                NEW_TOPIC_PARTITIONS
            }
            partitions => partitions?.max(1),
        };
        *known = Some((count, now));
        Ok(count)
    }

    /// By the table's ids of partitions.
    fn ends(&self, done: &Done) -> Vec<(Partition, Offset)> {
        let ends = done.ends.iter();
        ends.filter_map(|(partition, end)| Some((partition_id(self.index, *partition)?, *end)))
            .collect()
    }

    /// Sends the events that are not done, and waits until each is acknowledged or has failed.
    async fn send(
        &self,
        events: &[Event],
        partition: Partition,
        key: Option<&str>,
        done: &mut Done,
    ) -> Result<(), Fault> {
        let missing = events.iter().enumerate();
        let missing = missing.filter(|(number, _)| !done.has(*number));
        let sent = missing.map(async |(number, event)| {
            let header = key.map(|key| format!("{number}:{key}"));
            let record = Record {
                topic: &self.topic.name,
                // A key of its own says where.
                partition: event.key.is_none().then_some(partition as i32),
                key: event.key.as_deref(),
                payload: &event.payload,
                header: header.as_ref().map(|value| (HEADER, value.as_bytes())),
            };
            (number, self.topic.producer.produce_record(record).await)
        });
        let mut failed = None;
        for (number, delivered) in join_all(sent).await {
            match delivered {
                Ok((partition, offset)) => done.add(number, partition, offset),
                Err(error) => failed = Some(error),
            }
        }
        let Some(error) = failed else {
            return Ok(());
        };
        // It may have been deleted.
        *self.topic.partitions.lock().await = None;
        let again = match key {
            Some(_) => "send it again with the same Idempotency-Key",
            None => "without an Idempotency-Key they would be there twice if it is sent again",
        };
        Err(Fault::unavailable(format!(
            "{} of {} rows of the request are in topic `{}`, {again}: {error}",
            done.count(),
            events.len(),
            self.topic.name
        )))
    }

    /// What is in the log of the request with this key.
    async fn find_all(
        &self,
        key: &str,
        partitions: Range<Partition>,
        since_ms: i64,
    ) -> Result<Done, Fault> {
        let found = partitions.map(|partition| self.find(key, partition, since_ms));
        let mut done = Done::default();
        for found in join_all(found).await {
            for (number, partition, offset) in found? {
                done.add(number, partition, offset);
            }
        }
        Ok(done)
    }

    /// Number, partition and offset of each event of the key.
    async fn find(
        &self,
        key: &str,
        partition: Partition,
        since_ms: i64,
    ) -> Result<Vec<(usize, Partition, Offset)>, Fault> {
        let Topic { name, source, .. } = &*self.topic;
        let (_, end) = source.watermarks(name, partition).await?;
        let from = source.offset_at(name, partition, since_ms);
        let Some(from) = from.await?.filter(|from| *from < end) else {
            return Ok(Vec::new());
        };
        let mut reader = source.open(name, partition, from).await?;
        let (mut found, mut next) = (Vec::new(), from);
        while next < end {
            let read = reader.fetch(LOOK_WAIT).await?;
            if read.next == next {
                return Err(Fault::unavailable(format!(
                    "topic `{name}` partition {partition} cannot be read to its end: whether rows \
                     of the key are in it is not known; try again"
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

#[cfg(test)]
mod tests {
    use runtime::{OsFiles, SystemClock};
    use schemas::{ColumnSpec, DataType, FieldRole, TableType};
    use stream::KafkaStreams;
    use stream::embedded::{EmbeddedLog, LogConfig};
    use tokio::net::TcpListener;

    use super::*;

    fn events(numbers: Range<usize>) -> Vec<Event> {
        let event = |number| Event {
            key: None,
            payload: format!("{{\"n\":{number}}}").into_bytes(),
        };
        numbers.map(event).collect()
    }

    /// As another broker, or this one after a restart: it remembers nothing.
    fn broker(tasks: &TaskGroup) -> Arc<Logs> {
        let clock = SystemClock::shared();
        let tasks = tasks.child("appends");
        Arc::new(Logs::new(Arc::new(KafkaStreams), clock, tasks))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_key_appends_once_whoever_is_asked_and_whatever_broke_off() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let brokers = listener.local_addr().unwrap().to_string();
        let tasks = TaskGroup::new("test");
        let config = LogConfig::new(folder.path().to_owned());
        let (files, clock) = (Arc::new(OsFiles), SystemClock::shared());
        let _log = EmbeddedLog::start(config, listener, files, clock, &tasks).unwrap();
        let columns = vec![ColumnSpec::new("n", DataType::Long, FieldRole::Dimension)];
        let name = "t".parse().unwrap();
        let spec = Arc::new(TableSpec {
            streams: vec![StreamSpec::kafka(brokers, "t")],
            ..TableSpec::new(name, TableType::Realtime, columns)
        });
        let append = async |logs: &Arc<Logs>, count, is_first| {
            let key = "k".to_owned();
            let once = Some(Once { key, is_first });
            let room = logs.room(1).unwrap();
            let spec = Arc::clone(&spec);
            let appended = logs.append(spec, events(0..count), once, true, room);
            appended.await.unwrap()
        };
        // The first broke off after three of five rows.
        let first = append(&broker(&tasks), 3, true).await;
        assert_eq!(first.iter().map(|(_, end)| end).sum::<i64>(), 3);
        let other = broker(&tasks);
        let whole = append(&other, 5, false).await;
        assert_eq!(whole.iter().map(|(_, end)| end).sum::<i64>(), 5);
        assert_eq!(append(&other, 5, false).await, whole);
        assert_eq!(append(&broker(&tasks), 5, false).await, whole);
        // A client that goes away at once.
        let gone = append(&other, 7, false);
        assert!(futures::FutureExt::now_or_never(gone).is_none());
        let seven = append(&other, 7, false).await;
        assert_eq!(seven.iter().map(|(_, end)| end).sum::<i64>(), 7);
        // Without a key there is nothing to know them by.
        let room = other.room(1).unwrap();
        let more = other.append(Arc::clone(&spec), events(0..2), None, true, room);
        more.await.unwrap();
        let log = other.log(&spec).unwrap();
        let mut count = 0;
        for partition in 0..log.partitions(Duration::ZERO).await.unwrap() {
            let source = &log.topic.source;
            count += source.watermarks("t", partition).await.unwrap().1;
        }
        assert_eq!(count, 9);
        assert!(other.room(UNDER_WAY_BYTES_MAX).is_ok(), "all is given back");
        let refused = other.room(UNDER_WAY_BYTES_MAX + 1).unwrap_err();
        assert_eq!(refused.code, pinot_code::TOO_MANY_REQUESTS);
        tasks.stop(Duration::from_secs(5)).await;
    }
}
