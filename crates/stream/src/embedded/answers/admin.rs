//! Topics: what there is, making, growing and deleting them, their settings.
//!
//! Invariant: a change has taken effect when it is answered.

use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, MetadataRequest, MetadataResponse, TopicName,
    create_partitions_response, create_topics_request::CreatableTopic, create_topics_response,
    delete_records_response, delete_topics_response, describe_configs_request,
    describe_configs_response, metadata_response,
};

use super::super::EmbeddedLog;
use super::super::connection::Endpoint;
use super::super::kafka_error as code;
use super::super::topics::Change;
use super::{NODE, text};

const BROKERS_DEFAULT: i32 = -1;

fn change(validate_only: bool) -> Change {
    if validate_only {
        Change::OnlyCheck
    } else {
        Change::Make
    }
}

impl EmbeddedLog {
    pub(super) fn metadata(
        &self,
        request: &MetadataRequest,
        version: i16,
        endpoint: &Endpoint,
    ) -> MetadataResponse {
        let names: Vec<String> = match &request.topics {
            Some(asked) if version > 0 || !asked.is_empty() => {
                let names = asked.iter().filter_map(|topic| topic.name.as_ref());
                names.map(|name| name.to_string()).collect()
            }
            _ => self.topics.names(),
        };
        let topics = names.iter().map(|name| self.topic_metadata(name));
        let broker = metadata_response::MetadataResponseBroker::default()
            .with_node_id(NODE)
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port);
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text("tannin")))
            .with_controller_id(NODE)
            .with_topics(topics.collect())
    }

    fn topic_metadata(&self, name: &str) -> metadata_response::MetadataResponseTopic {
        use metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
        let topic = MetadataResponseTopic::default().with_name(Some(TopicName(text(name))));
        let Some(count) = self.topics.partition_count(name) else {
            return topic.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION);
        };
        let partitions = (0..count as i32).map(|number| {
            MetadataResponsePartition::default()
                .with_partition_index(number)
                .with_leader_id(NODE)
                .with_leader_epoch(0)
                .with_replica_nodes(vec![NODE])
                .with_isr_nodes(vec![NODE])
        });
        topic.with_partitions(partitions.collect())
    }

    pub(super) fn create_topics(&self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        use create_topics_response::CreatableTopicResult;
        let change = change(request.validate_only);
        let topics = request.topics.iter().map(|topic| {
            let count = partitions_of(topic);
            let error = match topic.replication_factor {
                -1 | 1 => self.topics.create(&topic.name, count, change),
                _ => code::INVALID_REPLICATION_FACTOR,
            };
            CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_num_partitions(count)
                .with_replication_factor(1)
                .with_error_code(error)
        });
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    pub(super) fn grow_topics(
        &self,
        request: &CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        use create_partitions_response::CreatePartitionsTopicResult;
        let change = change(request.validate_only);
        let results = request.topics.iter().map(|topic| {
            CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(self.topics.grow(&topic.name, topic.count, change))
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }

    pub(super) fn delete_topics(&self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        use delete_topics_response::DeletableTopicResult;
        let results = request.topic_names.iter().map(|name| {
            DeletableTopicResult::default()
                .with_name(Some(name.clone()))
                .with_error_code(self.topics.delete(name))
        });
        let results = results.collect();
        // Who waits for messages of a topic learns that it is gone.
        self.appended.notify_waiters();
        DeleteTopicsResponse::default().with_responses(results)
    }

    pub(super) fn delete_records(&self, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
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

    pub(super) fn describe_configs(
        &self,
        request: &DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let results = request
            .resources
            .iter()
            .map(|asked| self.settings_of(asked));
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    /// What holds for every topic; none can be changed through the protocol.
    fn settings_of(
        &self,
        asked: &describe_configs_request::DescribeConfigsResource,
    ) -> describe_configs_response::DescribeConfigsResult {
        use describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
        const TOPIC: i8 = 2;
        const BROKER: i8 = 4;
        /// Kafka's source of a static broker setting.
        const STATIC_BROKER: i8 = 4;
        let answer = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        let known = match asked.resource_type {
            TOPIC => self.topics.partition_count(&asked.resource_name).is_some(),
            BROKER => *asked.resource_name == *"0",
            _ => false,
        };
        if !known {
            return answer.with_error_code(code::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let settings = [
            ("cleanup.policy", "delete".to_owned()),
            ("message.timestamp.type", "CreateTime".to_owned()),
            ("segment.bytes", self.config.file_bytes.to_string()),
            (
                "log.total.retention.bytes",
                self.config.retention_bytes.to_string(),
            ),
        ];
        let wanted = |name: &str| match &asked.configuration_keys {
            Some(keys) => keys.iter().any(|key| **key == *name),
            None => true,
        };
        let settings = settings.into_iter().filter(|(name, _)| wanted(name));
        let settings = settings.map(|(name, value)| {
            DescribeConfigsResourceResult::default()
                .with_name(text(name))
                .with_value(Some(text(&value)))
                .with_read_only(true)
                .with_config_source(STATIC_BROKER)
        });
        answer.with_configs(settings.collect())
    }
}

/// A topic may come with a list of its partitions instead of their number.
fn partitions_of(topic: &CreatableTopic) -> i32 {
    if topic.num_partitions != BROKERS_DEFAULT {
        return topic.num_partitions;
    }
    i32::try_from(topic.assignments.len()).map_or(i32::MAX, |count| count.max(1))
}
