//! Plans that are used again: dashboards and APIs ask the same over and over with other literals,
//! and planning takes longer than a small query.
//!
//! Invariants:
//! - a plan is kept by the statement's shape, by the values of all literals that are not
//!   parameters, and by what else planning looks at ([`Key`]); what asks for the time is planned
//!   each time;
//! - it names no segment and no server: which are read is found out for each query, with its
//!   values. It is used only while its tables are as they were planned: the same ones, of the same
//!   spec, split at the same time;
//! - parameters stand in filters of scans and nowhere else;
//! - nothing of one run is left for the next: only operators that can be reset are kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility, WindowFunctionDefinition};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use parking_lot::Mutex;
use schemas::TableSpec;
use schemas::cluster::ClusterState;
use schemas::proto::NullMode;

use crate::context::QueryContext;
use crate::dialect::{Parsed, Semantics, Statement, Unparsed};
use crate::gather::RemoteExec;
use crate::literals::{Candidate, Shape, value};
use crate::parameters::{Parameters, parameter_of};
use crate::scan_exec::SegmentScanExec;

/// Plans that are kept at once.
const TEMPLATES_MAX: usize = 512;
/// Bytes of a plan's fragments; heavier ones are not kept.
const TEMPLATE_BYTES_MAX: usize = 64 << 10;

type Plan = Arc<dyn ExecutionPlan>;

/// All that planning looks at beside tables and literals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    marked: String,
    semantics: Semantics,
    null_mode: NullMode,
    default_limit: u64,
}

/// A literal that is a parameter, and the type of the column that it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) candidate: Candidate,
    pub(crate) data_type: DataType,
}

/// Statements of one shape.
#[derive(Debug, Default)]
struct Family {
    parameters: Arc<[Parameter]>,
    /// Literals that are none.
    fixed: Vec<usize>,
    /// By the values of those.
    members: HashMap<String, Member>,
}

#[derive(Clone, Debug)]
struct Member {
    parsed: Arc<Parsed>,
    plans: Plans,
}

/// One server may be able to answer for some values, and several be needed for others.
#[derive(Clone, Debug, Default)]
struct Plans {
    alone: Option<Arc<Template>>,
    shared_out: Option<Arc<Template>>,
}

/// Physical tables behind a name, each with the time that divides it from the other.
type Parts = Vec<(TableSpec, Option<i64>)>;

#[derive(Debug)]
struct Template {
    plan: Plan,
    /// Names of tables, and what they were when it was planned: specs, and where they are split.
    tables: Vec<(String, Parts)>,
    names: BTreeSet<String>,
    /// The cluster in which the tables were last seen unchanged; an old one is not held by it.
    seen_in: Mutex<Weak<ClusterState>>,
}

/// Plans for a statement, and its values.
#[derive(Debug)]
pub(crate) struct Found {
    plans: Plans,
    parameters: Parameters,
}

#[derive(Debug, Default)]
pub(crate) struct Templates {
    families: Mutex<HashMap<Key, Family>>,
}

impl Templates {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        count(&self.families.lock())
    }

    /// What is known of statements that differ from this one in parameters alone.
    pub(crate) fn find(
        &self,
        unparsed: &Unparsed<'_>,
        shape: &Shape,
    ) -> Option<(Arc<Parsed>, Found)> {
        let key = Key {
            marked: shape.marked.clone(),
            semantics: unparsed.semantics,
            null_mode: unparsed.null_mode,
            default_limit: unparsed.default_limit,
        };
        let (parameters, Member { parsed, plans }) = {
            let families = self.families.lock();
            let family = families.get(&key)?;
            let fixed = texts(unparsed.text, shape, &family.fixed);
            (
                Arc::clone(&family.parameters),
                family.members.get(&fixed)?.clone(),
            )
        };
        let (text, semantics) = (unparsed.text, unparsed.semantics);
        let parameters = values(&parameters, text, shape, semantics)?;
        Some((parsed, Found { plans, parameters }))
    }

    /// Keeps a plan for statements of the shape; whether it may be, the caller has found out.
    pub(crate) fn keep(
        &self,
        statement: &Statement,
        context: &QueryContext,
        parameters: Vec<Parameter>,
        plan: &Plan,
    ) {
        let Some(shape) = &statement.shape else {
            return;
        };
        if !can_be_reset(plan, &|node| node.is::<RemoteExec>()) {
            return;
        }
        if shape.marked.len() + bytes_of(plan) > TEMPLATE_BYTES_MAX {
            return;
        }
        let key = Key {
            marked: shape.marked.clone(),
            semantics: statement.asked,
            null_mode: statement.null_mode,
            default_limit: statement.default_limit,
        };
        let template = Some(Arc::new(Template::new(plan, context)));
        let mut families = self.families.lock();
        if count(&families) >= TEMPLATES_MAX {
            families.clear();
        }
        let family = families.entry(key).or_default();
        // It is new, or columns have other types than when it was.
        if *family.parameters != *parameters || family.members.is_empty() {
            *family = Family::new(parameters, shape.literals.len());
        }
        let fixed = texts(&statement.text, shape, &family.fixed);
        let member = family.members.entry(fixed).or_insert_with(|| Member {
            parsed: Arc::clone(&statement.parsed),
            plans: Plans::default(),
        });
        match answers_alone(plan) {
            true => member.plans.alone = template,
            false => member.plans.shared_out = template,
        }
    }
}

fn count(families: &HashMap<Key, Family>) -> usize {
    families.values().map(|family| family.members.len()).sum()
}

fn texts(text: &str, shape: &Shape, literals: &[usize]) -> String {
    let mut texts = String::new();
    for literal in literals {
        texts.push_str(&text[shape.literals[*literal].at.clone()]);
        texts.push('\u{1}');
    }
    texts
}

impl Family {
    fn new(parameters: Vec<Parameter>, literals: usize) -> Self {
        let mut is_fixed = vec![true; literals];
        for parameter in &parameters {
            is_fixed[parameter.candidate.literal] = false;
        }
        Self {
            parameters: parameters.into(),
            fixed: (0..literals).filter(|literal| is_fixed[*literal]).collect(),
            members: HashMap::new(),
        }
    }
}

/// `None`: a value is none of its column's type, which planning must look at.
pub(crate) fn values(
    parameters: &[Parameter],
    text: &str,
    shape: &Shape,
    semantics: Semantics,
) -> Option<Parameters> {
    let values = parameters.iter().map(|parameter| {
        let Candidate { literal, negated } = parameter.candidate;
        let literal = &shape.literals[literal];
        value(literal, negated, text, &parameter.data_type, semantics)
    });
    values.collect::<Option<Vec<_>>>().map(Parameters::new)
}

impl Found {
    /// A plan for this query; `None`: it must be planned anew.
    pub(crate) fn plan(&self, context: &Arc<QueryContext>) -> Result<Option<Plan>> {
        let Plans { alone, shared_out } = &self.plans;
        for template in [alone, shared_out].into_iter().flatten() {
            if !template.is_current(context) {
                continue;
            }
            if let Some(plan) = for_query(&template.plan, context, &self.parameters)? {
                context.stats.lock().tables.clone_from(&template.names);
                return Ok(Some(plan));
            }
            context.stats.lock().pruned_nothing();
        }
        Ok(None)
    }
}

impl Template {
    fn new(plan: &Plan, context: &QueryContext) -> Self {
        let names = context.stats.lock().tables.clone();
        let tables = names.iter().map(|name| {
            let parts = context.cluster.resolve(name).into_iter();
            let parts = parts.map(|part| (part.spec.clone(), part.time_boundary_ms));
            (name.clone(), parts.collect())
        });
        Self {
            plan: Arc::clone(plan),
            tables: tables.collect(),
            names,
            seen_in: Mutex::new(Arc::downgrade(&context.cluster)),
        }
    }

    /// The tables are in this snapshot what they were when they were planned.
    fn is_current(&self, context: &QueryContext) -> bool {
        let mut seen_in = self.seen_in.lock();
        if seen_in.as_ptr() == Arc::as_ptr(&context.cluster) {
            return true;
        }
        let is_same = self.tables.iter().all(|(name, planned)| {
            let now = context.cluster.resolve(name);
            let mut pairs = planned.iter().zip(&now);
            planned.len() == now.len()
                && pairs.all(|((spec, boundary_ms), now)| {
                    *spec == now.spec && *boundary_ms == now.time_boundary_ms
                })
        });
        if is_same {
            *seen_in = Arc::downgrade(&context.cluster);
        }
        is_same
    }
}

/// Whether parameters stand in filters of scans and nowhere else.
pub(crate) fn binds_in_scans(plan: &Plan) -> Result<bool> {
    let mut in_scans = true;
    plan.apply(|node| {
        if !node.is::<SegmentScanExec>() {
            node.apply_expressions(&mut |expr| {
                in_scans &= !expr.exists(|part| Ok(parameter_of(part).is_some()))?;
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(in_scans)
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
    let volatility = match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility,
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::WindowUDF(function) => function.signature().volatility,
            WindowFunctionDefinition::AggregateUDF(_) => Volatility::Immutable,
        },
        _ => Volatility::Immutable,
    };
    volatility != Volatility::Immutable
}

/// Operators without state between runs, or with state that [`ExecutionPlan::reset_state`] resets;
/// of the leaves, the caller knows.
pub fn can_be_reset(plan: &Plan, leaf: &dyn Fn(&Plan) -> bool) -> bool {
    if leaf(plan) {
        return true;
    }
    // A filter that an operator learns while it runs is not reset.
    let learns = !plan.dynamic_expressions_produced().is_empty();
    let known = ((plan.is::<AggregateExec>() || plan.is::<HashJoinExec>()) && !learns)
        || plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<CrossJoinExec>()
        || plan.is::<WindowAggExec>()
        || plan.is::<BoundedWindowAggExec>()
        || plan.is::<UnionExec>();
    let children = plan.children();
    known && !children.is_empty() && children.iter().all(|child| can_be_reset(child, leaf))
}

fn answers_alone(plan: &Plan) -> bool {
    match plan.downcast_ref::<RemoteExec>() {
        Some(remote) => remote.finishes(),
        None => plan.children().into_iter().any(answers_alone),
    }
}

fn bytes_of(plan: &Plan) -> usize {
    let own = plan.downcast_ref::<RemoteExec>().map(RemoteExec::bytes);
    own.unwrap_or(0) + plan.children().into_iter().map(bytes_of).sum::<usize>()
}

/// A fresh copy whose leaves ask for this query; `None`: the servers cannot answer so.
fn for_query(
    plan: &Plan,
    context: &Arc<QueryContext>,
    parameters: &Parameters,
) -> Result<Option<Plan>> {
    if let Some(remote) = plan.downcast_ref::<RemoteExec>() {
        let remote = remote.for_query(context, parameters)?;
        return Ok(remote.map(|remote| Arc::new(remote) as Plan));
    }
    let mut children = Vec::with_capacity(1);
    for child in plan.children() {
        match for_query(child, context, parameters)? {
            Some(child) => children.push(child),
            None => return Ok(None),
        }
    }
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    let fresh = Arc::clone(plan).replace_children(children, keep)?;
    fresh.reset_state().map(Some)
}
