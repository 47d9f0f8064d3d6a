//! From a statement to a plan that the broker can execute.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider};
use datafusion::common::config::{ConfigOptions, Dialect as SqlDialect};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;
use schemas::Fault;
use schemas::cluster::ClusterState;
use schemas::proto::NullMode;
use tokio::sync::watch;

use crate::cut::cut;
use crate::dialect::{Dialect, Statement};
use crate::explain::explain;
use crate::fault::to_fault;
use crate::gather::QueryContext;
use crate::system::SystemTables;
use crate::table::{ColumnOrder, ColumnView, Tables, VirtualColumns};

#[derive(Clone, Debug)]
pub struct PlannerConfig {
    /// Bytes that the broker's halves of all queries may hold together.
    pub memory_bytes: u64,
}

/// Sessions are built once, one for each way of seeing tables; a query uses one of them.
#[derive(Debug)]
pub struct Planner {
    sessions: Vec<(ColumnView, SessionState)>,
}

/// A plan with all it needs to run.
#[derive(Debug)]
pub struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
    explained: Option<RecordBatch>,
    text: String,
}

const CATALOG: &str = "tannin";
const SCHEMA: &str = "default";

impl Planner {
    pub fn new(
        config: &PlannerConfig,
        cluster: watch::Receiver<Arc<ClusterState>>,
        system: Arc<SystemTables>,
    ) -> Result<Self, Fault> {
        let pool = GreedyMemoryPool::new(config.memory_bytes as usize);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .build_arc()
            .map_err(|error| to_fault(&error, ""))?;
        let turn = Arc::new(AtomicUsize::new(0));
        let mut sessions = Vec::new();
        for null_mode in [NullMode::Defaults, NullMode::ThreeValued] {
            for order in [ColumnOrder::Schema, ColumnOrder::Name] {
                for virtual_columns in [VirtualColumns::Hidden, VirtualColumns::Shown] {
                    let view = ColumnView {
                        null_mode,
                        order,
                        virtual_columns,
                    };
                    let tables = Tables {
                        cluster: cluster.clone(),
                        view,
                        turn: Arc::clone(&turn),
                    };
                    let session =
                        session(tables, &system, &runtime).map_err(|error| to_fault(&error, ""))?;
                    sessions.push((view, session));
                }
            }
        }
        Ok(Self { sessions })
    }

    fn session(&self, view: ColumnView) -> &SessionState {
        let found = self.sessions.iter().find(|(known, _)| *known == view);
        &found.expect("every view has a session").1
    }

    pub async fn plan(
        &self,
        statement: &Statement,
        dialect: Dialect,
        context: &Arc<QueryContext>,
    ) -> Result<Planned, Fault> {
        let view = ColumnView {
            null_mode: context.null_mode,
            order: match dialect {
                Dialect::Pinot => ColumnOrder::Name,
                Dialect::Standard => ColumnOrder::Schema,
            },
            virtual_columns: match statement.names_virtual_columns {
                true => VirtualColumns::Shown,
                false => VirtualColumns::Hidden,
            },
        };
        let session = self.session(view);
        let explained = |error| to_fault(&error, &statement.text);
        let sql = DfStatement::Statement(Box::new(statement.sql.clone()));
        let logical = session.statement_to_plan(sql).await.map_err(explained)?;
        let plan = session
            .create_physical_plan(&logical)
            .await
            .map_err(explained)?;
        let plan = cut(plan, context).map_err(explained)?;
        let explained_plan = statement
            .explain
            .then(|| explain(&plan))
            .transpose()
            .map_err(explained)?;
        Ok(Planned {
            plan,
            task: session.task_ctx(),
            explained: explained_plan,
            text: statement.text.clone(),
        })
    }
}

impl Planned {
    pub fn schema(&self) -> SchemaRef {
        self.explained
            .as_ref()
            .map_or_else(|| self.plan.schema(), RecordBatch::schema)
    }

    /// Runs it to the end.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, Fault> {
        if let Some(explained) = self.explained {
            return Ok(vec![explained]);
        }
        collect(self.plan, self.task)
            .await
            .map_err(|error| to_fault(&error, &self.text))
    }
}

fn session(
    tables: Tables,
    system: &Arc<SystemTables>,
    runtime: &Arc<RuntimeEnv>,
) -> datafusion::common::Result<SessionState> {
    let mut options = ConfigOptions::new();
    options.sql_parser.dialect = SqlDialect::Generic;
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = true;
    options.execution.collect_statistics = false;
    let config = SessionConfig::from(options)
        .with_target_partitions(1)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(runtime))
        .with_default_features()
        .build();
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, Arc::new(tables))?;
    catalog.register_schema("sys", Arc::clone(system) as Arc<dyn SchemaProvider>)?;
    state
        .catalog_list()
        .register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok(state)
}
