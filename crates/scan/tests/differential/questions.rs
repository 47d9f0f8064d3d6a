//! Queries drawn from parts that fit together.

use schemas::proto::NullMode;

use crate::data::Random;

#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) sql: String,
    pub(crate) is_aggregate: bool,
    /// The first rows in an order that leaves nothing open.
    pub(crate) is_ordered: bool,
    /// The rows that it asks for come out of a native operator.
    pub(crate) is_native: bool,
}

const FILTERS: &[&str] = &[
    "carrier = 'AA'",
    "carrier <> 'UA'",
    "carrier IN ('DL', 'EV', 'nobody')",
    "(city IS NULL OR city <= 'the city with number 5') IS NULL",
    "(late IS NULL OR late > 300) IS NOT NULL",
    "((wide IS NULL OR wide > 0) AND true) IS NULL",
    "carrier > 'B6' AND carrier < 'UB'",
    "carrier LIKE '%kind'",
    "carrier = 'nobody'",
    "city = 'the city with number 77'",
    "city LIKE '%number 12%'",
    "city IN ('the city with number 1', 'the city with number 800')",
    "city < 'the city with number 3'",
    "length(city) = 23",
    "flag",
    "NOT flag",
    "flag = false",
    "delay > 50",
    "delay BETWEEN -3 AND 7",
    "delay IN (1, 5, 8, 13, 21, 34, 55, 89)",
    "delay <> 0",
    "delay % 7 = 3",
    "delay + code > 400",
    "CAST(delay AS BIGINT) >= 12",
    "CAST(delay AS DOUBLE) < 1.5",
    "code = 42",
    "code < 3",
    "code BETWEEN 100 AND 140 OR code = 600",
    "wide > 0",
    "wide = 77",
    "wide BETWEEN 5000001 AND 60000001",
    "price BETWEEN 12.25 AND 13",
    "price > 199.5 AND delay < 0",
    "delay = 61",
    "ratio BETWEEN -2.5 AND -2.25",
    "city = 'not a city' AND wide > 4",
    "city IN ('not a city', 'nor this') OR label = 'no label'",
    "distance < 30000",
    "distance >= 130000",
    "distance BETWEEN 80000 AND 80400",
    "NOT (distance < 1000 OR distance > 120000)",
    "far = 0",
    "far > 4000000000000",
    "price > 120.25",
    "price = 0.0",
    "price <= 0",
    "price IN (0.25, 1.5, -50)",
    "ratio < 0.125",
    "ratio = 1",
    "at >= TIMESTAMP '2013-01-10 00:00:00'",
    "at < '2013-01-02T03:04:05'",
    "date_trunc('day', at) = TIMESTAMP '2013-01-05'",
    "date_trunc('hour', at) > TIMESTAMP '2013-01-06T02:30:00'",
    "date_trunc('month', at) <> TIMESTAMP '2013-01-01'",
    "city LIKE 'the city%number 1_'",
    "city NOT LIKE 'the city%1'",
    "city NOT IN ('the city with number 4', 'nowhere', 'the city with number 41')",
    "date_part('hour', at) = 13",
    "date_part('dow', at) IN (0, 6) AND date_part('hour', at) < 9",
    "to_char(at, '%M') >= '30'",
    "CAST(at AS DATE) <> DATE '2013-01-04'",
    "upper(carrier) = 'DL'",
    "regexp_like(city, 'number [3-5]+$')",
    "code NOT IN (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610)",
    "amount > 0",
    "late < 350",
    "label = '4'",
    "\"$partition\" = 1",
    "\"$partition\" IN (0, 2)",
    "\"$offset\" BETWEEN 5000 AND 9500",
    "carrier = city",
    "coalesce(label, carrier) = 'AA'",
    "concat(carrier, label) < 'B'",
    "(CASE WHEN flag THEN label ELSE carrier END) IS NULL",
    "carrier = 'AA' OR delay > 100",
    "CASE WHEN flag THEN delay ELSE code END > 60",
];

const NULL_FILTERS: &[&str] = &[
    "carrier IS NULL",
    "carrier IS NOT NULL",
    "delay IS NULL",
    "price IS NOT NULL",
    "late IS NULL",
    "label IS NULL OR label = '2'",
    "coalesce(carrier, 'none') = 'none'",
    "NOT (carrier = 'AA')",
    "carrier NOT IN ('AA', NULL)",
    "delay IS NOT NULL AND delay < 0",
    "code IS NULL OR code > 690",
    "NOT (flag AND delay > 0)",
    "price > 10 OR price IS NULL",
];

const KEYS: &[&str] = &[
    "carrier",
    "city",
    "flag",
    "delay",
    "code",
    "wide",
    "far",
    "late",
    "label",
    "price",
    "ratio",
    "at",
    "distance",
    "\"$partition\"",
    "amount",
];

const EXPRESSION_KEYS: &[&str] = &[
    "upper(substr(carrier, 1, 1))",
    "CASE WHEN carrier IN ('AA', 'DL') THEN 'old' WHEN carrier IS NULL THEN 'none' ELSE 'new' END",
    "date_trunc('hour', at)",
    "date_trunc('day', at)",
    "date_trunc('week', at)",
    "date_trunc('month', at)",
    "date_part('hour', at)",
    "pinot_round(at, 700000)",
    "to_timestamp_millis(pinot_round(CAST(date_trunc('minute', at) AS BIGINT), 600000))",
    "date_time_convert(at, '1:MILLISECONDS:EPOCH', '1:SECONDS:EPOCH', '15:MINUTES')",
    "delay / 10",
    "delay % 5 + 1",
    "delay > 30",
    "code % 100",
    "carrier = 'AA' AND flag",
    "delay + code",
    "CASE WHEN code < 300 AND delay > 0 THEN city ELSE '' END",
    "concat(carrier, '-', flag)",
    "coalesce(label, carrier)",
    "far % 7",
    "CAST(far AS DOUBLE) % 7.0",
    "CAST(wide AS DOUBLE) % 10.0 + 1.0",
    "CAST(distance AS DOUBLE) % 12.0 > 5.0",
    "far / 1000 + 1",
    "wide % 5",
    "wide / 100000",
    "far > 500",
    "CAST(at AS DATE)",
    "to_char(at, '%Y-%m %H')",
    "date_bin(INTERVAL '15 minutes', at)",
    "date_part('hour', at) < 12",
    "CASE WHEN flag THEN carrier WHEN delay > 50 OR late IS NULL THEN label END",
    "CASE WHEN carrier = 'AA' THEN code WHEN price > 10 THEN late ELSE -1 END",
];

pub(crate) const AGGREGATES: &[&str] = &[
    "count(*)",
    "count(1)",
    "count(carrier)",
    "count(delay)",
    "count(late)",
    "sum(delay)",
    "sum(distance)",
    "sum(price)",
    "sum(ratio)",
    "sum(code)",
    "sum(far)",
    "avg(delay)",
    "avg(price)",
    "avg(ratio)",
    "avg(distance)",
    "avg(code)",
    "avg(far)",
    "min(delay)",
    "max(delay)",
    "min(price)",
    "max(price)",
    "min(ratio)",
    "max(ratio)",
    "min(at)",
    "max(at)",
    "min(distance)",
    "max(far)",
    "min(\"$offset\")",
    "max(\"$offset\")",
    "sum(fee)",
    "avg(fee)",
    "max(fee)",
    "sum(tries)",
    "min(tries)",
    "sum(CAST(wide AS DOUBLE))",
    "sum(CAST(\"$offset\" AS DOUBLE))",
];

pub(crate) const EXPRESSION_AGGREGATES: &[&str] = &[
    "count(*) FILTER (WHERE flag)",
    "sum(delay) FILTER (WHERE carrier = 'AA')",
    "avg(price) FILTER (WHERE delay > 20)",
    "count(delay) FILTER (WHERE code + delay > 300)",
    "sum(CASE WHEN carrier = 'DL' THEN 1 ELSE 0 END)",
    "sum(CASE WHEN carrier = 'AA' THEN delay END)",
    "avg(CASE WHEN flag AND code > 300 THEN price END)",
    "max(CASE WHEN delay > 20 THEN late END) FILTER (WHERE flag)",
    "count(CASE WHEN code <> 0 THEN distance / code END)",
    "sum(delay * 2)",
    "sum(delay + 3)",
    "sum(7 - distance)",
    "sum(far * 3 - 1)",
    "sum(9223372036854775807 - tries * 5)",
    "avg(code + 5)",
    "avg(1000 - late)",
    "min(delay - 10)",
    "min(4 - 2 * delay)",
    "max(wide * -3 + 1)",
    "max(distance + 1)",
    "max(length(city) + 2)",
    "count(late + 1)",
    "sum(late * 2 + 1) FILTER (WHERE flag)",
    "sum(price * ratio)",
    "sum(CAST(code AS DOUBLE) * price - CAST(delay AS DOUBLE) / 3.0)",
    "avg(price / CAST(code AS DOUBLE))",
    "max(2.0 - price * CAST(late AS DOUBLE)) FILTER (WHERE flag)",
    "stddev(price - CAST(wide AS DOUBLE) / 1000000.0)",
    "min(CAST(ratio AS DOUBLE) * 8.0)",
    "max(delay + code)",
    "sum(distance / 7)",
    "sum(delay * distance - code)",
    "min((distance - 5000) / 1024)",
    "avg(distance / 3 + late)",
    "max(far * delay) FILTER (WHERE flag)",
    "stddev(distance - delay)",
    "sum(length(city))",
    "avg(delay + 0.5)",
    "avg(late) FILTER (WHERE flag)",
    "sum(coalesce(late, -3))",
    "avg(coalesce(delay, 7))",
    "max(nullif(code, 42))",
];

pub(crate) const FURTHER_AGGREGATES: &[&str] = &[
    "count(DISTINCT carrier)",
    "count(DISTINCT city)",
    "count(DISTINCT late)",
    "count(DISTINCT far)",
    "count(DISTINCT \"$offset\")",
    "count(DISTINCT delay / 10)",
    "count(DISTINCT flag) FILTER (WHERE delay > 20)",
    "count(DISTINCT CASE WHEN delay > 20 THEN city END)",
    "count(DISTINCT date_trunc('day', at))",
    "count(DISTINCT substr(city, 23))",
    "approx_distinct(city)",
    "approx_distinct(wide)",
    "approx_distinct(carrier) FILTER (WHERE flag)",
    "approx_distinct(\"$offset\")",
    "approx_distinct(code)",
    "approx_distinct(at)",
    "approx_distinct(delay + code)",
    "min(carrier)",
    "max(city)",
    "min(label)",
    "max(upper(carrier))",
    "min(late)",
    "max(flag)",
    "bool_and(flag)",
    "bool_or(flag) FILTER (WHERE delay > 100)",
    "bool_or(delay > 180)",
    "stddev(delay)",
    "var_pop(price)",
    "var(coalesce(late, 7))",
    "stddev_pop(distance)",
    "var(delay + code)",
];

/// These need all groups on one server.
pub(crate) const WHOLE_AGGREGATES: &[&str] = &[
    "median(delay)",
    "median(price)",
    "median(coalesce(late, 7))",
    "percentile_cont(code, 0.9)",
    "percentile(code, 90)",
    "percentile(price, 50)",
    "percentile_cont(distance, 0.251)",
    "percentile_cont(price, 0.5) FILTER (WHERE flag)",
    "percentile_cont(delay + code, 0.99)",
];

/// These go to the general operators.
const OTHER_AGGREGATES: &[&str] = &[
    "sum(amount)",
    "count(DISTINCT amount)",
    "min(amount)",
    "sum(DISTINCT delay)",
    "corr(delay, code)",
];

const ROWS: &[&str] = &[
    "carrier, delay, price",
    "\"$offset\", city, at",
    "flag, late, label, amount",
    "\"$partition\", \"$offset\", \"$ingestTime\"",
    "ratio, far, wide, code, distance",
    "note, carrier",
    "\"$offset\", delay * 2 + 1, upper(carrier)",
];

/// A tree of ANDs, ORs and NOTs.
fn condition(random: &mut Random, null_mode: NullMode, depth: u64) -> String {
    if depth == 0 || random.below(4) == 0 {
        let has_nulls = null_mode == NullMode::ThreeValued;
        let from = match has_nulls && random.below(4) == 0 {
            true => NULL_FILTERS,
            false => FILTERS,
        };
        return format!("({})", random.pick(from));
    }
    let op = [" AND ", " OR ", " AND "][random.below(3) as usize];
    let branches = (0..2 + random.below(2)).map(|_| condition(random, null_mode, depth - 1));
    let branches = branches.collect::<Vec<_>>().join(op);
    match random.below(5) {
        0 => format!("NOT ({branches})"),
        _ => format!("({branches})"),
    }
}

/// Orders of one column, of which alone then is asked, so that equal rows look the same.
const ORDERS: &[(&str, &str)] = &[
    ("at", "at DESC"),
    ("at", "at"),
    ("distance", "distance"),
    ("distance", "distance DESC"),
    ("delay", "delay DESC NULLS LAST"),
    ("carrier", "carrier"),
    ("carrier", "carrier DESC"),
    ("city", "city DESC NULLS FIRST"),
    ("city", "city NULLS FIRST"),
    ("price", "price NULLS FIRST"),
    ("ratio", "ratio DESC"),
    ("flag", "flag"),
    ("label", "label NULLS LAST"),
    ("late", "late DESC NULLS LAST"),
    ("far", "far DESC"),
];

/// Orders of several columns, the last of which has no equals.
const LONG_ORDERS: &[&str] = &[
    "carrier, \"$offset\"",
    "flag DESC, delay, \"$offset\" DESC",
    "late, price DESC NULLS LAST, \"$offset\"",
    "label DESC NULLS LAST, city NULLS FIRST, \"$offset\"",
    "price, \"$offset\"",
    "at DESC, \"$offset\"",
    "\"$partition\" DESC, ratio, \"$offset\"",
    "flag, note DESC, \"$offset\"",
    "carrier DESC NULLS LAST, note NULLS FIRST, \"$offset\"",
    "code, note, \"$offset\" DESC",
];

fn grouping_sets(random: &mut Random, keys: &[&str]) -> String {
    let (all, first) = (keys.join(", "), keys[0]);
    match random.below(4) {
        0 => format!("ROLLUP ({all})"),
        1 => format!("CUBE ({all})"),
        2 => format!("GROUPING SETS (({all}), ({first}), (), ())"),
        _ => format!("GROUPING SETS (({first}), ({all}), ({first}))"),
    }
}

impl Question {
    fn ordered(random: &mut Random, condition: &str) -> Self {
        let (output, order) = match random.below(2) {
            0 => ORDERS[random.below(ORDERS.len() as u64) as usize],
            _ => (random.pick(ROWS), random.pick(LONG_ORDERS)),
        };
        let limit = [1, 3, 10, 100, 2500][random.below(5) as usize];
        let skipped = match random.below(3) {
            0 => format!(" OFFSET {}", random.below(20)),
            _ => String::new(),
        };
        Self {
            sql: format!(
                "SELECT {output} FROM flights{condition} ORDER BY {order} LIMIT {limit}{skipped}"
            ),
            is_aggregate: false,
            is_ordered: true,
            is_native: true,
        }
    }

    pub(crate) fn draw(random: &mut Random, null_mode: NullMode) -> Self {
        let condition = match random.below(4) {
            0 => String::new(),
            depth => format!(" WHERE {}", condition(random, null_mode, depth - 1)),
        };
        if random.below(4) == 0 {
            return Self::ordered(random, &condition);
        }
        if random.below(5) == 0 {
            let sql = format!("SELECT {} FROM flights{condition}", random.pick(ROWS));
            return Self {
                sql,
                is_aggregate: false,
                is_ordered: false,
                is_native: false,
            };
        }
        let mut keys = Vec::new();
        for _ in 0..random.below(4).min(2) {
            let from = if random.below(3) == 0 {
                EXPRESSION_KEYS
            } else {
                KEYS
            };
            let key = random.pick(from);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut output: Vec<&str> = keys.clone();
        for _ in 0..1 + random.below(4) {
            let aggregate = match random.below(20) {
                0..4 => random.pick(EXPRESSION_AGGREGATES),
                4 => random.pick(OTHER_AGGREGATES),
                5 => random.pick(WHOLE_AGGREGATES),
                6..11 => random.pick(FURTHER_AGGREGATES),
                _ => random.pick(AGGREGATES),
            };
            if !output.contains(&aggregate) {
                output.push(aggregate);
            }
        }
        let output: Vec<String> = (0..)
            .zip(&output)
            .map(|(at, expr): (usize, _)| format!("{expr} AS c{at}"))
            .collect();
        let output = output.join(", ");
        let group = match &keys[..] {
            [] => String::new(),
            keys if random.below(6) == 0 => {
                format!(" GROUP BY {}", grouping_sets(random, keys))
            }
            keys => format!(" GROUP BY {}", keys.join(", ")),
        };
        let sql = format!("SELECT {output} FROM flights{condition}{group}");
        Self {
            sql,
            is_aggregate: true,
            is_ordered: false,
            is_native: true,
        }
    }
}
