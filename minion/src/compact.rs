//! Segments of a table with upserts without their dead rows, as a task.

use std::sync::Arc;

use batch::{Progress, Workshop};
use bytes::Bytes;
use schemas::Fault;
use schemas::task::{CompactOrder, Task};

use crate::Core;
use crate::replacing::{held, scratch};

/// What was done, in words, and the records of the files that take the place of others.
pub(crate) async fn run(
    core: &Core,
    task: &Task,
    order: &CompactOrder,
) -> Result<(String, Vec<Bytes>), Fault> {
    let folder = scratch(core)?;
    let workshop = Workshop {
        folder: folder.path().to_owned(),
        ..core.workshop.clone()
    };
    let progress: Arc<Progress> = Arc::default();
    let work = batch::compact(order, &core.deep, (&workshop, &progress));
    let work = async { Ok(work.await?) };
    let done = held(core, task, &progress, work).await?;
    let records = done.records.iter().map(serde_json::to_vec);
    let records = records.collect::<Result<Vec<_>, _>>();
    let records = records.map_err(|error| Fault::internal(error.to_string()))?;
    let (compacted, looked_at) = (done.records.len(), order.inputs.len());
    let summary = match compacted {
        0 => format!("of {looked_at} segments none has enough dead rows"),
        _ => format!(
            "{compacted} of {looked_at} segments written anew, {} rows left out, {} kept",
            done.dropped, done.rows
        ),
    };
    Ok((summary, records.into_iter().map(Bytes::from).collect()))
}
