//! Which of Pinot's engines a statement needs.
//!
//! The single-stage engine reads one table: joins, subqueries, named queries, set operations and
//! windows are for the multi-stage one. Here both read everything, and a statement that needs the
//! multi-stage engine follows its rules without being told.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor,
};

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

/// A SELECT of literals without what it does not read.
pub(super) fn without_table(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    if let GroupByExpr::Expressions(keys, _) = &select.group_by
        && keys.is_empty()
    {
        select.from.clear();
        select.selection = None;
        query.order_by = None;
    }
}
