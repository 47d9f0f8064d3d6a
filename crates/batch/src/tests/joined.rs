//! Many small files: read together into few segments, each row once, whatever breaks off.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use schemas::partition::{PartitionFunction, Partitioning};
use segment::arrays::StoredRows;
use segment::{SealedSegment, unpack};

use super::*;

/// About a hundred rows of JSON.
const SMALL: Joining = Joining {
    bytes_min: 1000,
    bytes_max: 4000,
    files_max: 1000,
};

impl World {
    /// Rows of the files' column `n` in each segment that counts, in the order of the stored rows.
    fn rows(&self) -> Vec<(SegmentRecord, Vec<i64>)> {
        let (come, counted) = (self.memory.come.lock(), self.memory.counted.lock());
        let segments = counted.iter().map(|name| {
            let (record, packed) = &come[name];
            let path = self.folder.path().join("read.seg");
            unpack(packed, &OsFiles, &path, record.crc).unwrap();
            let segment = SealedSegment::open(&path, &self.memory.spec, record.crc).unwrap();
            segment.verify_all().unwrap();
            let view = segment.view();
            let stored = StoredRows::of(&view, &self.memory.spec).unwrap();
            let (mut rows, mut offsets) = (Vec::new(), Vec::new());
            for block in stored.blocks() {
                let batch = stored.batch(&block).unwrap();
                let longs = |at: usize| batch.column(at).as_primitive::<Int64Type>().values();
                rows.extend_from_slice(longs(0));
                offsets.extend_from_slice(longs(batch.num_columns() - 2));
            }
            offsets.sort_unstable();
            let all: Vec<i64> = (0..record.end.unwrap()).collect();
            assert_eq!(offsets, all, "each offset of the segment once");
            std::fs::remove_file(&path).unwrap();
            (record.clone(), rows)
        });
        segments.collect()
    }

    fn numbers(&self) -> Vec<i64> {
        let rows = self.rows().into_iter();
        let mut numbers: Vec<i64> = rows.flat_map(|(_, rows)| rows).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Ten rows from `first` on, in one of four formats.
    fn write_as(&self, name: &str, format: i64, first: i64) {
        let rows = first..first + 10;
        let batch = || {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone()));
            RecordBatch::try_from_iter([("n", numbers)]).unwrap()
        };
        let mut content = Vec::new();
        let ending = match format {
            0 => {
                let lines = rows.clone().map(|n| format!("{{\"n\": {n}}}\n"));
                content = lines.collect::<String>().into_bytes();
                "json"
            }
            1 => {
                let lines = rows.clone().map(|n| format!("{n}\n"));
                content = format!("n\n{}", lines.collect::<String>()).into_bytes();
                "csv"
            }
            2 => {
                let writer =
                    parquet::arrow::ArrowWriter::try_new(&mut content, batch().schema(), None);
                let mut writer = writer.unwrap();
                writer.write(&batch()).unwrap();
                writer.close().unwrap();
                "parquet"
            }
            _ => {
                let schema = batch().schema();
                let writer = arrow::ipc::writer::FileWriter::try_new(&mut content, &schema);
                let mut writer = writer.unwrap();
                writer.write(&batch()).unwrap();
                writer.finish().unwrap();
                "arrow"
            }
        };
        std::fs::write(self.path(&format!("{name}.{ending}")), content).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_files_of_several_formats_become_one_segment() {
    let world = World::new();
    for file in 0..400 {
        world.write_as(&format!("{file:03}"), file % 4, file * 10);
    }
    let done = world.import(Joining::default(), false).await.unwrap();
    assert_eq!((done.rows, done.files, done.segments), (4000, 400, 1));
    assert_eq!(world.numbers(), (0..4000).collect::<Vec<_>>());
    let left = std::fs::read_dir(&world.workshop.folder).unwrap().count();
    assert_eq!(left, 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_import_of_small_files_goes_on_whatever_became_of_them() {
    let world = World::new();
    for file in 0..300 {
        world.write(&format!("{file:03}.json"), file * 10..file * 10 + 10);
    }
    world.memory.breaks_after.store(6, Ordering::Relaxed);
    let broken = world.import(SMALL, false).await.unwrap_err();
    assert_eq!(broken.kind(), FaultKind::Unavailable);
    let come = world.memory.records();
    assert_eq!(come.len(), 6);
    let of = |record: &SegmentRecord| record.source.clone().unwrap();
    assert!(come.iter().all(|record| of(record).files > 1));

    // Of some that are done the first has other rows, among others there is a new one, of others
    // the last is gone.
    let mut come: Vec<_> = come.iter().map(of).collect();
    come.sort_by(|a, b| a.uri.cmp(&b.uri));
    let first = |at: usize| -> i64 {
        let (_, name) = come[at].uri.rsplit_once('/').unwrap();
        name.trim_end_matches(".json").parse().unwrap()
    };
    let last = first(2) + i64::from(come[2].files) - 1;
    std::fs::write(&come[0].uri, "{\"n\": -1}\n").unwrap();
    std::fs::write(come[1].uri.replace(".json", "a.json"), "{\"n\": -2}\n").unwrap();
    std::fs::remove_file(world.path(&format!("{last:03}.json"))).unwrap();
    let mut wanted: Vec<i64> = (-2..3000).collect();
    wanted.retain(|n| n.div_euclid(10) != first(0) && n.div_euclid(10) != last);

    world
        .memory
        .breaks_after
        .store(usize::MAX, Ordering::Relaxed);
    let done = world.import(SMALL, false).await.unwrap();
    assert_eq!(done.kept, 3, "those that are as they were");
    assert_eq!(done.files, 300);
    assert_eq!(done.rows, wanted.len() as u64);
    assert_eq!(world.numbers(), wanted);

    // All of it was done: what is joined otherwise now is found as it was.
    world
        .memory
        .come
        .lock()
        .retain(|name, _| world.memory.counted.lock().contains(name));
    let again = world.import(Joining::default(), false).await.unwrap();
    assert_eq!((again.kept, again.segments), (done.segments, done.segments));
    assert_eq!(world.numbers(), wanted);
}

/// What was read in parts by a program that joined nothing is no whole file.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_file_is_not_taken_for_all_of_it() {
    let world = World::new();
    world.write("a.json", 0..10);
    world.write("b.json", 10..20);
    world.import(ALONE, false).await.unwrap();
    let marks = || {
        world
            .memory
            .records()
            .into_iter()
            .filter_map(|record| record.source)
    };
    assert!(marks().all(|mark| mark.files == 0));
    let json = serde_json::to_value(marks().next().unwrap()).unwrap();
    assert!(json.get("files").is_none(), "as before: {json}");
    let done = world.import(Joining::default(), false).await.unwrap();
    assert_eq!((done.rows, done.kept), (20, 0));
    assert_eq!(world.numbers(), (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_partition_share_segments_with_their_like_alone() {
    let by = Partitioning {
        function: PartitionFunction::Modulo,
        partitions: 4,
    };
    let mut column = ColumnSpec::new("n", DataType::Long, FieldRole::Dimension);
    column.partitioning = Some(by);
    let world = World::with(vec![column], |_| ());
    let lines = |numbers: &[i64]| -> String {
        numbers
            .iter()
            .map(|n| format!("{{\"n\": {n}}}\n"))
            .collect()
    };
    for file in 0..80 {
        let numbers: Vec<i64> = (0..5)
            .map(|row| (file / 4 * 5 + row) * 4 + file % 4)
            .collect();
        std::fs::write(world.path(&format!("{file:02}.json")), lines(&numbers)).unwrap();
    }
    std::fs::write(world.path("mixed.json"), lines(&[400, 401])).unwrap();
    std::fs::write(world.path("null.json"), "{\"n\": null}\n").unwrap();
    std::fs::write(world.path("nothing.json"), "\n").unwrap();
    let done = world.import(Joining::default(), false).await.unwrap();
    assert_eq!((done.rows, done.files, done.segments), (403, 83, 5));
    let mut held: Vec<Vec<u32>> = world
        .rows()
        .iter()
        .map(|(record, _)| record.partitions[0].held.clone())
        .collect();
    held.sort();
    assert_eq!(held.len(), 5);
    let alone = held.iter().filter(|held| held.len() == 1).cloned();
    assert_eq!(alone.collect::<Vec<_>>(), [[0], [1], [2], [3]]);
    let pieces = world
        .memory
        .records()
        .into_iter()
        .map(|record| record.source.unwrap());
    let mut pieces: Vec<(u32, bool)> = pieces.map(|mark| (mark.piece, mark.is_last)).collect();
    pieces.sort_unstable();
    let wanted = [(0, false), (1, false), (2, false), (3, false), (4, true)];
    assert_eq!(pieces, wanted, "the last one says that all of it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_many_files_are_sorted_together_and_their_times_told() {
    let columns = vec![
        ColumnSpec::new("n", DataType::Long, FieldRole::Dimension),
        ColumnSpec::new("ts", DataType::Timestamp, FieldRole::DateTime),
    ];
    let world = World::with(columns, |spec| {
        spec.sorted_column = Some("n".to_owned());
        spec.time_column = Some("ts".to_owned());
    });
    for file in 0..100 {
        let rows = (0..7).map(|row| {
            let n = (row * 100 + file) * 7919 % 700;
            format!("{{\"n\": {n}, \"ts\": {}}}\n", 1_767_225_600_000_i64 + n)
        });
        std::fs::write(
            world.path(&format!("{file}.json")),
            rows.collect::<String>(),
        )
        .unwrap();
    }
    let done = world.import(Joining::default(), false).await.unwrap();
    assert_eq!((done.rows, done.segments), (700, 1));
    let (record, rows) = world.rows().remove(0);
    assert!(rows.is_sorted(), "by the table's column");
    assert_eq!(
        record.time_range,
        Some((1_767_225_600_000, 1_767_225_600_699))
    );
    assert_eq!(world.numbers(), (0..700).collect::<Vec<_>>());
}
