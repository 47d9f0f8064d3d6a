//! What the names in one statement mean: tables, functions, operators.
//!
//! All tables of a statement are seen in one snapshot of the cluster, so that two scans of a table
//! read the same segments from the same servers. The snapshot has the tables alone that the caller
//! may read: no form of a statement finds another.

use std::collections::HashMap;
use std::sync::Arc;

use access::Action;
use arrow::datatypes::{DataType, IntervalUnit, SchemaRef, TimeUnit};
use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, TableReference};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, RelationPlanner, TypePlanner,
};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::ObjectName;
use schemas::arrow::tested_by;
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};

use crate::context::QueryContext;
use crate::dialect::{Semantics, Statement};
use crate::fault::{from_fault, nearest, place_of_word};
use crate::relations::OwnJoins;
use crate::repair::one_like;
use crate::system::{INFORMATION_SCHEMA, SYSTEM_SCHEMA, SystemTables};
use crate::table::{ColumnView, tables};

/// The schema of users' tables.
pub(crate) const DEFAULT_SCHEMA: &str = "default";

/// What PostgreSQL's users and their tools call it.
const PUBLIC_SCHEMA: &str = "public";

pub(crate) struct Catalog<'a> {
    session: &'a SessionState,
    statement: &'a Statement,
    context: &'a QueryContext,
    operators: &'a [Arc<dyn ExprPlanner>],
    relations: [Arc<dyn RelationPlanner>; 1],
    tables: HashMap<(String, String), Arc<dyn TableSource>>,
}

fn key(reference: &TableReference, statement: &Statement) -> (String, String) {
    let database = statement.database().unwrap_or(DEFAULT_SCHEMA);
    let schema = match reference.schema() {
        Some(PUBLIC_SCHEMA) => DEFAULT_SCHEMA,
        schema => schema.unwrap_or(database),
    };
    (schema.to_owned(), reference.table().to_owned())
}

/// Names count without their underscores.
pub(crate) fn known<T>(functions: &HashMap<String, Arc<T>>, name: &str) -> Option<Arc<T>> {
    let found = functions.get(name).or_else(|| {
        let mut others = functions.iter();
        let (_, function) = others.find(|(own, _)| functions::is_same(own, name))?;
        Some(function)
    });
    found.cloned()
}

/// The one table whose name is the same but for its case.
fn in_its_case(
    context: &Arc<QueryContext>,
    name: &str,
    view: ColumnView<'_>,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let known = context.cluster.tables.values();
    match one_like(name, known.map(|table| table.spec.name.as_str())) {
        Some(name) => tables(context, name, view),
        None => Ok(None),
    }
}

/// Functions that give rows take literals: what comes to one becomes one, of the type that they
/// know.
fn folded(argument: Expr, session: &SessionState) -> Result<Expr> {
    let context = SimplifyContext::builder()
        .with_config_options(Arc::clone(session.config_options()))
        .with_query_execution_start_time(session.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let argument = simplifier.coerce(argument, &DFSchema::empty())?;
    Ok(match simplifier.simplify(argument)? {
        Expr::Literal(value, metadata) => {
            let known = match value.data_type() {
                DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone),
                DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
                own if own.is_integer() => DataType::Int64,
                own => own,
            };
            Expr::Literal(value.cast_to(&known)?, metadata)
        }
        other => other,
    })
}

impl<'a> Catalog<'a> {
    /// Looks up the tables of the statement; those that do not exist fail when they are planned.
    pub(crate) async fn new(
        session: &'a SessionState,
        operators: &'a [Arc<dyn ExprPlanner>],
        statement: &'a Statement,
        context: &'a Arc<QueryContext>,
        system: &SystemTables,
        references: Vec<TableReference>,
    ) -> Result<Self> {
        let view = ColumnView {
            null_mode: context.null_mode,
            by_name: statement.semantics != Semantics::Standard,
            virtual_columns: &statement.parsed.virtual_columns,
            null_tests: &statement.parsed.null_tests,
        };
        let mut found = HashMap::new();
        for reference in &references {
            let key = key(reference, statement);
            if found.contains_key(&key) {
                continue;
            }
            let table = match key.0.as_str() {
                DEFAULT_SCHEMA => match tables(context, &key.1, view)? {
                    None => in_its_case(context, &key.1, view)?,
                    found => found,
                },
                schema => system.table((schema, &key.1), context).await?,
            };
            if let Some(table) = table {
                found.insert(key, provider_as_source(table));
            }
        }
        Ok(Self {
            session,
            statement,
            context,
            operators,
            relations: [Arc::new(OwnJoins)],
            tables: found,
        })
    }

    /// Those that `*` shows; `None`: there is no such table.
    pub(crate) fn columns_of(&self, name: &ObjectName) -> Option<Vec<String>> {
        let reference = object_name_to_table_reference(name.clone(), false).ok()?;
        let table = self.tables.get(&key(&reference, self.statement))?;
        let is_hidden = |name: &str| name.starts_with('$') || tested_by(name).is_some();
        let schema = table.schema();
        let names = schema.fields().iter().map(|field| field.name());
        Some(names.filter(|name| !is_hidden(name)).cloned().collect())
    }

    fn unknown_table(&self, reference: &TableReference) -> Fault {
        let (schema, name) = key(reference, self.statement);
        let caller = &self.context.caller;
        // Also one that is not there: who may not read it does not learn that.
        if schema == DEFAULT_SCHEMA && !caller.may(Action::Read, &name) {
            return caller.denied(Action::Read, &name);
        }
        let shown = reference.to_string();
        let hint = match schema.as_str() {
            DEFAULT_SCHEMA => {
                let tables = self.context.cluster.tables.values();
                let known = tables.map(|table| table.spec.name.as_str());
                nearest(&name, known).map(|known| format!("; did you mean `{known}`?"))
            }
            SYSTEM_SCHEMA | INFORMATION_SCHEMA => {
                let known = SystemTables::names(&schema).iter().copied();
                nearest(&name, known).map(|known| format!("; did you mean `{schema}.{known}`?"))
            }
            _ => Some(format!(
                "; tables are in the schemas `{DEFAULT_SCHEMA}`, `{SYSTEM_SCHEMA}` and \
                 `{INFORMATION_SCHEMA}`"
            )),
        };
        let message = format!("there is no table `{shown}`{}", hint.unwrap_or_default());
        let fault = Fault::new(
            FaultKind::NotFound,
            pinot_code::TABLE_DOES_NOT_EXIST,
            message,
        );
        match place_of_word(&name, &self.statement.text) {
            Some(span) => fault.at(span),
            None => fault,
        }
    }
}

impl ContextProvider for Catalog<'_> {
    fn get_table_source(&self, reference: TableReference) -> Result<Arc<dyn TableSource>> {
        let table = self.tables.get(&key(&reference, self.statement)).cloned();
        table.ok_or_else(|| from_fault(self.unknown_table(&reference)))
    }

    fn get_table_function_source(
        &self,
        name: &str,
        arguments: Vec<Expr>,
    ) -> Result<Arc<dyn TableSource>> {
        let functions = self.session.table_functions();
        let Some(function) = functions.get(&name.to_lowercase()) else {
            let known = functions.keys().map(String::as_str);
            let hint = nearest(name, known).map(|known| format!("; did you mean `{known}`?"));
            let hint = hint.unwrap_or_default();
            return plan_err!("there is no function `{name}` that gives rows{hint}");
        };
        let arguments = arguments
            .into_iter()
            .map(|argument| folded(argument, self.session));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let arguments = TableFunctionArgs::new(&arguments, self.session);
        let table = function.create_table_provider_with_args(arguments)?;
        Ok(provider_as_source(table))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(
            name, schema,
        ))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.operators
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        None
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let functions = self.session.scalar_functions();
        let of_dialect = match self.statement.semantics {
            Semantics::Standard => functions::in_standard(name),
            _ => functions::in_pinot(name),
        };
        let name = of_dialect.unwrap_or(name);
        // BIT_AND is SQL's aggregate, and Pinot's BITAND.
        let is_of_sql = self.statement.semantics == Semantics::Standard;
        if is_of_sql && self.session.aggregate_functions().contains_key(name) {
            return None;
        }
        known(functions, name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.session.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let of_dialect = match self.statement.semantics {
            Semantics::Standard => functions::in_standard(name),
            _ => functions::aggregate_in_pinot(name),
        };
        let name = of_dialect.unwrap_or(name);
        known(self.session.aggregate_functions(), name)
            .or_else(|| functions::percentile_named(name))
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.session.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.session.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.session.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.session
            .higher_order_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.session.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.session.window_functions().keys().cloned().collect()
    }
}
