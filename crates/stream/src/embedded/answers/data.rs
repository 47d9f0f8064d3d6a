//! Produce, fetch, and offsets by time.
//!
//! Invariant: a fetch that finds nothing sleeps until something is appended; none is missed between
//! looking and sleeping.

use std::time::Duration;

use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, ProduceRequest,
    ProduceResponse, ProducerId, TopicName, fetch_request, fetch_response, list_offsets_response,
    produce_response,
};
use tokio::time::Instant;

use super::super::EmbeddedLog;
use super::super::batch::BatchHeader;
use super::super::kafka_error as code;
use super::super::partition::{Fetched, Isolation};
use super::super::state::{FirstBatch, Room};
use super::super::transactions::Claim;
use super::{Answer, encode};

/// One answer holds no more, whatever the client would take.
const FETCH_BYTES_MAX: usize = 64 << 20;
const WAIT_MAX: Duration = Duration::from_secs(60);

impl EmbeddedLog {
    pub(super) fn produce(&self, request: &ProduceRequest, version: i16) -> Answer {
        use produce_response::{PartitionProduceResponse, TopicProduceResponse};
        let id = request.transactional_id.as_ref().map(|id| id.as_str());
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let answer = PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_log_append_time_ms(-1);
                let records = data.records.as_deref().unwrap_or_default();
                match self.append((&topic.name, data.index), id, records) {
                    Ok((base, start)) => answer.with_base_offset(base).with_log_start_offset(start),
                    Err(error) => answer.with_error_code(error).with_base_offset(-1),
                }
            });
            let partitions = partitions.collect();
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_partition_responses(partitions)
        });
        let answer = ProduceResponse::default().with_responses(topics.collect());
        self.appended.notify_waiters();
        if request.acks == 0 {
            Ok(None)
        } else {
            encode(&answer, version)
        }
    }

    /// Base offset and the log's start.
    fn append(
        &self,
        (topic, number): (&TopicName, i32),
        transactional_id: Option<&str>,
        records: &[u8],
    ) -> Result<(i64, i64), i16> {
        let partition = self.topics.partition(topic, number);
        let partition = partition.ok_or(code::UNKNOWN_TOPIC_OR_PARTITION)?;
        let header = BatchHeader::read(records).ok_or(code::CORRUPT_MESSAGE)?;
        if !header.is_transactional() {
            return partition.append(records);
        }
        let claim = Claim {
            id: transactional_id.ok_or(code::INVALID_TRANSACTION_STATE)?,
            producer: header.producer,
            epoch: header.epoch,
        };
        // Held while appending: no end marker may come in between.
        let mut transactions = self.transactions.lock();
        transactions.admit(claim, (topic, number))?;
        partition.append(records)
    }

    /// Waits until there is enough to read, something is wrong, or the client's patience ends.
    pub(super) async fn fetch(&self, request: &FetchRequest) -> FetchResponse {
        let patience = Duration::from_millis(request.max_wait_ms.max(0) as u64);
        let deadline = Instant::now() + patience.min(WAIT_MAX);
        loop {
            let appended = self.appended.notified();
            tokio::pin!(appended);
            appended.as_mut().enable();
            let found = self.fetch_now(request);
            let enough = found.bytes >= request.min_bytes.max(0) as usize;
            if found.failed || enough || Instant::now() >= deadline {
                return FetchResponse::default().with_responses(found.topics);
            }
            let _woken = tokio::time::timeout_at(deadline, appended).await;
        }
    }

    fn fetch_now(&self, request: &FetchRequest) -> Found {
        let isolation = match request.isolation_level {
            1 => Isolation::Committed,
            _ => Isolation::Everything,
        };
        let bytes_max = request.max_bytes.max(1) as usize;
        let mut found = Found {
            left: bytes_max.min(FETCH_BYTES_MAX),
            ..Found::default()
        };
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let fetched = self.fetch_partition(&topic.topic, wanted, isolation, &found);
                found.bytes += fetched.records.len();
                found.left = found.left.saturating_sub(fetched.records.len());
                found.failed |= fetched.error != code::NONE;
                partitions.push(partition_data(wanted.partition, fetched, isolation));
            }
            let topic = fetch_response::FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions);
            found.topics.push(topic);
        }
        found
    }

    fn fetch_partition(
        &self,
        topic: &TopicName,
        wanted: &fetch_request::FetchPartition,
        isolation: Isolation,
        found: &Found,
    ) -> Fetched {
        let Some(partition) = self.topics.partition(topic, wanted.partition) else {
            return Fetched {
                error: code::UNKNOWN_TOPIC_OR_PARTITION,
                ..Fetched::default()
            };
        };
        let room = Room {
            bytes_max: (wanted.partition_max_bytes.max(0) as usize).min(found.left),
            first: match found.bytes {
                0 => FirstBatch::Always,
                _ => FirstBatch::IfItFits,
            },
        };
        partition.fetch(wanted.fetch_offset, room, isolation)
    }

    pub(super) fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        use list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
        const EARLIEST: i64 = -2;
        const LATEST: i64 = -1;
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let answer = ListOffsetsPartitionResponse::default()
                    .with_partition_index(wanted.partition_index)
                    .with_timestamp(-1)
                    .with_offset(-1)
                    .with_leader_epoch(0);
                let Some(log) = self.topics.partition(&topic.name, wanted.partition_index) else {
                    return answer.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION);
                };
                let (start, stable, end) = log.offsets();
                match wanted.timestamp {
                    EARLIEST => answer.with_offset(start),
                    LATEST if request.isolation_level == 1 => answer.with_offset(stable),
                    LATEST => answer.with_offset(end),
                    timestamp => match log.offset_for_time(timestamp) {
                        Ok(Some((offset, at))) => answer.with_offset(offset).with_timestamp(at),
                        Ok(None) => answer,
                        Err(error) => answer.with_error_code(error),
                    },
                }
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}

/// One look at all the partitions of a fetch.
#[derive(Default)]
struct Found {
    topics: Vec<fetch_response::FetchableTopicResponse>,
    bytes: usize,
    left: usize,
    failed: bool,
}

fn partition_data(
    number: i32,
    fetched: Fetched,
    isolation: Isolation,
) -> fetch_response::PartitionData {
    let aborted = fetched.aborted.iter().map(|aborted| {
        fetch_response::AbortedTransaction::default()
            .with_producer_id(ProducerId(aborted.producer))
            .with_first_offset(aborted.first)
    });
    fetch_response::PartitionData::default()
        .with_partition_index(number)
        .with_error_code(fetched.error)
        .with_high_watermark(fetched.high_watermark)
        .with_last_stable_offset(fetched.last_stable)
        .with_log_start_offset(fetched.start)
        .with_aborted_transactions((isolation == Isolation::Committed).then(|| aborted.collect()))
        .with_records(Some(fetched.records))
}
