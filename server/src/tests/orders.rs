//! What operators and a table's config order: seal now, go on elsewhere, slower, not with so many
//! bad messages, within so much memory.

use std::time::Instant;

use schemas::cluster::{CommitJob, PauseNote, Skip};
use schemas::ingest_event::EventKind;
use schemas::proto::ConsumerState;
use schemas::table::{IngestRules, LostOffsets, RateLimits};
use uuid::Uuid;

use super::*;

fn change(world: &World, change: impl FnOnce(&mut TableState)) {
    let id = world.table;
    world
        .control
        .change(|tables| change(tables.get_mut(&id).unwrap()));
}

fn consumer(world: &World) -> ConsumerState {
    let consumers = world.control.consumers("a");
    consumers.into_iter().next().unwrap_or_default()
}

/// Kind, first and end offset of the events so far.
fn events(server: &Server) -> Vec<(&'static str, i64, i64)> {
    let all = server.core.events.all();
    let told = all.iter().map(|e| (e.kind.name(), e.from, e.to));
    told.collect()
}

fn commit(world: &World, segments: Vec<(u32, u32)>) -> Uuid {
    let id = Uuid::new_v4();
    let job = CommitJob {
        id,
        submitted_ms: 0,
        segments,
    };
    change(world, |table| table.orders.commits.push(job));
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shall_be_sealed_now_is() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    eventually("it consumes", || consumer(&world).state == "CONSUMING").await;
    let nothing = commit(&world, vec![(0, 0)]);
    eventually("there is nothing to seal", || {
        consumer(&world).declined_commit == nothing.to_string()
    })
    .await;
    world.log.push_rows(0..10);
    watch(&world, &server, |seen| seen.len() == 10).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        world.sealed().is_empty(),
        "the order was for what was there"
    );

    commit(&world, vec![(0, 0), (7, 0)]);
    watch(&world, &server, |_| world.sealed().len() == 1).await;
    assert_eq!(world.sealed()[0].end, Some(10));
    world.log.push_rows(10..20);
    watch(&world, &server, |seen| seen.len() == 20).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.sealed().len(), 1, "once");
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_seals_and_survives_a_restart() {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..10);
    watch(&world, &server, |seen| seen.len() == 10).await;
    change(&world, |table| table.paused = true);
    watch(&world, &server, |_| world.sealed().len() == 1).await;
    server.stop(GRACE).await;

    world.log.push_rows(10..20);
    let server = world.start("a").await;
    eventually("ready", || server.ready().is_ok()).await;
    assert_eq!(
        offsets(&world, &server).len(),
        10,
        "what was there is there"
    );
    eventually("it is told", || consumer(&world).state == "PAUSED").await;
    change(&world, |table| table.paused = false);
    watch(&world, &server, |seen| seen.len() == 20).await;
    let told = events(&server);
    assert!(
        told.contains(&("PAUSED", 10, 10)),
        "also before the restart: {told:?}"
    );
    assert!(told.contains(&("RESUMED", 10, 10)), "{told:?}");
    server.stop(GRACE).await;
}

/// Goes on elsewhere, also when it is stopped in between: the same offsets are passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_skipped_is_skipped_once() {
    let world = World::new(&["a"]);
    let skip = Skip {
        partition: 0,
        from: 50,
        to: 220,
    };
    change(&world, |table| table.orders.skips.push(skip));
    world.log.push_rows(0..300);
    let server = world.start("a").await;
    let all: Vec<i64> = (0..50).chain(220..300).collect();
    eventually("the rest is there", || offsets(&world, &server) == all).await;
    server.stop(GRACE).await;
    let server = world.start("a").await;
    eventually("and again", || offsets(&world, &server) == all).await;
    assert!(events(&server).contains(&("SKIPPED", 50, 220)));
    commit(&world, vec![(0, 0)]);
    eventually("it is sealed", || world.sealed().len() == 1).await;
    world.check_ledgers();
    assert_eq!(world.sealed()[0].ledger.absent, 170);
    eventually("what is missing is told", || {
        events(&server).contains(&("ABSENT", 0, 300))
    })
    .await;
    server.stop(GRACE).await;
}

async fn lost(rule: LostOffsets) -> (World, Server) {
    let world = World::new(&["a"]);
    change(&world, |table| table.spec.ingest.lost_offsets = rule);
    world.log.push_rows(0..100);
    world.log.start.store(40, Ordering::Relaxed);
    let server = world.start("a").await;
    (world, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_offsets_stop_a_partition_unless_its_table_says_otherwise() {
    let (world, server) = lost(LostOffsets::Stop).await;
    eventually("it stops", || consumer(&world).state == "ERROR").await;
    let detail = consumer(&world).detail;
    assert!(detail.contains("is not in the log any more"), "{detail}");
    assert!(events(&server).contains(&("STOPPED", 0, 0)));
    change(&world, |table| {
        let ingest = &mut table.spec.ingest;
        ingest.lost_offsets = LostOffsets::Earliest;
    });
    server.stop(GRACE).await;
    let server = world.start("a").await;
    let wanted = |seen: Vec<i64>| seen.into_iter().eq(40..100);
    eventually("it goes on", || wanted(offsets(&world, &server))).await;
    assert!(events(&server).contains(&("LOST", 0, 40)));
    commit(&world, vec![(0, 0)]);
    eventually("it is sealed", || world.sealed().len() == 1).await;
    world.check_ledgers();
    server.stop(GRACE).await;

    let (world, server) = lost(LostOffsets::Latest).await;
    eventually("it is at the end", || consumer(&world).next_offset == 100).await;
    world.log.push_rows(100..110);
    let wanted = |seen: Vec<i64>| seen.into_iter().eq(100..110);
    eventually("what comes is taken", || wanted(offsets(&world, &server))).await;
    assert!(events(&server).contains(&("LOST", 0, 100)));
    server.stop(GRACE).await;
}

/// A log that ends before what was read of it is another log: no rule lets consumption go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_under_the_same_name_is_not_read() {
    let world = World::new(&["a"]);
    change(&world, |table| {
        table.spec.ingest.lost_offsets = LostOffsets::Earliest;
        table.segments[0].record.start = 500;
    });
    world.log.push_rows(0..100);
    let server = world.start("a").await;
    eventually("it stops", || consumer(&world).state == "ERROR").await;
    let detail = consumer(&world).detail;
    assert!(detail.contains("recreated"), "{detail}");
    assert_eq!(consumer(&world).next_offset, 500);
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_rejections_stop_a_partition_until_somebody_looked() {
    let world = World::new(&["a"]);
    change(&world, |table| {
        table.spec.ingest = IngestRules {
            rejected_max: Some(10),
            drop_rejected_payloads: true,
            ..IngestRules::default()
        };
    });
    let server = world.start("a").await;
    let bad = |count| (0..count).map(|_| Some("no JSON".to_owned()));
    world.log.push(bad(10));
    world.log.push_rows(10..20);
    eventually("so many may be", || consumer(&world).next_offset == 20).await;
    assert_eq!(consumer(&world).state, "CONSUMING");
    world.log.push(bad(1));
    eventually("one is too many", || consumer(&world).state == "ERROR").await;
    let detail = consumer(&world).detail;
    assert!(
        detail.starts_with("11 of 21 messages were rejected"),
        "{detail}"
    );
    world.log.push_rows(21..30);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(consumer(&world).next_offset, 21, "nothing more is taken");
    let rows = crate::system::rejected_rows(&server.core.tables.all(), server.core.clock.now_ms());
    let rows = rows.unwrap();
    let payloads = rows.column(5).as_any();
    let payloads = payloads.downcast_ref::<arrow::array::StringViewArray>();
    assert!(payloads.unwrap().iter().all(|payload| payload == Some("")));

    change(&world, |table| {
        table.orders.last = Some(PauseNote {
            at_ms: 1,
            comment: String::new(),
        });
    });
    eventually("it goes on", || consumer(&world).next_offset == 30).await;
    assert_eq!(consumer(&world).rejected, 11);
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_rate_is_consumed() {
    let world = World::new(&["a"]);
    change(&world, |table| {
        table.spec.streams[0].rate = RateLimits {
            topic: Some(200.0),
            partition: None,
        };
    });
    world.log.push_rows(0..1000);
    let begun = Instant::now();
    let server = world.start("a").await;
    watch(&world, &server, |seen| {
        let most = 200.0 * (begun.elapsed().as_secs_f64() + 0.2);
        assert!(seen.len() as f64 <= most, "{} rows too early", seen.len());
        seen.len() >= 200
    })
    .await;
    eventually("the limit is told", || {
        let detail = consumer(&world).detail;
        detail.contains("allows 200 messages a second")
    })
    .await;
    change(&world, |table| {
        table.spec.streams[0].rate = RateLimits::default()
    });
    watch(&world, &server, |seen| seen.len() == 1000).await;
    server.stop(GRACE).await;
}

/// Two partitions share a small budget: the larger one is sealed before its time, and both go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_the_fattest_is_sealed_first() {
    let mut world = World::new(&["a"]);
    world.ingest_memory_bytes = 24 << 20;
    change(&world, |table| {
        table.spec.flush.rows_max = 1_000_000;
        let mut second = table.segments[0].clone();
        second.record.id.partition = 1;
        // Behind what the first has read already.
        second.record.start = 10_000;
        table.segments.put(second);
    });
    let long = "x".repeat(400);
    let row = |n| Some(format!(r#"{{"n": {n}, "s": "{n} {long}"}}"#));
    let mut pushed = 10_000;
    world.log.push((0..pushed).map(row));
    let server = world.start("a").await;
    let is_early = || {
        let events = server.core.events.all();
        let mut early = events.iter().filter(|e| e.kind == EventKind::SealedEarly);
        early.next().map(|event| event.partition)
    };
    let next = |partition: u32| {
        let consumers = world.control.consumers("a");
        let own = consumers.iter().find(|c| c.partition == partition);
        own.map_or(0, |c| c.next_offset)
    };
    while is_early().is_none() && pushed < 500_000 {
        // Neither gets ahead of the other by more than what comes at once.
        eventually("both are there", || {
            is_early().is_some() || next(0) == pushed && next(1) == pushed
        })
        .await;
        world.log.push((pushed..pushed + 4000).map(row));
        pushed += 4000;
    }
    assert_eq!(is_early(), Some(0), "after {pushed} rows");
    eventually("all is consumed", || next(0) == pushed && next(1) == pushed).await;
    assert!(server.core.budgets.ingest.used_bytes() <= world.ingest_memory_bytes);
    server.stop(GRACE).await;
}
