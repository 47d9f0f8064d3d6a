//! Window functions with every kind of frame.
//!
//! What depends on the order of equal rows is drawn only over an order in which no two are equal.

use super::author::{Author, Of, Scope, Value, either};

const DIRECTIONS: [&str; 4] = [
    "ASC NULLS FIRST",
    "ASC NULLS LAST",
    "DESC NULLS FIRST",
    "DESC NULLS LAST",
];

const EXCLUDED: [&str; 4] = ["CURRENT ROW", "GROUP", "TIES", "NO OTHERS"];

/// What a window is written over.
pub(super) struct Rows<'a> {
    pub(super) scope: &'a Scope,
    pub(super) unique: Option<&'a [String]>,
}

/// OVER (…), and what may stand before it.
struct Over {
    text: String,
    is_total: bool,
    is_ordered: bool,
    has_frame: bool,
}

impl Author {
    /// `None`: the rows have nothing of this type.
    pub(super) fn window(&mut self, rows: &Rows<'_>, of: Of) -> Option<String> {
        self.uses("window");
        let subqueries = std::mem::take(&mut self.subqueries);
        let over = self.over(rows);
        let made = self.function(rows, of, &over);
        self.subqueries = subqueries;
        made.map(|(function, tail)| match tail {
            true => {
                self.uses("ignore nulls");
                // The one says it behind the parentheses, the other within.
                let inner = function.trim_end_matches(')');
                let ours = format!("{function} IGNORE NULLS OVER ({})", over.text);
                either(
                    &ours,
                    &format!("{inner} IGNORE NULLS) OVER ({})", over.text),
                )
            }
            false => format!("{function} OVER ({})", over.text),
        })
    }

    /// The definition of a named window, and functions over it.
    pub(super) fn named_window(&mut self, rows: &Rows<'_>, count: usize) -> (String, Vec<Value>) {
        self.uses("named window");
        self.uses("window");
        let over = self.over(rows);
        let mut made = Vec::new();
        for _ in 0..count {
            let of = *self.pick(&[Of::Whole, Of::Double, Of::Text]);
            if let Some((function, false)) = self.function(rows, of, &over) {
                made.push(Value::new(format!("{function} OVER w"), of));
            }
        }
        (format!(" WINDOW w AS ({})", over.text), made)
    }

    fn over(&mut self, rows: &Rows<'_>) -> Over {
        let mut parts = Vec::new();
        if self.chance(0.5)
            && let Some(key) = self.key(rows.scope)
        {
            parts.push(format!("PARTITION BY {}", key.text));
        }
        let is_total = rows.unique.is_some() && self.chance(0.55);
        let by = self.order(rows, is_total);
        let is_ordered = !by.is_empty();
        let mut has_frame = false;
        if is_ordered {
            let order: Vec<String> = by
                .iter()
                .map(|key| format!("{} {}", key.text, self.direction()))
                .collect();
            parts.push(format!("ORDER BY {}", order.join(", ")));
            if let Some(frame) = self.frame(&by, is_total) {
                has_frame = true;
                parts.push(frame);
                if self.chance(0.2) {
                    self.uses("exclude");
                    let which = EXCLUDED[self.one_of(EXCLUDED.len())];
                    parts.push(format!("EXCLUDE {which}"));
                }
            }
        }
        Over {
            text: parts.join(" "),
            is_total,
            is_ordered,
            has_frame,
        }
    }

    fn order(&mut self, rows: &Rows<'_>, is_total: bool) -> Vec<Value> {
        let mut by = Vec::new();
        for _ in 0..self.count(0, 1) {
            by.extend(self.key(rows.scope));
        }
        if is_total {
            let unique = rows.unique.into_iter().flatten();
            let mut keys: Vec<&Value> = Vec::new();
            for text in unique {
                keys.extend(rows.scope.own.iter().find(|column| column.text == *text));
            }
            by.extend(keys.into_iter().cloned());
        }
        by
    }

    pub(super) fn direction(&mut self) -> &'static str {
        DIRECTIONS[self.one_of(DIRECTIONS.len())]
    }

    fn frame(&mut self, by: &[Value], is_total: bool) -> Option<String> {
        let one = match by {
            [one] => Some(one.of),
            _ => None,
        };
        match self.one_of(10) {
            0..4 if is_total => {
                self.uses("rows frame");
                Some(format!("ROWS {}", self.bounds("", "")))
            }
            0..7 => match one {
                Some(Of::Whole) => {
                    self.uses("range frame");
                    Some(format!("RANGE {}", self.bounds("", "")))
                }
                Some(Of::Time) => {
                    self.uses("range frame");
                    self.is_pinot = false;
                    Some(format!("RANGE {}", self.bounds("INTERVAL '", " hours'")))
                }
                _ => {
                    self.uses("range frame");
                    let bounds = *self.pick(&[
                        "BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                        "BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                        "BETWEEN CURRENT ROW AND CURRENT ROW",
                        "UNBOUNDED PRECEDING",
                    ]);
                    Some(format!("RANGE {bounds}"))
                }
            },
            7 | 8 => {
                self.uses("groups frame");
                Some(format!("GROUPS {}", self.bounds("", "")))
            }
            _ => None,
        }
    }

    fn bounds(&mut self, before: &str, behind: &str) -> String {
        let (near, far) = (self.number(0, 2), self.number(2, 5));
        let far = format!("{before}{far}{behind}");
        let near = format!("{before}{near}{behind}");
        match self.one_of(8) {
            0 => format!("BETWEEN {far} PRECEDING AND {near} PRECEDING"),
            1 => format!("BETWEEN {near} FOLLOWING AND {far} FOLLOWING"),
            2 => format!("BETWEEN {far} PRECEDING AND {near} FOLLOWING"),
            3 => format!("BETWEEN {near} PRECEDING AND CURRENT ROW"),
            4 => format!("BETWEEN CURRENT ROW AND {far} FOLLOWING"),
            5 => format!("BETWEEN UNBOUNDED PRECEDING AND {near} FOLLOWING"),
            6 => format!("BETWEEN {far} PRECEDING AND UNBOUNDED FOLLOWING"),
            _ => format!("{far} PRECEDING"),
        }
    }

    /// And whether it looks past nulls.
    fn function(&mut self, rows: &Rows<'_>, of: Of, over: &Over) -> Option<(String, bool)> {
        let scope = rows.scope;
        if over.is_total && self.chance(0.5) {
            return self.by_place(scope, of, over);
        }
        if over.is_ordered && !over.has_frame && self.chance(0.4) {
            let ranks = match of {
                Of::Whole => &["RANK()", "DENSE_RANK()"],
                Of::Double => &["PERCENT_RANK()", "CUME_DIST()"],
                _ => return self.aggregated(scope, of),
            };
            return Some(((*self.pick(ranks)).to_owned(), false));
        }
        let made = self.aggregated(scope, of);
        if !self.chance(0.15) {
            return made;
        }
        made.map(|(function, _)| {
            self.uses("window filter");
            let own = Scope {
                outer: Vec::new(),
                ..scope.clone()
            };
            let when = self.condition(&own, 1);
            (format!("{function} FILTER (WHERE {when})"), false)
        })
    }

    fn aggregated(&mut self, scope: &Scope, of: Of) -> Option<(String, bool)> {
        let of_column = |this: &mut Self, function: &str, of| {
            let column = this.column_of(&scope.own, of)?;
            Some((format!("{function}({column})"), false))
        };
        match of {
            Of::Whole => match self.one_of(4) {
                0 => Some(("COUNT(*)".to_owned(), false)),
                1 => {
                    let counted = *self.pick(&Of::ALL);
                    of_column(self, "COUNT", counted)
                }
                2 => of_column(self, "SUM", Of::Whole),
                _ => {
                    let function = *self.pick(&["MIN", "MAX"]);
                    of_column(self, function, of)
                }
            },
            Of::Double => match self.one_of(3) {
                0 => of_column(self, "AVG", Of::Whole),
                _ => of_column(self, "SUM", of),
            },
            Of::Flag => of_column(self, "BOOL_OR", of),
            Of::Text | Of::Time | Of::Day => {
                let function = *self.pick(&["MIN", "MAX"]);
                of_column(self, function, of)
            }
        }
    }

    /// What depends on which row comes where.
    fn by_place(&mut self, scope: &Scope, of: Of, over: &Over) -> Option<(String, bool)> {
        if of == Of::Whole && !over.has_frame && self.chance(0.4) {
            let counted = *self.pick(&["ROW_NUMBER()", "NTILE(3)", "ROW_NUMBER()"]);
            return Some((counted.to_owned(), false));
        }
        let column = self.column_of(&scope.own, of)?;
        let looks_past = self.chance(0.25);
        let function = match self.one_of(7) {
            0 | 1 if !over.has_frame => format!("LAG({column})"),
            2 if !over.has_frame => format!("LEAD({column}, 2)"),
            3 if !over.has_frame => {
                let literal = self.literal(of);
                return Some((format!("LAG({column}, 1, {literal})"), false));
            }
            4 => format!("LAST_VALUE({column})"),
            5 => return Some((format!("NTH_VALUE({column}, 2)"), false)),
            _ => format!("FIRST_VALUE({column})"),
        };
        Some((function, looks_past))
    }
}
