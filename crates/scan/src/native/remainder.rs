//! A key that is what is left of a division of whole numbers by a constant: the numbers are few,
//! however large what is divided.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Operator;
use segment::view::RawColumn;

use super::divider::Divider;
use super::keys::DIRECT_MAX;
use super::number::BlockRows;
use crate::columns::longs;
use crate::predicate::Inputs;
use crate::units::{Occurs, WHOLE_MAX, casts_to_double, occurs};

#[derive(Debug)]
pub(super) struct Remainder<'a> {
    values: RawColumn<'a>,
    by: i64,
    /// The remainder of number 0 is less than 0 by this.
    less: i64,
    /// Where no value is below 0.
    divider: Option<Divider>,
}

impl<'a> Remainder<'a> {
    /// `ends` are the least and greatest value, if they are known. `None`: the expression is
    /// nothing of the kind.
    pub(super) fn of(
        inputs: &Inputs,
        values: RawColumn<'a>,
        ends: Option<(i64, i64)>,
    ) -> Option<Self> {
        let own = inputs.schema.field(0).data_type();
        let is_whole = match own {
            DataType::Int32 => true,
            DataType::Int64 => {
                let fits = |(least, most)| least > -WHOLE_MAX && most < WHOLE_MAX;
                ends.is_some_and(fits) || !casts_to_double(&inputs.expr)
            }
            _ => false,
        };
        match occurs(inputs.expr.as_ref(), Operator::Modulo) {
            Occurs::By(by) if is_whole && by as u64 <= DIRECT_MAX / 2 => {
                Some(Self::new(values, by, ends))
            }
            _ => None,
        }
    }

    /// `by` is above 0.
    fn new(values: RawColumn<'a>, by: i64, ends: Option<(i64, i64)>) -> Self {
        let natural = ends.filter(|(least, _)| *least >= 0);
        Self {
            values,
            by,
            less: if natural.is_some() { 0 } else { by - 1 },
            divider: natural.map(|(_, most)| Divider::new(by as u64, (most / by) as u64 + 1)),
        }
    }

    /// Numbers are below it.
    pub(super) const fn domain(&self) -> u64 {
        (self.less + self.by) as u64
    }

    /// The number of each row; what lies under a null does not matter.
    pub(super) fn numbers(&self, rows: BlockRows<'_>) -> Vec<i64> {
        let mut values = longs(self.values.values(rows.range()), rows.picked);
        match self.divider {
            Some(divider) => values.iter_mut().for_each(|value| {
                let quotient = divider.divide(*value as u64) as i64;
                *value = value.wrapping_sub(quotient.wrapping_mul(self.by));
            }),
            None => values
                .iter_mut()
                .for_each(|value| *value = *value % self.by + self.less),
        }
        values
    }

    /// A value whose remainder has the number.
    pub(super) const fn value(&self, number: u64) -> i64 {
        number as i64 - self.less
    }
}
