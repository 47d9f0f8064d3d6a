//! The tables of the quickstart, in Pinot's own JSON, as a user would post them.

use serde_json::{Value, json};

use super::flights::TIME_COLUMN;
use crate::configs::{self, Topic};

pub const FLIGHTS: &str = "flights";
/// Partitions of the topic.
pub const PARTITIONS: u32 = 2;
/// The table keeps this much; the minion removes the rest.
const KEEP_DAYS: u32 = 400;
const KEEP_ROWS: u64 = 20_000_000;

const DIMENSIONS: [(&str, &str); 18] = [
    ("carrier", "STRING"),
    ("flight", "INT"),
    ("tailnum", "STRING"),
    ("origin", "STRING"),
    ("dest", "STRING"),
    ("year", "INT"),
    ("month", "INT"),
    ("day", "INT"),
    ("dep_time", "INT"),
    ("sched_dep_time", "INT"),
    ("dep_delay", "INT"),
    ("arr_time", "INT"),
    ("sched_arr_time", "INT"),
    ("arr_delay", "INT"),
    ("air_time", "INT"),
    ("distance", "INT"),
    ("hour", "INT"),
    ("minute", "INT"),
];

pub fn flights_schema() -> Value {
    let fields = DIMENSIONS.map(|(name, data_type)| json!({"name": name, "dataType": data_type}));
    let times = ["event_time", "time_hour"].map(|name| {
        json!({"name": name, "dataType": "TIMESTAMP", "format": "TIMESTAMP",
               "granularity": "1:MILLISECONDS"})
    });
    json!({
        "schemaName": FLIGHTS,
        "enableColumnBasedNullHandling": true,
        "dimensionFieldSpecs": fields,
        "dateTimeFieldSpecs": times,
    })
}

/// `log` is the address of the built-in log.
pub fn flights_config(log: &str) -> Value {
    let from = Topic {
        kafka: log,
        topic: FLIGHTS,
    };
    let mut config = configs::realtime(FLIGHTS, &from, Some(TIME_COLUMN), 1);
    config["segmentsConfig"]["retentionTimeUnit"] = json!("DAYS");
    config["segmentsConfig"]["retentionTimeValue"] = json!(KEEP_DAYS.to_string());
    config["tableIndexConfig"]["invertedIndexColumns"] = json!(["carrier", "tailnum", "dest"]);
    config["metadata"] = json!({"customConfigs": {"tannin.retention.rows": KEEP_ROWS.to_string()}});
    let stream = configs::stream_of(&mut config);
    stream["realtime.segment.flush.threshold.rows"] = json!("150000");
    stream["realtime.segment.flush.threshold.time"] = json!("1h");
    config
}

/// Imported once: name, Parquet file, primary key of a dimension table.
pub(super) const OFFLINE: [(&str, &[u8], &[&str]); 4] = [
    ("airlines", super::flights::AIRLINES, &["carrier"]),
    ("airports", super::flights::AIRPORTS, &["faa"]),
    ("planes", super::flights::PLANES, &["tailnum"]),
    ("weather", super::flights::WEATHER, &[]),
];

/// Four questions that show what is here: title, statement.
pub const QUESTIONS: [(&str, &str); 4] = [
    (
        "who flies, and how late",
        "SELECT carrier, COUNT(*) AS flights, AVG(dep_delay) AS delay FROM flights \
         GROUP BY carrier ORDER BY flights DESC",
    ),
    (
        "the same with names, from a dimension table",
        "SELECT a.name, COUNT(*) AS flights FROM flights f \
         JOIN airlines a ON f.carrier = a.carrier GROUP BY a.name ORDER BY flights DESC LIMIT 5",
    ),
    (
        "what arrives right now, second by second",
        "SELECT date_trunc('second', event_time) AS second, COUNT(*) AS events FROM flights \
         GROUP BY 1 ORDER BY 1 DESC LIMIT 10",
    ),
    (
        "nothing lost, nothing twice",
        "SELECT \"$partition\", COUNT(*) - COUNT(DISTINCT \"$offset\") AS twice, \
         MAX(\"$offset\") - MIN(\"$offset\") + 1 - COUNT(*) AS lost FROM flights GROUP BY 1",
    ),
];
