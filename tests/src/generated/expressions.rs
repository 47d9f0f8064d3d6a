//! Predicates, keys and aggregates over a drawn table, in our words and in DuckDB's.
//!
//! Shapes come from one source of chance and literals from another: the same shape can be drawn
//! again with other literals.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use super::table::{Column, Table, Type};
use super::values::SPOKEN;

/// The same expression for us and for DuckDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Both {
    pub(super) ours: String,
    pub(super) duck: String,
}

impl Both {
    pub(super) fn same(text: impl Into<String>) -> Self {
        let ours = text.into();
        let duck = ours.clone();
        Self { ours, duck }
    }

    fn map(&self, of: impl Fn(&str) -> String) -> Self {
        Self {
            ours: of(&self.ours),
            duck: of(&self.duck),
        }
    }

    fn with(&self, other: &Self, of: impl Fn(&str, &str) -> String) -> Self {
        Self {
            ours: of(&self.ours, &other.ours),
            duck: of(&self.duck, &other.duck),
        }
    }
}

/// What is drawn from: a table and two sources of chance.
pub(super) struct Draw<'a> {
    pub(super) table: &'a Table,
    pub(super) shape: &'a mut SmallRng,
    pub(super) literals: &'a mut SmallRng,
}

pub(super) fn literal(value: &Value, data_type: Type) -> String {
    match (value, data_type) {
        (Value::Number(number), Type::Timestamp) => {
            let ms = number.as_i64().unwrap_or(0);
            let (days, second) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1000);
            let (year, month, day) = civil(days);
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            format!("TIMESTAMP '{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}'")
        }
        (Value::Number(number), Type::Float | Type::Double) => {
            format!("{:e}", number.as_f64().unwrap_or(0.0))
        }
        (Value::String(text), Type::Float | Type::Double) => format!("CAST('{text}' AS DOUBLE)"),
        (Value::String(text), Type::Decimal) => text.clone(),
        (Value::String(text), Type::Bytes) => format!("X'{text}'"),
        (Value::String(text), _) => format!("'{}'", text.replace('\'', "''")),
        (other, _) => other.to_string(),
    }
}

/// Year, month and day of a day since 1970-01-01: days of the years from 0000-03-01, in which leap
/// days come last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * march + 2) / 5 + 1)
}

impl Draw<'_> {
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.shape.random_bool(share)
    }

    pub(super) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        from.choose(self.shape).expect("there is something to pick")
    }

    /// A column of those that `fits` likes.
    pub(super) fn column(&mut self, fits: impl Fn(&Column) -> bool) -> Option<usize> {
        let columns = self.table.columns.iter().enumerate();
        let fitting = columns.filter(|(_, column)| fits(column));
        let fitting: Vec<usize> = fitting.map(|(at, _)| at).collect();
        fitting.choose(self.shape).copied()
    }

    fn of(&self, column: usize) -> &Column {
        &self.table.columns[column]
    }

    fn literal(&mut self, column: usize) -> String {
        let value = self.table.sample(column, self.literals);
        literal(&value, self.of(column).data_type)
    }

    pub(super) fn predicate(&mut self, depth: u32) -> Both {
        if depth > 0 && self.chance(0.45) {
            let (a, b) = (self.predicate(depth - 1), self.predicate(depth - 1));
            return match self.shape.random_range(0..5) {
                0 | 1 => a.with(&b, |a, b| format!("({a} AND {b})")),
                2 | 3 => a.with(&b, |a, b| format!("({a} OR {b})")),
                _ => a.map(|a| format!("NOT ({a})")),
            };
        }
        let Some(column) = self.column(|column| !column.is_multi()) else {
            return Both::same("true");
        };
        self.leaf(column)
    }

    pub(super) fn leaf(&mut self, column: usize) -> Both {
        let name = self.of(column).name;
        if self.chance(0.08) {
            // Where nulls are defaults, only Pinot's dialect tells all the same what is missing.
            let (is, missing) = *self.pick(&[("IS NULL", ""), ("IS NOT NULL", "NOT ")]);
            return Both {
                ours: format!("{name} {is}"),
                duck: format!("{missing}{name}__missing"),
            };
        }
        if self.chance(0.06) {
            let data_type = self.of(column).data_type;
            let like = |other: &Column| other.data_type == data_type && other.name != name;
            if let Some(other) = self.column(like) {
                let operator = *self.pick(&["=", "<", "<>", ">="]);
                return Both::same(format!("{name} {operator} {}", self.of(other).name));
            }
        }
        match self.of(column).data_type {
            Type::Boolean => self.of_flag(name),
            Type::String => self.of_text(column, name),
            Type::Timestamp => self.of_time(column, name),
            Type::Decimal | Type::Bytes | Type::Uuid => self.comparison(column, name),
            _ => self.of_number(column, name),
        }
    }

    fn of_flag(&mut self, name: &str) -> Both {
        let forms = ["{}", "NOT {}", "{} = true", "{} = false", "{} <> true"];
        Both::same(self.pick(&forms).replace("{}", name))
    }

    fn comparison(&mut self, column: usize, name: &str) -> Both {
        let value = self.literal(column);
        Both::same(match self.shape.random_range(0..8) {
            0..5 => {
                let operator = self.pick(&["=", "=", "<>", "<", "<=", ">", ">="]);
                format!("{name} {operator} {value}")
            }
            5 => {
                let other = self.literal(column);
                format!("{name} BETWEEN {value} AND {other}")
            }
            _ => {
                let count = *self.pick(&[1, 2, 5, 40, 300]);
                let values: Vec<String> = (0..count).map(|_| self.literal(column)).collect();
                let is = self.pick(&["IN", "IN", "NOT IN"]);
                format!("{name} {is} ({})", values.join(", "))
            }
        })
    }

    /// A search of words, or of a document, and the same by patterns.
    fn searched(&mut self, name: &str) -> Both {
        let words = [(); 2].map(|()| SPOKEN[self.literals.random_range(0..SPOKEN.len())]);
        let [a, b] = words;
        let says = |word: &str| format!("list_contains(string_split({name}, ' '), '{word}')");
        let holds = |part: String| format!("{name} LIKE '%{part}%'");
        let least = self.literals.random_range(0..50);
        let number = format!("CAST(regexp_extract({name}, '\"n\":([0-9]+)', 1) AS INTEGER)");
        let text = |query: String| format!("TEXT_MATCH({name}, '{query}')");
        let json = |filter: String| format!("JSON_MATCH({name}, '{filter}')");
        let (ours, duck) = match (name, self.shape.random_range(0..5)) {
            ("body", 0) => (text(a.to_owned()), says(a)),
            ("body", 1) => (
                text(format!("{a} AND {b}")),
                format!("({} AND {})", says(a), says(b)),
            ),
            ("body", 2) => (
                text(format!("{a} {b}")),
                format!("({} OR {})", says(a), says(b)),
            ),
            ("body", 3) => {
                let phrase = format!("concat(' ', {name}, ' ') LIKE '% {a} {b} %'");
                (text(format!("\"{a} {b}\"")), phrase)
            }
            ("body", _) => {
                let begin = format!("concat(' ', {name}) LIKE '% {}%'", &a[..2]);
                (text(format!("{}*", &a[..2])), begin)
            }
            (_, 0) => (
                json(format!("\"$.k\" = ''{a}''")),
                holds(format!("\"k\":\"{a}\"")),
            ),
            (_, 1) => (
                json(format!("\"$.n\" > {least}")),
                format!("{number} > {least}"),
            ),
            (_, 2) => {
                let tagged = holds(format!("\"tags\":[%\"{a}\""));
                (json(format!("\"$.tags[*]\" = ''{a}''")), tagged)
            }
            (_, 3) => {
                let both = json(format!("\"$.k\" <> ''{a}'' AND \"$.n\" <= {least}"));
                let other = holds(format!("\"k\":\"{a}\""));
                (both, format!("(NOT {other} AND {number} <= {least})"))
            }
            _ => {
                let ours = format!("json_extract_scalar({name}, '$.n', 'INT') = {least}");
                (ours, format!("{number} = {least}"))
            }
        };
        Both { ours, duck }
    }

    fn of_text(&mut self, column: usize, name: &str) -> Both {
        if matches!(name, "body" | "doc") && self.chance(0.7) {
            return self.searched(name);
        }
        let value = self.table.sample(column, self.literals);
        let text = value.as_str().unwrap_or_default();
        let chars: Vec<char> = text.chars().filter(|c| !"%_\\".contains(*c)).collect();
        let from = self.literals.random_range(0..=chars.len() / 2);
        let until = self.literals.random_range(from..=chars.len());
        let part: String = chars[from..until].iter().collect();
        let part = part.replace('\'', "''");
        match self.shape.random_range(0..14) {
            0..6 => self.comparison(column, name),
            6 => Both::same(format!("{name} LIKE '%{part}%'")),
            7 => Both::same(format!("{name} LIKE '{part}%'")),
            8 => Both::same(format!("{name} NOT LIKE '%{part}'")),
            9 => Both::same(format!("length({name}) > {}", chars.len())),
            10 => Both::same(format!("left({name}, 5) = '{part}'")),
            11 => {
                let pattern = "[a-c]+.*[0-9]$";
                Both {
                    ours: format!("regexp_like({name}, '{pattern}')"),
                    duck: format!("regexp_matches({name}, '{pattern}')"),
                }
            }
            12 => Both::same(format!("coalesce({name}, 'none') <> '{part}'")),
            _ => {
                let other = self.literal(column);
                let value = literal(&value, Type::String);
                let form = "CASE WHEN {} = {a} THEN 1 WHEN {} > {b} THEN 2 ELSE 3 END < 3";
                let form = form.replace("{}", name).replace("{a}", &value);
                Both::same(form.replace("{b}", &other))
            }
        }
    }

    fn of_time(&mut self, column: usize, name: &str) -> Both {
        match self.shape.random_range(0..8) {
            0..5 => self.comparison(column, name),
            5 => {
                let hour = self.literals.random_range(0..24);
                Both::same(format!("extract(hour FROM {name}) = {hour}"))
            }
            6 => {
                let unit = *self.pick(&["day", "hour", "week", "month"]);
                let value = self.literal(column);
                Both::same(format!(
                    "date_trunc('{unit}', {name}) = date_trunc('{unit}', {value})"
                ))
            }
            _ => {
                let (low, high) = (self.literal(column), self.literal(column));
                Both::same(format!("{name} >= {low} AND {name} < {high}"))
            }
        }
    }

    fn of_number(&mut self, column: usize, name: &str) -> Both {
        let (whole, adds_up) = (self.of(column).is_whole(), self.of(column).adds_up);
        match self.shape.random_range(0..10) {
            7 if whole && adds_up => {
                let (by, rest) = (*self.pick(&[2, 7, 10]), self.literals.random_range(0..7));
                Both::same(format!("{name} % {by} = {rest}"))
            }
            8 if adds_up => {
                let value = self.literal(column);
                Both::same(format!("{name} * 2 + 1 > {value}"))
            }
            9 if whole => {
                let value = self.literal(column);
                Both::same(format!("CAST({name} AS DOUBLE) <= {value}"))
            }
            _ => self.comparison(column, name),
        }
    }

    /// A predicate on a column with several values a row, one of which is enough.
    pub(super) fn any_entry(&mut self) -> Both {
        let Some(column) = self.column(Column::is_multi) else {
            return Both::same("true");
        };
        let name = self.of(column).name;
        let (a, b) = (self.literal(column), self.literal(column));
        let (ours, duck) = match self.shape.random_range(0..6) {
            0 | 1 => (
                format!("{name} = {a}"),
                format!("list_contains({name}, {a})"),
            ),
            2 => (
                format!("{name} <> {a}"),
                format!("NOT list_contains({name}, {a})"),
            ),
            3 => (
                format!("{name} IN ({a}, {b})"),
                format!("list_has_any({name}, [{a}, {b}])"),
            ),
            4 => (
                format!("{name} NOT IN ({a}, {b})"),
                format!("NOT list_has_any({name}, [{a}, {b}])"),
            ),
            _ => (
                format!("{name} > {a}"),
                format!("len(list_filter({name}, x -> x > {a})) > 0"),
            ),
        };
        let own = Both { ours, duck };
        if self.chance(0.4) {
            let other = self.predicate(0);
            return own.with(&other, |a, b| format!("({a} AND {b})"));
        }
        own
    }

    /// An expression to group by.
    pub(super) fn key(&mut self) -> Both {
        let plain = |column: &Column| column.is_plain() && column.groups;
        let column = if self.chance(0.15) {
            self.column(Column::is_plain)
        } else {
            self.column(plain)
        };
        let Some(column) = column else {
            return Both::same("id % 7");
        };
        let name = self.of(column).name;
        if self.chance(0.7) {
            return Both::same(name);
        }
        match self.of(column).data_type {
            Type::String => match self.shape.random_range(0..4) {
                0 => Both::same(format!("substr({name}, 1, 2)")),
                1 => Both::same(format!("length({name})")),
                2 => Both::same(format!("coalesce({name}, 'none')")),
                _ => self.case(column, name),
            },
            Type::Timestamp => {
                let unit = *self.pick(&["hour", "day", "week", "month"]);
                Both::same(format!("date_trunc('{unit}', {name})"))
            }
            Type::Int | Type::Long if self.of(column).adds_up => {
                match self.shape.random_range(0..3) {
                    0 => Both::same(format!("{name} % 10")),
                    1 => Both::same(format!("{name} + 1")),
                    _ => self.case(column, name),
                }
            }
            Type::Boolean => Both::same(format!("NOT {name}")),
            _ => Both::same("extract(day FROM ts)"),
        }
    }

    fn case(&mut self, column: usize, name: &str) -> Both {
        let (a, b) = (self.literal(column), self.literal(column));
        let with = |missing: &str| {
            format!(
                "CASE WHEN {name} < {a} THEN 'low' WHEN {missing} THEN 'none' \
                 WHEN {name} = {b} THEN 'one' ELSE 'high' END"
            )
        };
        Both {
            ours: with(&format!("{name} IS NULL")),
            duck: with(&format!("{name}__missing")),
        }
    }

    pub(super) fn aggregate(&mut self) -> Both {
        let any = |column: &Column| !column.is_multi();
        let one = self.column(any).map_or("id", |at| self.of(at).name);
        let first = self.column(|column| !column.is_multi() && column.data_type != Type::Decimal);
        let first = first.map_or("id", |at| self.of(at).name);
        let least = self.column(|column| column.is_plain() && !column.has_nan());
        let least = least.map_or("id", |at| self.of(at).name);
        let sum = self.column(|column| column.adds_up);
        let sum = sum.map_or("id", |at| self.of(at).name);
        let other = self.column(|column| column.adds_up);
        let other = other.map_or("id", |at| self.of(at).name);
        let plain = match self.shape.random_range(0..23) {
            0..4 => Both::same("count(*)"),
            4 | 5 => Both::same(format!("count({one})")),
            6..9 => Both::same(format!("sum({sum})")),
            9 | 10 => Both::same(format!("avg({sum})")),
            11 => Both::same(format!("min({least})")),
            12 => Both::same(format!("max({least})")),
            13 | 14 => Both::same(format!("count(DISTINCT {one})")),
            15 => Both::same(format!("sum({sum} * 2 + 1)")),
            16 => Both::same(format!("max({sum}) - min({sum})")),
            17 => {
                let when = self.predicate(0);
                let value = if self.chance(0.5) { "1" } else { sum };
                when.map(|when| format!("sum(CASE WHEN {when} THEN {value} ELSE 0 END)"))
            }
            18 => Both::same(format!("sum(coalesce({sum}, 3))")),
            20 => Both {
                ours: format!("first_value({first} ORDER BY id)"),
                duck: format!("first({first} ORDER BY id)"),
            },
            21 => Both {
                ours: format!("array_length(array_agg({one}))"),
                duck: format!("len(list({one}))"),
            },
            22 => Both::same(format!("regr_count({sum}, {other})")),
            _ => Both::same("count(1)"),
        };
        let is_one_call = plain.ours.ends_with(')')
            && !plain.ours.contains(" - ")
            && !plain.ours.starts_with("array_length");
        if is_one_call && self.chance(0.12) {
            let when = self.predicate(1);
            return plain.with(&when, |plain, when| {
                format!("{plain} FILTER (WHERE {when})")
            });
        }
        plain
    }
}
