//! Segments become others: merged, moved to another table, without some of their rows, or as the
//! table is now.
//!
//! Invariant: what comes counts in the place of what it was made of in one step, with all its rows,
//! as of an import. What the order does not say stays as it was, row by row.

mod make;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use deepstore::DeepStore;
use schemas::task::{InputSegment, RewriteOrder};
use schemas::{Fault, TableSpec};
use segment::{SealedSegment, SegmentError, unpack_file};

use crate::build::Built;
use crate::job::sending;
use crate::{Done, ImportError, Progress, Target, Workshop};
use make::Making;

pub use make::check_filters;

/// Carries out the order of the task that names the replacement by `key`.
pub async fn rewrite(
    order: &RewriteOrder,
    key: &str,
    target: &Arc<dyn Target>,
    deep: &DeepStore,
    (workshop, progress): (&Workshop, &Arc<Progress>),
) -> Result<Done, ImportError> {
    progress.rows_total.store(order.rows(), Ordering::Relaxed);
    let begun = target.begin(key, None).await?;
    if begun.is_done {
        return Ok(Done {
            was_done: true,
            ..Done::default()
        });
    }
    let mut inputs = Vec::with_capacity(order.inputs.len());
    for input in &order.inputs {
        inputs.push(fetch(input, deep, workshop).await?);
    }
    let making = Making {
        order: order.clone(),
        inputs,
        spec: Arc::new(begun.spec.clone()),
        workshop: workshop.clone(),
        progress: Arc::clone(progress),
    };
    let making = Arc::new(making);
    if order.filter.is_some() {
        let looking = Arc::clone(&making);
        let matches = workshop
            .compute
            .run(move || looking.matches_any())
            .await??;
        if !matches {
            target.revert(begun.id).await?;
            return Ok(Done {
                rows: order.rows(),
                ..Done::default()
            });
        }
    }
    let (mut line, mut take) = sending(target, begun.id);
    let job = move || making.make(&mut line);
    let building = async { workshop.compute.run_behind(job).await? };
    let sending = async {
        let (mut done, mut names) = (Done::default(), BTreeSet::new());
        while let Some(Built { record, packed }) = take.recv().await {
            done.rows += record.ledger.rows;
            done.segments += 1;
            done.bytes += packed.len() as u64;
            names.insert(target.add(begun.id, record, Bytes::from(packed)).await?);
        }
        take.close();
        Ok::<_, ImportError>((done, names))
    };
    let (made, (mut done, names)) = futures::try_join!(building, sending)?;
    done.filtered = made.filtered;
    target.end(begun.id, names).await?;
    Ok(done)
}

/// Its file, whole and verified, in the workshop's folder.
pub(crate) async fn fetch(
    input: &InputSegment,
    deep: &DeepStore,
    workshop: &Workshop,
) -> Result<Arc<SealedSegment>, ImportError> {
    let place = |ending: &str| -> PathBuf {
        let (id, crc) = (input.id, input.crc);
        let name = format!("{}-{}-{crc:08x}.{ending}", id.partition, id.sequence);
        workshop.folder.join(name)
    };
    let (packed, path) = (place("packed"), place("seg"));
    let downloaded = deep.download_to(&input.key, &packed).await;
    downloaded.map_err(Fault::from)?;
    let (input, files) = (input.clone(), Arc::clone(&workshop.files));
    let open = move || {
        unpack_file(&packed, files.as_ref(), &path, input.crc)?;
        remove(&packed, files.as_ref())?;
        let segment = SealedSegment::open_any(&path)?;
        if segment.id() != input.id {
            return Err(ImportError::Segment(SegmentError::Misplaced {
                path,
                found: format!("segment {}", segment.id()),
                expected: format!("segment {}", input.id),
            }));
        }
        Ok(segment)
    };
    workshop.compute.run(open).await?
}

pub(crate) fn remove(path: &Path, files: &dyn runtime::Files) -> Result<(), ImportError> {
    files.remove(path).map_err(|source| ImportError::Remove {
        path: path.to_owned(),
        source,
    })
}

/// Place of the time column, and how many milliseconds one means in it.
fn time_of(spec: &TableSpec) -> Option<(usize, i64)> {
    let name = spec.time_column.as_deref()?;
    let at = spec.columns.iter().position(|column| column.name == name)?;
    let column = &spec.columns[at];
    let unit = match (column.data_type, &column.time_format) {
        (schemas::DataType::Timestamp, _) | (schemas::DataType::Int, None) => 1,
        _ => schemas::boundary::time_unit_ms(column)?,
    };
    Some((at, unit))
}
