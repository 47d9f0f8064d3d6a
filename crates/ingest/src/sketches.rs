//! Sketches that roll-up keeps in BYTES columns: of one value each as a row comes in, joined as
//! rows become one. They are what the query engine's aggregates of the same names read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Decimal256Type, Float64Type, Int32Type, Int64Type};
use index::CorruptIndex;
use index::sketch::{
    DIGEST_SIZE, HyperLogLog, TDigest, ThetaSketch, hash_bytes, hash_decimal, hash_i32, hash_i64,
};
use schemas::decoding::RollUpFunction as Function;
use schemas::{ColumnSpec, DataType};

use crate::convert::{Wrong, unpacked};

#[derive(Debug)]
pub(crate) enum Sketch {
    Hll(HyperLogLog),
    Theta(Box<ThetaSketch>),
    Digest(TDigest),
}

impl Sketch {
    /// `None`: the function keeps none.
    pub(crate) fn new(function: Function) -> Option<Self> {
        Some(match function {
            Function::DistinctCountHll => Self::Hll(HyperLogLog::default()),
            // It fails for no size that is a constant.
            Function::DistinctCountThetaSketch => Self::Theta(Box::new(ThetaSketch::new().ok()?)),
            Function::PercentileTDigest => Self::Digest(TDigest::new(DIGEST_SIZE)),
            Function::Count | Function::Sum | Function::Min | Function::Max => return None,
        })
    }

    pub(crate) fn join(&mut self, state: &[u8]) -> Result<(), CorruptIndex> {
        match self {
            Self::Hll(sketch) => sketch.merge_state(state),
            Self::Theta(sketch) => sketch.merge_state(state),
            Self::Digest(digest) => {
                digest.merge(&TDigest::of_bytes(state)?);
                Ok(())
            }
        }
    }

    pub(crate) fn state(&mut self) -> Result<Vec<u8>, CorruptIndex> {
        match self {
            Self::Hll(sketch) => {
                let mut state = Vec::new();
                sketch.write_state(&mut state);
                Ok(state)
            }
            Self::Theta(sketch) => sketch.state(),
            Self::Digest(digest) => Ok(digest.to_bytes()),
        }
    }
}

/// What a column of sketches is made of: values of this column, or sketches. An error: it cannot
/// be made of such.
pub(crate) fn check(function: Function, source: &ColumnSpec) -> Result<(), String> {
    let data_type = source.data_type;
    let is_number = data_type.is_numeric();
    let fits = match function {
        _ if data_type == DataType::Bytes => true,
        Function::PercentileTDigest => is_number,
        Function::DistinctCountHll => !matches!(
            data_type,
            DataType::Float | DataType::Double | DataType::Boolean
        ),
        Function::DistinctCountThetaSketch => data_type != DataType::BigDecimal,
        Function::Count | Function::Sum | Function::Min | Function::Max => true,
    };
    match fits && !source.multi_value {
        true => Ok(()),
        false => {
            let several = if source.multi_value {
                " of several values"
            } else {
                ""
            };
            let name = &source.name;
            Err(format!(
                "`{name}` is {data_type}{several}, of which no such sketch is made"
            ))
        }
    }
}

/// A sketch for each value of the array, or the sketches that it holds. One that cannot be read is
/// null, and told in `wrong`.
pub(crate) fn of_values(function: Function, array: &ArrayRef, wrong: &mut Wrong) -> ArrayRef {
    let array = unpacked(array);
    let mut made = BinaryViewBuilder::with_capacity(array.len());
    let Some(mut read) = reader(function, &array) else {
        for wrong in wrong.iter_mut() {
            wrong.get_or_insert_with(|| format!("no sketch is made of {}", array.data_type()));
        }
        return arrow::array::new_null_array(&ArrowType::BinaryView, array.len());
    };
    for (row, wrong) in wrong.iter_mut().enumerate() {
        if array.is_null(row) {
            made.append_null();
            continue;
        }
        match read(row) {
            Ok(state) => made.append_value(state),
            Err(error) => {
                wrong.get_or_insert_with(|| error.to_string());
                made.append_null();
            }
        }
    }
    Arc::new(made.finish())
}

type Read = Box<dyn FnMut(usize) -> Result<Vec<u8>, CorruptIndex>>;

/// The state of a row that is not null; `None`: values of such a type have none.
fn reader(function: Function, array: &ArrayRef) -> Option<Read> {
    if let Some(bytes) = array.as_binary_view_opt().cloned() {
        return Some(Box::new(move |row| {
            let (state, mut read) = (bytes.value(row), Sketch::new(function));
            read.as_mut().map_or(Ok(()), |read| read.join(state))?;
            Ok(state.to_vec())
        }));
    }
    match function {
        Function::DistinctCountHll => {
            let hash = hasher(array)?;
            Some(Box::new(move |row| Ok(hash(row).to_le_bytes().to_vec())))
        }
        Function::DistinctCountThetaSketch => thetas(array),
        Function::PercentileTDigest => {
            let doubles = cast(array, &ArrowType::Float64).ok()?;
            let doubles = doubles.as_primitive::<Float64Type>().clone();
            Some(Box::new(move |row| {
                let mut digest = TDigest::new(DIGEST_SIZE);
                digest.add_sorted(&[(doubles.value(row), 1)]);
                Ok(digest.to_bytes())
            }))
        }
        Function::Count | Function::Sum | Function::Min | Function::Max => None,
    }
}

/// As the engine hashes values of this type.
fn hasher(array: &ArrayRef) -> Option<Box<dyn Fn(usize) -> u64>> {
    Some(match array.data_type() {
        ArrowType::Int32 => {
            let values = array.as_primitive::<Int32Type>().clone();
            Box::new(move |row| hash_i32(values.value(row)))
        }
        ArrowType::Int64 | ArrowType::Timestamp(..) => {
            let values = longs(array)?;
            Box::new(move |row| hash_i64(values.value(row)))
        }
        ArrowType::Decimal256(..) => {
            let values = array.as_primitive::<Decimal256Type>().clone();
            Box::new(move |row| {
                let (low, high) = values.value(row).to_parts();
                hash_decimal(low, high)
            })
        }
        ArrowType::Utf8View => {
            let texts = array.as_string_view().clone();
            Box::new(move |row| hash_bytes(texts.value(row).as_bytes()))
        }
        _ => return None,
    })
}

fn longs(array: &ArrayRef) -> Option<arrow::array::Int64Array> {
    let longs = cast(array, &ArrowType::Int64).ok()?;
    Some(longs.as_primitive::<Int64Type>().clone())
}

fn thetas(array: &ArrayRef) -> Option<Read> {
    let of = |add: &dyn Fn(&mut ThetaSketch)| {
        let mut sketch = ThetaSketch::new()?;
        add(&mut sketch);
        sketch.state()
    };
    Some(match array.data_type() {
        ArrowType::Utf8View => {
            let texts = array.as_string_view().clone();
            Box::new(move |row| of(&|sketch| sketch.add_text(texts.value(row))))
        }
        ArrowType::Float32 | ArrowType::Float64 => {
            let doubles = cast(array, &ArrowType::Float64).ok()?;
            let doubles = doubles.as_primitive::<Float64Type>().clone();
            Box::new(move |row| of(&|sketch| sketch.add_double(doubles.value(row))))
        }
        _ => {
            let longs = longs(array)?;
            Box::new(move |row| of(&|sketch| sketch.add_long(longs.value(row))))
        }
    })
}
