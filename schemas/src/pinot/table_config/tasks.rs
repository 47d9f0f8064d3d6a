//! Tasks that rewrite segments: `task.taskTypeConfigsMap`.

use serde_json::{Map, Value as Json};

use super::super::Schema;
use super::super::reader::{Node, Report};
use super::TableConfig;
use super::flush::period_ms;
use super::pipeline::expression;
use crate::boundary::time_unit_ms;
use crate::decoding::{RollUp, RollUpFunction};
use crate::ids::TableType;
use crate::keyed::KeyedSpec;
use crate::task::{
    CompactSpec, MergeLevel, MergeSpec, MergeType, MoveSpec, PurgeSpec, Schedule, TaskSpec,
    TaskType, TaskWork,
};
use crate::types::{DataType, FieldRole};

const PATH: &str = "task.taskTypeConfigsMap";
const DAY_MS: i64 = 86_400_000;
/// Pinot's.
const ROWS_MAX: i64 = 5_000_000;
const TASK_ROWS_MAX: i64 = 50_000_000;
const PURGED_AGAIN_MS: i64 = 14 * DAY_MS;
/// Of one schedule.
const TASKS_MAX: i64 = 20;
const ATTEMPTS_MAX: i64 = 3;
/// Of all types.
const KEYS: [&str; 5] = [
    "schedule",
    "tableMaxNumTasks",
    "maxAttemptsPerTask",
    "minionInstanceTag",
    "tableName",
];
/// About how Pinot runs them.
const WITHOUT_EFFECT: [&str; 1] = ["minionInstanceTag"];
const AGGREGATION: &str = ".aggregationType";

pub(super) fn read(table: Node<'_>, is_realtime: bool, report: &mut Report) -> Vec<TaskSpec> {
    let Some(task) = table.object("task", report) else {
        return Vec::new();
    };
    let task = Node::new(task, "task");
    let Some(kinds) = task.object("taskTypeConfigsMap", report) else {
        return Vec::new();
    };
    let mut specs = Vec::new();
    for (name, config) in kinds {
        let path = format!("{PATH}.{name}");
        let empty = Map::new();
        let config = match config {
            Json::Object(config) => config,
            Json::Null => &empty,
            _ => {
                report.fault(&path, "an object was expected");
                continue;
            }
        };
        let node = Node::new(config, &path);
        match name.parse::<TaskType>() {
            Ok(known) => specs.extend(one(known, node, is_realtime, report)),
            Err(_) => report.warn_without_effect(&path),
        }
    }
    specs
}

fn one(
    task_type: TaskType,
    node: Node<'_>,
    is_realtime: bool,
    report: &mut Report,
) -> Option<TaskSpec> {
    let work = match (task_type, is_realtime) {
        (TaskType::RealtimeToOfflineSegmentsTask, true) => TaskWork::Move(to_offline(node, report)),
        (TaskType::RealtimeToOfflineSegmentsTask, false) => {
            report.fault(node.place(), "it is a task of the REALTIME table");
            return None;
        }
        (TaskType::MergeRollupTask, false) => TaskWork::Merge(merge(node, report)),
        (TaskType::PurgeTask, false) => TaskWork::Purge(purge(node, report)?),
        (TaskType::RefreshSegmentTask, false) => {
            node.only(&KEYS, report);
            TaskWork::Refresh
        }
        (TaskType::ParquetExportTask, _) => {
            node.only(&KEYS, report);
            TaskWork::Export
        }
        (TaskType::UpsertCompactionTask, true) => TaskWork::Compact(compact(node, report)),
        (TaskType::UpsertCompactionTask, false) => {
            report.fault(
                node.place(),
                "it is a task of REALTIME tables with `upsertConfig`",
            );
            return None;
        }
        // A reload builds indexes.
        (TaskType::RefreshSegmentTask, true) => {
            report.warn_without_effect(node.place());
            return None;
        }
        (TaskType::MergeRollupTask, true) if !changes_rows(node) => {
            report.warn_without_effect(node.place());
            return None;
        }
        (TaskType::MergeRollupTask | TaskType::PurgeTask, true) => {
            let what = "segments of a stream are not rewritten, as each offset is in one of them; \
                        RealtimeToOfflineSegmentsTask moves them to the OFFLINE table, which can";
            report.fault(node.place(), what);
            return None;
        }
    };
    for key in WITHOUT_EFFECT {
        if node.says_something(key) {
            report.warn_without_effect(&node.path(key));
        }
    }
    let schedule = node.text("schedule", report).map(str::trim);
    let schedule = schedule.filter(|text| !text.is_empty());
    if let Some(Err(what)) = schedule.map(Schedule::parse) {
        report.fault(&node.path("schedule"), what);
    }
    Some(TaskSpec {
        schedule: schedule.map(str::to_owned),
        tasks_max: within(node, "tableMaxNumTasks", (1, 1000), TASKS_MAX, report) as u32,
        attempts_max: within(node, "maxAttemptsPerTask", (1, 100), ATTEMPTS_MAX, report) as u32,
        work,
    })
}

/// Also what only warned before it was carried out.
fn changes_rows(node: Node<'_>) -> bool {
    node.object.iter().any(|(key, value)| {
        let text = value.as_str().unwrap_or_default();
        key.to_lowercase().ends_with("mergetype") && !text.eq_ignore_ascii_case("concat")
    })
}

fn within(
    node: Node<'_>,
    key: &str,
    (least, most): (i64, i64),
    default: i64,
    report: &mut Report,
) -> i64 {
    let number = node.number(key, report).unwrap_or(default);
    if !(least..=most).contains(&number) {
        let what = format!("{number} is not between {least} and {most}");
        report.fault(&node.path(key), what);
    }
    number.clamp(least, most)
}

fn period(node: Node<'_>, key: &str, report: &mut Report) -> Option<i64> {
    let text = node.text(key, report)?;
    let parsed = period_ms(text).filter(|ms| *ms >= 0);
    if parsed.is_none() {
        report.fault(&node.path(key), format!("`{text}` is no period such as 1d"));
    }
    parsed
}

/// One that is longer than nothing.
fn span(node: Node<'_>, key: &str, report: &mut Report) -> Option<i64> {
    let ms = period(node, key, report)?;
    if ms == 0 {
        report.fault(&node.path(key), "it must be longer than nothing");
        return None;
    }
    Some(ms)
}

fn merge_type(node: Node<'_>, key: &str, report: &mut Report) -> MergeType {
    let known = [MergeType::Concat, MergeType::Rollup, MergeType::Dedup];
    let Some(text) = node.text(key, report) else {
        return MergeType::default();
    };
    let mut named = known.into_iter();
    match named.find(|known| known.name().eq_ignore_ascii_case(text)) {
        Some(merge) => merge,
        None => {
            let what = format!("`{text}` is none of concat, rollup and dedup");
            report.fault(&node.path(key), what);
            MergeType::default()
        }
    }
}

/// `clicks.aggregationType`: what becomes of a metric.
fn aggregations(node: Node<'_>, report: &mut Report) -> Vec<RollUp> {
    let mut rules = Vec::new();
    for (key, value) in node.object {
        let Some(column) = key.strip_suffix(AGGREGATION) else {
            continue;
        };
        let text = value.as_str().unwrap_or_default();
        let function = match text.to_lowercase().as_str() {
            "sum" => RollUpFunction::Sum,
            "min" => RollUpFunction::Min,
            "max" => RollUpFunction::Max,
            "distinctcounthll" => RollUpFunction::DistinctCountHll,
            "distinctcountthetasketch" => RollUpFunction::DistinctCountThetaSketch,
            "percentiletdigest" => RollUpFunction::PercentileTDigest,
            _ => {
                let what = format!(
                    "`{text}` is not rolled up here: sum, min, max, distinctCountHLL, \
                     distinctCountThetaSketch, percentileTDigest"
                );
                report.fault(&node.path(key), what);
                continue;
            }
        };
        rules.push(RollUp {
            column: column.to_owned(),
            function,
            source: None,
        });
    }
    rules
}

/// `1day.bucketTimePeriod`: keys of a level begin with its name.
const LEVEL_KEYS: [&str; 7] = [
    "mergeType",
    "bucketTimePeriod",
    "bufferTimePeriod",
    "roundBucketTimePeriod",
    "maxNumRecordsPerSegment",
    "maxNumRecordsPerTask",
    "maxNumParallelBuckets",
];

fn merge(node: Node<'_>, report: &mut Report) -> MergeSpec {
    let mut names: Vec<&str> = Vec::new();
    let mut known: Vec<&'static str> = KEYS.to_vec();
    known.extend(["mode", "aggregationType"]);
    let mut own = Map::new();
    for (key, value) in node.object {
        match key.rsplit_once('.') {
            Some((level, setting)) if LEVEL_KEYS.contains(&setting) => {
                if !names.contains(&level) {
                    names.push(level);
                }
            }
            Some(_) if key.ends_with(AGGREGATION) => {}
            _ => {
                own.insert(key.clone(), value.clone());
            }
        }
    }
    let path = node.place();
    Node::new(&own, path).only(&known, report);
    if node.says_something("mode") {
        report.warn_without_effect(&node.path("mode"));
    }
    let levels = names.into_iter().map(|name| level(node, name, report));
    let mut levels: Vec<MergeLevel> = levels.collect();
    levels.sort_by_key(|level| level.bucket_ms);
    if levels.is_empty() {
        let what = "no level is named: `1day.bucketTimePeriod`, `1day.mergeType`, …";
        report.fault(path, what);
    }
    for pair in levels.windows(2) {
        if pair[1].bucket_ms % pair[0].bucket_ms != 0 || pair[1].bucket_ms == pair[0].bucket_ms {
            let what = format!(
                "the buckets of level `{}` are no multiple of those of `{}`",
                pair[1].name, pair[0].name
            );
            report.fault(path, what);
        }
    }
    MergeSpec {
        levels,
        roll_up: aggregations(node, report),
    }
}

fn level(node: Node<'_>, name: &str, report: &mut Report) -> MergeLevel {
    let key = |key: &str| format!("{name}.{key}");
    let bucket = key("bucketTimePeriod");
    if node.get(&bucket).is_none() {
        report.fault(&node.path(&bucket), "missing");
    }
    let number = |setting: &str, range: (i64, i64), default: i64, report: &mut Report| {
        within(node, &key(setting), range, default, report)
    };
    MergeLevel {
        name: name.to_owned(),
        merge: merge_type(node, &key("mergeType"), report),
        bucket_ms: span(node, &bucket, report).unwrap_or(DAY_MS),
        buffer_ms: period(node, &key("bufferTimePeriod"), report).unwrap_or(0),
        round_ms: span(node, &key("roundBucketTimePeriod"), report),
        rows_max: number("maxNumRecordsPerSegment", ROWS_RANGE, ROWS_MAX, report) as u32,
        task_rows_max: number("maxNumRecordsPerTask", (1, i64::MAX), TASK_ROWS_MAX, report) as u64,
        buckets_max: number("maxNumParallelBuckets", (1, 1000), 1, report) as u32,
    }
}

const ROWS_RANGE: (i64, i64) = (1, 100_000_000);

fn to_offline(node: Node<'_>, report: &mut Report) -> MoveSpec {
    let mut known: Vec<&'static str> = KEYS.to_vec();
    known.extend([
        "mergeType",
        "collectorType",
        "bucketTimePeriod",
        "bufferTimePeriod",
        "roundBucketTimePeriod",
        "maxNumRecordsPerSegment",
    ]);
    let mut own = node.object.clone();
    own.retain(|key, _| !key.ends_with(AGGREGATION));
    let path = node.place();
    Node::new(&own, path).only(&known, report);
    // Its name before.
    let merge = match node.says_something("mergeType") {
        true => "mergeType",
        false => "collectorType",
    };
    MoveSpec {
        merge: merge_type(node, merge, report),
        bucket_ms: span(node, "bucketTimePeriod", report).unwrap_or(DAY_MS),
        buffer_ms: period(node, "bufferTimePeriod", report).unwrap_or(2 * DAY_MS),
        round_ms: span(node, "roundBucketTimePeriod", report),
        rows_max: within(
            node,
            "maxNumRecordsPerSegment",
            ROWS_RANGE,
            ROWS_MAX,
            report,
        ) as u32,
        roll_up: aggregations(node, report),
    }
}

fn purge(node: Node<'_>, report: &mut Report) -> Option<PurgeSpec> {
    let mut known: Vec<&'static str> = KEYS.to_vec();
    known.extend(["purgeFilter", "lastPurgeTimeThresholdPeriod"]);
    node.only(&known, report);
    if !node.says_something("purgeFilter") {
        let what = "missing: an expression that is true for the rows that shall go";
        report.fault(&node.path("purgeFilter"), what);
    }
    Some(PurgeSpec {
        filter: expression(node, "purgeFilter", report)?,
        again_after_ms: period(node, "lastPurgeTimeThresholdPeriod", report)
            .unwrap_or(PURGED_AGAIN_MS),
    })
}

const SHARES: (f64, f64) = (0.0, 100.0);

fn compact(node: Node<'_>, report: &mut Report) -> CompactSpec {
    let mut known: Vec<&'static str> = KEYS.to_vec();
    known.extend([SHARE, COUNT, "bufferTimePeriod"]);
    known.extend(COMPACTION_WITHOUT_EFFECT);
    node.only(&known, report);
    for key in COMPACTION_WITHOUT_EFFECT {
        if node.says_something(key) {
            report.warn_without_effect(&node.path(key));
        }
    }
    let share = node.decimal(SHARE, report).filter(|share| {
        let fits = (SHARES.0..=SHARES.1).contains(share);
        if !fits {
            let what = format!("{share} is not between {} and {}", SHARES.0, SHARES.1);
            report.fault(&node.path(SHARE), what);
        }
        fits
    });
    let says_count = node.says_something(COUNT);
    let default = if says_count { 0.0 } else { DEAD_SHARE };
    CompactSpec {
        buffer_ms: period(node, "bufferTimePeriod", report).unwrap_or(7 * DAY_MS),
        dead_share_min: (share.unwrap_or(default) * 100.0).round() as u32,
        dead_rows_min: within(node, COUNT, (1, i64::MAX), 1, report) as u64,
    }
}

const SHARE: &str = "invalidRecordsThresholdPercent";
const COUNT: &str = "invalidRecordsThresholdCount";
/// Where nothing is said of how many rows must be dead.
const DEAD_SHARE: f64 = 50.0;
/// About where Pinot takes from which rows count: here the newest sealed segment tells it.
const COMPACTION_WITHOUT_EFFECT: [&str; 3] = [
    "validDocIdsType",
    "ignoreCrcMismatch",
    "numSegmentsBatchPerServerRequest",
];

/// Whether they fit the columns.
pub(super) fn check(schema: &Schema, config: &TableConfig, report: &mut Report) {
    for task in &config.tasks {
        let name = task.work.task_type().name();
        let path = format!("{PATH}.{name}");
        let (needs_time, rules, rolls_up) = match &task.work {
            TaskWork::Merge(merge) => {
                let mut levels = merge.levels.iter();
                let rolls_up = levels.any(|level| level.merge == MergeType::Rollup);
                (true, &merge.roll_up[..], rolls_up)
            }
            TaskWork::Move(to) => (true, &to.roll_up[..], to.merge == MergeType::Rollup),
            TaskWork::Purge(_) | TaskWork::Refresh | TaskWork::Export => (false, &[][..], false),
            TaskWork::Compact(_) => {
                if config.keyed.as_ref().and_then(KeyedSpec::upsert).is_none() {
                    report.fault(&path, "only of a table with `upsertConfig`");
                }
                continue;
            }
        };
        if config.keyed.is_some() {
            report.fault(&path, "not of a table whose keys have rules");
        }
        if config.is_dimension_table && needs_time {
            report.fault(&path, "not of a dimension table");
        }
        if needs_time {
            time(schema, config, &path, report);
        }
        for rule in rules {
            of_column(schema, rule, &path, report);
        }
        if rolls_up && config.table_type == TableType::Offline {
            untold(schema, rules, &path, report);
        }
    }
}

fn time(schema: &Schema, config: &TableConfig, path: &str, report: &mut Report) {
    let column = config.time_column.as_deref();
    let column = column.and_then(|name| schema.columns.iter().find(|one| one.name == name));
    let Some(column) = column else {
        report.fault(path, "it needs segmentsConfig.timeColumnName");
        return;
    };
    let is_known = column.data_type == DataType::Timestamp
        || (column.data_type == DataType::Int && column.time_format.is_none())
        || time_unit_ms(column).is_some();
    if !is_known {
        let what = format!(
            "the time column `{}` does not count time since 1970, so buckets of time are not known",
            column.name
        );
        report.fault(path, what);
    }
}

fn of_column(schema: &Schema, rule: &RollUp, path: &str, report: &mut Report) {
    let path = format!("{path}.{}{AGGREGATION}", rule.column);
    let column = schema.columns.iter().find(|one| one.name == rule.column);
    let Some(column) = column else {
        report.fault(&path, format!("there is no column `{}`", rule.column));
        return;
    };
    let is_number = matches!(
        column.data_type,
        DataType::Int | DataType::Long | DataType::Float | DataType::Double | DataType::BigDecimal
    );
    let fits = match rule.function.is_sketch() {
        true => column.data_type == DataType::Bytes,
        false => is_number,
    };
    if !fits || column.multi_value {
        let what = format!(
            "a column of type {} has none of that kind",
            column.data_type
        );
        report.fault(&path, what);
    }
}

/// Metrics of which nothing says how they are put together.
fn untold(schema: &Schema, rules: &[RollUp], path: &str, report: &mut Report) {
    for column in &schema.columns {
        let is_told = rules.iter().any(|rule| rule.column == column.name);
        let is_bytes = column.role == FieldRole::Metric && column.data_type == DataType::Bytes;
        if is_bytes && !is_told {
            let what = "missing: which sketches the column holds";
            report.fault(&format!("{path}.{}{AGGREGATION}", column.name), what);
        }
    }
}
