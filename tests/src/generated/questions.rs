//! Statements over a drawn table: group-bys, rows, DISTINCT, joins, windows, sub-queries.
//!
//! `{t}` stands for the table. Where an order is asked for it is total, so that one answer is right.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::expressions::{Both, Draw};
use super::table::{Column, Table};

#[derive(Clone, Debug)]
pub struct Question {
    pub ours: String,
    pub duck: String,
    /// Rows come in the order that was asked for.
    pub ordered: bool,
    /// Several values a row are Pinot's: the question is in its dialect, nulls are defaults.
    pub is_pinot: bool,
}

impl Question {
    /// The same `shape` is the same statement but for its literals.
    pub fn draw(table: &Table, shape: u64, literals: u64) -> Self {
        let mut draw = Draw {
            table,
            shape: &mut SmallRng::seed_from_u64(shape),
            literals: &mut SmallRng::seed_from_u64(literals),
        };
        let has_entries = table.columns.iter().any(Column::is_multi);
        match draw.shape.random_range(0..100) {
            0..10 if has_entries => entries(&mut draw),
            0..38 => groups(&mut draw),
            38..52 => summed(&mut draw),
            52..74 => rows(&mut draw),
            74..82 => distinct(&mut draw),
            82..88 => join(&mut draw),
            88..94 => window(&mut draw),
            _ => subquery(&mut draw),
        }
    }

    /// Ternary logic partitioning: rows where a predicate holds, where it does not and where it is
    /// unknown are all rows, also when they are grouped. Or the same rows counted without a filter.
    /// Both statements have one answer.
    pub fn partitioned(table: &Table, seed: u64) -> [String; 2] {
        let mut draw = Draw {
            table,
            shape: &mut SmallRng::seed_from_u64(seed),
            literals: &mut SmallRng::seed_from_u64(seed ^ 1),
        };
        let p = draw.predicate(2).ours;
        if draw.chance(0.5) {
            return partitioned_groups(&mut draw, &p);
        }
        let filtered = format!(
            "SELECT (SELECT count(*) FROM {{t}} WHERE {p}) AS yes, \
             (SELECT count(*) FROM {{t}} WHERE NOT ({p})) AS no, \
             (SELECT count(*) FROM {{t}} WHERE (({p}) AND true) IS NULL) AS unknown"
        );
        let counted = format!(
            "SELECT sum(CASE WHEN {p} THEN 1 ELSE 0 END), \
             sum(CASE WHEN NOT ({p}) THEN 1 ELSE 0 END), \
             sum(CASE WHEN (({p}) AND true) IS NULL THEN 1 ELSE 0 END) FROM {{t}}"
        );
        [filtered, counted]
    }

    fn of(both: Both, ordered: bool) -> Self {
        Self {
            ours: both.ours,
            duck: both.duck,
            ordered,
            is_pinot: false,
        }
    }
}

fn partitioned_groups(draw: &mut Draw<'_>, p: &str) -> [String; 2] {
    let key = draw.key().ours;
    let sum = draw.column(|column| column.adds_up);
    let sum = sum.map_or("id", |at| draw.table.columns[at].name);
    let least = draw.column(|column| column.is_plain() && !column.has_nan());
    let least = least.map_or("id", |at| draw.table.columns[at].name);
    let of = |filter: &str| {
        format!(
            "SELECT {key} AS k, count(*) AS n, sum({sum}) AS s, min({least}) AS m \
             FROM {{t}}{filter} GROUP BY 1"
        )
    };
    let parts = [
        p.to_owned(),
        format!("NOT ({p})"),
        format!("(({p}) AND true) IS NULL"),
    ];
    let parts = parts.map(|part| of(&format!(" WHERE {part}")));
    let joined = format!(
        "SELECT k, sum(n), sum(s), min(m) FROM ({}) AS parts GROUP BY k",
        parts.join(" UNION ALL ")
    );
    [of(""), joined]
}

/// Joins the parts of both texts alike.
fn list(parts: &[Both], of: impl Fn(usize, &str) -> String) -> Both {
    let join = |text: fn(&Both) -> &str| {
        let parts = parts.iter().enumerate();
        let parts: Vec<String> = parts.map(|(at, part)| of(at, text(part))).collect();
        parts.join(", ")
    };
    Both {
        ours: join(|part| &part.ours),
        duck: join(|part| &part.duck),
    }
}

fn format_both(form: &str, parts: &[&Both]) -> Both {
    let fill = |text: fn(&Both) -> &str| {
        let parts = parts.iter().enumerate();
        parts.fold(form.to_owned(), |form, (at, part)| {
            form.replace(&format!("<{at}>"), text(part))
        })
    };
    Both {
        ours: fill(|part| &part.ours),
        duck: fill(|part| &part.duck),
    }
}

fn condition(draw: &mut Draw<'_>) -> Both {
    if draw.chance(0.25) {
        return Both::same("");
    }
    format_both(" WHERE <0>", &[&draw.predicate(2)])
}

fn keys(draw: &mut Draw<'_>, most: usize) -> Vec<Both> {
    let mut keys: Vec<Both> = Vec::new();
    for _ in 0..draw.shape.random_range(0..=most) {
        let key = draw.key();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn aggregates(draw: &mut Draw<'_>) -> Vec<Both> {
    let count = draw.shape.random_range(1..5);
    (0..count).map(|_| draw.aggregate()).collect()
}

fn groups(draw: &mut Draw<'_>) -> Question {
    let (keys, aggregates) = (keys(draw, 3), aggregates(draw));
    let filter = condition(draw);
    grouped(draw, &keys, &aggregates, &filter)
}

/// What a star-tree can tell, most often.
fn summed(draw: &mut Draw<'_>) -> Question {
    let names: Vec<&str> = draw.table.dimensions().map(|column| column.name).collect();
    let sums: Vec<&str> = draw.table.summed().map(|column| column.name).collect();
    let is_dimension = |column: &Column| names.contains(&column.name);
    let (mut keys, mut filters) = (Vec::new(), Vec::new());
    for _ in 0..draw.shape.random_range(0..3) {
        let column = draw.column(is_dimension).filter(|_| draw.chance(0.8));
        let key = column.map_or("date_trunc('day', ts)", |at| draw.table.columns[at].name);
        let key = Both::same(key);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    for _ in 0..draw.shape.random_range(0..3) {
        let like = |column: &Column| is_dimension(column) || column.name == "ts";
        filters.extend(draw.column(like).map(|column| draw.leaf(column)));
    }
    let count = draw.shape.random_range(1..4);
    let aggregates = (0..count).map(|_| {
        let function = *draw.pick(&["count", "sum", "min", "max", "avg"]);
        let column = match function {
            "count" => "*",
            _ => *draw.pick(&sums),
        };
        Both::same(format!("{function}({column})"))
    });
    let aggregates: Vec<Both> = aggregates.collect();
    let filter = match &filters[..] {
        [] => Both::same(""),
        [one] => format_both(" WHERE <0>", &[one]),
        [one, other, ..] => format_both(" WHERE <0> AND <1>", &[one, other]),
    };
    grouped(draw, &keys, &aggregates, &filter)
}

fn grouped(draw: &mut Draw<'_>, keys: &[Both], aggregates: &[Both], filter: &Both) -> Question {
    let all: Vec<Both> = keys.iter().chain(aggregates).cloned().collect();
    let output = list(&all, |at, part| format!("{part} AS c{at}"));
    let having = match draw.chance(0.12) {
        true => " HAVING count(*) > 3",
        false => "",
    };
    let by = list(keys, |_, part| part.to_owned());
    let group = match keys.is_empty() {
        true => Both::same(""),
        false => format_both(" GROUP BY <0>", &[&by]),
    };
    let mut form = format!("SELECT <0> FROM {{t}}<1><2>{having}");
    let ordered = !keys.is_empty() && draw.chance(0.5);
    if ordered {
        // By an aggregate first, then by all keys.
        let mut order = Vec::new();
        if draw.chance(0.7) {
            let at = draw.shape.random_range(keys.len()..all.len());
            // Means of the same numbers may differ in their last digit.
            if !all[at].ours.starts_with("avg") {
                order.push(direction(draw, at));
            }
        }
        for at in 0..keys.len() {
            order.push(direction(draw, at));
        }
        let (limit, skipped) = (
            draw.shape.random_range(1..40),
            draw.shape.random_range(0..3),
        );
        form += &format!(" ORDER BY {} LIMIT {limit}", order.join(", "));
        if skipped > 0 {
            form += &format!(" OFFSET {}", skipped * 2);
        }
    }
    Question::of(format_both(&form, &[&output, filter, &group]), ordered)
}

fn direction(draw: &mut Draw<'_>, at: usize) -> String {
    let way = *draw.pick(&["ASC", "DESC"]);
    let nulls = *draw.pick(&["NULLS FIRST", "NULLS LAST"]);
    format!("c{at} {way} {nulls}")
}

fn rows(draw: &mut Draw<'_>) -> Question {
    let mut output = vec![Both::same("id")];
    for _ in 0..draw.shape.random_range(1..6) {
        if let Some(column) = draw.column(Column::is_plain) {
            output.push(Both::same(draw.table.columns[column].name));
        }
    }
    if draw.chance(0.3) {
        output.push(draw.key());
    }
    let filter = condition(draw);
    let shown = list(&output, |at, part| format!("{part} AS c{at}"));
    let mut order = Vec::new();
    if draw.chance(0.7) {
        let at = draw.shape.random_range(1..output.len());
        order.push(direction(draw, at));
    }
    order.push(direction(draw, 0));
    let limit = *draw.pick(&[1, 10, 10, 100, 1000]);
    let mut form = format!(
        "SELECT <0> FROM {{t}}<1> ORDER BY {} LIMIT {limit}",
        order.join(", ")
    );
    if draw.chance(0.2) {
        form += " OFFSET 7";
    }
    Question::of(format_both(&form, &[&shown, &filter]), true)
}

fn distinct(draw: &mut Draw<'_>) -> Question {
    let mut keys = keys(draw, 2);
    if keys.is_empty() {
        keys.push(draw.key());
    }
    let filter = condition(draw);
    let output = list(&keys, |at, part| format!("{part} AS c{at}"));
    let mut form = "SELECT DISTINCT <0> FROM {t}<1>".to_owned();
    let ordered = draw.chance(0.5);
    if ordered {
        let order: Vec<String> = (0..keys.len()).map(|at| direction(draw, at)).collect();
        form += &format!(" ORDER BY {} LIMIT 25", order.join(", "));
    }
    Question::of(format_both(&form, &[&output, &filter]), ordered)
}

/// Many rows with a few, and what groups of the few make of the many.
fn join_with_few(draw: &mut Draw<'_>) -> Question {
    let (key, group, filter) = (draw.key(), draw.key(), draw.predicate(1));
    let value = draw.column(|column| column.adds_up);
    let value = Both::same(value.map_or("id", |at| draw.table.columns[at].name));
    let output = *draw.pick(&[
        "s.g AS c0, count(*) AS c1, sum(f.v) AS c2, max(f.v) AS c3 <0> GROUP BY s.g",
        "s.g AS c0, f.k AS c1, count(f.v) AS c2, avg(f.v) AS c3 <0> GROUP BY s.g, f.k",
        "count(DISTINCT f.v) AS c0, min(s.g) AS c1 <0>",
        "f.id AS c0, f.k AS c1, s.g AS c2 <0> ORDER BY f.id DESC, s.g NULLS FIRST LIMIT 30",
    ]);
    let from = "FROM (SELECT <1> AS k, <2> AS g FROM {t} WHERE id < 40) s \
                JOIN (SELECT <1> AS k, <3> AS v, id FROM {t} WHERE <4>) f ON s.k = f.k";
    let form = format!("SELECT {output}").replace("<0>", from);
    let parts = [&Both::same(""), &key, &group, &value, &filter];
    Question::of(format_both(&form, &parts), output.contains("ORDER BY"))
}

fn join(draw: &mut Draw<'_>) -> Question {
    if draw.chance(0.5) {
        return join_with_few(draw);
    }
    let (key, aggregate) = (draw.key(), draw.aggregate());
    let (left, right) = (draw.predicate(1), draw.predicate(1));
    let kind = *draw.pick(&["JOIN", "LEFT JOIN", "FULL JOIN"]);
    let form = format!(
        "SELECT a.k AS x, b.k AS y, a.n, b.v FROM \
         (SELECT <0> AS k, count(*) AS n FROM {{t}} WHERE <2> GROUP BY 1) a {kind} \
         (SELECT <0> AS k, <1> AS v FROM {{t}} WHERE <3> GROUP BY 1) b ON a.k = b.k"
    );
    Question::of(
        format_both(&form, &[&key, &aggregate, &left, &right]),
        false,
    )
}

fn window(draw: &mut Draw<'_>) -> Question {
    let (key, filter) = (draw.key(), condition(draw));
    let function = *draw.pick(&[
        "rank() OVER (ORDER BY n DESC)",
        "row_number() OVER (ORDER BY n, k NULLS LAST)",
        "sum(n) OVER (ORDER BY k NULLS FIRST ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "lag(n) OVER (ORDER BY k NULLS LAST)",
        "n - min(n) OVER ()",
    ]);
    let form = format!(
        "SELECT k, n, {function} AS w FROM \
         (SELECT <0> AS k, count(*) AS n FROM {{t}}<1> GROUP BY 1) g"
    );
    Question::of(format_both(&form, &[&key, &filter]), false)
}

fn subquery(draw: &mut Draw<'_>) -> Question {
    let (key, aggregate) = (draw.key(), draw.aggregate());
    let (inner, outer) = (draw.predicate(1), draw.predicate(0));
    let form = *draw.pick(&[
        "WITH few AS (SELECT id FROM {t} WHERE <2>) \
         SELECT <0> AS k, <1> AS v FROM {t} WHERE id IN (SELECT id FROM few) AND <3> GROUP BY 1",
        "SELECT <0> AS k, count(*) AS n FROM {t} WHERE <2> GROUP BY 1 UNION ALL \
         SELECT <0> AS k, count(*) AS n FROM {t} WHERE <3> GROUP BY 1",
        "SELECT count(*) AS n, max(v) AS m FROM \
         (SELECT <0> AS k, count(*) AS v FROM {t} WHERE <2> GROUP BY 1) g",
        "SELECT <0> AS k, count(*) AS n FROM {t} \
         WHERE id > (SELECT avg(id) FROM {t} WHERE <2>) GROUP BY 1",
    ]);
    let parts = [&key, &aggregate, &inner, &outer];
    Question::of(format_both(form, &parts), false)
}

/// Over a column with several values a row: any of them matches, and each makes a group.
fn entries(draw: &mut Draw<'_>) -> Question {
    let filter = draw.any_entry();
    let sum = draw.column(|column| column.adds_up && column.is_whole());
    let sum = sum.map_or("id", |at| draw.table.columns[at].name);
    let list = draw.column(Column::is_multi);
    let list = list.map_or("id", |at| draw.table.columns[at].name);
    let form = *draw.pick(&[
        "SELECT COUNT(*) AS c0, SUM(<1>) AS c1 FROM {t} WHERE <0> LIMIT 10",
        "SELECT id AS c0, <1> AS c1 FROM {t} WHERE <0> ORDER BY id LIMIT 50",
        "SELECT <2> AS c0, COUNT(*) AS c1, SUM(<1>) AS c2 FROM {t} WHERE <0> GROUP BY <2> \
         ORDER BY <2> LIMIT 10000",
    ]);
    let explodes = form.contains("GROUP BY");
    let mut both = format_both(form, &[&filter, &Both::same(sum), &Both::same(list)]);
    both.duck = match explodes {
        true => format!(
            "SELECT u AS c0, count(*) AS c1, sum(s) AS c2 FROM \
             (SELECT unnest({list}) AS u, {sum} AS s FROM {{t}} WHERE {}) GROUP BY u ORDER BY u",
            filter.duck
        ),
        // The sum of nothing is 0 in Pinot.
        false => both
            .duck
            .replace(&format!("SUM({sum})"), &format!("coalesce(sum({sum}), 0)")),
    };
    Question {
        is_pinot: true,
        ..Question::of(both, true)
    }
}
