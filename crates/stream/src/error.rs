//! What can go wrong with a stream, each with what to do.

use schemas::{Fault, FaultKind, Offset};

/// `Unreachable` may pass while the reader is kept; every other error ends the reader.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StreamError {
    #[error(
        "no Kafka broker answers at `{brokers}`: {detail}; check the address and that the broker \
         runs"
    )]
    Unreachable { brokers: String, detail: String },
    #[error("topic `{topic}` does not exist at `{brokers}`; create it, or correct its name")]
    TopicMissing { topic: String, brokers: String },
    #[error(
        "topic `{topic}` at `{brokers}` has no partition {partition}; it was recreated with fewer \
         partitions, drop and create the table"
    )]
    PartitionMissing {
        topic: String,
        partition: u32,
        brokers: String,
    },
    #[error(
        "offset {wanted} of `{topic}` partition {partition} is not in the log any more (it holds \
         {start} to {end}): the topic was recreated, or its retention is shorter than the outage; \
         drop and create the table, or restore the topic"
    )]
    OffsetOutOfRange {
        topic: String,
        partition: u32,
        wanted: Offset,
        start: Offset,
        end: Offset,
    },
    #[error(
        "the message at offset {offset} of `{topic}` partition {partition} is larger than \
         receive.message.max.bytes of the table's stream config allows ({detail})"
    )]
    TooLarge {
        topic: String,
        partition: u32,
        offset: Offset,
        detail: String,
    },
    #[error("the Kafka client refused option `{option}`: {detail}; correct or remove it")]
    Option { option: String, detail: String },
    #[error("{0}")]
    Client(String),
    /// What is needed to read messages is not there.
    #[error("{0}")]
    Registry(String),
    #[error("the reader was closed")]
    Closed,
}

impl StreamError {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Unreachable { .. }
            | Self::TopicMissing { .. }
            | Self::PartitionMissing { .. }
            | Self::Client(_)
            | Self::Registry(_) => FaultKind::Unavailable,
            Self::OffsetOutOfRange { .. } => FaultKind::Conflict,
            Self::Option { .. } | Self::TooLarge { .. } => FaultKind::Invalid,
            Self::Closed => FaultKind::Cancelled,
        }
    }

    /// Whether the same reader may be asked again.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl From<StreamError> for Fault {
    fn from(error: StreamError) -> Self {
        Self::from_chain(error.kind(), &error)
    }
}
