//! Values of any type as texts, as PostgreSQL writes them.

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result;

const OF_SQL: FormatOptions<'static> = FormatOptions::new()
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
    .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"));

pub(crate) const ISO: FormatOptions<'static> = FormatOptions::new()
    .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.f%:z"))
    .with_datetime_format(Some("%Y-%m-%dT%H:%M:%S%.f"));

/// The values of a column, each as a text.
pub(crate) struct Shown<'a> {
    array: &'a dyn Array,
    formatter: ArrayFormatter<'a>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self> {
        Self::with(array, &OF_SQL)
    }

    pub(crate) fn with(array: &'a dyn Array, options: &FormatOptions<'a>) -> Result<Self> {
        Ok(Self {
            array,
            formatter: ArrayFormatter::try_new(array, options)?,
        })
    }

    /// `None`: it is null.
    pub(crate) fn at(&self, row: usize) -> Result<Option<String>> {
        if self.array.is_null(row) || *self.array.data_type() == DataType::Null {
            return Ok(None);
        }
        Ok(Some(match self.array.data_type() {
            DataType::Boolean => {
                let flag = self.array.as_boolean().value(row);
                if flag { "t" } else { "f" }.to_owned()
            }
            DataType::Decimal128(..) | DataType::Decimal256(..) => {
                without_zeros(&self.formatter.value(row).try_to_string()?)
            }
            _ => self.formatter.value(row).try_to_string()?,
        }))
    }
}

/// Decimals have as many digits behind the point as their type, most of them zeros.
fn without_zeros(digits: &str) -> String {
    match digits.contains('.') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    }
}
