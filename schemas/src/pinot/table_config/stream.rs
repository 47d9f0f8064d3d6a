//! Pinot's stream config: where the rows come from and when a segment is sealed.

use serde_json::{Map, Value as Json};

use super::super::reader::{Node, Report};
use super::{decoder, flush, keys};
use crate::table::{FlushLimits, RateLimits, StreamKind, StreamSpec, StreamStart};

/// Partition ids of a table leave room for some hundred thousand; nobody needs so many clients.
const TOPICS_MAX: usize = 64;

/// A stream's config and its path.
pub(super) type StreamMap<'a> = (&'a Map<String, Json>, String);

/// What is wrong was reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faulty;

/// The streams of the table, from the new or the old place.
pub(super) fn stream_maps<'a>(
    indexes: Node<'a>,
    ingestion: Node<'a>,
    report: &mut Report,
) -> Result<Vec<StreamMap<'a>>, Faulty> {
    let before = report.faults.len();
    let mut found = Vec::new();
    if let Some(stream) = ingestion.object("streamIngestionConfig", report) {
        let node = Node::new(stream, "ingestionConfig.streamIngestionConfig");
        node.only(&keys::STREAM_INGESTION, report);
        let maps = node.objects("streamConfigMaps", report);
        let path = node.path("streamConfigMaps");
        if maps.len() > TOPICS_MAX {
            report.fault(
                &path,
                format!("a table has at most {TOPICS_MAX} streams here"),
            );
        }
        let maps = maps.into_iter().enumerate();
        found.extend(maps.map(|(at, map)| (map, format!("{path}[{at}]"))));
    }
    if let Some(old) = indexes.object("streamConfigs", report)
        && !old.is_empty()
    {
        let path = "tableIndexConfig.streamConfigs".to_owned();
        if !found.is_empty() {
            report.fault(
                &path,
                "the stream is in ingestionConfig too: one place is enough",
            );
        }
        found = vec![(old, path)];
    }
    if report.faults.len() > before {
        return Err(Faulty);
    }
    Ok(found)
}

/// All streams of a table; its segments are sealed as the first one says.
pub(super) fn stream_specs(
    maps: &[StreamMap<'_>],
    report: &mut Report,
) -> (Vec<StreamSpec>, FlushLimits) {
    let mut specs = Vec::new();
    let mut flush = None;
    for (map, path) in maps {
        let node = Node::new(map, path);
        specs.extend(stream_spec(node, report));
        let limits = flush::limits(node, report);
        flush.get_or_insert(limits);
    }
    (specs, flush.unwrap_or_default())
}

fn stream_spec(node: Node<'_>, report: &mut Report) -> Option<StreamSpec> {
    node.only_with(&keys::STREAM, &keys::STREAM_PREFIXES, report);
    refuse_unsupported(node, report);
    let kind = match node.text("streamType", report) {
        Some("files") => StreamKind::Files,
        _ => StreamKind::Kafka,
    };
    let mut required = |key: &str| {
        if node.get(key).is_none() {
            report.fault(&node.path(key), "missing");
        }
        node.text(key, report).map(str::to_owned)
    };
    let (topic, brokers) = match kind {
        StreamKind::Kafka => (
            required("stream.kafka.topic.name"),
            required("stream.kafka.broker.list"),
        ),
        StreamKind::Files => (
            required("stream.files.name"),
            required("stream.files.folder"),
        ),
    };
    let start = start(node, report);
    let partitions = partition_ids(node, report);
    let rate = RateLimits {
        topic: rate(node, "topic.consumption.rate.limit", report),
        partition: rate(node, "partition.consumption.rate.limit", report),
    };
    let client_options = client_options(node, report);
    let decoder = decoder::read(node, report);
    topic.zip(brokers).map(|(topic, brokers)| StreamSpec {
        kind,
        brokers,
        topic,
        start,
        partitions,
        rate,
        client_options,
        decoder,
    })
}

fn start(node: Node<'_>, report: &mut Report) -> StreamStart {
    let key = "stream.kafka.consumer.prop.auto.offset.reset";
    let Some(text) = node.text(key, report) else {
        // Without a word, what comes from now on: as in Pinot.
        return StreamStart::Latest;
    };
    let offset = || text.strip_prefix("offset:")?.trim().parse().ok();
    match text {
        "smallest" | "earliest" => StreamStart::Earliest,
        "largest" | "latest" => StreamStart::Latest,
        _ => {
            let offset = offset().filter(|offset| *offset >= 0);
            let period = || flush::period_ms(text).filter(|period| *period > 0);
            let start = offset
                .map(StreamStart::Offset)
                .or_else(|| flush::time_ms(text).map(StreamStart::AtTime))
                .or_else(|| period().map(StreamStart::BackFor));
            start.unwrap_or_else(|| {
                let what = format!(
                    "`{text}` is not supported: smallest, largest, a time such as \
                     2026-03-01T00:00:00Z, a period such as 2d, or offset:1234"
                );
                report.fault(&node.path(key), what);
                StreamStart::Earliest
            })
        }
    }
}

/// `0,2,5`
fn partition_ids(node: Node<'_>, report: &mut Report) -> Option<Vec<u32>> {
    let key = "stream.kafka.partition.ids";
    let text = node.text(key, report)?;
    let ids: Result<Vec<u32>, _> = text.split(',').map(|id| id.trim().parse()).collect();
    match ids {
        Ok(mut ids) => {
            ids.sort_unstable();
            ids.dedup();
            Some(ids)
        }
        Err(_) => {
            let what = format!("`{text}` is no list of partitions such as 0,2,5");
            report.fault(&node.path(key), what);
            None
        }
    }
}

/// Messages a second; 0 and below: no limit, as in Pinot.
fn rate(node: Node<'_>, key: &str, report: &mut Report) -> Option<f64> {
    let value = node.get(key)?;
    let rate = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok());
    match rate.filter(|rate| rate.is_finite()) {
        Some(rate) => (rate > 0.0).then_some(rate),
        None => {
            let what = format!("{value} is no number of messages a second");
            report.fault(&node.path(key), what);
            None
        }
    }
}

/// They change which rows there are, and we do not have them.
fn refuse_unsupported(node: Node<'_>, report: &mut Report) {
    if let Some(kind) = node.text("streamType", report)
        && !["kafka", "files"].contains(&kind)
    {
        let what = format!("`{kind}` is not supported, only kafka and files");
        report.fault(&node.path("streamType"), what);
    }
    if let Some(kind) = node.text("stream.kafka.consumer.type", report)
        && kind.eq_ignore_ascii_case("highlevel")
    {
        let path = node.path("stream.kafka.consumer.type");
        report.fault(&path, "consumer groups are not supported: lowlevel");
    }
    for key in [
        "stream.kafka.isolation.level",
        "stream.kafka.consumer.prop.isolation.level",
    ] {
        if let Some(level) = node.text(key, report)
            && level != "read_committed"
        {
            let what = format!("`{level}` is not supported, only read_committed");
            report.fault(&node.path(key), what);
        }
    }
}

/// What Pinot hands to the Kafka client.
fn client_options(node: Node<'_>, report: &mut Report) -> Vec<(String, String)> {
    const PREFIX: &str = "stream.kafka.consumer.prop.";
    const OURS: [&str; 2] = ["auto.offset.reset", "isolation.level"];
    const PLAIN: [&str; 3] = ["security.", "sasl.", "ssl."];
    let mut options = Vec::new();
    for (key, value) in node.object {
        let plain = PLAIN.iter().any(|prefix| key.starts_with(prefix));
        let option = key.strip_prefix(PREFIX).or(plain.then_some(key));
        let Some(option) = option.filter(|option| !OURS.contains(option)) else {
            continue;
        };
        match value {
            Json::String(text) => options.push((option.to_owned(), text.clone())),
            Json::Number(_) | Json::Bool(_) => {
                options.push((option.to_owned(), value.to_string()));
            }
            Json::Null => {}
            _ => report.fault(&node.path(key), "a string was expected"),
        }
    }
    options
}
