//! Apache Kafka, or anything that speaks its protocol, through librdkafka.

mod context;
mod producer;
mod reader;
mod source;

pub use producer::KafkaProducer;
pub use source::KafkaSource;
