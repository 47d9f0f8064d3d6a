//! The catalog's transactions, over every store.

use std::sync::Arc;

use futures::StreamExt;
use runtime::{Clock, ManualClock};
use schemas::lineage::{Replacement, ReplacementState};
use schemas::pinot::{parse_schema, parse_table_config, table_spec};
use schemas::segment::{Ledger, SegmentRecord, SegmentStatus};
use schemas::task::{RewriteOrder, Task, TaskKind, TaskState, TaskType, WatermarkMove};
use schemas::{InstanceId, SegmentId, TableId, TableSpec};

use super::*;
use crate::postgres::tests::Database;
use crate::{Change, MemoryStore, SqliteStore};

const REALTIME: &str = r#"{"tableName":"t","tableType":"REALTIME","segmentsConfig":{"timeColumnName":"ts"},
 "tableIndexConfig":{"streamConfigs":{"streamType":"kafka","stream.kafka.topic.name":"t","stream.kafka.broker.list":"b:1"}}}"#;
const OFFLINE: &str = r#"{"tableName":"t","tableType":"OFFLINE"}"#;

struct World {
    catalog: Catalog,
    store: Arc<dyn MetaStore>,
    _folder: tempfile::TempDir,
}

impl World {
    fn memory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::over(Arc::new(MemoryStore::new(clock())), folder)
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metastore.db");
        let store = SqliteStore::open(&path, clock()).await.unwrap();
        Self::over(Arc::new(store), folder)
    }

    fn over(store: Arc<dyn MetaStore>, folder: tempfile::TempDir) -> Self {
        Self {
            catalog: Catalog::new(Arc::clone(&store)),
            store,
            _folder: folder,
        }
    }

    async fn table(&self, config_json: &str) -> StoredTable {
        let schema_json = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"a","dataType":"INT"}],
          "dateTimeFieldSpecs":[{"name":"ts","dataType":"TIMESTAMP","format":"TIMESTAMP","granularity":"1:MILLISECONDS"}]}"#;
        let schema = parse_schema(schema_json).unwrap().value;
        let config = parse_table_config(config_json).unwrap().value;
        let table = StoredTable {
            spec: table_spec(&schema, &config, TableId::random()).unwrap(),
            config_json: config_json.to_owned(),
            schema_json: schema_json.to_owned(),
            paused: false,
            time_boundary_ms: None,
            set_boundary_ms: None,
            reloads: Vec::new(),
            lineage: Default::default(),
            orders: Default::default(),
            watermarks: Default::default(),
            scheduled: Default::default(),
            spec_changed_ms: 0,
            moves: Default::default(),
        };
        let outcome = self.catalog.create_table(&table).await.unwrap();
        assert_eq!(outcome, CreateOutcome::Created);
        table
    }

    async fn open(&self, spec: &TableSpec, start: i64) -> bool {
        let servers = vec![InstanceId("s".to_owned())];
        let opened = self.catalog.open_partition(spec, 0, start, servers, 5);
        opened.await.unwrap()
    }

    async fn commit(&self, spec: &TableSpec, record: SegmentRecord, epoch: u64) -> CommitOutcome {
        let outcome = self.catalog.commit_segment(spec, record, epoch, 7);
        outcome.await.unwrap()
    }
}

fn clock() -> Arc<dyn Clock> {
    ManualClock::at_ms(0)
}

fn sealed(spec: &TableSpec, sequence: u32, start: i64, end: i64, crc: u32) -> SegmentRecord {
    let id = SegmentId {
        table: spec.id,
        partition: 0,
        sequence,
    };
    SegmentRecord {
        status: SegmentStatus::Done,
        end: Some(end),
        crc,
        ledger: Ledger {
            rows: (end - start) as u64,
            ..Ledger::default()
        },
        uri: Some(SegmentRecord::object_key(id, crc)),
        ..SegmentRecord::consuming(id, spec, start, 6)
    }
}

macro_rules! over_all_stores {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::memory()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(database) = super::Database::fresh("the catalog").await else {
                    return;
                };
                let folder = tempfile::tempdir().unwrap();
                let store = std::sync::Arc::new(database.store().await);
                super::$name(super::World::over(store, folder)).await;
                database.remove().await;
            })*
        }
    };
}

over_all_stores!(
    a_commit_seals_one_segment_and_opens_the_next,
    what_does_not_fit_the_head_is_fenced,
    removal_and_its_task_are_one_transaction,
    a_table_goes_whole,
    a_drop_and_a_commit_never_lose_an_object,
    sequences_of_offline_tables_never_come_back,
    tasks_are_leased_by_kind_and_time,
    changes_name_their_table,
    a_cluster_keeps_its_id,
    a_commit_again_tells_that_the_object_has_come,
    a_file_takes_the_place_of_the_one_that_it_was_made_of,
    watermarks_move_with_their_replacement,
    tasks_are_ordered_once_and_over_once,
);

async fn a_commit_seals_one_segment_and_opens_the_next(world: World) {
    let spec = world.table(REALTIME).await.spec;
    assert!(world.open(&spec, 100).await);
    assert!(!world.open(&spec, 200).await, "it is open");
    let id = sealed(&spec, 0, 100, 150, 1).id;
    let epoch = world.catalog.elect(id).await.unwrap().unwrap();
    let record = sealed(&spec, 0, 100, 150, 1);
    let outcome = world.commit(&spec, record.clone(), epoch).await;
    assert_eq!(outcome, CommitOutcome::Committed);
    let again = world.commit(&spec, record.clone(), epoch).await;
    assert_eq!(again, CommitOutcome::AlreadyCommitted);

    let segments = world.catalog.segments(spec.id).await.unwrap();
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[0].record, record);
    assert_eq!(segments[0].assigned, segments[1].assigned);
    let next = &segments[1].record;
    assert_eq!((next.start, next.end, next.id.sequence), (150, None, 1));
    let head = world.catalog.head(spec.id, 0).await.unwrap().unwrap().value;
    assert_eq!((head.sequence, head.start, head.epoch), (1, 150, epoch));
}

async fn what_does_not_fit_the_head_is_fenced(world: World) {
    let spec = world.table(REALTIME).await.spec;
    world.open(&spec, 0).await;
    let good = sealed(&spec, 0, 0, 10, 1);
    let old = world.catalog.elect(good.id).await.unwrap().unwrap();
    let epoch = world.catalog.elect(good.id).await.unwrap().unwrap();
    assert_eq!(epoch, old + 1);
    let before = world.store.range("/").await.unwrap();

    let mut short_ledger = good.clone();
    short_ledger.ledger.rows -= 1;
    let mut nowhere = good.clone();
    nowhere.uri = None;
    let mut endless = good.clone();
    endless.end = None;
    let mut backwards = good.clone();
    backwards.end = Some(-1);
    for (record, epoch) in [
        (good.clone(), old),
        (good.clone(), epoch + 1),
        (sealed(&spec, 0, 1, 10, 1), epoch),
        (sealed(&spec, 1, 0, 10, 1), epoch),
        (short_ledger, epoch),
        (nowhere, epoch),
        (endless, epoch),
        (backwards, epoch),
    ] {
        let outcome = world.commit(&spec, record.clone(), epoch).await;
        assert!(matches!(outcome, CommitOutcome::Fenced(_)), "{record:?}");
    }
    assert_eq!(world.store.range("/").await.unwrap(), before);

    assert_eq!(
        world.commit(&spec, good, epoch).await,
        CommitOutcome::Committed
    );
    let other = world.commit(&spec, sealed(&spec, 0, 0, 12, 2), epoch).await;
    assert!(matches!(other, CommitOutcome::Fenced(_)));
    let elected = world.catalog.elect(sealed(&spec, 0, 0, 10, 1).id).await;
    assert_eq!(elected.unwrap(), None, "the head has moved");
}

async fn removal_and_its_task_are_one_transaction(world: World) {
    let spec = world.table(REALTIME).await.spec;
    world.open(&spec, 0).await;
    let record = sealed(&spec, 0, 0, 10, 1);
    let epoch = world.catalog.elect(record.id).await.unwrap().unwrap();
    world.commit(&spec, record.clone(), epoch).await;
    let segments = world.catalog.segments(spec.id).await.unwrap();
    let all: Vec<SegmentRecord> = segments.into_iter().map(|s| s.record).collect();

    let mut changes = world.store.watch("/").await.unwrap();
    world.catalog.remove_segments(&all).await.unwrap();
    let seen: Vec<Change> = changes.by_ref().take(2).collect().await;
    let (Change::Delete { key, revision }, Change::Put(task)) = (&seen[0], &seen[1]) else {
        panic!("{seen:?}");
    };
    assert!(key.ends_with("/0000000000/0000000000"));
    assert_eq!(*revision, task.revision);
    let tasks = world.catalog.tasks().await.unwrap();
    let kind = TaskKind::RemoveObjects {
        keys: vec![record.uri.clone().unwrap()],
        segments: vec![record.id],
    };
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].kind, kind);

    let left = world.catalog.segments(spec.id).await.unwrap();
    assert_eq!(left.len(), 1);
    let consuming = [left[0].record.clone()];
    world.catalog.remove_segments(&consuming).await.unwrap();
    assert_eq!(world.catalog.segments(spec.id).await.unwrap(), left);
    assert_eq!(world.catalog.tasks().await.unwrap().len(), 1);
}

async fn a_table_goes_whole(world: World) {
    let table = world.table(REALTIME).await;
    let spec = &table.spec;
    world.open(spec, 0).await;
    let record = sealed(spec, 0, 0, 10, 1);
    let epoch = world.catalog.elect(record.id).await.unwrap().unwrap();
    world.commit(spec, record.clone(), epoch).await;
    assert_eq!(
        world.catalog.create_table(&table).await.unwrap(),
        CreateOutcome::NameTaken
    );
    world.catalog.drop_table(&table).await.unwrap();
    world.catalog.drop_table(&table).await.unwrap();
    let (left, _) = world.store.range("/").await.unwrap();
    let keys: Vec<&str> = left.iter().map(|entry| &entry.key[..7]).collect();
    assert_eq!(keys, ["/schema", "/tasks/"], "schema and task: {left:?}");
    let tasks = world.catalog.tasks().await.unwrap();
    let TaskKind::RemoveObjects { keys, .. } = &tasks[0].kind else {
        panic!("{tasks:?}");
    };
    assert_eq!(*keys, [record.uri.clone().unwrap()]);

    assert!(!world.open(spec, 0).await, "nothing comes back");
    let late = world.commit(spec, record, epoch).await;
    assert!(matches!(late, CommitOutcome::Fenced(_)));
    assert_eq!(world.store.range("/").await.unwrap().0, left);
}

async fn a_drop_and_a_commit_never_lose_an_object(world: World) {
    for _ in 0..40 {
        let table = world.table(REALTIME).await;
        let spec = &table.spec;
        world.open(spec, 0).await;
        let record = sealed(spec, 0, 0, 10, 1);
        let epoch = world.catalog.elect(record.id).await.unwrap().unwrap();
        let (outcome, dropped) = tokio::join!(
            world.commit(spec, record.clone(), epoch),
            world.catalog.drop_table(&table)
        );
        dropped.unwrap();
        let tasks = world.catalog.tasks().await.unwrap();
        let key = record.uri.unwrap();
        let named = tasks.iter().any(|task| match &task.kind {
            TaskKind::RemoveObjects { keys, .. } => keys.contains(&key),
            _ => false,
        });
        assert_eq!(named, outcome == CommitOutcome::Committed, "{outcome:?}");
    }
}

async fn sequences_of_offline_tables_never_come_back(world: World) {
    let table = world.table(OFFLINE).await;
    let spec = &table.spec;
    let add = async |record: SegmentRecord| world.catalog.add_segment(spec, record, vec![]).await;
    let first = add(sealed(spec, 0, 0, 0, 1)).await.unwrap();
    assert_eq!(first.name, "t_0");
    let again = add(sealed(spec, 0, 0, 0, 1)).await.unwrap();
    assert_eq!(again, first, "the answer was lost");
    assert!(
        add(sealed(spec, 0, 0, 0, 2)).await.is_err(),
        "other content"
    );
    add(sealed(spec, 1, 0, 0, 1)).await.unwrap();
    assert_eq!(world.catalog.next_sequence(spec.id).await.unwrap(), 2);

    let last = [sealed(spec, 1, 0, 0, 1)];
    world.catalog.remove_segments(&last).await.unwrap();
    assert_eq!(world.catalog.next_sequence(spec.id).await.unwrap(), 2);
    let error = add(sealed(spec, 1, 0, 0, 1)).await.unwrap_err();
    assert!(matches!(error, MetaError::Conflict { .. }), "{error}");
    add(sealed(spec, 2, 0, 0, 1)).await.unwrap();

    world.catalog.drop_table(&table).await.unwrap();
    let gone = add(sealed(spec, 3, 0, 0, 1)).await;
    assert!(gone.is_err(), "the table is gone");
    assert!(world.store.range("/segments/").await.unwrap().0.is_empty());
}

async fn tasks_are_leased_by_kind_and_time(world: World) {
    let catalog = &world.catalog;
    let kind = TaskKind::RemoveOrphans {
        known: vec!["k".to_owned()],
        older_than_ms: 3,
    };
    catalog.add_task(kind.clone(), 0).await.unwrap();
    let orphans = [kind.name().to_owned()];
    let other = ["remove_objects".to_owned()];
    let lease = async |kinds: &[String], now_ms, until_ms| {
        let asking = Asking {
            minion: "Minion_a",
            kinds,
            now_ms,
            until_ms,
        };
        catalog.lease_task(asking, |_| false).await.unwrap()
    };
    assert_eq!(lease(&other, 0, 60).await, None);
    let task = lease(&orphans, 0, 60).await.unwrap();
    assert_eq!((&task.kind, task.leased_until_ms), (&kind, 60));
    assert_eq!(lease(&[], 59, 120).await, None);
    let again = lease(&[], 60, 120).await.unwrap();
    assert_eq!(again.id, task.id, "its time was over");
    assert_eq!((&*again.leased_by, again.attempts), ("Minion_a", 2));
    for (minion, is_its) in [("Minion_b", false), ("Minion_a", true)] {
        let failed = catalog.task_failed(task.id, minion, "no room", (70, false));
        assert_eq!(failed.await.unwrap(), is_its);
    }
    let failed = catalog.tasks().await.unwrap().remove(0);
    assert_eq!((&*failed.leased_by, &*failed.last_error), ("", "no room"));
    catalog.finish_task(task.id, "", 0).await.unwrap();
    catalog.finish_task(task.id, "", 0).await.unwrap();
    assert!(catalog.tasks().await.unwrap().is_empty());
}

async fn changes_name_their_table(world: World) {
    let mut changes = world.catalog.watch().await.unwrap();
    let spec = world.table(REALTIME).await.spec;
    world
        .catalog
        .put_schema("t", "{}".to_owned())
        .await
        .unwrap();
    world.open(&spec, 0).await;
    let whole = world.catalog.whole_table(spec.id).await.unwrap();
    assert_eq!(whole.table.unwrap().spec, spec);
    assert_eq!(whole.segments.iter().count(), 1);
    let seen: Vec<CatalogChange> = changes.by_ref().take(2).collect().await;
    let last = CatalogChange::Table {
        id: spec.id,
        revision: whole.revision,
    };
    assert!(matches!(seen[0], CatalogChange::Table { id, .. } if id == spec.id));
    assert_eq!(seen[1], last);
    let nothing = world.catalog.whole_table(TableId::random()).await.unwrap();
    assert!(nothing.table.is_none() && nothing.segments.iter().next().is_none());
}

async fn a_cluster_keeps_its_id(world: World) {
    let other = Catalog::new(Arc::clone(&world.store));
    let (one, two) = futures::join!(world.catalog.cluster(0), other.cluster(0));
    let id = one.unwrap();
    assert_eq!(two.unwrap(), id);
    assert_eq!(world.catalog.cluster(0).await.unwrap(), id);
}

async fn a_commit_again_tells_that_the_object_has_come(world: World) {
    let spec = world.table(REALTIME).await.spec;
    assert!(world.open(&spec, 0).await);
    let stored = sealed(&spec, 0, 0, 10, 1);
    let epoch = world.catalog.elect(stored.id).await.unwrap().unwrap();
    let unstored = SegmentRecord {
        unstored: true,
        ..stored.clone()
    };
    let commit = async |record: &SegmentRecord| {
        let committed = world
            .catalog
            .commit_segment(&spec, record.clone(), epoch, 1);
        committed.await.unwrap()
    };
    assert_eq!(commit(&unstored).await, CommitOutcome::Committed);
    let found = async || {
        world
            .catalog
            .segment(stored.id)
            .await
            .unwrap()
            .unwrap()
            .record
    };
    assert!(found().await.unstored);
    let told = SegmentRecord {
        stored_bytes: 77,
        ..stored.clone()
    };
    assert_eq!(commit(&told).await, CommitOutcome::AlreadyCommitted);
    assert_eq!(
        (found().await.unstored, found().await.stored_bytes),
        (false, 77)
    );
    // A late one of before takes nothing back.
    assert_eq!(commit(&unstored).await, CommitOutcome::AlreadyCommitted);
    assert!(!found().await.unstored);
}

async fn a_file_takes_the_place_of_the_one_that_it_was_made_of(world: World) {
    let spec = world.table(REALTIME).await.spec;
    assert!(world.open(&spec, 0).await);
    let first = SegmentRecord {
        time_range: Some((3, 9)),
        ..sealed(&spec, 0, 0, 10, 1)
    };
    let epoch = world.catalog.elect(first.id).await.unwrap().unwrap();
    world.commit(&spec, first.clone(), epoch).await;
    let made = |crc: u32, rows: u64, earlier: &[u32]| SegmentRecord {
        name: "another".to_owned(),
        earlier: earlier.to_vec(),
        ledger: Ledger {
            rows,
            filtered: 10 - rows,
            ..Ledger::default()
        },
        ..sealed(&spec, 0, 0, 10, crc)
    };
    let take = async |made: &SegmentRecord| {
        let taken = world.catalog.take_place(made, (50, 1000)).await;
        taken.unwrap()
    };
    let second = made(2, 4, &[1]);
    assert!(take(&second).await);
    assert!(take(&second).await, "the answer was lost");
    let stored = world.catalog.segment(first.id).await.unwrap().unwrap();
    let record = stored.record;
    assert_eq!(
        (record.crc, record.ledger.rows, &record.uri),
        (2, 4, &second.uri)
    );
    assert_eq!(
        (&record.name, record.time_range),
        (&first.name, Some((3, 9)))
    );
    assert!(record.is_file(1) && record.is_file(2) && !record.is_file(3));
    // The object of before goes, but not yet.
    let tasks = world.catalog.tasks().await.unwrap();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].leased_until_ms, 1050);
    let keys: Vec<String> = first.uri.clone().into_iter().collect();
    assert!(matches!(&tasks[0].kind, TaskKind::RemoveObjects { keys: gone, .. } if *gone == keys));
    // Who committed the first file hears that it is committed.
    let again = world.commit(&spec, first.clone(), epoch).await;
    assert_eq!(again, CommitOutcome::AlreadyCommitted);
    for refused in [
        made(3, 4, &[1]),
        made(1, 4, &[2, 1]),
        SegmentRecord {
            ledger: Ledger::default(),
            ..made(3, 2, &[2, 1])
        },
        SegmentRecord {
            uri: None,
            ..made(3, 2, &[2, 1])
        },
    ] {
        assert!(!take(&refused).await, "{refused:?}");
    }
    assert!(take(&made(3, 2, &[2, 1])).await);
    let stored = world.catalog.segment(first.id).await.unwrap().unwrap();
    world
        .catalog
        .remove_segments(&[stored.record])
        .await
        .unwrap();
    assert!(!take(&made(4, 1, &[3])).await, "it was removed");
}

async fn watermarks_move_with_their_replacement(world: World) {
    let (catalog, table) = (&world.catalog, world.table(OFFLINE).await.spec.id);
    let nothing = || Ok(std::collections::BTreeSet::new());
    let start = async |from_ms, to_ms| {
        let new = Replacement {
            id: uuid::Uuid::new_v4(),
            state: ReplacementState::InProgress,
            from: Default::default(),
            to: Default::default(),
            changed_ms: 0,
            key: None,
            first_sequence: 0,
            yields: true,
            watermark: Some(WatermarkMove {
                name: "moved".to_owned(),
                from_ms,
                to_ms,
            }),
        };
        let starting = catalog.change_lineage(table, |lineage, there| {
            lineage.start(new.clone(), there, false)?;
            nothing()
        });
        starting.await.unwrap();
        new.id
    };
    let end = async |id| {
        let ending =
            catalog.change_lineage(table, |lineage, there| lineage.end(id, None, there, 1));
        ending.await
    };
    let mark = async || {
        let stored = catalog.table(table).await.unwrap().unwrap();
        stored.value.watermarks.get("moved").copied()
    };
    // Two of the same bucket: one of them ends.
    let (first, second) = (start(None, 10).await, start(None, 10).await);
    assert_eq!(mark().await, None);
    end(first).await.unwrap();
    end(first).await.unwrap();
    assert_eq!(mark().await, Some(10));
    let refused = end(second).await.unwrap_err();
    assert!(refused.message.contains("watermark `moved`"), "{refused}");
    end(start(Some(10), 20).await).await.unwrap();
    assert_eq!(mark().await, Some(20));
    // What was taken back is moved again, but for what others rest on.
    let revert = async |id| {
        let reverting = catalog.change_lineage(table, |lineage, there| {
            lineage.revert(id, false, there, 2)?;
            nothing()
        });
        reverting.await
    };
    assert!(revert(first).await.is_err());
    assert_eq!(mark().await, Some(20));
    let third = start(Some(20), 30).await;
    end(third).await.unwrap();
    revert(third).await.unwrap();
    assert_eq!(mark().await, Some(20));
}

async fn tasks_are_ordered_once_and_over_once(world: World) {
    let (catalog, table) = (&world.catalog, world.table(OFFLINE).await.spec.id);
    let order = RewriteOrder {
        task_type: TaskType::MergeRollupTask,
        table_name: "t_OFFLINE".to_owned(),
        target: table,
        inputs: Vec::new(),
        window_ms: None,
        bucket_ms: None,
        round_ms: None,
        merge: Default::default(),
        roll_up: Vec::new(),
        filter: None,
        rows_max: 1,
        level: None,
        watermark: None,
    };
    let task = Task::new(TaskKind::Rewrite(Box::new(order)));
    let seen = || async { catalog.table(table).await.unwrap().unwrap() };
    let (a, b) = (seen().await, seen().await);
    let note = |stored: &mut StoredTable| {
        stored.scheduled.insert(TaskType::MergeRollupTask, 7);
    };
    let tasks = std::slice::from_ref(&task);
    assert!(catalog.order_tasks(a, note, tasks).await.unwrap());
    assert!(!catalog.order_tasks(b, note, tasks).await.unwrap());
    assert_eq!(seen().await.value.scheduled[&TaskType::MergeRollupTask], 7);
    let asking = |minion, now_ms| Asking {
        minion,
        kinds: &[],
        now_ms,
        until_ms: now_ms + 60,
    };
    let lease = async |minion, now_ms, is_free: bool| {
        let leasing = catalog.lease_task(asking(minion, now_ms), move |_| is_free);
        leasing.await.unwrap()
    };
    assert!(lease("a", 0, false).await.is_some());
    assert!(lease("b", 1, false).await.is_none());
    let again = lease("b", 1, true).await.unwrap();
    assert_eq!((again.attempts, again.history.len()), (2, 2), "a is dead");
    assert!(!catalog.renew_task(task.id, "a", 99, "").await.unwrap());
    assert!(catalog.renew_task(task.id, "b", 99, "half").await.unwrap());
    assert!(catalog.cancel_task(task.id, "enough", 50).await.unwrap());
    assert!(!catalog.cancel_task(task.id, "enough", 51).await.unwrap());
    assert!(!catalog.renew_task(task.id, "b", 99, "").await.unwrap());
    catalog.finish_task(task.id, "done", 60).await.unwrap();
    let over = catalog.task(task.id).await.unwrap().unwrap();
    assert_eq!(
        (over.state(60), over.finished_ms),
        (TaskState::Cancelled, Some(50))
    );
    let stopped = TaskType::PurgeTask;
    catalog.stop_tasks(stopped, true).await.unwrap();
    assert_eq!(catalog.stopped_tasks().await.unwrap(), [stopped].into());
    catalog.stop_tasks(stopped, false).await.unwrap();
    assert!(catalog.stopped_tasks().await.unwrap().is_empty());
}
