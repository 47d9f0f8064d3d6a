//! From the rows of some segments to others, span by span, at most one of them open.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch,
    TimestampMillisecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType as ArrowType, Int32Type, Int64Type, TimestampMillisecondType};
use ingest::{Expression, Expressions, RolledUp, compact};
use schemas::arrow::ingest_schema;
use schemas::segment::{Ledger, TaskMarks, display_name};
use schemas::task::{MergeType, RewriteOrder, TaskType, TaskWork};
use schemas::{Fault, SegmentId, TableSpec};
use segment::arrays::StoredRows;
use segment::{SealExtra, SealedSegment, SegmentBuilder, pack};

use super::spans::{Span, spans};
use super::{remove, time_of};
use crate::build::{Built, Line, SEGMENT_MEMORY_MAX, numbered};
use crate::{ImportError, Progress, Workshop};

pub(super) struct Making {
    pub(super) order: RewriteOrder,
    pub(super) inputs: Vec<Arc<SealedSegment>>,
    /// Of the target.
    pub(super) spec: Arc<TableSpec>,
    pub(super) workshop: Workshop,
    pub(super) progress: Arc<Progress>,
}

#[derive(Debug, Default)]
pub(super) struct Made {
    /// Rows that were left out.
    pub(super) filtered: u64,
}

impl Making {
    /// Whether there is a row to be left out.
    pub(super) fn matches_any(&self) -> Result<bool, ImportError> {
        let Some(filter) = self.filter()? else {
            return Ok(false);
        };
        for input in &self.inputs {
            let view = input.view();
            let rows = StoredRows::of(&view, &self.spec)?;
            for block in rows.blocks() {
                if dropped(filter.as_ref(), &rows.batch(&block)?)?.true_count() > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    pub(super) fn make(&self, line: &mut dyn Line) -> Result<Made, ImportError> {
        let mut bench = Bench {
            making: self,
            filter: self.filter()?,
            time: time_of(&self.spec),
            rolled: Arc::new(TableSpec {
                pipeline: schemas::decoding::PipelineSpec {
                    roll_up: self.order.roll_up.clone(),
                    ..self.spec.pipeline.clone()
                },
                ..TableSpec::clone(&self.spec)
            }),
            line,
            now_ms: self.workshop.clock.now_ms(),
            open: None,
            rolling: None,
            filtered: 0,
        };
        let spans = spans(&self.order);
        if bench.time.is_none() && spans.iter().any(|span| span.within.is_some()) {
            let what = "the table has no time column that counts time since 1970";
            return Err(Fault::invalid(what).into());
        }
        for span in spans {
            bench.span(span)?;
        }
        Ok(Made {
            filtered: bench.filtered,
        })
    }

    fn filter(&self) -> Result<Option<Box<dyn Expression>>, ImportError> {
        let expressions = self.workshop.expressions.as_ref();
        let filter = self.order.filter.as_ref();
        let filter = filter.map(|text| condition(text, &self.spec, expressions));
        Ok(filter.transpose()?)
    }
}

/// Whether the conditions in a table's tasks can be evaluated.
pub fn check_filters(spec: &TableSpec, expressions: &dyn Expressions) -> Result<(), Fault> {
    for task in &spec.tasks {
        if let TaskWork::Purge(purge) = &task.work {
            condition(&purge.filter, spec, expressions)?;
        }
    }
    Ok(())
}

fn condition(
    text: &str,
    spec: &TableSpec,
    expressions: &dyn Expressions,
) -> Result<Box<dyn Expression>, Fault> {
    let wrong = |what: String| Fault::invalid(format!("PurgeTask.purgeFilter: {what}"));
    let filter = expressions
        .compile(text, &ingest_schema(spec))
        .map_err(wrong)?;
    match filter.data_type() {
        ArrowType::Boolean => Ok(filter),
        other => Err(wrong(format!("`{text}` is {other} and no condition"))),
    }
}

/// Rows for which it is true.
fn dropped(filter: &dyn Expression, batch: &RecordBatch) -> Result<BooleanArray, ImportError> {
    let values = filter.evaluate(batch);
    let values = values
        .map_err(|what| Fault::invalid(format!("purgeFilter cannot be evaluated: {what}")))?;
    let values = values.as_boolean();
    let is_true = (0..values.len()).map(|at| values.is_valid(at) && values.value(at));
    Ok(is_true.map(Some).collect())
}

struct Bench<'a> {
    making: &'a Making,
    filter: Option<Box<dyn Expression>>,
    /// Place and unit of the time column.
    time: Option<(usize, i64)>,
    /// The target with what the order says of metrics.
    rolled: Arc<TableSpec>,
    line: &'a mut dyn Line,
    now_ms: i64,
    open: Option<SegmentBuilder>,
    /// Rows of the next segment, where rows become one.
    rolling: Option<RolledUp>,
    filtered: u64,
}

impl Bench<'_> {
    fn span(&mut self, span: Span) -> Result<(), ImportError> {
        let making = self.making;
        let order = &making.order;
        // What comes along stays as it is.
        self.rolling = match order.merge {
            MergeType::Rollup | MergeType::Dedup if !span.is_window => None,
            MergeType::Concat => None,
            MergeType::Dedup => Some(RolledUp::distinct(&self.rolled)),
            MergeType::Rollup => {
                let rolled = RolledUp::new(&self.rolled);
                Some(rolled.unwrap_or_else(|| RolledUp::distinct(&self.rolled)))
            }
        };
        for (input, about) in making.inputs.iter().zip(&order.inputs) {
            if !span.overlaps(about.time_range) {
                continue;
            }
            let view = input.view();
            let rows = StoredRows::of(&view, &making.spec)?;
            for block in rows.blocks() {
                if let Some(batch) = self.of_span(&rows, &block, span)? {
                    making.progress.add_rows(batch.num_rows() as u64);
                    self.take(batch, span)?;
                }
            }
        }
        self.flush(span)?;
        self.seal(span)
    }

    /// The rows of a block that belong to the span and stay.
    fn of_span(
        &mut self,
        rows: &StoredRows<'_>,
        block: &Range<u32>,
        span: Span,
    ) -> Result<Option<RecordBatch>, ImportError> {
        let times = match (span.within, self.time) {
            (Some(within), Some((at, unit))) => {
                let times = millis(&rows.column(at, block)?, unit);
                let is_in = |ms: &i64| within.0 <= *ms && *ms < within.1;
                let keep: BooleanArray = times.iter().map(|ms| Some(is_in(ms))).collect();
                if keep.true_count() == 0 {
                    return Ok(None);
                }
                Some(keep)
            }
            _ => None,
        };
        let mut batch = rows.batch(block)?;
        if let Some(keep) = times {
            batch = kept(&batch, &keep);
        }
        if let Some(filter) = &self.filter {
            let gone = dropped(filter.as_ref(), &batch)?;
            self.filtered += gone.true_count() as u64;
            let keep = gone.values().iter().map(|gone| Some(!gone)).collect();
            batch = kept(&batch, &keep);
        }
        if let (Some(round_ms), true) = (self.making.order.round_ms, span.is_window) {
            batch = self.rounded(batch, round_ms);
        }
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    /// Times cut to a multiple of `round_ms`.
    fn rounded(&self, batch: RecordBatch, round_ms: i64) -> RecordBatch {
        let Some((at, unit)) = self.time else {
            return batch;
        };
        let column = batch.column(at);
        let cut = millis(column, unit).into_iter();
        let cut = cut.map(|ms| ms.div_euclid(round_ms) * round_ms / unit);
        let nulls = column.nulls().cloned();
        let array: ArrayRef = match column.data_type() {
            ArrowType::Int32 => {
                let values = cut.map(|value| value as i32).collect();
                Arc::new(Int32Array::new(values, nulls))
            }
            ArrowType::Int64 => Arc::new(Int64Array::new(cut.collect(), nulls)),
            _ => Arc::new(TimestampMillisecondArray::new(cut.collect(), nulls)),
        };
        let mut columns = batch.columns().to_vec();
        columns[at] = array;
        RecordBatch::try_new(batch.schema(), columns).expect("a column in the place of its like")
    }

    fn take(&mut self, batch: RecordBatch, span: Span) -> Result<(), ImportError> {
        let rows_max = self.making.order.rows_max as usize;
        let Some(rolling) = &mut self.rolling else {
            return self.append(&batch, span);
        };
        rolling.add(compact(&batch));
        let is_full =
            rolling.rows() >= rows_max || rolling.memory_bytes() as u64 >= SEGMENT_MEMORY_MAX;
        match is_full {
            true => self.flush(span),
            false => Ok(()),
        }
    }

    fn flush(&mut self, span: Span) -> Result<(), ImportError> {
        let Some(rolling) = &mut self.rolling else {
            return Ok(());
        };
        let (batches, _) = rolling.take();
        batches
            .iter()
            .try_for_each(|batch| self.append(batch, span))
    }

    fn append(&mut self, batch: &RecordBatch, span: Span) -> Result<(), ImportError> {
        let rows_max = self.making.order.rows_max;
        let mut from = 0;
        while from < batch.num_rows() {
            let mut builder = match self.open.take() {
                Some(builder) => builder,
                None => self.begin()?,
            };
            let room = rows_max.saturating_sub(builder.row_count()) as usize;
            let count = room.min(batch.num_rows() - from);
            builder.append(&numbered(&batch.slice(from, count), builder.row_count()))?;
            from += count;
            let is_full =
                builder.row_count() >= rows_max || builder.memory_bytes() >= SEGMENT_MEMORY_MAX;
            self.open = Some(builder);
            if is_full {
                self.seal(span)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<SegmentBuilder, ImportError> {
        let spec = &self.making.spec;
        let id = SegmentId {
            table: spec.id,
            partition: 0,
            sequence: self.line.next_sequence()?,
        };
        let name = display_name(spec, id, self.now_ms);
        Ok(SegmentBuilder::new(spec, id, name)?)
    }

    fn seal(&mut self, span: Span) -> Result<(), ImportError> {
        let Some(builder) = self.open.take() else {
            return Ok(());
        };
        let workshop = &self.making.workshop;
        let ledger = Ledger {
            rows: u64::from(builder.row_count()),
            ..Ledger::default()
        };
        let extra = SealExtra {
            start: 0,
            end: ledger.total() as i64,
            ledger,
            created_ms: self.now_ms,
            sealed_ms: workshop.clock.now_ms(),
            ..SealExtra::default()
        };
        let files = workshop.files.as_ref();
        let sealed = builder.finish(files, &workshop.folder, extra)?;
        let packed = pack(&sealed.path, sealed.record.crc)?;
        remove(&sealed.path, files)?;
        let mut record = sealed.record;
        record.marks = self.marks(span);
        self.line.hand_on(Built { record, packed })
    }

    fn marks(&self, span: Span) -> TaskMarks {
        let order = &self.making.order;
        let inputs = || order.inputs.iter();
        let round_ms = inputs().filter_map(|input| input.round_ms).max();
        TaskMarks {
            merge_level: match order.task_type {
                TaskType::PurgeTask | TaskType::RefreshSegmentTask => {
                    inputs().find_map(|input| input.merge_level.clone())
                }
                _ => order.level.clone().filter(|_| span.is_window),
            },
            purged_ms: match order.task_type {
                TaskType::PurgeTask => Some(self.now_ms),
                // What one of them still has to lose.
                _ => inputs().map(|input| input.purged_ms).min().flatten(),
            },
            round_ms: round_ms.max(order.round_ms.filter(|_| span.is_window)),
        }
    }
}

fn kept(batch: &RecordBatch, keep: &BooleanArray) -> RecordBatch {
    filter_record_batch(batch, keep).expect("one value a row")
}

/// Of all rows; where there is none, the value that is stored for it.
fn millis(times: &ArrayRef, unit: i64) -> Vec<i64> {
    let in_ms = |value: i64| value.saturating_mul(unit);
    match times.data_type() {
        ArrowType::Int32 => {
            let values = times.as_primitive::<Int32Type>().values().iter();
            values.map(|value| in_ms(i64::from(*value))).collect()
        }
        ArrowType::Int64 => {
            let values = times.as_primitive::<Int64Type>().values().iter();
            values.map(|value| in_ms(*value)).collect()
        }
        _ => {
            let times = times.as_primitive::<TimestampMillisecondType>();
            times.values().to_vec()
        }
    }
}
