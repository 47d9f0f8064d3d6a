//! One column of a consuming segment: what readers see of it, and the half that writes.

use arrow::array::{Array, AsArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType as ArrowType, Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMillisecondType, i256,
};
use schemas::arrow::{arrow_type, entry_field};
use schemas::{ColumnSpec, DataType};

use super::derived::Kept;
use super::dictionary::{DictionaryReader, DictionaryWriter, dictionary};
use super::few::{FewValues, FewWriter, few};
use super::multi::{Multi, MultiWriter, multi};
use super::nulls::NullBits;
use super::text::TextChunks;
use super::zones::Zones;
use crate::SegmentError;
use crate::defaults::DefaultValue;
use crate::prefix::{Prefix, PrefixWriter, prefix};
use crate::raw::RawValues;

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) values: Values,
    pub(crate) nulls: NullBits,
    pub(crate) text: Option<TextChunks>,
    pub(crate) zones: Zones,
    /// Beside whole numbers.
    pub(crate) few: Option<FewValues>,
    pub(crate) kept: Kept,
}

/// Strings are dictionary coded from the first row, numbers stay as they are until the seal.
#[derive(Debug)]
pub(crate) enum Values {
    Dictionary {
        codes: Prefix<u32>,
        dictionary: DictionaryReader,
    },
    Boolean(Prefix<u8>),
    I32(Prefix<i32>),
    I64(Prefix<i64>),
    F32(Prefix<f32>),
    F64(Prefix<f64>),
    I256(Prefix<i256>),
    Multi(Multi),
}

impl Values {
    /// Of numbers, one a row.
    pub(crate) fn slice(&self, rows: std::ops::Range<usize>) -> RawValues<'_> {
        match self {
            Self::Boolean(values) => RawValues::U8 {
                base: 0,
                values: values.slice(rows),
            },
            Self::I32(values) => RawValues::I32(values.slice(rows)),
            Self::I64(values) => RawValues::I64(values.slice(rows)),
            Self::F32(values) => RawValues::F32(values.slice(rows)),
            Self::F64(values) => RawValues::F64(values.slice(rows)),
            Self::I256(values) => RawValues::I256(values.slice(rows)),
            Self::Dictionary { .. } | Self::Multi(_) => {
                unreachable!("dictionaries are read by their codes")
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Dictionary { codes, dictionary } => codes.len() * 4 + dictionary.bytes(),
            Self::Boolean(values) => values.len(),
            Self::I32(values) => values.len() * 4,
            Self::I64(values) => values.len() * 8,
            Self::F32(values) => values.len() * 4,
            Self::F64(values) => values.len() * 8,
            Self::I256(values) => values.len() * 32,
            Self::Multi(multi) => multi.bytes(),
        }
    }
}

impl Column {
    /// Values published so far; every code that is published is below it.
    pub(crate) fn cardinality(&self) -> u32 {
        match &self.values {
            Values::Dictionary { dictionary, .. } => dictionary.cardinality(),
            Values::Multi(multi) => multi.dictionary.cardinality(),
            _ => self.few.as_ref().map_or(0, FewValues::cardinality),
        }
    }

    /// Codes of the first `rows` rows, where numbers have some.
    pub(crate) fn few(&self, rows: u32) -> Option<&FewValues> {
        self.few.as_ref().filter(|few| few.cover(rows))
    }

    pub(crate) fn arrow_type(&self) -> ArrowType {
        let one = arrow_type(self.data_type);
        match &self.values {
            Values::Multi(_) => ArrowType::List(entry_field(one)),
            _ => one,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let text = self.text.as_ref().map_or(0, TextChunks::bytes);
        let few = self.few.as_ref().map_or(0, FewValues::bytes);
        self.values.bytes() + self.nulls.bytes() + text + few
    }

    /// Only its values are wanted, for which nobody asks.
    pub(crate) fn unasked(&mut self) {
        self.text = None;
        self.few = None;
    }

    /// With the text index that the table asks for.
    pub(crate) fn with_text(mut self, spec: &ColumnSpec) -> Self {
        if matches!(self.values, Values::Dictionary { .. }) {
            self.text = spec.text_index.as_ref().and_then(TextChunks::new);
        }
        self
    }

    /// Called by the writer, when rows were added.
    pub(crate) fn index_texts(&self) -> Result<(), SegmentError> {
        match (&self.text, &self.values) {
            (Some(text), Values::Dictionary { dictionary, .. }) => text.extend(dictionary),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(crate) enum ColumnWriter {
    Dictionary {
        codes: PrefixWriter<u32>,
        dictionary: DictionaryWriter,
        default: Vec<u8>,
        scratch: Vec<u32>,
    },
    Boolean(Plain<u8>),
    I32(Plain<i32>),
    I64(Plain<i64>),
    F32(Plain<f32>),
    F64(Plain<f64>),
    I256(Plain<i256>),
    Multi(MultiWriter),
}

#[derive(Debug)]
pub(crate) struct Plain<T> {
    values: PrefixWriter<T>,
    default: T,
    scratch: Vec<T>,
    /// Until there are too many.
    few: Option<FewWriter>,
}

pub(crate) fn multi_value(
    name: &str,
    data_type: DataType,
    default: DefaultValue,
) -> (ColumnWriter, Column) {
    let (writer, values) = multi(data_type, default.into_entry());
    let column = Column {
        name: name.to_owned(),
        data_type,
        values: Values::Multi(values),
        nulls: NullBits::new(),
        text: None,
        zones: Zones::default(),
        few: None,
        kept: Kept::default(),
    };
    (ColumnWriter::Multi(writer), column)
}

pub(crate) fn column(
    name: &str,
    data_type: DataType,
    default: DefaultValue,
) -> (ColumnWriter, Column) {
    let (writer, values) = match default {
        DefaultValue::Bytes(default) => {
            let (code_writer, codes) = prefix();
            let (dictionary_writer, dictionary) = dictionary(data_type);
            let writer = ColumnWriter::Dictionary {
                codes: code_writer,
                dictionary: dictionary_writer,
                default,
                scratch: Vec::new(),
            };
            (writer, Values::Dictionary { codes, dictionary })
        }
        DefaultValue::Long(default) => match data_type {
            DataType::Boolean => plain(default as u8, ColumnWriter::Boolean, Values::Boolean),
            DataType::Int => plain(default as i32, ColumnWriter::I32, Values::I32),
            _ => plain(default, ColumnWriter::I64, Values::I64),
        },
        DefaultValue::Float(default) => plain(default, ColumnWriter::F32, Values::F32),
        DefaultValue::Double(default) => plain(default, ColumnWriter::F64, Values::F64),
        DefaultValue::Decimal(default) => plain(default, ColumnWriter::I256, Values::I256),
    };
    let column = Column {
        name: name.to_owned(),
        data_type,
        values,
        nulls: NullBits::new(),
        text: None,
        zones: Zones::default(),
        few: None,
        kept: Kept::default(),
    };
    (writer, column)
}

/// With codes of its whole numbers, as long as these are few.
pub(crate) fn with_few((mut writer, mut column): (ColumnWriter, Column)) -> (ColumnWriter, Column) {
    let place = match (&mut writer, column.data_type) {
        (ColumnWriter::I32(plain), DataType::Int) => &mut plain.few,
        (ColumnWriter::I64(plain), DataType::Long) => &mut plain.few,
        _ => return (writer, column),
    };
    let (few_writer, values) = few(column.data_type);
    *place = Some(few_writer);
    column.few = Some(values);
    (writer, column)
}

fn plain<T: Copy>(
    default: T,
    writer: impl FnOnce(Plain<T>) -> ColumnWriter,
    reader: impl FnOnce(Prefix<T>) -> Values,
) -> (ColumnWriter, Values) {
    let (values, published) = prefix();
    let plain = Plain {
        values,
        default,
        scratch: Vec::new(),
        few: None,
    };
    (writer(plain), reader(published))
}

impl ColumnWriter {
    /// Whether [`Self::append`] can take the array, which has the Arrow type of the column.
    pub(crate) fn has_room(&self, array: &dyn Array) -> bool {
        match self {
            Self::Dictionary { dictionary, .. } => {
                let lengths = views_of(array).iter().map(|view| *view as u32 as usize);
                dictionary.has_room(lengths.sum())
            }
            Self::Multi(multi) => multi.has_room(array),
            _ => true,
        }
    }

    /// Adds the rows of `array`, the first of which is row `first`; they are not yet published.
    pub(crate) fn append(&mut self, array: &dyn Array, first: u32, nulls: &NullBits) {
        if let Self::Multi(multi) = self {
            return multi.append(array, first, nulls);
        }
        let null_buffer = array.nulls().filter(|nulls| nulls.null_count() > 0);
        for row in null_rows(null_buffer) {
            nulls.set(first + row);
        }
        match self {
            Self::Dictionary {
                codes,
                dictionary,
                default,
                scratch,
            } => {
                intern_all(array, null_buffer, dictionary, default, scratch);
                codes.extend(scratch);
            }
            Self::Boolean(plain) => {
                let values = array.as_boolean().values().iter().map(u8::from);
                let values: Vec<u8> = values.collect();
                plain.append(&values, null_buffer);
            }
            Self::I32(plain) => {
                plain.append_whole(array.as_primitive::<Int32Type>().values(), null_buffer);
            }
            Self::I64(plain) => plain.append_whole(longs_of(array), null_buffer),
            Self::F32(plain) => {
                plain.append(array.as_primitive::<Float32Type>().values(), null_buffer);
            }
            Self::F64(plain) => {
                plain.append(array.as_primitive::<Float64Type>().values(), null_buffer);
            }
            Self::I256(plain) => {
                plain.append(array.as_primitive::<Decimal256Type>().values(), null_buffer);
            }
            Self::Multi(_) => unreachable!("appended above"),
        }
    }

    /// Only values are wanted.
    pub(crate) fn unasked(&mut self) {
        match self {
            Self::I32(plain) => plain.few = None,
            Self::I64(plain) => plain.few = None,
            _ => {}
        }
    }
}

impl<T: Copy + Into<i64>> Plain<T> {
    fn append_whole(&mut self, values: &[T], nulls: Option<&NullBuffer>) {
        self.append(values, nulls);
        let held = match nulls {
            None => values,
            Some(_) => &self.scratch,
        };
        let held = held.iter().map(|value| (*value).into());
        if self.few.as_mut().is_some_and(|few| !few.append(held)) {
            self.few = None;
        }
    }
}

impl<T: Copy> Plain<T> {
    fn append(&mut self, values: &[T], nulls: Option<&NullBuffer>) {
        if nulls.is_none() {
            return self.values.extend(values);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(values);
        for row in null_rows(nulls) {
            self.scratch[row as usize] = self.default;
        }
        self.values.extend(&self.scratch);
    }
}

fn intern_all(
    array: &dyn Array,
    nulls: Option<&NullBuffer>,
    dictionary: &mut DictionaryWriter,
    default: &[u8],
    codes: &mut Vec<u32>,
) {
    codes.clear();
    dictionary.begin_array();
    let buffers = match array.as_string_view_opt() {
        Some(strings) => strings.data_buffers(),
        None => array.as_binary_view().data_buffers(),
    };
    let views = views_of(array);
    match nulls {
        None => dictionary.intern_views(views, buffers, codes),
        Some(nulls) => codes.extend(views.iter().enumerate().map(|(row, view)| {
            if nulls.is_null(row) {
                dictionary.intern(default)
            } else {
                dictionary.intern_view(*view, buffers)
            }
        })),
    }
}

pub(super) fn views_of(array: &dyn Array) -> &ScalarBuffer<u128> {
    match array.as_string_view_opt() {
        Some(strings) => strings.views(),
        None => array.as_binary_view().views(),
    }
}

fn longs_of(array: &dyn Array) -> &[i64] {
    match array.as_primitive_opt::<Int64Type>() {
        Some(longs) => longs.values(),
        None => array.as_primitive::<TimestampMillisecondType>().values(),
    }
}

fn null_rows(nulls: Option<&NullBuffer>) -> impl Iterator<Item = u32> {
    let bits = nulls.map(|nulls| !nulls.inner());
    let rows = move || bits.map(|bits| bits.set_indices_u32().collect::<Vec<u32>>());
    rows().unwrap_or_default().into_iter()
}
