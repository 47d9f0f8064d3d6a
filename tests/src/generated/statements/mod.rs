//! Statements over several tables: joins, subqueries, set operations, windows, groupings.
//!
//! A statement is drawn once and said in our words and in DuckDB's. Its answer is always one:
//! LIMIT stands behind an order of all columns, and windows that depend on the order of equal rows
//! are drawn only over orders without any. What it is made of ([`Statement::kinds`]) is counted, so
//! that a run shows that every kind had rows.

mod author;
mod conditions;
mod expressions;
mod groups;
mod joins;
mod queries;
mod sources;
mod tables;
mod windows;
pub mod world;

use std::collections::BTreeSet;

use author::Author;

/// `{a}` and the like stand for tables.
#[derive(Clone, Debug)]
pub struct Statement {
    pub ours: String,
    pub duck: String,
    pub ordered: bool,
    pub kinds: BTreeSet<&'static str>,
    /// It means the same in Pinot's dialect.
    pub is_pinot: bool,
}

/// What a run of some hundred statements must have had rows of.
pub const KINDS: &[&str] = &[
    "all rows",
    "anti join",
    "any entry",
    "asof join",
    "case",
    "cast",
    "coalesce",
    "comma join",
    "cross join",
    "cte",
    "cte used twice",
    "cube",
    "date",
    "distinct",
    "distinct from",
    "distinct on",
    "distinct sum",
    "exclude",
    "exists",
    "filter clause",
    "full join",
    "grouping sets",
    "groups frame",
    "having",
    "having alone",
    "ignore nulls",
    "in list",
    "in subquery",
    "inner join",
    "intersect",
    "intersect all",
    "except",
    "except all",
    "lateral",
    "lateral union",
    "lateral window",
    "left join",
    "limit",
    "named window",
    "natural join",
    "non-equi join",
    "not exists",
    "not in list",
    "not in subquery",
    "offset",
    "qualify",
    "quantified",
    "range frame",
    "right join",
    "rollup",
    "row in",
    "rows frame",
    "scalar subquery",
    "semi join",
    "set in subquery",
    "several windows",
    "string aggregate",
    "union",
    "union all",
    "unnest",
    "using",
    "values",
    "window",
    "window filter",
    "window over groups",
];

impl Statement {
    /// The same `shape` is the same statement but for its literals.
    pub fn draw(shape: u64, literals: u64) -> Self {
        let mut author = Author::new(shape, literals);
        let (text, ordered) = author.statement();
        Self {
            ours: author::said(&text, true),
            duck: author::said(&text, false),
            ordered,
            kinds: author.kinds,
            is_pinot: author.is_pinot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_drawn_and_shapes_repeat() {
        let mut drawn = BTreeSet::new();
        for seed in 0..3_000 {
            let (one, other) = (Statement::draw(seed, 1), Statement::draw(seed, 2));
            assert_eq!(one.kinds, other.kinds);
            let without_digits = |sql: &str| sql.replace(|c: char| c.is_ascii_digit(), "").len();
            let apart = without_digits(&one.ours).abs_diff(without_digits(&other.ours));
            assert!(apart < 400, "{}\n{}", one.ours, other.ours);
            drawn.extend(one.kinds);
        }
        assert_eq!(drawn, KINDS.iter().copied().collect());
    }
}
