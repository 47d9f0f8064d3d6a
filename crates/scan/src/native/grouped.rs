//! The groups of a query over all its segments, before their rows are made.
//!
//! Groups come in pieces, so that several threads can join them; no group is in two pieces. Keys
//! and values are made only for the groups that are asked for: who sorts groups by an aggregate
//! takes [`Grouped::column`] of all and [`Grouped::rows`] of the few that are kept.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, internal_err};

use super::aggregate::Aggregate;
use super::derived::{KeyColumn, Whence};
use super::partitioned::PackedKeys;
use super::plan::Output;
use super::states::States;
use super::values::ValueColumn;
use crate::columns::batch;

#[derive(Debug)]
pub(crate) struct Grouped {
    pub(super) schema: SchemaRef,
    pub(super) output: Output,
    /// Each with the place of its states.
    pub(super) answers: Arc<Vec<(usize, Aggregate)>>,
    pub(super) key_columns: Arc<Vec<KeyColumn>>,
    /// Those that make groups.
    pub(super) keys: GroupKeys,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) enum GroupKeys {
    /// Of the groups of each segment, column by column.
    OfSegments(Vec<Vec<ValueColumn>>),
    Packed(PackedKeys),
}

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) groups: PieceGroups,
    pub(super) states: Vec<States>,
}

/// What tells each group's keys.
#[derive(Debug)]
pub(super) enum PieceGroups {
    /// In which of the segments they are, and where there.
    Firsts(Vec<(u32, u32)>),
    /// The words of packed keys, as many groups, and how many they are.
    Words(Vec<u64>, usize),
}

impl PieceGroups {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Firsts(firsts) => firsts.len(),
            Self::Words(_, groups) => *groups,
        }
    }
}

impl Grouped {
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Groups of a piece.
    pub(crate) fn len(&self, piece: usize) -> usize {
        self.pieces[piece].groups.len()
    }

    /// The key column at `at`, which are the first, of the groups of a piece; `None` = all.
    fn key_column(&self, piece: usize, at: usize, groups: Option<&[u32]>) -> Result<ArrayRef> {
        match &self.key_columns[at].whence {
            Whence::Own(key) => self.key(piece, *key, groups),
            Whence::Derived { inputs, from } => {
                let columns = from.iter().map(|key| self.key(piece, *key, groups));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let rows = groups.map_or(self.len(piece), <[u32]>::len);
                let batch = batch(&inputs.schema, columns, rows)?;
                inputs.expr.evaluate(&batch)?.into_array(rows)
            }
        }
    }

    /// One of the keys that make groups, of the groups of a piece; `None` = all.
    fn key(&self, piece: usize, key: usize, groups: Option<&[u32]>) -> Result<ArrayRef> {
        let (firsts, keys) = match (&self.pieces[piece].groups, &self.keys) {
            (PieceGroups::Firsts(firsts), GroupKeys::OfSegments(keys)) => (firsts, keys),
            (PieceGroups::Words(words, _), GroupKeys::Packed(keys)) => {
                return keys.array(key, words, groups);
            }
            _ => return internal_err!("groups of one kind with keys of another"),
        };
        let columns: Vec<&dyn Array> = keys
            .iter()
            .map(|columns| columns[key].array().as_ref())
            .collect();
        let at = |(part, row): (u32, u32)| (part as usize, row as usize);
        let places: Vec<(usize, usize)> = match groups {
            None => firsts.iter().map(|first| at(*first)).collect(),
            Some(groups) => groups.iter().map(|g| at(firsts[*g as usize])).collect(),
        };
        if let [column] = columns[..]
            && groups.is_none()
            && places.len() == column.len()
        {
            // Nothing was joined: the groups of one segment are as they were.
            return Ok(Arc::clone(keys[0][key].array()));
        }
        if columns.is_empty() {
            return self.no_key(key);
        }
        Ok(interleave(&columns, &places)?)
    }

    /// A key of no groups.
    fn no_key(&self, key: usize) -> Result<ArrayRef> {
        let is_it = |column: &KeyColumn| matches!(column.whence, Whence::Own(own) if own == key);
        match self.key_columns.iter().position(is_it) {
            Some(at) => Ok(new_empty_array(self.schema.field(at).data_type())),
            None => internal_err!("no column for key {key}"),
        }
    }

    /// A column of the answer for the groups of a piece; `None` = all. Of states, which have
    /// several columns for an aggregate, only those of keys.
    pub(crate) fn column(
        &self,
        piece: usize,
        column: usize,
        groups: Option<&[u32]>,
    ) -> Result<ArrayRef> {
        let array = match column.checked_sub(self.key_columns.len()) {
            None => self.key_column(piece, column, groups)?,
            Some(at) => {
                let (states, aggregate) = &self.answers[at];
                self.pieces[piece].states[*states].values(aggregate, groups)?
            }
        };
        self.of_type(array, column)
    }

    fn of_type(&self, array: ArrayRef, column: usize) -> Result<ArrayRef> {
        let wanted: &DataType = self.schema.field(column).data_type();
        match array.data_type() == wanted {
            true => Ok(array),
            false => Ok(arrow::compute::cast(&array, wanted)?),
        }
    }

    /// Rows of the groups of a piece; `None` = all.
    pub(crate) fn rows(&self, piece: usize, groups: Option<&[u32]>) -> Result<RecordBatch> {
        let count = match self.output {
            Output::Values => self.schema.fields().len(),
            Output::States => self.key_columns.len(),
        };
        let columns = (0..count).map(|column| self.column(piece, column, groups));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        if self.output == Output::States {
            for (states, aggregate) in self.answers.iter() {
                let states = &self.pieces[piece].states[*states];
                for array in states.states(aggregate, groups)? {
                    columns.push(self.of_type(array, columns.len())?);
                }
            }
        }
        let rows = groups.map_or(self.len(piece), <[u32]>::len);
        batch(&self.schema, columns, rows)
    }
}
