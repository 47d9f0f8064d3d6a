//! Files that somebody ordered to be imported, as a task.
//!
//! Invariants: nothing is read but what the settings allow, or what was put into the deep store for
//! this very task. The task is the import's key: whoever gets it after this minion died goes on
//! with the segments that are there, and no row of it is seen before the last one is.

use std::path::Path;
use std::sync::Arc;

use batch::{
    ImportError, Job, Mode, Progress, Source, Workshop, file_source, local_sources, names_objects,
    object_sources, remote_source,
};
use schemas::Fault;
use schemas::task::{ImportOrder, Task};

use crate::Core;
use crate::replacing::{WAS_DONE, held, scratch, target};

/// What was done, in words.
pub(crate) async fn run(core: &Core, task: &Task, order: &ImportOrder) -> Result<String, Fault> {
    let folder = scratch(core)?;
    let workshop = Workshop {
        folder: folder.path().to_owned(),
        ..core.workshop.clone()
    };
    let progress: Arc<Progress> = Arc::default();
    let import = import(core, task, order, &workshop, &progress);
    held(core, task, &progress, import).await
}

async fn import(
    core: &Core,
    task: &Task,
    order: &ImportOrder,
    workshop: &Workshop,
    progress: &Arc<Progress>,
) -> Result<String, Fault> {
    let format = order.format.as_deref().map(str::parse).transpose();
    let format =
        format.map_err(|error: ingest::files::UnknownFormat| Fault::invalid(error.to_string()))?;
    let mut sources = Vec::new();
    for uri in &order.uris {
        sources.extend(sources_of(uri, format, workshop).await?);
    }
    for file in &order.staged {
        let name = Path::new(&file.name).file_name().unwrap_or_default();
        let path = workshop.folder.join(name);
        core.deep.download_to(&file.key, &path).await?;
        // The object never changes.
        let key = file.key.clone();
        sources.push(file_source(key.clone(), key, path)?);
    }
    let job = Job {
        key: task.replacement_key(),
        mode: order.refresh.map(|refresh| match refresh {
            true => Mode::Refresh,
            false => Mode::Append,
        }),
        sources,
        format,
        csv: order.csv.clone(),
        start_over: false,
    };
    let target = target(core, order.table)?;
    let done = batch::run(&job, &target, workshop, progress).await?;
    if done.was_done {
        return Ok(WAS_DONE.to_owned());
    }
    let mut summary = format!("{} rows in {}", done.rows, done.made());
    if done.filtered > 0 {
        summary.push_str(&format!(", {} records filtered out", done.filtered));
    }
    Ok(summary)
}

async fn sources_of(
    uri: &str,
    format: Option<ingest::files::FileFormat>,
    workshop: &Workshop,
) -> Result<Vec<Source>, Fault> {
    if uri.starts_with("http://") || uri.starts_with("https://") {
        return Ok(vec![remote_source(uri, &workshop.reach).await?]);
    }
    if names_objects(uri) {
        let denied = |denied: runtime::Denied| Fault::denied(denied.to_string());
        workshop.reach.check_object(uri).map_err(denied)?;
        return Ok(object_sources(uri, format, workshop).await?);
    }
    let path = match uri.strip_prefix("file:") {
        // `file:///path` and `file:/path`.
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => uri,
    };
    let (path, reach) = (path.to_owned(), workshop.reach.clone());
    let list = move || {
        let denied = |denied: runtime::Denied| Fault::denied(denied.to_string());
        reach.check_pattern(&path).map_err(denied)?;
        let sources = local_sources(&[path], format)?;
        for source in &sources {
            reach.check_file(Path::new(&source.uri)).map_err(denied)?;
        }
        Ok(sources)
    };
    let listed = workshop.compute.run(list).await;
    listed.map_err(ImportError::from)?
}
