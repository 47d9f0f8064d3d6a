//! Arithmetic of doubles over the numbers of a row, a block at a time and in place.
//!
//! What comes out is what DataFusion's operators make of the same expression, to the last bit: the
//! same operations in the same order.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use schemas::proto::ScanOptions;
use segment::view::{Nulls, Values};

use super::aggregate::Aggregate;
use super::input::Input;
use super::number::BlockRows;
use crate::columns::{Source, Stored};
use crate::predicate::Inputs;

#[derive(Debug)]
pub(super) struct Arithmetic<'a> {
    root: Node,
    columns: Vec<(Input<'a>, Option<Nulls<'a>>)>,
}

#[derive(Debug)]
enum Node {
    Column(usize),
    Literal(f64),
    Of(Operation, Box<(Node, Node)>),
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Plus,
    Minus,
    Times,
    Over,
}

impl<'a> Arithmetic<'a> {
    /// Of a whole expression; `None`: there is more to it.
    pub(super) fn of(
        inputs: &Inputs,
        sources: &[Source<'a>],
        aggregate: &Aggregate,
        options: &ScanOptions,
    ) -> Result<Option<Self>> {
        let Some(root) = node(&inputs.expr, &inputs.schema) else {
            return Ok(None);
        };
        let mut columns = Vec::with_capacity(sources.len());
        for (at, source) in sources.iter().enumerate() {
            let Source::Stored(Stored { column, .. }) = source else {
                return Ok(None);
            };
            if !matches!(column.values(), Values::Raw(_) | Values::Dictionary(_)) {
                return Ok(None);
            }
            let field = inputs.schema.field(at);
            let own = Inputs {
                expr: Arc::new(Column::new(field.name(), 0)),
                schema: Arc::new(Schema::new(vec![field.clone()])),
            };
            columns.push(Input::new(own, vec![source.clone()], aggregate, options)?);
        }
        Ok(Some(Self { root, columns }))
    }

    /// The value of each row, and which rows have one, `None` = all.
    pub(super) fn read(&self, rows: BlockRows<'_>) -> Result<(Vec<f64>, Option<Vec<bool>>)> {
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut all: Option<Vec<bool>> = None;
        for (input, nulls) in &self.columns {
            let (values, valid) = input.doubles(rows, *nulls)?;
            columns.push(values);
            all = match (all, valid) {
                (Some(mut all), Some(valid)) => {
                    all.iter_mut().zip(valid).for_each(|(all, own)| *all &= own);
                    Some(all)
                }
                (all, valid) => all.or(valid),
            };
        }
        let values = match self.root.of(&columns) {
            Part::One(value) => vec![value; rows.count()],
            Part::Each(values) => values.into_owned(),
        };
        Ok((values, all))
    }
}

fn node(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Node> {
    let column = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().map(Column::index);
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return match literal.value() {
            ScalarValue::Float64(Some(value)) => Some(Node::Literal(*value)),
            _ => None,
        };
    }
    if let Some(at) = column(expr) {
        let is_double = *schema.field(at).data_type() == DataType::Float64;
        return is_double.then_some(Node::Column(at));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let at = column(cast.expr())?;
        let own = schema.field(at).data_type();
        let is_number = own.is_floating() || matches!(own, DataType::Int32 | DataType::Int64);
        let fits = is_number && *cast.cast_type() == DataType::Float64;
        return fits.then_some(Node::Column(at));
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let operation = match binary.op() {
        Operator::Plus => Operation::Plus,
        Operator::Minus => Operation::Minus,
        Operator::Multiply => Operation::Times,
        Operator::Divide => Operation::Over,
        _ => return None,
    };
    let sides = (node(binary.left(), schema)?, node(binary.right(), schema)?);
    Some(Node::Of(operation, Box::new(sides)))
}

/// Of all rows the same, or of each its own.
enum Part<'c> {
    One(f64),
    Each(Cow<'c, [f64]>),
}

impl Node {
    fn of<'c>(&self, columns: &'c [Vec<f64>]) -> Part<'c> {
        match self {
            Self::Column(at) => Part::Each(Cow::Borrowed(&columns[*at])),
            Self::Literal(value) => Part::One(*value),
            Self::Of(operation, sides) => {
                let (left, right) = (sides.0.of(columns), sides.1.of(columns));
                match operation {
                    Operation::Plus => joined(left, right, |a, b| a + b),
                    Operation::Minus => joined(left, right, |a, b| a - b),
                    Operation::Times => joined(left, right, |a, b| a * b),
                    Operation::Over => joined(left, right, |a, b| a / b),
                }
            }
        }
    }
}

#[inline(always)]
fn joined<'c>(left: Part<'c>, right: Part<'c>, of: impl Fn(f64, f64) -> f64) -> Part<'c> {
    match (left, right) {
        (Part::One(a), Part::One(b)) => Part::One(of(a, b)),
        (Part::Each(a), Part::One(b)) => each(a, |a| of(a, b)),
        (Part::One(a), Part::Each(b)) => each(b, |b| of(a, b)),
        (Part::Each(Cow::Owned(mut a)), Part::Each(b)) => {
            a.iter_mut()
                .zip(b.iter())
                .for_each(|(a, b)| *a = of(*a, *b));
            Part::Each(Cow::Owned(a))
        }
        (Part::Each(a), Part::Each(Cow::Owned(mut b))) => {
            b.iter_mut()
                .zip(a.iter())
                .for_each(|(b, a)| *b = of(*a, *b));
            Part::Each(Cow::Owned(b))
        }
        (Part::Each(a), Part::Each(b)) => {
            let both = a.iter().zip(b.iter()).map(|(a, b)| of(*a, *b));
            Part::Each(Cow::Owned(both.collect()))
        }
    }
}

#[inline(always)]
fn each<'c>(values: Cow<'c, [f64]>, of: impl Fn(f64) -> f64) -> Part<'c> {
    Part::Each(Cow::Owned(match values {
        Cow::Owned(mut values) => {
            values.iter_mut().for_each(|value| *value = of(*value));
            values
        }
        Cow::Borrowed(values) => values.iter().map(|value| of(*value)).collect(),
    }))
}
