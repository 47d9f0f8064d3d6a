//! The groups of a query over all its segments, before their rows are made.
//!
//! Groups come in pieces, so that several threads can join them; no group is in two pieces. Keys
//! and values are made only for the groups that are asked for: who sorts groups by an aggregate
//! takes [`Grouped::column`] of all and [`Grouped::rows`] of the few that are kept.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;

use super::plan::{Aggregate, Output};
use super::states::States;
use super::values::ValueColumn;
use crate::columns::batch;

#[derive(Debug)]
pub(crate) struct Grouped {
    pub(super) schema: SchemaRef,
    pub(super) output: Output,
    /// Each with the place of its states.
    pub(super) answers: Arc<Vec<(usize, Aggregate)>>,
    /// Keys of the groups of each segment, column by column.
    pub(super) keys: Vec<Vec<ValueColumn>>,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) struct Piece {
    /// Where each group's keys are: in which of the segments, and where there.
    pub(super) firsts: Vec<(u32, u32)>,
    pub(super) states: Vec<States>,
}

impl Grouped {
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Groups of a piece.
    pub(crate) fn len(&self, piece: usize) -> usize {
        self.pieces[piece].firsts.len()
    }

    /// Key columns, which come first in the schema.
    fn key_count(&self) -> usize {
        let states: usize = match self.output {
            Output::Values => self.answers.len(),
            Output::States => self.answers.iter().map(|(_, a)| a.states.len()).sum(),
        };
        self.schema.fields().len() - states
    }

    /// The key at `key` of the groups of a piece; `None` = all.
    fn key(&self, piece: usize, key: usize, groups: Option<&[u32]>) -> Result<ArrayRef> {
        let firsts = &self.pieces[piece].firsts;
        let columns: Vec<&dyn Array> = self
            .keys
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
            return Ok(Arc::clone(self.keys[0][key].array()));
        }
        if columns.is_empty() {
            return Ok(new_empty_array(self.schema.field(key).data_type()));
        }
        Ok(interleave(&columns, &places)?)
    }

    /// A column of the answer for the groups of a piece; `None` = all. Of states, which have
    /// several columns for an aggregate, only those of keys.
    pub(crate) fn column(
        &self,
        piece: usize,
        column: usize,
        groups: Option<&[u32]>,
    ) -> Result<ArrayRef> {
        let array = match column.checked_sub(self.key_count()) {
            None => self.key(piece, column, groups)?,
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
            Output::States => self.key_count(),
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
