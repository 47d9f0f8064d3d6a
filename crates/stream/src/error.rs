//! What can go wrong with a stream, each with what to do.

use schemas::{Fault, FaultKind, Offset};

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("no Kafka broker answers at `{brokers}`: {detail}")]
    Unreachable { brokers: String, detail: String },
    #[error("topic `{topic}` does not exist at `{brokers}`")]
    TopicMissing { topic: String, brokers: String },
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
    #[error("the Kafka client refused option `{option}`: {detail}")]
    Option { option: String, detail: String },
    #[error("{0}")]
    Client(String),
    #[error("the reader was closed")]
    Closed,
}

impl StreamError {
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Unreachable { .. } | Self::TopicMissing { .. } | Self::Client(_) => {
                FaultKind::Unavailable
            }
            Self::OffsetOutOfRange { .. } => FaultKind::Conflict,
            Self::Option { .. } => FaultKind::Invalid,
            Self::Closed => FaultKind::Cancelled,
        }
    }
}

impl From<StreamError> for Fault {
    fn from(error: StreamError) -> Self {
        Self::from_chain(error.kind(), &error)
    }
}
