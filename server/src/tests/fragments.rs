//! Fragments over the transport's interface; damaged files.

use super::*;
use futures::StreamExt;
use query::codec::{PLAN_FORMAT, encode_plan};
use query::ipc::decode_batches;
use query::scan_exec::{ScanDescription, SegmentScanExec};
use schemas::proto::{
    ConsumingFrom, FragmentAnswer, FragmentRequest, NullMode, PartitionOffset, SegmentRef,
    TableScan,
};

/// SELECT n FROM t.
pub(super) fn request(world: &World, scan: TableScan) -> FragmentRequest {
    let spec = world.state().spec;
    let description = ScanDescription {
        table: world.table,
        table_name: "t".to_owned(),
        table_schema: schemas::arrow::full_schema(&spec, NullMode::Defaults),
        projection: vec![0],
        filters: Vec::new(),
        sent_filters: None,
        fetch: None,
        null_mode: NullMode::Defaults,
        is_dimension_table: false,
    };
    let scan_exec = SegmentScanExec::new(Arc::new(description), Arc::default(), 0).unwrap();
    FragmentRequest {
        plan_format: PLAN_FORMAT,
        plan: encode_plan(Arc::new(scan_exec)).unwrap(),
        tables: vec![scan],
        deadline_ms: i64::MAX / 2,
        ..FragmentRequest::default()
    }
}

pub(super) fn whole(world: &World) -> TableScan {
    let state = world.state();
    let last = &state.segments.last().unwrap().record;
    let sealed = world.sealed().into_iter().map(|record| SegmentRef {
        partition: 0,
        sequence: record.id.sequence,
        crc: record.crc,
    });
    TableScan {
        table_id: world.table.to_bytes(),
        sealed: sealed.collect(),
        consuming: vec![ConsumingFrom {
            partition: 0,
            from_sequence: last.id.sequence,
            start: last.start,
        }],
        minimum_offsets: Vec::new(),
    }
}

pub(super) async fn run(server: &Server, request: FragmentRequest) -> Vec<FragmentAnswer> {
    let answers = server.fragments().run(request).await.unwrap();
    answers.map(Result::unwrap).collect().await
}

pub(super) fn rows(answers: &[FragmentAnswer]) -> usize {
    let last = answers.last().unwrap();
    assert!(last.last && last.fault.is_none(), "{:?}", last.fault);
    let filled = answers.iter().filter(|answer| !answer.batches.is_empty());
    let batches = filled.flat_map(|answer| decode_batches(&answer.batches).unwrap());
    batches.map(|batch| batch.num_rows()).sum()
}

async fn filled() -> (World, Server) {
    let world = World::new(&["a"]);
    let server = world.start("a").await;
    world.log.push_rows(0..1200);
    watch(&world, &server, |seen| {
        seen.len() == 1200 && world.sealed().len() == 2
    })
    .await;
    (world, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_and_consuming_rows_come_from_one_snapshot() {
    let (world, server) = filled().await;
    let mut scan = whole(&world);
    scan.minimum_offsets.push(PartitionOffset {
        partition: 0,
        offset: 1300,
    });
    let asked = request(&world, scan);
    let (answers, ()) = tokio::join!(run(&server, asked), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.log.push_rows(1200..1300);
    });
    assert_eq!(
        rows(&answers),
        1300,
        "it waited for what the query must see"
    );
    let progress = &answers.last().unwrap().progress[0];
    assert_eq!(progress.read_up_to[0].offset, 1300);
    assert!(progress.newest_event_ms > 0);

    let mut scan = whole(&world);
    scan.sealed[0].crc ^= 1;
    let answers = run(&server, request(&world, scan)).await;
    assert_eq!(answers.last().unwrap().missing.len(), 1);
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_reached_by_the_deadline_is_a_timeout() {
    let (world, server) = filled().await;
    let mut scan = whole(&world);
    scan.minimum_offsets.push(PartitionOffset {
        partition: 0,
        offset: 1_000_000,
    });
    let mut asked = request(&world, scan);
    asked.deadline_ms = server.core.clock.now_ms() + 100;
    let answers = run(&server, asked).await;
    let fault = answers[0].fault.as_ref().unwrap();
    assert_eq!(fault.kind, "Timeout", "{fault:?}");
    server.stop(GRACE).await;
}

/// Damages the first half of the file, but not its header, where the server has mapped it.
pub(super) fn damage(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[64..half]
        .iter_mut()
        .step_by(7)
        .for_each(|byte| *byte ^= 0x40);
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_never_sees_damage() {
    let (world, server) = filled().await;
    let path = |record: &SegmentRecord| server.core.store.path(record.id, record.crc);
    let paths: Vec<_> = world.sealed().iter().map(path).collect();
    let whole_files: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    paths.iter().for_each(|path| damage(path));
    let answers = run(&server, request(&world, whole(&world))).await;
    assert_eq!(rows(&answers), 1200);
    assert_eq!(server.core.metrics.quarantined.get(), 2);
    for (path, whole_file) in paths.iter().zip(whole_files) {
        assert!(std::fs::read(path).unwrap() == whole_file, "loaded again");
    }
    server.stop(GRACE).await;
}

fn sum(answers: &[FragmentAnswer]) -> i64 {
    let filled = answers.iter().filter(|answer| !answer.batches.is_empty());
    let batches = filled.flat_map(|answer| decode_batches(&answer.batches).unwrap());
    let longs = |batch: &arrow::array::RecordBatch| {
        let column = batch.column(0).as_any();
        let longs = column.downcast_ref::<arrow::array::Int64Array>().unwrap();
        longs.values().iter().sum::<i64>()
    };
    batches.map(|batch| longs(&batch)).sum()
}

/// Columns are verified once, but whoever writes to the file afterwards is seen too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_after_the_first_use_is_seen() {
    let (world, server) = filled().await;
    let expected = 1199 * 1200 / 2;
    let asked = || run(&server, request(&world, whole(&world)));
    assert_eq!(sum(&asked().await), expected);
    let path = |record: &SegmentRecord| server.core.store.path(record.id, record.crc);
    let paths: Vec<_> = world.sealed().iter().map(path).collect();
    // Not within one tick of the clock of the files.
    tokio::time::sleep(Duration::from_millis(50)).await;
    damage(&paths[0]);
    let answers = asked().await;
    assert_eq!((rows(&answers), sum(&answers)), (1200, expected));
    assert_eq!(server.core.metrics.quarantined.get(), 1);

    let file = std::fs::File::options()
        .write(true)
        .open(&paths[1])
        .unwrap();
    file.set_len(100).unwrap();
    let answers = asked().await;
    assert_eq!((rows(&answers), sum(&answers)), (1200, expected));
    assert_eq!(server.core.metrics.quarantined.get(), 2);

    std::fs::remove_file(&paths[0]).unwrap();
    assert_eq!(sum(&asked().await), expected, "what is mapped is whole");
    server.stop(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_set_aside_and_loaded_again() {
    let (world, server) = filled().await;
    let record = world.sealed().remove(0);
    let path = server.core.store.path(record.id, record.crc);
    server.stop(GRACE).await;
    let whole_file = std::fs::read(&path).unwrap();
    for damaged in [&whole_file[..whole_file.len() / 2], b"", b"no segment"] {
        std::fs::write(&path, damaged).unwrap();
        let server = world.start("a").await;
        eventually("ready", || server.ready().is_ok()).await;
        assert!(offsets(&world, &server).iter().copied().eq(0..1200));
        assert!(std::fs::read(&path).unwrap() == whole_file, "loaded again");
        server.stop(GRACE).await;
    }
    let aside = world.folder.path().join("a/segments/quarantine");
    assert_eq!(std::fs::read_dir(aside).unwrap().count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_over_is_swept() {
    let (world, server) = filled().await;
    let record = world.sealed().remove(0);
    let path = server.core.store.path(record.id, record.crc);
    server.stop(GRACE).await;
    let stray = path.with_file_name("7-00000001.seg");
    let torn = path.with_file_name("2-00000002.seg.tmp");
    std::fs::write(&stray, b"uncommitted").unwrap();
    std::fs::write(&torn, b"torn").unwrap();
    let server = world.start("a").await;
    eventually("ready", || server.ready().is_ok()).await;
    assert!(path.exists() && !stray.exists() && !torn.exists());
    server.stop(GRACE).await;
}
