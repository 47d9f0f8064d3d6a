//! Reading partitions of a Kafka topic, and a built-in log that speaks Kafka's protocol.
