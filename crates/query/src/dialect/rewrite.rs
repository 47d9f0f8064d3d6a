//! What is changed in a parsed statement: virtual columns, and Pinot's words for ours.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, DuplicateTreatment, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor,
    TimezoneInfo, Value, VisitMut, VisitorMut, WildcardAdditionalOptions, visit_expressions,
    visit_expressions_mut,
};
use schemas::arrow::VIRTUAL_COLUMNS;

use super::{Dialect, pinot_calls};

/// Virtual columns that the text names.
pub(super) fn virtual_columns_in(text: &str) -> Vec<&'static str> {
    if !text.contains('$') {
        return Vec::new();
    }
    VIRTUAL_COLUMNS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| text.contains(name))
        .collect()
}

/// Columns of `x IS NULL` and `x IS NOT NULL`.
pub(super) fn null_tests(query: &Query) -> Vec<String> {
    let mut columns = Vec::new();
    let _ = visit_expressions(query, |expr| {
        if let Expr::IsNull(tested) | Expr::IsNotNull(tested) = expr {
            let name = match &**tested {
                Expr::Identifier(name) => Some(name),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            columns.extend(name.map(|name| name.value.clone()));
        }
        ControlFlow::<()>::Continue(())
    });
    columns
}

/// The parser takes a bare `$offset` for a placeholder.
pub(super) fn name_virtual_columns(query: &mut Query, known: &[&str]) {
    if known.is_empty() {
        return;
    }
    let _ = visit_expressions_mut(query, |expr| {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
            && known.contains(&name.as_str())
        {
            *expr = Expr::Identifier(Ident::with_quote('"', name.clone()));
        }
        ControlFlow::<()>::Continue(())
    });
}

pub(super) fn rewrite(statement: &mut Statement, dialect: Dialect, virtual_columns: &[&str]) {
    let mut rewriter = Rewriter {
        dialect,
        virtual_columns,
        named_queries: HashSet::new(),
    };
    let _ = VisitMut::visit(statement, &mut rewriter);
}

struct Rewriter<'a> {
    dialect: Dialect,
    virtual_columns: &'a [&'a str],
    /// Of WITH: these are no tables.
    named_queries: HashSet<String>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.named_queries
            .extend(with.map(|named| named.alias.name.value.clone()));
        if !self.virtual_columns.is_empty() {
            self.hide_in(&mut query.body);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if self.dialect == Dialect::Pinot => {
                distinct_count(function);
                count_of_star(function);
                pinot_calls::rewrite(expr);
            }
            Expr::Substring { .. } | Expr::BinaryOp { .. } if self.dialect == Dialect::Pinot => {
                pinot_calls::rewrite(expr);
            }
            Expr::Cast { data_type, .. } if self.dialect == Dialect::Pinot => pinot_type(data_type),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    /// `*` of a table shows no virtual column, also when the statement names one elsewhere.
    fn hide_in(&self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.hide_in_select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.hide_in(left);
                self.hide_in(right);
            }
            _ => {}
        }
    }

    fn hide_in_select(&self, select: &mut Select) {
        let tables = select.from.iter().flat_map(|from| {
            std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
        });
        let Some(tables) = tables
            .map(|table| self.named(table))
            .collect::<Option<Vec<_>>>()
        else {
            return;
        };
        if !tables.iter().any(|table| table.has_virtual_columns) {
            return;
        }
        let all_of = |table: &Named| {
            let mut options = WildcardAdditionalOptions::default();
            if table.has_virtual_columns {
                options.opt_exclude = Some(self.hidden());
            }
            let kind = SelectItemQualifiedWildcardKind::ObjectName(table.name.clone());
            SelectItem::QualifiedWildcard(kind, options)
        };
        let joins = select.from.iter().flat_map(|from| &from.joins);
        // Joined by name, a column of both tables is shown once: only `*` itself does that.
        let by_name = joins.map(|join| &join.join_operator).any(merges_columns);
        let mut shown = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(ref options)
                    if *options == WildcardAdditionalOptions::default() && !by_name =>
                {
                    shown.extend(tables.iter().map(all_of));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(ref name),
                    ref options,
                ) if *options == WildcardAdditionalOptions::default() => {
                    let table = tables.iter().find(|table| table.name == *name);
                    shown.push(table.map_or(item, all_of));
                }
                other => shown.push(other),
            }
        }
        select.projection = shown;
    }

    /// What a table is called in the statement; `None`: it has no name.
    fn named(&self, table: &TableFactor) -> Option<Named> {
        match table {
            TableFactor::Table { name, alias, .. } => Some(Named {
                has_virtual_columns: match name.0.as_slice() {
                    [ObjectNamePart::Identifier(name)] => !self.named_queries.contains(&name.value),
                    [.., ObjectNamePart::Identifier(schema), _] => schema.value != "sys",
                    _ => false,
                },
                name: match alias {
                    Some(alias) => alias.name.clone().into(),
                    None => name.clone(),
                },
            }),
            TableFactor::Derived { alias, .. } => Some(Named {
                has_virtual_columns: false,
                name: alias.as_ref()?.name.clone().into(),
            }),
            _ => None,
        }
    }

    fn hidden(&self) -> ExcludeSelectItem {
        let hidden = self.virtual_columns.iter();
        let hidden = hidden.map(|name| Ident::with_quote('"', *name).into());
        ExcludeSelectItem::Multiple(hidden.collect())
    }
}

/// A table as the rest of the statement calls it.
struct Named {
    name: ObjectName,
    has_virtual_columns: bool,
}

fn merges_columns(join: &JoinOperator) -> bool {
    use JoinOperator as J;
    match join {
        J::Join(on)
        | J::Inner(on)
        | J::Left(on)
        | J::LeftOuter(on)
        | J::Right(on)
        | J::RightOuter(on)
        | J::FullOuter(on) => {
            matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural)
        }
        _ => false,
    }
}

/// DISTINCTCOUNT(x) is COUNT(DISTINCT x).
fn distinct_count(function: &mut Function) {
    let is_distinct_count = |name: &str| name.eq_ignore_ascii_case("distinctcount");
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    if let [ObjectNamePart::Identifier(name)] = function.name.0.as_mut_slice()
        && is_distinct_count(&name.value)
    {
        *name = Ident::new("count");
        list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
    }
}

/// COUNT("*") is COUNT(*): Grafana's plugin quotes every name.
fn count_of_star(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    if let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice()
        && name.value.eq_ignore_ascii_case("count")
        && let [FunctionArg::Unnamed(argument)] = list.args.as_mut_slice()
        && matches!(argument, FunctionArgExpr::Expr(Expr::Identifier(star)) if star.value == "*")
    {
        *argument = FunctionArgExpr::Wildcard;
    }
}

/// Pinot's names of types that SQL does not know.
fn pinot_type(data_type: &mut DataType) {
    let name = data_type.to_string().to_uppercase();
    *data_type = match name.as_str() {
        "LONG" => DataType::BigInt(None),
        "BYTES" => DataType::Bytea,
        // Of milliseconds: a number that becomes one counts them.
        "TIMESTAMP" => DataType::Timestamp(Some(3), TimezoneInfo::None),
        "JSON" => DataType::String(None),
        "BIG_DECIMAL" => {
            use datafusion::sql::sqlparser::ast::ExactNumberInfo;
            let scale = i64::from(schemas::arrow::BIG_DECIMAL_SCALE);
            let precision = u64::from(schemas::arrow::BIG_DECIMAL_PRECISION);
            DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale))
        }
        _ => return,
    };
}
