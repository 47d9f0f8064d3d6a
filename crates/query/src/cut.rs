//! Cuts a plan below the first exchange between servers and broker.
//!
//! What one server can answer alone, [`whole`] hands over to it. Otherwise the maximal subtree that
//! servers can execute on their own rows becomes a [`RemoteExec`]. Only nodes on the list below are
//! handed over; anything else stays at the broker, over leaves that bring rows. A join goes along
//! when its build side reads nothing but dimension tables, which
//! every server holds whole, and when no server needs to know what others matched. A fragment over
//! dimension tables alone runs on one server, which may then also finish aggregates and sorts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning, PlanProperties, displayable};

use crate::ask::FragmentPart;
use crate::codec::encode_plan;
use crate::colocated::Colocation;
use crate::context::QueryContext;
use crate::exchange::{rows_of, spread_rows};
use crate::gather::{Amount, RemoteExec};
use crate::parameters::Parameters;
use crate::parts::{RoutedScan, for_each_server};
use crate::scan_exec::SegmentScanExec;
use crate::whole::{Whole, as_one_partition, in_one_process, whole};

type Plan = Arc<dyn ExecutionPlan>;

pub(crate) fn cut(
    plan: Plan,
    context: &Arc<QueryContext>,
    parameters: &Parameters,
) -> Result<Plan> {
    let plan = plan.transform_up(below_union)?.data;
    let cut = plan.transform_down(|node| {
        if is_deep(&node) {
            return Ok(Transformed::no(node));
        }
        let remote = match whole(&node, context)? {
            Some(Whole { plan, part }) => ask_for(&plan, vec![Some(part)], context)?,
            None if is_for_servers(&node, context) => remote(&node, context)?,
            None => return Ok(Transformed::no(node)),
        };
        let partitions = node.properties().partitioning.partition_count();
        let remote: Plan = Arc::new(remote.with_parameters(parameters)?);
        let is_one = partitions == 1 && remote.properties().partitioning.partition_count() > 1;
        let remote = match is_one {
            true => as_one_partition(remote),
            false => remote,
        };
        Ok(Transformed::new(remote, true, TreeNodeRecursion::Jump))
    })?;
    Ok(cut.data)
}

/// Plans are sent as messages within one another, two for each operator, and read to a depth of a
/// hundred.
const DEPTH_MAX: usize = 40;

/// Deeper than can be sent: the parts below may be.
fn is_deep(node: &Plan) -> bool {
    fn deeper(node: &Plan, left: usize) -> bool {
        left == 0
            || node
                .children()
                .into_iter()
                .any(|child| deeper(child, left - 1))
    }
    deeper(node, DEPTH_MAX)
}

/// A node that works on each partition by itself may as well work below a union: so do the two
/// parts of a hybrid table aggregate on their servers.
fn below_union(node: Plan) -> Result<Transformed<Plan>> {
    if !works_by_partition(&node) {
        return Ok(Transformed::no(node));
    }
    let [child] = node.children()[..] else {
        return Ok(Transformed::no(node));
    };
    let Some(union) = child.downcast_ref::<UnionExec>() else {
        return Ok(Transformed::no(node));
    };
    let same_schema = |input: &Plan| input.schema() == union.schema();
    if !union.inputs().iter().all(same_schema) {
        return Ok(Transformed::no(node));
    }
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let inputs = union.inputs().iter();
    let inputs =
        inputs.map(|input| Arc::clone(&node).replace_children(vec![Arc::clone(input)], recompute));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(UnionExec::try_new(inputs)?))
}

fn works_by_partition(node: &Plan) -> bool {
    let top_k = |sort: &SortExec| sort.preserve_partitioning() && sort.fetch().is_some();
    let partial = |aggregate: &AggregateExec| *aggregate.mode() == AggregateMode::Partial;
    node.is::<FilterExec>()
        || node.is::<ProjectionExec>()
        || node.is::<CooperativeExec>()
        || node.is::<LocalLimitExec>()
        || node.is::<UnnestExec>()
        || node.downcast_ref::<SortExec>().is_some_and(top_k)
        || node.downcast_ref::<AggregateExec>().is_some_and(partial)
}

/// Whether servers can execute the whole subtree on their own rows.
fn is_for_servers(node: &Plan, context: &QueryContext) -> bool {
    if node.is::<SegmentScanExec>() {
        return true;
    }
    if waits_for_subquery(node) {
        return false;
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let local = matches!(
            join.join_type(),
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
        );
        let beside_dimensions = local
            && *join.partition_mode() == PartitionMode::CollectLeft
            && reads_only_dimension_tables(join.left())
            && is_for_servers(join.right(), context);
        return beside_dimensions || is_colocated(node, context);
    }
    if works_by_partition(node) {
        let children = node.children();
        return children.iter().all(|child| is_for_servers(child, context));
    }
    reads_only_dimension_tables(node)
}

fn is_colocated(join: &Plan, context: &QueryContext) -> bool {
    // Who has what is looked up last.
    let colocation = Colocation::of(join, context).filter(|_| !has_subquery_values(join));
    let parts = colocation.and_then(|by| by.parts(context, &Parameters::default()));
    parts.is_some()
}

fn has_subquery_values(node: &Plan) -> bool {
    waits_for_subquery(node) || node.children().into_iter().any(has_subquery_values)
}

/// Of the join of shares in a fragment, if there is one.
fn colocation_of(node: &Plan, context: &QueryContext) -> Option<Colocation> {
    let below = |child| colocation_of(child, context);
    Colocation::of(node, context).or_else(|| node.children().into_iter().find_map(below))
}

/// The value of a scalar subquery is known at the broker alone.
pub(crate) fn waits_for_subquery(node: &Plan) -> bool {
    let mut waits = false;
    let looked = node.apply_expressions(&mut |expr| {
        waits |= expr.exists(|part| Ok(part.is::<ScalarSubqueryExpr>()))?;
        Ok(TreeNodeRecursion::Continue)
    });
    waits || looked.is_err()
}

/// One server can execute the whole subtree, and its rows are all there are.
pub(crate) fn reads_only_dimension_tables(node: &Plan) -> bool {
    if let Some(scan) = node.downcast_ref::<SegmentScanExec>() {
        return scan.description().is_dimension_table;
    }
    if waits_for_subquery(node) {
        return false;
    }
    let may_finish = works_by_partition(node)
        || node.is::<AggregateExec>()
        || node.is::<SortExec>()
        || node.is::<GlobalLimitExec>()
        || node
            .downcast_ref::<HashJoinExec>()
            .is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft);
    let children = node.children();
    may_finish
        && !children.is_empty()
        && children
            .iter()
            .all(|child| reads_only_dimension_tables(child))
}

fn remote(node: &Plan, context: &Arc<QueryContext>) -> Result<RemoteExec> {
    let scans = scans_of(node);
    let routed: Vec<RoutedScan<'_>> = scans.iter().filter_map(routed).collect();
    let partitions = node.properties().partitioning.partition_count();
    // A table on fewer servers than its plan has partitions: the others are empty.
    let padded = |mut parts: Vec<Option<FragmentPart>>| {
        parts.resize_with(partitions.max(parts.len()), || None);
        parts
    };
    if let Some(colocation) = colocation_of(node, context) {
        let colocation = colocation.in_fragment(node);
        let parts = colocation.parts(context, &Parameters::default());
        let Some(parts) = parts else {
            return internal_err!("a join of what is not on the same servers");
        };
        let parts = padded(parts.into_iter().map(Some).collect());
        let plan = in_one_process(Arc::clone(node))?;
        return Ok(ask_for(&plan, parts, context)?.colocated(colocation));
    }
    ask_for(node, padded(for_each_server(&routed, context)?), context)
}

fn ask_for(
    node: &Plan,
    parts: Vec<Option<FragmentPart>>,
    context: &Arc<QueryContext>,
) -> Result<RemoteExec> {
    let shown = displayable(node.as_ref()).indent(false).to_string();
    let properties = PlanProperties::clone(node.properties());
    let partitioning = Partitioning::UnknownPartitioning(parts.len());
    let properties = Arc::new(properties.with_partitioning(partitioning));
    let scans = scans_of(node);
    let scans = scans
        .iter()
        .filter_map(|scan| scan.downcast_ref::<SegmentScanExec>());
    let read = scans
        .clone()
        .map(|scan| rows_of(scan.description(), scan.rows() as u64));
    let read = read.fold(0.0, f64::max);
    let amount = Amount {
        shape: shape_of(node),
        read,
        share: if read > 0.0 {
            spread_rows(node) / read
        } else {
            0.0
        },
    };
    let scans = scans.map(|scan| Arc::clone(scan.description())).collect();
    let plan = encode_plan(Arc::clone(node))?;
    Ok(RemoteExec::new(
        plan,
        scans,
        parts,
        shown,
        amount,
        properties,
        Arc::clone(context),
    ))
}

/// Of plans that differ in values of filters alone it is the same.
fn shape_of(node: &Plan) -> u64 {
    fn add(node: &Plan, to: &mut DefaultHasher) {
        match node.downcast_ref::<SegmentScanExec>() {
            Some(scan) => {
                let scan = scan.description();
                (scan.table, &scan.projection).hash(to);
                let filters = scan.filters.iter().map(without_values);
                filters.for_each(|filter| filter.hash(to));
            }
            None => displayable(node.as_ref()).one_line().to_string().hash(to),
        }
        let children = node.children();
        children.len().hash(to);
        children.into_iter().for_each(|child| add(child, to));
    }
    let mut hasher = DefaultHasher::new();
    add(node, &mut hasher);
    hasher.finish()
}

fn without_values(filter: &Arc<dyn PhysicalExpr>) -> String {
    let without = Arc::clone(filter).transform_up(|part| {
        Ok(match part.is::<Literal>() {
            true => Transformed::yes(Arc::new(Column::new("?", 0)) as Arc<dyn PhysicalExpr>),
            false => Transformed::no(part),
        })
    });
    // Where there is a form for values alone, they are part of the shape.
    without.map_or_else(|_| filter.to_string(), |without| without.data.to_string())
}

pub(crate) fn scans_of(node: &Plan) -> Vec<Plan> {
    if node.is::<SegmentScanExec>() {
        return vec![Arc::clone(node)];
    }
    node.children().into_iter().flat_map(scans_of).collect()
}

pub(crate) fn routed(scan: &Plan) -> Option<RoutedScan<'_>> {
    let scan = scan.downcast_ref::<SegmentScanExec>()?;
    Some(RoutedScan {
        description: scan.description(),
        parts: scan.parts(),
    })
}
