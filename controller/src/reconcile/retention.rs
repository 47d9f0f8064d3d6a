//! Removes segments that are past their table's retention, and asks for orphans to be removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use schemas::cluster::TableState;
use schemas::segment::SegmentRecord;
use schemas::table::Retention;
use schemas::task::TaskKind;
use schemas::{Fault, SegmentId};

use crate::counts::{Counts, newest_ms};
use crate::state::State;

/// Objects younger than this may belong to a commit that is under way.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

pub(crate) async fn run(state: &Arc<State>) -> Result<String, Fault> {
    let now_ms = state.clock.now_ms();
    let mut removed = 0;
    for table in state.tables() {
        // Most of the time nothing is, which is known without a look at each segment.
        if !may_expire(&table, state.census.count(&table), now_ms) {
            continue;
        }
        let expired = expired(&table, now_ms);
        if !expired.is_empty() {
            state.metrics.segments_removed.inc_by(expired.len() as u64);
            tracing::info!(
                table = table.spec.physical_name(),
                segments = expired.len(),
                "past retention"
            );
            state.catalog.remove_segments(&expired).await?;
            removed += expired.len();
            state.publish(table.spec.id).await?;
        }
    }
    ask_for_orphans(state, now_ms).await?;
    Ok(format!("{removed} segments were past retention"))
}

fn may_expire(table: &TableState, counts: Counts, now_ms: i64) -> bool {
    let Retention {
        age_max_ms,
        rows_max,
    } = table.spec.retention;
    let oldest_ms = counts.oldest_ms;
    let is_old = age_max_ms
        .zip(oldest_ms)
        .is_some_and(|(age, oldest)| oldest < now_ms - age);
    is_old || rows_max.is_some_and(|most| counts.rows >= most)
}

/// Sealed segments whose rows are all too old, and the oldest beyond the number of rows. Dimension
/// tables have no age: they are replaced, not continued. Where keys have rules the newest segment
/// of a partition stays as long as there are older ones: it tells which of their rows count.
fn expired(table: &TableState, now_ms: i64) -> Vec<SegmentRecord> {
    if table.spec.is_dimension_table {
        return Vec::new();
    }
    let Retention {
        age_max_ms,
        rows_max,
    } = table.spec.retention;
    let mut sealed: Vec<&SegmentRecord> = table
        .seen()
        .map(|s| &s.record)
        .filter(|record| record.is_done())
        .collect();
    // Newest first, by the time of their rows, else by when they were made.
    sealed.sort_by_key(|record| std::cmp::Reverse((newest_ms(record), record.id.sequence)));
    let mut rows = 0u64;
    let mut expired = Vec::new();
    for record in sealed {
        let too_old = age_max_ms.is_some_and(|age| newest_ms(record) < now_ms - age);
        let too_many = rows_max.is_some_and(|most| rows >= most);
        rows += record.ledger.rows;
        if too_old || too_many {
            expired.push(record.clone());
        }
    }
    match table.spec.keyed {
        Some(_) => without_needed(table, expired),
        None => expired,
    }
}

/// Without the newest segments of partitions of which an older one stays.
fn without_needed(table: &TableState, expired: Vec<SegmentRecord>) -> Vec<SegmentRecord> {
    let goes: HashSet<SegmentId> = expired.iter().map(|record| record.id).collect();
    let mut newest = HashMap::new();
    let mut staying = HashSet::new();
    for record in table.segments.iter().map(|s| &s.record) {
        let id = record.id;
        if record.is_done() {
            let own = newest.entry(id.partition).or_insert(id.sequence);
            *own = id.sequence.max(*own);
            if !goes.contains(&id) {
                staying.insert(id.partition);
            }
        }
    }
    let is_needed = |id: SegmentId| {
        newest.get(&id.partition) == Some(&id.sequence) && staying.contains(&id.partition)
    };
    let expired = expired.into_iter();
    expired.filter(|record| !is_needed(record.id)).collect()
}

/// One task an hour lists what the catalog knows; the minion removes the rest.
async fn ask_for_orphans(state: &State, now_ms: i64) -> Result<(), Fault> {
    let tasks = state.catalog.tasks().await?;
    let pending = tasks
        .iter()
        .any(|task| matches!(task.kind, TaskKind::RemoveOrphans { .. }));
    if pending || !state.orphans_are_due(ORPHAN_AGE) {
        return Ok(());
    }
    let mut known = Vec::new();
    for table in state.catalog.tables().await? {
        let segments = state.catalog.segments(table.spec.id).await?;
        known.extend(segments.into_iter().filter_map(|s| s.record.uri));
    }
    let older_than_ms = now_ms - ORPHAN_AGE.as_millis() as i64;
    let kind = TaskKind::RemoveOrphans {
        known,
        older_than_ms,
    };
    state.catalog.add_task(kind, now_ms).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::Census;
    use schemas::TableId;
    use schemas::cluster::SegmentState;
    use schemas::pinot::{parse_schema, parse_table_config, table_spec};
    use schemas::segment::{Ledger, SegmentStatus};

    fn table(retention: Retention, newest: &[i64]) -> TableState {
        let schema = r#"{"schemaName":"t","dimensionFieldSpecs":[{"name":"a","dataType":"INT"}]}"#;
        let schema = parse_schema(schema).unwrap().value;
        let config = parse_table_config(r#"{"tableName":"t","tableType":"OFFLINE"}"#).unwrap();
        let mut spec = table_spec(&schema, &config.value, TableId::random()).unwrap();
        spec.retention = retention;
        let segments = newest.iter().enumerate().map(|(at, newest)| {
            let id = SegmentId {
                table: spec.id,
                partition: 0,
                sequence: at as u32,
            };
            let mut record = SegmentRecord::consuming(id, &spec, 0, 0);
            record.status = SegmentStatus::Done;
            record.time_range = Some((0, *newest));
            record.ledger = Ledger {
                rows: 10,
                ..Ledger::default()
            };
            SegmentState {
                record,
                assigned: Default::default(),
                online: Default::default(),
                hidden: false,
            }
        });
        let segments = segments.collect();
        TableState {
            spec,
            segments,
            paused: false,
            time_boundary_ms: None,
            reloads: Vec::new(),
            orders: Default::default(),
        }
    }

    fn sequences(table: &TableState, now_ms: i64) -> Vec<u32> {
        let found = expired(table, now_ms);
        let counts = Census::default().count(table);
        assert!(found.is_empty() || may_expire(table, counts, now_ms));
        found.iter().map(|record| record.id.sequence).collect()
    }

    #[test]
    fn by_age_only_when_all_rows_are_old() {
        let retention = Retention {
            age_max_ms: Some(100),
            rows_max: None,
        };
        assert_eq!(sequences(&table(retention, &[10, 900, 1000]), 1000), [0]);
        assert_eq!(sequences(&table(retention, &[899, 900]), 1000), [0]);
    }

    #[test]
    fn what_tells_of_keys_stays_with_what_it_tells_of() {
        let retention = Retention {
            age_max_ms: Some(100),
            rows_max: None,
        };
        let mut table = table(retention, &[1000, 10, 20]);
        assert_eq!(sequences(&table, 1000), [2, 1]);
        table.spec.keyed = Some(schemas::keyed::KeyedSpec::Dedup(Default::default()));
        assert_eq!(sequences(&table, 1000), [1]);
        assert_eq!(sequences(&table, 1101), [0, 2, 1], "all of them");
        table.segments[0].record.id.partition = 1;
        assert_eq!(sequences(&table, 1000), [2, 1], "of another partition");
    }

    #[test]
    fn by_rows_the_newest_stay() {
        let retention = Retention {
            age_max_ms: None,
            rows_max: Some(15),
        };
        assert_eq!(
            sequences(&table(retention, &[1, 3, 2]), 0),
            [0],
            "two segments hold 20 rows"
        );
    }
}
