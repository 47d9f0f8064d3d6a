//! Where a table's rows come from, how fast, and when they are sealed.
//!
//! Invariant: a partition id says which topic of the table and which partition of the topic it is,
//! so that topics may be added to a table but never taken out or moved.

use serde::{Deserialize, Deserializer, Serialize};

use crate::decoding::DecoderSpec;

/// A topic and how it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSpec {
    #[serde(default)]
    pub kind: StreamKind,
    /// `host:port`, comma separated; of files the folder.
    pub brokers: String,
    pub topic: String,
    pub start: StreamStart,
    /// `None`: all partitions, also those that come later.
    #[serde(default)]
    pub partitions: Option<Vec<u32>>,
    #[serde(default)]
    pub rate: RateLimits,
    /// Options for the Kafka client, as `stream.kafka.consumer.prop.*` or `stream.kafka.*` gave
    /// them.
    pub client_options: Vec<(String, String)>,
    #[serde(default)]
    pub decoder: DecoderSpec,
}

impl StreamSpec {
    /// All partitions of a Kafka topic from its first message on.
    pub fn kafka(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            kind: StreamKind::Kafka,
            brokers: brokers.into(),
            topic: topic.into(),
            start: StreamStart::Earliest,
            partitions: None,
            rate: RateLimits::default(),
            client_options: Vec::new(),
            decoder: DecoderSpec::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    #[default]
    Kafka,
    /// Files that grow in a folder, a message a line.
    Files,
}

/// Where a partition begins that nobody has consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamStart {
    Earliest,
    Latest,
    /// The first message with this time of the log, in epoch milliseconds, or a later one.
    AtTime(i64),
    /// As `AtTime`, so long before the partition is found.
    BackFor(i64),
    /// In every partition.
    Offset(i64),
}

/// Messages a second; `None`: as fast as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateLimits {
    /// Over all partitions of the topic, each of which gets an even part of it.
    pub topic: Option<f64>,
    pub partition: Option<f64>,
}

impl RateLimits {
    /// Of one of `count` partitions.
    pub fn of_partition(&self, count: usize) -> Option<f64> {
        let share = self.topic.map(|rate| rate / count.max(1) as f64);
        match (share, self.partition) {
            (Some(share), Some(own)) => Some(share.min(own)),
            (share, own) => share.or(own),
        }
    }
}

/// Partition ids of a table: its first topic's partitions from 0 on, its second's from here on.
const TOPIC_STRIDE: u32 = 10_000;

/// Position of the topic in the config and the partition there, of a table's partition id.
pub const fn topic_partition(partition: u32) -> (usize, u32) {
    (
        (partition / TOPIC_STRIDE) as usize,
        partition % TOPIC_STRIDE,
    )
}

/// The id in the table of a topic's partition; `None`: a topic has no more than 10,000.
pub fn partition_id(topic: usize, partition: u32) -> Option<u32> {
    let first = u32::try_from(topic).ok()?.checked_mul(TOPIC_STRIDE)?;
    (partition < TOPIC_STRIDE).then(|| first.checked_add(partition))?
}

/// Before there were tables of several topics there was one, or none.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<StreamSpec>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Several(Vec<StreamSpec>),
        One(Option<Box<StreamSpec>>),
    }
    Ok(match Either::deserialize(from)? {
        Either::Several(streams) => streams,
        Either::One(stream) => stream.into_iter().map(|stream| *stream).collect(),
    })
}

/// A consuming segment is sealed when the first of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushLimits {
    pub rows_max: u64,
    pub age_max_ms: i64,
    /// Of the rows in memory.
    pub bytes_max: u64,
    /// The rows of a segment follow from the size of earlier ones, and `rows_max` is for the first.
    #[serde(default)]
    pub sealed_bytes: Option<u64>,
}

impl Default for FlushLimits {
    fn default() -> Self {
        Self {
            rows_max: 5_000_000,
            age_max_ms: 6 * 3_600_000,
            bytes_max: 512 << 20,
            sealed_bytes: None,
        }
    }
}

/// What happens to messages that cannot be taken, and to offsets that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngestRules {
    pub lost_offsets: LostOffsets,
    /// More rejected messages in a consuming segment stop its partition.
    pub rejected_max: Option<u64>,
    /// As `rejected_max`, as a share of the segment's messages, once there are a hundred.
    pub rejected_share_max: Option<f64>,
    /// Only the reason of a rejection is kept.
    pub drop_rejected_payloads: bool,
}

/// Offsets that were not consumed and that the log does not have any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostOffsets {
    /// The partition stops until somebody decides.
    #[default]
    Stop,
    /// Goes on with the first message that is there.
    Earliest,
    /// Goes on with the messages that come.
    Latest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_ids_tell_topic_and_partition() {
        assert_eq!(partition_id(0, 7), Some(7));
        assert_eq!(partition_id(2, 7), Some(20_007));
        assert_eq!(partition_id(1, 10_000), None);
        assert_eq!(partition_id(usize::MAX, 0), None);
        assert_eq!(topic_partition(20_007), (2, 7));
    }

    #[test]
    fn a_spec_of_one_topic_is_read_as_several() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default, alias = "stream", deserialize_with = "one_or_several")]
            streams: Vec<StreamSpec>,
        }
        let old = r#"{"stream":{"brokers":"b","topic":"t","start":"Latest","client_options":[]}}"#;
        let read = |text: &str| serde_json::from_str::<Holder>(text).unwrap().streams;
        let one = read(old);
        assert_eq!((one.len(), one[0].start), (1, StreamStart::Latest));
        assert!(read(r#"{"stream":null}"#).is_empty());
        assert!(read("{}").is_empty());
        let several = serde_json::to_string(&[&one[0], &one[0]]).unwrap();
        assert_eq!(read(&format!("{{\"streams\":{several}}}")).len(), 2);
    }

    #[test]
    fn a_topics_rate_is_shared() {
        let rate = |topic, partition| RateLimits { topic, partition };
        assert_eq!(rate(Some(100.0), None).of_partition(4), Some(25.0));
        assert_eq!(rate(Some(100.0), Some(10.0)).of_partition(4), Some(10.0));
        assert_eq!(rate(Some(100.0), Some(90.0)).of_partition(0), Some(90.0));
        assert_eq!(rate(None, None).of_partition(4), None);
    }
}
