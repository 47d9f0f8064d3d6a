//! An order's column in one segment: numbers that ascend as the order wants it.
//!
//! Keys of one segment compare with each other alone; [`Place`]s compare across segments. A key
//! is the column's own number (value, or code of a dictionary), turned around where the order
//! descends, and beyond all numbers for null.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, internal_err};
use segment::view::{ColumnView, DictionaryColumn, Nulls, RawColumn, RawValues, Values, Zone};
use segment::{BLOCK_ROWS, SegmentView};

use crate::columns::{Source, Stored, doubles, longs};
use crate::gather::{blocks, codes};
use crate::predicate::Conjunct;

#[derive(Clone, Copy, Debug)]
pub(super) struct OrderColumn {
    /// Of the table.
    pub(super) column: usize,
    pub(super) options: SortOptions,
}

const NULL_FIRST: i128 = i128::MIN;
const NULL_LAST: i128 = i128::MAX - 1;

/// Every key is below it.
pub(super) const NO_LIMIT: i128 = i128::MAX;

/// A value of a column; all of one column are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    /// As whole numbers are, floats by their order.
    Number(i64),
    Text(Vec<u8>),
}

/// Where a row stands in the order of one column, whichever segment it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    NullFirst,
    Value(Cell),
    NullLast,
}

impl Place {
    pub(super) fn compare(&self, other: &Self, options: SortOptions) -> Ordering {
        let rank = |place: &Self| match place {
            Self::NullFirst => 0,
            Self::Value(_) => 1,
            Self::NullLast => 2,
        };
        match (self, other) {
            (Self::Value(a), Self::Value(b)) if options.descending => b.cmp(a),
            (Self::Value(a), Self::Value(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}

/// What a limit says of the rows of a block.
#[derive(Debug)]
pub(super) enum Cut<'a> {
    /// They must be looked at one by one.
    Look,
    Nothing,
    Rows(Box<Conjunct<'a>>),
}

#[derive(Debug)]
pub(super) struct Keys<'a> {
    kind: Kind<'a>,
    nulls: Option<Nulls<'a>>,
    options: SortOptions,
}

#[derive(Debug)]
enum Kind<'a> {
    Constant(ArrayRef),
    Raw(ColumnView<'a>, RawColumn<'a>),
    Codes(Codes<'a>),
}

#[derive(Debug)]
struct Codes<'a> {
    column: ColumnView<'a>,
    dictionary: DictionaryColumn<'a>,
    /// In their order, as the codes are.
    values: ArrayRef,
}

impl<'a> Keys<'a> {
    pub(super) fn new(source: Source<'a>, options: SortOptions) -> Result<Self> {
        let (kind, nulls) = match source {
            Source::Constant(value) => (Kind::Constant(value), None),
            Source::Stored(Stored { column, nulls }) => {
                let kind = match column.values() {
                    Values::Raw(values) => Kind::Raw(column, values),
                    Values::Dictionary(dictionary) => Kind::Codes(Codes::new(column, dictionary)),
                    Values::Multi(_) | Values::Bytes(_) => {
                        return internal_err!("a column without keys");
                    }
                };
                (kind, nulls)
            }
            Source::DocId | Source::Extracted(_) | Source::IsNull(_) => {
                return internal_err!("a column that is not stored has no key");
            }
        };
        Ok(Self {
            kind,
            nulls,
            options,
        })
    }

    fn null(&self) -> i128 {
        match self.options.nulls_first {
            true => NULL_FIRST,
            false => NULL_LAST,
        }
    }

    fn turned(&self, number: i64) -> i128 {
        match self.options.descending {
            true => i128::from(!number),
            false => i128::from(number),
        }
    }

    /// The key of each document.
    pub(super) fn keys(&self, documents: &[u32]) -> Vec<i128> {
        let turn = |number: i64| self.turned(number);
        let mut keys: Vec<i128> = match &self.kind {
            Kind::Constant(value) if value.is_null(0) => vec![self.null(); documents.len()],
            Kind::Constant(_) => vec![0; documents.len()],
            Kind::Raw(_, values) => {
                let numbers = blocks(documents).flat_map(|block| raw_keys(values, block));
                numbers.map(turn).collect()
            }
            Kind::Codes(own) => {
                let codes = codes(&own.dictionary, documents).into_iter();
                codes.map(|code| turn(i64::from(code))).collect()
            }
        };
        if let Some(nulls) = self.nulls {
            for (key, document) in keys.iter_mut().zip(documents) {
                if nulls.is_null(*document) {
                    *key = self.null();
                }
            }
        }
        keys
    }

    pub(super) fn place(&self, key: i128) -> Result<Place> {
        if key == NULL_FIRST {
            return Ok(Place::NullFirst);
        }
        if key == NULL_LAST {
            return Ok(Place::NullLast);
        }
        let number = match self.options.descending {
            true => !key as i64,
            false => key as i64,
        };
        Ok(Place::Value(match &self.kind {
            Kind::Constant(value) => cell(value, 0)?,
            Kind::Raw(..) => Cell::Number(number),
            Kind::Codes(own) => cell(&own.values, number as usize)?,
        }))
    }

    /// Keys of rows that come before `place`, or with `ties` at it, are below the result.
    pub(super) fn limit(&self, place: &Place, ties: bool) -> Result<i128> {
        let wanted = match place {
            Place::NullFirst => return Ok(NULL_FIRST + i128::from(ties)),
            Place::NullLast if ties => return Ok(NO_LIMIT),
            Place::NullLast => return Ok(NULL_LAST),
            Place::Value(cell) => cell,
        };
        let descending = self.options.descending;
        Ok(match &self.kind {
            Kind::Constant(_) => {
                let own = self.place(self.best())?;
                match own.compare(place, self.options) {
                    Ordering::Less => NO_LIMIT,
                    Ordering::Equal if ties => NO_LIMIT,
                    _ => NULL_FIRST + 1,
                }
            }
            Kind::Raw(..) => match wanted {
                Cell::Number(number) => self.turned(*number) + i128::from(ties),
                Cell::Text(_) => return internal_err!("a number compared with text"),
            },
            Kind::Codes(own) => {
                // Descending, values at `wanted` belong to the end that is left out.
                let at_or_below = own.count_below(wanted, ties != descending)?;
                match descending {
                    false => i128::from(at_or_below),
                    true => -i128::from(at_or_below),
                }
            }
        })
    }

    /// The rows of a block whose keys are below `limit`.
    pub(super) fn cut(&self, limit: i128) -> Cut<'a> {
        if limit == NO_LIMIT || (self.nulls.is_some() && self.options.nulls_first) {
            return Cut::Look;
        }
        let (low, high) = match self.options.descending {
            false => (i128::from(i64::MIN), limit - 1),
            true => (-limit, i128::from(i64::MAX)),
        };
        // Neither do the conjunct's numbers, where -0.0 is 0.
        let high = if high == -1 { 0 } else { high };
        let end = |end: i128| end.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        match &self.kind {
            _ if low > i128::from(i64::MAX) || high < i128::from(i64::MIN) => Cut::Nothing,
            _ if limit == NULL_LAST => Cut::Look,
            Kind::Raw(column, values) => {
                let ends = (end(low), end(high));
                let conjunct = Conjunct::within(ends, *column, *values, self.nulls);
                Cut::Rows(Box::new(conjunct))
            }
            Kind::Codes(own) => {
                let last = i128::from(own.dictionary.cardinality()) - 1;
                let (low, high) = (low.max(0), high.min(last));
                if low > high {
                    return Cut::Nothing;
                }
                let range = low as u32..=high as u32;
                let conjunct = Conjunct::among(range, own.dictionary, self.nulls);
                Cut::Rows(Box::new(conjunct))
            }
            Kind::Constant(_) => Cut::Look,
        }
    }

    /// No key of the block is below it.
    pub(super) fn best_of_block(&self, block: u32, rows: u32) -> i128 {
        let (start, end) = (block * BLOCK_ROWS, rows.min((block + 1) * BLOCK_ROWS));
        if self.options.nulls_first && self.nulls.is_some_and(|nulls| nulls.any_in(start..end)) {
            return NULL_FIRST;
        }
        let row = match self.options.descending {
            true => end - 1,
            false => start,
        };
        match &self.kind {
            Kind::Raw(column, _) => self.best_of_zone(column.zone(block)),
            Kind::Codes(own) if let Some((least, greatest)) = own.column.code_zone(block) => self
                .turned(i64::from(match self.options.descending {
                    true => greatest,
                    false => least,
                })),
            Kind::Codes(own) if own.column.is_sorted() => {
                let code = codes(&own.dictionary, &[row])[0];
                self.turned(i64::from(code))
            }
            _ => self.best(),
        }
    }

    fn best_of_zone(&self, zone: Option<Zone>) -> i128 {
        let ends = match zone {
            None => return NULL_FIRST,
            Some(Zone::I64 { min, max }) => (min, max),
            // A zone does not tell the two zeros apart.
            Some(Zone::F64 { min, max }) => {
                let zero = |end: f64, zero: f64| if end == 0.0 { zero } else { end };
                (total_key(zero(min, -0.0)), total_key(zero(max, 0.0)))
            }
        };
        match self.options.descending {
            true => self.turned(ends.1),
            false => self.turned(ends.0),
        }
    }

    /// No key of the segment is below it, as far as that is known without its blocks.
    fn best(&self) -> i128 {
        match &self.kind {
            Kind::Constant(value) if value.is_null(0) => self.null(),
            Kind::Constant(_) => 0,
            Kind::Raw(..) => NULL_FIRST,
            Kind::Codes(own) => match self.options.descending {
                true => self.turned(i64::from(own.dictionary.cardinality()) - 1),
                false => 0,
            },
        }
    }

    /// The blocks, the most promising first, with their best keys.
    pub(super) fn blocks(&self, view: &SegmentView) -> Vec<(i128, u32)> {
        let rows = view.row_count();
        let blocks = 0..rows.div_ceil(BLOCK_ROWS);
        let best = |block: u32| (self.best_of_block(block, rows), block);
        let mut blocks: Vec<(i128, u32)> = match self.options.descending {
            // Of equal ones the newest first.
            true => blocks.rev().map(best).collect(),
            false => blocks.map(best).collect(),
        };
        blocks.sort_by_key(|(best, _)| *best);
        blocks
    }
}

impl<'a> Codes<'a> {
    fn new(column: ColumnView<'a>, dictionary: DictionaryColumn<'a>) -> Self {
        let dictionary = dictionary.in_order();
        Self {
            column,
            values: dictionary.array(),
            dictionary,
        }
    }

    /// Values below `wanted`, or with `and_equal` also at it.
    fn count_below(&self, wanted: &Cell, and_equal: bool) -> Result<u32> {
        let (mut low, mut high) = (0, self.dictionary.cardinality());
        while low < high {
            let middle = low.midpoint(high);
            let is_below = match cell(&self.values, middle as usize)?.cmp(wanted) {
                Ordering::Less => true,
                Ordering::Equal => and_equal,
                Ordering::Greater => false,
            };
            match is_below {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }
}

/// Ascends as sorts want floats: -NaN, -∞, …, -0.0, 0.0, …, ∞, NaN.
fn total_key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Documents of one block.
fn raw_keys(values: &RawColumn<'_>, block: &[u32]) -> Vec<i64> {
    let start = block[0] / BLOCK_ROWS * BLOCK_ROWS;
    let end = block.iter().max().map_or(start, |last| last + 1);
    let rows: Vec<u32> = block.iter().map(|document| document - start).collect();
    let at = |row: &u32| *row as usize;
    match values.values(start..end) {
        RawValues::F32(values) => {
            let values = rows.iter().map(|row| f64::from(values[at(row)]));
            values.map(total_key).collect()
        }
        values @ (RawValues::F64(_) | RawValues::Scaled { .. }) => {
            let values = doubles(values, Some(&rows)).into_iter();
            values.map(total_key).collect()
        }
        whole => longs(whole, Some(&rows)),
    }
}

fn cell(values: &ArrayRef, at: usize) -> Result<Cell> {
    Ok(match values.data_type() {
        DataType::Utf8View => Cell::Text(values.as_string_view().value(at).as_bytes().to_vec()),
        DataType::BinaryView => Cell::Text(values.as_binary_view().value(at).to_vec()),
        own if own.is_floating() => {
            let wide = cast(&values.slice(at, 1), &DataType::Float64)?;
            Cell::Number(total_key(wide.as_primitive::<Float64Type>().value(0)))
        }
        _ => {
            let wide = cast(&values.slice(at, 1), &DataType::Int64)?;
            Cell::Number(wide.as_primitive::<Int64Type>().value(0))
        }
    })
}
