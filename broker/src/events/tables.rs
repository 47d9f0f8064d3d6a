//! What is made of the tables that rows are appended to, kept from request to request.
//!
//! Invariant: a request is checked by the config that the cluster's state had when it came.

use std::collections::HashMap;
use std::sync::Arc;

use ingest::{Decoded, Decoder, RawMessage};
use parking_lot::Mutex;
use schemas::cluster::{ClusterState, TableState};
use schemas::{TableId, TableSpec};

/// Decoders of a table that wait for the next request.
const SPARE_MAX: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Tables(Mutex<HashMap<TableId, Known>>);

#[derive(Debug)]
struct Known {
    /// Of which it was made, or another of the same config.
    state: Arc<TableState>,
    table: Arc<Table>,
}

/// One table of one config.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) spec: Arc<TableSpec>,
    spare: Mutex<Vec<Decoder>>,
}

impl Tables {
    pub(super) fn get(&self, cluster: &ClusterState, state: &Arc<TableState>) -> Arc<Table> {
        let mut all = self.0.lock();
        if let Some(known) = all.get_mut(&state.spec.id) {
            if Arc::ptr_eq(&known.state, state) {
                return Arc::clone(&known.table);
            }
            if *known.table.spec == state.spec {
                known.state = Arc::clone(state);
                return Arc::clone(&known.table);
            }
        }
        all.retain(|id, _| cluster.tables.contains_key(id));
        let table = Arc::new(Table::new(Arc::new(state.spec.clone())));
        let known = Known {
            state: Arc::clone(state),
            table: Arc::clone(&table),
        };
        all.insert(state.spec.id, known);
        table
    }
}

impl Table {
    pub(super) fn new(spec: Arc<TableSpec>) -> Self {
        Self {
            spec,
            spare: Mutex::default(),
        }
    }

    /// What the table makes of JSON, without its pipeline.
    pub(super) fn decode<'a>(
        &self,
        messages: impl Iterator<Item = RawMessage<'a>> + Clone,
    ) -> Decoded {
        let spare = self.spare.lock().pop();
        let mut decoder = spare.unwrap_or_else(|| Decoder::json(Arc::clone(&self.spec)));
        let decoded = decoder.decode(messages, 0);
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_MAX {
            spare.push(decoder);
        }
        decoded
    }
}

#[cfg(test)]
mod tests {
    use schemas::{ColumnSpec, DataType, FieldRole, TableType};

    use super::*;

    #[test]
    fn a_table_is_made_anew_when_its_config_changes() {
        let column = |name: &str| ColumnSpec::new(name, DataType::Long, FieldRole::Dimension);
        let name = "t".parse().unwrap();
        let spec = TableSpec::new(name, TableType::Realtime, vec![column("n")]);
        let state = |spec: &TableSpec, paused| {
            Arc::new(TableState {
                spec: spec.clone(),
                segments: Default::default(),
                paused,
                orders: Default::default(),
                time_boundary_ms: None,
                reloads: Vec::new(),
            })
        };
        let (cluster, tables) = (ClusterState::default(), Tables::default());
        let first = tables.get(&cluster, &state(&spec, false));
        let same = tables.get(&cluster, &state(&spec, true));
        assert!(Arc::ptr_eq(&first, &same));
        let wider = TableSpec {
            columns: vec![column("n"), column("m")],
            ..spec
        };
        let other = tables.get(&cluster, &state(&wider, true));
        assert_eq!(other.spec.columns.len(), 2);
        let message = RawMessage {
            payload: Some(br#"{"n":1,"m":true}"#),
            ..RawMessage::default()
        };
        for _ in 0..2 {
            let decoded = other.decode([message].into_iter());
            assert_eq!(decoded.batches[0].num_columns(), 4);
        }
    }
}
