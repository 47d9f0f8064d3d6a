//! Replicas that end a segment at different offsets: one wins, the others take its content.

use super::*;
use arrow::array::{Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray};
use segment::{SealExtra, SegmentBuilder};

/// Another replica, which is not there any more, has committed the first segment, ending at `end`.
pub(super) async fn ghost_commits(world: &World, end: i64) -> SegmentRecord {
    let record = ghost_uploads(world, end).await;
    world.control.commit(record.clone());
    record
}

pub(super) async fn ghost_uploads(world: &World, end: i64) -> SegmentRecord {
    let spec = world.state().spec;
    let id = SegmentId {
        table: world.table,
        partition: 0,
        sequence: 0,
    };
    let mut builder = SegmentBuilder::new(&spec, id, "t__0__0__ghost".to_owned()).unwrap();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..end)),
        Arc::new(StringViewArray::from_iter_values(
            (0..end).map(|n| format!("row {n}")),
        )),
        Arc::new(Int64Array::from_iter_values(0..end)),
        Arc::new(TimestampMillisecondArray::from_iter_values(0..end)),
    ];
    let schema = schemas::arrow::ingest_schema(&spec);
    builder
        .append(&RecordBatch::try_new(schema, columns).unwrap())
        .unwrap();
    let extra = SealExtra {
        end,
        ledger: Ledger {
            rows: end as u64,
            ..Ledger::default()
        },
        ..SealExtra::default()
    };
    let folder = world.folder.path().join("ghost");
    std::fs::create_dir_all(&folder).unwrap();
    let sealed = builder.finish(&OsFiles, &folder, extra).unwrap();
    let mut record = sealed.record;
    let packed = segment::pack(&sealed.path, record.crc).unwrap();
    let key = SegmentRecord::object_key(id, record.crc);
    world.deep.upload(&key, packed.into()).await.unwrap();
    record.uri = Some(key);
    record
}

fn holds(world: &World, server: &str, record: &SegmentRecord) -> bool {
    let held = world.control.held(server);
    held.contains(&(record.id.sequence, record.crc))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_takes_the_committed_segment() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..200);
    watch(&world, &server, |seen| seen.len() == 200).await;
    let record = ghost_commits(&world, 350).await;
    watch(&world, &server, |seen| seen.len() == 350).await;
    world.log.push_rows(200..600);
    watch(&world, &server, |seen| seen.len() == 600).await;
    eventually("the ghost's segment is held", || {
        holds(&world, "a", &record)
    })
    .await;
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_ahead_shows_nothing_twice_and_loses_nothing() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..400);
    watch(&world, &server, |seen| seen.len() == 400).await;
    let record = ghost_commits(&world, 150).await;
    watch(&world, &server, |seen| {
        seen.len() == 400 && holds(&world, "a", &record)
    })
    .await;
    world.log.push_rows(400..1000);
    watch(&world, &server, |seen| {
        seen.len() == 1000 && world.sealed().len() == 2
    })
    .await;
    world.check_ledgers();
    assert_eq!(world.sealed()[1].end, Some(650));
    server.stop(GRACE).await;
}

/// It reached its limit, waits for the commit of another, and consumes the next segment meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_goes_on_consuming() {
    let world = World::new(&["a", "b"]);
    // `b` is elected and silent.
    let b = Control(Arc::clone(&world.control));
    let request = schemas::proto::SegmentConsumedRequest {
        instance: "b".to_owned(),
        table_id: world.table.to_bytes(),
        offset: 300,
        ..Default::default()
    };
    rpc::ControlApi::segment_consumed(&b, request)
        .await
        .unwrap();
    let server = world.start("a").await;
    world.log.push_rows(0..800);
    watch(&world, &server, |seen| seen.len() == 800).await;
    assert!(world.sealed().is_empty());
    let record = ghost_commits(&world, 300).await;
    watch(&world, &server, |seen| {
        seen.len() == 800 && holds(&world, "a", &record)
    })
    .await;
    watch(&world, &server, |_| world.sealed().len() == 2).await;
    world.check_ledgers();
    server.stop(GRACE).await;
}

/// It has shown its sealed rows when it is refused: the rival's take their place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_commit_gives_way() {
    for end in [350, 500, 700] {
        let world = World::new(&["a"]);
        let record = ghost_uploads(&world, end).await;
        *world.control.rival.lock() = Some(record.clone());
        let server = world.start("a").await;
        world.log.push_rows(0..800);
        watch(&world, &server, |seen| {
            seen.len() == 800 && holds(&world, "a", &record)
        })
        .await;
        world.log.push_rows(800..end + 510);
        watch(&world, &server, |_| world.sealed().len() == 2).await;
        world.check_ledgers();
        assert_eq!(world.sealed()[1].end, Some(end + 500));
        let folder = server.core.store.partition_folder(record.id);
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, 2, "what lost is removed");
        server.stop(GRACE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_hold_the_same_bytes() {
    let world = World::new(&["a", "b"]);
    let a = world.start("a").await;
    world.log.push_rows(0..300);
    watch(&world, &a, |seen| seen.len() == 300).await;
    let b = world.start("b").await;
    for at in 3..22 {
        world.log.push_rows(at * 100..(at + 1) * 100);
        watch(&world, &a, |seen| seen.len() as i64 >= at * 100).await;
        watch(&world, &b, |seen| seen.len() as i64 >= at * 100).await;
    }
    for (name, server) in [("a", &a), ("b", &b)] {
        watch(&world, server, |seen| {
            let sealed = world.sealed();
            seen.len() == 2200 && sealed.len() == 4 && sealed.iter().all(|r| holds(&world, name, r))
        })
        .await;
    }
    world.check_ledgers();
    a.stop(GRACE).await;
    b.stop(GRACE).await;
}

/// A server that consumed to another offset than the state says does not answer for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_begins_elsewhere_is_missing() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..600);
    watch(&world, &server, |_| world.sealed().len() == 1).await;
    let end = world.sealed()[0].end.unwrap();
    let view = server.core.tables.get(world.table).unwrap().view();
    assert!(view.consuming_from(0, 1, end).is_some());
    assert!(view.consuming_from(0, 1, end - 1).is_none());
    assert!(view.consuming_from(0, 2, end).is_none());
    assert!(view.consuming_from(1, 0, 0).is_none());
    server.stop(GRACE).await;
}

/// A consumer that begins anew is hidden before it says anything of itself; what the one before it
/// said must not count. The runtime has one thread: nothing happens between these lines.
#[tokio::test]
async fn who_has_not_caught_up_does_not_say_that_it_holds() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..100);
    watch(&world, &server, |seen| seen.len() == 100).await;
    let consumes = || {
        let told = crate::heartbeat::request(&server.core, 0).held;
        told.iter().flat_map(|one| &one.segment).any(|s| s.crc == 0)
    };
    assert!(consumes());
    server.core.tables.get(world.table).unwrap().hide(0);
    assert!(!consumes());
    server.stop(GRACE).await;
}
