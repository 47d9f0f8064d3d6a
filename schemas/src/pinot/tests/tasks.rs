//! `task.taskTypeConfigsMap`: what is understood, and what is refused.

use expect_test::expect;
use serde_json::{Value, json};

use super::super::*;
use crate::ids::TableId;
use crate::table::TableSpec;
use crate::task::{MergeType, TaskWork};

const SCHEMA: &str = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"a","dataType":"INT"}],
  "metricFieldSpecs":[{"name":"n","dataType":"LONG"},{"name":"sketch","dataType":"BYTES"}],
  "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:MILLISECONDS"},
    {"name":"day","dataType":"INT","format":"1:DAYS:SIMPLE_DATE_FORMAT:yyyyMMdd","granularity":"1:DAYS"}],
  "primaryKeyColumns":["a"]}"#;

fn parsed(config: &Value) -> Result<TableSpec, String> {
    let schema = parse_schema(SCHEMA).unwrap().value;
    let text = config.to_string();
    let parsed = parse_table(&text, Some(&schema), TableId::random(), UnknownKeys::Refuse);
    parsed
        .map(|parsed| parsed.value.spec)
        .map_err(|faults| faults.0.join("\n"))
}

fn offline(tasks: &Value) -> Value {
    json!({ "tableName": "t", "tableType": "OFFLINE", "segmentsConfig": { "timeColumnName": "ts" },
        "task": { "taskTypeConfigsMap": tasks } })
}

#[test]
fn levels_come_in_their_order_with_pinots_defaults() {
    let spec = parsed(&offline(&json!({
        "MergeRollupTask": {
            "schedule": "0 */10 * ? * *", "tableMaxNumTasks": "4",
            "10days.mergeType": "ROLLUP", "10days.bucketTimePeriod": "10d",
            "10days.roundBucketTimePeriod": "1h", "sketch.aggregationType": "distinctCountHLL",
            "1day.bucketTimePeriod": "1d", "1day.bufferTimePeriod": "12h",
            "1day.maxNumRecordsPerSegment": "100000",
        },
        "PurgeTask": { "purgeFilter": "a = 1" },
    })))
    .unwrap();
    let task = &spec.tasks[0];
    assert_eq!((task.tasks_max, task.attempts_max), (4, 3));
    assert_eq!(task.schedule.as_deref(), Some("0 */10 * ? * *"));
    let TaskWork::Merge(merge) = &task.work else {
        panic!("{task:?}");
    };
    let levels = merge.levels.iter().map(|level| {
        let name = level.name.as_str();
        (
            name,
            level.merge,
            level.bucket_ms,
            level.buffer_ms,
            level.rows_max,
        )
    });
    assert_eq!(
        levels.collect::<Vec<_>>(),
        [
            ("1day", MergeType::Concat, 86_400_000, 43_200_000, 100_000),
            ("10days", MergeType::Rollup, 864_000_000, 0, 5_000_000),
        ]
    );
    assert_eq!(merge.levels[1].round_ms, Some(3_600_000));
    let TaskWork::Purge(purge) = &spec.tasks[1].work else {
        panic!("{spec:?}");
    };
    assert_eq!(
        (&*purge.filter, purge.again_after_ms),
        ("a = 1", 14 * 86_400_000)
    );
    // As it goes through the metadata.
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<TableSpec>(&text).unwrap(), spec);
}

#[test]
fn what_cannot_be_done_is_refused_with_its_place() {
    let faults = parsed(&offline(&json!({
        "MergeRollupTask": {
            "schedule": "daily", "1day.mergeType": "roll", "1day.bucketTimePeriod": "1d",
            "2days.bucketTimePeriod": "36h", "2days.mergeType": "rollup", "x.bufferTimePeriod": "1d",
            "n.aggregationType": "avg", "a.aggregationType": "distinctCountHLL", "tableMaxNumTask": 1,
        },
        "PurgeTask": { "tableMaxNumTasks": 0 },
        "RealtimeToOfflineSegmentsTask": {},
    })));
    expect![[r#"
        task.taskTypeConfigsMap.MergeRollupTask.1day.mergeType: `roll` is none of concat, rollup and dedup
        task.taskTypeConfigsMap.MergeRollupTask.x.bucketTimePeriod: missing
        task.taskTypeConfigsMap.MergeRollupTask: the buckets of level `x` are no multiple of those of `1day`
        task.taskTypeConfigsMap.MergeRollupTask: the buckets of level `2days` are no multiple of those of `x`
        task.taskTypeConfigsMap.MergeRollupTask.n.aggregationType: `avg` is not rolled up here: sum, min, max, distinctCountHLL, distinctCountThetaSketch, percentileTDigest
        task.taskTypeConfigsMap.MergeRollupTask.schedule: `daily` is no cron expression of Quartz such as `0 */5 * ? * *` (second, minute, hour, day of month, month, day of week): …
        task.taskTypeConfigsMap.PurgeTask.purgeFilter: missing: an expression that is true for the rows that shall go
        task.taskTypeConfigsMap.RealtimeToOfflineSegmentsTask: it is a task of the REALTIME table
        /task/taskTypeConfigsMap/MergeRollupTask/tableMaxNumTask: unknown key; did you mean `tableMaxNumTasks`?
        task.taskTypeConfigsMap.MergeRollupTask.a.aggregationType: a column of type INT has none of that kind
        task.taskTypeConfigsMap.MergeRollupTask.sketch.aggregationType: missing: which sketches the column holds"#]]
    .assert_eq(&without_reason(&faults.unwrap_err()));
    let mut config = offline(&json!({ "MergeRollupTask": {
        "d.bucketTimePeriod": "1d", "d.mergeType": "rollup", "a.aggregationType": "distinctCountHLL",
        "b.aggregationType": "sum" } }));
    config["segmentsConfig"]["timeColumnName"] = json!("day");
    let faults = parsed(&config).unwrap_err();
    expect![[r#"
        task.taskTypeConfigsMap.MergeRollupTask: the time column `day` does not count time since 1970, so buckets of time are not known
        task.taskTypeConfigsMap.MergeRollupTask.a.aggregationType: a column of type INT has none of that kind
        task.taskTypeConfigsMap.MergeRollupTask.b.aggregationType: there is no column `b`
        task.taskTypeConfigsMap.MergeRollupTask.sketch.aggregationType: missing: which sketches the column holds"#]]
    .assert_eq(&faults);
}

/// What the parser of cron expressions says may change with it.
fn without_reason(faults: &str) -> String {
    let lines = faults
        .lines()
        .map(|line| match line.split_once("day of week): ") {
            Some((before, _)) => format!("{before}day of week): …"),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn segments_of_a_stream_are_moved_and_not_rewritten() {
    let realtime = |tasks: &Value| {
        json!({ "tableName": "t", "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts" },
            "tableIndexConfig": { "streamConfigs": { "streamType": "kafka",
                "stream.kafka.topic.name": "t", "stream.kafka.broker.list": "b:1" } },
            "task": { "taskTypeConfigsMap": tasks } })
    };
    let tasks = json!({
        "RealtimeToOfflineSegmentsTask": { "collectorType": "dedup", "bucketTimePeriod": "1h" },
        "MergeRollupTask": { "1day.mergeType": "concat", "1day.bucketTimePeriod": "1d" },
    });
    let spec = parsed(&realtime(&tasks)).unwrap();
    let [task] = &spec.tasks[..] else {
        panic!("{spec:?}");
    };
    let TaskWork::Move(to) = &task.work else {
        panic!("{task:?}");
    };
    assert_eq!(
        (to.merge, to.bucket_ms, to.buffer_ms),
        (MergeType::Dedup, 3_600_000, 172_800_000)
    );
    let faults = parsed(&realtime(
        &json!({ "PurgeTask": { "purgeFilter": "a = 1" } }),
    ));
    assert!(
        faults
            .unwrap_err()
            .contains("segments of a stream are not rewritten")
    );
    let mut keyed = realtime(&json!({ "RealtimeToOfflineSegmentsTask": {} }));
    keyed["upsertConfig"] = json!({ "mode": "FULL" });
    keyed["routing"] = json!({ "instanceSelectorType": "strictReplicaGroup" });
    let faults = parsed(&keyed).unwrap_err();
    assert!(faults.contains("whose keys have rules"), "{faults}");
}

fn upserting(table_type: &str, task: &Value) -> Value {
    json!({ "tableName": "t", "tableType": table_type,
        "segmentsConfig": { "timeColumnName": "ts" },
        "routing": { "instanceSelectorType": "strictReplicaGroup" },
        "upsertConfig": { "mode": "FULL" },
        "tableIndexConfig": { "streamConfigs": { "streamType": "kafka",
            "stream.kafka.topic.name": "t", "stream.kafka.broker.list": "b:1" } },
        "task": { "taskTypeConfigsMap": { "UpsertCompactionTask": task } } })
}

#[test]
fn compaction_of_upserts_has_pinots_thresholds() {
    let due = |task: &Value| {
        let spec = parsed(&upserting("REALTIME", task)).unwrap();
        let TaskWork::Compact(due) = spec.tasks[0].work else {
            panic!("{spec:?}");
        };
        (due.buffer_ms, due.dead_share_min, due.dead_rows_min)
    };
    let week_ms = 7 * 86_400_000;
    let said = json!({ "schedule": "0 */5 * ? * *", "bufferTimePeriod": "12h",
        "invalidRecordsThresholdPercent": "12.5", "invalidRecordsThresholdCount": 1000,
        "validDocIdsType": "SNAPSHOT" });
    assert_eq!(due(&said), (43_200_000, 1250, 1000));
    let only_count = json!({ "invalidRecordsThresholdCount": "7" });
    assert_eq!(due(&only_count), (week_ms, 0, 7), "any share of them");
    assert_eq!(due(&json!({})), (week_ms, 5000, 1));

    let wrong = json!({ "invalidRecordsThresholdPercent": 101, "invalidRecordsThresholdCount": 0,
        "bufferTime": "1d" });
    let faults = parsed(&upserting("REALTIME", &wrong)).unwrap_err();
    expect![[r#"
        task.taskTypeConfigsMap.UpsertCompactionTask.invalidRecordsThresholdPercent: 101 is not between 0 and 100
        task.taskTypeConfigsMap.UpsertCompactionTask.invalidRecordsThresholdCount: 0 is not between 1 and 9223372036854775807
        /task/taskTypeConfigsMap/UpsertCompactionTask/bufferTime: unknown key; did you mean `bufferTimePeriod`?"#]]
    .assert_eq(&faults);
    let mut without = upserting("REALTIME", &json!({}));
    without.as_object_mut().unwrap().remove("upsertConfig");
    let faults = parsed(&without).unwrap_err();
    expect!["task.taskTypeConfigsMap.UpsertCompactionTask: only of a table with `upsertConfig`"]
        .assert_eq(&faults);
}
