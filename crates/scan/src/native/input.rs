//! Where the values of an aggregate's argument come from in one segment.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::expressions::Column;
use schemas::proto::{IndexKind, ScanOptions};
use segment::view::{
    CodeRoom, Codes, ColumnView, DictionaryColumn, Nulls, RawColumn, RawValues, Values, blocks,
};

use super::aggregate::{Aggregate, Kind, Width};
use super::arithmetic::Arithmetic;
use super::fold::{Counted, Slots};
use super::number::BlockRows;
use crate::columns::{Source, Stored, batch, doubles, longs};
use crate::predicate::Inputs;
use crate::rows::BlockMask;

/// A run of plain values.
#[derive(Debug)]
pub(super) enum Numbers {
    Long(Vec<i64>),
    Double(Vec<f64>),
}

#[derive(Debug)]
pub(super) enum Input<'a> {
    Rows,
    /// The plain column, and its zones if they may be used.
    Raw(RawColumn<'a>, Option<ColumnView<'a>>),
    Lookup(Lookup<'a>),
    Evaluated(Evaluated<'a>),
}

/// An expression that is evaluated row by row.
#[derive(Debug)]
pub(super) struct Evaluated<'a> {
    inputs: Inputs,
    pub(super) sources: Vec<Source<'a>>,
    /// The whole of it, where it is no more than that.
    arithmetic: Option<Box<Arithmetic<'a>>>,
}

/// An expression of one column of codes, evaluated once for each code; null comes last.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    codes: DictionaryColumn<'a>,
    nulls: Option<Nulls<'a>>,
    pub(super) values: Numbers,
    pub(super) valid: Vec<bool>,
    /// Some row may have no value.
    pub(super) may_be_null: bool,
    /// For sums: values less the base, where all fit.
    pub(super) counted: Option<(i64, Vec<Counted>)>,
}

impl Numbers {
    /// Adds zeros until there are so many.
    fn resize(&mut self, count: usize) {
        match self {
            Self::Long(values) => values.resize(count, 0),
            Self::Double(values) => values.resize(count, 0.0),
        }
    }

    /// As a cast makes them.
    fn of_width(self, width: Width) -> Self {
        match (self, width) {
            (Self::Long(values), Width::Double) => {
                Self::Double(values.into_iter().map(|value| value as f64).collect())
            }
            (own, _) => own,
        }
    }

    pub(super) fn as_raw(&self) -> RawValues<'_> {
        match self {
            Self::Long(values) => RawValues::I64(values),
            Self::Double(values) => RawValues::F64(values),
        }
    }
}

impl<'a> Input<'a> {
    /// How the argument is best read in this segment, and the nulls to leave out.
    pub(super) fn new(
        inputs: Inputs,
        sources: Vec<Source<'a>>,
        aggregate: &Aggregate,
        options: &ScanOptions,
    ) -> Result<(Self, Option<Nulls<'a>>)> {
        let is_column = inputs.expr.downcast_ref::<Column>().is_some();
        let evaluated_each = |inputs, sources| {
            let own = Evaluated::new(inputs, sources, aggregate, options)?;
            Ok((Self::Evaluated(own), None))
        };
        let [Source::Stored(stored)] = &sources[..] else {
            return evaluated_each(inputs, sources);
        };
        let Stored { column, nulls } = *stored;
        if is_column && aggregate.kind == Kind::Count {
            return Ok((Self::Rows, nulls));
        }
        match column.values() {
            Values::Raw(raw) if is_column => {
                let name = inputs.schema.field(0).name();
                let zones = options.uses(name, IndexKind::Zone).then_some(column);
                Ok((Self::Raw(raw, zones), nulls))
            }
            Values::Raw(_) | Values::Multi(_) | Values::Bytes(_) => evaluated_each(inputs, sources),
            Values::Dictionary(codes) => {
                let mut every = codes.array();
                let count = every.len() + 1;
                if nulls.is_some() {
                    let null = new_null_array(every.data_type(), 1);
                    every = concat(&[every.as_ref(), null.as_ref()])?;
                }
                // What fails for some code may never be asked for: then row by row.
                let (known, rows) = (every.len(), vec![every]);
                let Ok(values) = evaluated(&inputs, rows, known) else {
                    return evaluated_each(inputs, sources);
                };
                let mut valid = validity(&values);
                valid.resize(count, false);
                let mut values = match aggregate.kind {
                    Kind::Count => Numbers::Long(Vec::new()),
                    _ => numbers(&values, aggregate.width)?,
                };
                values.resize(count);
                let counted = match (aggregate.kind, &values) {
                    (Kind::Sum | Kind::Avg, Numbers::Long(values)) => counted(values, &valid),
                    _ => None,
                };
                let lookup = Lookup {
                    codes,
                    nulls,
                    values,
                    may_be_null: !valid[..count - usize::from(nulls.is_none())]
                        .iter()
                        .all(|valid| *valid),
                    valid,
                    counted,
                };
                Ok((Self::Lookup(lookup), None))
            }
        }
    }
}

impl Lookup<'_> {
    /// How many rows have each value.
    pub(super) fn weights(&self) -> Vec<u32> {
        weights(&self.codes, self.nulls)
    }

    /// Where each row's value is.
    pub(super) fn indices_into(&self, rows: BlockRows<'_>, indices: &mut Vec<u32>) {
        let null_at = self.codes.cardinality();
        let Some(null) = rows.nulls(self.nulls) else {
            return codes_into(&self.codes, rows, indices);
        };
        let mut room = CodeRoom::default();
        let or_null = |row: u32, code: u32| match null.contains(row) {
            true => null_at,
            false => code,
        };
        match self.codes.codes(rows.range(), &mut room) {
            Codes::U8(codes) => {
                rows.each_into(indices, |row| or_null(row, codes[row as usize].into()));
            }
            Codes::U16(codes) => {
                rows.each_into(indices, |row| or_null(row, codes[row as usize].into()));
            }
            Codes::U32(codes) => {
                rows.each_into(indices, |row| or_null(row, codes[row as usize]));
            }
        }
    }
}

/// The code of each row; that of one without a value is any.
fn codes_into(column: &DictionaryColumn<'_>, rows: BlockRows<'_>, codes: &mut Vec<u32>) {
    let mut room = CodeRoom::default();
    match column.codes(rows.range(), &mut room) {
        Codes::U8(own) => rows.each_into(codes, |row| own[row as usize].into()),
        Codes::U16(own) => rows.each_into(codes, |row| own[row as usize].into()),
        Codes::U32(own) => rows.each_into(codes, |row| own[row as usize]),
    }
}

/// Rows of each code, and behind them those that are null.
pub(super) fn weights(codes: &DictionaryColumn<'_>, nulls: Option<Nulls<'_>>) -> Vec<u32> {
    let counts = codes.doc_counts();
    let mut weights = vec![0; counts.len() + 1];
    counts.each(|code, rows| weights[code as usize] = rows);
    let null = weights.len() - 1;
    let Some(nulls) = nulls else {
        return weights;
    };
    // They are stored as some value.
    let (mut rows, mut room) = (Vec::new(), CodeRoom::default());
    for block in blocks(codes.row_count()) {
        BlockMask::of_nulls(nulls, block.start, block.len() as u32).collect_into(&mut rows);
        let stored = codes.codes(block, &mut room);
        for row in &rows {
            let weight = &mut weights[stored.get(*row as usize) as usize];
            *weight = weight.saturating_sub(1);
        }
        weights[null] += rows.len() as u32;
    }
    weights
}

impl Input<'_> {
    /// Calls `each` with the slot and the value of each row that has one.
    pub(super) fn each_double(
        &self,
        rows: BlockRows<'_>,
        slots: Slots<'_>,
        mut each: impl FnMut(usize, f64),
    ) -> Result<()> {
        match self {
            Self::Rows => {}
            Self::Raw(raw, _) => {
                let values = doubles(raw.values(rows.range()), rows.picked);
                slots.with(&values, each);
            }
            Self::Lookup(lookup) => {
                let mut indices = Vec::with_capacity(rows.count());
                lookup.indices_into(rows, &mut indices);
                let Numbers::Double(values) = &lookup.values else {
                    return internal_err!("a sum of squares of whole numbers");
                };
                slots.with(&indices, |slot, index| {
                    if lookup.valid[index as usize] {
                        each(slot, values[index as usize]);
                    }
                });
            }
            Self::Evaluated(own) => {
                let (values, valid) = own.read(rows, Some(Width::Double))?;
                let Some(Numbers::Double(values)) = values else {
                    return internal_err!("an expression without values");
                };
                let at: Vec<u32> = (0..values.len() as u32).collect();
                slots.with(&at, |slot, at| {
                    if valid.as_ref().is_none_or(|valid| valid[at as usize]) {
                        each(slot, values[at as usize]);
                    }
                });
            }
        }
        Ok(())
    }
}

impl Input<'_> {
    /// The value of each row, and which rows have one, `None` = all.
    pub(super) fn doubles(
        &self,
        rows: BlockRows<'_>,
        nulls: Option<Nulls<'_>>,
    ) -> Result<(Vec<f64>, Option<Vec<bool>>)> {
        match self.read(rows, nulls, Width::Double)? {
            (Numbers::Double(values), valid) => Ok((values, valid)),
            _ => internal_err!("whole numbers in the place of doubles"),
        }
    }

    /// The value of each row, and which rows have one, `None` = all.
    pub(super) fn longs(
        &self,
        rows: BlockRows<'_>,
        nulls: Option<Nulls<'_>>,
    ) -> Result<(Vec<i64>, Option<Vec<bool>>)> {
        match self.read(rows, nulls, Width::Long)? {
            (Numbers::Long(values), valid) => Ok((values, valid)),
            _ => internal_err!("doubles in the place of whole numbers"),
        }
    }

    fn read(
        &self,
        rows: BlockRows<'_>,
        nulls: Option<Nulls<'_>>,
        width: Width,
    ) -> Result<(Numbers, Option<Vec<bool>>)> {
        let count = rows.count();
        let (values, valid) = match self {
            Self::Rows => return internal_err!("numbers of rows that are only counted"),
            Self::Raw(raw, _) => {
                let raw = raw.values(rows.range());
                let values = match width {
                    Width::Long => Numbers::Long(longs(raw, rows.picked)),
                    _ => Numbers::Double(doubles(raw, rows.picked)),
                };
                (values, None)
            }
            Self::Lookup(lookup) => {
                let mut indices = Vec::with_capacity(count);
                lookup.indices_into(rows, &mut indices);
                let at = |index: &u32| *index as usize;
                let valid = lookup.may_be_null.then(|| {
                    let valid = indices.iter().map(|index| lookup.valid[at(index)]);
                    valid.collect()
                });
                let each = indices.iter();
                let values = match &lookup.values {
                    Numbers::Long(all) => Numbers::Long(each.map(|own| all[at(own)]).collect()),
                    Numbers::Double(all) => Numbers::Double(each.map(|own| all[at(own)]).collect()),
                };
                (values, valid)
            }
            Self::Evaluated(own) => match own.read(rows, Some(width))? {
                (Some(values), valid) => (values, valid),
                (None, _) => return internal_err!("an expression without values"),
            },
        };
        let stored = rows.nulls(nulls).map(|null| {
            let set = (0..count).map(|at| !null.contains(rows.row(at)));
            set.collect::<Vec<_>>()
        });
        Ok((values, stored.or(valid)))
    }
}

impl<'a> Evaluated<'a> {
    fn new(
        inputs: Inputs,
        sources: Vec<Source<'a>>,
        aggregate: &Aggregate,
        options: &ScanOptions,
    ) -> Result<Self> {
        let is_number = aggregate.width != Width::Own && aggregate.kind != Kind::Count;
        let is_column = inputs.expr.downcast_ref::<Column>().is_some();
        let arithmetic = match is_number && !is_column {
            true => Arithmetic::of(&inputs, &sources, aggregate, options)?,
            false => None,
        };
        Ok(Self {
            inputs,
            sources,
            arithmetic: arithmetic.map(Box::new),
        })
    }

    /// The values and which of them are not null, `None` = all. Without `width` no values are asked
    /// for.
    pub(super) fn read(
        &self,
        rows: BlockRows<'_>,
        width: Option<Width>,
    ) -> Result<(Option<Numbers>, Option<Vec<bool>>)> {
        if let (Some(arithmetic), Some(width)) = (&self.arithmetic, width) {
            let (values, valid) = arithmetic.read(rows)?;
            return Ok((Some(values.of_width(width)), valid));
        }
        let columns = self.sources.iter();
        let columns = columns.map(|source| source.array(rows.start, rows.len, rows.picked));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let values = evaluated(&self.inputs, columns, rows.count())?;
        let keep = (values.logical_null_count() > 0).then(|| validity(&values));
        let numbers = width.map(|width| numbers(&values, width)).transpose()?;
        Ok((numbers, keep))
    }
}

/// The least value, and how much greater each is.
fn counted(values: &[i64], valid: &[bool]) -> Option<(i64, Vec<Counted>)> {
    let known = || values.iter().zip(valid).filter(|(_, valid)| **valid);
    let base = known().map(|(value, _)| *value).min()?;
    let table = values.iter().zip(valid).map(|(value, valid)| match valid {
        true => u32::try_from(value.checked_sub(base)?)
            .ok()
            .map(Counted::new),
        false => Some(Counted::NOTHING),
    });
    Some((base, table.collect::<Option<Vec<_>>>()?))
}

pub(super) fn evaluated(inputs: &Inputs, columns: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
    if inputs.expr.downcast_ref::<Column>().is_some() {
        return Ok(Arc::clone(&columns[0]));
    }
    // A dictionary with a null behind it is not what the field of a column without nulls says.
    let fields = inputs.schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = batch(&schema, columns, rows)?;
    inputs.expr.evaluate(&batch)?.into_array(rows)
}

fn validity(values: &ArrayRef) -> Vec<bool> {
    match values.logical_nulls() {
        None => vec![true; values.len()],
        Some(nulls) => nulls.iter().collect(),
    }
}

fn numbers(values: &ArrayRef, width: Width) -> Result<Numbers> {
    Ok(match width {
        Width::Long => {
            let longs = cast(values, &DataType::Int64)?;
            Numbers::Long(longs.as_primitive::<Int64Type>().values().to_vec())
        }
        Width::Own => return internal_err!("numbers of text"),
        Width::Double => {
            let doubles = cast(values, &DataType::Float64)?;
            Numbers::Double(doubles.as_primitive::<Float64Type>().values().to_vec())
        }
    })
}
