//! What each request of Kafka's protocol gets, as far as it is served.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as kafka, *};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::time::Instant;

use super::EmbeddedLog;
use super::batch::end_marker;
use super::connection::APIS;
use super::kafka_error as code;
use super::partition::Fetched;
use super::transactions::Ended;

type Answer = Result<Option<BytesMut>, Failure>;
/// The request cannot be decoded or the answer not be encoded.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn encode(answer: &impl Encodable, version: i16) -> Answer {
    let mut body = BytesMut::with_capacity(256);
    answer
        .encode(&mut body, version)
        .map_err(|error| error.to_string())?;
    Ok(Some(body))
}

fn decode<T: Decodable>(mut body: Bytes, version: i16) -> Result<T, Failure> {
    T::decode(&mut body, version).map_err(|error| error.to_string().into())
}

impl EmbeddedLog {
    pub(super) async fn handle(&self, api: ApiKey, version: i16, body: Bytes) -> Answer {
        match api {
            ApiKey::ApiVersions => encode(&api_versions(), version),
            ApiKey::Metadata => encode(&self.metadata(&decode(body, version)?, version), version),
            ApiKey::Produce => self.produce(&decode(body, version)?, version),
            ApiKey::Fetch => encode(&self.fetch(&decode(body, version)?).await, version),
            ApiKey::ListOffsets => encode(&self.list_offsets(&decode(body, version)?), version),
            ApiKey::CreateTopics => encode(&self.create_topics(&decode(body, version)?), version),
            ApiKey::CreatePartitions => encode(&self.grow_topics(&decode(body, version)?), version),
            ApiKey::DeleteTopics => encode(&self.delete_topics(&decode(body, version)?), version),
            ApiKey::DeleteRecords => encode(&self.delete_records(&decode(body, version)?), version),
            ApiKey::FindCoordinator => encode(
                &FindCoordinatorResponse::default()
                    .with_node_id(BrokerId(0))
                    .with_host(text(&self.host))
                    .with_port(self.port),
                version,
            ),
            ApiKey::InitProducerId => encode(&self.init_producer(&decode(body, version)?), version),
            ApiKey::AddPartitionsToTxn => {
                encode(&self.add_to_transaction(&decode(body, version)?), version)
            }
            ApiKey::EndTxn => encode(&self.end_transaction(&decode(body, version)?), version),
            _ => Err("not served".into()),
        }
    }

    fn metadata(&self, request: &MetadataRequest, version: i16) -> MetadataResponse {
        use metadata_response::{
            MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        };
        let names: Vec<String> = match &request.topics {
            Some(asked) if version > 0 || !asked.is_empty() => asked
                .iter()
                .filter_map(|t| Some(t.name.as_ref()?.to_string()))
                .collect(),
            _ => self.topics.names(),
        };
        let node = BrokerId(0);
        let topics = names.into_iter().map(|name| {
            let topic = MetadataResponseTopic::default().with_name(Some(TopicName(text(&name))));
            let Some(count) = self.topics.partition_count(&name) else {
                return topic.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION);
            };
            let partitions = (0..count as i32).map(|number| {
                MetadataResponsePartition::default()
                    .with_partition_index(number)
                    .with_leader_id(node)
                    .with_leader_epoch(0)
                    .with_replica_nodes(vec![node])
                    .with_isr_nodes(vec![node])
            });
            topic.with_partitions(partitions.collect())
        });
        let broker = MetadataResponseBroker::default()
            .with_node_id(node)
            .with_host(text(&self.host))
            .with_port(self.port);
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text("tannin")))
            .with_controller_id(node)
            .with_topics(topics.collect())
    }

    fn produce(&self, request: &ProduceRequest, version: i16) -> Answer {
        use produce_response::{PartitionProduceResponse, TopicProduceResponse};
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let answer = PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_log_append_time_ms(-1);
                let records = data.records.as_deref().unwrap_or_default();
                let appended = match self.topics.partition(&topic.name, data.index) {
                    Some(partition) => partition.append(records),
                    None => Err(code::UNKNOWN_TOPIC_OR_PARTITION),
                };
                match appended {
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

    /// Waits until there is enough to read, something is wrong, or the client's patience ends.
    async fn fetch(&self, request: &FetchRequest) -> FetchResponse {
        let patience = Duration::from_millis(request.max_wait_ms.max(0) as u64);
        let deadline = Instant::now() + patience;
        loop {
            let appended = self.appended.notified();
            tokio::pin!(appended);
            appended.as_mut().enable();
            let (answer, bytes, failed) = self.fetch_now(request);
            let enough = bytes >= request.min_bytes.max(1) as usize;
            if failed || enough || Instant::now() >= deadline {
                return answer;
            }
            let _ = tokio::time::timeout_at(deadline, appended).await;
        }
    }

    fn fetch_now(&self, request: &FetchRequest) -> (FetchResponse, usize, bool) {
        use fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
        let committed = request.isolation_level == 1;
        let mut left = request.max_bytes.max(1) as usize;
        let (mut bytes, mut failed) = (0, false);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let room = (wanted.partition_max_bytes.max(0) as usize).min(left);
                let fetched = match self.topics.partition(&topic.topic, wanted.partition) {
                    Some(partition) => partition.fetch(wanted.fetch_offset, room, committed),
                    None => Fetched {
                        error: code::UNKNOWN_TOPIC_OR_PARTITION,
                        ..Fetched::default()
                    },
                };
                bytes += fetched.records.len();
                left = left.saturating_sub(fetched.records.len());
                failed |= fetched.error != code::NONE;
                let aborted = fetched.aborted.iter().map(|aborted| {
                    AbortedTransaction::default()
                        .with_producer_id(ProducerId(aborted.producer))
                        .with_first_offset(aborted.first)
                });
                let data = PartitionData::default()
                    .with_partition_index(wanted.partition)
                    .with_error_code(fetched.error)
                    .with_high_watermark(fetched.high_watermark)
                    .with_last_stable_offset(fetched.last_stable)
                    .with_log_start_offset(fetched.start)
                    .with_aborted_transactions(committed.then(|| aborted.collect()))
                    .with_records(Some(fetched.records));
                partitions.push(data);
            }
            let topic = FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions);
            topics.push(topic);
        }
        (
            FetchResponse::default().with_responses(topics),
            bytes,
            failed,
        )
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
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
                        Err(_) => answer.with_error_code(code::STORAGE_ERROR),
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

    fn create_topics(&self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        use create_topics_response::CreatableTopicResult;
        let topics = request.topics.iter().map(|topic| {
            let count = if topic.num_partitions == -1 {
                1
            } else {
                topic.num_partitions
            };
            CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_num_partitions(count)
                .with_replication_factor(1)
                .with_error_code(self.topics.create(&topic.name, count))
        });
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    fn grow_topics(&self, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
        use create_partitions_response::CreatePartitionsTopicResult;
        let results = request.topics.iter().map(|topic| {
            CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(self.topics.grow(&topic.name, topic.count))
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }

    fn delete_topics(&self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        use delete_topics_response::DeletableTopicResult;
        let results = request.topic_names.iter().map(|name| {
            DeletableTopicResult::default()
                .with_name(Some(name.clone()))
                .with_error_code(self.topics.delete(name))
        });
        DeleteTopicsResponse::default().with_responses(results.collect())
    }

    fn delete_records(&self, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
        use delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let answer = DeleteRecordsPartitionResult::default()
                    .with_partition_index(wanted.partition_index);
                let deleted = match self.topics.partition(&topic.name, wanted.partition_index) {
                    Some(partition) => partition.delete_before(wanted.offset),
                    None => Err(code::UNKNOWN_TOPIC_OR_PARTITION),
                };
                match deleted {
                    Ok(start) => answer.with_low_watermark(start),
                    Err(error) => answer.with_error_code(error).with_low_watermark(-1),
                }
            });
            let partitions = partitions.collect();
            DeleteRecordsTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }

    fn init_producer(&self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        let id = request.transactional_id.as_ref().map(|id| id.to_string());
        let begun = self.transactions.lock().begin_producer(id.as_deref());
        let answer = InitProducerIdResponse::default()
            .with_producer_id(ProducerId(begun.producer))
            .with_producer_epoch(begun.epoch);
        self.mark_ended(&begun, Outcome::Abort);
        answer
    }

    fn add_to_transaction(
        &self,
        request: &AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        use kafka::add_partitions_to_txn_response::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
        };
        let asked = &request.v3_and_below_topics;
        let partitions = asked.iter().flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|p| (topic.name.to_string(), *p))
        });
        let error = self.transactions.lock().add(
            &request.v3_and_below_transactional_id,
            request.v3_and_below_producer_epoch,
            partitions.collect(),
        );
        let topics = asked.iter().map(|topic| {
            let results = topic.partitions.iter().map(|partition| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*partition)
                    .with_partition_error_code(error)
            });
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(results.collect())
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
    }

    fn end_transaction(&self, request: &EndTxnRequest) -> EndTxnResponse {
        let ended = self
            .transactions
            .lock()
            .end(&request.transactional_id, request.producer_epoch);
        let error = match ended {
            Ok(ended) => {
                let outcome = if request.committed {
                    Outcome::Commit
                } else {
                    Outcome::Abort
                };
                self.mark_ended(&ended, outcome);
                code::NONE
            }
            Err(error) => error,
        };
        EndTxnResponse::default().with_error_code(error)
    }

    fn mark_ended(&self, ended: &Ended, outcome: Outcome) {
        let now_ms = self.clock.now_ms();
        let commit = outcome == Outcome::Commit;
        for (topic, number) in &ended.partitions {
            let Some(partition) = self.topics.partition(topic, *number) else {
                continue;
            };
            if partition.has_open_transaction(ended.producer) {
                let marker = end_marker(ended.producer, ended.epoch, commit, now_ms);
                if let Err(error) = partition.append(&marker) {
                    tracing::error!(topic, number, error, "cannot end a transaction");
                }
            }
        }
        self.appended.notify_waiters();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Commit,
    Abort,
}

fn api_versions() -> ApiVersionsResponse {
    let served = APIS.iter().map(|(key, least, greatest)| {
        api_versions_response::ApiVersion::default()
            .with_api_key(*key as i16)
            .with_min_version(*least)
            .with_max_version(*greatest)
    });
    ApiVersionsResponse::default().with_api_keys(served.collect())
}
