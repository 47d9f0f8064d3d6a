//! Plans that are used again: dashboards ask the same over and over, and planning takes longer than
//! a small query.
//!
//! Invariants:
//! - a plan is used only for queries that see the very snapshot of the cluster that it was made
//!   from: it names no segment and no server that planning anew would not name;
//! - it depends on nothing else than its [`Key`]: what asks for the time is planned each time;
//! - nothing of one run is left for the next: only operators that can be reset are kept.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use parking_lot::Mutex;
use schemas::cluster::ClusterState;
use schemas::proto::{Explain, NullMode};

use crate::context::{QueryContext, QueryStats};
use crate::dialect::{Semantics, Statement};
use crate::gather::RemoteExec;

/// Statements that are kept at once.
const TEMPLATES_MAX: usize = 512;
/// Bytes of a statement, its fragments and its lists of segments; heavier ones are not kept.
const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// Replicas take turns: plans of as many turns are kept. One, two, three and six replicas come
/// round in it.
const TURNS: usize = 6;

type Plan = Arc<dyn ExecutionPlan>;

/// All that planning looks at beside the cluster.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    text: String,
    semantics: Semantics,
    limit_added: Option<u64>,
    null_mode: NullMode,
    turn: usize,
}

#[derive(Debug)]
struct Template {
    plan: Plan,
    /// What planning had found.
    stats: QueryStats,
}

/// Plans of one snapshot; none of an older one is held.
#[derive(Debug, Default)]
struct Kept {
    cluster: Arc<ClusterState>,
    plans: HashMap<Key, Template>,
}

#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<Kept>);

impl Templates {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().plans.len()
    }

    /// The plan for this query, when the same was planned in the same state of the cluster.
    pub(crate) fn find(
        &self,
        statement: &Statement,
        context: &Arc<QueryContext>,
    ) -> Result<Option<Plan>> {
        if !context.wants_templates() || statement.explain != Explain::None {
            return Ok(None);
        }
        let key = Key::new(statement, context);
        let plan = {
            let kept = self.0.lock();
            let is_current = Arc::ptr_eq(&kept.cluster, &context.cluster);
            let Some(template) = kept.plans.get(&key).filter(|_| is_current) else {
                return Ok(None);
            };
            context.stats.lock().clone_from(&template.stats);
            Arc::clone(&template.plan)
        };
        for_query(&plan, context).map(Some)
    }

    /// Keeps a plan that may be used again; whether it is timeless, [`is_timeless`] told.
    pub(crate) fn keep(
        &self,
        statement: &Statement,
        context: &Arc<QueryContext>,
        is_timeless: bool,
        plan: &Plan,
    ) {
        let wanted = context.wants_templates() && statement.explain == Explain::None;
        if !wanted || !is_timeless || !can_be_reset(plan) {
            return;
        }
        if statement.text.len() + bytes_of(plan) > TEMPLATE_BYTES_MAX {
            return;
        }
        let template = Template {
            plan: Arc::clone(plan),
            stats: context.stats.lock().clone(),
        };
        let mut kept = self.0.lock();
        let is_current = Arc::ptr_eq(&kept.cluster, &context.cluster);
        if !is_current || kept.plans.len() >= TEMPLATES_MAX {
            *kept = Kept {
                cluster: Arc::clone(&context.cluster),
                plans: HashMap::new(),
            };
        }
        kept.plans.insert(Key::new(statement, context), template);
    }
}

impl Key {
    fn new(statement: &Statement, context: &QueryContext) -> Self {
        Self {
            text: statement.text.clone(),
            semantics: statement.semantics,
            limit_added: statement.limit_added,
            null_mode: context.null_mode,
            turn: context.turn % TURNS,
        }
    }
}

/// No part of the plan is something else at another time. Asked before `now()` becomes a value.
pub(crate) fn is_timeless(logical: &LogicalPlan) -> Result<bool> {
    let mut timeless = true;
    logical.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            timeless &= !expr.exists(|expr| Ok(is_of_the_moment(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(timeless)
}

fn is_of_the_moment(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call)
        if call.func.signature().volatility != Volatility::Immutable)
}

/// Operators without state between runs, or with state that [`ExecutionPlan::reset_state`] resets.
fn can_be_reset(plan: &Plan) -> bool {
    if plan.is::<RemoteExec>() {
        return true;
    }
    // A filter that an aggregate learns while it runs is not reset.
    let learns = !plan.dynamic_expressions_produced().is_empty();
    let known = (plan.is::<AggregateExec>() && !learns)
        || plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<UnionExec>();
    let children = plan.children();
    known && !children.is_empty() && children.iter().all(|child| can_be_reset(child))
}

fn bytes_of(plan: &Plan) -> usize {
    let own = plan.downcast_ref::<RemoteExec>().map(RemoteExec::bytes);
    own.unwrap_or(0) + plan.children().iter().map(|c| bytes_of(c)).sum::<usize>()
}

/// A fresh copy whose leaves ask for this query.
fn for_query(plan: &Plan, context: &Arc<QueryContext>) -> Result<Plan> {
    if let Some(remote) = plan.downcast_ref::<RemoteExec>() {
        return Ok(Arc::new(remote.for_query(context)));
    }
    let children = plan.children().into_iter();
    let children = children.map(|child| for_query(child, context));
    let children = children.collect::<Result<Vec<_>>>()?;
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Arc::clone(plan)
        .replace_children(children, keep)?
        .reset_state()
}
