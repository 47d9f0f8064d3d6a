//! The groups of a query over all its segments, before their rows are made.
//!
//! Groups come in pieces, so that several threads can join them; no group is in two pieces. Keys
//! and values are made only for the groups that are asked for: who sorts groups by an aggregate
//! takes [`Grouped::values`] of all and [`Grouped::rows`] of the few that are kept.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
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
    pub(super) aggregates: Arc<Vec<Aggregate>>,
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
    pub(crate) fn key_count(&self) -> usize {
        let states: usize = match self.output {
            Output::Values => self.aggregates.len(),
            Output::States => self.aggregates.iter().map(|a| a.states.len()).sum(),
        };
        self.schema.fields().len() - states
    }

    /// Final values of the aggregate at `aggregate` for the groups of a piece; `None` = all.
    pub(crate) fn values(
        &self,
        piece: usize,
        aggregate: usize,
        groups: Option<&[u32]>,
    ) -> Result<ArrayRef> {
        self.pieces[piece].states[aggregate].values(&self.aggregates[aggregate], groups)
    }

    /// The key at `key` of the groups of a piece; `None` = all.
    pub(crate) fn key(&self, piece: usize, key: usize, groups: Option<&[u32]>) -> Result<ArrayRef> {
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
        Ok(interleave(&columns, &places)?)
    }

    /// Rows of the groups of a piece; `None` = all.
    pub(crate) fn rows(&self, piece: usize, groups: Option<&[u32]>) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for key in 0..self.key_count() {
            columns.push(self.key(piece, key, groups)?);
        }
        for (at, aggregate) in self.aggregates.iter().enumerate() {
            match self.output {
                Output::Values => columns.push(self.values(piece, at, groups)?),
                Output::States => {
                    columns.extend(self.pieces[piece].states[at].states(aggregate, groups)?);
                }
            }
        }
        let rows = groups.map_or(self.len(piece), <[u32]>::len);
        for (column, field) in columns.iter_mut().zip(self.schema.fields()) {
            let wanted: &DataType = field.data_type();
            if column.data_type() != wanted {
                *column = arrow::compute::cast(column, wanted)?;
            }
        }
        batch(&self.schema, columns, rows)
    }
}
