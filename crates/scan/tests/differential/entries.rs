//! Predicates of columns with several values a row, by codes, by index and by the function itself.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Array, ListBuilder, RecordBatch, StringViewBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::DataType as ArrowType;
use datafusion::functions_aggregate::expr_fn::{count, max};
use datafusion::prelude::{ident, lit};
use runtime::OsFiles;
use schemas::arrow::ingest_schema;
use schemas::proto::{NullMode, ScanOptions};
use schemas::{ColumnSpec, DataType, FieldRole, SegmentId, TableSpec};
use segment::{MutableSegment, SealExtra, SealedSegment, seal};

use crate::data::{Random, Table, spec};
use crate::server::Server;
use crate::{Cell, ask_count, assert_same, general, rows_of};

const ROWS: usize = 5_000;

type Row = (Option<Vec<String>>, Vec<i32>);

fn several(name: &str, data_type: DataType) -> ColumnSpec {
    ColumnSpec {
        multi_value: true,
        inverted_index: name == "tags",
        ..ColumnSpec::new(name, data_type, FieldRole::Dimension)
    }
}

fn table_spec() -> TableSpec {
    TableSpec {
        columns: vec![
            several("tags", DataType::String),
            several("scores", DataType::Int),
        ],
        time_column: None,
        sorted_column: None,
        ..spec()
    }
}

fn draw(random: &mut Random) -> Row {
    let is_null = random.below(9) == 0;
    let (tags, scores) = (1 + random.below(3), 1 + random.below(4));
    let tags = (0..tags).map(|_| format!("tag {}", random.below(300)));
    let tags = (!is_null).then(|| tags.collect());
    let scores = (0..scores).map(|_| random.below(50) as i32);
    (tags, scores.collect())
}

fn batch(spec: &TableSpec, first: i64, rows: &[Row]) -> RecordBatch {
    let schema = ingest_schema(spec);
    let item = |at: usize| match schema.field(at).data_type() {
        ArrowType::List(item) => Arc::clone(item),
        other => panic!("{other} is no list"),
    };
    let mut tags = ListBuilder::new(StringViewBuilder::new()).with_field(item(0));
    let mut scores = ListBuilder::new(Int32Builder::new()).with_field(item(1));
    for (of_tags, of_scores) in rows {
        of_tags
            .iter()
            .flatten()
            .for_each(|tag| tags.values().append_value(tag));
        tags.append(of_tags.is_some());
        of_scores
            .iter()
            .for_each(|score| scores.values().append_value(*score));
        scores.append(true);
    }
    let offsets = first..first + rows.len() as i64;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(tags.finish()),
        Arc::new(scores.finish()),
        Arc::new(Int64Array::from_iter_values(offsets.clone())),
        Arc::new(TimestampMillisecondArray::from_iter_values(offsets)),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

/// One sealed and one consuming segment, and their rows.
fn table() -> (Table, Vec<Row>) {
    let spec = Arc::new(table_spec());
    let mut random = Random(21);
    let folder = tempfile::tempdir().unwrap();
    let (mut segments, mut all) = (Vec::new(), Vec::new());
    for sequence in 0..2 {
        let id = SegmentId {
            table: spec.id,
            partition: 0,
            sequence,
        };
        let first = i64::from(sequence) * ROWS as i64;
        let name = format!("flights__0__{sequence}");
        let mutable = MutableSegment::new(Arc::clone(&spec), id, name, first).unwrap();
        let rows: Vec<Row> = (0..ROWS).map(|_| draw(&mut random)).collect();
        for (at, rows) in (0..).zip(rows.chunks(1_000)) {
            mutable
                .append(&batch(&spec, first + at * 1_000, rows))
                .unwrap();
        }
        all.extend(rows);
        let mutable = Arc::new(mutable);
        segments.push(if sequence == 0 {
            let extra = SealExtra {
                start: first,
                end: first + ROWS as i64,
                ..SealExtra::default()
            };
            let sealed = seal(&mutable, &OsFiles, folder.path(), extra).unwrap();
            let crc = sealed.record.crc;
            SealedSegment::open(&sealed.path, &spec, crc)
                .unwrap()
                .view()
        } else {
            mutable.view()
        });
    }
    (Table::of(spec, segments, folder), all)
}

/// Ways that the conditions below must have taken.
const USED: [&str; 5] = [
    "inverted(tags)",
    "dictionary(tags)",
    "dictionary(scores)",
    "scan(scores)",
    "null(tags)",
];

#[tokio::test]
async fn a_row_matches_by_any_of_its_entries() {
    let (table, rows) = table();
    let tag = |row: &Row, is: fn(&str) -> bool| row.0.iter().flatten().any(|tag| is(tag));
    let score = |row: &Row, is: fn(i32) -> bool| row.1.iter().any(|score| is(*score));
    let known = |row: &Row| row.0.is_some();
    type Test<'a> = Box<dyn Fn(&Row) -> bool + 'a>;
    let questions: Vec<(&str, Test<'_>)> = vec![
        (
            "any_entry(tags, '=', 'tag 7')",
            Box::new(|r| tag(r, |t| t == "tag 7")),
        ),
        ("any_entry(tags, '=', 'nothing')", Box::new(|_| false)),
        (
            "NOT any_entry(tags, '=', 'tag 7')",
            Box::new(|r| known(r) && !tag(r, |t| t == "tag 7")),
        ),
        ("NOT any_entry(tags, '=', 'nothing')", Box::new(known)),
        ("tags IS NOT NULL", Box::new(known)),
        (
            "tags IS NULL AND any_entry(scores, '=', 3)",
            Box::new(|r| !known(r) && score(r, |s| s == 3)),
        ),
        (
            "any_entry(tags, 'in', 'tag 1', 'no', 'tag 44')",
            Box::new(|r| tag(r, |t| ["tag 1", "tag 44"].contains(&t))),
        ),
        (
            "any_entry(tags, 'like', '%9%')",
            Box::new(|r| tag(r, |t| t.contains('9'))),
        ),
        (
            "any_entry(scores, 'between', 3, 5)",
            Box::new(|r| score(r, |s| (3..=5).contains(&s))),
        ),
        (
            "any_entry(scores, '>', 46.5)",
            Box::new(|r| score(r, |s| s >= 47)),
        ),
        (
            "any_entry(scores, '>', 40) AND any_entry(scores, '<', 5)",
            Box::new(|r| score(r, |s| s > 40) && score(r, |s| s < 5)),
        ),
        (
            "any_entry(scores, '=', 3) OR NOT any_entry(tags, 'like', 'tag 1%')",
            Box::new(|r| score(r, |s| s == 3) || (known(r) && !tag(r, |t| t.starts_with("tag 1")))),
        ),
    ];
    let server = Server::new(&table, NullMode::ThreeValued);
    let mut used = Vec::new();
    for (condition, is_meant) in questions {
        let wanted = rows.iter().filter(|row| is_meant(row)).count();
        let sql = format!("SELECT count(*) FROM flights WHERE {condition}");
        for skipped in ["", "*=inverted", "*=dictionary"] {
            let mut options = ScanOptions::default();
            options.skip_indexes(skipped).unwrap();
            let (found, stats) = server.ask(&sql, &options).await;
            assert_eq!(
                ask_count(&rows_of(&found)),
                wanted,
                "{sql} without {skipped}"
            );
            used.extend(stats.indexes);
        }
    }
    for index in USED {
        assert!(used.iter().any(|name| name == index), "{index} of {used:?}");
    }
}

#[tokio::test]
async fn each_entry_makes_a_group() {
    let (table, rows) = table();
    let sevens = rows
        .iter()
        .flat_map(|row| row.1.iter().filter(|score| **score == 7));
    let sevens = sevens.count().to_string();
    for null_mode in [NullMode::Defaults, NullMode::ThreeValued] {
        let server = Server::new(&table, null_mode);
        let questions = [
            "SELECT e, count(*), sum(\"$offset\") FROM (SELECT unnest(tags) AS e, \"$offset\" \
             FROM flights) GROUP BY e",
            "SELECT e, count(*) AS c, max(\"$offset\"), count(DISTINCT \"$offset\") FROM (SELECT \
             unnest(scores) AS e, \"$offset\" FROM flights WHERE any_entry(tags, 'like', '%9%')) \
             GROUP BY e HAVING count(*) > 10 ORDER BY c DESC, e LIMIT 9",
            "SELECT e, \"$offset\" % 3, count(*) FILTER (WHERE \"$offset\" > 1000), \
             approx_distinct(\"$offset\") FROM (SELECT unnest(tags) AS e, \"$offset\" FROM flights \
             WHERE \"$offset\" > 77) GROUP BY 1, 2",
            "SELECT e, count(*) FROM (SELECT unnest(scores) AS e FROM flights) GROUP BY e",
        ];
        for sql in questions {
            let (found, stats) = server.ask_one(sql, &ScanOptions::default()).await;
            let used = (stats.native_operators, stats.fallback_operators);
            assert_eq!(used, (1, 0), "{sql}");
            let (general, stats) = server.ask_one(sql, &general()).await;
            assert_eq!(stats.native_operators, 0, "{sql}");
            assert_same(sql, "entries", &rows_of(&general), &found);
        }
        let (found, _) = server.ask_one(questions[3], &ScanOptions::default()).await;
        let found = rows_of(&found);
        let seven = found
            .iter()
            .find(|row| matches!(&row[0], Cell::Text(e) if e == "7"));
        assert!(matches!(&seven.unwrap()[1], Cell::Text(n) if *n == sevens));
        // As a broker plans it: a row without entries makes a group of null.
        let plan = server.plan_of(|table| {
            let entries = table.unnest_columns(&["tags"]).unwrap();
            let counts = vec![count(lit(1)), max(ident("$offset"))];
            entries.aggregate(vec![ident("tags")], counts).unwrap()
        });
        let plan = plan.await;
        let (found, stats) = server
            .run_whole(Arc::clone(&plan), &ScanOptions::default())
            .await;
        assert_eq!((stats.native_operators, stats.fallback_operators), (1, 0));
        let (general, _) = server.run_whole(plan, &general()).await;
        let general = rows_of(&general);
        let has_null = general.iter().any(|row| matches!(row[0], Cell::Null));
        assert_eq!(has_null, null_mode == NullMode::ThreeValued);
        assert_same("entries", "with null", &general, &found);
        // What a join learns of entries is not true of the rows that have them.
        let each = |name: &str, rows: &str| {
            format!(
                "(SELECT e AS {name}, count(*) AS {name}_rows FROM \
                 (SELECT unnest(tags) AS e FROM flights {rows}) GROUP BY e)"
            )
        };
        let sql = format!(
            "SELECT y, y_rows FROM {} JOIN {} ON x = y",
            each("x", "WHERE \"$offset\" < 20"),
            each("y", "")
        );
        let (found, stats) = server.ask_one(&sql, &ScanOptions::default()).await;
        assert_eq!((found.is_empty(), stats.fallback_operators), (false, 0));
        let (general, _) = server.ask_one(&sql, &self::general()).await;
        assert_same(&sql, "entries", &rows_of(&general), &found);
        // An entry that is read in another way is left to the general operators.
        let sql =
            "SELECT upper(e), count(*) FROM (SELECT unnest(tags) AS e FROM flights) GROUP BY 1";
        let (found, stats) = server.ask_one(sql, &ScanOptions::default()).await;
        assert_eq!((found.is_empty(), stats.native_operators), (false, 0));
    }
}
