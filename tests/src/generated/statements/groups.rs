//! SELECT with GROUP BY, groupings and HAVING.

use super::author::{Author, Of, Query, Relation, Scope, Value};
use super::windows::Rows;

impl Author {
    /// `types`: what its columns must be; `None`: whatever they are.
    pub(super) fn grouped(&mut self, from: &Relation, filter: &str, types: Option<&[Of]>) -> Query {
        let scope = Scope::of(from);
        let keys = self.keys(&scope);
        let (clause, is_plain) = self.group_by(&keys);
        let mut made: Vec<Value> = Vec::new();
        for _ in 0..self.count(1, 3) {
            let of = *self.pick(&Of::ALL);
            let aggregate = self.aggregate(&scope, of);
            made.extend(aggregate.map(|text| Value::new(text, of)));
        }
        if made.is_empty() {
            made.push(Value::new("COUNT(*)", Of::Whole));
        }
        if !is_plain && self.chance(0.5) {
            let key = self.pick(&keys).text.clone();
            made.push(Value::new(format!("GROUPING({key})"), Of::Whole));
        }
        let groups = Scope {
            own: keys.iter().chain(&made).cloned().collect(),
            ..Scope::default()
        };
        let having = match types.is_some() && keys.is_empty() {
            // Nothing else may say that rows are grouped.
            true => self.having_alone(&groups),
            false => self.having(&groups),
        };
        let items = match types {
            Some(types) => types
                .iter()
                .map(|of| Value::new(self.value(&groups, *of, 1), *of))
                .collect(),
            None => self.items_of_groups(&groups, &keys, is_plain),
        };
        let unique = match (types, is_plain) {
            (None, true) => Some((0..keys.len()).collect()),
            _ => None,
        };
        let list = super::queries::list(&items);
        Query {
            text: format!("SELECT {list} FROM {}{filter}{clause}{having}", from.text),
            columns: items.iter().map(|item| item.of).collect(),
            unique,
            rows: (from.rows / 2.0).max(1.0),
        }
    }

    fn keys(&mut self, scope: &Scope) -> Vec<Value> {
        let mut keys: Vec<Value> = Vec::new();
        for _ in 0..self.count(0, 3) {
            let key = self.key(scope);
            keys.extend(key.filter(|key| !keys.contains(key)));
        }
        keys
    }

    /// And whether each group is there once.
    fn group_by(&mut self, keys: &[Value]) -> (String, bool) {
        if keys.is_empty() {
            return (String::new(), true);
        }
        let texts: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
        let all = texts.join(", ");
        let (kind, form) = match self.one_of(20) {
            0 | 1 => ("rollup", format!("ROLLUP ({all})")),
            2 => ("cube", format!("CUBE ({all})")),
            3 | 4 => {
                let mut sets: Vec<String> = vec![format!("({all})")];
                sets.extend(texts.iter().map(|text| format!("({text})")));
                if self.chance(0.5) {
                    sets.push("()".to_owned());
                }
                if self.chance(0.5) {
                    sets.remove(0);
                }
                (
                    "grouping sets",
                    format!("GROUPING SETS ({})", sets.join(", ")),
                )
            }
            _ => return (format!(" GROUP BY {all}"), true),
        };
        self.uses(kind);
        (format!(" GROUP BY {form}"), false)
    }

    fn having_alone(&mut self, groups: &Scope) -> String {
        self.uses("having alone");
        let least = self.number(0, 3);
        let count = format!("COUNT(*) >= {least}");
        match self.having(groups) {
            having if having.is_empty() => format!(" HAVING {count}"),
            having => format!("{having} OR {count}"),
        }
    }

    fn having(&mut self, groups: &Scope) -> String {
        if !self.chance(0.25) {
            return String::new();
        }
        self.uses("having");
        let subqueries = std::mem::take(&mut self.subqueries);
        let condition = self.condition(groups, 1);
        self.subqueries = subqueries;
        format!(" HAVING {condition}")
    }

    /// The keys first, so that they tell groups apart.
    fn items_of_groups(&mut self, groups: &Scope, keys: &[Value], is_plain: bool) -> Vec<Value> {
        let mut items = groups.own.clone();
        if self.chance(0.3) {
            let of = *self.pick(&Of::ALL);
            let subqueries = std::mem::take(&mut self.subqueries);
            items.push(Value::new(self.value(groups, of, 1), of));
            self.subqueries = subqueries;
        }
        if self.chance(0.2) {
            let texts: Vec<String> = keys.iter().map(|key| key.text.clone()).collect();
            let rows = Rows {
                scope: groups,
                unique: is_plain.then_some(&texts[..]),
            };
            let of = *self.pick(&[Of::Whole, Of::Double, Of::Text]);
            if let Some(window) = self.window(&rows, of) {
                self.uses("window over groups");
                items.push(Value::new(window, of));
            }
        }
        items
    }
}
