//! SHOW and DESCRIBE are questions to system tables.

use datafusion::sql::sqlparser::ast::{
    ObjectName, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementOptions,
    Statement as SqlStatement,
};
use schemas::Fault;

use super::gaps::quoted;
use super::syntax;

/// The query behind the statement; `None`: it is none of these.
pub(super) fn as_query(statement: &SqlStatement) -> Result<Option<String>, Fault> {
    let query = match statement {
        SqlStatement::ShowTables { show_options, .. } => {
            let schema = parent(show_options);
            let schema = schema.map_or("default".to_owned(), |name| last_part(&name));
            let of_schema = format!(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = {}",
                quoted(&schema)
            );
            format!(
                "{of_schema}{} ORDER BY table_name",
                filter("table_name", show_options)?
            )
        }
        SqlStatement::ShowSchemas { show_options, .. }
        | SqlStatement::ShowDatabases { show_options, .. } => format!(
            "SELECT schema_name FROM information_schema.schemata WHERE TRUE{} ORDER BY 1",
            filter("schema_name", show_options)?
        ),
        SqlStatement::ShowColumns { show_options, .. } => {
            let Some(table) = parent(show_options) else {
                return Err(syntax("SHOW COLUMNS takes a table: SHOW COLUMNS FROM t"));
            };
            columns_of(&table, &filter("\"column\"", show_options)?)
        }
        SqlStatement::ExplainTable { table_name, .. } => columns_of(table_name, ""),
        SqlStatement::ShowFunctions { filter: None } => {
            "SELECT * FROM sys.functions ORDER BY \"function\", kind".to_owned()
        }
        SqlStatement::ShowFunctions {
            filter: Some(filter),
        } => format!(
            "SELECT * FROM sys.functions WHERE {} ORDER BY \"function\", kind",
            condition("\"function\"", filter)?
        ),
        _ => return Ok(None),
    };
    Ok(Some(query))
}

fn parent(options: &ShowStatementOptions) -> Option<ObjectName> {
    options.show_in.as_ref()?.parent_name.clone()
}

fn last_part(name: &ObjectName) -> String {
    let part = name.0.last().and_then(|part| part.as_ident());
    part.map_or_else(|| name.to_string(), |part| part.value.clone())
}

/// That the table exists is asked too, so that a name without one is an error.
fn columns_of(table: &ObjectName, filter: &str) -> String {
    format!(
        "SELECT \"column\", type, role, multi_value, not_null, \"default\", indexes \
         FROM sys.columns WHERE \"table\" = {}{filter} \
         AND NOT EXISTS (SELECT 1 FROM {table} WHERE FALSE) ORDER BY position",
        quoted(&last_part(table))
    )
}

fn filter(column: &str, options: &ShowStatementOptions) -> Result<String, Fault> {
    use ShowStatementFilterPosition as P;
    match &options.filter_position {
        None => Ok(String::new()),
        Some(P::Infix(filter) | P::Suffix(filter)) => {
            Ok(format!(" AND {}", condition(column, filter)?))
        }
    }
}

fn condition(column: &str, filter: &ShowStatementFilter) -> Result<String, Fault> {
    match filter {
        ShowStatementFilter::Like(pattern) => Ok(format!("{column} LIKE {}", quoted(pattern))),
        ShowStatementFilter::ILike(pattern) => Ok(format!("{column} ILIKE {}", quoted(pattern))),
        _ => Err(syntax(
            "SHOW takes LIKE 'pattern'; for more ask the tables in `sys` and `information_schema`",
        )),
    }
}
