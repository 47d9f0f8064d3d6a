//! Values out of JSON documents: by the index where a segment has one, and by reading documents.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray};
use runtime::OsFiles;
use schemas::arrow::ingest_schema;
use schemas::proto::{Explain, NullMode, ScanOptions};
use schemas::table::JsonIndexSpec;
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableId, TableSpec, TableType};
use segment::{MutableSegment, SealExtra, SealedSegment, SegmentView, seal};

use crate::data::{Random, Table};
use crate::server::Server;
use crate::{assert_same, general, on_threads, rows_of};

fn spec(is_indexed: bool) -> TableSpec {
    let mut doc = ColumnSpec::new("doc", DataType::Json, FieldRole::Dimension);
    doc.json_index = is_indexed.then(|| JsonIndexSpec {
        exclude_fields: vec!["secret".to_owned()],
        ..JsonIndexSpec::default()
    });
    let n = ColumnSpec::new("n", DataType::Int, FieldRole::Metric);
    TableSpec {
        id: TableId::from_bytes(&[4; 16]).unwrap(),
        ..TableSpec::new(
            "flights".parse().unwrap(),
            TableType::Realtime,
            vec![doc, n],
        )
    }
}

fn document(random: &mut Random) -> String {
    let kind = random.below(7);
    let size = match random.below(9) {
        0 => "null".to_owned(),
        1 => "\"many\"".to_owned(),
        2 => format!("{}.0", random.below(5)),
        3 => format!("{}.5", random.below(5)),
        4 => format!("\"{}\"", random.below(5)),
        _ => random.below(40).to_string(),
    };
    let tags = ["", r#""a""#, r#""a","b""#, r#""b",{"c":1}"#];
    match random.below(12) {
        0 => "[1,2]".to_owned(),
        1 => "{}".to_owned(),
        2 => format!(r#"{{"kind":{{"deep":{kind}}},"secret":"s{kind}"}}"#),
        _ => format!(
            r#"{{"kind":"kind {kind}","size":{size},"tags":[{}],"of":{{"id":{}}},"flag":{}}}"#,
            random.pick(&tags),
            random.below(700),
            kind.is_multiple_of(2)
        ),
    }
}

fn batch(spec: &TableSpec, first: i64, rows: usize, random: &mut Random) -> RecordBatch {
    let documents: StringViewArray = (0..rows)
        .map(|_| (random.below(9) > 0).then(|| document(random)))
        .collect();
    let numbers: Int32Array = (0..rows)
        .map(|_| (random.below(9) > 0).then(|| random.below(100) as i32))
        .collect();
    let offsets = Int64Array::from_iter_values(first..first + rows as i64);
    let times = vec![first; rows];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(documents),
        Arc::new(numbers),
        Arc::new(offsets),
        Arc::new(arrow::array::TimestampMillisecondArray::from(times)),
    ];
    RecordBatch::try_new(ingest_schema(spec), columns).unwrap()
}

/// Sealed segments with the index and without, and one that consumes.
fn table(shapes: &[(usize, bool, bool)]) -> Table {
    let mut random = Random(31);
    let folder = tempfile::tempdir().unwrap();
    let mut segments: Vec<SegmentView> = Vec::new();
    let mut first = 0;
    for (sequence, (rows, is_sealed, is_indexed)) in (0u32..).zip(shapes) {
        let own = Arc::new(spec(*is_indexed));
        let id = SegmentId {
            table: own.id,
            partition: 0,
            sequence,
        };
        let name = format!("flights__0__{sequence}");
        let mutable = MutableSegment::new(Arc::clone(&own), id, name, first).unwrap();
        let mutable = Arc::new(mutable);
        for from in (0..*rows).step_by(1000) {
            let now = 1000.min(rows - from);
            let rows = batch(&own, first, now, &mut random);
            mutable.append(&rows).unwrap();
            first += now as i64;
        }
        segments.push(match is_sealed {
            false => mutable.view(),
            true => {
                let extra = SealExtra {
                    start: first - *rows as i64,
                    end: first,
                    ..Default::default()
                };
                let sealed = seal(&mutable, &OsFiles, folder.path(), extra).unwrap();
                let opened = SealedSegment::open(&sealed.path, &spec(true), sealed.record.crc);
                opened.unwrap().view()
            }
        });
    }
    Table::of(Arc::new(spec(true)), segments, folder)
}

const VALUES: &[&str] = &[
    "json_extract_index(doc, '$.kind', 'STRING')",
    "json_extract_index(doc, '$.kind', 'STRING', 'none')",
    "json_extract_index(doc, '$.size', 'LONG')",
    "json_extract_index(doc, '$.size', 'DOUBLE', 7)",
    "json_extract_index(doc, '$.size', 'STRING', 'none')",
    "json_extract_index(doc, '$.of.id', 'INT', -1)",
    "json_extract_index(doc, '$.of', 'STRING')",
    "json_extract_index(doc, '$.secret', 'STRING')",
    "json_extract_index(doc, '$.flag', 'BOOLEAN')",
    "json_extract_index(doc, '$.tags[0]', 'STRING', '-')",
    "json_extract_index(doc, '$.tags[1]', 'STRING', '-', '\"$.kind\" = ''kind 3''')",
    "json_extract_index(doc, '$[0]', 'INT')",
    "upper(json_extract_index(doc, '$.kind', 'STRING'))",
    "json_extract_index(doc, '$.size', 'LONG', 0) + json_extract_index(doc, '$.of.id', 'LONG', 0)",
    "json_extract_index(doc, '$.of.id', 'LONG') + n",
    "CASE WHEN n > 50 THEN json_extract_index(doc, '$.kind', 'STRING') ELSE 'few' END",
];

const CONDITIONS: &[&str] = &[
    "",
    "",
    " WHERE n < 70",
    " WHERE json_extract_index(doc, '$.of.id', 'INT') > 300",
    " WHERE json_match(doc, '\"$.tags[*]\" = ''a''')",
    " WHERE n IS NULL",
];

fn questions(random: &mut Random) -> Vec<String> {
    let mut questions = Vec::new();
    for value in VALUES {
        let condition = random.pick(CONDITIONS);
        let other = random.pick(VALUES);
        let forms = [
            format!("SELECT {value} AS v, count(*), sum(n) FROM flights{condition} GROUP BY 1"),
            format!(
                "SELECT {value} AS v, {other} AS o, count(DISTINCT n) FROM flights{condition} \
                 GROUP BY 1, 2"
            ),
            format!(
                "SELECT n % 5 AS g, count({value}), count(DISTINCT {value}), max({value}) \
                 FROM flights{condition} GROUP BY 1"
            ),
            format!("SELECT {value} AS v, n FROM flights{condition}"),
            format!("SELECT {value} AS v, n FROM flights{condition} ORDER BY 1 DESC, 2 LIMIT 20"),
        ];
        let skipped = random.below(5) as usize;
        let drawn = forms.into_iter().cycle().skip(skipped).step_by(2).take(2);
        questions.extend(drawn);
    }
    questions.push(
        "SELECT sum(json_extract_index(doc, '$.size', 'LONG')), \
         avg(json_extract_index(doc, '$.size', 'DOUBLE')) \
         FILTER (WHERE json_extract_index(doc, '$.flag', 'BOOLEAN')) FROM flights"
            .to_owned(),
    );
    questions
}

fn without_index() -> ScanOptions {
    let mut options = general();
    options.skip_indexes("*=json").unwrap();
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn values_out_of_documents() {
    let table = table(&[(4_500, true, true), (300, true, false), (400, false, true)]);
    for (null_mode, seed) in [(NullMode::Defaults, 33), (NullMode::ThreeValued, 34)] {
        let server = Server::new(&table, null_mode);
        let partitioning = Server::partitioning(&table, null_mode);
        let mut random = Random(seed);
        for sql in questions(&mut random) {
            let (expected, _) = server.ask_one(&sql, &without_index()).await;
            let expected = rows_of(&expected);
            let (found, stats) = server.ask_one(&sql, &ScanOptions::default()).await;
            assert_same(&sql, "by the index", &expected, &found);
            let used = |name: &String| name == "json(doc)";
            let reads = stats.docs_scanned > 0;
            assert!(!reads || stats.indexes.iter().any(used), "{sql}: {stats:?}");
            let (found, _) = server.ask(&sql, &on_threads()).await;
            assert_same(&sql, "on threads", &expected, &found);
            if sql.contains("GROUP BY") {
                let (found, _) = partitioning.ask_one(&sql, &ScanOptions::default()).await;
                assert_same(&sql, "in partitions", &expected, &found);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_not_read_for_values_that_the_index_knows() {
    let table = table(&[(300, true, true)]);
    let server = Server::new(&table, NullMode::Defaults);
    let mut options = ScanOptions::default();
    options.set_explain(Explain::Plan);
    let sql = "SELECT json_extract_index(doc, '$.kind', 'STRING') FROM flights";
    let (_, stats) = server.ask_one(sql, &options).await;
    assert!(
        stats.plan.contains("computed=[json_extract_index"),
        "{}",
        stats.plan
    );
    assert!(!stats.plan.contains("ProjectionExec"), "{}", stats.plan);
}
