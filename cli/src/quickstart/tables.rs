//! The tables of the quickstart, in Pinot's own JSON, as a user would post them.

use serde_json::{Value, json};

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
        json!({"name": name, "dataType": "TIMESTAMP", "format": "1:MILLISECONDS:TIMESTAMP",
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
    json!({
        "tableName": FLIGHTS,
        "tableType": "REALTIME",
        "segmentsConfig": {
            "timeColumnName": "event_time",
            "retentionTimeUnit": "DAYS",
            "retentionTimeValue": KEEP_DAYS.to_string(),
            "replication": "1",
        },
        "tenants": {},
        "tableIndexConfig": {
            "nullHandlingEnabled": true,
            "invertedIndexColumns": ["carrier", "tailnum", "dest"],
        },
        "ingestionConfig": {"streamIngestionConfig": {"streamConfigMaps": [{
            "streamType": "kafka",
            "stream.kafka.topic.name": FLIGHTS,
            "stream.kafka.broker.list": log,
            "stream.kafka.decoder.class.name":
                "org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder",
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
            "realtime.segment.flush.threshold.rows": "500000",
            "realtime.segment.flush.threshold.time": "1h",
        }]}},
        "metadata": {"customConfigs": {"tannin.retention.rows": KEEP_ROWS.to_string()}},
    })
}

/// Imported once: name, Parquet file, primary key of a dimension table.
pub const OFFLINE: [(&str, &[u8], &[&str]); 4] = [
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
