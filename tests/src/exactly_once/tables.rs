//! The table of the events of [`super::model`].

use serde_json::{Value, json};

use super::model::TABLE;

/// So often a segment is sealed: rows of one partition.
pub const FLUSH_ROWS: u32 = 1000;

/// In the shape of `POST /schemas`.
pub fn schema() -> Value {
    json!({
        "schemaName": TABLE,
        "enableColumnBasedNullHandling": true,
        "dimensionFieldSpecs": [
            { "name": "id", "dataType": "LONG" },
            { "name": "kind", "dataType": "STRING" },
            { "name": "who", "dataType": "STRING" },
            { "name": "flag", "dataType": "BOOLEAN" }
        ],
        "metricFieldSpecs": [
            { "name": "amount", "dataType": "INT" },
            { "name": "price", "dataType": "DOUBLE" }
        ],
        "dateTimeFieldSpecs": [{
            "name": "ts", "dataType": "TIMESTAMP", "format": "1:MILLISECONDS:TIMESTAMP",
            "granularity": "1:MILLISECONDS"
        }],
        "primaryKeyColumns": ["who"]
    })
}

/// In the shape of `POST /tables`.
pub fn table(brokers: &str, replicas: u32, upserts: bool) -> Value {
    json!({
        "tableName": TABLE,
        "tableType": "REALTIME",
        "segmentsConfig": { "timeColumnName": "ts", "replication": replicas.to_string() },
        "tenants": {},
        "tableIndexConfig": {
            "loadMode": "MMAP",
            "nullHandlingEnabled": true,
            "invertedIndexColumns": ["kind"],
            "sortedColumn": ["who"]
        },
        "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
            "streamType": "kafka",
            "stream.kafka.topic.name": TABLE,
            "stream.kafka.broker.list": brokers,
            "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
            "stream.kafka.decoder.class.name":
                "org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder",
            "realtime.segment.flush.threshold.rows": FLUSH_ROWS.to_string(),
            "realtime.segment.flush.threshold.time": "1h"
        }] } },
        "upsertConfig": { "mode": if upserts { "FULL" } else { "NONE" } },
        "metadata": {}
    })
}
