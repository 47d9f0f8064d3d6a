//! Configs as users have them, and what is said about faults.

use expect_test::expect;

mod keyed;
mod tasks;

use super::*;
use crate::decoding::{Compression, Envelope, FormatSpec};
use crate::ids::TableId;
use crate::table::StarTreeSpec;

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
    expect![[r#"{"/quotaa":{"value":1,"didYouMean":"quota"}}"#]]
        .assert_eq(&serde_json::to_string(&config.unrecognized).unwrap());
    expect!["[]"].assert_eq(&format!("{:?}", config.warnings));
    expect![[r#"/quotaa: unknown key; did you mean `quota`?"#]].assert_eq(
        &parse_table_config_with(CONFIG, UnknownKeys::Refuse)
            .unwrap_err()
            .to_string(),
    );
    let spec = table_spec(&schema.value, &config.value, TableId::random()).unwrap();
    assert_eq!(
        (spec.replication, spec.time_column.as_deref()),
        (2, Some("ts"))
    );
    assert_eq!(spec.retention.age_max_ms, Some(7 * 86_400_000));
    assert_eq!(spec.retention.rows_max, Some(1000));
    assert_eq!(spec.flush.age_max_ms, 6 * 3_600_000 + 30 * 60_000);
    assert_eq!(spec.flush.sealed_bytes, Some(200 << 20));
    assert_eq!(spec.flush.rows_max, 100_000, "of the first segment");
    let stream = &spec.streams[0];
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
      {"name":"$y","dataType":"INT"},{"dataType":"INT"},{"name":"t","dataType":"UUID","defaultNullValue":"1"},
      {"name":"n","dataType":"INT","defaultNullValue":"many"}],
      "metricFieldSpecs":[{"name":"m","dataType":"INT","singleValueField":false}],"primaryKeyColumns":["z"]}"#;
    expect![[r#"
        schemaName: `a__b` is no table name: `__` separates the parts of segment names
        dimensionFieldSpecs[0].dataType: `STRNG` is no data type here; did you mean STRING?
        dimensionFieldSpecs[1].name: a column name is not empty and does not begin with `$`
        dimensionFieldSpecs[2].name: missing
        dimensionFieldSpecs[3].defaultNullValue: "1" is no UUID
        dimensionFieldSpecs[4].defaultNullValue: "many" is no INT
        metricFieldSpecs[0].singleValueField: only a dimension has several values a row
        primaryKeyColumns: there is no column `z`"#]]
    .assert_eq(&parse_schema(bad).unwrap_err().0.join("\n"));
}

#[test]
fn what_would_change_data_is_refused() {
    let bad = r#"{"tableName":"t","tableType":"REALTIME","upsertConfig":{"mode":"HALF"},
      "segmentsConfig":{"replication":"many","retentionTimeUnit":"MOONS","retentionTimeValue":"3"},
      "ingestionConfig":{"filterConfig":{"filterFunction":"Groovy({a.toUpperCase() == b}, a, b)"},"streamIngestionConfig":{"streamConfigMaps":[
        {"streamType":"kinesis","stream.kafka.broker.list":"b","realtime.segment.flush.threshold.time":"soon"}]}}}"#;
    expect![[r#"
        ingestionConfig.streamIngestionConfig.streamConfigMaps[0].streamType: `kinesis` is not supported, only kafka and files
        ingestionConfig.streamIngestionConfig.streamConfigMaps[0].stream.kafka.topic.name: missing
        ingestionConfig.streamIngestionConfig.streamConfigMaps[0].realtime.segment.flush.threshold.time: `soon` is no period such as 6h
        ingestionConfig.filterConfig.filterFunction: scripts in Groovy are not run; write an expression of SQL: `upper(x)` is the nearest function
        upsertConfig.mode: `HALF` is not FULL, PARTIAL or NONE
        segmentsConfig.replication: a whole number was expected, not "many"
        segmentsConfig.retentionTimeUnit: `MOONS` is no unit: MINUTES, HOURS or DAYS"#]]
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
        segmentsConfig.timeColumnName: a time column is TIMESTAMP, LONG or INT, not STRING"#]]
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

#[test]
fn what_a_config_says_of_the_stream_is_checked_in_both_places() {
    let stream =
        r#""streamType":"kafka","stream.kafka.topic.name":"t","stream.kafka.broker.list":"b:1""#;
    let config = |stream: &str| {
        let old = format!(r#""tableIndexConfig":{{"streamConfigs":{{{stream}}}}}"#);
        format!(r#"{{"tableName":"t","tableType":"REALTIME",{old}}}"#)
    };
    let parsed = parse_table_config(&config(stream)).unwrap();
    let schema = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"a","dataType":"INT"}]}"#;
    let schema = parse_schema(schema).unwrap().value;
    let without_time = table_spec(&schema, &parsed.value, TableId::random());
    expect!["segmentsConfig.timeColumnName: a REALTIME table needs a time column"]
        .assert_eq(&without_time.unwrap_err().to_string());

    let more = r#","security.protocol":"SSL","sasl.mechanism":"PLAIN","stream.kafka.consumer.prop.client.rack":3,
      "stream.kafka.consumer.prop.isolation.level":"read_uncommitted","stream.kafka.metadata.populate":"true",
      "stream.kafka.consumer.type":"highlevel","topic.consumption.rate.limit":"10",
      "stream.kafka.decoder.class.name":"com.example.AvroMessageDecoder","realtime.segment.flush.treshold.rows":"5",
      "realtime.segment.flush.threshold.rows":-5,"realtime.segment.flush.threshold.segment.size":"big""#;
    let bad = config(&format!("{stream}{more}"));
    let faults = parse_table_config_with(&bad, UnknownKeys::Refuse).unwrap_err();
    expect![[r#"
        tableIndexConfig.streamConfigs.stream.kafka.consumer.type: consumer groups are not supported: lowlevel
        tableIndexConfig.streamConfigs.stream.kafka.consumer.prop.isolation.level: `read_uncommitted` is not supported, only read_committed
        tableIndexConfig.streamConfigs.stream.kafka.decoder.class.name: `com.example.AvroMessageDecoder` is not supported; there are decoders of JSON, Avro, Protobuf, CSV and Arrow: JSONMessageDecoder, SimpleAvroMessageDecoder, KafkaConfluentSchemaRegistryAvroMessageDecoder, ProtoBufMessageDecoder, CSVMessageDecoder, ArrowMessageDecoder
        tableIndexConfig.streamConfigs.realtime.segment.flush.threshold.rows: -5 is no number of rows
        tableIndexConfig.streamConfigs.realtime.segment.flush.threshold.segment.size: `big` is no size such as 200M
        /tableIndexConfig/streamConfigs/realtime.segment.flush.treshold.rows: unknown key; did you mean `realtime.segment.flush.threshold.rows`?"#]]
    .assert_eq(&faults.0.join("\n"));

    let schema = SCHEMA.replace("\"orders\"", "\"t\"");
    let schema = parse_schema(&schema).unwrap().value;
    let good = r#","security.protocol":"SSL","stream.kafka.consumer.prop.client.rack":3"#;
    let good = config(&format!("{stream}{good}")).replace(
        "\"tableIndexConfig\"",
        "\"segmentsConfig\":{\"timeColumnName\":\"ts\"},\"tableIndexConfig\"",
    );
    let table = parse_table(&good, Some(&schema), TableId::random(), UnknownKeys::Refuse);
    let stream = table.unwrap().value.spec.streams.remove(0);
    let options = [("security.protocol", "SSL"), ("client.rack", "3")];
    assert_eq!(
        stream.client_options,
        options.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let default = crate::table::StreamStart::Latest;
    assert_eq!(stream.start, default, "as Pinot does");
}

#[test]
fn what_changes_data_is_refused_and_the_rest_warns() {
    let bad = r#"{"tableName":"t","tableType":"OFFLINE","isMaterializedView":true,
      "dedupConfig":{"dedupEnabled":true},"dimensionTableConfig":{"errorOnDuplicatePrimaryKey":true},
      "segmentsConfig":{"crypterClassName":"x","replication":"0","retentionTimeValue":"-1","retentionTimeUnit":"DAYS"},
      "tableIndexConfig":{"aggregateMetrics":"true","sortedColumn":["a","b"]},
      "fieldConfigList":[{"encodingType":"RAW"},{"name":"a","encodingType":"ZSTD"}],
      "ingestionConfig":{"transformConfigs":[{"columnName":"a"}],"enrichmentConfigs":[{}],
      "aggregationConfigs":[{"columnName":"n","aggregationFunction":"AVG(x)"}],"complexTypeConfig":{"collectionNotUnnestedToJson":"SOME"}},
      "task":{"taskTypeConfigsMap":{"PurgeTask":{},"MergeRollupTask":{"1day.mergeType":"roll"},"RealtimeToOfflineSegmentsTask":{"schedule":"daily"}}},
      "metadata":{"customConfigs":{"tannin.retention.rows":"all"}}}"#;
    expect![[r#"
        isMaterializedView: materialized views are not supported yet
        tableIndexConfig.aggregateMetrics: not supported yet, and it would change the data
        segmentsConfig.crypterClassName: not supported yet: segments are not encrypted
        dimensionTableConfig.errorOnDuplicatePrimaryKey: not supported yet
        ingestionConfig.enrichmentConfigs: not supported yet, and it would change the data
        fieldConfigList[0].name: missing
        fieldConfigList[1].encodingType: `ZSTD` is neither DICTIONARY nor RAW
        tableIndexConfig.sortedColumn: a table has one sorted column
        ingestionConfig.complexTypeConfig.collectionNotUnnestedToJson: `SOME` is not one of NONE, NON_PRIMITIVE, ALL
        ingestionConfig.aggregationConfigs[0].aggregationFunction: `AVG(x)` is not rolled up here: COUNT(*), SUM(x), MIN(x), MAX(x), DISTINCTCOUNTHLL(x), DISTINCTCOUNTHLLPLUS(x), DISTINCTCOUNTTHETASKETCH(x), PERCENTILETDIGEST(x)
        ingestionConfig.transformConfigs[0].transformFunction: missing
        dedupConfig: of REALTIME tables only, whose rows have an order
        segmentsConfig.replication: 0 is not between 1 and 64
        segmentsConfig.retentionTimeValue: -1 is no time
        metadata.customConfigs.tannin.retention.rows: a whole number was expected, not "all"
        task.taskTypeConfigsMap.PurgeTask.purgeFilter: missing: an expression that is true for the rows that shall go
        task.taskTypeConfigsMap.MergeRollupTask.1day.bucketTimePeriod: missing
        task.taskTypeConfigsMap.MergeRollupTask.1day.mergeType: `roll` is none of concat, rollup and dedup
        task.taskTypeConfigsMap.RealtimeToOfflineSegmentsTask: it is a task of the REALTIME table"#]]
    .assert_eq(&parse_table_config(bad).unwrap_err().0.join("\n"));

    let slow = r#"{"tableName":"t","tableType":"OFFLINE","upsertConfig":{"mode":"NONE"},"dedupConfig":{"dedupEnabled":false},
      "tenants":{"broker":"DefaultTenant","server":"fast"},"tierConfigs":[],"quota":{"storage":"100G"},"query":{"timeoutMs":5000},
      "segmentsConfig":{"replication":"1","retentionTimeUnit":"","retentionTimeValue":"","completionConfig":{"completionMode":"DOWNLOAD"}},
      "tableIndexConfig":{"starTreeIndexConfigs":[{}],"bloomFilterColumns":[],"aggregateMetrics":false,"nullHandlingEnabled":true},
      "fieldConfigList":[{"name":"a","indexes":{"text":{}},"compressionCodec":"LZ4","tmestampConfig":{}}],
      "ingestionConfig":{"transformConfigs":[],"continueOnError":false},
      "task":{"taskTypeConfigsMap":{"SegmentGenerationAndPushTask":{}}}}"#;
    let parsed = parse_table_config(slow).unwrap();
    expect![[r#"
        quota.storage has no effect yet
        query has no effect yet
        segmentsConfig.completionConfig has no effect yet
        fieldConfigList[0].compressionCodec has no effect yet
        task.taskTypeConfigsMap.SegmentGenerationAndPushTask has no effect yet"#]]
    .assert_eq(&parsed.warnings.join("\n"));
    let unknown: Vec<_> = parsed.unrecognized.into_iter().collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].0, "/fieldConfigList/0/tmestampConfig");
    assert_eq!(unknown[0].1.nearest, Some("timestampConfig"));
}

#[test]
fn faults_of_the_config_and_of_how_it_fits_come_together() {
    let schema = parse_schema(SCHEMA).unwrap().value;
    let bad = CONFIG
        .replace("\"6h30m\"", "\"soon\"")
        .replace("\"timeColumnName\":\"ts\"", "\"timeColumnName\":\"when\"")
        .replace("\"name\":\"order_id\"", "\"name\":\"order\"");
    assert_eq!(table_name(&bad), Some("orders".parse().unwrap()));
    let id = TableId::random();
    let faults = parse_table(&bad, Some(&schema), id, UnknownKeys::Collect).unwrap_err();
    expect![[r#"
        ingestionConfig.streamIngestionConfig.streamConfigMaps[0].realtime.segment.flush.threshold.time: `soon` is no period such as 6h
        fieldConfigList[0].name: there is no column `order`
        segmentsConfig.timeColumnName: there is no column `when`"#]]
    .assert_eq(&faults.0.join("\n"));
    expect!["tableConfig.fieldConfigList[0].name: there is no column `order`"]
        .assert_eq(&faults.within("tableConfig").0[1]);

    let without = parse_table(CONFIG, None, id, UnknownKeys::Refuse).unwrap_err();
    expect![[r#"
        /quotaa: unknown key; did you mean `quota`?
        tableName: schema `orders` does not exist; POST it to /schemas first"#]]
    .assert_eq(&without.0.join("\n"));
    expect!["/tableConfig/quotaa: unknown key; did you mean `quota`?"]
        .assert_eq(&without.within("tableConfig").0[0]);
}

#[test]
fn a_schema_that_would_store_other_data_is_refused() {
    let bad = r#"{"dimensionFieldSpecs":[{"name":"a","dataType":"STRING","maxLengthExceedStrategy":"CUT","maxLength":-1},
      {"name":"b","dataType":"BIG_DECIMAL","allowTrailingZeros":true},{"name":"c","dataType":"JSON","maxLengthExceedStrategy":"TRIM_LENGTH","transformFunction":"groovy({a ? b : c}, a)"},
      {"name":"d","dataType":"INT","virtualColumnProvider":"x"},{"name":"a","dataType":"INT"}],
      "complexFieldSpecs":[{"name":"m"}],"timeFieldSpec":null}"#;
    expect![[r#"
        schemaName: missing
        dimensionFieldSpecs[0].maxLengthExceedStrategy: `CUT` is not one of TRIM_LENGTH, ERROR, SUBSTITUTE_DEFAULT_VALUE, NO_ACTION
        dimensionFieldSpecs[0].maxLength: -1 is no length
        dimensionFieldSpecs[1].allowTrailingZeros: not supported yet
        dimensionFieldSpecs[2].transformFunction: scripts in Groovy are not run; write an expression of SQL: `CASE WHEN a THEN b ELSE c END` is the nearest
        dimensionFieldSpecs[2].maxLengthExceedStrategy: only a STRING is cut, not JSON
        dimensionFieldSpecs[3].virtualColumnProvider: not supported yet
        complexFieldSpecs: not supported; use dimensionFieldSpecs or dateTimeFieldSpecs
        $: column `a` is defined twice"#]]
    .assert_eq(&parse_schema(bad).unwrap_err().0.join("\n"));
}

#[test]
fn indexes_of_columns_come_from_lists_and_from_fields() {
    let schema = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"id","dataType":"LONG"},
      {"name":"city","dataType":"STRING"}],"metricFieldSpecs":[{"name":"price","dataType":"DOUBLE"}],
      "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;
    let schema = parse_schema(schema).unwrap().value;
    let table = |indexes: &str, fields: &str| {
        let config = format!(
            r#"{{"tableName":"t","tableType":"OFFLINE","segmentsConfig":{{}},
            "tableIndexConfig":{{{indexes}}},"fieldConfigList":[{fields}]}}"#
        );
        let id = TableId::from_bytes(&[1; 16]).unwrap();
        parse_table(&config, Some(&schema), id, UnknownKeys::Collect)
    };
    let parsed = table(
        r#""rangeIndexColumns":["price"],"bloomFilterColumns":["city","id"],
           "bloomFilterConfigs":{"id":{"fpp":0.01,"maxSizeInBytes":4096}}"#,
        r#"{"name":"id","indexes":{"range":{},"bloom":{"disabled":true}}},
           {"name":"city","indexes":{"dictionary":{"sharedPrefixes":true}}},
           {"name":"ts","indexTypes":["TIMESTAMP"],"timestampConfig":{"granularities":["DAY","month"]}}"#,
    )
    .unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    let column = |name: &str| parsed.value.spec.column(name).unwrap();
    assert!(column("price").range_index && column("id").range_index && !column("city").range_index);
    let bloom = |name: &str| {
        column(name)
            .bloom_filter
            .map(|b| (b.false_positives, b.bytes_max))
    };
    assert_eq!(bloom("id"), Some((0.01, 4096)));
    assert_eq!(bloom("city"), Some((0.05, 1 << 20)));
    use crate::table::TimeGranularity::{Day, Month};
    assert_eq!(column("ts").timestamp_index, [Day, Month]);
    assert!(column("city").shared_prefixes && !column("id").shared_prefixes);
    let faults = table(
        r#""rangeIndexColumns":["nobody"]"#,
        r#"{"name":"city","indexes":{"bloom":{"fpp":2}}},
           {"name":"id","timestampConfig":{"granularities":["DAY","FORTNIGHT"]},
            "indexes":{"dictionary":{"sharedPrefixes":true}}}"#,
    )
    .unwrap_err();
    expect![[r#"
        fieldConfigList[0].indexes.bloom.fpp: a number between 0 and 1 was expected
        fieldConfigList[1].timestampConfig.granularities: `FORTNIGHT` is no granularity: MILLISECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER, YEAR
        tableIndexConfig.rangeIndexColumns: there is no column `nobody`
        fieldConfigList[1].timestampConfig: column `id` is LONG, which has no time buckets
        fieldConfigList[1].indexes.dictionary.sharedPrefixes: column `id` is LONG, which has no texts that share prefixes"#]]
    .assert_eq(&faults.0.join("\n"));
}

#[test]
fn text_and_json_indexes() {
    let config = |indexes: &str, fields: &str| {
        let text = CONFIG.replace(
            r#""loadMode":"MMAP""#,
            &format!(r#""loadMode":"MMAP"{indexes}"#),
        );
        let old = r#""fieldConfigList":[{"name":"order_id","encodingType":"RAW","indexTypes":["INVERTED"]}]"#;
        let text = text.replace(old, &format!(r#""fieldConfigList":[{fields}]"#));
        parse_table(
            &text,
            Some(&parse_schema(SCHEMA).unwrap().value),
            TableId::random(),
            UnknownKeys::Collect,
        )
    };
    let good = config(
        r#","jsonIndexColumns":["city","order_id"],"jsonIndexConfigs":{"city":{"maxLevels":2,"excludeArray":true,"disableCrossArrayUnnest":true,"excludePaths":["$.a[*].b"],"maxValueLength":9}}"#,
        r#"{"name":"order_id","indexType":"TEXT","properties":{"stopWordInclude":"foo, bar","stopWordExclude":"the","luceneAnalyzerClass":"org.apache.lucene.analysis.en.EnglishAnalyzer","useANDForMultiTermTextIndexQueries":"true"},
            "indexes":{"json":{"indexPaths":["a.*","b..c.**"],"skipInvalidJson":true}}},
           {"name":"city","indexes":{"text":{"luceneAnalyzerClass":"KeywordAnalyzer"}}}"#,
    )
    .unwrap();
    let spec = good.value.spec;
    let text = spec
        .column("order_id")
        .unwrap()
        .text_index
        .as_ref()
        .unwrap();
    assert_eq!(text.analyzer, crate::table::TextAnalyzer::English);
    assert!(text.all_terms && text.stop_words.contains(&"bar".to_owned()));
    assert!(!text.stop_words.contains(&"the".to_owned()));
    let json = spec.column("city").unwrap().json_index.as_ref().unwrap();
    expect![[
        r#"{"levels_max":2,"exclude_array":true,"include_paths":[],"exclude_paths":["$.a[*].b"],"exclude_fields":[],"value_bytes_max":9,"separate_arrays":true}"#
    ]]
    .assert_eq(&serde_json::to_string(json).unwrap());
    let json = spec.column("order_id").unwrap().json_index.as_ref();
    expect![[
        r#"{"levels_max":null,"exclude_array":false,"include_paths":[],"exclude_paths":[],"exclude_fields":[],"value_bytes_max":0,"separate_arrays":false,"index_paths":["a.*","b..c.**"],"marks_invalid":true}"#
    ]]
    .assert_eq(&serde_json::to_string(json.unwrap()).unwrap());
    assert!(
        spec.column("city")
            .unwrap()
            .text_index
            .as_ref()
            .unwrap()
            .stop_words
            .is_empty()
    );
    let bad = config(
        r#","jsonIndexColumns":["amount","nowhere"],"jsonIndexConfigs":{"city":{"maxLevels":"many","includePaths":["a.b"],"indexPaths":["$.a[*].b"]}}"#,
        r#"{"name":"qty","indexTypes":["TEXT"],"properties":{"luceneAnalyzerClass":"com.example.Mine"}}"#,
    );
    expect![[r#"
        fieldConfigList[0].properties.luceneAnalyzerClass: `com.example.Mine` is not supported: StandardAnalyzer, WhitespaceAnalyzer, KeywordAnalyzer or EnglishAnalyzer of Lucene
        tableIndexConfig.jsonIndexConfigs.city.maxLevels: a whole number was expected, not "many"
        tableIndexConfig.jsonIndexConfigs.city.includePaths: `a.b` is no path such as $.a.b or $.a[*].b
        tableIndexConfig.jsonIndexConfigs.city.indexPaths: `$.a[*].b` is no pattern such as a.b, a.* or a.**; elements of an array are an empty step: a..b
        fieldConfigList[0].name: column `qty` is INT: no text index goes with it
        tableIndexConfig.jsonIndexColumns: column `amount` is DOUBLE: no JSON index goes with it
        tableIndexConfig.jsonIndexColumns: there is no column `nowhere`"#]]
    .assert_eq(&bad.unwrap_err().0.join("\n"));
}

/// The star-trees and the warnings of a table with such indexes.
fn with_trees(indexes: &str) -> Result<(Vec<StarTreeSpec>, Vec<String>), Violations> {
    let schema = parse_schema(SCHEMA).unwrap().value;
    let config = format!(
        r#"{{"tableName":"orders","tableType":"OFFLINE","segmentsConfig":{{"timeColumnName":"ts"}},
            "tableIndexConfig":{indexes}}}"#
    );
    let parsed = parse_table(
        &config,
        Some(&schema),
        TableId::random(),
        UnknownKeys::Refuse,
    )?;
    Ok((parsed.value.spec.star_trees, parsed.warnings))
}

#[test]
fn star_trees_come_from_their_configs_and_by_default() {
    let (trees, warnings) = with_trees(
        r#"{"starTreeIndexConfigs":[{"dimensionsSplitOrder":["city","qty","$ts$HOUR"],
            "skipStarNodeCreationForDimensions":["qty"],"functionColumnPairs":["COUNT__*","sum__amount","SUM__amount"],
            "aggregationConfigs":[{"columnName":"qty","aggregationFunction":"DISTINCT_COUNT_HLL","compressionCodec":"LZ4"}],
            "maxLeafRecords":"100"}],"enableDefaultStarTree":true}"#,
    )
    .unwrap();
    let pairs = |at: usize| {
        let pairs: Vec<String> = trees[at]
            .aggregates
            .iter()
            .map(ToString::to_string)
            .collect();
        (
            trees[at].dimensions.join(","),
            pairs.join(","),
            trees[at].leaf_rows_max,
        )
    };
    let texts = |a: &str, b: &str, leaf| (a.to_owned(), b.to_owned(), leaf);
    let own = texts(
        "city,qty,$ts$HOUR",
        "COUNT__*,SUM__amount,DISTINCTCOUNTHLL__qty",
        100,
    );
    assert_eq!(pairs(0), own);
    assert_eq!(trees[0].no_star, ["qty"]);
    let usual = texts(
        "order_id,city,$ts$DAY",
        "COUNT__*,SUM__amount,SUM__qty",
        10_000,
    );
    assert_eq!(pairs(1), usual);
    assert!(trees[1].by_cardinality && !trees[0].by_cardinality);
    expect![[r#"["tableIndexConfig.starTreeIndexConfigs[0].aggregationConfigs[0].compressionCodec has no effect yet"]"#]]
        .assert_eq(&format!("{warnings:?}"));
}

#[test]
fn faults_of_star_trees_are_told() {
    let bad = with_trees(
        r#"{"noDictionaryColumns":["order_id"],"starTreeIndexConfigs":[
            {"dimensionsSplitOrder":["city","town","city","amount","order_id","$qty$DAY"],
             "skipStarNodeCreationForDimensions":["qty"],
             "functionColumnPairs":["SUM__city","MODE__qty","SUMqty"],"maxLeafRecords":-1},
            {"functionColumnPairs":["MAX__ts"],"leafRecords":3},
            {"dimensionsSplitOrder":["city"],"functionColumnPairs":["SUM__town","AVG__ts"]}]}"#,
    );
    expect![[r#"
        tableIndexConfig.starTreeIndexConfigs[0].functionColumnPairs: `MODE` is not kept in star-trees; COUNT, SUM, MIN, MAX, AVG, DISTINCTCOUNTHLL and PERCENTILETDIGEST are
        tableIndexConfig.starTreeIndexConfigs[0].functionColumnPairs: `SUMqty` is not of the form SUM__column
        tableIndexConfig.starTreeIndexConfigs[0].maxLeafRecords: it is no number of records
        /tableIndexConfig/starTreeIndexConfigs/1/leafRecords: unknown key; did you mean `maxLeafRecords`?
        tableIndexConfig.starTreeIndexConfigs[0].dimensionsSplitOrder: there is no column `town`
        tableIndexConfig.starTreeIndexConfigs[0].dimensionsSplitOrder: `city` is there twice
        tableIndexConfig.starTreeIndexConfigs[0].dimensionsSplitOrder: `amount` is DOUBLE, which is no dimension
        tableIndexConfig.starTreeIndexConfigs[0].dimensionsSplitOrder: `order_id` has no dictionary, which a dimension needs
        tableIndexConfig.starTreeIndexConfigs[0].dimensionsSplitOrder: `qty` is INT: only TIMESTAMP has buckets of time
        tableIndexConfig.starTreeIndexConfigs[0].skipStarNodeCreationForDimensions: `qty` is no dimension of the tree
        tableIndexConfig.starTreeIndexConfigs[0].functionColumnPairs: SUM of `city`, which is STRING, is not kept in star-trees
        tableIndexConfig.starTreeIndexConfigs[1].dimensionsSplitOrder: missing
        tableIndexConfig.starTreeIndexConfigs[2].functionColumnPairs: there is no column `town`
        tableIndexConfig.starTreeIndexConfigs[2].functionColumnPairs: AVG of `ts`, which is TIMESTAMP, is not kept in star-trees"#]]
    .assert_eq(&bad.unwrap_err().0.join("\n"));
}

#[test]
fn columns_that_a_table_is_partitioned_by() {
    let parsed = |columns: &str| {
        let partitions = format!(
            r#""loadMode":"MMAP","segmentPartitionConfig":{{"columnPartitionMap":{{{columns}}}}}"#
        );
        let config = CONFIG.replace(r#""loadMode":"MMAP""#, &partitions);
        let schema = parse_schema(SCHEMA).unwrap().value;
        parse_table(
            &config,
            Some(&schema),
            TableId::random(),
            UnknownKeys::Collect,
        )
    };
    let good = parsed(
        r#""city":{"functionName":"mUrmur3","numPartitions":"4","functionConfig":{"seed":"7","variant":"x64_32"}},
           "qty":{"functionName":"Modulo","numPartitions":3},
           "amount":{"functionName":"HashCode","numPartitions":3},
           "ts":{"functionName":"Fnv","numPartitions":3}"#,
    )
    .unwrap();
    let by = |name: &str| good.value.spec.column(name).unwrap().partitioning;
    let function = crate::partition::PartitionFunction::Murmur3 {
        seed: 7,
        variant: crate::partition::Murmur3::X64,
    };
    let partitions = 4;
    assert_eq!(
        by("city"),
        Some(crate::partition::Partitioning {
            function,
            partitions
        })
    );
    assert_eq!(by("qty").map(|by| by.partitions), Some(3));
    assert_eq!((by("amount"), by("ts")), (None, None));
    expect![[r#"
        tableIndexConfig.segmentPartitionConfig.columnPartitionMap.ts.functionName: `Fnv` has no effect yet
        tableIndexConfig.segmentPartitionConfig.columnPartitionMap.amount has no effect yet"#]]
    .assert_eq(&good.warnings.join("\n"));
    let bad = parsed(
        r#""city":{"functionName":"Murmur3","numPartitions":4,"functionConfig":{"variant":"x86"}},
           "qty":{"functionName":"Modulo","numPartitions":0},"ts":{"numPartitions":1},
           "town":{"functionName":"Murmur","numPartitions":1}"#,
    );
    expect![[r#"
        tableIndexConfig.segmentPartitionConfig.columnPartitionMap.city.functionConfig.variant: `x86` is neither x86_32 nor x64_32
        tableIndexConfig.segmentPartitionConfig.columnPartitionMap.qty.numPartitions: 0 is no number of partitions
        tableIndexConfig.segmentPartitionConfig.columnPartitionMap.ts.functionName: missing
        tableIndexConfig.segmentPartitionConfig.columnPartitionMap.town: there is no column `town`"#]].assert_eq(&bad.unwrap_err().0.join("\n"));
}

#[test]
fn decoders_are_known_by_pinots_classes() {
    let read = |properties: &str| {
        let config = format!(
            r#"{{"tableName":"t","tableType":"REALTIME","ingestionConfig":{{"streamIngestionConfig":
               {{"streamConfigMaps":[{{"stream.kafka.topic.name":"t","stream.kafka.broker.list":"b",
               {properties}}}]}}}}}}"#
        );
        let parsed = parse_table_config(&config).map_err(|faults| faults.to_string())?;
        let schema = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"a","dataType":"INT"}],
          "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:DAYS"}]}"#;
        let schema = parse_schema(schema).unwrap().value;
        let text = config.replacen(
            "\"ingestionConfig\"",
            "\"segmentsConfig\":{\"timeColumnName\":\"ts\"},\"ingestionConfig\"",
            1,
        );
        let table = parse_table(&text, Some(&schema), TableId::random(), UnknownKeys::Refuse);
        let stream = table
            .map_err(|faults| faults.to_string())?
            .value
            .spec
            .streams;
        assert!(parsed.warnings.is_empty());
        Ok::<_, String>(stream[0].decoder.clone())
    };
    let class = |name: &str, more: &str| {
        read(&format!(
            r#""stream.kafka.decoder.class.name":"{name}"{more}"#
        ))
    };
    let prop = |key: &str, value: &str| format!(r#","stream.kafka.decoder.prop.{key}":"{value}""#);
    let url = prop("schema.registry.rest.url", "http://r:8081/");
    let avro = class(
        "org.apache.pinot.plugin.inputformat.avro.confluent.KafkaConfluentSchemaRegistryAvroMessageDecoder",
        &(url.clone() + &prop("schema.registry.basic.auth.user.info", "u:p")),
    );
    let avro = avro.unwrap();
    assert!(avro.framed && avro.format == FormatSpec::Avro { schema: None });
    let registry = avro.registry.unwrap();
    assert_eq!(
        (registry.url.as_str(), registry.user_info.as_deref()),
        ("http://r:8081", Some("u:p"))
    );
    let csv = class(
        "org.apache.pinot.plugin.inputformat.csv.CSVMessageDecoder",
        &(prop("header", "a|b") + &prop("delimiter", "|")),
    )
    .unwrap();
    assert!(matches!(csv.format, FormatSpec::Csv(csv) if csv.names == ["a", "b"]));
    let debezium = class("debezium-avro", &url).unwrap();
    assert!(debezium.framed && debezium.envelope == Envelope::Debezium);
    let arrow = class("arrow", &prop("compression", "zstd")).unwrap();
    assert_eq!(
        (arrow.format, arrow.compression),
        (FormatSpec::Arrow, Compression::Zstd)
    );
    let missing = class("SimpleAvroMessageDecoder", "").unwrap_err();
    assert!(missing.contains("prop.schema: missing"), "{missing}");
    let missing = class("ProtoBufMessageDecoder", "").unwrap_err();
    assert!(
        missing.contains("protoClassName: missing") && missing.contains("descriptorFile"),
        "{missing}"
    );
    let no_header = class("csv", "").unwrap_err();
    assert!(no_header.contains("header: missing"), "{no_header}");
}

#[test]
fn tenants_groups_and_tiers() {
    use crate::placement::{PlaceKind, TierTakes};
    let config = r#"{"tableName":"t","tableType":"REALTIME","segmentsConfig":{"timeColumnName":"ts","replication":"2"},
      "tenants":{"broker":"DefaultTenant","server":"fast","tagOverrideConfig":{"realtimeCompleted":"cold_OFFLINE"}},
      "instanceAssignmentConfigMap":{"CONSUMING":{"tagPoolConfig":{"tag":"fast_REALTIME"},
        "replicaGroupPartitionConfig":{"replicaGroupBased":true,"numReplicaGroups":2,"numInstancesPerReplicaGroup":3,"numPartitions":4,"numInstancesPerPartition":1}}},
      "tierConfigs":[{"name":"cool","segmentSelectorType":"time","segmentAge":"7d","storageType":"pinot_server","serverTag":"cool_OFFLINE"},
        {"name":"ice","segmentSelectorType":"TIME","segmentAge":"1d12h","serverTag":"ice_OFFLINE"},
        {"name":"chosen","segmentSelectorType":"fixed","segmentList":["t_1"],"serverTag":"ice_OFFLINE"}],
      "tableIndexConfig":{"streamConfigs":{"streamType":"kafka","stream.kafka.topic.name":"t","stream.kafka.broker.list":"localhost:9092",
        "stream.kafka.decoder.class.name":"org.apache.pinot.plugin.inputformat.json.JSONMessageDecoder"}}}"#;
    let parsed = parse_table_config(config).unwrap();
    assert_eq!(parsed.warnings, [] as [&str; 0]);
    assert!(parsed.unrecognized.is_empty());
    let schema = r#"{"schemaName":"t","dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;
    let schema = parse_schema(schema).unwrap().value;
    let spec = table_spec(&schema, &parsed.value, TableId::random()).unwrap();
    let placement = &spec.placement;
    assert_eq!(placement.tag(PlaceKind::Consuming), "fast_REALTIME");
    assert_eq!(placement.tag(PlaceKind::Completed), "cold_OFFLINE");
    let group = &placement.groups[&PlaceKind::Consuming];
    assert_eq!(
        (
            group.groups,
            group.instances,
            group.partitions,
            group.partition_instances
        ),
        (2, 3, 4, 1)
    );
    let tiers: Vec<&str> = placement
        .tiers
        .iter()
        .map(|tier| tier.name.as_str())
        .collect();
    assert_eq!(tiers, ["chosen", "cool", "ice"], "the oldest first");
    assert_eq!(
        placement.tiers[2].takes,
        TierTakes::OlderThanMs(36 * 3_600_000)
    );

    let bad = r#"{"tableName":"t","tableType":"OFFLINE","segmentsConfig":{"replication":"2"},"tenants":{"sever":"x"},
      "instanceAssignmentConfigMap":{"OFFLINE":{"tagPoolConfig":{"tag":"fast"},"replicaGroupPartitionConfig":{"replicaGroupBased":true,"numReplicaGroups":3}}},
      "tierConfigs":[{"name":"a","segmentSelectorType":"time","segmentAge":"soon","serverTag":"a_OFFLINE"},
        {"name":"b","segmentSelectorType":"size","serverTag":"b_OFFLINE"},{"segmentSelectorType":"fixed","storageType":"tape"}]}"#;
    expect![[r#"
        instanceAssignmentConfigMap.OFFLINE.tagPoolConfig.tag: `fast` is no tag of servers: those end with _OFFLINE or _REALTIME
        instanceAssignmentConfigMap.OFFLINE.replicaGroupPartitionConfig.numReplicaGroups: there are 2 replicas, and 3 groups with one each
        tierConfigs[0].segmentAge: `soon` is no time: 30d, 12h, 15m
        tierConfigs[1].segmentSelectorType: `size` is neither time nor fixed
        tierConfigs[2].name: missing
        tierConfigs[2].serverTag: missing
        tierConfigs[2].storageType: `tape` is not known: pinot_server"#]]
    .assert_eq(&parse_table_config(bad).unwrap_err().0.join("\n"));
}
