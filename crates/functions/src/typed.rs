//! The type that a statement wants a JSON value to have: `'INT'`, `'STRING'`, `'LONG_ARRAY'`.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as ArrowType, Field, Float64Type, Int64Type, TimeUnit};
use arrow::util::display::FormatOptions;
use datafusion::common::Result;
use schemas::DataType;
use schemas::arrow::arrow_type;

use crate::arguments::wrong;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultType {
    item: DataType,
    pub is_array: bool,
}

impl ResultType {
    pub fn parse(name: &str) -> Result<Self> {
        let upper = name.trim().to_uppercase();
        let (item, is_array) = match upper.strip_suffix("_ARRAY") {
            Some(item) => (item, true),
            None => (upper.as_str(), false),
        };
        let item = match item {
            "INT" => DataType::Int,
            "LONG" => DataType::Long,
            "FLOAT" => DataType::Float,
            "DOUBLE" => DataType::Double,
            "BIG_DECIMAL" => DataType::BigDecimal,
            "BOOLEAN" => DataType::Boolean,
            "TIMESTAMP" => DataType::Timestamp,
            "STRING" => DataType::String,
            "JSON" => DataType::Json,
            _ => {
                return Err(wrong(format!(
                    "`{name}` is no type of a JSON value: INT, LONG, FLOAT, DOUBLE, BIG_DECIMAL, \
                     BOOLEAN, TIMESTAMP, STRING, JSON, or one of them with _ARRAY behind it"
                )));
            }
        };
        Ok(Self { item, is_array })
    }

    pub fn arrow_type(self) -> ArrowType {
        let item = arrow_type(self.item);
        match self.is_array {
            true => ArrowType::List(Arc::new(Field::new_list_field(item, true))),
            false => item,
        }
    }

    /// A value that the type cannot hold is null.
    pub fn array(self, values: Vec<Option<String>>) -> Result<ArrayRef> {
        let texts: ArrayRef = Arc::new(StringArray::from(values));
        let wanted = arrow_type(self.item);
        let cast = |texts: &ArrayRef, to: &ArrowType| {
            let options = CastOptions {
                safe: true,
                format_options: FormatOptions::default(),
            };
            cast_with_options(texts, to, &options)
        };
        Ok(match self.item {
            // `1.0` is a whole number too.
            DataType::Int | DataType::Long | DataType::Timestamp => {
                let longs = cast(&texts, &ArrowType::Int64)?;
                let doubles = cast(&texts, &ArrowType::Float64)?;
                let longs = whole_numbers(&longs, &doubles);
                match self.item {
                    DataType::Timestamp => {
                        let ms = ArrowType::Timestamp(TimeUnit::Millisecond, None);
                        cast(&longs, &ms)?
                    }
                    _ => cast(&longs, &wanted)?,
                }
            }
            _ => cast(&texts, &wanted)?,
        })
    }

    /// `None`: the row has no list.
    pub fn lists(self, rows: Vec<Option<Vec<String>>>) -> Result<ArrayRef> {
        let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
        let values = rows.into_iter().flatten().flatten().map(Some).collect();
        let items = self.array(values)?;
        let field = Arc::new(Field::new_list_field(arrow_type(self.item), true));
        let lists = ListArray::try_new(field, offsets, items, Some(nulls))?;
        Ok(Arc::new(lists))
    }
}

fn whole_numbers(longs: &ArrayRef, doubles: &ArrayRef) -> ArrayRef {
    use arrow::array::{AsArray, Int64Array};
    let longs = longs.as_primitive::<Int64Type>();
    let doubles = doubles.as_primitive::<Float64Type>();
    let numbers = longs.iter().zip(doubles).map(|(long, double)| {
        long.or_else(|| {
            let double = double.filter(|double| double.is_finite())?;
            Some(double as i64)
        })
    });
    Arc::new(numbers.collect::<Int64Array>())
}
