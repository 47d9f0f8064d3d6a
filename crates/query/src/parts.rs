//! Which server reads what for a fragment, from where each of its scans was routed to.

use std::collections::{BTreeMap, HashSet};

use datafusion::common::{DataFusionError, Result};
use schemas::cluster::{InstanceState, TableState};
use schemas::fault::pinot_code;
use schemas::proto::TableScan;
use schemas::{Fault, TableId};

use crate::ask::FragmentPart;
use crate::context::QueryContext;
use crate::fault::from_fault;
use crate::routing::{holder_of_all, holds_all, whole_table};
use crate::scan_exec::{ScanDescription, ScanPart};

/// A scan of a fragment, and the servers that its table's rows are read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutedScan<'a> {
    pub(crate) description: &'a ScanDescription,
    pub(crate) parts: &'a [ScanPart],
}

/// All that the scans read, when one server can read it all.
pub(crate) fn for_one_server(
    scans: &[RoutedScan<'_>],
    context: &QueryContext,
) -> Option<FragmentPart> {
    let mut server: Option<&InstanceState> = None;
    let mut tables: BTreeMap<TableId, TableScan> = BTreeMap::new();
    let mut dimensions = Vec::new();
    for scan in scans {
        let table = scan.description.table;
        if scan.description.is_dimension_table {
            let state = context.cluster.tables.get(&table)?;
            tables.insert(table, whole_table(state));
            dimensions.push(&**state);
            continue;
        }
        let all = tables.entry(table).or_insert_with(|| TableScan {
            table_id: table.to_bytes(),
            ..TableScan::default()
        });
        for part in scan.parts {
            if server.get_or_insert(&part.server).id != part.server.id {
                return None;
            }
            add(all, &part.scan);
        }
    }
    let server = server?;
    holds_all(&dimensions, &server.id).then(|| FragmentPart {
        server: server.clone(),
        shared_out: None,
        whole: tables.into_values().collect(),
        finishes: true,
    })
}

/// Scans of one table may leave out different segments; the server reads for all of them.
fn add(all: &mut TableScan, more: &TableScan) {
    if all.sealed.is_empty() {
        all.sealed.clone_from(&more.sealed);
    } else {
        let known = all.sealed.iter().map(|s| (s.partition, s.sequence));
        let known: HashSet<(u32, u32)> = known.collect();
        let new = more.sealed.iter();
        let new = new.filter(|s| !known.contains(&(s.partition, s.sequence)));
        all.sealed.extend(new.copied());
    }
    for run in &more.consuming {
        if !all
            .consuming
            .iter()
            .any(|known| known.partition == run.partition)
        {
            all.consuming.push(*run);
        }
    }
}

/// Shares of at most one table, and tables that are read whole.
pub(crate) fn for_each_server(
    scans: &[RoutedScan<'_>],
    context: &QueryContext,
) -> Result<Vec<Option<FragmentPart>>> {
    let mut shares = None;
    let mut dimensions: BTreeMap<TableId, &TableState> = BTreeMap::new();
    for scan in scans {
        let table = scan.description.table;
        match context.cluster.tables.get(&table) {
            Some(state) if scan.description.is_dimension_table => {
                dimensions.insert(table, state);
            }
            _ => shares = Some(scan.parts),
        }
    }
    let tables: Vec<&TableState> = dimensions.into_values().collect();
    let whole: Vec<TableScan> = tables.iter().map(|table| whole_table(table)).collect();
    let part = |server: &InstanceState, shared_out| FragmentPart {
        server: server.clone(),
        shared_out,
        whole: whole.clone(),
        finishes: false,
    };
    let Some(shares) = shares else {
        let avoid = context.failed.lock().clone();
        let server = holder_of_all(
            &context.cluster,
            &tables,
            context.turn_and_standing(),
            &avoid,
        );
        let server = server.ok_or_else(|| no_holder(&tables))?;
        return Ok(vec![Some(part(server, None))]);
    };
    let shares = shares.iter();
    let parts = shares.map(|share| Some(part(&share.server, Some(share.scan.clone()))));
    Ok(parts.collect())
}

fn no_holder(tables: &[&TableState]) -> DataFusionError {
    let names: Vec<&str> = tables
        .iter()
        .map(|table| table.spec.name.as_str())
        .collect();
    let message = format!("no living server holds all of `{}`", names.join("`, `"));
    from_fault(Fault::unavailable(message).with_code(pinot_code::BROKER_SEGMENT_UNAVAILABLE))
}
