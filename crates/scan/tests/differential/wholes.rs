//! Aggregates of all rows, which segments answer without a look at them where they can.

use schemas::proto::{NullMode, ScanOptions};
use segment::view::Values;

use crate::data::{Random, Table};
use crate::questions::{AGGREGATES, EXPRESSION_AGGREGATES, FURTHER_AGGREGATES, WHOLE_AGGREGATES};
use crate::server::Server;
use crate::{ask, assert_same, rows_of};

/// Segments know them, sealed and consuming, nulls or not.
const TOLD: &[&str] = &[
    "count(late)",
    "sum(code)",
    "avg(code + 5)",
    "max(code), min(code), sum(code), count(code)",
    "min(carrier), max(city)",
    "count(DISTINCT city), approx_distinct(city)",
    "sum(length(city))",
    "count(DISTINCT substr(city, 23))",
    "stddev(code)",
    "min(distance), max(distance)",
    "max(upper(carrier))",
];

async fn compare(table: Table, null_mode: NullMode) {
    let oracle = table.oracle(null_mode);
    let server = Server::new(&table, null_mode);
    let lists = [
        AGGREGATES,
        EXPRESSION_AGGREGATES,
        FURTHER_AGGREGATES,
        WHOLE_AGGREGATES,
    ];
    let every = lists.concat();
    let mut random = Random(31);
    let mut asked: Vec<Vec<&str>> = every.iter().map(|one| vec![*one]).collect();
    for _ in 0..25 {
        let some = (0..2 + random.below(5)).map(|_| random.pick(&every));
        asked.push(some.collect());
    }
    let skipping = |list: &str| {
        let mut options = ScanOptions::default();
        options.skip_indexes(list).unwrap();
        options.without_star_trees = true;
        options
    };
    let ways = [
        ("all", skipping("")),
        ("no dictionaries", skipping("*=dictionary")),
        ("no zones", skipping("*=zone")),
    ];
    for list in &asked {
        let output = (0..)
            .zip(list)
            .map(|(at, own): (usize, _)| format!("{own} AS c{at}"));
        let output = output.collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {output} FROM flights");
        let expected = rows_of(&ask(&oracle, &sql).await);
        for (which, options) in &ways {
            let (found, stats) = server.ask_one(&sql, options).await;
            assert_same(&sql, which, &expected, &found);
            assert_eq!(stats.native_operators, 1, "{sql}");
        }
    }
    if table.segments.iter().any(|view| view.valid().is_some()) {
        return;
    }
    let consuming = table.segments.iter().filter(|view| view.is_consuming());
    let consuming: u64 = consuming.map(|view| u64::from(view.row_count())).sum();
    for list in TOLD {
        let sql = format!("SELECT {list} FROM flights");
        let (found, stats) = server.ask(&sql, &ways[0].1).await;
        let expected = rows_of(&ask(&oracle, &sql).await);
        assert_same(&sql, "states", &expected, &found);
        // The numbers of `code` are too many for codes while they are consuming.
        let columns = stats.entries_scanned_post_filter / consuming;
        assert!(columns == 0 || list.contains("code"), "{sql}: {stats:?}");
        let without = usize::from(list.contains("distance")) + 1;
        let (_, stats) = server.ask(&sql, &ways[without].1).await;
        let is_more = stats.entries_scanned_post_filter > columns * consuming;
        assert!(is_more, "{sql}: {stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_rows_with_defaults_in_the_place_of_nulls() {
    compare(Table::new(31), NullMode::Defaults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_rows_with_sql_nulls() {
    compare(Table::new(31), NullMode::ThreeValued).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rows_that_no_newer_ones_have_replaced() {
    for null_mode in [NullMode::Defaults, NullMode::ThreeValued] {
        compare(Table::new(31).half_replaced(31), null_mode).await;
    }
}

#[test]
fn columns_are_stored_in_the_ways_that_are_meant() {
    let table = Table::new(1);
    let some = |name: &str, is_meant: &dyn Fn(Values<'_>) -> bool| {
        let sealed = table.segments.iter().filter(|view| !view.is_consuming());
        let mut columns = sealed.map(|view| view.column(name).unwrap().unwrap().values());
        columns.any(is_meant)
    };
    let is_sparse = |values: Values<'_>| match values {
        Values::Raw(raw) => raw.sparse().is_some_and(|own| own.default == 0),
        _ => false,
    };
    assert!(some("fee", &is_sparse) && some("tries", &is_sparse));
    assert!(some("note", &|values| matches!(values, Values::Bytes(_))));
}
