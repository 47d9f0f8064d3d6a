//! The row that is being read, and what the table wants of it.
//!
//! A row is made in a scratch row first and appended to the columns when all of it is good.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Int64Type};
use hashbrown::HashMap;
use schemas::{ColumnSpec, DataType, TableSpec};

use crate::coerce::{Cell, Offer};
use crate::columns::RowData;
use crate::convert::Wrong;
use crate::field::{Field, Texts};
use crate::time::TimeFormat;

#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) cells: Vec<Cell>,
    pub(crate) texts: Texts,
    /// Values of its arrays.
    pub(crate) entries: Vec<Cell>,
    /// Keys mostly come in the same order: where the next one is expected.
    pub(crate) expected: usize,
    /// Which column came first in the message before, and which after each column.
    pub(crate) follows: Vec<usize>,
}

/// Texts of all rows that one message gives: entries of a dictionary, or what stands around an
/// array that is unnested, are in each of them again.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 20;

impl Row {
    pub(crate) fn clear(&mut self, columns: usize) {
        self.cells.clear();
        self.cells.resize(columns, Cell::Null);
        self.texts.clear();
        self.entries.clear();
        self.expected = 0;
    }

    pub(crate) fn data(&self) -> RowData<'_> {
        RowData {
            text: &self.texts.text,
            bytes: &self.texts.bytes,
            decimals: &self.texts.decimals,
            entries: &self.entries,
        }
    }

    /// About what it takes in columns.
    pub(crate) fn bytes(&self) -> usize {
        self.texts.len() + (self.cells.len() + self.entries.len()) * size_of::<u128>()
    }

    /// The entries from `from` on as one cell; none of them is null.
    pub(crate) fn list(&self, from: usize) -> Cell {
        Cell::of_entries(from, self.entries.len())
    }

    pub(crate) fn push_entry(&mut self, cell: Cell) {
        if !matches!(cell, Cell::Null) {
            self.entries.push(cell);
        }
    }
}

/// The columns of a table as readers fill them.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) spec: Arc<TableSpec>,
    positions: HashMap<String, usize>,
    /// No name of a column needs an escape in JSON.
    pub(crate) plain_names: bool,
    /// Of each column.
    pub(crate) times: Vec<TimeFormat>,
    /// Of each column.
    pub(crate) shapes: Vec<Shape>,
    /// Of each column.
    pub(crate) names: Vec<Name>,
    /// It must have a value; `None` where transforms are still to come.
    time_column: Option<usize>,
    check_time: bool,
}

/// What a reader must know of a column for most of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Of STRING, one a row.
    Text {
        length_max: usize,
    },
    Int,
    Long,
    Double,
    One,
    Several,
}

impl Shape {
    fn of(column: &ColumnSpec) -> Self {
        match column.data_type {
            _ if column.multi_value => Self::Several,
            DataType::String => Self::Text {
                length_max: column.length_max as usize,
            },
            DataType::Int => Self::Int,
            DataType::Long => Self::Long,
            DataType::Double => Self::Double,
            _ => Self::One,
        }
    }
}

/// A name and the quote behind it, to be compared with 16 bytes at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    word: u128,
    mask: u128,
    /// With the quote.
    pub(crate) bytes: usize,
}

impl Name {
    fn of(column: &ColumnSpec) -> Self {
        let quoted: Vec<u8> = column.name.bytes().chain([b'"']).collect();
        let (mut word, mut mask) = ([0; 16], [0; 16]);
        let is_written_so = |byte: u8| byte >= b' ' && !matches!(byte, b'"' | b'\\');
        if quoted.len() > word.len() || !column.name.bytes().all(is_written_so) {
            // Compared with no bytes.
            word[0] = 1;
        } else {
            word[..quoted.len()].copy_from_slice(&quoted);
            mask[..quoted.len()].fill(u8::MAX);
        }
        Self {
            word: u128::from_le_bytes(word),
            mask: u128::from_le_bytes(mask),
            bytes: quoted.len(),
        }
    }

    /// Whether the bytes begin with it. `false` for what is longer than they are.
    #[inline(always)]
    pub(crate) fn begins(&self, bytes: u128) -> bool {
        bytes & self.mask == self.word
    }
}

/// 1971-01-01 and 2071-01-01, as Pinot has it.
const TIMES: std::ops::Range<i64> = 31_536_000_000..3_187_296_000_000;

impl Target {
    pub(crate) fn new(spec: Arc<TableSpec>) -> Self {
        let columns = spec.columns.iter().enumerate();
        let positions = columns.map(|(at, column)| (column.name.clone(), at));
        let positions = positions.collect::<HashMap<_, _>>();
        let time_column = spec.time_column.as_ref();
        let is_plain = |byte: u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
        let mut names = spec.columns.iter().map(|column| &column.name);
        let plain_names = names.all(|name| name.bytes().all(is_plain));
        let formats = spec.columns.iter();
        let times = formats.map(|column| TimeFormat::of(column.time_format.as_deref()));
        Self {
            time_column: time_column.and_then(|name| positions.get(name).copied()),
            times: times.collect(),
            names: spec.columns.iter().map(Name::of).collect(),
            shapes: spec.columns.iter().map(Shape::of).collect(),
            positions,
            plain_names,
            check_time: spec.pipeline.check_time,
            spec,
        }
    }

    /// Without a look at the time: it is not there yet.
    pub(crate) fn unchecked(spec: Arc<TableSpec>) -> Self {
        Self {
            time_column: None,
            ..Self::new(spec)
        }
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    pub(crate) fn field<'a>(&'a self, at: usize, texts: &'a mut Texts) -> Field<'a> {
        Field {
            column: &self.spec.columns[at],
            time: &self.times[at],
            texts,
        }
    }

    pub(crate) fn is_multi_value(&self, at: usize) -> bool {
        self.spec.columns[at].multi_value
    }

    /// What must hold of a whole row.
    pub(crate) fn check(&self, row: &Row) -> Result<(), String> {
        match self.time_column.map(|at| (at, row.cells[at])) {
            None => Ok(()),
            Some((at, Cell::Long(value))) => self.check_time(at, Some(value)),
            Some((at, _)) => self.check_time(at, None),
        }
    }

    /// The same of the rows of a batch of the table; those that are wrong already stay so.
    pub(crate) fn check_times(&self, batch: &RecordBatch, wrong: &mut Wrong) {
        let Some(at) = self.time_column else {
            return;
        };
        // INT, LONG or TIMESTAMP.
        let times = cast(batch.column(at), &ArrowType::Int64).expect("a time is a number");
        for (time, wrong) in times.as_primitive::<Int64Type>().iter().zip(wrong) {
            if wrong.is_none() {
                *wrong = self.check_time(at, time).err();
            }
        }
    }

    fn check_time(&self, at: usize, value: Option<i64>) -> Result<(), String> {
        let column = &self.spec.columns[at];
        let name = &column.name;
        let value = value.ok_or_else(|| format!("the time column `{name}` is missing or null"))?;
        if !self.check_time {
            return Ok(());
        }
        let ms = match column.data_type {
            DataType::Timestamp => Some(value),
            _ => self.times[at].read(Offer::Integer(value)),
        };
        match ms.is_some_and(|ms| TIMES.contains(&ms)) {
            true => Ok(()),
            false => Err(format!(
                "the time column `{name}` is {value}, which is not between 1971 and 2071"
            )),
        }
    }
}
