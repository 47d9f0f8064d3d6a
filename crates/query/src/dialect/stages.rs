//! Which of Pinot's engines a statement needs.
//!
//! The single-stage engine reads one table: joins, subqueries, named queries, set operations and
//! windows are for the multi-stage one. Here both read everything, and a statement that needs the
//! multi-stage engine follows its rules without being told.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, GroupByExpr, ObjectName, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::output::is_int;

pub(super) fn needs_several(statement: &Statement) -> bool {
    statement.visit(&mut Search { queries: 0 }).is_break()
}

struct Search {
    queries: usize,
}

const FOUND: ControlFlow<()> = ControlFlow::Break(());

impl Visitor for Search {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.queries += 1;
        match query.body.as_ref() {
            SetExpr::Select(_) if self.queries == 1 => ControlFlow::Continue(()),
            _ => FOUND,
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let is_table = |factor: &TableFactor| matches!(factor, TableFactor::Table { .. });
        match select.from.as_slice() {
            [] => ControlFlow::Continue(()),
            [one] if one.joins.is_empty() && is_table(&one.relation) => ControlFlow::Continue(()),
            _ => FOUND,
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if function.over.is_some() => FOUND,
            _ => ControlFlow::Continue(()),
        }
    }
}

/// A SELECT of literals without what it does not read: the tables that it names.
pub(super) fn without_table(query: &mut Query) -> Vec<ObjectName> {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Vec::new();
    };
    let mut unread = Vec::new();
    if let GroupByExpr::Expressions(keys, _) = &select.group_by
        && keys.is_empty()
    {
        for table in select.from.drain(..) {
            if let TableFactor::Table { name, .. } = table.relation {
                unread.push(name);
            }
        }
        select.selection = None;
        query.order_by = None;
    }
    unread
}

/// Whole numbers in the parts of a set operation are INT in the multi-stage engine.
pub(super) fn with_ints(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut WithInts);
}

struct WithInts;

impl VisitorMut for WithInts {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if matches!(query.body.as_ref(), SetExpr::SetOperation { .. }) {
            ints_of(&mut query.body);
        }
        ControlFlow::Continue(())
    }
}

fn ints_of(body: &mut SetExpr) {
    let select = match body {
        SetExpr::SetOperation { left, right, .. } => {
            ints_of(left);
            ints_of(right);
            return;
        }
        SetExpr::Select(select) => select,
        _ => return,
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && is_int(expr)
        {
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(expr.clone()),
                data_type: DataType::Int(None),
                array: false,
                format: None,
            };
        }
    }
}
