//! Pinot's stream config: where the rows come from and when a segment is sealed.

use serde_json::{Map, Value as Json};

use super::super::reader::{Node, Report};
use super::{decoder, keys};
use crate::table::{FlushLimits, StreamSpec, StreamStart};

/// A stream's config and its path.
pub(super) type StreamMap<'a> = (&'a Map<String, Json>, String);

/// What is wrong was reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faulty;

/// The one stream of the table, from the new or the old place.
pub(super) fn stream_map<'a>(
    indexes: Node<'a>,
    ingestion: Node<'a>,
    report: &mut Report,
) -> Result<Option<StreamMap<'a>>, Faulty> {
    let before = report.faults.len();
    let mut found = None;
    if let Some(stream) = ingestion.object("streamIngestionConfig", report) {
        let node = Node::new(stream, "ingestionConfig.streamIngestionConfig");
        node.only(&keys::STREAM_INGESTION, report);
        let maps = node.objects("streamConfigMaps", report);
        let path = node.path("streamConfigMaps");
        if maps.len() > 1 {
            report.fault(&path, "several streams for one table are not supported yet");
        }
        found = maps.first().map(|one| (*one, format!("{path}[0]")));
    }
    if let Some(old) = indexes.object("streamConfigs", report)
        && !old.is_empty()
    {
        let path = "tableIndexConfig.streamConfigs".to_owned();
        if found.is_some() {
            report.fault(
                &path,
                "the stream is in ingestionConfig too: one place is enough",
            );
        }
        found = Some((old, path));
    }
    if report.faults.len() > before {
        return Err(Faulty);
    }
    Ok(found)
}

pub(super) fn stream_spec(
    node: Node<'_>,
    report: &mut Report,
) -> (Option<StreamSpec>, FlushLimits) {
    node.only_with(&keys::STREAM, &keys::STREAM_PREFIXES, report);
    refuse_unsupported(node, report);
    let mut required = |key: &str| {
        if node.get(key).is_none() {
            report.fault(&node.path(key), "missing");
        }
        node.text(key, report).map(str::to_owned)
    };
    let topic = required("stream.kafka.topic.name");
    let brokers = required("stream.kafka.broker.list");
    let key = "stream.kafka.consumer.prop.auto.offset.reset";
    let start = match node.text(key, report) {
        Some("smallest" | "earliest") => StreamStart::Earliest,
        // Without a word, what comes from now on: as in Pinot.
        None | Some("largest" | "latest") => StreamStart::Latest,
        Some(other) => {
            let what = format!("`{other}` is not supported: smallest or largest");
            report.fault(&node.path(key), what);
            StreamStart::Earliest
        }
    };
    let client_options = client_options(node, report);
    let decoder = decoder::read(node, report);
    let flush = flush_limits(node, report);
    let spec = topic.zip(brokers).map(|(topic, brokers)| StreamSpec {
        brokers,
        topic,
        start,
        client_options,
        decoder,
    });
    (spec, flush)
}

/// They change which rows there are, and we do not have them.
fn refuse_unsupported(node: Node<'_>, report: &mut Report) {
    if let Some(kind) = node.text("streamType", report)
        && kind != "kafka"
    {
        let what = format!("`{kind}` is not supported, only kafka");
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
    if node.says_something("topic.consumption.rate.limit") {
        report.warn_without_effect(&node.path("topic.consumption.rate.limit"));
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

fn flush_limits(node: Node<'_>, report: &mut Report) -> FlushLimits {
    const PREFIX: &str = "realtime.segment.flush.threshold";
    let mut limits = FlushLimits::default();
    let rows = [
        format!("{PREFIX}.rows"),
        format!("{PREFIX}.size"),
        format!("{PREFIX}.segment.rows"),
    ];
    for key in rows {
        match node.number(&key, report) {
            // 0: by size alone.
            None | Some(0) => {}
            Some(rows @ 1..) => limits.rows_max = rows as u64,
            Some(rows) => report.fault(&node.path(&key), format!("{rows} is no number of rows")),
        }
    }
    let key = format!("{PREFIX}.time");
    if let Some(text) = node
        .get(&key)
        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    {
        match period_ms(&text) {
            Some(age) if age > 0 => limits.age_max_ms = age,
            _ => report.fault(
                &node.path(&key),
                format!("`{text}` is no period such as 6h"),
            ),
        }
    }
    let key = format!("{PREFIX}.segment.size");
    if let Some(text) = node.text(&key, report) {
        match size_bytes(text) {
            Some(bytes) if bytes > 0 => limits.bytes_max = bytes,
            _ => report.fault(
                &node.path(&key),
                format!("`{text}` is no size such as 200M"),
            ),
        }
    }
    limits
}

/// `6h`, `1d12h`, `30m`, or milliseconds.
fn period_ms(text: &str) -> Option<i64> {
    if let Ok(ms) = text.trim().parse() {
        return Some(ms);
    }
    let (mut total, mut number) = (0i64, String::new());
    for c in text.trim().to_lowercase().chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            'd' => 86_400_000,
            'h' => 3_600_000,
            'm' => 60_000,
            's' => 1_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    number.is_empty().then_some(total)
}

fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_uppercase();
    let text = text.strip_suffix('B').unwrap_or(&text);
    let (digits, factor) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 1u64 << 10),
        'M' => (&text[..text.len() - 1], 1 << 20),
        'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
