//! Cuts a plan below the first exchange between servers and broker.
//!
//! The maximal subtree that servers can execute on their own rows becomes a [`RemoteExec`]. Only
//! nodes on the list below are handed over; anything else stays at the broker, over leaves that
//! bring rows. A join goes along when its build side reads nothing but dimension tables, which
//! every server holds whole, and when no server needs to know what others matched.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use schemas::TableId;
use schemas::proto::TableScan;

use crate::codec::encode_plan;
use crate::gather::{FragmentPart, QueryContext, RemoteExec};
use crate::scan_exec::SegmentScanExec;

type Plan = Arc<dyn ExecutionPlan>;

pub(crate) fn cut(plan: Plan, context: &Arc<QueryContext>) -> Result<Plan> {
    let cut = plan.transform_down(|node| {
        if !is_for_servers(&node) {
            return Ok(Transformed::no(node));
        }
        let remote: Plan = Arc::new(remote(node, context)?);
        Ok(Transformed::new(remote, true, TreeNodeRecursion::Jump))
    })?;
    Ok(cut.data)
}

/// Whether servers can execute the whole subtree on their own rows.
fn is_for_servers(node: &Plan) -> bool {
    if node.is::<SegmentScanExec>() {
        return true;
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let local = matches!(
            join.join_type(),
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti
        );
        return local
            && *join.partition_mode() == PartitionMode::CollectLeft
            && reads_only_dimension_tables(join.left())
            && is_for_servers(join.right());
    }
    let passes = node.is::<FilterExec>()
        || node.is::<ProjectionExec>()
        || node.is::<CooperativeExec>()
        || node.is::<LocalLimitExec>()
        || node
            .downcast_ref::<SortExec>()
            .is_some_and(|sort| sort.preserve_partitioning() && sort.fetch().is_some())
        || node
            .downcast_ref::<AggregateExec>()
            .is_some_and(|aggregate| *aggregate.mode() == AggregateMode::Partial);
    passes && node.children().iter().all(|child| is_for_servers(child))
}

fn reads_only_dimension_tables(node: &Plan) -> bool {
    match node.downcast_ref::<SegmentScanExec>() {
        Some(scan) => scan.description().is_dimension_table,
        None => {
            is_for_servers(node)
                && node
                    .children()
                    .iter()
                    .all(|c| reads_only_dimension_tables(c))
        }
    }
}

/// What one server reads of all tables in the fragment.
fn remote(node: Plan, context: &Arc<QueryContext>) -> Result<RemoteExec> {
    let mut scans = Vec::new();
    collect_scans(&node, &mut scans);
    let mut dimensions: HashMap<TableId, TableScan> = HashMap::new();
    let mut fact = None;
    for scan in &scans {
        let description = scan.downcast_ref::<SegmentScanExec>();
        let Some(scan) = description else { continue };
        if scan.description().is_dimension_table {
            let table = scan.description().table;
            dimensions
                .entry(table)
                .or_insert_with(|| context.whole_table(table));
        } else {
            fact = Some(Arc::clone(scan.parts()));
        }
    }
    let partitions = node.properties().partitioning.partition_count();
    let mut parts: Vec<Option<FragmentPart>> = match fact {
        Some(fact) => fact
            .iter()
            .map(|part| {
                let mut tables = vec![part.scan.clone()];
                tables.extend(dimensions.values().cloned());
                Some(FragmentPart {
                    server: part.server.clone(),
                    tables,
                })
            })
            .collect(),
        None => vec![context.any_server().map(|server| FragmentPart {
            server,
            tables: dimensions.values().cloned().collect(),
        })],
    };
    // A table on fewer servers than its plan has partitions: the others are empty.
    parts.resize_with(partitions.max(parts.len()), || None);
    let shown = datafusion::physical_plan::displayable(node.as_ref())
        .indent(false)
        .to_string();
    let properties = Arc::clone(node.properties());
    let plan = encode_plan(node)?;
    Ok(RemoteExec::new(
        plan,
        parts,
        shown,
        properties,
        Arc::clone(context),
    ))
}

fn collect_scans(node: &Plan, scans: &mut Vec<Plan>) {
    if node.is::<SegmentScanExec>() {
        scans.push(Arc::clone(node));
    }
    for child in node.children() {
        collect_scans(child, scans);
    }
}
