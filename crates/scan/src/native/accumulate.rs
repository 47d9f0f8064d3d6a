//! Accumulators of one aggregate in one segment, and their states as DataFusion lays them out.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, UInt64Array, new_null_array,
};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use schemas::TableSpec;
use schemas::proto::NullMode;
use segment::SegmentView;
use segment::view::{Codes, DictionaryColumn, Nulls, RawColumn, RawValues, Values};

use super::fold::{Slots, fold};
use super::keys::BlockRows;
use super::plan::{Aggregate, Kind, Width};
use crate::columns::{Source, batch, longs};
use crate::predicate::{Compiled, Compiler, Conjunct, Inputs};
use crate::rows::BlockMask;

/// A run of plain values.
#[derive(Debug)]
enum Numbers {
    Long(Vec<i64>),
    Double(Vec<f64>),
}

#[derive(Debug)]
enum Input<'a> {
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

#[derive(Debug)]
enum Filter<'a> {
    None,
    Never,
    Rows(Vec<Conjunct<'a>>),
}

#[derive(Debug)]
pub(super) struct Accumulator<'a> {
    kind: Kind,
    input: Input<'a>,
    nulls: Option<Nulls<'a>>,
    filter: Filter<'a>,
    /// Values of each group; `None`: as many as rows.
    counts: Option<Vec<u64>>,
    state: State,
}

#[derive(Debug)]
enum State {
    None,
    Long(Vec<i64>),
    Double(Vec<f64>),
}

impl<'a> Accumulator<'a> {
    pub(super) fn new(
        aggregate: &Aggregate,
        view: &'a SegmentView,
        spec: &TableSpec,
        compiler: &Compiler<'a, '_>,
    ) -> Result<Self> {
        let null_mode = compiler.null_mode;
        let filter = match &aggregate.filter {
            None => Filter::None,
            Some(filter) => match compiler.compile(std::slice::from_ref(filter))? {
                Compiled::Never => Filter::Never,
                Compiled::Rows(conjuncts) if conjuncts.is_empty() => Filter::None,
                Compiled::Rows(conjuncts) => Filter::Rows(conjuncts),
            },
        };
        let (input, nulls) = match &aggregate.argument {
            None => (Input::Rows, None),
            Some(argument) => {
                let inputs = Inputs::of(argument, compiler.table_schema)?;
                let sources = inputs.sources(view, spec, null_mode)?;
                input(inputs, sources, aggregate, null_mode)?
            }
        };
        let may_skip = nulls.is_some()
            || !matches!(filter, Filter::None)
            || matches!(input, Input::Lookup { .. } | Input::Evaluated { .. });
        let state = match (aggregate.kind, aggregate.width) {
            (Kind::Count, _) => State::None,
            (_, Width::Long) => State::Long(Vec::new()),
            (_, Width::Double) => State::Double(Vec::new()),
        };
        Ok(Self {
            kind: aggregate.kind,
            input,
            nulls,
            filter,
            counts: may_skip.then(Vec::new),
            state,
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let state = match &self.state {
            State::None => 0,
            State::Long(values) => values.capacity() * 8,
            State::Double(values) => values.capacity() * 8,
        };
        state
            + self
                .counts
                .as_ref()
                .map_or(0, |counts| counts.capacity() * 8)
    }

    fn grow(&mut self, groups: usize) {
        if let Some(counts) = &mut self.counts {
            counts.resize(groups.max(counts.len()), 0);
        }
        match &mut self.state {
            State::None => {}
            State::Long(values) => values.resize(groups.max(values.len()), empty_long(self.kind)),
            State::Double(values) => {
                values.resize(groups.max(values.len()), empty_double(self.kind));
            }
        }
    }

    /// Adds the rows of a block; with several groups, `groups` has one for each row.
    pub(super) fn add(
        &mut self,
        rows: BlockRows<'_>,
        groups: Slots<'_>,
        group_count: usize,
        null_mode: NullMode,
    ) -> Result<()> {
        self.grow(group_count);
        if matches!(self.input, Input::Rows) && self.counts.is_none() {
            return Ok(());
        }
        let (numbers, mut keep) = self.read(rows, null_mode)?;
        self.leave_out(rows, null_mode, &mut keep)?;
        let kept: Vec<u32> = match &keep {
            Some(keep) => (0u32..)
                .zip(keep)
                .filter(|(_, keep)| **keep)
                .map(|(at, _)| at)
                .collect(),
            None => Vec::new(),
        };
        if keep.is_some() && kept.is_empty() {
            return Ok(());
        }
        let mut kept_groups = Vec::new();
        let (slots, count) = match (&keep, groups) {
            (None, _) => (groups, rows.count()),
            (Some(_), Slots::One) => (Slots::One, kept.len()),
            (Some(_), Slots::Each(groups)) => {
                kept_groups.extend(kept.iter().map(|at| groups[*at as usize]));
                (Slots::Each(&kept_groups), kept.len())
            }
        };
        if let Some(counts) = &mut self.counts {
            super::fold::count(slots, count, counts);
        }
        let kept = keep.is_some().then_some(kept.as_slice());
        match numbers {
            Some(Numbers::Long(values)) => {
                let values = RawValues::I64(&values);
                self.join(rows.len, None, kept, values, slots, count);
            }
            Some(Numbers::Double(values)) => {
                let values = RawValues::F64(&values);
                self.join(rows.len, None, kept, values, slots, count);
            }
            None => {
                if let Input::Raw(raw) = &self.input {
                    let values = raw.values(rows.start..rows.start + rows.len);
                    self.join(rows.len, rows.picked, kept, values, slots, count);
                }
            }
        }
        Ok(())
    }

    /// Values that are not simply in the column, and which of them are not null.
    fn read(
        &self,
        rows: BlockRows<'_>,
        null_mode: NullMode,
    ) -> Result<(Option<Numbers>, Option<Vec<bool>>)> {
        match &self.input {
            Input::Rows | Input::Raw(_) => Ok((None, None)),
            Input::Lookup {
                codes,
                values,
                valid,
            } => {
                let null_code = valid.len() - 1;
                let stored = codes.codes(rows.start..rows.start + rows.len);
                let code = |at: usize| {
                    let doc = rows.doc(at);
                    if self.nulls.is_some_and(|nulls| nulls.is_null(doc)) {
                        return null_code;
                    }
                    let row = (doc - rows.start) as usize;
                    match stored {
                        Codes::U8(codes) => usize::from(codes[row]),
                        Codes::U16(codes) => usize::from(codes[row]),
                        Codes::U32(codes) => codes[row] as usize,
                    }
                };
                let every = (0..rows.count()).map(code);
                let keep: Vec<bool> = every.clone().map(|code| valid[code]).collect();
                let numbers = match values {
                    Numbers::Long(values) => Numbers::Long(every.map(|c| values[c]).collect()),
                    Numbers::Double(values) => Numbers::Double(every.map(|c| values[c]).collect()),
                };
                Ok((Some(numbers), Some(keep)))
            }
            Input::Evaluated { inputs, sources } => {
                let columns = sources
                    .iter()
                    .map(|source| source.array(rows.start, rows.len, rows.picked, null_mode))
                    .collect::<Result<Vec<_>>>()?;
                let values = evaluated(inputs, columns, rows.count())?;
                let keep = (values.logical_null_count() > 0).then(|| validity(&values));
                let numbers = match self.state {
                    State::None => None,
                    State::Long(_) => Some(numbers(&values, Width::Long)?),
                    State::Double(_) => Some(numbers(&values, Width::Double)?),
                };
                Ok((numbers, keep))
            }
        }
    }

    /// Leaves nulls out, and rows that the aggregate's own filter does.
    fn leave_out(
        &self,
        rows: BlockRows<'_>,
        null_mode: NullMode,
        keep: &mut Option<Vec<bool>>,
    ) -> Result<()> {
        let is_lookup = matches!(self.input, Input::Lookup { .. });
        let range = rows.start..rows.start + rows.len;
        if let Some(nulls) = self.nulls
            && !is_lookup
            && nulls.any_in(range)
        {
            let keep = keep.get_or_insert_with(|| vec![true; rows.count()]);
            for (at, keep) in keep.iter_mut().enumerate() {
                *keep &= !nulls.is_null(rows.doc(at));
            }
        }
        let mask = match &self.filter {
            Filter::None => return Ok(()),
            Filter::Never => BlockMask::none(rows.len),
            Filter::Rows(conjuncts) => {
                let mut mask = match rows.picked {
                    None => BlockMask::all(rows.len),
                    Some(picked) => {
                        let mut mask = BlockMask::none(rows.len);
                        picked.iter().for_each(|row| mask.set(*row));
                        mask
                    }
                };
                for conjunct in conjuncts {
                    if mask.count() > 0 {
                        conjunct.apply(rows.start, &mut mask, null_mode)?;
                    }
                }
                mask
            }
        };
        let keep = keep.get_or_insert_with(|| vec![true; rows.count()]);
        for (at, keep) in keep.iter_mut().enumerate() {
            *keep &= mask.contains(rows.doc(at) - rows.start);
        }
        Ok(())
    }

    /// `picked` leads from a row to its value, `kept` from a kept row to a row.
    fn join(
        &mut self,
        len: u32,
        picked: Option<&[u32]>,
        kept: Option<&[u32]>,
        values: RawValues<'_>,
        slots: Slots<'_>,
        count: usize,
    ) {
        let both: Vec<u32>;
        let rows = match (picked, kept) {
            (None, rows) | (rows, None) => rows,
            (Some(picked), Some(kept)) => {
                both = kept.iter().map(|at| picked[*at as usize]).collect();
                Some(both.as_slice())
            }
        };
        let kind = self.kind;
        match &mut self.state {
            State::None => {}
            State::Long(state) => match values {
                RawValues::U8 { base, values } => {
                    join_long(kind, slots, count, rows, state, values, |v| {
                        base + i64::from(v)
                    });
                }
                RawValues::U16 { base, values } => {
                    join_long(kind, slots, count, rows, state, values, |v| {
                        base + i64::from(v)
                    });
                }
                RawValues::U32 { base, values } => {
                    let of = |v: u32| base.wrapping_add(i64::from(v));
                    join_long(kind, slots, count, rows, state, values, of);
                }
                RawValues::I32(values) => {
                    join_long(kind, slots, count, rows, state, values, i64::from);
                }
                RawValues::I64(values) => {
                    join_long(kind, slots, count, rows, state, values, |v| v);
                }
                other => {
                    let values = longs(other, None);
                    debug_assert_eq!(values.len(), len as usize);
                    join_long(kind, slots, count, rows, state, &values, |v| v);
                }
            },
            State::Double(state) => match values {
                RawValues::F64(values) => {
                    join_double(kind, slots, count, rows, state, values, |v| v);
                }
                RawValues::F32(values) => {
                    join_double(kind, slots, count, rows, state, values, f64::from);
                }
                other => {
                    let values = longs(other, None);
                    join_double(kind, slots, count, rows, state, &values, |v| v as f64);
                }
            },
        }
    }

    /// State columns of the groups at `used`, in the types of the partial aggregate.
    pub(super) fn states(
        &mut self,
        used: &[u32],
        row_counts: &[u64],
        types: &[DataType],
    ) -> Result<Vec<ArrayRef>> {
        self.grow(row_counts.len());
        let counts = self.counts.as_deref().unwrap_or(row_counts);
        let counts = || used.iter().map(|group| counts[*group as usize]);
        let values: ArrayRef = match &self.state {
            State::None => Arc::new(Int64Array::from_iter_values(counts().map(|n| n as i64))),
            State::Long(values) => {
                let values = used.iter().map(|group| values[*group as usize]);
                let seen = counts()
                    .zip(values)
                    .map(|(n, value)| (n > 0).then_some(value));
                Arc::new(seen.collect::<Int64Array>())
            }
            State::Double(values) => {
                let values = used.iter().map(|group| values[*group as usize]);
                let seen = counts()
                    .zip(values)
                    .map(|(n, value)| (n > 0).then_some(value));
                Arc::new(seen.collect::<Float64Array>())
            }
        };
        if self.kind == Kind::Avg {
            // Without values the count is null like the sum: 0 would make their quotient NaN.
            let counts = counts().map(|n| (n > 0).then_some(n));
            let counts: ArrayRef = Arc::new(counts.collect::<UInt64Array>());
            return Ok(vec![cast(&counts, &types[0])?, cast(&values, &types[1])?]);
        }
        Ok(vec![cast(&values, &types[0])?])
    }
}

const fn empty_long(kind: Kind) -> i64 {
    match kind {
        Kind::Min => i64::MAX,
        Kind::Max => i64::MIN,
        Kind::Count | Kind::Sum | Kind::Avg => 0,
    }
}

/// The ends of the total order: NaN is greater than every number.
const fn empty_double(kind: Kind) -> f64 {
    match kind {
        Kind::Min => f64::from_bits(0x7fff_ffff_ffff_ffff),
        Kind::Max => f64::from_bits(0xffff_ffff_ffff_ffff),
        Kind::Count | Kind::Sum | Kind::Avg => 0.0,
    }
}

fn join_long<T: Copy>(
    kind: Kind,
    slots: Slots<'_>,
    count: usize,
    rows: Option<&[u32]>,
    state: &mut [i64],
    values: &[T],
    of: impl Fn(T) -> i64 + Copy,
) {
    let empty = empty_long(kind);
    macro_rules! with {
        ($join:expr) => {
            match rows {
                None => {
                    let values = &values[..count];
                    fold(slots, count, state, empty, |at| of(values[at]), $join);
                }
                Some(rows) => {
                    fold(
                        slots,
                        count,
                        state,
                        empty,
                        |at| of(values[rows[at] as usize]),
                        $join,
                    );
                }
            }
        };
    }
    match kind {
        Kind::Min => with!(|a: i64, b: i64| a.min(b)),
        Kind::Max => with!(|a: i64, b: i64| a.max(b)),
        Kind::Count | Kind::Sum | Kind::Avg => with!(|a: i64, b: i64| a.wrapping_add(b)),
    }
}

fn join_double<T: Copy>(
    kind: Kind,
    slots: Slots<'_>,
    count: usize,
    rows: Option<&[u32]>,
    state: &mut [f64],
    values: &[T],
    of: impl Fn(T) -> f64 + Copy,
) {
    let empty = empty_double(kind);
    macro_rules! with {
        ($join:expr) => {
            match rows {
                None => {
                    let values = &values[..count];
                    fold(slots, count, state, empty, |at| of(values[at]), $join);
                }
                Some(rows) => {
                    fold(
                        slots,
                        count,
                        state,
                        empty,
                        |at| of(values[rows[at] as usize]),
                        $join,
                    );
                }
            }
        };
    }
    match kind {
        Kind::Min => with!(|a: f64, b: f64| if b.total_cmp(&a).is_lt() { b } else { a }),
        Kind::Max => with!(|a: f64, b: f64| if b.total_cmp(&a).is_gt() { b } else { a }),
        Kind::Count | Kind::Sum | Kind::Avg => with!(|a: f64, b: f64| a + b),
    }
}

/// How the argument is best read in this segment.
fn input<'a>(
    inputs: Inputs,
    sources: Vec<Source<'a>>,
    aggregate: &Aggregate,
    null_mode: NullMode,
) -> Result<(Input<'a>, Option<Nulls<'a>>)> {
    let is_column = inputs.expr.downcast_ref::<Column>().is_some();
    let [Source::Stored(column)] = &sources[..] else {
        return Ok((Input::Evaluated { inputs, sources }, None));
    };
    let nulls = match null_mode {
        NullMode::ThreeValued => column.nulls(),
        NullMode::Defaults => None,
    };
    if is_column && aggregate.kind == Kind::Count {
        return Ok((Input::Rows, nulls));
    }
    match column.values() {
        Values::Raw(raw) if is_column => Ok((Input::Raw(raw), nulls)),
        Values::Dictionary(codes) => {
            let dictionary = codes.array();
            let null = new_null_array(dictionary.data_type(), 1);
            let every = concat(&[dictionary.as_ref(), null.as_ref()])?;
            let count = every.len();
            // What fails for some code may never be asked for: then row by row.
            let Ok(values) = evaluated(&inputs, vec![every], count) else {
                return Ok((Input::Evaluated { inputs, sources }, None));
            };
            let valid = validity(&values);
            let values = match aggregate.kind {
                Kind::Count => Numbers::Long(vec![0; count]),
                _ => numbers(&values, aggregate.width)?,
            };
            Ok((
                Input::Lookup {
                    codes,
                    values,
                    valid,
                },
                nulls,
            ))
        }
        Values::Raw(_) => Ok((Input::Evaluated { inputs, sources }, None)),
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
