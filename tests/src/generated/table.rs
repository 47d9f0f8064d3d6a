//! A table drawn from a seed: its columns, their values, and what queries may do with them.
//!
//! Values are such that right answers are equal to the last digit: doubles that are summed are
//! multiples of 1/8 and small, whole numbers that are summed cannot overflow.

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

/// Days of the time column, from 2024-01-01.
const DAYS: i64 = 40;
const FIRST_MS: i64 = 1_704_067_200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Timestamp,
    String,
    /// Several values a row.
    Strings,
    Ints,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: &'static str,
    pub data_type: Type,
    pub is_metric: bool,
    pub null_share: f64,
    /// Sums of it are exact.
    pub adds_up: bool,
    /// So few values that it makes groups.
    pub groups: bool,
    values: Values,
}

#[derive(Clone, Copy, Debug)]
enum Values {
    RowNumber,
    Flag,
    Words(&'static [&'static str]),
    /// Of so many names, the first ones most often.
    Named(&'static str, u64),
    Long,
    Between(i64, i64),
    Skewed(i64),
    Random,
    Extreme32,
    Extreme64,
    Cents(f64),
    Eighths(i64),
    AnyDouble,
    Time,
    /// Of some of [`SPOKEN`], each a word for a text index.
    Sentence,
    /// With a word `k`, a number `n` and words `tags`, for a JSON index.
    Document,
    Tags(u64),
    Numbers(i64),
}

const WORDS: &[&str] = &["", "a", "A", "äpfel", "日本", "null", "x y", "it's", "z%_"];
/// No word is left out by analyzers, nor the begin of another.
pub const SPOKEN: &[&str] = &["alpha", "beta", "gamma", "delta", "omega", "query", "rust"];
const FEW: &[&str] = &["red", "green", "blue"];

macro_rules! column {
    ($name:literal, $type:ident, $values:expr, $nulls:literal $(, $flag:ident)*) => {
        Column {
            name: $name,
            data_type: Type::$type,
            null_share: $nulls,
            values: $values,
            $($flag: true,)*
            ..NO_FLAGS
        }
    };
}

const NO_FLAGS: Column = Column {
    name: "",
    data_type: Type::Int,
    is_metric: false,
    null_share: 0.0,
    adds_up: false,
    groups: false,
    values: Values::RowNumber,
};

/// In every table: a key of each row, and its time.
const ALWAYS: &[Column] = &[
    column!("id", Long, Values::RowNumber, 0.0, adds_up),
    column!("ts", Timestamp, Values::Time, 0.0),
];

const SOMETIMES: &[Column] = &[
    column!("word", String, Values::Words(WORDS), 0.05, groups),
    column!("color", String, Values::Words(FEW), 0.0, groups),
    column!("city", String, Values::Named("city of", 60), 0.0, groups),
    column!("shop", String, Values::Named("the shop", 700), 0.1, groups),
    column!("url", String, Values::Long, 0.02),
    column!("body", String, Values::Sentence, 0.0),
    column!("doc", String, Values::Document, 0.0),
    column!("same", String, Values::Words(&["constant"]), 0.0, groups),
    column!("empty", String, Values::Words(&["never"]), 0.97, groups),
    column!("flag", Boolean, Values::Flag, 0.0, groups),
    column!("maybe", Boolean, Values::Flag, 0.3, groups),
    column!("code", Int, Values::Skewed(40), 0.0, adds_up, groups),
    column!("late", Int, Values::Between(-60, 400), 0.2, adds_up, groups),
    column!("port", Int, Values::Between(0, 70_000), 0.0, adds_up),
    column!("edge", Int, Values::Extreme32, 0.1),
    column!("level", Int, Values::Between(7, 7), 0.0, adds_up, groups),
    column!("visitor", Long, Values::Random, 0.0),
    column!(
        "bytes",
        Long,
        Values::Skewed(5_000_000_000),
        0.0,
        adds_up,
        is_metric
    ),
    column!(
        "part",
        Long,
        Values::Between(100, 130),
        0.0,
        adds_up,
        groups
    ),
    column!("limit64", Long, Values::Extreme64, 0.1),
    column!(
        "price",
        Double,
        Values::Eighths(4_000),
        0.0,
        adds_up,
        is_metric
    ),
    column!("rare", Double, Values::Cents(0.03), 0.0, is_metric),
    column!("ratio", Float, Values::Eighths(80), 0.1, adds_up, groups),
    column!("wild", Double, Values::AnyDouble, 0.1),
    column!("seen", Timestamp, Values::Time, 0.3),
    column!("tags", Strings, Values::Tags(30), 0.1),
    column!("marks", Ints, Values::Numbers(12), 0.0),
];

/// Of missing values, where null handling is off. DuckDB has a table with these in their place.
pub fn default_of(column: &Column) -> Value {
    match column.data_type {
        Type::Boolean => json!(false),
        Type::Int | Type::Long if column.is_metric => json!(0),
        Type::Int | Type::Ints => json!(i32::MIN),
        // Sums of the usual default would overflow.
        Type::Long => json!(-7),
        Type::Float | Type::Double if column.is_metric => json!(0.0),
        Type::Float | Type::Double => json!(-1.0),
        Type::Timestamp => json!(0),
        Type::String | Type::Strings => json!("null"),
    }
}

#[derive(Debug)]
pub struct Table {
    pub columns: Vec<Column>,
    /// Each in the order of `columns`.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    pub fn draw(random: &mut SmallRng, rows: usize, multi_values: bool) -> Self {
        let mut columns = ALWAYS.to_vec();
        columns.extend(
            SOMETIMES
                .iter()
                .filter(|_| random.random_bool(0.6))
                .cloned(),
        );
        columns.retain(|column| multi_values || !column.is_multi());
        let rows = (0..rows).map(|row| {
            let cells = columns.iter().map(|column| column.draw(random, row));
            cells.collect()
        });
        let rows = rows.collect();
        Self { columns, rows }
    }

    /// Columns that star-trees are made of.
    pub fn dimensions(&self) -> impl Iterator<Item = &Column> {
        let fits = |column: &&Column| column.groups && !column.is_multi();
        let columns = self.columns.iter().filter(fits);
        columns
            .filter(|column| column.data_type != Type::Float)
            .take(4)
    }

    /// Columns that star-trees sum up.
    pub fn summed(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.adds_up).take(4)
    }

    /// One JSON object a row; a null is left out or said.
    pub fn json_lines(&self) -> Vec<String> {
        let line = |row: &Vec<Value>| {
            let cells = self.columns.iter().zip(row);
            let cells = cells.filter(|(_, cell)| !cell.is_null() || row[0].as_i64() > Some(9));
            let object: serde_json::Map<String, Value> = cells
                .map(|(column, cell)| (column.name.to_owned(), cell.clone()))
                .collect();
            Value::Object(object).to_string()
        };
        self.rows.iter().map(line).collect()
    }

    /// A value of the column that is somewhere in it, now and then one that is not.
    pub fn sample(&self, column: usize, random: &mut SmallRng) -> Value {
        let from = &self.columns[column];
        for _ in 0..4 {
            let row = random.random_range(0..self.rows.len() + self.rows.len() / 8 + 1);
            match self.rows.get(row) {
                None => break,
                Some(row) if row[column].is_null() => {}
                Some(row) => return one_of(&row[column], random),
            }
        }
        one_of(&from.value(random, self.rows.len()), random)
    }

    pub fn schema(&self, name: &str) -> Value {
        let (mut dimensions, mut metrics, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for column in &self.columns {
            let mut field = json!({
                "name": column.name,
                "dataType": column.pinot_type(),
                "defaultNullValue": default_of(column),
            });
            if column.is_multi() {
                field["singleValueField"] = json!(false);
            }
            match column.data_type {
                Type::Timestamp => {
                    field["format"] = json!("TIMESTAMP");
                    field["granularity"] = json!("1:MILLISECONDS");
                    times.push(field);
                }
                _ if column.is_metric => metrics.push(field),
                _ => dimensions.push(field),
            }
        }
        json!({
            "schemaName": name,
            "dimensionFieldSpecs": dimensions,
            "metricFieldSpecs": metrics,
            "dateTimeFieldSpecs": times,
        })
    }
}

fn one_of(cell: &Value, random: &mut SmallRng) -> Value {
    match cell {
        Value::Array(values) => values[random.random_range(0..values.len())].clone(),
        one => one.clone(),
    }
}

impl Column {
    pub fn is_multi(&self) -> bool {
        matches!(self.data_type, Type::Strings | Type::Ints)
    }

    /// DataFusion's least and greatest of values with a NaN depend on the order of rows.
    pub fn has_nan(&self) -> bool {
        matches!(self.values, Values::AnyDouble)
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.data_type, Type::Int | Type::Long)
    }

    pub fn pinot_type(&self) -> &'static str {
        match self.data_type {
            Type::Boolean => "BOOLEAN",
            Type::Int | Type::Ints => "INT",
            Type::Long => "LONG",
            Type::Float => "FLOAT",
            Type::Double => "DOUBLE",
            Type::Timestamp => "TIMESTAMP",
            Type::String | Type::Strings => "STRING",
        }
    }

    fn draw(&self, random: &mut SmallRng, row: usize) -> Value {
        if self.null_share > 0.0 && random.random_bool(self.null_share) {
            return Value::Null;
        }
        self.value(random, row)
    }

    fn value(&self, random: &mut SmallRng, row: usize) -> Value {
        match self.values {
            Values::RowNumber => json!(row),
            Values::Flag => json!(random.random_bool(0.4)),
            Values::Words(words) => json!(words[random.random_range(0..words.len())]),
            Values::Named(of, count) => json!(format!("{of} {}", skewed(random, count))),
            Values::Long => {
                let (host, page) = (skewed(random, 9), random.random_range(0..100_000));
                json!(format!(
                    "https://host{host}.example.com/shop/item/{page:05}?ref=mail"
                ))
            }
            Values::Between(low, high) => json!(random.random_range(low..=high)),
            Values::Skewed(below) => json!(skewed(random, below as u64)),
            Values::Random => json!(random.random_range(0..i64::MAX)),
            Values::Extreme32 => {
                let edges = [i64::from(i32::MIN), -1, 0, 1, i64::from(i32::MAX)];
                json!(edges[random.random_range(0..edges.len())])
            }
            Values::Extreme64 => {
                let edges = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX];
                json!(edges[random.random_range(0..edges.len())])
            }
            Values::Cents(share) if random.random_bool(share) => {
                json!(f64::from(random.random_range(1..100_000)) / 100.0)
            }
            Values::Cents(_) => json!(0.0),
            Values::Eighths(below) => json!(random.random_range(0..below) as f64 / 8.0),
            Values::AnyDouble => match random.random_range(0..20) {
                0 => json!("NaN"),
                1 => json!("Infinity"),
                2 => json!("-Infinity"),
                3 => json!(1e300),
                4 => json!(5e-324),
                _ => json!(random.random_range(-1e6..1e6)),
            },
            Values::Time => {
                json!(FIRST_MS + random.random_range(0..DAYS * 86_400) * 1000)
            }
            Values::Sentence => {
                let words = random.random_range(1..8);
                let words = (0..words).map(|_| spoken(random)).collect::<Vec<_>>();
                json!(words.join(" "))
            }
            Values::Document => {
                let tags: Vec<&str> = (0..random.random_range(0..4))
                    .map(|_| spoken(random))
                    .collect();
                let n = random.random_range(0..50);
                json!(json!({ "k": spoken(random), "n": n, "tags": tags }).to_string())
            }
            Values::Tags(count) => {
                let tags = 1 + random.random_range(0..3);
                let tag = |_| format!("tag{}", skewed(random, count));
                json!((0..tags).map(tag).collect::<Vec<String>>())
            }
            Values::Numbers(below) => {
                let count = 1 + random.random_range(0..4);
                let number = |_| random.random_range(0..below);
                json!((0..count).map(number).collect::<Vec<i64>>())
            }
        }
    }
}

/// Small numbers far more often than great ones.
fn skewed(random: &mut SmallRng, below: u64) -> u64 {
    let share: f64 = random.random();
    ((below as f64) * share * share * share) as u64
}

fn spoken(random: &mut SmallRng) -> &'static str {
    SPOKEN[skewed(random, SPOKEN.len() as u64) as usize]
}
