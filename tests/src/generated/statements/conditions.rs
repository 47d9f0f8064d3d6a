//! Conditions, with subqueries among them.

use super::author::{Author, Of, Relation, Scope, either};
use super::queries::SETS;
use super::tables;

impl Author {
    pub(super) fn condition(&mut self, scope: &Scope, depth: u32) -> String {
        if depth > 0 && self.chance(0.35) {
            let one = self.condition(scope, depth - 1);
            if self.chance(0.2) {
                return format!("NOT ({one})");
            }
            let other = self.condition(scope, depth - 1);
            let operator = *self.pick(&["AND", "OR"]);
            return format!("({one} {operator} {other})");
        }
        if self.subqueries > 0 && self.chance(0.3) {
            return self.of_subquery(scope);
        }
        self.plain_condition(scope)
    }

    fn plain_condition(&mut self, scope: &Scope) -> String {
        if !scope.lists.is_empty() && self.chance(0.06) {
            return self.any_entry(scope);
        }
        let of = *self.pick(&[
            Of::Whole,
            Of::Whole,
            Of::Text,
            Of::Double,
            Of::Flag,
            Of::Time,
        ]);
        let Some(one) = self.column(scope, of) else {
            return format!("{} > 3", self.leaf(scope, Of::Whole));
        };
        match (of, self.one_of(10)) {
            (_, 0) => format!("{one} IS NULL"),
            (_, 1) => format!("{one} IS NOT NULL"),
            (_, 2) => {
                self.uses("distinct from");
                let is = *self.pick(&["IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
                format!("{one} {is} {}", self.leaf(scope, of))
            }
            (Of::Flag, 3) => {
                let is = *self.pick(&["IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE"]);
                format!("{one} {is}")
            }
            (Of::Flag, 4 | 5) => format!("{one} = {}", self.leaf(scope, of)),
            (Of::Flag, _) => one,
            (Of::Text, 3) => format!("{one} LIKE '%a%'"),
            (Of::Text, 4) => {
                let like = *self.pick(&["NOT LIKE", "ILIKE", "NOT ILIKE"]);
                self.is_pinot &= like == "NOT LIKE";
                format!("{one} {like} 'a%'")
            }
            (_, 5) => {
                let (low, high) = (self.literal(of), self.literal(of));
                let between = *self.pick(&["BETWEEN", "BETWEEN", "NOT BETWEEN"]);
                format!("{one} {between} {low} AND {high}")
            }
            (Of::Whole | Of::Text, 6) => self.in_list(&one, of),
            _ => {
                let operator = *self.pick(&["=", "<>", "<", "<=", ">", ">="]);
                let one = self.value(scope, of, 1);
                format!("{one} {operator} {}", self.value(scope, of, 1))
            }
        }
    }

    fn in_list(&mut self, one: &str, of: Of) -> String {
        let count = self.count(1, 4);
        let mut values: Vec<String> = (0..count).map(|_| self.literal(of)).collect();
        if self.chance(0.2) {
            values.push("NULL".to_owned());
        }
        let values = values.join(", ");
        if self.chance(0.35) {
            self.uses("not in list");
            return format!("{one} NOT IN ({values})");
        }
        self.uses("in list");
        format!("{one} IN ({values})")
    }

    /// Of a column of several values one is enough; only Pinot's dialect says so with `=`.
    fn any_entry(&mut self, scope: &Scope) -> String {
        self.uses("any entry");
        let list = self.pick(&scope.lists).clone();
        let tag = tables::tag(self.number(0, 5));
        self.is_pinot = false;
        format!("array_has({list}, {tag})")
    }

    /// A table, or two joined, and a scope in which the statement around is seen.
    fn within(&mut self, scope: &Scope) -> (Relation, Scope) {
        let relation = match self.chance(0.2) {
            true => {
                let (left, right) = (self.table(), self.table());
                self.joined_by_key(left, &right)
            }
            false => self.source(0),
        };
        let inner = Scope {
            outer: scope.as_outer(),
            ..Scope::of(&relation)
        };
        (relation, inner)
    }

    /// WHERE of a subquery; most often what it finds depends on the rows around it.
    fn correlation(&mut self, inner: &Scope) -> String {
        let mut parts = Vec::new();
        if !inner.outer.is_empty() && self.chance(0.75) {
            let of = *self.pick(&[Of::Whole, Of::Whole, Of::Text, Of::Time]);
            let own = self.column_of(&inner.own, of);
            let outer = self.column_of(&inner.outer, of);
            if let (Some(own), Some(outer)) = (own, outer) {
                let operator = *self.pick(&["=", "=", "=", "=", "<", "<>", "IS NOT DISTINCT FROM"]);
                parts.push(format!("{own} {operator} {outer}"));
            }
        }
        if parts.is_empty() || self.chance(0.4) {
            let own = Scope {
                outer: Vec::new(),
                ..inner.clone()
            };
            parts.push(self.condition(&own, 1));
        }
        parts.join(" AND ")
    }

    fn of_subquery(&mut self, scope: &Scope) -> String {
        self.subqueries -= 1;
        match self.one_of(7) {
            0 | 1 => self.exists(scope),
            2 | 3 => self.in_subquery(scope),
            4 => self.quantified(scope),
            5 => match self.row_in(scope) {
                Some(condition) => condition,
                None => self.in_subquery(scope),
            },
            _ => {
                let of = *self.pick(&[Of::Whole, Of::Double, Of::Text]);
                let (one, other) = (self.leaf(scope, of), self.scalar_subquery(scope, of));
                let operator = *self.pick(&["=", "<", ">=", "<>"]);
                format!("{one} {operator} {other}")
            }
        }
    }

    /// Another query of one column, put together with the one before.
    fn set_behind(&mut self, scope: &Scope, of: Of) -> String {
        if !self.chance(0.15) {
            return String::new();
        }
        self.uses("set in subquery");
        let (_, word) = *self.pick(&SETS);
        let (relation, inner) = self.within(scope);
        let found = self.column_of(&inner.own, of);
        let found = found.unwrap_or_else(|| self.literal(of));
        let filter = self.correlation(&inner);
        format!(
            " {word} SELECT {found} FROM {} WHERE {filter}",
            relation.text
        )
    }

    /// Pairs of values, among literals or those of a subquery.
    fn row_in(&mut self, scope: &Scope) -> Option<String> {
        let one = self.column(scope, Of::Whole)?;
        let other = self.column(scope, Of::Text)?;
        self.uses("row in");
        self.is_pinot = false;
        let word = *self.pick(&["IN", "IN", "NOT IN"]);
        if self.chance(0.4) {
            let pairs: Vec<(String, String)> = (0..self.count(1, 3))
                .map(|_| (self.literal(Of::Whole), self.literal(Of::Text)))
                .collect();
            let listed = pairs.iter().map(|(key, text)| format!("({key}, {text})"));
            let ours = listed.collect::<Vec<_>>().join(", ");
            // DuckDB takes nulls in such rows for values.
            let equal = pairs
                .iter()
                .map(|(key, text)| format!("({one} = {key} AND {other} = {text})"));
            let equal = equal.collect::<Vec<_>>().join(" OR ");
            let not = if word == "IN" { "" } else { "NOT " };
            return Some(either(
                &format!("({one}, {other}) {word} ({ours})"),
                &format!("({not}({equal}))"),
            ));
        }
        let (relation, inner) = self.within(scope);
        let key = self.column_of(&inner.own, Of::Whole)?;
        let text = self.column_of(&inner.own, Of::Text)?;
        let filter = self.correlation(&inner);
        let from = &relation.text;
        Some(format!(
            "({one}, {other}) {word} (SELECT {key}, {text} FROM {from} WHERE {filter})"
        ))
    }

    fn exists(&mut self, scope: &Scope) -> String {
        let (relation, inner) = self.within(scope);
        let filter = self.correlation(&inner);
        if self.chance(0.12)
            && let Some(found) = self.column_of(&inner.own, Of::Whole)
        {
            let behind = self.set_behind(scope, Of::Whole);
            let word = *self.pick(&["EXISTS", "NOT EXISTS"]);
            let from = &relation.text;
            return format!("{word} (SELECT {found} FROM {from} WHERE {filter}{behind})");
        }
        let (kind, word) = *self.pick(&[
            ("exists", "EXISTS"),
            ("exists", "EXISTS"),
            ("not exists", "NOT EXISTS"),
        ]);
        self.uses(kind);
        let what = *self.pick(&["1", "*"]);
        format!(
            "{word} (SELECT {what} FROM {} WHERE {filter})",
            relation.text
        )
    }

    fn in_subquery(&mut self, scope: &Scope) -> String {
        let of = *self.pick(&[Of::Whole, Of::Whole, Of::Text]);
        // The planner has no place for a subquery beside another.
        let left = std::mem::take(&mut self.subqueries);
        let one = self.value(scope, of, 1);
        self.subqueries = left;
        let (relation, inner) = self.within(scope);
        let found = self.column_of(&inner.own, of);
        let found = found.unwrap_or_else(|| self.literal(of));
        let filter = self.correlation(&inner);
        let from = &relation.text;
        let (kind, word) = *self.pick(&[
            ("in subquery", "IN"),
            ("not in subquery", "NOT IN"),
            ("not in subquery", "NOT IN"),
        ]);
        self.uses(kind);
        let behind = self.set_behind(scope, of);
        format!("{one} {word} (SELECT {found} FROM {from} WHERE {filter}{behind})")
    }

    fn quantified(&mut self, scope: &Scope) -> String {
        self.uses("quantified");
        let one = self.leaf(scope, Of::Whole);
        let (relation, inner) = self.within(scope);
        let found = self.column_of(&inner.own, Of::Whole);
        let found = found.unwrap_or_else(|| "1".to_owned());
        let filter = self.correlation(&inner);
        let operator = *self.pick(&["=", "<>", "<", ">="]);
        let which = *self.pick(&["ANY", "ALL"]);
        format!(
            "{one} {operator} {which} (SELECT {found} FROM {} WHERE {filter})",
            relation.text
        )
    }

    pub(super) fn scalar_subquery(&mut self, scope: &Scope, of: Of) -> String {
        let left = std::mem::take(&mut self.subqueries);
        let (relation, inner) = self.within(scope);
        let text = match self.aggregate(&inner, of) {
            Some(aggregate) => {
                self.uses("scalar subquery");
                let filter = self.correlation(&inner);
                let from = &relation.text;
                format!("(SELECT {aggregate} FROM {from} WHERE {filter})")
            }
            None => self.leaf(scope, of),
        };
        self.subqueries = left.saturating_sub(1);
        text
    }
}
