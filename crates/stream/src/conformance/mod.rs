//! What a log must do for us, checked through our own reader, producer and admin calls.
//!
//! Invariant: the same checks pass on the built-in log and on Apache Kafka; each makes its own
//! topic, so that they may run against a cluster in use.

mod records;
mod sources;
mod topics;
mod transactions;

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use runtime::{ComputePool, SystemClock};
use schemas::Offset;
use tokio::time::Instant;

use crate::{KafkaProducer, KafkaSource, Message, PartitionReader, StreamSource};

pub use sources::{Writer, source_conformance};

/// Generous: a check waits for what must come, on machines under load.
const PATIENCE: Duration = Duration::from_secs(20);

type Problem = Box<dyn Error + Send + Sync>;
pub type Outcome = Result<(), Problem>;

/// Names a real Kafka to the tests, as `host:port`. `cargo xtask test` starts one and sets it.
pub const KAFKA_VARIABLE: &str = "TEST_KAFKA";

/// The real Kafka that `test` shall use. Without one the terminal says that the test did not run,
/// past the test harness, which hides what passing tests print.
pub fn apache_kafka(test: &str) -> Option<String> {
    let named = std::env::var_os(KAFKA_VARIABLE);
    let named = named.and_then(|brokers| brokers.into_string().ok());
    let named = named.filter(|brokers| !brokers.is_empty());
    if named.is_none() {
        // A closed terminal is no reason to fail.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test} needs an Apache Kafka; `cargo xtask test` starts one, \
             or set {KAFKA_VARIABLE}=host:port"
        );
    }
    named
}

/// A check that did not pass.
#[derive(Debug, thiserror::Error)]
#[error("{check}: {problem}")]
pub struct Failed {
    pub check: &'static str,
    pub problem: Problem,
}

/// Fails the check with a sentence.
macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err(format!($($sentence)+).into());
        }
    };
}
use ensure;

/// The log under test.
#[derive(Debug)]
pub(crate) struct Bench {
    brokers: String,
    source: KafkaSource,
    prefix: String,
}

/// Runs all checks against the log at `brokers`; gives the names of those that passed, or the first
/// that did not.
pub async fn conformance(brokers: &str) -> Result<Vec<&'static str>, Failed> {
    let failed = |check, problem| Failed { check, problem };
    let bench = Bench::new(brokers).map_err(|problem| failed("connect", problem))?;
    let mut passed = Vec::new();
    macro_rules! run {
        ($($module:ident :: $check:ident),+ $(,)?) => {
            $(
                let outcome = Box::pin($module::$check(&bench)).await;
                outcome.map_err(|problem| failed(stringify!($check), problem))?;
                passed.push(stringify!($check));
            )+
        };
    }
    run! {
        topics::topics_grow_and_go,
        topics::settings_are_told,
        topics::records_are_deleted,
        records::codecs_keep_offsets_times_and_keys,
        records::reading_begins_within_a_batch,
        records::offsets_are_found_by_time,
        records::idempotent_producers_keep_their_order,
        records::large_messages_and_tombstones_pass,
        records::samples_come_from_either_end,
        transactions::aborted_and_open_transactions_are_hidden,
        transactions::an_older_producer_is_fenced,
        transactions::a_silent_transaction_is_aborted,
    }
    passed.extend(source_conformance(&bench.source, &bench, &bench.prefix).await?);
    Ok(passed)
}

#[async_trait]
impl Writer for Bench {
    async fn append(&self, topic: &str, partition: u32, payloads: &[String]) -> Outcome {
        let producer = KafkaProducer::new(&self.brokers)?;
        for payload in payloads {
            let partition = Some(partition as i32);
            let sent = producer.send(topic, partition, None, payload.as_bytes());
            sent.await?;
        }
        producer.flush(PATIENCE).await?;
        Ok(())
    }
}

impl Bench {
    fn new(brokers: &str) -> Result<Self, Problem> {
        let now_ms = SystemClock::shared().now_ms();
        Ok(Self {
            brokers: brokers.to_owned(),
            source: KafkaSource::new(brokers, &[], "conformance")?.with_headers(true),
            prefix: format!("conformance-{now_ms}"),
        })
    }

    /// A name that no other run has.
    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    async fn topic(&self, name: &str, partitions: u32) -> Result<String, Problem> {
        let topic = self.name(name);
        self.source.create_topic(&topic, partitions).await?;
        Ok(topic)
    }

    fn config(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("log_level", "3");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, Problem> {
        Ok(self.config(&[]).create()?)
    }

    async fn open(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<Box<dyn PartitionReader>, Problem> {
        Ok(self.source.open(topic, partition, from).await?)
    }

    /// The messages of a partition from `from` on, until none before `until` can follow.
    async fn read(
        &self,
        (topic, partition): (&str, u32),
        from: Offset,
        until: Offset,
    ) -> Result<Vec<Message>, Problem> {
        let mut reader = self.open(topic, partition, from).await?;
        read_until(&mut *reader, until).await
    }
}

/// Reads until `until` is the next offset.
async fn read_until(
    reader: &mut dyn PartitionReader,
    until: Offset,
) -> Result<Vec<Message>, Problem> {
    let deadline = Instant::now() + PATIENCE;
    let mut read = Vec::new();
    loop {
        let fetched = reader.fetch(Duration::from_millis(200)).await?;
        read.extend(fetched.messages);
        if fetched.next >= until {
            return Ok(read);
        }
        let (next, count) = (fetched.next, read.len());
        ensure!(
            Instant::now() < deadline,
            "reading stands at offset {next} after {count} messages, {until} never came"
        );
    }
}

/// Runs what blocks on librdkafka.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    ComputePool::new(1).run(job).await?
}

#[cfg(test)]
mod tests;
