//! Configs as users have them, and what is said about faults.

use expect_test::expect;

use super::*;
use crate::ids::TableId;

const SCHEMA: &str = r#"{"schemaName":"orders","enableColumnBasedNullHandling":true,
 "dimensionFieldSpecs":[{"name":"order_id","dataType":"STRING"},{"name":"city","dataType":"STRING","maxLength":20}],
 "metricFieldSpecs":[{"name":"amount","dataType":"DOUBLE"},{"name":"qty","dataType":"INT","defaultNullValue":7}],
 "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"1:MILLISECONDS:TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;

const CONFIG: &str = r#"{"tableName":"orders","tableType":"REALTIME",
 "segmentsConfig":{"timeColumnName":"ts","retentionTimeUnit":"DAYS","retentionTimeValue":"7","replication":"2"},
 "tenants":{"broker":"DefaultTenant","server":"DefaultTenant"},
 "tableIndexConfig":{"loadMode":"MMAP","invertedIndexColumns":["city"],"rangeIndexColumns":["amount"],"sortedColumn":["city"]},
 "fieldConfigList":[{"name":"order_id","encodingType":"RAW","indexTypes":["INVERTED"]}],
 "ingestionConfig":{"streamIngestionConfig":{"streamConfigMaps":[{"streamType":"kafka","stream.kafka.topic.name":"orders",
   "stream.kafka.broker.list":"localhost:9092","stream.kafka.consumer.prop.auto.offset.reset":"largest",
   "stream.kafka.consumer.prop.security.protocol":"PLAINTEXT",
   "stream.kafka.decoder.class.name":"org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder",
   "realtime.segment.flush.threshold.rows":"0","realtime.segment.flush.threshold.time":"6h30m","realtime.segment.flush.threshold.segment.size":"200M"}]}},
 "metadata":{"customConfigs":{"tannin.retention.rows":"1000"}},
 "quotaa": 1}"#;

#[test]
fn a_real_config() {
    let schema = parse_schema(SCHEMA).unwrap();
    assert!(schema.unrecognized.is_empty());
    let config = parse_table_config(CONFIG).unwrap();
    expect![[r#"["quotaa (did you mean `quota`?)"]"#]].assert_eq(&format!(
        "{:?}",
        config.unrecognized.keys().collect::<Vec<_>>()
    ));
    expect![[r#"["tableIndexConfig.rangeIndexColumns has no effect yet"]"#]]
        .assert_eq(&format!("{:?}", config.warnings));
    assert!(config.clone().strict().is_err());
    let spec = table_spec(&schema.value, &config.value, TableId::random()).unwrap();
    assert_eq!(
        (spec.replication, spec.time_column.as_deref()),
        (2, Some("ts"))
    );
    assert_eq!(spec.retention.age_max_ms, Some(7 * 86_400_000));
    assert_eq!(spec.retention.rows_max, Some(1000));
    assert_eq!(spec.flush.age_max_ms, 6 * 3_600_000 + 30 * 60_000);
    assert_eq!(spec.flush.bytes_max, 200 << 20);
    let stream = spec.stream.as_ref().unwrap();
    assert_eq!(
        stream.client_options,
        [("security.protocol".to_owned(), "PLAINTEXT".to_owned())]
    );
    assert_eq!(spec.column("qty").unwrap().default, crate::Value::Long(7));
    assert_eq!(spec.column("city").unwrap().length_max, 20);
    assert!(spec.column("city").unwrap().inverted_index);
    assert!(spec.column("order_id").unwrap().no_dictionary);
    let stored = serde_json::to_string(&spec).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::TableSpec>(&stored).unwrap(),
        spec
    );
}

#[test]
fn every_fault_of_a_schema_is_named() {
    let bad = r#"{"schemaName":"a__b","dimensionFieldSpecs":[{"name":"x","dataType":"STRNG"},
      {"name":"$y","dataType":"INT"},{"dataType":"INT"},{"name":"t","dataType":"STRING","singleValueField":false},
      {"name":"n","dataType":"INT","defaultNullValue":"many"}],"primaryKeyColumns":["z"]}"#;
    expect![[r#"
        schemaName: `a__b` is no table name: `__` separates the parts of segment names
        dimensionFieldSpecs[0].dataType: `STRNG` is no data type here; did you mean STRING?
        dimensionFieldSpecs[1].name: a column name is not empty and does not begin with `$`
        dimensionFieldSpecs[2].name: missing
        dimensionFieldSpecs[3].singleValueField: multi-value columns are not supported yet
        dimensionFieldSpecs[4].defaultNullValue: "many" is no INT
        primaryKeyColumns: there is no column `z`"#]]
    .assert_eq(&parse_schema(bad).unwrap_err().0.join("\n"));
}

#[test]
fn what_would_change_data_is_refused() {
    let bad = r#"{"tableName":"t","tableType":"REALTIME","upsertConfig":{"mode":"FULL"},
      "segmentsConfig":{"replication":"many","retentionTimeUnit":"MOONS","retentionTimeValue":"3"},
      "ingestionConfig":{"filterConfig":{"filterFunction":"x"},"streamIngestionConfig":{"streamConfigMaps":[
        {"streamType":"kinesis","stream.kafka.broker.list":"b","realtime.segment.flush.threshold.time":"soon"}]}}}"#;
    expect![[r#"
        upsertConfig: upserts are not supported yet
        ingestionConfig.filterConfig: not supported yet, and it would change the data
        ingestionConfig.streamIngestionConfig.streamConfigMaps[0].streamType: `kinesis` is not supported, only kafka
        ingestionConfig.streamIngestionConfig.streamConfigMaps[0].stream.kafka.topic.name: missing
        ingestionConfig.streamIngestionConfig.streamConfigMaps[0].realtime.segment.flush.threshold.time: `soon` is no period such as 6h
        segmentsConfig.replication: a whole number was expected, not "many"
        segmentsConfig.retentionTimeUnit: `MOONS` is no unit"#]]
    .assert_eq(&parse_table_config(bad).unwrap_err().0.join("\n"));
}

#[test]
fn a_config_and_its_schema_must_fit() {
    let schema = parse_schema(SCHEMA).unwrap().value;
    let config = CONFIG.replace("\"timeColumnName\":\"ts\"", "\"timeColumnName\":\"city\"");
    let config = config.replace(
        "\"invertedIndexColumns\":[\"city\"]",
        "\"invertedIndexColumns\":[\"town\"]",
    );
    let config = parse_table_config(&config).unwrap().value;
    expect![[r#"
        tableIndexConfig.invertedIndexColumns: there is no column `town`
        segmentsConfig.timeColumnName: a time column is TIMESTAMP or LONG, not STRING"#]]
    .assert_eq(
        &table_spec(&schema, &config, TableId::random())
            .unwrap_err()
            .0
            .join("\n"),
    );
}

#[test]
fn our_own_schemas_come_back() {
    let schema = parse_schema(SCHEMA).unwrap().value;
    let json = schema_json(&schema.name, &schema.columns, &schema.primary_key);
    let again = parse_schema(&json.to_string()).unwrap().value;
    let types = |s: &Schema| {
        s.columns
            .iter()
            .map(|c| (c.name.clone(), c.data_type))
            .collect::<Vec<_>>()
    };
    assert_eq!(types(&schema), types(&again));
}
