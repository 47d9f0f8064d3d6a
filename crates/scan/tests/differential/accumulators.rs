//! Aggregates whose states are DataFusion's, pairs of numbers, and comparisons with scalar
//! subqueries: all are native, whole and by states that others join.

use schemas::proto::{NullMode, ScanOptions};

use crate::data::Table;
use crate::server::Server;
use crate::{ask, assert_same, general, on_one_thread, on_threads, rows_of};

/// What is asked of each group; none depends on the order of rows.
const ASKED: &[&str] = &[
    "corr(delay, price), covar_samp(delay, price), covar_pop(price, ratio), count(*)",
    "regr_slope(price, delay), regr_intercept(price, delay), regr_r2(price, delay), \
     regr_count(price, late), regr_avgx(price, late), regr_avgy(price, late), \
     regr_sxx(price, late), regr_syy(price, late), regr_sxy(price, late)",
    "corr(code + late, distance) FILTER (WHERE delay > 20), sum(delay)",
    "sum(amount), avg(amount), min(amount), max(amount), count(amount)",
    "sum(amount * code) FILTER (WHERE late < 500), avg(amount + 1)",
    "sum(amount * (1 - amount)), avg(3.5 - amount * amount), sum(amount - code)",
    "sum(amount * delay * wide * far), avg(amount * delay * wide)",
    // Near what 128 bits hold: the table's amounts are small.
    "sum(amount * 1000000000000000000 * code * late), sum((amount + code) * (amount + late))",
    "sum(CASE WHEN flag THEN amount END), sum(abs(amount)), avg(amount * 1000000000000000000000)",
    "first_value(city ORDER BY \"$offset\"), last_value(delay ORDER BY at DESC, \"$offset\")",
    "first_value(price ORDER BY delay DESC NULLS LAST, \"$offset\"), max(price)",
    "array_sort(array_agg(delay)), array_length(array_agg(city))",
    "array_sort(array_agg(DISTINCT label)), count(DISTINCT label)",
    "character_length(string_agg(label, ', ')), min(label)",
    "array_length(array_agg(late) FILTER (WHERE late > 3)), bool_and(flag)",
    "sum(DISTINCT delay), sum(DISTINCT code)",
    "median(delay), percentile_cont(price, 0.3), avg(price)",
    "sum(amount) FILTER (WHERE city = 'the city with number 7'), count(*)",
];

/// `()` is for those without keys.
const KEYS: &[&str] = &[
    "",
    "carrier",
    "flag, label",
    "date_trunc('hour', at)",
    "code",
    "late % 3",
];

const CONDITIONS: &[&str] = &["", " WHERE delay > 40", " WHERE city = 'no city'"];

fn sql(asked: &str, keys: &str, condition: &str) -> String {
    match keys {
        "" => format!("SELECT {asked} FROM flights{condition}"),
        keys => format!("SELECT {keys}, {asked} FROM flights{condition} GROUP BY {keys}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accumulators_of_others_get_the_same_rows() {
    for (null_mode, seed) in [(NullMode::Defaults, 31), (NullMode::ThreeValued, 32)] {
        let table = Table::new(seed).half_replaced(seed);
        let (oracle, server) = (table.oracle(null_mode), Server::new(&table, null_mode));
        let questions = ASKED.iter().enumerate().flat_map(|(at, asked)| {
            // Each asked with half of the keys, and with each condition for some.
            let keys = KEYS
                .iter()
                .enumerate()
                .filter(move |(key, _)| (key + at) % 2 == 0);
            keys.map(move |(key, keys)| sql(asked, keys, CONDITIONS[(key + at) / 2 % 3]))
        });
        for sql in questions {
            let expected = rows_of(&ask(&oracle, &sql).await);
            for options in [ScanOptions::default(), on_threads(), on_one_thread()] {
                let (found, stats) = server.ask(&sql, &options).await;
                assert_same(&sql, "states", &expected, &found);
                assert_eq!(
                    (stats.native_operators, stats.fallback_operators),
                    (1, 0),
                    "{sql}"
                );
                let (found, stats) = server.ask_one(&sql, &options).await;
                assert_same(&sql, "values", &expected, &found);
                assert_eq!(
                    (stats.native_operators, stats.fallback_operators),
                    (1, 0),
                    "{sql}"
                );
            }
            let (found, stats) = server.ask_one(&sql, &general()).await;
            assert_same(&sql, "general", &expected, &found);
            assert_eq!(stats.native_operators, 0, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compared_with_a_subquery_is_a_filter() {
    let table = Table::new(33);
    let null_mode = NullMode::ThreeValued;
    let (oracle, server) = (table.oracle(null_mode), Server::new(&table, null_mode));
    let of_prices = "(SELECT avg(price) FROM flights WHERE carrier = 'AA')";
    let none = "(SELECT max(delay) FROM flights WHERE city = 'no city')";
    let wanted = "(SELECT min(city) FROM flights WHERE code = 12)";
    for (condition, column) in [
        (format!("price > {of_prices}"), "(price)"),
        (format!("delay < {of_prices}"), "(delay)"),
        (format!("{of_prices} <= delay"), "(delay)"),
        (format!("delay > {none}"), ""),
        (format!("city = {wanted}"), "(city)"),
        (
            format!("city >= {wanted} AND code * 2 > {of_prices}"),
            "(code)",
        ),
        (
            format!("delay > 10 AND price > 1.5 * {of_prices}"),
            "(price)",
        ),
    ] {
        for asked in ["count(*), sum(delay)", "flag, count(*)"] {
            let grouped = if asked.starts_with("flag") {
                " GROUP BY flag"
            } else {
                ""
            };
            let sql = format!("SELECT {asked} FROM flights WHERE {condition}{grouped}");
            let expected = rows_of(&ask(&oracle, &sql).await);
            let (found, stats) = server.ask_one(&sql, &ScanOptions::default()).await;
            assert_same(&sql, "filter", &expected, &found);
            let selects = sql.matches("SELECT").count() as u64;
            let operators = (stats.native_operators, stats.fallback_operators);
            assert_eq!(operators, (selects, 0), "{sql}");
            let used = stats.indexes.iter().any(|name| name.ends_with(column));
            assert!(used || column.is_empty(), "{:?}: {sql}", stats.indexes);
            let (found, _) = server.ask_one(&sql, &general()).await;
            assert_same(&sql, "general", &expected, &found);
        }
        let sql = format!("SELECT \"$offset\", city FROM flights WHERE {condition}");
        let expected = rows_of(&ask(&oracle, &sql).await);
        let (found, _) = server.ask_one(&sql, &ScanOptions::default()).await;
        assert_same(&sql, "rows", &expected, &found);
    }
}
