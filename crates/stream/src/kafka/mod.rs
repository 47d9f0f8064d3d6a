//! Apache Kafka, or anything that speaks its protocol, through librdkafka.

mod client;
mod context;
mod events;
mod producer;
mod reader;
mod source;
#[cfg(test)]
mod tests;

pub use producer::{Acks, KafkaProducer, Record};
pub use source::KafkaSource;
