//! Transforms of columns that came later, over rows that are stored without them.
//!
//! They find what records had as far as it became columns: a transform that reads another field of
//! the record cannot be computed, nor can one that reads such a column. A null is null here too.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use schemas::TableSpec;
use schemas::arrow::column_type;

use super::{Expressions, Transform, evaluate, ordered};
use crate::convert::{Wrong, convert};
use crate::row::{Row, Target};

#[derive(Debug)]
pub struct StoredTransforms {
    /// Columns that are read, then those that are computed.
    target: Target,
    schema: SchemaRef,
    /// Of the table.
    reads: Vec<usize>,
    /// In an order in which each finds what it reads, with the column of the table.
    transforms: Vec<(usize, Transform)>,
    row: Row,
}

impl StoredTransforms {
    /// For rows without the columns `missing` of the table, as far as they can be computed.
    pub fn new(
        spec: &TableSpec,
        missing: &[usize],
        expressions: &dyn Expressions,
    ) -> Result<Self, String> {
        let (mut reads, mut computed) = (Vec::new(), Vec::new());
        for at in ordered(spec, expressions)? {
            if !missing.contains(&at) {
                continue;
            }
            let text = spec.columns[at].transform.as_deref().unwrap_or_default();
            let fields = expressions.fields(text)?.into_iter();
            let position = |name: &str| spec.columns.iter().position(|own| own.name == name);
            let columns: Option<Vec<usize>> = fields.map(|field| position(&field.name)).collect();
            let is_lost = |read: &usize| missing.contains(read) && !computed.contains(read);
            let Some(columns) = columns.filter(|columns| !columns.iter().any(is_lost)) else {
                continue;
            };
            reads.extend(columns);
            computed.push(at);
        }
        reads.sort_unstable();
        reads.dedup();
        reads.retain(|read| !computed.contains(read));
        let own = reads.iter().chain(&computed);
        let own = TableSpec {
            columns: own.map(|at| spec.columns[*at].clone()).collect(),
            ..spec.clone()
        };
        let fields = own.columns.iter();
        let fields = fields.map(|column| Field::new(&column.name, column_type(column), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let transforms = computed.into_iter().enumerate().map(|(place, at)| {
            let column = &spec.columns[at];
            let text = column.transform.as_deref().unwrap_or_default();
            let expression = expressions.compile(text, &schema);
            let what = |error| format!("transform of `{}`: {error}", column.name);
            let transform = Transform {
                at: reads.len() + place,
                expression: expression.map_err(what)?,
            };
            Ok((at, transform))
        });
        Ok(Self {
            transforms: transforms.collect::<Result<_, String>>()?,
            target: Target::unchecked(Arc::new(own)),
            schema,
            reads,
            row: Row::default(),
        })
    }

    /// Columns of the table that are read.
    pub fn reads(&self) -> &[usize] {
        &self.reads
    }

    /// Columns of the table that are computed.
    pub fn columns(&self) -> Vec<usize> {
        self.transforms.iter().map(|(column, _)| *column).collect()
    }

    /// The values of [`Self::columns`] beside those of [`Self::reads`] in as many rows, and in how
    /// many of these one cannot be computed: there it is null.
    pub fn run(&mut self, stored: &[ArrayRef], rows: usize) -> (Vec<ArrayRef>, usize) {
        let computed = self.target.spec.columns[stored.len()..].iter();
        let computed = computed.map(|column| new_null_array(&column_type(column), rows));
        let mut arrays: Vec<ArrayRef> = stored.iter().cloned().chain(computed).collect();
        let mut wrong: Wrong = vec![None; rows];
        for (_, transform) in &self.transforms {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let schema = Arc::clone(&self.schema);
            let batch = RecordBatch::try_new_with_options(schema, arrays.clone(), &options);
            let batch = batch.expect("columns of the schema");
            let values = evaluate(transform.expression.as_ref(), &batch, &mut wrong);
            let row = &mut self.row;
            arrays[transform.at] = convert(&values, &self.target, transform.at, row, &mut wrong);
        }
        let failed = wrong.iter().flatten().count();
        (arrays.split_off(stored.len()), failed)
    }
}
