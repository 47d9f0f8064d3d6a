//! Segments that become others, as a task.

use std::sync::Arc;

use batch::{Progress, Workshop};
use schemas::Fault;
use schemas::task::{RewriteOrder, Task};

use crate::Core;
use crate::replacing::{WAS_DONE, held, scratch, target};

/// What was done, in words.
pub(crate) async fn run(core: &Core, task: &Task, order: &RewriteOrder) -> Result<String, Fault> {
    let folder = scratch(core)?;
    let workshop = Workshop {
        folder: folder.path().to_owned(),
        ..core.workshop.clone()
    };
    let progress: Arc<Progress> = Arc::default();
    let target = target(core, order.target)?;
    let key = task.replacement_key();
    let work = batch::rewrite(order, &key, &target, &core.deep, (&workshop, &progress));
    let work = async { Ok(work.await?) };
    let done = held(core, task, &progress, work).await?;
    if done.was_done {
        return Ok(WAS_DONE.to_owned());
    }
    let (inputs, rows) = (order.inputs.len(), order.rows());
    let mut summary = match done.segments {
        0 if order.filter.is_some() && done.filtered == 0 => {
            format!("no row of {rows} is to go")
        }
        segments => format!(
            "{rows} rows of {inputs} segments became {} in {segments}",
            done.rows
        ),
    };
    if done.filtered > 0 {
        summary.push_str(&format!(", {} left out", done.filtered));
    }
    Ok(summary)
}
