//! ROLLUP, CUBE and GROUPING SETS: rows are read once, for the groups of all keys together.
//!
//! Each set has the same groups without the keys that it leaves out, so their states are given out
//! once for each set, with nulls for those keys and the number of the set behind them. Which of
//! them are one group then, whoever joins states finds. Where states are long lists and one server
//! gives the whole answer, each set is an aggregate of its own.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, lit};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateMode, PhysicalGroupBy, evaluate_group_by,
};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};

use super::plan;
use crate::scan_exec::at_once;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

/// The plan in the place of an aggregate with grouping sets; `ours` makes that of one without.
pub(super) fn recognise(
    aggregate: &AggregateExec,
    ours: impl Fn(&Plan, &AggregateExec) -> Result<Option<Plan>>,
) -> Result<Option<Plan>> {
    let below = plan::partial_below(aggregate);
    let below = below.as_ref().and_then(|own| own.downcast_ref());
    let raw: &AggregateExec = below.unwrap_or(aggregate);
    if !raw.group_expr().has_grouping_set() {
        return Ok(None);
    }
    let mode = match aggregate.mode() {
        AggregateMode::Partial => AggregateMode::PartialReduce,
        AggregateMode::Single | AggregateMode::SinglePartitioned => AggregateMode::Final,
        AggregateMode::Final | AggregateMode::FinalPartitioned => *aggregate.mode(),
        AggregateMode::PartialReduce => return Ok(None),
    };
    let values_alone = mode != AggregateMode::PartialReduce
        && raw
            .aggr_expr()
            .iter()
            .any(|function| function.is_distinct());
    let apart = || set_by_set(aggregate, raw);
    if values_alone && let Some(apart) = apart()? {
        return Ok(Some(apart));
    }
    let groups = raw.group_expr();
    let every = PhysicalGroupBy::new_single(groups.expr().to_vec());
    let every = of_mode(raw, AggregateMode::Partial, every, raw.input())?;
    let states = match plan::recognise(&every)? {
        Some(native) => Some(Arc::new(native.joined_here()) as Plan),
        None => ours(&(Arc::new(every.clone()) as Plan), &every)?,
    };
    let Some(states) = states else {
        return match mode {
            AggregateMode::PartialReduce => Ok(None),
            _ => apart(),
        };
    };
    let nothing: Plan = Arc::new(EmptyExec::new(raw.input().schema()));
    let of_nothing = of_mode(raw, AggregateMode::Partial, groups.clone(), &nothing)?;
    let sets = GroupingSetsExec::new(states, groups, Arc::new(of_nothing));
    let keys = match below {
        Some(_) => aggregate.group_expr().clone(),
        None => groups.as_final(),
    };
    let functions = aggregate.aggr_expr().to_vec();
    let filters = vec![None; functions.len()];
    let input_schema = aggregate.input_schema();
    let sets = Arc::new(sets);
    let joined = AggregateExec::try_new(mode, keys, functions, filters, sets, input_schema)?;
    let limit = aggregate.limit_options().filter(|_| below.is_some());
    let joined = joined.with_limit_options(limit);
    let is_same = joined.schema() == aggregate.schema();
    Ok(is_same.then(|| Arc::new(joined) as Plan))
}

fn of_mode(
    raw: &AggregateExec,
    mode: AggregateMode,
    groups: PhysicalGroupBy,
    input: &Plan,
) -> Result<AggregateExec> {
    AggregateExec::try_new(
        mode,
        groups,
        raw.aggr_expr().to_vec(),
        raw.filter_expr().to_vec(),
        Arc::clone(input),
        raw.input_schema(),
    )
}

/// Rows are read for each set anew: for values whose states are large, or which have none.
fn set_by_set(aggregate: &AggregateExec, raw: &AggregateExec) -> Result<Option<Plan>> {
    let groups = raw.group_expr();
    let schema = aggregate.schema();
    let keys = groups.expr().len();
    let number = schema.field(keys);
    let mut sets: Vec<Plan> = Vec::with_capacity(groups.groups().len());
    for (at, leaves_out) in groups.groups().iter().enumerate() {
        let own = groups.expr().iter().zip(leaves_out);
        let own = own.filter(|(_, out)| !**out).map(|(key, _)| key.clone());
        let own = PhysicalGroupBy::new_single(own.collect());
        let own = of_mode(raw, AggregateMode::Single, own, raw.input())?;
        let Some(native) = plan::recognise(&own)? else {
            return Ok(None);
        };
        let before = groups.groups()[..at].iter();
        let ordinal = before.filter(|before| *before == leaves_out).count() as u64;
        let bits = leaves_out
            .iter()
            .fold(0, |bits, out| bits << 1 | u64::from(*out));
        let id = ScalarValue::UInt64(Some(bits | ordinal << keys)).cast_to(number.data_type())?;
        let values = native.schema();
        let mut next = (0..).zip(values.fields());
        let mut next = || {
            let column = next.next();
            column.map(|(at, field)| Arc::new(Column::new(field.name(), at)) as Expr)
        };
        let mut columns: Vec<Option<Expr>> = Vec::with_capacity(schema.fields().len());
        for ((null, _), out) in groups.null_expr().iter().zip(leaves_out) {
            columns.push(if *out { Some(Arc::clone(null)) } else { next() });
        }
        columns.push(Some(lit(id)));
        columns.extend(std::iter::from_fn(|| next().map(Some)));
        let columns = columns.into_iter().flatten().zip(schema.fields());
        let columns = columns.map(|(column, field)| (column, field.name().clone()));
        sets.push(Arc::new(ProjectionExec::try_new(
            columns,
            Arc::new(native),
        )?));
    }
    let all = match sets.len() {
        1 => sets.remove(0),
        _ => Arc::new(CoalescePartitionsExec::new(UnionExec::try_new(sets)?)),
    };
    Ok((all.schema() == schema).then_some(all))
}

/// States of the groups of each set.
#[derive(Clone, Debug)]
pub(crate) struct GroupingSetsExec {
    /// States of the groups of all keys.
    input: Plan,
    sets: PhysicalGroupBy,
    /// The aggregate over no rows: sets without a key have a group all the same.
    of_nothing: Plan,
    properties: Arc<PlanProperties>,
}

impl GroupingSetsExec {
    fn new(states: Plan, groups: &PhysicalGroupBy, of_nothing: Plan) -> Self {
        let keys = groups.expr().iter().enumerate();
        let keys = keys.map(|(at, (_, name))| {
            let key: Expr = Arc::new(Column::new(name, at));
            (key, name.clone())
        });
        let sets = PhysicalGroupBy::new(
            keys.collect(),
            groups.null_expr().to_vec(),
            groups.groups().to_vec(),
            true,
        );
        let properties = at_once(EquivalenceProperties::new(of_nothing.schema()));
        Self {
            input: states,
            sets,
            of_nothing,
            properties,
        }
    }

    fn of_each_set(&self, states: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let keys = self.sets.expr().len();
        let sets = evaluate_group_by(&self.sets, states)?.into_iter();
        let rows = sets.map(|own| {
            let columns = own.into_iter().chain(states.columns()[keys..].to_vec());
            Ok(RecordBatch::try_new(self.schema(), columns.collect())?)
        });
        rows.collect()
    }
}

impl DisplayAs for GroupingSetsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = self.sets.groups().iter().map(|leaves_out| {
            let keys = self.sets.expr().iter().zip(leaves_out);
            let keys = keys.filter(|(_, out)| !**out);
            let keys: Vec<&str> = keys.map(|((_, name), _)| name.as_str()).collect();
            format!("({})", keys.join(", "))
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        write!(f, "GroupingSetsExec: sets=[{sets}]")
    }
}

impl ExecutionPlan for GroupingSetsExec {
    fn name(&self) -> &str {
        "GroupingSetsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Plan>,
        _: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        Ok(match children.pop() {
            Some(input) => Arc::new(Self {
                input,
                ..Self::clone(&self)
            }),
            None => self,
        })
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batches = self.input.execute(partition, Arc::clone(&task))?;
        let own = self.clone();
        let each = stream::unfold(Some((batches, true)), move |state| {
            let (own, task) = (own.clone(), Arc::clone(&task));
            async move {
                let (mut batches, is_empty) = state?;
                let (rows, next) = match batches.next().await {
                    Some(Ok(batch)) => {
                        let is_empty = is_empty && batch.num_rows() == 0;
                        let rows = own.of_each_set(&batch);
                        let rows = rows.map(|rows| stream::iter(rows).map(Ok).boxed());
                        (rows, Some((batches, is_empty)))
                    }
                    Some(Err(error)) => (Err(error), None),
                    None if is_empty => {
                        let rows = own.of_nothing.execute(0, task);
                        (rows.map(|rows| rows.boxed()), None)
                    }
                    None => return None,
                };
                Some((rows, next))
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            each.try_flatten(),
        )))
    }
}
