//! Segments that wait with their groups until those of all are known: then the ones that nobody can
//! want are left out, before the others are joined.

use datafusion::common::{DataFusionError, Result};
use parking_lot::Mutex;
use runtime::compute::Turn;

use super::most::{By, Limit, left};
use super::worker::{Part, Running};

/// Groups that are worth looking for one by one.
const FEW_GROUPS: f64 = 262_144.0;

/// Whether it is known that few groups, of so many rows, are within the limit.
pub(super) fn leaves_few((limit, by): (Limit, By), rows: u64) -> bool {
    match limit {
        Limit::First(_) => true,
        Limit::Mark(mark) => by == By::Rows && rows as f64 <= mark * FEW_GROUPS,
    }
}

/// Ends what waited, with the groups that can be within the limit, if these are `all` there is.
pub(super) fn finished(
    turn: &mut Turn,
    workers: usize,
    waiting: Vec<Running<'_>>,
    (all, (limit, by)): (bool, (Limit, By)),
) -> Result<Vec<Part>> {
    let counts = waiting.iter().map(|own| own.by_dictionary(by));
    let counts: Option<Vec<_>> = counts.collect();
    let left = counts
        .filter(|_| all)
        .and_then(|counts| left(&counts, limit));
    let left = match left {
        Some(left) => left.into_iter().map(Some).collect(),
        None => vec![None; waiting.len()],
    };
    let waiting = Mutex::new(waiting.into_iter().zip(left).collect::<Vec<_>>());
    let done = turn.split(workers, |_| {
        let mut done = Vec::new();
        loop {
            let next = waiting.lock().pop();
            let Some((running, used)) = next else {
                return Ok::<_, DataFusionError>(done);
            };
            done.extend(running.finish(used)?);
        }
    });
    let done = done.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(done.into_iter().flatten().collect())
}
