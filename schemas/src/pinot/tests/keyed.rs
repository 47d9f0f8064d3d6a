//! `upsertConfig` and `dedupConfig` as users have them.

use expect_test::expect;

use super::super::*;
use crate::ids::TableId;
use crate::keyed::{DedupSpec, KeyedSpec, MergeStrategy, PartialSpec, UpsertSpec};

const SCHEMA: &str = r#"{"schemaName":"t","primaryKeyColumns":["id","n"],
  "dimensionFieldSpecs":[{"name":"id","dataType":"STRING"},{"name":"n","dataType":"LONG"},
    {"name":"tags","dataType":"STRING","singleValueField":false},
    {"name":"gone","dataType":"BOOLEAN"}],
  "metricFieldSpecs":[{"name":"sum","dataType":"LONG"},{"name":"price","dataType":"DOUBLE"}],
  "dateTimeFieldSpecs":[{"name":"ts","dataType":"LONG","format":"1:MILLISECONDS:EPOCH","granularity":"1:MILLISECONDS"}]}"#;

fn keyed(rules: &str) -> Result<(Option<KeyedSpec>, Vec<String>), Vec<String>> {
    let config = format!(
        r#"{{"tableName":"t","tableType":"REALTIME","segmentsConfig":{{"timeColumnName":"ts"}},
        "ingestionConfig":{{"streamIngestionConfig":{{"streamConfigMaps":[{{"streamType":"kafka",
        "stream.kafka.topic.name":"t","stream.kafka.broker.list":"b:1"}}]}}}},{rules}}}"#
    );
    let schema = parse_schema(SCHEMA).unwrap().value;
    let id = TableId::from_bytes(&[7; 16]).unwrap();
    let parsed = parse_table(&config, Some(&schema), id, UnknownKeys::Refuse);
    let parsed = parsed.map_err(|faults| faults.0)?;
    Ok((parsed.value.spec.keyed, parsed.warnings))
}

#[test]
fn rules_of_keys_are_read() {
    let (read, warnings) = keyed(
        r#""upsertConfig":{"mode":"PARTIAL","deleteRecordColumn":"gone","metadataTTL":86400.5,
        "partialUpsertStrategies":{"tags":"UNION","sum":"increment"},"hashFunction":"MURMUR3",
        "defaultPartialUpsertStrategy":"IGNORE","outOfOrderRecordColumn":"gone","enableCommitTimeCompaction":true}"#,
    )
    .unwrap();
    assert_eq!(
        read,
        Some(KeyedSpec::Upsert(UpsertSpec {
            comparison: vec!["ts".to_owned()],
            delete_column: Some("gone".to_owned()),
            ttl: Some(86_401),
            deleted_ttl: None,
            drops_out_of_order: false,
            out_of_order_column: Some("gone".to_owned()),
            partial: Some(PartialSpec {
                default: MergeStrategy::Ignore,
                columns: vec![
                    ("tags".to_owned(), MergeStrategy::Union),
                    ("sum".to_owned(), MergeStrategy::Increment),
                ],
            }),
            drops_replaced: true,
        }))
    );
    assert_eq!(warnings, ["upsertConfig.hashFunction has no effect yet"]);
    // A text, or several numbers.
    for columns in [&["id"] as &[&str], &["ts", "price", "sum"]] {
        let rules = serde_json::json!({ "comparisonColumns": columns });
        let (read, _) = keyed(&format!(r#""upsertConfig":{rules}"#)).unwrap();
        assert_eq!(read.unwrap().upsert().unwrap().comparison, columns);
    }
    let (read, _) = keyed(r#""dedupConfig":{"dedupEnabled":true,"metadataTTL":10}"#).unwrap();
    let dedup = DedupSpec {
        time_column: Some("ts".to_owned()),
        ttl: Some(10),
    };
    assert_eq!(read, Some(KeyedSpec::Dedup(dedup)));
    let none = r#""upsertConfig":{"mode":"NONE"},"dedupConfig":{"dedupEnabled":false}"#;
    assert_eq!(keyed(none).unwrap(), (None, Vec::new()));
}

#[test]
fn rules_of_keys_that_cannot_be_kept_are_refused() {
    let faults = |rules: &str| keyed(rules).unwrap_err().join("\n");
    expect![[r#"
        upsertConfig.comparisonColumns: of several columns there is no age: `metadataTTL` and `deletedKeysTTL` want one
        upsertConfig.comparisonColumns: column `id` is STRING, not TIMESTAMP or LONG or INT
        upsertConfig.deleteRecordColumn: there is no column `x`
        upsertConfig.partialUpsertStrategies.price: the column is not of the kind that can be merged so
        upsertConfig.partialUpsertStrategies.ts: a column of the key or of the comparison is never merged"#]]
    .assert_eq(&faults(
        r#""upsertConfig":{"mode":"PARTIAL","comparisonColumns":["id","ts"],"deletedKeysTTL":5,
        "deleteRecordColumn":"x","partialUpsertStrategies":{"price":"APPEND","ts":"MAX"}}"#,
    ));
    expect![[r#"
        upsertConfig.partialUpsertMergerClass: not supported, and it would change the data
        upsertConfig.metadataTTL: -1 is no time to live
        upsertConfig.outOfOrderRecordColumn: rows out of order are dropped, and cannot be marked
        dedupConfig: a table has upserts or deduplication, not both"#]]
    .assert_eq(&faults(
        r#""upsertConfig":{"mode":"FULL","dropOutOfOrderRecord":true,"metadataTTL":-1,
        "outOfOrderRecordColumn":"gone","partialUpsertMergerClass":"x"},
        "dedupConfig":{"dedupEnabled":true}"#,
    ));
}
