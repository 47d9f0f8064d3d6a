//! Producer ids and the steps of a transaction.

use std::time::Duration;

use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse,
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, add_partitions_to_txn_response,
};

use super::super::EmbeddedLog;
use super::super::batch::end_marker;
use super::super::history::Outcome;
use super::super::kafka_error as code;
use super::super::transactions::{Claim, Ending};

impl EmbeddedLog {
    pub(super) fn init_producer(&self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        let id = request.transactional_id.as_ref().map(|id| id.as_str());
        let timeout = Duration::from_millis(request.transaction_timeout_ms.max(0) as u64);
        let mark = |ending: &Ending<'_>| self.mark(ending);
        let mut transactions = self.transactions.lock();
        match transactions.begin_producer(id, timeout, &mark) {
            Ok((producer, epoch)) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(producer))
                .with_producer_epoch(epoch),
            Err(error) => InitProducerIdResponse::default()
                .with_error_code(error)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1),
        }
    }

    pub(super) fn add_to_transaction(
        &self,
        request: &AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        use add_partitions_to_txn_response::{
            AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
        };
        let asked = &request.v3_and_below_topics;
        let partitions = asked.iter().flat_map(|topic| {
            let numbers = topic.partitions.iter();
            numbers.map(|number| (topic.name.to_string(), *number))
        });
        let partitions: Vec<(String, i32)> = partitions.collect();
        let missing =
            |(topic, number): &(String, i32)| self.topics.partition(topic, *number).is_none();
        let claim = Claim {
            id: &request.v3_and_below_transactional_id,
            producer: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        let added = if partitions.iter().any(missing) {
            Err(code::UNKNOWN_TOPIC_OR_PARTITION)
        } else {
            let now = self.clock.monotonic();
            self.transactions.lock().add(claim, partitions, now)
        };
        let error = added.err().unwrap_or(code::NONE);
        let topics = asked.iter().map(|topic| {
            let results = topic.partitions.iter().map(|number| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*number)
                    .with_partition_error_code(error)
            });
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(results.collect())
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
    }

    pub(super) fn end_transaction(&self, request: &EndTxnRequest) -> EndTxnResponse {
        let claim = Claim {
            id: &request.transactional_id,
            producer: request.producer_id.0,
            epoch: request.producer_epoch,
        };
        let outcome = if request.committed {
            Outcome::Commit
        } else {
            Outcome::Abort
        };
        let mark = |ending: &Ending<'_>| self.mark(ending);
        let ended = self.transactions.lock().end(claim, outcome, &mark);
        EndTxnResponse::default().with_error_code(ended.err().unwrap_or(code::NONE))
    }

    /// Writes the end markers of a transaction; a partition that has one already gets no other.
    pub(in super::super) fn mark(&self, ending: &Ending<'_>) -> Result<(), i16> {
        let now_ms = self.clock.now_ms();
        let marker = end_marker(ending.producer, ending.epoch, ending.outcome, now_ms);
        for (topic, number) in ending.partitions {
            // A topic deleted meanwhile has nothing to mark.
            if let Some(partition) = self.topics.partition(topic, *number) {
                partition.append_marker(ending.producer, &marker)?;
            }
        }
        self.appended.notify_waiters();
        Ok(())
    }
}
