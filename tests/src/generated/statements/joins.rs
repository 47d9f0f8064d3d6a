//! Joins of up to four tables.

use super::author::{Author, Of, ROWS_MAX, Relation, Scope, Value};

const PLAIN: [(&str, &str); 6] = [
    ("inner join", "JOIN"),
    ("left join", "LEFT JOIN"),
    ("right join", "RIGHT JOIN"),
    ("full join", "FULL JOIN"),
    ("semi join", "SEMI JOIN"),
    ("anti join", "ANTI JOIN"),
];

impl Author {
    pub(super) fn from(&mut self, depth: u32) -> Relation {
        match self.one_of(100) {
            0..7 => return self.using(),
            7..10 => return self.natural(),
            10..15 => return self.unnested(),
            15..19 => return self.lateral(),
            19..22 => return self.as_of(),
            _ => {}
        }
        let mut left = self.source(depth);
        let joins = match self.one_of(100) {
            0..38 => 0,
            38..70 => 1,
            70..88 => 2,
            _ => 3,
        };
        for _ in 0..joins {
            let right = self.source(depth.min(1));
            left = self.join(left, right);
        }
        let right = self.source(0);
        let product = left.rows * right.rows;
        if product < ROWS_MAX && self.chance(0.06) {
            // Behind all others: conditions of joins do not see what stands before a comma.
            self.uses("comma join");
            let text = format!("{}, {}", left.text, right.text);
            return both(text, left, &right, product);
        }
        left
    }

    fn join(&mut self, left: Relation, right: Relation) -> Relation {
        let product = left.rows * right.rows;
        match self.one_of(100) {
            0..6 if product < ROWS_MAX => {
                self.uses("cross join");
                let text = format!("{} CROSS JOIN {}", left.text, right.text);
                both(text, left, &right, product)
            }
            6..22 if product < ROWS_MAX => self.join_by_order(left, right),
            _ => self.joined_by_key(left, &right),
        }
    }

    /// On what is equal, and sometimes on more.
    pub(super) fn joined_by_key(&mut self, left: Relation, right: &Relation) -> Relation {
        let Some(on) = self.equal(&left, right) else {
            let text = format!("{} LEFT JOIN {} ON true", left.text, right.text);
            let rows = left.rows * right.rows;
            return both(text, left, right, rows);
        };
        let mut on = on;
        if self.chance(0.25) {
            let scope = scope_of_both(&left, right);
            let subqueries = std::mem::take(&mut self.subqueries);
            on = format!("{on} AND {}", self.condition(&scope, 1));
            self.subqueries = subqueries;
        }
        let (kind, word) = *self.pick(&PLAIN);
        self.plain(left, right, kind, word, &on, 6.0)
    }

    fn equal(&mut self, left: &Relation, right: &Relation) -> Option<String> {
        let of = *self.pick(&[Of::Whole, Of::Whole, Of::Whole, Of::Text, Of::Time, Of::Day]);
        let keys = |columns: &[Value]| {
            let mut keys = columns.to_vec();
            keys.retain(|column| column.of == of);
            // Equal keys shall be found.
            keys.sort_by_key(|column| !column.text.ends_with(".k"));
            keys
        };
        let (mut mine, mut theirs) = (keys(&left.columns), keys(&right.columns));
        if mine.is_empty() || theirs.is_empty() {
            mine = left.columns.clone();
            mine.retain(|column| column.of == Of::Whole);
            theirs = right.columns.clone();
            theirs.retain(|column| column.of == Of::Whole);
        }
        if mine.is_empty() || theirs.is_empty() {
            return None;
        }
        let one = match self.chance(0.5) {
            true => mine[0].clone(),
            false => self.pick(&mine).clone(),
        };
        let other = match self.chance(0.5) {
            true => theirs[0].clone(),
            false => self.pick(&theirs).clone(),
        };
        let (one, other) = (one.text, other.text);
        Some(match self.one_of(10) {
            0 if of == Of::Whole => format!("{one} = {other} + 1"),
            1 => format!("{one} IS NOT DISTINCT FROM {other}"),
            _ => format!("{one} = {other}"),
        })
    }

    /// On what is less, between, or not equal.
    fn join_by_order(&mut self, left: Relation, right: Relation) -> Relation {
        let of = *self.pick(&[Of::Whole, Of::Double, Of::Text, Of::Time]);
        let one = self.column_of(&left.columns, of);
        let other = self.column_of(&right.columns, of);
        let (Some(one), Some(other)) = (one, other) else {
            return self.joined_by_key(left, &right);
        };
        self.uses("non-equi join");
        let operator = *self.pick(&["<", "<=", ">", ">=", "<>"]);
        let on = match of {
            Of::Whole if self.chance(0.4) => format!("{one} BETWEEN {other} - 1 AND {other} + 1"),
            _ => format!("{one} {operator} {other}"),
        };
        let (kind, word) = *self.pick(&PLAIN);
        self.plain(left, &right, kind, word, &on, 2.0)
    }

    fn plain(
        &mut self,
        left: Relation,
        right: &Relation,
        kind: &'static str,
        word: &str,
        on: &str,
        partners: f64,
    ) -> Relation {
        self.uses(kind);
        let text = format!("{} {word} {} ON {on}", left.text, right.text);
        let rows = left
            .rows
            .max(right.rows)
            .max(left.rows * right.rows / partners);
        match kind {
            "semi join" | "anti join" => Relation { text, ..left },
            _ => both(text, left, right, rows),
        }
    }

    fn using(&mut self) -> Relation {
        self.uses("using");
        let (one, other) = (self.table(), self.table());
        let names = *self.pick(&["k", "k", "s", "k, j"]);
        let (kind, word) = *self.pick(&PLAIN);
        self.uses(kind);
        let text = format!("{} {word} {} USING ({names})", one.text, other.text);
        let of = if names == "s" { Of::Text } else { Of::Whole };
        let mut merged: Vec<Value> = names.split(", ").map(|name| Value::new(name, of)).collect();
        let rows = one.rows * other.rows / 6.0;
        if matches!(kind, "semi join" | "anti join") {
            return Relation { text, ..one };
        }
        let mut made = both(text, one, &other, rows);
        if self.chance(0.3) {
            let third = self.table();
            let (kind, word) = *self.pick(&PLAIN[..3]);
            self.uses(kind);
            let text = format!("{} {word} {} USING ({names})", made.text, third.text);
            let rows = made.rows * third.rows / 6.0;
            made = both(text, made, &third, rows);
        }
        merged.append(&mut made.columns);
        made.columns = merged;
        made
    }

    fn natural(&mut self) -> Relation {
        self.uses("natural join");
        let (one, other) = (self.table(), self.table());
        let (word, names) = (
            *self.pick(&["NATURAL JOIN", "NATURAL LEFT JOIN"]),
            [self.name(), self.name()],
        );
        let side = |table: &Relation, name: &str| {
            let inner = alias(table);
            let from = &table.text;
            format!(
                "(SELECT {inner}.k, {inner}.id AS i{name}, {inner}.s AS s{name} FROM {from}) AS {name}"
            )
        };
        let [left, right] = &names;
        let text = format!("{} {word} {}", side(&one, left), side(&other, right));
        let mut columns = Vec::new();
        for name in &names {
            columns.push(Value::new(format!("{name}.i{name}"), Of::Whole));
            columns.push(Value::new(format!("{name}.s{name}"), Of::Text));
        }
        let unique = names.iter().map(|name| format!("{name}.i{name}"));
        Relation {
            text,
            columns,
            lists: Vec::new(),
            unique: Some(unique.collect()),
            rows: one.rows * other.rows / 6.0,
        }
    }

    /// The nearest row in time. Of several only what they have in common is one.
    fn as_of(&mut self) -> Relation {
        self.uses("asof join");
        self.is_pinot = false;
        let (one, other) = (self.table(), self.table());
        let own = |table: &Relation, column| format!("{}.{column}", alias(table));
        let keys = [own(&other, "k"), own(&other, "ts")];
        let operator = *self.pick(&[">=", ">", "<=", "<"]);
        let word = *self.pick(&["ASOF JOIN", "ASOF LEFT JOIN"]);
        let on = format!(
            "{} = {} AND {} {operator} {}",
            own(&one, "k"),
            keys[0],
            own(&one, "ts"),
            keys[1]
        );
        let text = format!("{} {word} {} ON {on}", one.text, other.text);
        let mut made = Relation { text, ..one };
        let [key, time] = keys;
        made.columns.push(Value::new(key, Of::Whole));
        made.columns.push(Value::new(time, Of::Time));
        made
    }

    /// A row for each entry of a list.
    fn unnested(&mut self) -> Relation {
        self.uses("unnest");
        self.is_pinot = false;
        let (table, name) = (self.table(), self.name());
        let list = table.lists[0].clone();
        let counted = self.chance(0.4);
        let (with, names) = match counted {
            true => (" WITH ORDINALITY", "e, n"),
            false => ("", "e"),
        };
        let text = format!(
            "{} CROSS JOIN UNNEST({list}){with} AS {name}({names})",
            table.text
        );
        let mut made = table;
        made.text = text;
        made.columns.push(Value::new(format!("{name}.e"), Of::Text));
        made.rows *= 2.0;
        match (counted, &mut made.unique) {
            (true, Some(unique)) => unique.push(format!("{name}.n")),
            _ => made.unique = None,
        }
        if counted {
            made.columns
                .push(Value::new(format!("{name}.n"), Of::Whole));
        }
        made
    }

    /// A row or some of another table for each row.
    fn lateral(&mut self) -> Relation {
        self.uses("lateral");
        self.is_pinot = false;
        let (one, other, name) = (self.table(), self.table(), self.name());
        let own = |column: &str, table: &Relation| format!("{}.{column}", alias(table));
        let (mine, theirs) = (own("k", &one), own("k", &other));
        let operator = *self.pick(&["=", "=", "<"]);
        let (id, from) = (own("id", &other), &other.text);
        let filter = format!("WHERE {theirs} {operator} {mine}");
        let inner = match self.one_of(4) {
            0 => {
                self.uses("lateral window");
                let x = own("x", &other);
                let function = *self.pick(&["SUM", "MAX", "COUNT"]);
                format!(
                    "SELECT {function}({x}) OVER (ORDER BY {id}) AS c0, ROW_NUMBER() OVER (ORDER BY {id}) AS c1 FROM {from} {filter}"
                )
            }
            1 => {
                let third = self.table();
                let (key, other) = (own("k", &third), own("id", &third));
                self.uses("lateral union");
                format!(
                    "SELECT 1 AS c0, {id} AS c1 FROM {from} {filter} UNION ALL SELECT 2, -{other} - 1 FROM {} WHERE {key} = {mine}",
                    third.text
                )
            }
            2 => format!("SELECT COUNT(*) AS c0, MAX({id}) AS c1 FROM {from} {filter}"),
            _ => format!(
                "SELECT {theirs} AS c0, {id} AS c1 FROM {from} {filter} ORDER BY {id} DESC LIMIT 2"
            ),
        };
        let join = *self.pick(&["CROSS JOIN LATERAL", "LEFT JOIN LATERAL"]);
        let on = if join.starts_with("LEFT") {
            " ON true"
        } else {
            ""
        };
        let text = format!("{} {join} ({inner}) AS {name}{on}", one.text);
        let mut made = Relation { text, ..one };
        for column in ["c0", "c1"] {
            made.columns
                .push(Value::new(format!("{name}.{column}"), Of::Whole));
        }
        if let Some(unique) = &mut made.unique {
            unique.push(format!("{name}.c1"));
        }
        made.rows *= 2.0;
        made
    }
}

/// The name of a table stands last.
fn alias(table: &Relation) -> &str {
    table.text.rsplit(' ').next().unwrap_or_default()
}

fn scope_of_both(left: &Relation, right: &Relation) -> Scope {
    let columns = left.columns.iter().chain(&right.columns);
    Scope {
        own: columns.cloned().collect(),
        ..Scope::default()
    }
}

fn both(text: String, left: Relation, right: &Relation, rows: f64) -> Relation {
    let mut made = Relation { text, rows, ..left };
    made.columns.extend(right.columns.iter().cloned());
    made.lists.extend(right.lists.iter().cloned());
    made.unique = match (made.unique, &right.unique) {
        (Some(mut mine), Some(theirs)) => {
            mine.extend(theirs.iter().cloned());
            Some(mine)
        }
        _ => None,
    };
    made
}
