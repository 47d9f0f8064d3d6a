//! Queries: one SELECT, or several put together by set operations; WITH and ORDER BY around them.

use super::author::{Author, Of, Query, ROWS_MAX, Relation, Scope, Value};
use super::sources;
use super::windows::Rows;

pub(super) const SETS: [(&str, &str); 6] = [
    ("union", "UNION"),
    ("union all", "UNION ALL"),
    ("intersect", "INTERSECT"),
    ("intersect all", "INTERSECT ALL"),
    ("except", "EXCEPT"),
    ("except all", "EXCEPT ALL"),
];

/// `a AS c0, b AS c1`
pub(super) fn list(items: &[Value]) -> String {
    let items = items.iter().enumerate();
    let items: Vec<String> = items
        .map(|(at, item)| format!("{} AS c{at}", item.text))
        .collect();
    items.join(", ")
}

impl Author {
    /// And whether its rows have an order.
    pub(super) fn statement(&mut self) -> (String, bool) {
        let with = self.with();
        let query = self.query(None, 2);
        let is_ordered = query.rows > ROWS_MAX || self.chance(0.6);
        let tail = match is_ordered {
            true => self.order_all(&query),
            false => {
                self.uses("all rows");
                String::new()
            }
        };
        (format!("{with}{}{tail}", query.text), is_ordered)
    }

    fn with(&mut self) -> String {
        if !self.chance(0.22) {
            return String::new();
        }
        self.uses("cte");
        let mut parts = Vec::new();
        for at in 0..self.count(1, 2) {
            let query = self.query(None, 1);
            let name = format!("w{at}");
            parts.push(format!("{name} AS ({})", query.text));
            self.known.push(sources::named(&query, &name, name.clone()));
        }
        format!("WITH {} ", parts.join(", "))
    }

    /// By all columns, so that equal rows are the same.
    fn order_all(&mut self, query: &Query) -> String {
        let mut columns: Vec<usize> = (1..=query.columns.len()).collect();
        let first = self.one_of(columns.len());
        columns.rotate_left(first);
        let columns = columns.iter();
        let by: Vec<String> = columns
            .map(|at| format!("{at} {}", self.direction()))
            .collect();
        let mut tail = format!(" ORDER BY {}", by.join(", "));
        if query.rows > ROWS_MAX || self.chance(0.7) {
            self.uses("limit");
            tail += &format!(" LIMIT {}", self.number(1, 200));
            if self.chance(0.25) {
                self.uses("offset");
                tail += &format!(" OFFSET {}", self.number(1, 6));
            }
        }
        tail
    }

    pub(super) fn query(&mut self, types: Option<&[Of]>, depth: u32) -> Query {
        let made = match self.one_of(100) {
            0..28 if depth > 0 => self.set_operation(types, depth - 1),
            28..32 if types.is_none() && self.known.len() > 1 => self.twice(),
            _ => self.select(types, depth),
        };
        if types.is_none() && depth < 2 && self.chance(0.1) {
            let tail = self.order_all(&made);
            let text = format!("{}{tail}", made.text);
            return Query { text, ..made };
        }
        made
    }

    fn set_operation(&mut self, types: Option<&[Of]>, depth: u32) -> Query {
        let drawn: Vec<Of> = (0..self.count(1, 3))
            .map(|_| *self.pick(&[Of::Whole, Of::Whole, Of::Text, Of::Double, Of::Day]))
            .collect();
        let types = types.unwrap_or(&drawn);
        let left = self.query(Some(types), depth);
        let right = self.query(Some(types), depth);
        let (kind, word) = *self.pick(&SETS);
        self.uses(kind);
        let is_set = !word.ends_with("ALL");
        Query {
            text: format!("({}) {word} ({})", left.text, right.text),
            columns: types.to_vec(),
            unique: is_set.then(|| (0..types.len()).collect()),
            rows: left.rows + right.rows,
        }
    }

    /// A query of WITH, joined with itself or another.
    fn twice(&mut self) -> Query {
        self.uses("cte used twice");
        let (left, right) = (self.of_with(), self.of_with());
        let from = self.joined_by_key(left, &right);
        let scope = Scope::of(&from);
        let items = self.items(&scope, None);
        self.plain_query(&from, "", items)
    }

    fn select(&mut self, types: Option<&[Of]>, depth: u32) -> Query {
        let from = self.from(depth);
        let scope = Scope::of(&from);
        let filter = match self.chance(0.65) {
            true => {
                self.subqueries = 2;
                let condition = self.condition(&scope, 2);
                self.subqueries = 0;
                format!(" WHERE {condition}")
            }
            false => String::new(),
        };
        match self.one_of(100) {
            0..32 => self.grouped(&from, &filter, types),
            32..56 => self.with_windows(&from, &filter, types),
            56..66 => self.distinct(&from, &filter, types),
            66..72 => self.distinct_on(&from, &filter, types),
            _ => {
                self.subqueries = usize::from(self.chance(0.3));
                let items = self.items(&scope, types);
                self.subqueries = 0;
                self.plain_query(&from, &filter, items)
            }
        }
    }

    fn items(&mut self, scope: &Scope, types: Option<&[Of]>) -> Vec<Value> {
        let drawn: Vec<Of> = (0..self.count(1, 4))
            .map(|_| *self.pick(&Of::ALL))
            .collect();
        let types = types.unwrap_or(&drawn).iter();
        types
            .map(|of| Value::new(self.value(scope, *of, 2), *of))
            .collect()
    }

    fn plain_query(&mut self, from: &Relation, filter: &str, items: Vec<Value>) -> Query {
        Query {
            text: format!("SELECT {} FROM {}{filter}", list(&items), from.text),
            columns: items.iter().map(|item| item.of).collect(),
            unique: None,
            rows: from.rows,
        }
    }

    fn distinct(&mut self, from: &Relation, filter: &str, types: Option<&[Of]>) -> Query {
        self.uses("distinct");
        let items = self.items(&Scope::of(from), types);
        let made = self.plain_query(from, filter, items);
        Query {
            text: made.text.replacen("SELECT", "SELECT DISTINCT", 1),
            unique: Some((0..made.columns.len()).collect()),
            ..made
        }
    }

    /// The first row of each value in an order in which no two rows are equal.
    fn distinct_on(&mut self, from: &Relation, filter: &str, types: Option<&[Of]>) -> Query {
        let scope = Scope::of(from);
        let unique = from.unique.clone().unwrap_or_default();
        let (Some(key), false) = (self.key(&scope), unique.is_empty()) else {
            return self.distinct(from, filter, types);
        };
        self.uses("distinct on");
        self.is_pinot = false;
        let mut items = self.items(&scope, types);
        if types.is_none() {
            items.insert(0, key.clone());
        }
        let made = self.plain_query(from, filter, items);
        let word = format!("SELECT DISTINCT ON ({})", key.text);
        let mut by = vec![format!("{} {}", key.text, self.direction())];
        by.extend(
            unique
                .iter()
                .map(|text| format!("{text} {}", self.direction())),
        );
        let inner = made.text.replacen("SELECT", &word, 1);
        let (name, by) = (self.name(), by.join(", "));
        let columns: Vec<String> = (0..made.columns.len()).map(|at| format!("c{at}")).collect();
        let columns = columns.join(", ");
        Query {
            text: format!("SELECT {columns} FROM ({inner} ORDER BY {by}) AS {name}"),
            unique: types.is_none().then(|| vec![0]),
            ..made
        }
    }

    fn with_windows(&mut self, from: &Relation, filter: &str, types: Option<&[Of]>) -> Query {
        let scope = Scope::of(from);
        let rows = Rows {
            scope: &scope,
            unique: from.unique.as_deref(),
        };
        let mut items = Vec::new();
        let mut unique = None;
        if types.is_none()
            && let Some(texts) = &from.unique
        {
            let column = |text: &String| scope.own.iter().find(|column| column.text == *text);
            items.extend(texts.iter().filter_map(column).cloned());
            unique = Some((0..items.len()).collect());
        }
        let drawn: Vec<Of> = (0..self.count(1, 3))
            .map(|_| *self.pick(&[Of::Whole, Of::Whole, Of::Double, Of::Text, Of::Time]))
            .collect();
        let mut windows = 0;
        for of in types.unwrap_or(&drawn) {
            let window = self.window(&rows, *of);
            windows += usize::from(window.is_some());
            let text = window.unwrap_or_else(|| self.leaf(&scope, *of));
            items.push(Value::new(text, *of));
        }
        let mut named = String::new();
        if types.is_none() && self.chance(0.2) {
            let (clause, made) = self.named_window(&rows, 2);
            windows += made.len();
            if !made.is_empty() {
                named = clause;
                items.extend(made);
            }
        }
        if windows > 1 {
            self.uses("several windows");
        }
        let qualify = self.qualify(&rows);
        let made = self.plain_query(from, filter, items);
        Query {
            text: format!("{}{named}{qualify}", made.text),
            unique,
            ..made
        }
    }

    fn qualify(&mut self, rows: &Rows<'_>) -> String {
        if !self.chance(0.25) {
            return String::new();
        }
        let Some(window) = self.window(rows, Of::Whole) else {
            return String::new();
        };
        self.uses("qualify");
        let operator = *self.pick(&["<=", "=", ">"]);
        format!(" QUALIFY {window} {operator} {}", self.number(0, 4))
    }
}
