//! Groups in an order, of which only the first few are wanted: `GROUP BY … ORDER BY … LIMIT`, and
//! any few groups where there is no order.
//!
//! The order's columns are made for all groups, one by one as far as they decide; keys and the
//! other aggregates for the winners alone.

use std::any::Any;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, make_comparator};
use arrow::compute::{
    SortColumn, SortOptions, concat, concat_batches, filter_record_batch, lexsort_to_indices,
    sort_to_indices, take, take_record_batch,
};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};
use runtime::compute::Turn;

use crate::columns::batch;
use crate::native::{Grouped, NativeAggregateExec, Wanted, is_short};
use crate::predicate::{Inputs, evaluate};
use crate::prepared::run_of;
use crate::scan_exec::at_once;
use crate::shared::in_turns;

/// So few groups are ordered sooner than another thread would begin.
const ORDERED_ALONE_MAX: usize = 50_000;
/// So few of many are found without a list of all.
const FIRST_FEW_MAX: usize = 1_000;

/// An expression over the columns of the groups.
#[derive(Clone, Debug)]
pub(super) struct OverGroups {
    expr: Arc<dyn PhysicalExpr>,
    inputs: Inputs,
    columns: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct GroupOrder {
    pub(super) by: OverGroups,
    pub(super) options: SortOptions,
}

#[derive(Clone, Debug)]
pub(super) struct TopGroupsExec {
    groups: Arc<NativeAggregateExec>,
    having: Option<OverGroups>,
    /// Without one, any groups are wanted.
    order: Vec<GroupOrder>,
    /// At least one.
    fetch: usize,
    properties: Arc<PlanProperties>,
}

/// The first groups of one piece, and what they are ordered by.
struct First {
    piece: usize,
    groups: Vec<u32>,
    columns: Vec<ArrayRef>,
}

impl TopGroupsExec {
    pub(super) fn new(
        groups: &NativeAggregateExec,
        having: Option<OverGroups>,
        order: Vec<GroupOrder>,
        fetch: usize,
    ) -> Self {
        let sorted = order
            .iter()
            .map(|order| PhysicalSortExpr::new(Arc::clone(&order.by.expr), order.options));
        let sorted: Vec<PhysicalSortExpr> = sorted.collect();
        let mut known = groups.properties().equivalence_properties().clone();
        known.add_ordering(sorted);
        let properties = at_once(known);
        Self {
            groups: Arc::new(groups.clone()),
            having,
            order,
            fetch,
            properties,
        }
    }

    async fn run(self: Arc<Self>, task: Arc<TaskContext>) -> Result<RecordBatch> {
        let memory = MemoryConsumer::new("first groups").register(task.memory_pool());
        let rows = self.groups.rows_to_read()?;
        let own = Arc::clone(&self);
        let job = move |turn: &mut Turn| {
            let grouped = own.groups.grouped(turn, &memory, rows, own.wanted())?;
            own.rows(turn, &grouped)
        };
        match self.groups.shared().run(rows, job).await {
            Err(error) if is_short(&error) => match self.groups.in_chunks()? {
                Some(joined) => self.first_of_batches(joined.execute(0, task)?).await,
                None => Err(error),
            },
            rows => rows,
        }
    }

    fn wanted(&self) -> Wanted {
        if self.having.is_some() {
            return Wanted::All;
        }
        let Some(first) = self.order.first() else {
            return Wanted::Any(self.fetch);
        };
        let column = first.by.expr.downcast_ref::<Column>();
        let descending = first.options.descending;
        let by = column.and_then(|column| self.groups.chosen_by(column.index(), descending));
        by.map_or(Wanted::All, |by| Wanted::Most(self.fetch, by))
    }

    /// The first of groups that come batch by batch, each once.
    async fn first_of_batches(
        &self,
        mut batches: SendableRecordBatchStream,
    ) -> Result<RecordBatch> {
        let schema = self.groups.schema();
        let mut first = RecordBatch::new_empty(Arc::clone(&schema));
        while let Some(batch) = batches.next().await {
            let mut batch = batch?;
            if let Some(having) = &self.having {
                let passed = having.expr.evaluate(&batch)?.into_array(batch.num_rows())?;
                batch = filter_record_batch(&batch, passed.as_boolean())?;
            }
            let all = concat_batches(&schema, [&first, &batch])?;
            let rows = all.num_rows();
            let columns = self.order.iter().map(|order| {
                Ok(SortColumn {
                    values: order.by.expr.evaluate(&all)?.into_array(rows)?,
                    options: Some(order.options),
                })
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            if columns.is_empty() && rows >= self.fetch {
                return Ok(all.slice(0, self.fetch));
            }
            first = match columns.is_empty() {
                true => all,
                false => {
                    let places = lexsort_to_indices(&columns, Some(self.fetch))?;
                    take_record_batch(&all, &places)?
                }
            };
        }
        Ok(first)
    }

    fn rows(&self, turn: &mut Turn, grouped: &Grouped) -> Result<RecordBatch> {
        let first = self.first_of_pieces(turn, grouped)?;
        let rows = first
            .iter()
            .map(|first| grouped.rows(first.piece, Some(&first.groups)));
        let schema = self.groups.schema();
        if self.order.is_empty() {
            let rows = concat_batches(&schema, &rows.collect::<Result<Vec<_>>>()?)?;
            return Ok(rows.slice(0, self.fetch.min(rows.num_rows())));
        }
        if let [only] = &first[..] {
            return grouped.rows(only.piece, Some(&only.groups));
        }
        let columns = self.order.iter().enumerate().map(|(at, order)| {
            let values: Vec<_> = first
                .iter()
                .map(|first| first.columns[at].as_ref())
                .collect();
            Ok(SortColumn {
                values: concat(&values)?,
                options: Some(order.options),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let places = lexsort_to_indices(&columns, Some(self.fetch))?;
        let rows = concat_batches(&schema, &rows.collect::<Result<Vec<_>>>()?)?;
        Ok(take_record_batch(&rows, &places)?)
    }

    fn first_of_pieces(&self, turn: &mut Turn, grouped: &Grouped) -> Result<Vec<First>> {
        let groups: usize = (0..grouped.pieces()).map(|piece| grouped.len(piece)).sum();
        let shared = self.groups.shared();
        let alone_max = ORDERED_ALONE_MAX.min(shared.rows_per_worker() as usize);
        let workers = match groups <= alone_max {
            true => 1,
            false => shared.threads(),
        };
        in_turns(turn, workers, grouped.pieces(), |piece| {
            self.first_of(grouped, piece)
        })
    }

    fn first_of(&self, grouped: &Grouped, piece: usize) -> Result<First> {
        let passed = self.having.as_ref();
        let passed = passed
            .map(|having| having.is_true(grouped, piece))
            .transpose()?;
        let passed = passed.as_deref();
        let count = passed.map_or(grouped.len(piece), <[u32]>::len);
        let group = |at: u32| passed.map_or(at, |passed| passed[at as usize]);
        let few = self.fetch.min(count);
        let Some((order, others)) = self.order.split_first() else {
            return Ok(First {
                piece,
                groups: (0..few as u32).map(group).collect(),
                columns: Vec::new(),
            });
        };
        let values = order.by.values(grouped, piece, passed)?;
        let mut places = match first_longs(&values, order.options, few) {
            Some(places) => places,
            None => sort_to_indices(&values, Some(order.options), Some(few))?,
        };
        if !others.is_empty() && 0 < few && few < count {
            places = not_after(&values, order.options, places.value(few - 1) as usize)?;
        }
        let groups: Vec<u32> = places.values().iter().map(|at| group(*at)).collect();
        let mut columns = vec![SortColumn {
            values: take(&values, &places, None)?,
            options: Some(order.options),
        }];
        for order in others {
            columns.push(SortColumn {
                values: order.by.values(grouped, piece, Some(&groups))?,
                options: Some(order.options),
            });
        }
        let first = lexsort_to_indices(&columns, Some(self.fetch))?;
        let columns = columns
            .iter()
            .map(|column| take(&column.values, &first, None));
        Ok(First {
            piece,
            columns: columns.collect::<std::result::Result<Vec<_>, _>>()?,
            groups: first
                .values()
                .iter()
                .map(|at| groups[*at as usize])
                .collect(),
        })
    }
}

impl OverGroups {
    pub(super) fn new(expr: Arc<dyn PhysicalExpr>, groups: &NativeAggregateExec) -> Result<Self> {
        let columns = collect_columns(&expr);
        let mut columns: Vec<usize> = columns.iter().map(Column::index).collect();
        columns.sort_unstable();
        columns.dedup();
        Ok(Self {
            inputs: Inputs::of(&expr, &groups.schema())?,
            columns,
            expr,
        })
    }

    pub(super) fn data_type(&self, groups: &NativeAggregateExec) -> Result<DataType> {
        self.expr.data_type(&groups.schema())
    }

    fn inputs(
        &self,
        grouped: &Grouped,
        piece: usize,
        groups: Option<&[u32]>,
    ) -> Result<Vec<ArrayRef>> {
        let columns = self.columns.iter();
        columns
            .map(|column| grouped.column(piece, *column, groups))
            .collect()
    }

    /// Its value for each of the groups of a piece; `None` = all.
    pub(super) fn values(
        &self,
        grouped: &Grouped,
        piece: usize,
        groups: Option<&[u32]>,
    ) -> Result<ArrayRef> {
        let inputs = self.inputs(grouped, piece, groups)?;
        let rows = groups.map_or(grouped.len(piece), <[u32]>::len);
        let batch = batch(&self.inputs.schema, inputs, rows)?;
        self.inputs.expr.evaluate(&batch)?.into_array(rows)
    }

    /// The groups of a piece for which it is true.
    fn is_true(&self, grouped: &Grouped, piece: usize) -> Result<Vec<u32>> {
        let inputs = self.inputs(grouped, piece, None)?;
        let Inputs { expr, schema } = &self.inputs;
        let passed = evaluate(expr, schema, inputs, grouped.len(piece))?;
        let passed = (0u32..).zip(passed).filter(|(_, passed)| *passed);
        Ok(passed.map(|(group, _)| group).collect())
    }
}

impl fmt::Display for OverGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

/// The places of the first `few` whole numbers, without a list of all; `None`: they are none, or
/// too many are wanted.
fn first_longs(values: &ArrayRef, options: SortOptions, few: usize) -> Option<UInt32Array> {
    let values = values.as_primitive_opt::<Int64Type>()?;
    if values.null_count() > 0 || few > FIRST_FEW_MAX {
        return None;
    }
    // The greatest come first.
    let rank = |value: i64| if options.descending { value } else { !value };
    let mut first = BinaryHeap::with_capacity(few + 1);
    let mut least = None;
    for (at, value) in (0u32..).zip(values.values()) {
        let own = rank(*value);
        if least.is_some_and(|least| own <= least) {
            continue;
        }
        first.push(Reverse((own, Reverse(at))));
        if first.len() > few {
            first.pop();
        }
        if first.len() == few {
            least = first.peek().map(|Reverse((last, _))| *last);
        }
    }
    let first = first.into_sorted_vec().into_iter();
    Some(
        first
            .map(|Reverse((_, Reverse(at)))| at)
            .collect::<Vec<_>>()
            .into(),
    )
}

/// The places of all values that are no later than the one at `last`.
pub(super) fn not_after(
    values: &ArrayRef,
    options: SortOptions,
    last: usize,
) -> Result<UInt32Array> {
    let compare = make_comparator(values, values, options)?;
    let places =
        (0..values.len() as u32).filter(|at| compare(*at as usize, last) != Ordering::Greater);
    Ok(places.collect::<Vec<u32>>().into())
}

impl DisplayAs for TopGroupsExec {
    fn fmt_as(&self, how: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let order = self.order.iter();
        let order = order.map(|order| format!("{} {}", order.by.expr, order.options));
        let order = order.collect::<Vec<_>>().join(", ");
        let having = match &self.having {
            Some(having) => format!(", having {}", having.expr),
            None => String::new(),
        };
        let first = self.fetch;
        write!(
            f,
            "TopGroupsExec: first={first}, order=[{order}]{having} of "
        )?;
        self.groups.fmt_as(how, f)
    }
}

impl ExecutionPlan for TopGroupsExec {
    fn name(&self) -> &str {
        "TopGroupsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    query::leaf!(in_place_of groups);

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        let groups = self.groups.bound(run_of(&state)?)?;
        Some(Arc::new(Self {
            groups: Arc::new(groups),
            ..self.clone()
        }))
    }

    fn execute(&self, _: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = stream::once(Arc::new(self.clone()).run(task));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.groups.schema(),
            rows,
        )))
    }
}
