//! NATURAL joins: USING of the columns that both sides have.
//!
//! Which those are the tables tell, so this is done when they are known and the rest of a statement
//! is ready. What a relation has is read from the text: the columns of a table, the names in a list
//! of SELECT. Where that cannot be told the join is left to the planner.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, JoinConstraint, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins,
    Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use schemas::Fault;

use super::merged::{self, constraint_of, name_of, shows_right};

/// `None`: they are not known.
pub(super) type Columns = Option<Vec<String>>;

/// `table`: the columns of a table of the catalog.
pub(crate) fn spell_out(
    statement: &mut Statement,
    table: &dyn Fn(&ObjectName) -> Columns,
) -> Result<(), Fault> {
    let mut spelling = Spelling {
        relations: Relations {
            table,
            named: Vec::new(),
        },
    };
    match VisitMut::visit(statement, &mut spelling) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(fault) => Err(*fault),
    }
}

pub(super) fn is_natural(select: &Select) -> bool {
    let joins = select.from.iter().flat_map(|tables| &tables.joins);
    let mut constraints = joins.filter_map(|join| constraint_of(&join.join_operator));
    constraints.any(|constraint| matches!(constraint, JoinConstraint::Natural))
}

struct Spelling<'a> {
    relations: Relations<'a>,
}

impl VisitorMut for Spelling<'_> {
    type Break = Box<Fault>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Box<Fault>> {
        self.relations.enter(query);
        let Query { body, order_by, .. } = query;
        let spelled = match body.as_mut() {
            SetExpr::Select(select) if is_natural(&*select) => {
                merged::spell_out(select, order_by.as_mut(), &|table| {
                    self.relations.of_table(table)
                })
            }
            body => self.of_sides(body),
        };
        match spelled {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break(Box::new(fault)),
        }
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Box<Fault>> {
        self.relations.named.pop();
        ControlFlow::Continue(())
    }
}

impl Spelling<'_> {
    fn of_sides(&self, body: &mut SetExpr) -> Result<(), Fault> {
        match body {
            SetExpr::SetOperation { left, right, .. } => {
                self.of_sides(left)?;
                self.of_sides(right)
            }
            SetExpr::Select(select) if is_natural(&*select) => {
                merged::spell_out(select, None, &|table| self.relations.of_table(table))
            }
            _ => Ok(()),
        }
    }
}

/// What relations have, where a query stands.
struct Relations<'a> {
    table: &'a dyn Fn(&ObjectName) -> Columns,
    /// Of WITH, for each query around.
    named: Vec<HashMap<String, Columns>>,
}

impl Relations<'_> {
    fn enter(&mut self, query: &Query) {
        self.named.push(HashMap::new());
        for named in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = renamed(self.of_query(&named.query), Some(&named.alias));
            if let Some(names) = self.named.last_mut() {
                names.insert(named.alias.name.value.clone(), columns);
            }
        }
    }

    fn of_table(&self, table: &TableFactor) -> Columns {
        match table {
            TableFactor::Table { name, alias, .. } => renamed(self.of_name(name), alias.as_ref()),
            TableFactor::Derived {
                subquery, alias, ..
            } => renamed(self.of_query(subquery), alias.as_ref()),
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => renamed(self.of_joins(table_with_joins), alias.as_ref()),
            _ => None,
        }
    }

    fn of_name(&self, name: &ObjectName) -> Columns {
        if let [ObjectNamePart::Identifier(name)] = name.0.as_slice() {
            let mut named = self.named.iter().rev();
            if let Some(columns) = named.find_map(|named| named.get(&name.value)) {
                return columns.clone();
            }
        }
        (self.table)(name)
    }

    fn of_query(&self, query: &Query) -> Columns {
        if query.with.is_none() {
            return self.of_body(&query.body);
        }
        let mut within = Relations {
            table: self.table,
            named: self.named.clone(),
        };
        within.enter(query);
        within.of_body(&query.body)
    }

    fn of_body(&self, body: &SetExpr) -> Columns {
        match body {
            SetExpr::Select(select) => self.of_select(select),
            SetExpr::SetOperation { left, .. } => self.of_body(left),
            SetExpr::Query(query) => self.of_query(query),
            _ => None,
        }
    }

    fn of_select(&self, select: &Select) -> Columns {
        let mut columns = Vec::new();
        let plain =
            |options: &WildcardAdditionalOptions| *options == WildcardAdditionalOptions::default();
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => columns.push(alias.value.clone()),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => columns.push(name.value.clone()),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    columns.push(parts.last()?.value.clone());
                }
                // Nothing else is called like it.
                SelectItem::UnnamedExpr(_) => {}
                SelectItem::Wildcard(options) if plain(options) => {
                    for tables in &select.from {
                        columns.extend(self.of_joins(tables)?);
                    }
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if plain(options) => columns.extend(self.of_named(name, &select.from)?),
                _ => return None,
            }
        }
        Some(columns)
    }

    /// Of the table that a SELECT calls so.
    fn of_named(&self, name: &ObjectName, from: &[TableWithJoins]) -> Columns {
        let wanted = name.0.iter().map(|part| part.as_ident().cloned());
        let wanted = wanted.collect::<Option<Vec<_>>>()?;
        let mut tables = from.iter().flat_map(|tables| {
            std::iter::once(&tables.relation).chain(tables.joins.iter().map(|join| &join.relation))
        });
        let table = tables.find(|table| name_of(table).as_ref() == Some(&wanted))?;
        self.of_table(table)
    }

    fn of_joins(&self, tables: &TableWithJoins) -> Columns {
        let mut columns = self.of_table(&tables.relation)?;
        for join in &tables.joins {
            if !shows_right(&join.join_operator) {
                continue;
            }
            let mut right = self.of_table(&join.relation)?;
            match constraint_of(&join.join_operator) {
                Some(JoinConstraint::Natural) => right.retain(|name| !columns.contains(name)),
                Some(JoinConstraint::Using(names)) => {
                    let is_merged = |own: &String| {
                        let parts = names.iter().filter_map(|name| name.0.last()?.as_ident());
                        parts.into_iter().any(|name| name.value == *own)
                    };
                    right.retain(|name| !is_merged(name));
                }
                _ => {}
            }
            columns.append(&mut right);
        }
        Some(columns)
    }
}

/// An alias may give the first columns other names.
fn renamed(columns: Columns, alias: Option<&TableAlias>) -> Columns {
    let names = alias.into_iter().flat_map(|alias| &alias.columns);
    let names: Vec<String> = names.map(|column| column.name.value.clone()).collect();
    match columns {
        None if names.is_empty() => None,
        None => Some(names),
        Some(mut columns) => {
            let count = names.len().min(columns.len());
            columns.splice(..count, names);
            Some(columns)
        }
    }
}

/// ON true.
pub(super) fn always() -> JoinConstraint {
    JoinConstraint::On(Expr::value(Value::Boolean(true)))
}
