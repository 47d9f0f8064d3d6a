//! Which side of a join is kept, and which is looked up in it.
//!
//! The broker plans joins by how many rows their tables have. What conditions leave of them, the
//! indexes of segments tell, and where that is so much less on the other side, sides are exchanged:
//! fewer rows are kept, and what they have filters the scan of the many ([`crate::learned`]).
//! Invariant: nobody relies on the order of a join's rows where its sides are exchanged.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use query::scan_exec::ScanDescription;
use segment::SegmentView;
use segment::view::Values;

use crate::columns::external;
use crate::filter::{Filters, is_quick};
use crate::native::NativeAggregateExec;
use crate::scan_exec::ServerScanExec;
use crate::shared::Shared;
use crate::stats::Counters;

type Plan = Arc<dyn ExecutionPlan>;

/// To keep no more rows than these costs next to nothing.
const FEW_ROWS: u64 = 4096;
/// What is told of rows is no more than an estimate: the other side must have so many times less.
const TIMES_FEWER: u64 = 4;

/// Joins keep the side with far fewer rows.
pub(crate) fn fewer_kept(plan: Plan) -> Result<Plan> {
    let exchanged = plan.transform_up(|node| {
        let join = node.downcast_ref::<HashJoinExec>();
        Ok(match join.map(exchanged).transpose()?.flatten() {
            Some(exchanged) => Transformed::yes(exchanged),
            None => Transformed::no(node),
        })
    })?;
    Ok(exchanged.data)
}

/// The join with its sides exchanged, where that is better.
fn exchanged(join: &HashJoinExec) -> Result<Option<Plan>> {
    let mode = *join.partition_mode();
    let may_be = mode == PartitionMode::CollectLeft
        && join.join_type().supports_swap()
        && !join.null_aware
        && join.properties().output_ordering().is_none();
    if !may_be {
        return Ok(None);
    }
    let Some(kept) = rows_about(join.left())?.filter(|kept| *kept > FEW_ROWS) else {
        return Ok(None);
    };
    let other = rows_at_most(join.right())?;
    let is_better = other.is_some_and(|other| other.saturating_mul(TIMES_FEWER) < kept);
    is_better.then(|| join.swap_inputs(mode)).transpose()
}

/// `None`: it cannot be told quickly.
fn rows_about(plan: &Plan) -> Result<Option<u64>> {
    if let Some(scan) = plan.downcast_ref::<ServerScanExec>() {
        let (table, limit) = (Table::of_scan(scan), scan.description.fetch);
        let rows = table.matching(&scan.description)?;
        return Ok(rows.map(|rows| rows.min(at_most(limit))));
    }
    if let Some(native) = plan.downcast_ref::<NativeAggregateExec>() {
        let (table, keys) = (Table::of_aggregate(native), &native.keys);
        let Some(rows) = table.matching(&native.description)? else {
            return Ok(None);
        };
        let groups = table.groups(&native.description, keys)?;
        return Ok(groups.map(|groups| groups.min(rows)));
    }
    // How many these leave is not known.
    let leaves_out = plan.is::<FilterExec>() || plan.is::<AggregateExec>();
    match hands_on(plan) {
        Some(input) if !leaves_out => rows_about(input),
        _ => Ok(None),
    }
}

/// By conditions alone that are looked at quickly: what others leave is less.
fn rows_at_most(plan: &Plan) -> Result<Option<u64>> {
    if let Some(scan) = plan.downcast_ref::<ServerScanExec>() {
        let (table, limit) = (Table::of_scan(scan), scan.description.fetch);
        let rows = table.matching(&table.quick(&scan.description))?;
        return Ok(rows.map(|rows| rows.min(at_most(limit))));
    }
    if let Some(native) = plan.downcast_ref::<NativeAggregateExec>() {
        let table = Table::of_aggregate(native);
        return table.matching(&table.quick(&native.description));
    }
    match hands_on(plan) {
        Some(input) => rows_at_most(input),
        None => Ok(None),
    }
}

fn at_most(limit: Option<usize>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit as u64)
}

/// What gives out no more rows than come to it.
fn hands_on(plan: &Plan) -> Option<&Plan> {
    let hands_on = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.downcast_ref::<AggregateExec>().is_some_and(is_of_keys);
    let children = plan.children();
    match children[..] {
        [input] if hands_on => Some(input),
        _ => None,
    }
}

/// Without keys there is a group of no rows, with several sets of them more groups than rows.
fn is_of_keys(aggregate: &AggregateExec) -> bool {
    let keys = aggregate.group_expr();
    !keys.is_empty() && keys.is_single()
}

/// What of a table is here.
struct Table<'a> {
    spec: &'a schemas::TableSpec,
    segments: &'a [SegmentView],
    shared: &'a Shared,
}

impl<'a> Table<'a> {
    fn of_scan(scan: &'a ServerScanExec) -> Self {
        Self {
            spec: &scan.spec,
            segments: &scan.segments,
            shared: &scan.shared,
        }
    }

    fn of_aggregate(native: &'a NativeAggregateExec) -> Self {
        Self {
            spec: &native.spec,
            segments: native.segments(),
            shared: native.shared(),
        }
    }

    /// With those of its conditions alone that cost nothing to look at.
    fn quick(&self, description: &ScanDescription) -> ScanDescription {
        let has_consuming = self.segments.iter().any(SegmentView::is_consuming);
        let mut description = description.clone();
        description
            .filters
            .retain(|filter| is_quick(filter, has_consuming));
        description
    }

    /// About so many rows satisfy the conditions; `None`: it cannot be told quickly.
    fn matching(&self, description: &ScanDescription) -> Result<Option<u64>> {
        // Told by those who read.
        let counters = Counters::default();
        let options = &self.shared.options;
        let filters = Filters::new(description, self.spec, self.segments, options, &counters);
        filters.rows_about()
    }

    /// About so many groups at most; `None`: keys are more than columns.
    fn groups(
        &self,
        description: &ScanDescription,
        keys: &[Arc<dyn PhysicalExpr>],
    ) -> Result<Option<u64>> {
        let mut groups = 1_u64;
        for key in keys {
            let Some(column) = key.downcast_ref::<Column>() else {
                return Ok(None);
            };
            let name = description.table_schema.field(column.index()).name();
            let mut values = 1;
            for view in self.segments {
                let column = view.column(name).map_err(external)?;
                values = values.max(match column.map(|column| column.values()) {
                    Some(Values::Dictionary(dictionary)) => u64::from(dictionary.cardinality()),
                    Some(_) => u64::MAX,
                    None => 1,
                });
            }
            groups = groups.saturating_mul(values);
        }
        Ok(Some(groups))
    }
}
