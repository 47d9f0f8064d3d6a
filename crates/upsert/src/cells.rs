//! Values of a column as keys and comparisons want them: from a batch that comes in and from the
//! rows of a segment alike. A null is the default of its column, as it is stored.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, Float64Array, Int64Array, RecordBatch,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Float64Type, Int64Type};
use arrow::error::ArrowError;
use schemas::{ColumnSpec, DataType};
use segment::view::{CodeRoom, Values};
use segment::{SegmentError, SegmentView, default_array};

/// Those of some rows.
#[derive(Debug)]
pub(crate) enum Cells {
    Longs(Vec<i64>),
    Doubles(Vec<f64>),
    Bytes(Bytes),
}

#[derive(Debug)]
pub(crate) struct Bytes {
    values: BinaryViewArray,
    /// Of each row among the values; `None`: there is one for each row.
    places: Option<Vec<u32>>,
}

impl Bytes {
    pub(crate) fn at(&self, row: usize) -> &[u8] {
        match &self.places {
            None => self.values.value(row),
            Some(places) => self.values.value(places[row] as usize),
        }
    }
}

/// A column and what stands for null.
#[derive(Clone, Debug)]
pub(crate) struct CellColumn {
    pub(crate) name: String,
    data_type: DataType,
    default: ArrayRef,
}

impl CellColumn {
    pub(crate) fn new(column: &ColumnSpec) -> Result<Self, SegmentError> {
        Ok(Self {
            name: column.name.clone(),
            data_type: column.data_type,
            default: default_array(column)?,
        })
    }

    pub(crate) fn is_whole_number(&self) -> bool {
        matches!(
            self.data_type,
            DataType::Int | DataType::Long | DataType::Timestamp | DataType::Boolean
        )
    }

    pub(crate) fn is_text(&self) -> bool {
        self.data_type == DataType::String
    }

    /// The column, of numbers, with other values in some rows: as [`Cells::in_order`] gives them.
    pub(crate) fn with(
        &self,
        array: &ArrayRef,
        values: &[(usize, i64)],
    ) -> Result<ArrayRef, ArrowError> {
        let own = array.data_type();
        if own.is_floating() {
            let wide = cast(array, &ArrowType::Float64)?;
            let mut all: Vec<Option<f64>> = wide.as_primitive::<Float64Type>().iter().collect();
            for (row, value) in values {
                all[*row] = Some(of_ordered(*value));
            }
            return cast(&Float64Array::from(all), own);
        }
        let wide = cast(array, &ArrowType::Int64)?;
        let mut all: Vec<Option<i64>> = wide.as_primitive::<Int64Type>().iter().collect();
        for (row, value) in values {
            all[*row] = Some(*value);
        }
        cast(&Int64Array::from(all), own)
    }

    /// Of all rows of a batch, which may have more columns than the table had.
    pub(crate) fn of_batch(&self, batch: &RecordBatch) -> Result<Cells, SegmentError> {
        let array = batch.column_by_name(&self.name);
        let array = array.ok_or_else(|| SegmentError::Batch {
            what: format!("it has no column `{}`", self.name),
        })?;
        let rows = array.len();
        let values = self.plain(array)?;
        let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) else {
            return Ok(values);
        };
        let default = self.plain(&self.default)?;
        Ok(match (values, default) {
            (Cells::Longs(values), Cells::Longs(default)) => {
                let own = (0..rows).map(|row| match nulls.is_null(row) {
                    true => default[0],
                    false => values[row],
                });
                Cells::Longs(own.collect())
            }
            (Cells::Doubles(values), Cells::Doubles(default)) => {
                let own = (0..rows).map(|row| match nulls.is_null(row) {
                    true => default[0],
                    false => values[row],
                });
                Cells::Doubles(own.collect())
            }
            (Cells::Bytes(values), Cells::Bytes(default)) => {
                let own = (0..rows).map(|row| match nulls.is_null(row) {
                    true => default.at(0),
                    false => values.at(row),
                });
                Cells::Bytes(Bytes {
                    values: BinaryViewArray::from_iter_values(own),
                    places: None,
                })
            }
            _ => return Err(self.unlike()),
        })
    }

    /// The column in a segment.
    pub(crate) fn of_segment<'a>(
        &'a self,
        view: &'a SegmentView,
    ) -> Result<SegmentCells<'a>, SegmentError> {
        let values = view.column(&self.name)?.map(|column| column.values());
        let dictionary = match &values {
            None => Some(self.plain(&self.default)?),
            Some(Values::Dictionary(dictionary)) => Some(self.plain(&dictionary.array())?),
            Some(Values::Multi(_)) => return Err(self.unlike()),
            Some(Values::Raw(_) | Values::Bytes(_)) => None,
        };
        Ok(SegmentCells {
            column: self,
            values,
            dictionary,
        })
    }

    fn plain(&self, array: &ArrayRef) -> Result<Cells, SegmentError> {
        let to = |wanted: &ArrowType| cast(array, wanted).map_err(|_| self.unlike());
        Ok(match array.data_type() {
            ArrowType::Utf8View => Cells::Bytes(Bytes {
                values: array.as_string_view().clone().to_binary_view(),
                places: None,
            }),
            ArrowType::BinaryView => Cells::Bytes(Bytes {
                values: array.as_binary_view().clone(),
                places: None,
            }),
            ArrowType::Float32 | ArrowType::Float64 => {
                let doubles = to(&ArrowType::Float64)?;
                Cells::Doubles(doubles.as_primitive::<Float64Type>().values().to_vec())
            }
            ArrowType::List(_) | ArrowType::Decimal256(..) => return Err(self.unlike()),
            _ => {
                let longs = to(&ArrowType::Int64)?;
                Cells::Longs(longs.as_primitive::<Int64Type>().values().to_vec())
            }
        })
    }

    /// The config has none such: it was checked.
    fn unlike(&self) -> SegmentError {
        let what = format!("column `{}` cannot be compared or be of a key", self.name);
        SegmentError::Batch { what }
    }
}

/// A column of one segment, whose dictionary is taken apart once.
#[derive(Debug)]
pub(crate) struct SegmentCells<'a> {
    column: &'a CellColumn,
    /// `None`: the segment was written before the column existed.
    values: Option<Values<'a>>,
    dictionary: Option<Cells>,
}

impl SegmentCells<'_> {
    /// Of rows of one block.
    pub(crate) fn read(&self, rows: Range<u32>) -> Result<Cells, SegmentError> {
        let mut room = CodeRoom::default();
        Ok(match (&self.values, &self.dictionary) {
            (Some(Values::Dictionary(own)), Some(dictionary)) => {
                let codes = own.codes(rows, &mut room);
                dictionary.picked((0..codes.len()).map(|at| codes.get(at)).collect())
            }
            (_, Some(default)) => default.picked(vec![0; rows.len()]),
            (Some(Values::Raw(own)), _) if self.column.is_whole_number() => {
                let mut longs = Vec::with_capacity(rows.len());
                own.values(rows).longs_into(&mut longs);
                Cells::Longs(longs)
            }
            (Some(Values::Raw(own)), _) => {
                let mut doubles = Vec::with_capacity(rows.len());
                own.values(rows).doubles_into(&mut doubles);
                Cells::Doubles(doubles)
            }
            (Some(Values::Bytes(texts)), _) => self.column.plain(&texts.array(rows)?)?,
            _ => return Err(self.column.unlike()),
        })
    }
}

impl Cells {
    /// Those at `places`.
    fn picked(&self, places: Vec<u32>) -> Self {
        match self {
            Self::Longs(values) => {
                Self::Longs(places.iter().map(|at| values[*at as usize]).collect())
            }
            Self::Doubles(values) => {
                Self::Doubles(places.iter().map(|at| values[*at as usize]).collect())
            }
            Self::Bytes(bytes) => Self::Bytes(Bytes {
                values: bytes.values.clone(),
                places: Some(places),
            }),
        }
    }

    /// Numbers in their order: of floats as sorts want them, with both zeros alike.
    pub(crate) fn in_order(self) -> Vec<i64> {
        match self {
            Self::Longs(values) => values,
            Self::Doubles(values) => values.into_iter().map(ordered).collect(),
            Self::Bytes(_) => Vec::new(),
        }
    }
}

/// Ascends with the value; NaN is the greatest.
pub(crate) fn ordered(value: f64) -> i64 {
    let value = if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    };
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn of_ordered(ordered: i64) -> f64 {
    let bits = ordered ^ (((ordered >> 63) as u64) >> 1) as i64;
    f64::from_bits(bits as u64)
}

/// Several columns, and how their values make a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyColumns {
    pub(crate) columns: Arc<[CellColumn]>,
    seeds: [u64; 2],
}

impl KeyColumns {
    pub(crate) fn new(columns: Vec<CellColumn>, seeds: [u64; 2]) -> Self {
        Self {
            columns: columns.into(),
            seeds,
        }
    }

    /// One number is its own key.
    pub(crate) fn is_number(&self) -> bool {
        self.columns.len() == 1 && self.columns[0].is_whole_number()
    }

    /// The keys of `rows` rows. One of two words is a hash of 128 bits: that two of 10^12 keys
    /// have the same is less likely than 1 in 10^14.
    pub(crate) fn keys<const W: usize>(&self, rows: usize, cells: &[Cells]) -> Vec<[u64; W]> {
        if let ([Cells::Longs(values)], 1) = (cells, W) {
            return values.iter().map(|value| [*value as u64; W]).collect();
        }
        let states = self.seeds.map(foldhash::quality::FixedState::with_seed);
        let hashed = |bytes: &[u8]| {
            let mut key = [0; W];
            for (word, state) in key.iter_mut().zip(&states) {
                *word = std::hash::BuildHasher::hash_one(state, bytes);
            }
            key
        };
        if let [Cells::Bytes(bytes)] = cells {
            return (0..rows).map(|row| hashed(bytes.at(row))).collect();
        }
        let mut room = Vec::new();
        let key = |row| {
            room.clear();
            cells.iter().for_each(|cells| put(cells, row, &mut room));
            hashed(&room)
        };
        (0..rows).map(key).collect()
    }
}

fn put(cells: &Cells, row: usize, room: &mut Vec<u8>) {
    match cells {
        Cells::Longs(values) => room.extend_from_slice(&values[row].to_le_bytes()),
        Cells::Doubles(values) => room.extend_from_slice(&ordered(values[row]).to_le_bytes()),
        Cells::Bytes(bytes) => {
            let bytes = bytes.at(row);
            room.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            room.extend_from_slice(bytes);
        }
    }
}
