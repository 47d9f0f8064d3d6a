//! Creating, changing and dropping tables.

use std::sync::Arc;
use std::time::Duration;

use metastore::catalog::{CreateOutcome, StoredTable};
use schemas::cluster::TableState;
use schemas::pinot::{Parsed, TableConfig, parse_schema, table_spec};
use schemas::{Fault, TableId, TableName, TableType};

use crate::reconcile::open_partitions;
use crate::state::State;

/// A DELETE waits so long for brokers to hear of it, and then for servers to let go of the table.
pub(crate) const DROP_PATIENCE: Duration = Duration::from_secs(10);
const DROP_POLL: Duration = Duration::from_millis(20);

impl State {
    /// Physical tables behind a raw or a physical name.
    pub(crate) fn resolve(&self, name: &str) -> Result<Vec<Arc<TableState>>, Fault> {
        let (raw, table_type) =
            TableName::parse_physical(name).map_err(|error| Fault::not_found(error.to_string()))?;
        let fits = |table: &Arc<TableState>| {
            table.spec.name == raw && table_type.is_none_or(|t| t == table.spec.table_type)
        };
        let found: Vec<_> = self.tables().into_iter().filter(fits).collect();
        if found.is_empty() {
            return Err(Fault::not_found(format!("table `{name}` does not exist")));
        }
        Ok(found)
    }

    pub(crate) async fn create_table(
        &self,
        schema_json: String,
        config_json: String,
        config: Parsed<TableConfig>,
    ) -> Result<Arc<TableState>, Fault> {
        let schema = parse_schema(&schema_json)?.value;
        let spec = table_spec(&schema, &config.value, TableId::random())?;
        let stored = StoredTable {
            spec,
            config_json,
            schema_json,
            paused: false,
            time_boundary_ms: None,
        };
        let id = stored.spec.id;
        if self.catalog.create_table(&stored).await? == CreateOutcome::NameTaken {
            let name = stored.spec.physical_name();
            return Err(Fault::conflict(format!("table `{name}` already exists")));
        }
        self.publish(id).await?;
        let table = self
            .table(id)
            .ok_or_else(|| Fault::internal("the table is gone again"))?;
        if let Err(fault) = open_partitions(self, &table).await {
            tracing::debug!(cause = %fault, "partitions will be opened later");
        }
        self.table(id)
            .ok_or_else(|| Fault::internal("the table is gone again"))
    }

    /// Replaces the config of a table that exists; its id, columns and segments stay.
    pub(crate) async fn change_table(
        &self,
        config_json: String,
        config: Parsed<TableConfig>,
    ) -> Result<(), Fault> {
        let physical = config.value.name.with_type(config.value.table_type);
        let table = self.resolve(&physical)?.remove(0);
        let stored = self
            .catalog
            .table(table.spec.id)
            .await?
            .ok_or_else(|| Fault::not_found(format!("table `{physical}` does not exist")))?;
        let schema = parse_schema(&stored.value.schema_json)?.value;
        let spec = table_spec(&schema, &config.value, table.spec.id)?;
        let change = |stored: &mut StoredTable| {
            stored.spec = spec;
            stored.config_json = config_json;
        };
        self.catalog.change_table(table.spec.id, change).await?;
        self.forget_source(table.spec.id);
        self.publish(table.spec.id).await?;
        Ok(())
    }

    /// Returns when no broker answers from it and no living server holds anything of it any more.
    pub(crate) async fn drop_table(&self, table: &TableState) -> Result<(), Fault> {
        let id = table.spec.id;
        if let Some(stored) = self.catalog.table(id).await? {
            self.catalog.drop_table(&stored.value).await?;
        }
        self.forget_source(id);
        self.completion.lock().forget_table(id);
        self.publish(id).await?;
        self.wait_until_seen(DROP_PATIENCE).await?;
        let deadline = self.clock.monotonic() + DROP_PATIENCE;
        while self.is_held(id) {
            if self.clock.monotonic() >= deadline {
                return Err(Fault::timeout(format!(
                    "table `{}` is dropped, but a server still holds parts of it",
                    table.spec.physical_name()
                )));
            }
            self.clock.sleep(DROP_POLL).await;
        }
        Ok(())
    }

    pub(crate) async fn pause(&self, name: &str, paused: Consumption) -> Result<(), Fault> {
        for table in self.resolve(name)? {
            if table.spec.table_type == TableType::Realtime {
                let paused = paused == Consumption::Paused;
                self.catalog
                    .change_table(table.spec.id, |stored| stored.paused = paused)
                    .await?;
                self.publish(table.spec.id).await?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consumption {
    Paused,
    Running,
}
