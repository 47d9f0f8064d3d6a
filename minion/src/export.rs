//! Segments as Parquet files for others, as a task.
//!
//! Invariant: nothing is written but below the one place that the settings name.

use std::sync::Arc;

use batch::{Progress, Workshop};
use schemas::Fault;
use schemas::task::{ExportOrder, Task};

use crate::Core;
use crate::replacing::{held, scratch};

/// What was done, in words.
pub(crate) async fn run(core: &Core, task: &Task, order: &ExportOrder) -> Result<String, Fault> {
    let Some(place) = &core.exports else {
        return Err(Fault::denied(
            "minions export nowhere: the setting export.url says to which place they may",
        ));
    };
    let folder = scratch(core)?;
    let workshop = Workshop {
        folder: folder.path().to_owned(),
        ..core.workshop.clone()
    };
    let progress: Arc<Progress> = Arc::default();
    let work = batch::export(order, place, &core.deep, (&workshop, &progress));
    let work = async { Ok(work.await?) };
    let done = held(core, task, &progress, work).await?;
    Ok(format!(
        "{} rows in {} files, {} bytes, in {}",
        done.rows, done.segments, done.bytes, order.folder
    ))
}
