//! What stands in FROM alone: tables, subqueries, queries of WITH, VALUES.

use super::author::{Author, Of, Query, Relation, Value};
use super::tables::TABLES;

/// Columns of each table but for its list.
const COLUMNS: [(&str, Of); 9] = [
    ("id", Of::Whole),
    ("ts", Of::Time),
    ("k", Of::Whole),
    ("j", Of::Whole),
    ("s", Of::Text),
    ("x", Of::Whole),
    ("v", Of::Double),
    ("f", Of::Flag),
    ("seen", Of::Time),
];

impl Author {
    pub(super) fn source(&mut self, depth: u32) -> Relation {
        match self.one_of(100) {
            0..18 if depth > 0 => {
                let query = self.query(None, depth - 1);
                self.derived(&query)
            }
            18..26 if !self.known.is_empty() => self.of_with(),
            26..32 => self.rows_in_place(),
            _ => self.table(),
        }
    }

    pub(super) fn table(&mut self) -> Relation {
        let table = self.pick(&TABLES);
        let name = self.name();
        let columns = COLUMNS.map(|(column, of)| Value::new(format!("{name}.{column}"), of));
        Relation {
            text: format!("{{{}}} AS {name}", table.name),
            columns: columns.to_vec(),
            lists: vec![format!("{name}.tags")],
            unique: Some(vec![format!("{name}.id")]),
            rows: table.rows as f64,
        }
    }

    pub(super) fn derived(&mut self, query: &Query) -> Relation {
        let name = self.name();
        named(query, &name, format!("({}) AS {name}", query.text))
    }

    /// A query of WITH, named anew: it may be there twice.
    pub(super) fn of_with(&mut self) -> Relation {
        let known = self.known.clone();
        let known = self.pick(&known);
        let name = self.name();
        let moved = |text: &String| match text.split_once('.') {
            Some((_, column)) => format!("{name}.{column}"),
            None => text.clone(),
        };
        Relation {
            text: format!("{} AS {name}", known.text),
            columns: known
                .columns
                .iter()
                .map(|column| Value::new(moved(&column.text), column.of))
                .collect(),
            lists: Vec::new(),
            unique: known
                .unique
                .as_ref()
                .map(|unique| unique.iter().map(moved).collect()),
            rows: known.rows,
        }
    }

    fn rows_in_place(&mut self) -> Relation {
        self.uses("values");
        let name = self.name();
        let rows: Vec<String> = (0..self.count(1, 5))
            .map(|row| {
                let key = match row > 0 && self.chance(0.2) {
                    true => "NULL".to_owned(),
                    false => self.literal(Of::Whole),
                };
                let word = self.literal(Of::Text);
                format!("({key}, {word})")
            })
            .collect();
        Relation {
            text: format!("(VALUES {}) AS {name}(c0, c1)", rows.join(", ")),
            rows: rows.len() as f64,
            columns: vec![
                Value::new(format!("{name}.c0"), Of::Whole),
                Value::new(format!("{name}.c1"), Of::Text),
            ],
            lists: Vec::new(),
            unique: None,
        }
    }
}

/// The columns of the query under a name.
pub(super) fn named(query: &Query, name: &str, text: String) -> Relation {
    let columns = query.columns.iter().enumerate();
    let column = |at: &usize| format!("{name}.c{at}");
    Relation {
        text,
        columns: columns
            .map(|(at, of)| Value::new(column(&at), *of))
            .collect(),
        lists: Vec::new(),
        unique: query
            .unique
            .as_ref()
            .map(|unique| unique.iter().map(column).collect()),
        rows: query.rows,
    }
}
