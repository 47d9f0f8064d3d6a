//! Group keys as small integers, and back to values.
//!
//! A key gives each row a number below its `domain`. The numbers of dictionary codes and of narrow
//! whole numbers are known beforehand; of time that is cut to hours or days, so is the bucket; all
//! other values are numbered as they appear. An expression of one such column is evaluated at the
//! end, once for each number that occurred: two numbers may then have the same value, which the
//! merge of segments joins. Where a timestamp index has a bucket for each value, its codes are the
//! numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use segment::view::{
    CodeRoom, ColumnView, DictionaryColumn, MultiColumn, Nulls, RawColumn, Values,
};

use super::buckets::in_buckets;
use super::choice::Choice;
use super::coded::Coded;
use super::combined::Combined;
use super::divider::Divider;
use super::evaluated::{Evaluated, evaluated, is_column, row_values};
use super::input::weights;
use super::number::{BlockRows, Number, bits_of, join_codes, join_direct, join_each, of_bits};
use super::remainder::Remainder;
use super::table::Numbers;
use crate::columns::{Source, Stored, bounds, longs};
use crate::predicate::{Compiler, Inputs, constants};
use crate::units::{bucket_ms, divisor};

/// Whole numbers closer together than this are their own numbers.
pub(super) const DIRECT_MAX: u64 = 1 << 20;
/// With fewer rows than one for so many values of a dictionary these are not put in order.
const VALUES_PER_ROW: u64 = 8;
/// Larger dictionaries are not compared.
const COMPARED_MAX: u32 = 1 << 12;

#[derive(Debug)]
pub(super) struct Key<'a> {
    inputs: Inputs,
    kind: Kind<'a>,
    /// Numbers are below it.
    pub(super) domain: u64,
    nulls: Option<Nulls<'a>>,
}

#[derive(Debug)]
enum Kind<'a> {
    Constant(ArrayRef),
    /// The number is the code.
    Codes(Coded<'a>),
    /// The number is the code of the entry for which the row is picked.
    Entries(MultiColumn<'a>),
    /// The number is how often `unit` fits between `base` and the value.
    Direct {
        values: RawColumn<'a>,
        base: i64,
        unit: i64,
    },
    /// The number is the order of appearance of the value's bits.
    Seen {
        values: RawColumn<'a>,
        unit: i64,
        seen: Numbers,
        /// Least and greatest value, if they are known.
        ends: Option<(i64, i64)>,
    },
    /// The number is what is left of a division.
    Remainder(Remainder<'a>),
    /// The number is that of values that come together.
    Combined(Combined<'a>),
    /// The number is that of the branch that a condition chose.
    Choice(Choice<'a>),
    /// The number is the order of appearance of the expression's value.
    Evaluated {
        sources: Vec<Source<'a>>,
        seen: Evaluated,
    },
}

impl<'a> Key<'a> {
    pub(super) fn new(expr: &Arc<dyn PhysicalExpr>, compiler: &Compiler<'a, '_>) -> Result<Self> {
        let view = compiler.view;
        let (inputs, sources) = compiler.inputs(expr)?;
        let rows = u64::from(view.row_count());
        if let Some(constants) = constants(&sources) {
            let one = evaluated(&inputs, constants, 1)?;
            return Ok(Self {
                inputs,
                kind: Kind::Constant(one),
                domain: 1,
                nulls: None,
            });
        }
        if let [Source::Stored(stored)] = &sources[..] {
            let Stored { column, nulls } = *stored;
            if let Some((inputs, buckets)) = in_buckets(&inputs, stored, compiler)? {
                return Ok(Self::coded(inputs, Coded::Dictionary(buckets), nulls));
            }
            let kind = match column.values() {
                Values::Dictionary(dictionary) => {
                    let domain = u64::from(dictionary.cardinality());
                    Some((Kind::Codes(Coded::Dictionary(dictionary)), domain))
                }
                Values::Raw(values) => numeric(&inputs, &column, values, view.row_count()),
                Values::Multi(_) | Values::Bytes(_) => None,
            };
            if let Some((mut kind, domain)) = kind {
                if let (Kind::Seen { seen, .. }, Some(_)) = (&mut kind, nulls) {
                    seen.reserve_one();
                }
                let domain = (domain + u64::from(nulls.is_some())).max(1);
                return Ok(Self {
                    inputs,
                    kind,
                    domain,
                    nulls,
                });
            }
        }
        if let [Source::Extracted(own)] = &sources[..] {
            let nulls = own.nulls();
            return Ok(Self::coded(inputs, Coded::Extracted(own.clone()), nulls));
        }
        if let Some(choice) = Choice::new(expr, compiler)? {
            return Ok(Self {
                inputs,
                domain: choice.domain(),
                kind: Kind::Choice(choice),
                nulls: None,
            });
        }
        let is_stored = |source: &Source<'_>| matches!(source, Source::Stored(_));
        if sources.len() > 1
            && sources.iter().all(is_stored)
            && let Some(combined) = Combined::new(&inputs, rows.min(DIRECT_MAX), compiler)?
        {
            return Ok(Self {
                inputs,
                domain: combined.domain.max(1),
                kind: Kind::Combined(combined),
                nulls: None,
            });
        }
        let seen = Evaluated::new(inputs.expr.data_type(&inputs.schema)?)?;
        let kind = Kind::Evaluated { sources, seen };
        Ok(Self {
            inputs,
            kind,
            // One more than values: null.
            domain: rows + 1,
            nulls: None,
        })
    }

    fn coded(inputs: Inputs, codes: Coded<'a>, nulls: Option<Nulls<'a>>) -> Self {
        Self {
            inputs,
            domain: (u64::from(codes.cardinality()) + u64::from(nulls.is_some())).max(1),
            kind: Kind::Codes(codes),
            nulls,
        }
    }

    /// The key that is each entry of a column, which is the expression.
    pub(super) fn of_entries(
        expr: &Arc<dyn PhysicalExpr>,
        (column, nulls): (MultiColumn<'a>, Option<Nulls<'a>>),
        table: &Schema,
    ) -> Result<Self> {
        let domain = u64::from(column.cardinality()) + u64::from(nulls.is_some());
        Ok(Self {
            inputs: Inputs::of(expr, table)?,
            kind: Kind::Entries(column),
            domain: domain.max(1),
            nulls,
        })
    }

    /// With numbers that ascend with the values, where a dictionary can give them and so many rows
    /// are worth it.
    pub(super) fn in_order(mut self, rows: u64) -> Self {
        if let Kind::Codes(Coded::Dictionary(own)) = &mut self.kind
            && is_column(&self.inputs)
            && u64::from(own.cardinality()) <= rows.saturating_mul(VALUES_PER_ROW)
        {
            *own = own.in_order();
        }
        self
    }

    /// The dictionary, when this key is its plain column and no row is null.
    pub(super) fn plain_dictionary(&self) -> Option<&DictionaryColumn<'a>> {
        self.dictionary().filter(|_| self.nulls.is_none())
    }

    /// The dictionary whose codes are the numbers, when this key is its plain column.
    pub(super) fn dictionary(&self) -> Option<&DictionaryColumn<'a>> {
        match &self.kind {
            Kind::Codes(codes) if is_column(&self.inputs) => codes.dictionary(),
            _ => None,
        }
    }

    /// The values of a plain column of whole numbers that has no dictionary, and their least and
    /// greatest, as far as these are known.
    pub(super) fn whole_numbers(&self) -> Option<(RawColumn<'a>, Option<Nulls<'a>>, (i64, i64))> {
        if !is_column(&self.inputs) || self.is_float() {
            return None;
        }
        match &self.kind {
            Kind::Seen { values, ends, .. } => {
                Some((*values, self.nulls, ends.unwrap_or((i64::MIN, i64::MAX))))
            }
            Kind::Direct { values, base, .. } => {
                let numbers = self.domain - u64::from(self.nulls.is_some());
                let last = base.wrapping_add(numbers.saturating_sub(1) as i64);
                Some((*values, self.nulls, (*base, last)))
            }
            _ => None,
        }
    }

    /// The number of each row of a key that [`Self::is_steady`].
    pub(super) fn known_into(&self, rows: BlockRows<'_>, numbers: &mut Vec<u32>) -> Result<()> {
        numbers.clear();
        numbers.resize(rows.count(), 0);
        self.join_known(rows, numbers)
    }

    /// This key's number of each row.
    pub(super) fn numbers_into(
        &mut self,
        rows: BlockRows<'_>,
        numbers: &mut Vec<u32>,
    ) -> Result<()> {
        numbers.clear();
        numbers.resize(rows.count(), 0);
        self.join_numbers(rows, numbers)
    }

    /// Goes on with the numbers that another segment's key has given, if they mean the same.
    pub(super) fn resume(&mut self, other: &mut Key<'_>) -> bool {
        let has_null = other.nulls.is_some();
        match (&mut self.kind, &mut other.kind) {
            (
                Kind::Seen { seen, unit, .. },
                Kind::Seen {
                    seen: known,
                    unit: of,
                    ..
                },
            ) if unit == of && self.nulls.is_some() == has_null => {
                *seen = std::mem::take(known);
                self.domain = self.domain.max(other.domain);
                true
            }
            _ => false,
        }
    }

    /// Whether numbers that are known beforehand mean the same in another segment.
    pub(super) fn numbers_as(&self, other: &Key<'_>) -> bool {
        let is_same = match (&self.kind, &other.kind) {
            (Kind::Constant(own), Kind::Constant(others)) => own == others,
            (Kind::Codes(own), Kind::Codes(others)) => {
                own.cardinality() == others.cardinality()
                    && own.cardinality() <= COMPARED_MAX
                    && own.array() == others.array()
            }
            (
                Kind::Direct { base, unit, .. },
                Kind::Direct {
                    base: from,
                    unit: of,
                    ..
                },
            ) => base == from && unit == of,
            _ => false,
        };
        is_same
            && self.domain == other.domain
            && self.nulls.is_some() == other.nulls.is_some()
            && self.inputs.expr.as_ref() == other.inputs.expr.as_ref()
    }

    /// A plain column of whole numbers that are not numbered beforehand.
    pub(super) fn raw(&self) -> Option<(RawColumn<'a>, Option<Nulls<'a>>)> {
        match &self.kind {
            Kind::Seen { values, .. } if is_column(&self.inputs) && !self.is_float() => {
                Some((*values, self.nulls))
            }
            _ => None,
        }
    }

    fn is_float(&self) -> bool {
        self.input_type().is_floating()
    }

    /// The number of null, if a row may have it.
    pub(super) fn null_number(&self) -> Option<u64> {
        self.nulls?;
        Some(match self.kind {
            // Numbers are given as values appear, this one beforehand.
            Kind::Seen { .. } => 0,
            _ => self.domain - 1,
        })
    }

    /// The value of number 0, where each number is one more than the one before.
    pub(super) fn first(&self) -> Option<i64> {
        match &self.kind {
            Kind::Direct { base, unit: 1, .. } if is_column(&self.inputs) => Some(*base),
            _ => None,
        }
    }

    /// Numbers are known beforehand, and told by rows alone: several workers may ask at once.
    pub(super) fn is_steady(&self) -> bool {
        self.is_known() && !matches!(self.kind, Kind::Choice(_))
    }

    /// Numbers are known before the rows are looked at.
    pub(super) fn is_known(&self) -> bool {
        matches!(
            self.kind,
            Kind::Constant(_)
                | Kind::Codes(_)
                | Kind::Entries(_)
                | Kind::Direct { .. }
                | Kind::Remainder(_)
                | Kind::Combined(_)
                | Kind::Choice(_)
        )
    }

    /// Numbers ascend with the values.
    pub(super) fn is_ordered(&self) -> bool {
        match &self.kind {
            Kind::Codes(_) => self.dictionary().is_some_and(DictionaryColumn::is_ordered),
            Kind::Direct { .. } => is_column(&self.inputs),
            _ => false,
        }
    }

    /// Numbers so far, where they are given as values appear.
    pub(super) fn seen(&self) -> Option<usize> {
        match &self.kind {
            Kind::Seen { seen, .. } => Some(seen.values.len()),
            Kind::Evaluated { seen, .. } => Some(seen.count()),
            _ => None,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match &self.kind {
            Kind::Seen { seen, .. } => seen.memory_bytes(),
            Kind::Evaluated { seen, .. } => seen.memory_bytes(),
            _ => 0,
        }
    }

    /// How many of all `rows` of the segment have each number; `None`: it is not known without a
    /// look at them.
    pub(super) fn weights(&self, rows: u32) -> Option<Vec<u32>> {
        match &self.kind {
            Kind::Constant(_) => Some(vec![rows]),
            Kind::Codes(codes) => {
                let mut weights = weights(codes.dictionary()?, self.nulls);
                weights.resize(self.domain as usize, 0);
                Some(weights)
            }
            _ => None,
        }
    }

    /// The numbers that some of all `rows` has, if [weights](Self::weights) are known.
    pub(super) fn numbers_of_all(&self, rows: u32) -> Option<Vec<u32>> {
        let weights = (0u32..).zip(self.weights(rows)?);
        let some = weights.filter(|(_, weight)| *weight > 0);
        Some(some.map(|(number, _)| number).collect())
    }

    /// Joins this key's number of each row to `groups`.
    pub(super) fn join_numbers<N: Number>(
        &mut self,
        rows: BlockRows<'_>,
        groups: &mut [N],
    ) -> Result<()> {
        let domain = self.domain;
        match &mut self.kind {
            Kind::Seen {
                values, unit, seen, ..
            } => {
                let mut values = bits_of(values.values(rows.range()), rows.picked);
                if *unit > 1 {
                    values.iter_mut().for_each(|v| *v = v.div_euclid(*unit));
                }
                match rows.nulls(self.nulls) {
                    None => seen.number(&values, |at, number| {
                        groups[at] = groups[at].join(domain, u64::from(number));
                    }),
                    Some(nulls) => {
                        let places = (0..values.len()).filter(|at| !nulls.contains(rows.row(*at)));
                        let places: Vec<usize> = places.collect();
                        let left: Vec<i64> = places.iter().map(|at| values[*at]).collect();
                        // What is left out has the number of null.
                        join_each(groups, domain, |_| 0);
                        seen.number(&left, |at, number| {
                            let group = &mut groups[places[at]];
                            *group = group.plus(u64::from(number));
                        });
                    }
                }
                Ok(())
            }
            Kind::Choice(choice) => {
                let numbers = choice.numbers(rows)?;
                join_each(groups, domain, |at| numbers[at]);
                Ok(())
            }
            Kind::Evaluated { sources, seen } => {
                let values = row_values(&self.inputs, sources, rows)?;
                let numbers = seen.number(&values)?;
                join_each(groups, domain, |at| u64::from(numbers[at]));
                Ok(())
            }
            _ => self.join_known(rows, groups),
        }
    }

    pub(super) fn join_known<N: Number>(
        &self,
        rows: BlockRows<'_>,
        groups: &mut [N],
    ) -> Result<()> {
        let domain = self.domain;
        let range = rows.range();
        let nulls = rows.nulls(self.nulls);
        match &self.kind {
            Kind::Constant(_) => {}
            Kind::Entries(_) => {
                let Some(codes) = rows.entries else {
                    return internal_err!("rows without entries");
                };
                // That of null comes after the codes, as in the domain.
                join_each(groups, domain, |at| u64::from(codes[at]));
            }
            Kind::Codes(dictionary) => {
                let mut room = CodeRoom::default();
                let codes = dictionary.codes(range, &mut room);
                join_codes(codes, nulls.as_ref(), rows, domain, groups);
            }
            Kind::Direct { values, base, unit } => {
                let values = values.values(range);
                let Some(nulls) = nulls else {
                    join_direct(values, rows, (*base, *unit), domain, groups);
                    return Ok(());
                };
                let values = longs(values, rows.picked);
                let unit = Divider::new(*unit as u64, domain);
                join_each(groups, domain, |at| match nulls.contains(rows.row(at)) {
                    true => domain - 1,
                    false => unit.divide(values[at].wrapping_sub(*base) as u64),
                });
            }
            Kind::Remainder(remainder) => {
                let numbers = remainder.numbers(rows);
                join_each(groups, domain, |at| match &nulls {
                    Some(nulls) if nulls.contains(rows.row(at)) => domain - 1,
                    _ => numbers[at] as u64,
                });
            }
            Kind::Combined(combined) => {
                let numbers = combined.numbers(rows)?;
                join_each(groups, domain, |at| u64::from(numbers[at]));
            }
            Kind::Seen { .. } | Kind::Choice(_) | Kind::Evaluated { .. } => {
                return internal_err!("numbers that are told block by block");
            }
        }
        Ok(())
    }

    /// The values behind numbers.
    pub(super) fn values(&self, numbers: &[u64]) -> Result<ArrayRef> {
        let null = self.null_number();
        let not_null = |number: &u64| (Some(*number) != null).then_some(*number);
        let stored: ArrayRef = match &self.kind {
            Kind::Constant(one) => {
                return Ok(take(one, &UInt32Array::from(vec![0; numbers.len()]), None)?);
            }
            Kind::Choice(choice) => return choice.values(numbers),
            Kind::Evaluated { seen, .. } => return seen.values(numbers),
            Kind::Combined(combined) => {
                let columns = combined.columns(numbers)?;
                return evaluated(&self.inputs, columns, numbers.len());
            }
            Kind::Entries(column) => {
                let codes = numbers.iter().map(|n| not_null(n).map(|code| code as u32));
                return Ok(take(
                    &column.array(),
                    &codes.collect::<UInt32Array>(),
                    None,
                )?);
            }
            Kind::Codes(dictionary) => {
                let codes = numbers.iter().map(|n| not_null(n).map(|code| code as u32));
                let codes: UInt32Array = codes.collect();
                let dictionary = dictionary.array();
                if is_column(&self.inputs) || numbers.len() < dictionary.len() {
                    take(&dictionary, &codes, None)?
                } else {
                    // Each value once, and null behind them.
                    let every = match null {
                        None => dictionary,
                        Some(_) => {
                            let null = new_null_array(dictionary.data_type(), 1);
                            concat(&[dictionary.as_ref(), null.as_ref()])?
                        }
                    };
                    let count = every.len();
                    let values = evaluated(&self.inputs, vec![every], count)?;
                    let at = numbers.iter().map(|number| *number as u32);
                    return Ok(take(&values, &UInt32Array::from_iter_values(at), None)?);
                }
            }
            Kind::Direct { base, unit, .. } => {
                let value = |n: u64| base.wrapping_add((n as i64).wrapping_mul(*unit));
                of_bits(
                    numbers.iter().map(|n| not_null(n).map(value)),
                    &self.input_type(),
                )?
            }
            Kind::Remainder(remainder) => {
                let values = numbers
                    .iter()
                    .map(|n| not_null(n).map(|n| remainder.value(n)));
                of_bits(values, &self.input_type())?
            }
            Kind::Seen { seen, unit, .. } => {
                let value = |n: u64| seen.values[n as usize].wrapping_mul(*unit);
                of_bits(
                    numbers.iter().map(|n| not_null(n).map(value)),
                    &self.input_type(),
                )?
            }
        };
        if is_column(&self.inputs) {
            return Ok(stored);
        }
        evaluated(&self.inputs, vec![stored], numbers.len())
    }

    pub(super) fn input_type(&self) -> DataType {
        self.inputs.schema.field(0).data_type().clone()
    }
}

/// `None`: there are too many values to evaluate the expression once for each.
fn numeric<'a>(
    inputs: &Inputs,
    column: &ColumnView<'a>,
    values: RawColumn<'a>,
    rows: u32,
) -> Option<(Kind<'a>, u64)> {
    let own = inputs.schema.field(0).data_type();
    if matches!(own, DataType::Decimal256(_, _)) {
        return None;
    }
    let ends = bounds(column, &values, rows);
    let unit =
        bucket_ms(inputs.expr.as_ref(), own).or_else(|| divisor(inputs.expr.as_ref(), own, ends));
    let unit = unit.unwrap_or(1);
    if let Some((min, max)) = ends {
        let (first, last) = (min.div_euclid(unit), max.div_euclid(unit));
        let domain = last.abs_diff(first).saturating_add(1);
        if domain <= DIRECT_MAX {
            let base = first * unit;
            return Some((Kind::Direct { values, base, unit }, domain));
        }
    }
    if let Some(remainder) = Remainder::of(inputs, values, ends) {
        let domain = remainder.domain();
        return Some((Kind::Remainder(remainder), domain));
    }
    let kind = Kind::Seen {
        values,
        unit,
        seen: Numbers::default(),
        ends,
    };
    (is_column(inputs) || unit > 1).then_some((kind, u64::from(rows)))
}
