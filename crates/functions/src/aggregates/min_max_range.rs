//! MINMAXRANGE: the greatest value less the least.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::own::Own;
use crate::plain::Takes;

#[derive(Debug, Default)]
struct Ends {
    least: Option<f64>,
    greatest: Option<f64>,
}

impl Ends {
    fn widen(&mut self, least: Option<f64>, greatest: Option<f64>) {
        self.least = [self.least, least].into_iter().flatten().reduce(f64::min);
        self.greatest = [self.greatest, greatest]
            .into_iter()
            .flatten()
            .reduce(f64::max);
    }
}

impl Accumulator for Ends {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Float64Type>();
        self.widen(min(values), max(values));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (least, greatest) = (&states[0], &states[1]);
        let least = min(least.as_primitive::<Float64Type>());
        self.widen(least, max(greatest.as_primitive::<Float64Type>()));
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.least.into(), self.greatest.into()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let range = self.greatest.zip(self.least).map(|(high, low)| high - low);
        Ok(range.into())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

pub(super) fn min_max_range() -> Own {
    let ends = ["least", "greatest"].map(|name| (name, DataType::Float64));
    Own::new(
        "min_max_range",
        &[Takes::Double],
        DataType::Float64,
        &ends,
        |_| Ok(Box::new(Ends::default())),
    )
    .says(
        "MINMAXRANGE(x)",
        "The greatest value less the least.",
        &[("MINMAXRANGE(x) FROM numbers", "9.0")],
    )
}
