//! Table configs in Pinot's own JSON, as a user would post them: one place for all commands.

use schemas::TableName;
use serde_json::{Value, json};

/// Where a table's events come from.
#[derive(Debug)]
pub(crate) struct Topic<'a> {
    pub kafka: &'a str,
    pub topic: &'a str,
}

/// A REALTIME table that consumes JSON from the start of a topic.
pub(crate) fn realtime(
    name: &str,
    from: &Topic<'_>,
    time_column: Option<&str>,
    replication: u32,
) -> Value {
    let mut config = json!({
        "tableName": name,
        "tableType": "REALTIME",
        "segmentsConfig": { "replication": replication.to_string() },
        "tenants": {},
        "tableIndexConfig": { "nullHandlingEnabled": true },
        "ingestionConfig": {"streamIngestionConfig": {"streamConfigMaps": [{
            "streamType": "kafka",
            "stream.kafka.topic.name": from.topic,
            "stream.kafka.broker.list": from.kafka,
            "stream.kafka.decoder.class.name":
                "org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder",
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
        }]}},
        "metadata": {},
    });
    if let Some(column) = time_column {
        config["segmentsConfig"]["timeColumnName"] = json!(column);
    }
    config
}

/// The stream of a [`realtime`] config, to add options to.
pub(crate) fn stream_of(config: &mut Value) -> &mut Value {
    &mut config["ingestionConfig"]["streamIngestionConfig"]["streamConfigMaps"][0]
}

/// An OFFLINE table; `primary_key` makes it a dimension table.
pub(crate) fn offline(
    name: &TableName,
    time_column: Option<&str>,
    primary_key: &[String],
) -> Value {
    let mut config = json!({
        "tableName": name.as_str(),
        "tableType": "OFFLINE",
        "segmentsConfig": { "replication": "1" },
        "tenants": {},
        "tableIndexConfig": { "nullHandlingEnabled": true },
        "metadata": {},
    });
    if let Some(column) = time_column {
        config["segmentsConfig"]["timeColumnName"] = json!(column);
    }
    if !primary_key.is_empty() {
        config["isDimTable"] = json!(true);
    }
    config
}
