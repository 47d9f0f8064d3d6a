//! Groups of which only the first few of each value of some columns are wanted, as a condition on
//! ROW_NUMBER or RANK over them says: the three most read pages of each country.
//!
//! Kept are all groups that are no later than the last of the few by the first column of the order.
//! So more are kept than are wanted, and never fewer: the window and its condition stay above. What
//! those left out have is never made.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMillisecondType,
};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::CastExpr;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, split_conjunction};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use hashbrown::HashMap;
use runtime::compute::Turn;

use super::first_of_rows::FirstOfRowsExec;
use super::groups::{GroupOrder, OverGroups};
use super::{Plan, ROWS_MAX, ascend, compared, descend, expression_below, plain_column};
use crate::native::{Grouped, NativeAggregateExec, Output, Wanted, is_short};
use crate::prepared::run_of;
use crate::scan_exec::at_once;
use crate::shared::in_turns;

#[derive(Clone, Debug)]
struct FirstOfEachExec {
    groups: Arc<NativeAggregateExec>,
    of_each: Vec<OverGroups>,
    order: GroupOrder,
    /// At least one.
    fetch: usize,
    properties: Arc<PlanProperties>,
}

/// A condition by which only the first few groups, or rows, of each partition of a window are
/// wanted.
pub(super) fn recognise(node: &Plan, filter: &FilterExec) -> Result<Option<Plan>> {
    let (between, window) = descend(filter.input());
    let Some(ranked) = window.downcast_ref::<BoundedWindowAggExec>() else {
        return Ok(None);
    };
    let mut above = vec![node];
    above.extend(&between);
    above.push(window);
    let mut sorted = ranked.input();
    if let Some(merge) = sorted.downcast_ref::<SortPreservingMergeExec>() {
        above.push(sorted);
        sorted = merge.input();
    }
    above.push(sorted);
    let Some(sort) = sorted.downcast_ref::<SortExec>() else {
        return Ok(None);
    };
    let condition = expression_below(filter.predicate(), &between)?;
    let Some(fetch) = first_few(&condition, ranked) else {
        return Ok(None);
    };
    let Some((of_each, order)) = ranked_by(ranked).filter(|_| sort.fetch().is_none()) else {
        return Ok(None);
    };
    let (below, groups) = descend(sort.input());
    let ours: Plan = match groups.downcast_ref::<NativeAggregateExec>() {
        None => {
            if !has_ranks(&order.expr.data_type(&sort.input().schema())?) {
                return Ok(None);
            }
            let rows = Arc::clone(sort.input());
            Arc::new(FirstOfRowsExec::new(rows, of_each, order, fetch))
        }
        Some(groups) => {
            let over_groups = |expr: &Arc<dyn PhysicalExpr>| {
                OverGroups::new(expression_below(expr, &below)?, groups)
            };
            let order = GroupOrder {
                by: over_groups(&order.expr)?,
                options: order.options,
            };
            if groups.output() != Output::Values || !has_ranks(&order.by.data_type(groups)?) {
                return Ok(None);
            }
            let of_each = of_each.iter().map(over_groups).collect::<Result<_>>()?;
            above.extend(below);
            Arc::new(FirstOfEachExec::new(groups, of_each, order, fetch))
        }
    };
    ascend(above, ours).map(Some)
}

/// How many of each partition pass the condition at most, where it says so.
fn first_few(condition: &Arc<dyn PhysicalExpr>, ranked: &BoundedWindowAggExec) -> Option<usize> {
    let own = ranked.input().schema().fields().len();
    split_conjunction(condition).into_iter().find_map(|part| {
        let (column, operator, value) = compared(part, column_of_rank)?;
        let rank = ranked.window_expr().get(column.checked_sub(own)?)?;
        let name = function_of(rank)?;
        let is_whole = value.data_type().is_integer();
        let ScalarValue::Int64(Some(last)) = value.cast_to(&DataType::Int64).ok()? else {
            return None;
        };
        let few = match operator {
            Operator::LtEq | Operator::Eq => last,
            Operator::Lt => last.checked_sub(1)?,
            _ => return None,
        };
        let fits = matches!(name.as_str(), "row_number" | "rank");
        let few = usize::try_from(few).ok()?;
        (is_whole && fits && (1..=ROWS_MAX).contains(&few)).then_some(few)
    })
}

fn function_of(expr: &Arc<dyn WindowExpr>) -> Option<String> {
    let expr = expr.as_any().downcast_ref::<StandardWindowExpr>()?;
    let function = expr.get_standard_func_expr();
    let function = function.as_any().downcast_ref::<WindowUDFExpr>()?;
    Some(function.fun().name().to_owned())
}

/// By what all functions of a window are partitioned, and the first column of their order; `None`:
/// they differ, or may look at rows that come later.
fn ranked_by(
    window: &BoundedWindowAggExec,
) -> Option<(Vec<Arc<dyn PhysicalExpr>>, PhysicalSortExpr)> {
    let (first, others) = window.window_expr().split_first()?;
    let is_rank = |expr: &Arc<dyn WindowExpr>| {
        let name = function_of(expr);
        name.is_some_and(|name| matches!(name.as_str(), "row_number" | "rank" | "dense_rank"))
    };
    let is_alike = |other: &Arc<dyn WindowExpr>| {
        other.partition_by() == first.partition_by() && other.order_by() == first.order_by()
    };
    let all_rank = window.window_expr().iter().all(is_rank);
    let order = first.order_by().first().filter(|_| all_rank)?;
    let fits = !first.partition_by().is_empty() && others.iter().all(is_alike);
    fits.then(|| (first.partition_by().to_vec(), order.clone()))
}

/// A rank as it is, or as another whole number.
fn column_of_rank(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    plain_column(match expr.downcast_ref::<CastExpr>() {
        Some(cast) if cast.cast_type().is_integer() => cast.expr(),
        _ => expr,
    })
}

impl FirstOfEachExec {
    fn new(
        groups: &NativeAggregateExec,
        of_each: Vec<OverGroups>,
        order: GroupOrder,
        fetch: usize,
    ) -> Self {
        let properties = at_once(groups.properties().equivalence_properties().clone());
        Self {
            groups: Arc::new(groups.clone()),
            of_each,
            order,
            fetch,
            properties,
        }
    }

    async fn stream(self: Arc<Self>, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("first groups of each").register(task.memory_pool());
        let rows = self.groups.rows_to_read()?;
        let own = Arc::clone(&self);
        let job = move |turn: &mut Turn| {
            let grouped = own.groups.grouped(turn, &memory, rows, Wanted::All)?;
            own.batches(turn, &grouped, &memory.new_empty())
        };
        match self.groups.shared().run(rows, job).await {
            Ok(batches) => Ok(Box::pin(RecordBatchStreamAdapter::new(
                self.groups.schema(),
                stream::iter(batches).map(Ok),
            ))),
            Err(error) if is_short(&error) => match self.groups.in_chunks()? {
                // All of them are as good.
                Some(joined) => joined.execute(0, task),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The groups of each piece that are no later than the last of the few with the same values in
    /// all pieces.
    fn batches(
        &self,
        turn: &mut Turn,
        grouped: &Grouped,
        memory: &MemoryReservation,
    ) -> Result<Vec<RecordBatch>> {
        let workers = self.groups.shared().threads();
        let ranked = in_turns(turn, workers, grouped.pieces(), |piece| {
            self.ranked(grouped, piece, memory)
        })?;
        let marks = self.marks(&ranked);
        in_turns(turn, workers, grouped.pieces(), |piece| {
            let kept = ranked[piece].as_ref().map(|own| own.reaching(&marks));
            grouped.rows(piece, kept.as_deref())
        })
    }

    /// `None`: they have no ranks.
    fn ranked(
        &self,
        grouped: &Grouped,
        piece: usize,
        memory: &MemoryReservation,
    ) -> Result<Option<Ranked>> {
        let values = self.order.by.values(grouped, piece, None)?;
        let Some(ranks) = ranks(&values, self.order.options) else {
            return Ok(None);
        };
        memory.try_grow(ranks.len() * size_of::<(u64, u32)>())?;
        let columns = self.of_each.iter();
        let columns = columns.map(|column| column.values(grouped, piece, None));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let fields = columns.iter().map(|column| column.data_type().clone());
        let rows = RowConverter::new(fields.map(SortField::new).collect())?;
        let rows = rows.convert_columns(&columns)?;
        let mut numbers: HashMap<&[u8], u32> = HashMap::new();
        let mut own = Ranked::default();
        for (row, rank) in rows.iter().zip(&ranks) {
            let new = own.firsts.len() as u32;
            let number = *numbers.entry(row.data()).or_insert_with(|| {
                own.firsts.push((row.data().into(), Firsts::default()));
                new
            });
            own.firsts[number as usize].1.offer(*rank, self.fetch);
            own.numbers.push(number);
        }
        own.ranks = ranks;
        Ok(Some(own))
    }

    /// Of each partition the rank of the last of the few, where there are so many.
    fn marks<'r>(&self, ranked: &'r [Option<Ranked>]) -> HashMap<&'r [u8], u64> {
        let mut all: HashMap<&[u8], Firsts> = HashMap::new();
        for (partition, firsts) in ranked.iter().flatten().flat_map(|own| &own.firsts) {
            let all = all.entry(partition).or_default();
            for rank in &firsts.0 {
                all.offer(rank.0, self.fetch);
            }
        }
        let full = all.into_iter().filter(|(_, own)| own.0.len() == self.fetch);
        full.filter_map(|(partition, own)| Some((partition, own.0.peek()?.0)))
            .collect()
    }
}

/// The greatest ranks of a partition.
#[derive(Debug, Default)]
pub(super) struct Firsts(BinaryHeap<Reverse<u64>>);

impl Firsts {
    /// Whether it can be among the first, as far as it is known.
    pub(super) fn offer(&mut self, rank: u64, fetch: usize) -> bool {
        let last = self.0.peek().map(|last| last.0);
        match last.filter(|_| self.0.len() >= fetch) {
            Some(last) if rank < last => return false,
            Some(last) if rank == last => return true,
            Some(_) => drop(self.0.pop()),
            None => {}
        }
        self.0.push(Reverse(rank));
        true
    }
}

/// The groups of a piece.
#[derive(Debug, Default)]
struct Ranked {
    ranks: Vec<u64>,
    /// Of each group that of its partition.
    numbers: Vec<u32>,
    firsts: Vec<(Box<[u8]>, Firsts)>,
}

impl Ranked {
    fn reaching(&self, marks: &HashMap<&[u8], u64>) -> Vec<u32> {
        let least = self.firsts.iter();
        let least = least.map(|(partition, _)| marks.get(&**partition).copied().unwrap_or(0));
        let least: Vec<u64> = least.collect();
        let each = (0u32..).zip(&self.numbers).zip(&self.ranks);
        let kept = each.filter(|((_, number), rank)| **rank >= least[**number as usize]);
        kept.map(|((group, _), _)| group).collect()
    }
}

fn has_ranks(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Timestamp(TimeUnit::Millisecond, None)
    )
}

/// For each value a number that is greater, the sooner it comes; values that are not equal may have
/// the same. `None`: for values of this type there is none.
pub(super) fn ranks(values: &ArrayRef, options: SortOptions) -> Option<Vec<u64>> {
    const SIGN: u64 = 1 << 63;
    let of_long = |value: i64| value as u64 ^ SIGN;
    match values.data_type() {
        DataType::Int32 => ranks_of::<Int32Type>(values, options, |v| of_long(i64::from(v))),
        DataType::Int64 => ranks_of::<Int64Type>(values, options, of_long),
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            ranks_of::<TimestampMillisecondType>(values, options, of_long)
        }
        // As arrow orders them: by IEEE 754's total order.
        DataType::Float64 => ranks_of::<Float64Type>(values, options, |value| {
            let bits = value.to_bits();
            if bits & SIGN == 0 { bits ^ SIGN } else { !bits }
        }),
        _ => None,
    }
}

fn ranks_of<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    options: SortOptions,
    ascending: impl Fn(T::Native) -> u64,
) -> Option<Vec<u64>> {
    let values = values.as_primitive_opt::<T>()?;
    let of_null = if options.nulls_first { u64::MAX } else { 0 };
    let rank = |value| match options.descending {
        true => ascending(value),
        false => !ascending(value),
    };
    let rank = |value: Option<T::Native>| value.map_or(of_null, rank);
    Some(values.iter().map(rank).collect())
}

impl DisplayAs for FirstOfEachExec {
    fn fmt_as(&self, how: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let of_each = self.of_each.iter().map(ToString::to_string);
        let of_each = of_each.collect::<Vec<_>>().join(", ");
        let GroupOrder { by, options } = &self.order;
        let first = self.fetch;
        write!(
            f,
            "FirstOfEachExec: first={first}, of_each=[{of_each}], order=[{by} {options}] of "
        )?;
        self.groups.fmt_as(how, f)
    }
}

impl ExecutionPlan for FirstOfEachExec {
    fn name(&self) -> &str {
        "FirstOfEachExec"
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
        let batches = stream::once(Arc::new(self.clone()).stream(task));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.groups.schema(),
            batches.try_flatten(),
        )))
    }
}
