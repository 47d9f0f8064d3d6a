//! Projections that take values out of documents are done by the scan: where an index knows the
//! values, no document is read.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::predicate::extracts;
use crate::scan_exec::ServerScanExec;

type Plan = Arc<dyn ExecutionPlan>;

/// The plan with such projections as part of their scans.
pub(crate) fn computing(plan: Plan) -> Result<Plan> {
    let changed = plan.transform_down(|node| {
        let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
            return Ok(Transformed::no(node));
        };
        Ok(match by_scan(projection)? {
            Some(scan) => Transformed::new(scan, true, TreeNodeRecursion::Jump),
            None => Transformed::no(node),
        })
    })?;
    Ok(changed.data)
}

fn by_scan(projection: &ProjectionExec) -> Result<Option<Plan>> {
    let mut reads = false;
    for output in projection.expr() {
        reads |= extracts(&output.expr)?;
    }
    let mut below = projection.input();
    while let Some(gives_way) = below.downcast_ref::<CooperativeExec>() {
        below = gives_way.input();
    }
    let Some(scan) = below.downcast_ref::<ServerScanExec>().filter(|_| reads) else {
        return Ok(None);
    };
    let outputs = projection.expr().iter().map(|output| &output.expr);
    let scan = scan.computing(outputs, projection.schema())?;
    Ok(Some(match Arc::ptr_eq(below, projection.input()) {
        true => Arc::new(scan),
        false => Arc::new(CooperativeExec::new(Arc::new(scan))),
    }))
}
