//! A table drawn from a seed: its columns, their values, and what queries may do with them.
//!
//! Values are such that right answers are equal to the last digit: doubles that are summed are
//! multiples of 1/8 and small, whole numbers that are summed cannot overflow.

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::values::Values;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Timestamp,
    String,
    Decimal,
    Bytes,
    Uuid,
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

const WORDS: &[&str] = &[
    "",
    "a",
    "A",
    "äpfel",
    "a\u{308}pfel",
    "日本",
    "🦀🦀",
    "\u{10ffff}",
    "null",
    "x y",
    "it's",
    "z%_",
];
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
    column!("none", String, Values::Never, 1.0, groups),
    column!("memo", String, Values::Memo, 0.05),
    column!("money", Decimal, Values::Quarters, 0.1),
    column!("raw", Bytes, Values::Hex(40), 0.1, groups),
    column!("uid", Uuid, Values::Uuid(500), 0.05, groups),
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
        Type::Decimal => json!("0"),
        Type::Bytes => json!(""),
        Type::Uuid => json!("00000000-0000-0000-0000-000000000000"),
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
        Self::of(random, columns, rows)
    }

    pub(super) fn of(random: &mut SmallRng, columns: Vec<Column>, rows: usize) -> Self {
        let row = |row| {
            columns
                .iter()
                .map(|column| column.draw(random, row))
                .collect()
        };
        let rows = (0..rows).map(row).collect();
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

    /// Some columns whose segments shall have no dictionary.
    pub fn without_dictionary(&self, random: &mut SmallRng) -> Vec<&'static str> {
        let dimensions: Vec<&str> = self.dimensions().map(|column| column.name).collect();
        let fits = |column: &&Column| !column.is_multi() && !dimensions.contains(&column.name);
        let columns = self.columns.iter().filter(fits);
        let drawn = columns.filter(|_| random.random_bool(0.3));
        drawn.map(|column| column.name).collect()
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
        one_of(&from.values.draw(random, self.rows.len()), random)
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
    pub(super) fn of(
        name: &'static str,
        data_type: Type,
        values: Values,
        null_share: f64,
        is_metric: bool,
    ) -> Self {
        Self {
            name,
            data_type,
            is_metric,
            null_share,
            values,
            ..NO_FLAGS
        }
    }

    pub fn is_multi(&self) -> bool {
        matches!(self.data_type, Type::Strings | Type::Ints)
    }

    /// Its values look the same in both answers.
    pub fn is_plain(&self) -> bool {
        !self.is_multi() && self.data_type != Type::Decimal
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
            Type::Decimal => "BIG_DECIMAL",
            Type::Bytes => "BYTES",
            Type::Uuid => "UUID",
            Type::String | Type::Strings => "STRING",
        }
    }

    fn draw(&self, random: &mut SmallRng, row: usize) -> Value {
        if self.null_share > 0.0 && random.random_bool(self.null_share) {
            return Value::Null;
        }
        self.values.draw(random, row)
    }
}
