//! EXPLAIN: the cut plan as rows, one for each operator: text, id, id of the parent.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Result;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use crate::gather::RemoteExec;

pub(crate) fn explain(plan: &Arc<dyn ExecutionPlan>) -> Result<RecordBatch> {
    let mut lines = Vec::new();
    walk(plan, -1, &mut lines);
    let texts: StringArray = lines.iter().map(|(text, _)| Some(text.as_str())).collect();
    let ids: Int32Array = (0..lines.len() as i32).collect();
    let parents: Int32Array = lines.iter().map(|(_, parent)| *parent).collect();
    let schema = Schema::new(vec![
        Field::new("Operator", DataType::Utf8, false),
        Field::new("Operator_Id", DataType::Int32, false),
        Field::new("Parent_Id", DataType::Int32, false),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(ids), Arc::new(parents)];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

fn walk(plan: &Arc<dyn ExecutionPlan>, parent: i32, lines: &mut Vec<(String, i32)>) {
    let id = lines.len() as i32;
    let shown = displayable(plan.as_ref()).one_line().to_string();
    lines.push((shown.trim_end().to_owned(), parent));
    if let Some(remote) = plan.downcast_ref::<RemoteExec>() {
        // What servers run, indented as it is nested.
        let mut above = vec![id];
        for line in remote.shown().lines() {
            let depth = (line.len() - line.trim_start().len()) / 2;
            above.truncate(depth + 1);
            let parent = above.last().copied().unwrap_or(id);
            above.push(lines.len() as i32);
            lines.push((line.trim().to_owned(), parent));
        }
    }
    for child in plan.children() {
        walk(child, id, lines);
    }
}
