//! Questions that star-trees can answer: with and without them, and DataFusion over plain arrays.

use schemas::filter_outcome;
use schemas::proto::{Explain, NullMode, ScanOptions, ScanStats, SegmentClass};
use schemas::table::{StarTreeAggregate, StarTreeFunction, StarTreeSpec};

use crate::data::{Random, Table};
use crate::server::Server;
use crate::{ask, assert_near, assert_same, rows_of};

pub(crate) fn specs() -> Vec<StarTreeSpec> {
    use StarTreeFunction::{Avg, Count, DistinctCountHll, Max, Min, PercentileTDigest, Sum};
    let tree = |dimensions: &[&str], no_star: &[&str], pairs: &[_], leaf_rows_max| StarTreeSpec {
        dimensions: dimensions.iter().map(ToString::to_string).collect(),
        by_cardinality: false,
        no_star: no_star.iter().map(ToString::to_string).collect(),
        aggregates: pairs
            .iter()
            .map(
                |(function, column): &(StarTreeFunction, &str)| StarTreeAggregate {
                    function: *function,
                    column: (*function != Count).then(|| (*column).to_owned()),
                },
            )
            .collect(),
        leaf_rows_max,
    };
    vec![
        tree(
            &["carrier", "flag", "$at$HOUR", "delay"],
            &[],
            &[
                (Count, "*"),
                (Sum, "distance"),
                (Avg, "price"),
                (Min, "wide"),
                (Max, "price"),
                (Sum, "ratio"),
                (Min, "at"),
            ],
            40,
        ),
        tree(
            &["code", "carrier"],
            &["code"],
            &[(Sum, "delay"), (Max, "far"), (DistinctCountHll, "city")],
            0,
        ),
        // Not to be had: a segment has too many values of the first.
        tree(&["amount"], &[], &[(Count, "*")], 1),
        StarTreeSpec {
            by_cardinality: true,
            ..tree(
                &["city", "label", "carrier", "$at$DAY"],
                &[],
                &[(PercentileTDigest, "delay"), (Sum, "delay"), (Min, "ratio")],
                100,
            )
        },
    ]
}

const KEYS: [&str; 8] = [
    "carrier",
    "flag",
    "delay",
    "code",
    "upper(carrier)",
    "date_trunc('hour', \"at\")",
    "date_trunc('day', \"at\")",
    "date_part('month', \"at\")",
];

fn filter(random: &mut Random) -> String {
    let number = random.below(12);
    let number = number * 20;
    match random.below(12) {
        0 => "carrier = 'DL'".to_owned(),
        1 => "carrier IN ('AA', 'WN', 'nobody')".to_owned(),
        2 => "carrier LIKE '%A%'".to_owned(),
        3 => format!("delay BETWEEN {number} AND {}", number + 90),
        4 => "NOT flag".to_owned(),
        5 => format!("code < {number} OR code = 650"),
        6 => format!("\"at\" >= TIMESTAMP '2013-01-01 {:02}:00:00'", number / 10),
        7 => "\"at\" < TIMESTAMP '2013-01-04'".to_owned(),
        8 => "date_trunc('day', \"at\") = TIMESTAMP '2013-01-02'".to_owned(),
        9 => "\"at\" > TIMESTAMP '2013-01-01 10:30:00'".to_owned(),
        10 => "carrier <> 'UA' AND (carrier < 'E' OR carrier > 'V')".to_owned(),
        _ => "length(carrier) = 2".to_owned(),
    }
}

fn question(random: &mut Random) -> String {
    let aggregates = [
        "COUNT(*)",
        "SUM(distance)",
        "AVG(price)",
        "MIN(wide)",
        "MAX(price)",
        "SUM(ratio)",
        "MIN(\"at\")",
        "SUM(delay)",
        "MAX(far)",
        "COUNT(flag)",
        "AVG(delay)",
        "AVG(distance)",
        "APPROX_DISTINCT(city)",
    ];
    let keys: Vec<&str> = (0..random.below(3)).map(|_| random.pick(&KEYS)).collect();
    let chosen: Vec<&str> = (0..1 + random.below(3))
        .map(|_| random.pick(&aggregates))
        .collect();
    let filters: Vec<String> = (0..random.below(3)).map(|_| filter(random)).collect();
    let select: Vec<&str> = keys.iter().chain(&chosen).copied().collect();
    let named = select
        .iter()
        .enumerate()
        .map(|(at, column)| format!("{column} AS c{at}"));
    let mut sql = format!(
        "SELECT {} FROM flights",
        named.collect::<Vec<_>>().join(", ")
    );
    if !filters.is_empty() {
        sql += &format!(" WHERE {}", filters.join(" AND "));
    }
    if !keys.is_empty() {
        let numbers: Vec<String> = (1..=keys.len()).map(|key| key.to_string()).collect();
        sql += &format!(" GROUP BY {}", numbers.join(", "));
    }
    sql
}

async fn compare(null_mode: NullMode, seed: u64, used_min: u64) {
    let table = Table::new(seed);
    let oracle = table.oracle(null_mode);
    let server = Server::new(&table, null_mode);
    let mut random = Random(seed);
    let without_trees = ScanOptions {
        without_star_trees: true,
        ..ScanOptions::default()
    };
    let mut used = 0;
    for _ in 0..150 {
        let sql = question(&mut random);
        let expected = rows_of(&ask(&oracle, &sql).await);
        let (found, stats) = server.ask(&sql, &ScanOptions::default()).await;
        assert_same(&sql, "with trees", &expected, &found);
        let (found, without) = server.ask(&sql, &without_trees).await;
        assert_same(&sql, "without trees", &expected, &found);
        let is_tree = |name: &String| name.starts_with("star_tree(");
        assert!(!without.indexes.iter().any(is_tree), "{without:?}: {sql}");
        assert_eq!(stats.docs_total, without.docs_total, "{sql}");
        if stats.indexes.iter().any(is_tree) {
            used += 1;
            assert!(
                stats.docs_scanned <= without.docs_scanned,
                "{stats:?}: {sql}"
            );
        }
    }
    assert!(used >= used_min, "trees were used for {used}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_answer_as_the_rows_do() {
    compare(NullMode::Defaults, 21, 40).await;
}

#[tokio::test]
async fn explain_names_the_tree() {
    let server = Server::new(&Table::new(21), NullMode::Defaults);
    let sql = "SELECT flag, COUNT(*), SUM(distance) FROM flights WHERE carrier = 'DL' GROUP BY 1";
    let of_trees = |stats: &ScanStats| -> Vec<SegmentClass> {
        let classes = stats.explained.iter();
        let summed = classes.filter(|class| class.outcome == filter_outcome::SUMMED);
        summed.cloned().collect()
    };
    let mut options = ScanOptions::default();
    options.set_explain(Explain::Analyze);
    let (_, analyzed) = server.ask(sql, &options).await;
    options.set_explain(Explain::Plan);
    let (_, planned) = server.ask(sql, &options).await;
    let (done, meant) = (of_trees(&analyzed), of_trees(&planned));
    assert!(!done.is_empty() && done.len() == meant.len(), "{done:#?}");
    for (done, meant) in done.iter().zip(&meant) {
        let ([did], [would]) = (&done.steps[..], &meant.steps[..]) else {
            panic!("{done:#?} and {meant:#?}");
        };
        assert_eq!(did.access, "star_tree(carrier,flag,$at$HOUR,delay)");
        assert!(did.predicate.contains("carrier = DL"), "{did:?}");
        assert_eq!(
            (&did.access, did.estimated),
            (&would.access, would.estimated)
        );
        assert!(
            did.kept == did.estimated && did.given >= did.kept,
            "{did:?}"
        );
        assert_eq!((would.given, done.blocks_read), (0, 0));
    }
    assert_eq!(planned.docs_scanned, 0);
    let segments: u64 = analyzed.explained.iter().map(|class| class.segments).sum();
    assert_eq!(segments, analyzed.segments_queried);
}

#[tokio::test(flavor = "multi_thread")]
async fn percentiles_of_trees_are_near() {
    let table = Table::new(23);
    let null_mode = NullMode::Defaults;
    let (oracle, server) = (table.oracle(null_mode), Server::new(&table, null_mode));
    for share in ["0.02", "0.5", "0.9"] {
        let exact = format!(
            "SELECT carrier, percentile_cont(delay, {share}) FROM flights \
             WHERE carrier <> 'DL' GROUP BY carrier"
        );
        let wanted = rows_of(&ask(&oracle, &exact).await);
        let sql = exact.replace("percentile_cont", "approx_percentile_cont");
        let (parts, stats) = server.ask(&sql, &ScanOptions::default()).await;
        let (whole, alone) = server.ask_one(&sql, &ScanOptions::default()).await;
        for used in [stats, alone] {
            let is_tree = |name: &String| name.starts_with("star_tree(");
            assert!(used.indexes.iter().any(is_tree), "{used:?}");
        }
        assert_near(&sql, &wanted, &rows_of(&parts));
        assert_near(&sql, &wanted, &rows_of(&whole));
    }
}

/// All columns but one have nulls, which no tree tells from defaults.
#[tokio::test(flavor = "multi_thread")]
async fn trees_do_not_answer_for_nulls() {
    compare(NullMode::ThreeValued, 22, 1).await;
}
