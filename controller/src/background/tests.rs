//! What is due: segments, watermarks and open tasks, and the orders that follow.

use schemas::cluster::{SegmentState, TableState};
use schemas::pinot::{parse_schema, parse_table_config, table_spec};
use schemas::segment::{Ledger, SegmentRecord, SegmentStatus};
use schemas::{InstanceId, TableId};
use serde_json::{Value, json};

use super::*;

const DAY: i64 = 86_400_000;
const SCHEMA: &str = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"a","dataType":"INT"}],
    "metricFieldSpecs":[{"name":"n","dataType":"LONG"}],
    "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;

/// A table and what is known of it.
struct World {
    table: TableState,
    watermarks: BTreeMap<String, i64>,
    dead: HashMap<SegmentId, u64>,
    busy: BTreeSet<SegmentId>,
    consumers: Vec<ConsumerState>,
    now_ms: i64,
}

impl World {
    fn new(table_type: &str, tasks: &Value) -> Self {
        let mut schema = parse_schema(SCHEMA).unwrap().value;
        let mut config = json!({
            "tableName": "t", "tableType": table_type,
            "segmentsConfig": { "timeColumnName": "ts" },
            "tableIndexConfig": { "streamConfigs": { "streamType": "kafka",
                "stream.kafka.topic.name": "t", "stream.kafka.broker.list": "b:1" } },
            "task": { "taskTypeConfigsMap": tasks },
        });
        if tasks.get("UpsertCompactionTask").is_some() {
            schema.primary_key = vec!["a".to_owned()];
            config["upsertConfig"] = json!({ "mode": "FULL" });
            config["routing"] = json!({ "instanceSelectorType": "strictReplicaGroup" });
        }
        let config = parse_table_config(&config.to_string()).unwrap().value;
        let spec = table_spec(&schema, &config, TableId::random()).unwrap();
        Self {
            table: TableState {
                spec,
                segments: Default::default(),
                paused: false,
                time_boundary_ms: None,
                reloads: Vec::new(),
                orders: Default::default(),
            },
            watermarks: BTreeMap::new(),
            busy: BTreeSet::new(),
            dead: HashMap::new(),
            consumers: Vec::new(),
            now_ms: 100 * DAY,
        }
    }

    fn add(&mut self, range: (i64, i64), rows: u64) -> &mut SegmentRecord {
        self.add_to(0, range, rows)
    }

    fn add_to(&mut self, partition: u32, range: (i64, i64), rows: u64) -> &mut SegmentRecord {
        let own = self.table.segments.iter();
        let sequence = own
            .filter(|one| one.record.id.partition == partition)
            .count() as u32;
        let id = SegmentId {
            table: self.table.spec.id,
            partition,
            sequence,
        };
        let record = SegmentRecord {
            status: SegmentStatus::Done,
            crc: 1,
            uri: Some("key".to_owned()),
            time_range: Some(range),
            sealed_ms: Some(10),
            ledger: Ledger {
                rows,
                ..Ledger::default()
            },
            ..SegmentRecord::consuming(id, &self.table.spec, 0, 0)
        };
        self.table.segments.put(SegmentState {
            record,
            assigned: vec![InstanceId("a".to_owned())].into(),
            online: Default::default(),
            hidden: false,
        });
        let mut all = self.table.segments.iter_mut();
        &mut all.find(|one| one.record.id == id).unwrap().record
    }

    fn plan(&self) -> Plan {
        let known = Known {
            table: &self.table,
            target: &self.table,
            watermarks: &self.watermarks,
            spec_changed_ms: 10,
            busy: &self.busy,
            is_exporting: false,
            dead: &self.dead,
            consumers: &self.consumers,
            now_ms: self.now_ms,
        };
        plan(&known, &self.table.spec.tasks[0].work)
    }

    /// Sequences of the inputs, and where the window begins, in days.
    fn due(&self) -> Vec<(Vec<u32>, i64)> {
        let orders = self.plan().orders.into_iter();
        let due = orders.map(|order| {
            let inputs = order.inputs.iter().map(|one| one.id.sequence).collect();
            (inputs, order.window_ms.map_or(-1, |window| window.0 / DAY))
        });
        due.collect()
    }

    /// The orders are carried out: one segment for each, marked.
    fn done(&mut self) {
        let plan = self.plan();
        self.watermarks.extend(plan.watermarks);
        for order in plan.orders {
            for input in &order.inputs {
                let mut all = self.table.segments.iter_mut();
                all.find(|one| one.record.id == input.id).unwrap().hidden = true;
            }
            let window = order.window_ms.unwrap();
            let rows = order.rows();
            let record = self.add((window.0, window.1 - 1), rows);
            record.marks.merge_level = order.level;
            if let Some(moved) = order.watermark {
                assert_eq!(self.watermarks.get(&moved.name).copied(), moved.from_ms);
                self.watermarks.insert(moved.name, moved.to_ms);
            }
        }
    }
}

fn merging() -> World {
    World::new(
        "OFFLINE",
        &json!({ "MergeRollupTask": {
            "1day.mergeType": "concat", "1day.bucketTimePeriod": "1d",
            "1day.bufferTimePeriod": "1d",
            "10days.mergeType": "rollup", "10days.bucketTimePeriod": "10d",
        }}),
    )
}

#[test]
fn buckets_are_merged_one_after_the_other_level_by_level() {
    let mut world = merging();
    for day in [90, 91, 98, 99] {
        world.add((day * DAY, day * DAY + 5), 10);
        world.add((day * DAY + 6, day * DAY + DAY - 1), 10);
    }
    assert_eq!(world.due(), [(vec![0, 1], 90)]);
    assert_eq!(
        world.plan().watermarks,
        [
            ("MergeRollupTask.1day".to_owned(), 90 * DAY),
            ("MergeRollupTask.10days".to_owned(), 90 * DAY),
        ]
    );
    // While a task has them nothing else of the bucket is due.
    let busy = world.table.segments[1].record.id;
    world.busy.insert(busy);
    assert_eq!(world.due(), []);
    world.busy.clear();
    world.done();
    assert_eq!(world.due(), [(vec![2, 3], 91)]);
    world.done();
    assert_eq!(
        world.due(),
        [(vec![4, 5], 98)],
        "days without rows are passed"
    );
    world.done();
    // Day 99 is in its buffer, and with it the ten days.
    assert_eq!(world.due(), []);
    world.now_ms = 101 * DAY;
    assert_eq!(world.due(), [(vec![6, 7], 99)]);
    world.done();
    let plan = world.plan();
    assert_eq!(plan.orders.len(), 1, "{plan:?}");
    let order = &plan.orders[0];
    assert_eq!(order.level.as_deref(), Some("10days"));
    assert_eq!((order.inputs.len(), order.rows()), (4, 80));
    assert_eq!(order.roll_up[0].column, "n");
    world.done();
    // Nothing is left to be done.
    assert_eq!(world.due(), []);
    world.done();
    // What comes late for the last bucket is put together with what it became.
    world.add((90 * DAY, 90 * DAY + 5), 1);
    assert_eq!(world.due(), [(vec![12, 13], 90)]);
}

#[test]
fn one_segment_alone_is_merged_only_where_that_changes_rows() {
    let mut world = merging();
    world.add((90 * DAY, 90 * DAY + 5), 10);
    assert_eq!(world.due(), []);
    assert_eq!(world.plan().watermarks[0].1, 91 * DAY);
    // One that lies in two buckets is divided.
    let mut world = merging();
    world.add((90 * DAY, 91 * DAY), 10);
    assert_eq!(world.due(), [(vec![0], 90)]);
    let mut world = World::new(
        "OFFLINE",
        &json!({ "MergeRollupTask": {
            "d.mergeType": "dedup", "d.bucketTimePeriod": "1d", "d.maxNumRecordsPerTask": 15,
            "d.maxNumParallelBuckets": 2,
        }}),
    );
    world.add((90 * DAY, 90 * DAY), 10);
    for day in [91, 92] {
        for _ in 0..3 {
            world.add((day * DAY, day * DAY), 5);
        }
    }
    let wanted = [(vec![0], 90), (vec![1, 2, 3], 91)];
    assert_eq!(world.due(), wanted, "two buckets at once");
    world.add((91 * DAY, 91 * DAY), 5);
    let wanted = [(vec![0], 90), (vec![1, 2, 3], 91), (vec![7], 91)];
    assert_eq!(world.due(), wanted, "no task reads more than 15 rows");
}

fn moving() -> World {
    World::new(
        "REALTIME",
        &json!({ "RealtimeToOfflineSegmentsTask": {
            "bucketTimePeriod": "1d", "bufferTimePeriod": "2d",
        }}),
    )
}

#[test]
fn a_bucket_is_moved_when_everything_before_its_end_is_sealed() {
    let mut world = moving();
    assert_eq!(world.due(), []);
    world.add_to(0, (90 * DAY + 7, 90 * DAY + 9), 10);
    world.add_to(1, (90 * DAY, 91 * DAY), 10);
    let waits = world.plan().waits.unwrap();
    assert!(waits.contains("partition 0 may still consume"), "{waits}");
    // Nothing is in its memory.
    let consumer = ConsumerState {
        table_id: world.table.spec.id.to_bytes(),
        partition: 0,
        sequence: 1,
        next_offset: 10,
        log_end_offset: 10,
        ..ConsumerState::default()
    };
    world.consumers = vec![consumer.clone()];
    assert_eq!(world.due(), [(vec![0, 0], 90)]);
    for open in [
        ConsumerState {
            rows: 1,
            ..consumer.clone()
        },
        ConsumerState {
            log_end_offset: 11,
            ..consumer.clone()
        },
        ConsumerState {
            sequence: 2,
            ..consumer
        },
    ] {
        world.consumers = vec![open];
        assert_eq!(world.due(), []);
    }
    world.add_to(0, (90 * DAY + 9, 95 * DAY), 10);
    let plan = world.plan();
    let moved = plan.orders[0].watermark.clone().unwrap();
    assert_eq!((moved.from_ms, moved.to_ms), (None, 91 * DAY));
    assert_eq!(plan.orders[0].inputs.len(), 3);
    world.busy.insert(world.table.segments[0].record.id);
    assert_eq!(world.due(), [], "one after the other");
    world.busy.clear();
    // Days without rows are passed over.
    world
        .watermarks
        .insert(to_offline::WATERMARK.to_owned(), 92 * DAY);
    world.add_to(1, (91 * DAY, 97 * DAY), 10);
    let plan = world.plan();
    let window = plan.orders.first().and_then(|order| order.window_ms);
    assert_eq!(window, Some((92 * DAY, 93 * DAY)), "{plan:?}");
    world.now_ms = 94 * DAY;
    assert_eq!(world.due(), [], "the buffer of two days");
}

#[test]
fn segments_are_purged_and_refreshed_one_by_one() {
    let mut world = World::new(
        "OFFLINE",
        &json!({ "PurgeTask": { "purgeFilter": "a = 1" } }),
    );
    world.add((0, 1), 5).marks.purged_ms = Some(99 * DAY);
    world.add((0, 1), 5).marks.purged_ms = Some(80 * DAY);
    world.add((0, 1), 5);
    world.add((0, 1), 5).uri = None;
    assert_eq!(world.due(), [(vec![2], -1), (vec![1], -1)]);
    assert_eq!(world.plan().orders[0].filter.as_deref(), Some("a = 1"));

    let mut world = World::new("OFFLINE", &json!({ "RefreshSegmentTask": {} }));
    world.add((0, 1), 5).sealed_ms = Some(9);
    world.add((0, 1), 5).sealed_ms = Some(10);
    assert_eq!(world.due(), [(vec![0], -1)]);
}

#[test]
fn segments_with_dead_rows_are_compacted_but_the_newest() {
    let mut world = World::new(
        "REALTIME",
        &json!({ "UpsertCompactionTask": {
            "bufferTimePeriod": "2d", "invalidRecordsThresholdPercent": "50",
            "invalidRecordsThresholdCount": "3",
        }}),
    );
    for day in [90, 90, 99, 91, 92] {
        world.add_to(0, (day * DAY, day * DAY + 5), 10);
    }
    world.add_to(1, (0, 1), 10);
    assert!(world.plan().waits.is_some(), "nothing is dead");
    for (at, dead) in [5, 9, 9, 4, 10, 10].into_iter().enumerate() {
        let id = world.table.segments[at].record.id;
        world.dead.insert(id, dead);
    }
    let due = |world: &World| -> Vec<(u32, Vec<u32>)> {
        let orders = world.plan().compactions.into_iter();
        let orders = orders.map(|order| {
            let inputs = order.inputs.iter().map(|one| one.id.sequence);
            (order.newest.id.sequence, inputs.collect())
        });
        orders.collect()
    };
    assert_eq!(due(&world), [(4, vec![1, 0])], "the most dead first");
    world.busy.insert(world.table.segments[1].record.id);
    assert_eq!(due(&world), [(4, vec![0])]);
    world.now_ms = 102 * DAY;
    assert_eq!(due(&world), [(4, vec![2, 0])], "its buffer is over");
    // What tells which rows count is not in the deep store yet.
    world.add_to(0, (92 * DAY, 92 * DAY), 10).unstored = true;
    assert_eq!(due(&world), []);
}
