//! Sums and means of BIG_DECIMAL in 128 bits.
//!
//! A column is read with as few decimals as its values have, so that products of a few columns fit.
//! A bound of what a block gives is known before: where it may not fit, DataFusion's operators
//! evaluate the block in 256 bits. Sums are exact either way.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, UInt64Array};
use arrow::datatypes::{DataType, Decimal256Type, FieldRef, Schema, i256};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use schemas::arrow::BIG_DECIMAL_SCALE;
use segment::view::{DictionaryColumn, Nulls, RawColumn, RawValues, Values};

use super::aggregate::Aggregate;
use super::arithmetic::{Part, joined};
use super::fold::Slots;
use super::general::Columns;
use super::input::{codes_into, evaluated};
use super::number::BlockRows;
use crate::columns::{Source, Stored, longs};
use crate::predicate::{Compiler, Inputs};

/// Of dictionaries up to this size each value is looked at before the rows are.
const SMALL_MAX: u32 = 4_096;
/// Nothing that is computed in 128 bits may be greater.
const BOUND_MAX: f64 = 8e37;
const STORED_SCALE: u32 = BIG_DECIMAL_SCALE as u32;

#[derive(Debug)]
pub(super) struct DecimalSums<'a> {
    root: Node,
    /// Decimals of what it gives, and of the states.
    scale: u32,
    result_scale: u32,
    columns: Vec<NumberColumn<'a>>,
    inputs: Inputs,
    sources: Vec<Source<'a>>,
    states: Vec<FieldRef>,
    sums: Vec<i128>,
    counts: Vec<u64>,
    /// As the states have them: sums that would not fit any more, what was evaluated in 256 bits.
    wide: Vec<i256>,
    /// No sum is greater.
    bound: f64,
}

#[derive(Debug)]
enum Node {
    Column(usize),
    Literal(i128),
    Times(Box<(Node, Node)>),
    /// Each side times a number, so that both have as many decimals.
    Plus(Box<(Node, Node)>, (i128, i128)),
    Minus(Box<(Node, Node)>, (i128, i128)),
}

#[derive(Debug)]
struct NumberColumn<'a> {
    stored: Numbers<'a>,
    nulls: Option<Nulls<'a>>,
    scale: u32,
}

#[derive(Debug)]
enum Numbers<'a> {
    Small(DictionaryColumn<'a>, Vec<i128>),
    Large(DictionaryColumn<'a>, Decimal256Array),
    Raw(RawColumn<'a>),
    Whole(RawColumn<'a>),
}

impl<'a> DecimalSums<'a> {
    /// `None`: the aggregate is not one of these, or its argument is more than arithmetic.
    pub(super) fn new(aggregate: &Aggregate, compiler: &Compiler<'a, '_>) -> Result<Option<Self>> {
        let (Some(argument), []) = (&aggregate.argument, &aggregate.more[..]) else {
            return Ok(None);
        };
        let result_scale = match aggregate.states.last().map(|field| field.data_type()) {
            Some(DataType::Decimal256(_, scale @ 0..)) => *scale as u32,
            _ => return Ok(None),
        };
        let (inputs, sources) = compiler.inputs(argument)?;
        let mut columns = Vec::with_capacity(sources.len());
        for source in &sources {
            let Source::Stored(Stored { column, nulls }) = source else {
                return Ok(None);
            };
            let Some(column) = NumberColumn::new(column.values(), *nulls) else {
                return Ok(None);
            };
            columns.push(column);
        }
        let Some((root, scale)) = node(&inputs.expr, &inputs.schema, &columns) else {
            return Ok(None);
        };
        Ok((scale <= result_scale).then(|| Self {
            root,
            scale,
            result_scale,
            columns,
            inputs,
            sources,
            states: aggregate.states.clone(),
            sums: Vec::new(),
            counts: Vec::new(),
            wide: Vec::new(),
            bound: 0.0,
        }))
    }

    pub(super) fn grow(&mut self, groups: usize) {
        let groups = groups.max(self.sums.len());
        self.sums.resize(groups, 0);
        self.counts.resize(groups, 0);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.sums.capacity() * 16 + self.counts.capacity() * 8 + self.wide.capacity() * 32
    }

    pub(super) fn add(&mut self, rows: BlockRows<'_>, slots: Slots<'_>) -> Result<()> {
        let groups = slots.groups();
        let group = |at: usize| groups.map_or(0, |groups| groups[at] as usize);
        let Some((values, valid, bound)) = self.read(rows) else {
            return self.add_wide(rows, group);
        };
        let grown = bound * rows.count() as f64;
        if self.bound + grown > BOUND_MAX {
            self.put_aside();
        }
        self.bound += grown;
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        match (valid, groups) {
            (None, None) => {
                sums[0] += values.iter().sum::<i128>();
                counts[0] += values.len() as u64;
            }
            (None, Some(groups)) => {
                for (group, value) in groups.iter().zip(values.iter()) {
                    sums[*group as usize] += value;
                    counts[*group as usize] += 1;
                }
            }
            (Some(valid), _) => {
                let known = values.iter().zip(valid).enumerate();
                for (at, (value, _)) in known.filter(|(_, (_, valid))| *valid) {
                    sums[group(at)] += value;
                    counts[group(at)] += 1;
                }
            }
        }
        Ok(())
    }

    /// The values of the rows, which of them there are, and what none of them exceeds; `None`: they
    /// may not fit.
    fn read(&self, rows: BlockRows<'_>) -> Option<(Vec<i128>, Option<Vec<bool>>, f64)> {
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut bounds = Vec::with_capacity(self.columns.len());
        let mut absent: Option<Vec<bool>> = None;
        for column in &self.columns {
            let values = column.read(rows)?;
            bounds.push(bound_of(&values));
            columns.push(values);
            if let Some(nulls) = rows.nulls(column.nulls) {
                let valid = absent.get_or_insert_with(|| vec![true; rows.count()]);
                for (at, valid) in valid.iter_mut().enumerate() {
                    *valid &= !nulls.contains(rows.row(at));
                }
            }
        }
        let bound = self.root.bound(&bounds)?;
        let values = match self.root.of(&columns) {
            Part::One(value) => vec![value; rows.count()],
            Part::Each(values) => values.into_owned(),
        };
        Some((values, absent, bound))
    }

    fn add_wide(&mut self, rows: BlockRows<'_>, group: impl Fn(usize) -> usize) -> Result<()> {
        let columns = self.sources.iter();
        let columns = columns.map(|own| own.array(rows.start, rows.len, rows.picked));
        let values = evaluated(&self.inputs, columns.collect::<Result<_>>()?, rows.count())?;
        let Some(values) = values.as_primitive_opt::<Decimal256Type>() else {
            return internal_err!("a sum of decimals over {}", values.data_type());
        };
        self.wide.resize(self.sums.len(), i256::ZERO);
        for (at, value) in values.iter().enumerate() {
            if let Some(value) = value {
                let sum = &mut self.wide[group(at)];
                *sum = sum.wrapping_add(value);
                self.counts[group(at)] += 1;
            }
        }
        Ok(())
    }

    fn widened(&self, sum: i128) -> i256 {
        let more = i256::from_i128(10).wrapping_pow(self.result_scale - self.scale);
        i256::from_i128(sum).wrapping_mul(more)
    }

    fn put_aside(&mut self) {
        self.wide.resize(self.sums.len(), i256::ZERO);
        for at in 0..self.sums.len() {
            let sum = std::mem::take(&mut self.sums[at]);
            self.wide[at] = self.wide[at].wrapping_add(self.widened(sum));
        }
        self.bound = 0.0;
    }

    pub(super) fn finish(self, used: &[u32]) -> Result<Columns> {
        let sum = |group: &u32| {
            let at = *group as usize;
            let own = self.widened(self.sums[at]);
            let wide = self.wide.get(at).copied().unwrap_or(i256::ZERO);
            (self.counts[at] > 0).then(|| wide.wrapping_add(own))
        };
        let sums: Decimal256Array = used.iter().map(sum).collect();
        let Some((last, counts)) = self.states.split_last() else {
            return internal_err!("a sum without a state");
        };
        let sums = sums.with_data_type(last.data_type().clone());
        let counted = || used.iter().map(|group| self.counts[*group as usize]);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(2);
        if !counts.is_empty() {
            columns.push(Arc::new(UInt64Array::from_iter_values(counted())));
        }
        columns.push(Arc::new(sums));
        Ok(Columns::known(columns))
    }
}

impl<'a> NumberColumn<'a> {
    fn new(values: Values<'a>, nulls: Option<Nulls<'a>>) -> Option<Self> {
        let (stored, scale) = match values {
            Values::Raw(raw) => match raw.values(0..0) {
                RawValues::I256(_) => (Numbers::Raw(raw), STORED_SCALE),
                RawValues::F32(_) | RawValues::F64(_) | RawValues::Scaled { .. } => return None,
                _ => (Numbers::Whole(raw), 0),
            },
            Values::Dictionary(codes) => {
                let values = codes.array();
                let values = values.as_primitive_opt::<Decimal256Type>()?;
                match codes.cardinality() <= SMALL_MAX {
                    true => {
                        let narrow = values.values().iter().map(|value| narrow(*value));
                        let mut narrow = narrow.collect::<Option<Vec<i128>>>()?;
                        let scale = without_zeros(&mut narrow, STORED_SCALE);
                        (Numbers::Small(codes, narrow), scale)
                    }
                    false => (Numbers::Large(codes, values.clone()), STORED_SCALE),
                }
            }
            Values::Multi(_) | Values::Bytes(_) => return None,
        };
        Some(Self {
            stored,
            nulls,
            scale,
        })
    }

    /// `None`: some value does not fit.
    fn read(&self, rows: BlockRows<'_>) -> Option<Vec<i128>> {
        let mut codes = Vec::new();
        match &self.stored {
            Numbers::Small(column, values) => {
                codes_into(column, rows, &mut codes);
                Some(codes.iter().map(|code| values[*code as usize]).collect())
            }
            Numbers::Large(column, values) => {
                codes_into(column, rows, &mut codes);
                let values = values.values();
                let each = codes.iter().map(|code| values[*code as usize]);
                all_narrow(each)
            }
            Numbers::Raw(column) => match (column.values(rows.range()), rows.picked) {
                (RawValues::I256(values), None) => all_narrow(values.iter().copied()),
                (RawValues::I256(values), Some(picked)) => {
                    all_narrow(picked.iter().map(|row| values[*row as usize]))
                }
                _ => None,
            },
            Numbers::Whole(column) => {
                let values = longs(column.values(rows.range()), rows.picked);
                Some(values.into_iter().map(i128::from).collect())
            }
        }
    }
}

fn narrow(value: i256) -> Option<i128> {
    let (low, high) = value.to_parts();
    let low = low as i128;
    (high == low >> 127).then_some(low)
}

fn all_narrow(values: impl ExactSizeIterator<Item = i256>) -> Option<Vec<i128>> {
    let mut fit = true;
    let narrow = values.map(|value| {
        let (low, high) = value.to_parts();
        let low = low as i128;
        fit &= high == low >> 127;
        low
    });
    let narrow = narrow.collect();
    fit.then_some(narrow)
}

/// Takes away the zeros at the end that all have; the decimals that are left.
fn without_zeros(values: &mut [i128], mut scale: u32) -> u32 {
    while scale > 0 && values.iter().all(|value| value % 10 == 0) {
        values.iter_mut().for_each(|value| *value /= 10);
        scale -= 1;
    }
    scale
}

fn bound_of(values: &[i128]) -> f64 {
    let bits = values
        .iter()
        .fold(0, |bits, value| bits | (value ^ (value >> 127)));
    bits as f64 * 2.0 + 1.0
}

/// With the decimals of what it gives.
fn node(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    columns: &[NumberColumn<'_>],
) -> Option<(Node, u32)> {
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        let ScalarValue::Decimal256(Some(value), _, scale @ 0..) = literal.value() else {
            return None;
        };
        let mut value = [narrow(*value)?];
        let scale = without_zeros(&mut value, *scale as u32);
        return Some((Node::Literal(value[0]), scale));
    }
    let column = |expr: &Arc<dyn PhysicalExpr>| {
        let at = expr.downcast_ref::<Column>()?.index();
        Some((Node::Column(at), columns[at].scale))
    };
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let (node, scale) = column(cast.expr())?;
        let keeps = match cast.cast_type() {
            DataType::Decimal256(_, to @ 0..) => *to as u32 >= STORED_SCALE.min(scale),
            _ => false,
        };
        return keeps.then_some((node, scale));
    }
    if let Some(own) = column(expr) {
        let data_type = expr.data_type(schema).ok()?;
        return matches!(data_type, DataType::Decimal256(_, _)).then_some(own);
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let (left, left_scale) = node(binary.left(), schema, columns)?;
    let (right, right_scale) = node(binary.right(), schema, columns)?;
    let sides = Box::new((left, right));
    let scale = left_scale.max(right_scale);
    let power = |own: u32| 10_i128.checked_pow(scale - own);
    let powers = || Some((power(left_scale)?, power(right_scale)?));
    Some(match binary.op() {
        Operator::Multiply => (Node::Times(sides), left_scale + right_scale),
        Operator::Plus => (Node::Plus(sides, powers()?), scale),
        Operator::Minus => (Node::Minus(sides, powers()?), scale),
        _ => return None,
    })
}

impl Node {
    /// What it does not exceed, nor anything on the way; `None`: that is not sure to fit.
    fn bound(&self, columns: &[f64]) -> Option<f64> {
        let bound = match self {
            Self::Column(at) => columns[*at],
            Self::Literal(value) => (*value as f64).abs() + 1.0,
            Self::Times(sides) => sides.0.bound(columns)? * sides.1.bound(columns)?,
            Self::Plus(sides, (a, b)) | Self::Minus(sides, (a, b)) => {
                sides.0.bound(columns)? * *a as f64 + sides.1.bound(columns)? * *b as f64
            }
        };
        // A little more for what doubles round.
        Some(bound * 1.000_001).filter(|bound| *bound < BOUND_MAX)
    }

    fn of<'c>(&self, columns: &'c [Vec<i128>]) -> Part<'c, i128> {
        match self {
            Self::Column(at) => Part::Each(Cow::Borrowed(&columns[*at])),
            Self::Literal(value) => Part::One(*value),
            Self::Times(sides) => {
                joined(sides.0.of(columns), sides.1.of(columns), i128::wrapping_mul)
            }
            Self::Plus(sides, (a, b)) => {
                let of = |x: i128, y: i128| x.wrapping_mul(*a).wrapping_add(y.wrapping_mul(*b));
                joined(sides.0.of(columns), sides.1.of(columns), of)
            }
            Self::Minus(sides, (a, b)) => {
                let of = |x: i128, y: i128| x.wrapping_mul(*a).wrapping_sub(y.wrapping_mul(*b));
                joined(sides.0.of(columns), sides.1.of(columns), of)
            }
        }
    }
}
