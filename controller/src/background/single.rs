//! PurgeTask and RefreshSegmentTask: segment by segment, each a task of its own; ParquetExportTask:
//! all that a query would see of a table's sealed segments, as of one moment.

use schemas::segment::SegmentRecord;
use schemas::task::{ExportOrder, InputSegment, PurgeSpec, RewriteOrder, TaskType, utc_name};

use super::{Known, Plan};

/// Those that were not looked at for so long, the longest first.
pub(super) fn purge(known: &Known<'_>, spec: &PurgeSpec) -> Plan {
    let before = known.now_ms.saturating_sub(spec.again_after_ms);
    let mut due = free(known, |record| {
        record.marks.purged_ms.is_none_or(|at| at <= before)
    });
    due.sort_by_key(|input| input.purged_ms);
    let orders = due.into_iter().map(|input| RewriteOrder {
        filter: Some(spec.filter.clone()),
        ..known.order(TaskType::PurgeTask, vec![input])
    });
    of(orders.collect(), "every segment was looked at lately")
}

/// Those that were made before the columns, indexes or the order of the table changed.
pub(super) fn refresh(known: &Known<'_>) -> Plan {
    let due = free(known, |record| {
        record
            .sealed_ms
            .is_some_and(|at| at < known.spec_changed_ms)
    });
    let orders = due
        .into_iter()
        .map(|input| known.order(TaskType::RefreshSegmentTask, vec![input]));
    of(orders.collect(), "every segment is as the table is now")
}

pub(super) fn export(known: &Known<'_>) -> Plan {
    if known.is_exporting {
        return Plan::waiting("the export before is not over");
    }
    let seen = known.table.seen().filter(|one| one.record.is_done());
    let inputs: Option<Vec<InputSegment>> = seen.map(|one| InputSegment::of(&one.record)).collect();
    let Some(inputs) = inputs else {
        return Plan::waiting("a segment is not in the deep store yet");
    };
    if inputs.is_empty() {
        return Plan::waiting("no segment is sealed yet");
    }
    let table_name = known.table.spec.physical_name();
    let at = utc_name(known.now_ms).unwrap_or_default();
    Plan {
        exports: vec![ExportOrder {
            folder: format!("{table_name}/{at}"),
            table_name,
            spec: known.table.spec.clone(),
            inputs,
        }],
        ..Plan::default()
    }
}

fn free(known: &Known<'_>, is_due: impl Fn(&SegmentRecord) -> bool) -> Vec<InputSegment> {
    let sealed = known.sealed();
    let due = sealed.filter(|(one, _)| is_due(&one.record) && !known.is_busy(&one.record));
    due.map(|(_, input)| input).collect()
}

fn of(orders: Vec<RewriteOrder>, nothing: &str) -> Plan {
    Plan {
        waits: orders.is_empty().then(|| nothing.to_owned()),
        orders,
        ..Plan::default()
    }
}
