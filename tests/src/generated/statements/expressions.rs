//! Values and aggregates of each type.

use super::author::{Author, Of, Scope, Value};

impl Author {
    /// A column of the type, or a literal.
    pub(super) fn leaf(&mut self, scope: &Scope, of: Of) -> String {
        if self.chance(0.12) {
            return self.literal(of);
        }
        match self.column(scope, of) {
            Some(column) => column,
            None if of == Of::Day => self.day(scope),
            None => self.literal(of),
        }
    }

    fn day(&mut self, scope: &Scope) -> String {
        match self.column(scope, Of::Time) {
            Some(time) => {
                self.uses("date");
                format!("CAST({time} AS DATE)")
            }
            None => self.literal(Of::Day),
        }
    }

    pub(super) fn value(&mut self, scope: &Scope, of: Of, depth: u32) -> String {
        if depth == 0 || self.chance(0.45) {
            return self.leaf(scope, of);
        }
        match self.one_of(8) {
            0 => self.case(scope, of, depth - 1),
            1 => {
                self.uses("coalesce");
                let (one, other) = (self.value(scope, of, depth - 1), self.leaf(scope, of));
                format!("COALESCE({one}, {other})")
            }
            2 if of != Of::Flag => {
                let (one, other) = (self.value(scope, of, depth - 1), self.leaf(scope, of));
                format!("NULLIF({one}, {other})")
            }
            3 if self.subqueries > 0 && self.chance(0.4) => self.scalar_subquery(scope, of),
            _ => self.own_value(scope, of, depth - 1),
        }
    }

    fn case(&mut self, scope: &Scope, of: Of, depth: u32) -> String {
        self.uses("case");
        let when = self.condition(scope, depth.min(1));
        let (one, other) = (self.value(scope, of, depth), self.value(scope, of, depth));
        if self.chance(0.25) {
            // A literal alone has no type that both sides agree on.
            let typed = self.column(scope, of);
            return match typed {
                Some(typed) => format!("CASE WHEN {when} THEN {typed} END"),
                None => format!("CASE WHEN {when} THEN {one} ELSE {other} END"),
            };
        }
        if self.chance(0.25)
            && let Some(what) = self.column(scope, Of::Whole)
        {
            let (a, b) = (self.literal(Of::Whole), self.literal(Of::Whole));
            return format!("CASE {what} WHEN {a} THEN {one} WHEN {b} THEN {one} ELSE {other} END");
        }
        format!("CASE WHEN {when} THEN {one} ELSE {other} END")
    }

    fn own_value(&mut self, scope: &Scope, of: Of, depth: u32) -> String {
        match of {
            Of::Whole => self.whole(scope, depth),
            Of::Double => self.double(scope, depth),
            Of::Text => self.text(scope, depth),
            Of::Flag => format!("({})", self.condition(scope, depth)),
            Of::Time => self.time(scope),
            Of::Day => self.day(scope),
        }
    }

    fn whole(&mut self, scope: &Scope, depth: u32) -> String {
        let of = Of::Whole;
        match self.one_of(10) {
            0 => {
                let text = self.value(scope, Of::Text, depth);
                format!("LENGTH({text})")
            }
            8 => {
                self.is_pinot = false;
                let function = *self.pick(&["GREATEST", "LEAST"]);
                let (one, other) = (self.value(scope, of, depth), self.leaf(scope, of));
                format!("{function}({one}, {other})")
            }
            9 => {
                self.is_pinot = false;
                let (text, part) = (self.leaf(scope, Of::Text), self.literal(Of::Text));
                match self.one_of(3) {
                    0 => format!("STRPOS({text}, {part})"),
                    1 => format!("POSITION({part} IN {text})"),
                    _ => format!("SIGN({})", self.leaf(scope, of)),
                }
            }
            1 => format!("ABS({})", self.value(scope, of, depth)),
            2 => format!("({} % 5)", self.value(scope, of, depth)),
            3 => {
                self.uses("cast");
                let flag = self.leaf(scope, Of::Flag);
                format!("CAST({flag} AS INTEGER)")
            }
            4 => {
                self.uses("date");
                self.is_pinot = false;
                let time = self.leaf(scope, Of::Time);
                let part = *self.pick(&["HOUR", "DAY", "DOW", "MONTH", "DOY", "WEEK", "QUARTER"]);
                format!("EXTRACT({part} FROM {time})")
            }
            _ => {
                let operator = *self.pick(&["+", "-", "+", "*"]);
                let (one, other) = (self.value(scope, of, depth), self.leaf(scope, of));
                format!("({one} {operator} {other})")
            }
        }
    }

    fn double(&mut self, scope: &Scope, depth: u32) -> String {
        let of = Of::Double;
        match self.one_of(6) {
            0 => {
                self.uses("cast");
                let whole = self.value(scope, Of::Whole, depth);
                format!("CAST({whole} AS DOUBLE)")
            }
            4 => {
                self.is_pinot = false;
                let function = *self.pick(&["FLOOR", "CEIL", "ROUND", "ABS", "TRUNC"]);
                format!("{function}({})", self.value(scope, of, depth))
            }
            5 => {
                self.is_pinot = false;
                let function = *self.pick(&["GREATEST", "LEAST"]);
                let (one, other) = (self.value(scope, of, depth), self.leaf(scope, of));
                format!("{function}({one}, {other})")
            }
            1 => {
                let one = self.value(scope, of, depth);
                format!("({one} / 4e0)")
            }
            _ => {
                let operator = *self.pick(&["+", "-"]);
                let (one, other) = (self.value(scope, of, depth), self.leaf(scope, of));
                format!("({one} {operator} {other})")
            }
        }
    }

    fn text(&mut self, scope: &Scope, depth: u32) -> String {
        let one = self.value(scope, Of::Text, depth);
        match self.one_of(9) {
            6 => {
                self.is_pinot = false;
                let function = *self.pick(&["REVERSE", "TRIM", "LTRIM", "RTRIM"]);
                format!("{function}({one})")
            }
            7 => {
                self.is_pinot = false;
                let count = self.number(0, 4);
                let function = *self.pick(&["LEFT", "RIGHT"]);
                format!("{function}({one}, {count})")
            }
            8 => {
                self.is_pinot = false;
                let other = self.leaf(scope, Of::Text);
                match self.one_of(3) {
                    0 => format!("CONCAT({one}, {other})"),
                    1 => format!("CONCAT_WS('+', {one}, {other})"),
                    _ => format!("LPAD({one}, 5, 'xy')"),
                }
            }
            0 => format!("UPPER({one})"),
            1 => format!("LOWER({one})"),
            2 => {
                self.is_pinot = false;
                format!("SUBSTR({one}, 1, 2)")
            }
            3 => {
                let other = self.leaf(scope, Of::Text);
                format!("({one} || '-' || {other})")
            }
            4 => {
                self.is_pinot = false;
                format!("REPLACE({one}, 'a', 'xy')")
            }
            _ => {
                self.uses("cast");
                let whole = self.leaf(scope, Of::Whole);
                format!("CAST({whole} AS VARCHAR)")
            }
        }
    }

    fn time(&mut self, scope: &Scope) -> String {
        self.uses("date");
        self.is_pinot = false;
        let time = match self.column(scope, Of::Time) {
            Some(time) => time,
            None => return self.literal(Of::Time),
        };
        match self.one_of(4) {
            0 => format!("({time} + INTERVAL '1 day')"),
            1 => format!("({time} - INTERVAL '36 hours')"),
            2 => format!("({time} + INTERVAL '1 month')"),
            _ => {
                let unit = *self.pick(&["day", "hour", "week", "month"]);
                // DuckDB makes a date of it.
                format!("CAST(DATE_TRUNC('{unit}', {time}) AS TIMESTAMP)")
            }
        }
    }

    /// With a column in it: a constant says something else to GROUP BY and ORDER BY.
    pub(super) fn key(&mut self, scope: &Scope) -> Option<Value> {
        let of = *self.pick(&Of::ALL);
        let column = self.column_of(&scope.own, of)?;
        let text = match (of, self.one_of(4)) {
            (Of::Whole, 0) => format!("({column} % 3)"),
            (Of::Whole, 1) => {
                self.uses("coalesce");
                format!("COALESCE({column}, -1)")
            }
            (Of::Text, 0) => format!("UPPER({column})"),
            (Of::Text, 1) => format!("LENGTH({column})"),
            (Of::Time, 0..3) => {
                self.uses("date");
                format!("CAST({column} AS DATE)")
            }
            _ => column,
        };
        let of = match of {
            Of::Text if text.starts_with("LENGTH") => Of::Whole,
            Of::Time if text.starts_with("CAST") => Of::Day,
            of => of,
        };
        Some(Value::new(text, of))
    }

    pub(super) fn aggregate(&mut self, scope: &Scope, of: Of) -> Option<String> {
        let subqueries = std::mem::take(&mut self.subqueries);
        let made = self.plain_aggregate(scope, of);
        let made = made.map(|made| {
            if !self.chance(0.12) {
                return made;
            }
            self.uses("filter clause");
            let when = self.condition(scope, 1);
            format!("{made} FILTER (WHERE {when})")
        });
        self.subqueries = subqueries;
        made
    }

    fn plain_aggregate(&mut self, scope: &Scope, of: Of) -> Option<String> {
        let own = Scope {
            outer: Vec::new(),
            ..scope.clone()
        };
        Some(match of {
            Of::Whole => match self.one_of(8) {
                0 | 1 => "COUNT(*)".to_owned(),
                2 => {
                    let counted = *self.pick(&Of::ALL);
                    format!("COUNT({})", self.column(&own, counted)?)
                }
                3 => {
                    let counted = *self.pick(&[Of::Whole, Of::Text, Of::Double]);
                    format!("COUNT(DISTINCT {})", self.column(&own, counted)?)
                }
                4 if self.chance(0.3) => {
                    self.uses("distinct sum");
                    format!("SUM(DISTINCT {})", self.column(&own, of)?)
                }
                4 => {
                    self.uses("case");
                    let when = self.condition(&own, 1);
                    format!("SUM(CASE WHEN {when} THEN 1 ELSE 0 END)")
                }
                5 => format!("MIN({})", self.column(&own, of)?),
                6 => format!("MAX({})", self.value(&own, of, 1)),
                _ => format!("SUM({})", self.value(&own, of, 1)),
            },
            Of::Text if self.chance(0.25) => {
                self.uses("string aggregate");
                self.is_pinot = false;
                let column = self.column(&own, of)?;
                format!("STRING_AGG({column}, '|' ORDER BY {column})")
            }
            Of::Double => match self.one_of(3) {
                0 => format!("AVG({})", self.column(&own, Of::Whole)?),
                1 => format!("SUM({})", self.value(&own, of, 1)),
                _ => format!("MIN({})", self.value(&own, of, 1)),
            },
            Of::Flag => {
                let function = *self.pick(&["BOOL_OR", "BOOL_AND"]);
                format!("{function}({})", self.column(&own, of)?)
            }
            Of::Text | Of::Time | Of::Day => {
                let function = *self.pick(&["MIN", "MAX"]);
                format!("{function}({})", self.value(&own, of, 1))
            }
        })
    }
}
