//! Statements that the planner refuses though they mean something: mended, and planned again.
//!
//! - ORDER BY 2, where the second column is computed from aggregates: it gets a name too.
//! - Columns of one name: SQL allows them, the planner wants each to have its own. They get names
//!   that differ behind [`MARK`], which is taken off again before anybody sees them.
//! - Casts, which the planner calls like what is cast: in aggregates ([`NamedCasts`]) and windows.
//! - Names without quotes in another case than the one column or table has that is meant.
//! - Pinot's dialect: a condition may use an alias of the SELECT list that is no column.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, DataFusionError, Result, SchemaError, TableReference};
use datafusion::logical_expr::Expr as LogicalExpr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Select, SelectItem, SetExpr,
    Statement, VisitMut, VisitorMut,
};

use crate::dialect::called;

/// The name of an aggregate does not tell what its argument is cast to: two that differ in nothing
/// else would have one name.
#[derive(Debug)]
pub(crate) struct NamedCasts;

impl ExprPlanner for NamedCasts {
    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        // GROUPING() asks of a key, which it must be called like.
        if raw.func.name() == "grouping" {
            return Ok(PlannerResult::Original(raw));
        }
        for argument in &mut raw.args {
            if let LogicalExpr::Cast(cast) = argument
                && !cast.expr.column_refs().is_empty()
            {
                let name = argument.to_string();
                *argument = argument.clone().alias(name);
            }
        }
        Ok(PlannerResult::Original(raw))
    }
}

const COALESCE: &str = "coalesce";
/// No name of a user holds it.
const MARK: char = '\u{0}';

/// Whether something was mended, after which the statement is worth another try.
pub(crate) fn mend(statement: &mut Statement, error: &DataFusionError, is_pinot: bool) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => {
                let is_alias = is_pinot && field.relation.is_none();
                is_alias && spell_out(statement, &field.name)
                    || in_its_case(statement, field, valid_fields)
            }
            _ => name_apart(statement),
        },
        DataFusionError::Plan(message)
            if message.contains("unique expression names")
                || message.contains("Column in ORDER BY must be in GROUP BY") =>
        {
            name_apart(statement)
        }
        _ => false,
    }
}

fn in_its_case(statement: &mut Statement, field: &Column, known: &[Column]) -> bool {
    let of_tables = || known.iter().filter_map(|own| own.relation.as_ref());
    let table = field.relation.as_ref().map(TableReference::table);
    let found = match table.filter(|table| of_tables().all(|known| known.table() != *table)) {
        Some(table) => {
            one_like(table, of_tables().map(TableReference::table)).map(|meant| (table, meant))
        }
        None => one_like(&field.name, known.iter().map(|own| own.name.as_str()))
            .map(|meant| (field.name.as_str(), meant)),
    };
    let Some((written, meant)) = found else {
        return false;
    };
    let mut renaming = Renaming {
        written,
        meant,
        found: false,
    };
    let _ = statement.visit(&mut renaming);
    renaming.found
}

/// The one name that is the same but for its case.
pub(crate) fn one_like<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut like = known.filter(|known| known.eq_ignore_ascii_case(name));
    let first = like.next()?;
    (first != name && like.all(|other| other == first)).then_some(first)
}

struct Renaming<'a> {
    written: &'a str,
    meant: &'a str,
    found: bool,
}

impl VisitorMut for Renaming<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let names = match expr {
            Expr::Identifier(name) => std::slice::from_mut(name),
            Expr::CompoundIdentifier(parts) => parts.as_mut_slice(),
            _ => return ControlFlow::Continue(()),
        };
        for name in names {
            if name.quote_style.is_none() && name.value == self.written {
                name.value = self.meant.to_owned();
                self.found = true;
            }
        }
        ControlFlow::Continue(())
    }
}

fn name_apart(statement: &mut Statement) -> bool {
    let mut naming = Naming { renamed: false };
    let _ = statement.visit(&mut naming);
    naming.renamed || cast_apart(statement)
}

/// A window over CAST(x AS DOUBLE) is no other than one over x for the planner. COALESCE of one
/// value is that value and has a name of its own.
fn cast_apart(statement: &mut Statement) -> bool {
    let mut casting = Casting {
        wrapped: false,
        was_wrapped: false,
    };
    let _ = statement.visit(&mut casting);
    casting.wrapped && !casting.was_wrapped
}

struct Casting {
    wrapped: bool,
    was_wrapped: bool,
}

impl VisitorMut for Casting {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let FunctionArguments::List(list) = &function.args
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Cast { .. }))] = &list.args[..]
        {
            self.was_wrapped |= function.name.to_string() == COALESCE;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { .. } = expr {
            *expr = called(COALESCE, vec![expr.clone()]);
            self.wrapped = true;
        }
        ControlFlow::Continue(())
    }
}

/// Without what [`mend`] put behind names.
pub(crate) fn shown(schema: SchemaRef) -> SchemaRef {
    if !schema
        .fields()
        .iter()
        .any(|field| field.name().contains(MARK))
    {
        return schema;
    }
    let fields = schema.fields().iter().map(|field| {
        let name = field.name().split(MARK).next().unwrap_or_default();
        Field::clone(field).with_name(name)
    });
    let fields: Vec<Field> = fields.collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

struct Naming {
    renamed: bool,
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let is_named_by_star = select.projection.iter().any(|item| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _)
            )
        });
        // An alias is kept, unless another is the same.
        let mut seen = HashSet::new();
        for (at, item) in select.projection.iter_mut().enumerate() {
            if let SelectItem::ExprWithAlias { alias, .. } = item
                && !seen.insert(alias.value.clone())
                && !alias.value.contains(MARK)
            {
                *alias = Ident::with_quote('"', format!("{}{MARK}{at}", alias.value));
                self.renamed = true;
            }
        }
        for (at, item) in select.projection.iter_mut().enumerate() {
            let SelectItem::UnnamedExpr(expr) = item else {
                continue;
            };
            let name = match &*expr {
                Expr::Identifier(name) => name.value.clone(),
                Expr::CompoundIdentifier(parts) => match parts.last() {
                    Some(name) => name.value.clone(),
                    None => continue,
                },
                other => other.to_string(),
            };
            let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            let is_new = seen.insert(name.clone());
            if name.contains(MARK) || (is_column && is_new && !is_named_by_star) {
                continue;
            }
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', format!("{name}{MARK}{at}")),
            };
            self.renamed = true;
        }
        ControlFlow::Continue(())
    }
}

/// Puts what the alias stands for in its place in WHERE.
fn spell_out(statement: &mut Statement, alias: &str) -> bool {
    let Statement::Query(query) = statement else {
        return false;
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return false;
    };
    let meant = select.projection.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias: named } if named.value == alias => Some(expr),
        _ => None,
    });
    let (Some(meant), Some(condition)) = (meant, &mut select.selection) else {
        return false;
    };
    let mut spelling = Spelling {
        alias,
        meant,
        found: false,
    };
    let _ = condition.visit(&mut spelling);
    spelling.found
}

struct Spelling<'a> {
    alias: &'a str,
    meant: &'a Expr,
    found: bool,
}

impl VisitorMut for Spelling<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Identifier(name) if name.value == self.alias) {
            *expr = Expr::Nested(Box::new(self.meant.clone()));
            self.found = true;
        }
        ControlFlow::Continue(())
    }
}
