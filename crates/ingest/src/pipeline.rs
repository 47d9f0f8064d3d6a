//! From the columns of the source to those of the table: filter, transforms, conversion, checks,
//! roll-up, batch by batch.
//!
//! A row that an expression or a type refuses is rejected alone, with the reason; the others of
//! its batch stay. What the filter leaves out is counted.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{concat, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType as ArrowType, Int64Type, SchemaRef};
use schemas::arrow::ingest_schema;
use schemas::decoding::RollUpFunction;
use schemas::{ColumnSpec, DataType, FieldRole, TableSpec};

use crate::convert::{Wrong, convert};
use crate::message::{Decoded, RawMessage, Rejection};
use crate::roll_up::roll_up;
use crate::row::{Row, Target};
use crate::sketches;

mod stored;

pub use stored::StoredTransforms;

/// The query engine, as far as a pipeline needs it.
pub trait Expressions: Debug + Send + Sync {
    /// The fields that an expression reads.
    fn fields(&self, text: &str) -> Result<Vec<FieldUse>, String>;
    fn compile(&self, text: &str, schema: &SchemaRef) -> Result<Box<dyn Expression>, String>;
}

/// A field that an expression reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUse {
    pub name: String,
    /// It is calculated with, or compared with a number.
    pub as_number: bool,
}

/// One expression over batches of one schema.
pub trait Expression: Debug + Send {
    fn data_type(&self) -> &ArrowType;
    /// One value for each row.
    fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, String>;
}

/// For tables without a pipeline.
#[derive(Debug)]
pub struct NoExpressions;

impl Expressions for NoExpressions {
    fn fields(&self, _: &str) -> Result<Vec<FieldUse>, String> {
        Err("expressions are not evaluated here".to_owned())
    }

    fn compile(&self, _: &str, _: &SchemaRef) -> Result<Box<dyn Expression>, String> {
        Err("expressions are not evaluated here".to_owned())
    }
}

#[derive(Debug)]
struct Transform {
    /// Of the source's column.
    at: usize,
    expression: Box<dyn Expression>,
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    source: Arc<TableSpec>,
    /// For conversions within the source.
    within: Target,
    target: Target,
    filter: Option<Box<dyn Expression>>,
    /// In an order in which each finds what it reads.
    transforms: Vec<Transform>,
    /// For each column of the table the one of the source.
    columns: Vec<usize>,
    /// Of each of them the function whose sketches it holds.
    sketches: Vec<Option<RollUpFunction>>,
    row: Row,
}

impl Pipeline {
    /// `None`: the table takes records as they are.
    pub(crate) fn new(
        spec: &Arc<TableSpec>,
        expressions: &dyn Expressions,
    ) -> Result<Option<Self>, String> {
        let has_transforms = spec.columns.iter().any(|column| column.transform.is_some());
        let wanted = &spec.pipeline;
        let is_needed = has_transforms
            || wanted.filter.is_some()
            || !wanted.roll_up.is_empty()
            || !wanted.sources.is_empty();
        if !is_needed {
            return Ok(None);
        }
        let ordered = ordered(spec, expressions)?;
        let source = Arc::new(source(spec, expressions)?);
        let schema = ingest_schema(&source);
        let told = |what: &str, error: String| format!("{what}: {error}");
        let filter = wanted.filter.as_ref().map(|text| {
            let compiled = expressions.compile(text, &schema);
            let compiled = compiled.map_err(|error| told("filterFunction", error))?;
            match compiled.data_type() {
                ArrowType::Boolean => Ok(compiled),
                other => Err(format!(
                    "filterFunction: `{text}` is {other} and no condition"
                )),
            }
        });
        let mut transforms = Vec::new();
        for at in ordered {
            let column = &spec.columns[at];
            let text = column.transform.as_deref().unwrap_or_default();
            let compiled = expressions.compile(text, &schema);
            let what = || format!("transform of `{}`", column.name);
            let expression = compiled.map_err(|error| told(&what(), error))?;
            transforms.push(Transform { at, expression });
        }
        let mut columns: Vec<usize> = (0..spec.columns.len()).collect();
        let mut sketches = vec![None; columns.len()];
        for one in &wanted.roll_up {
            let own = &source;
            let position = |name: &str| own.columns.iter().position(|c| c.name == name);
            if let (Some(source), Some(to)) = (
                one.source.as_deref().and_then(position),
                position(&one.column),
            ) {
                columns[to] = source;
                if one.function.is_sketch() {
                    sketches::check(one.function, &own.columns[source])
                        .map_err(|error| told(&format!("roll-up of `{}`", one.column), error))?;
                    sketches[to] = Some(one.function);
                }
            }
        }
        let mut row = Row::default();
        row.texts.lenient = wanted.continue_on_error;
        Ok(Some(Self {
            within: Target::unchecked(Arc::clone(&source)),
            source,
            target: Target::new(Arc::clone(spec)),
            filter: filter.transpose()?,
            transforms,
            columns,
            sketches,
            row,
        }))
    }

    /// What records are read into: the table's columns, then the other fields.
    pub(crate) fn source(&self) -> &Arc<TableSpec> {
        &self.source
    }

    pub(crate) fn run<'a>(
        &mut self,
        mut decoded: Decoded,
        messages: impl Iterator<Item = RawMessage<'a>>,
    ) -> Decoded {
        let mut batches = Vec::with_capacity(decoded.batches.len());
        let mut refused = Vec::new();
        for batch in std::mem::take(&mut decoded.batches) {
            let batch = self.batch(batch, &mut decoded, &mut refused);
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
        decoded.batches = batches;
        reject(refused, messages, &mut decoded.rejected);
        decoded
    }

    fn batch(
        &mut self,
        batch: RecordBatch,
        decoded: &mut Decoded,
        refused: &mut Vec<(i64, String)>,
    ) -> RecordBatch {
        let mut wrong: Wrong = vec![None; batch.num_rows()];
        let mut batch = batch;
        if let Some(filter) = &self.filter {
            let drop = evaluate(filter.as_ref(), &batch, &mut wrong);
            let drop = drop.as_boolean();
            let keep: BooleanArray = (0..drop.len())
                .map(|at| Some(wrong[at].is_none() && !(drop.is_valid(at) && drop.value(at))))
                .collect();
            let failed = wrong.iter().flatten().count();
            tell(&batch, &wrong, refused);
            let kept = filtered(&batch, &keep);
            decoded.filtered += (batch.num_rows() - kept.num_rows() - failed) as u64;
            batch = kept;
            wrong = vec![None; batch.num_rows()];
        }
        for transform in &self.transforms {
            let values = evaluate(transform.expression.as_ref(), &batch, &mut wrong);
            let row = &mut self.row;
            let values = convert(&values, &self.within, transform.at, row, &mut wrong);
            batch = with_values(&batch, transform.at, &values);
        }
        let mut arrays = Vec::with_capacity(self.columns.len() + 2);
        for (at, source) in self.columns.iter().enumerate() {
            let array = batch.column(*source);
            arrays.push(match self.sketches[at] {
                Some(function) => sketches::of_values(function, array, &mut wrong),
                None => convert(array, &self.target, at, &mut self.row, &mut wrong),
            });
        }
        if self.row.texts.lenient {
            decoded.incomplete += wrong.iter_mut().filter_map(Option::take).count() as u64;
        }
        let stored = self.source.columns.len();
        arrays.extend(batch.columns()[stored..].iter().cloned());
        let schema = ingest_schema(&self.target.spec);
        let table = RecordBatch::try_new(schema, arrays).expect("columns of the schema");
        self.target.check_times(&table, &mut wrong);
        let table = match wrong.iter().any(Option::is_some) {
            false => table,
            true => {
                tell(&table, &wrong, refused);
                let keep = wrong.iter().map(|reason| Some(reason.is_none())).collect();
                filtered(&table, &keep)
            }
        };
        let rows = table.num_rows();
        let table = roll_up(&self.target.spec, table);
        decoded.merged += (rows - table.num_rows()) as u64;
        table
    }
}

fn filtered(batch: &RecordBatch, keep: &BooleanArray) -> RecordBatch {
    filter_record_batch(batch, keep).expect("as many rows as the batch has")
}

/// The transforms' own values stand where the source has none.
fn with_values(batch: &RecordBatch, at: usize, values: &ArrayRef) -> RecordBatch {
    let own = batch.column(at);
    let merged = match own.null_count() {
        all if all == own.len() => Arc::clone(values),
        0 => return batch.clone(),
        _ => is_not_null(own)
            .and_then(|is_there| zip(&is_there, own, values))
            .expect("two arrays of one type and length"),
    };
    let mut arrays = batch.columns().to_vec();
    arrays[at] = merged;
    RecordBatch::try_new(batch.schema(), arrays).expect("columns of the schema")
}

/// What is wrong, with the offset of its message.
fn tell(batch: &RecordBatch, wrong: &Wrong, refused: &mut Vec<(i64, String)>) {
    let offsets = batch
        .column(batch.num_columns() - 2)
        .as_primitive::<Int64Type>();
    let told = wrong.iter().zip(offsets.values());
    refused.extend(told.filter_map(|(reason, offset)| Some((*offset, reason.clone()?))));
}

/// Adds rejections to those that are there, by offset.
fn reject<'a>(
    mut refused: Vec<(i64, String)>,
    messages: impl Iterator<Item = RawMessage<'a>>,
    rejected: &mut Vec<Rejection>,
) {
    if refused.is_empty() {
        return;
    }
    refused.sort_by_key(|(offset, _)| *offset);
    let mut refused = refused.into_iter().peekable();
    for message in messages {
        while let Some((_, reason)) = refused.next_if(|(offset, _)| *offset == message.offset) {
            rejected.push(Rejection::of(&message, reason));
        }
    }
    rejected.sort_by_key(|rejection| rejection.offset);
}

/// One value a row. Rows for which it fails are null, and `wrong`: the others are evaluated
/// without them.
fn evaluate(expression: &dyn Expression, batch: &RecordBatch, wrong: &mut Wrong) -> ArrayRef {
    let mut parts = Vec::new();
    evaluate_parts(expression, batch, wrong, &mut parts);
    match &parts[..] {
        [one] => Arc::clone(one),
        parts => {
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            concat(&parts)
                .unwrap_or_else(|_| new_null_array(expression.data_type(), batch.num_rows()))
        }
    }
}

fn evaluate_parts(
    expression: &dyn Expression,
    batch: &RecordBatch,
    wrong: &mut [Option<String>],
    parts: &mut Vec<ArrayRef>,
) {
    let rows = batch.num_rows();
    match expression.evaluate(batch) {
        Ok(values) => parts.push(values),
        Err(reason) if rows <= 1 => {
            if let Some(wrong) = wrong.first_mut() {
                wrong.get_or_insert(reason);
            }
            parts.push(new_null_array(expression.data_type(), rows));
        }
        Err(_) => {
            let (first, second) = wrong.split_at_mut(rows / 2);
            evaluate_parts(expression, &batch.slice(0, rows / 2), first, parts);
            let rest = batch.slice(rows / 2, rows - rows / 2);
            evaluate_parts(expression, &rest, second, parts);
        }
    }
}

/// Positions of the columns with transforms, those that others read first.
fn ordered(spec: &TableSpec, expressions: &dyn Expressions) -> Result<Vec<usize>, String> {
    let mut waiting = Vec::new();
    for (at, column) in spec.columns.iter().enumerate() {
        let Some(text) = &column.transform else {
            continue;
        };
        let what = |error| format!("transform of `{}`: {error}", column.name);
        let fields = expressions.fields(text).map_err(what)?;
        let reads: Vec<String> = fields.into_iter().map(|field| field.name).collect();
        if reads.contains(&column.name) {
            return Err(what(format!(
                "it reads `{}` itself; give the field of the record another name",
                column.name
            )));
        }
        waiting.push((at, reads));
    }
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let names: Vec<&str> = waiting
            .iter()
            .map(|(at, _)| spec.columns[*at].name.as_str())
            .collect();
        let is_free = |(_, reads): &(usize, Vec<String>)| {
            !reads.iter().any(|read| names.contains(&read.as_str()))
        };
        let Some(next) = waiting.iter().position(is_free) else {
            let names = names.join("`, `");
            return Err(format!(
                "the transforms of `{names}` read each other in a circle"
            ));
        };
        ordered.push(waiting.remove(next).0);
    }
    Ok(ordered)
}

/// The table's columns as the source has them, then the fields that expressions read beside them.
fn source(spec: &TableSpec, expressions: &dyn Expressions) -> Result<TableSpec, String> {
    let declared = |name: &str| {
        spec.pipeline
            .sources
            .iter()
            .find(|field| field.name == name)
    };
    let mut columns: Vec<ColumnSpec> = spec.columns.clone();
    for column in &mut columns {
        if let Some(field) = declared(&column.name)
            && column.transform.is_none()
        {
            column.data_type = field.data_type;
            column.multi_value = field.multi_value;
            column.time_format = None;
        }
    }
    let transforms = spec
        .columns
        .iter()
        .filter_map(|column| column.transform.as_deref());
    let mut uses = Vec::new();
    for text in transforms.chain(spec.pipeline.filter.as_deref()) {
        uses.extend(expressions.fields(text)?);
    }
    let rolled = spec.pipeline.roll_up.iter();
    uses.extend(rolled.filter_map(|one| {
        Some(FieldUse {
            name: one.source.clone()?,
            as_number: !one.function.counts_distinct(),
        })
    }));
    for FieldUse { name, .. } in &uses {
        if columns.iter().any(|column| column.name == *name) {
            continue;
        }
        let as_number = |used: &FieldUse| used.name == *name && used.as_number;
        let (data_type, multi_value) = match declared(name) {
            Some(field) => (field.data_type, field.multi_value),
            None if uses.iter().any(as_number) => (DataType::Double, false),
            None => (DataType::String, false),
        };
        let mut column = ColumnSpec::new(name, data_type, FieldRole::Dimension);
        column.multi_value = multi_value;
        column.length_max = u32::MAX;
        columns.push(column);
    }
    Ok(TableSpec {
        columns,
        ..spec.clone()
    })
}

#[cfg(test)]
mod tests;
