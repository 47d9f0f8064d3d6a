//! Where the values of an aggregate's argument come from in one segment.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use segment::view::{DictionaryColumn, Nulls, RawColumn, Values};

use super::number::{BlockRows, codes_of};
use super::plan::{Aggregate, Kind, Width};
use crate::columns::{Source, Stored, batch};
use crate::predicate::Inputs;

/// A run of plain values.
#[derive(Debug)]
pub(super) enum Numbers {
    Long(Vec<i64>),
    Double(Vec<f64>),
}

#[derive(Debug)]
pub(super) enum Input<'a> {
    Rows,
    /// The plain column.
    Raw(RawColumn<'a>),
    /// An expression of one column of codes, evaluated once for each code; null comes last.
    Lookup {
        codes: DictionaryColumn<'a>,
        values: Numbers,
        valid: Vec<bool>,
    },
    Evaluated {
        inputs: Inputs,
        sources: Vec<Source<'a>>,
    },
}

impl<'a> Input<'a> {
    /// How the argument is best read in this segment, and the nulls to leave out.
    pub(super) fn new(
        inputs: Inputs,
        sources: Vec<Source<'a>>,
        aggregate: &Aggregate,
    ) -> Result<(Self, Option<Nulls<'a>>)> {
        let is_column = inputs.expr.downcast_ref::<Column>().is_some();
        let [Source::Stored(stored)] = &sources[..] else {
            return Ok((Self::Evaluated { inputs, sources }, None));
        };
        let Stored { column, nulls } = *stored;
        if is_column && aggregate.kind == Kind::Count {
            return Ok((Self::Rows, nulls));
        }
        match column.values() {
            Values::Raw(raw) if is_column => Ok((Self::Raw(raw), nulls)),
            Values::Raw(_) => Ok((Self::Evaluated { inputs, sources }, None)),
            Values::Dictionary(codes) => {
                let dictionary = codes.array();
                let null = new_null_array(dictionary.data_type(), 1);
                let every = concat(&[dictionary.as_ref(), null.as_ref()])?;
                let count = every.len();
                // What fails for some code may never be asked for: then row by row.
                let Ok(values) = evaluated(&inputs, vec![every], count) else {
                    return Ok((Self::Evaluated { inputs, sources }, None));
                };
                let valid = validity(&values);
                let values = match aggregate.kind {
                    Kind::Count => Numbers::Long(vec![0; count]),
                    _ => numbers(&values, aggregate.width)?,
                };
                let lookup = Self::Lookup {
                    codes,
                    values,
                    valid,
                };
                Ok((lookup, nulls))
            }
        }
    }

    /// Values that are not simply in the column, and which of them are not null. Without `width`
    /// no values are asked for.
    pub(super) fn read(
        &self,
        rows: BlockRows<'_>,
        nulls: Option<Nulls<'_>>,
        width: Option<Width>,
    ) -> Result<(Option<Numbers>, Option<Vec<bool>>)> {
        match self {
            Self::Rows | Self::Raw(_) => Ok((None, None)),
            Self::Lookup {
                codes,
                values,
                valid,
            } => {
                let null_code = valid.len() - 1;
                let range = rows.start..rows.start + rows.len;
                let nulls = nulls.filter(|nulls| nulls.any_in(range.clone()));
                let stored = codes_of(codes.codes(range), rows.picked);
                let stored = stored.into_iter().enumerate();
                let every = stored.map(|(at, code)| match nulls {
                    Some(nulls) if nulls.is_null(rows.doc(at)) => null_code,
                    _ => code as usize,
                });
                let every: Vec<usize> = every.collect();
                let keep = every.iter().map(|code| valid[*code]).collect();
                let numbers = width.map(|_| match values {
                    Numbers::Long(values) => {
                        Numbers::Long(every.iter().map(|code| values[*code]).collect())
                    }
                    Numbers::Double(values) => {
                        Numbers::Double(every.iter().map(|code| values[*code]).collect())
                    }
                });
                Ok((numbers, Some(keep)))
            }
            Self::Evaluated { inputs, sources } => {
                let columns = sources
                    .iter()
                    .map(|source| source.array(rows.start, rows.len, rows.picked))
                    .collect::<Result<Vec<_>>>()?;
                let values = evaluated(inputs, columns, rows.count())?;
                let keep = (values.logical_null_count() > 0).then(|| validity(&values));
                let numbers = width.map(|width| numbers(&values, width)).transpose()?;
                Ok((numbers, keep))
            }
        }
    }
}

fn evaluated(inputs: &Inputs, columns: Vec<ArrayRef>, rows: usize) -> Result<ArrayRef> {
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
        Width::Double => {
            let doubles = cast(values, &DataType::Float64)?;
            Numbers::Double(doubles.as_primitive::<Float64Type>().values().to_vec())
        }
    })
}
