//! Columns that JOIN … USING and NATURAL JOIN merge.
//!
//! A name of USING is one column: the left table's, the right one's of a RIGHT JOIN, whichever is
//! not null of a FULL JOIN. The planner takes the left one for all of these, and finds the name
//! ambiguous outside of the SELECT list. So the name is replaced by what it means wherever the
//! statement says it; where that cannot be told from the text, the statement is refused. For
//! NATURAL the columns of the tables must be known, see [`super::natural`].

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, OrderBy,
    OrderByKind, Query, ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, TableFactor,
    TableWithJoins, VisitMut, VisitorMut,
};
use schemas::Fault;

use super::natural::{Columns, always};
use super::{called, syntax};

/// A name, and what it means.
#[derive(Clone, Debug)]
struct Merged {
    name: String,
    means: Expr,
    /// The planner takes it for this by itself.
    is_leftmost: bool,
}

/// `columns`: what is known of those of tables.
pub(super) fn spell_out(
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
    columns: &dyn Fn(&TableFactor) -> Columns,
) -> Result<(), Fault> {
    let mut merged = Vec::new();
    let mut is_spelled = false;
    for tables in &mut select.from {
        is_spelled |= of_joins(tables, &mut merged, columns)?;
    }
    if merged.is_empty() {
        return Ok(());
    }
    items(&mut select.projection, &merged, is_spelled)?;
    let mut spelled = Spelled {
        merged: &merged,
        depth: 0,
    };
    for tables in &mut select.from {
        for join in &mut tables.joins {
            if let Some(JoinConstraint::On(on)) = constraint_mut(join) {
                let _ = on.visit(&mut spelled);
            }
        }
    }
    let conditions = [
        &mut select.selection,
        &mut select.having,
        &mut select.qualify,
    ];
    for condition in conditions.into_iter().flatten() {
        let _ = condition.visit(&mut spelled);
    }
    let _ = select.group_by.visit(&mut spelled);
    let _ = select.named_window.visit(&mut spelled);
    let mut by: Vec<&mut Expr> = Vec::new();
    let is_on = match &mut select.distinct {
        Some(Distinct::On(keys)) => {
            by.extend(keys);
            true
        }
        _ => false,
    };
    if let Some(OrderBy {
        kind: OrderByKind::Expressions(order),
        ..
    }) = order_by
    {
        by.extend(order.iter_mut().map(|by| &mut by.expr));
    }
    // A name in them is a column of the answer. The order begins with the keys of DISTINCT ON, and
    // the planner takes these for columns of the tables: there it is so of another column alone.
    let is_merged = |expr: &Expr| merged.iter().any(|own| own.means == *expr);
    let is_output = |name: &Ident| {
        select.projection.iter().any(|item| match item {
            SelectItem::ExprWithAlias { alias, expr } => {
                alias.value == name.value && !(is_on && is_merged(expr))
            }
            SelectItem::Wildcard(_) => !is_on,
            _ => false,
        })
    };
    for by in by {
        if !matches!(by, Expr::Identifier(name) if is_output(name)) {
            let _ = by.visit(&mut spelled);
        }
    }
    Ok(())
}

fn items(items: &mut [SelectItem], merged: &[Merged], is_spelled: bool) -> Result<(), Fault> {
    let mut spelled = Spelled { merged, depth: 0 };
    for item in items {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = match expr {
                    Expr::Identifier(name) => Some(name.clone()),
                    _ => None,
                };
                let _ = expr.visit(&mut spelled);
                if let Some(alias) =
                    name.filter(|name| !matches!(expr, Expr::Identifier(now) if now == name))
                {
                    *item = SelectItem::ExprWithAlias {
                        expr: expr.clone(),
                        alias,
                    };
                }
            }
            SelectItem::ExprWithAlias { expr, .. } => {
                let _ = expr.visit(&mut spelled);
            }
            SelectItem::Wildcard(_) if is_spelled => {
                return Err(syntax(
                    "`*` over a third table that is joined by USING after a RIGHT or FULL JOIN; \
                     name the columns",
                ));
            }
            SelectItem::Wildcard(options) => {
                let others = merged.iter().filter(|merged| !merged.is_leftmost);
                let others = others.map(|merged| {
                    Box::new(ReplaceSelectElement {
                        expr: merged.means.clone(),
                        column_name: Ident::with_quote('"', &merged.name),
                        as_keyword: true,
                    })
                });
                let others: Vec<_> = others.collect();
                if !others.is_empty() {
                    let replaced = options
                        .opt_replace
                        .get_or_insert(ReplaceSelectItem { items: Vec::new() });
                    replaced.items.extend(others);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a USING became a condition.
fn of_joins(
    tables: &mut TableWithJoins,
    merged: &mut Vec<Merged>,
    columns: &dyn Fn(&TableFactor) -> Columns,
) -> Result<bool, Fault> {
    let mut before = Before {
        tables: vec![Table::new(&tables.relation, columns)],
        merged: Vec::new(),
    };
    let mut is_spelled = false;
    for join in &mut tables.joins {
        let right = Table::new(&join.relation, columns);
        is_spelled |= before.add(join, right)?;
    }
    merged.append(&mut before.merged);
    Ok(is_spelled)
}

struct Table {
    name: Option<Vec<Ident>>,
    columns: Columns,
}

impl Table {
    fn new(table: &TableFactor, columns: &dyn Fn(&TableFactor) -> Columns) -> Self {
        Self {
            name: name_of(table),
            columns: columns(table),
        }
    }

    /// `None`: it is not known.
    fn has(&self, name: &str) -> Option<bool> {
        let columns = self.columns.as_ref()?;
        Some(columns.iter().any(|column| column == name))
    }
}

/// What stands before a join.
struct Before {
    tables: Vec<Table>,
    merged: Vec<Merged>,
}

impl Before {
    fn add(&mut self, join: &mut Join, right: Table) -> Result<bool, Fault> {
        let side = side(&join.join_operator);
        let gives_right = matches!(side, Side::Right | Side::Both);
        let Some(constraint) = constraint_mut(join) else {
            self.tables.push(right);
            return Ok(false);
        };
        if *constraint == JoinConstraint::Natural {
            match self.common(&right) {
                Some(names) if names.is_empty() => *constraint = always(),
                Some(names) => *constraint = JoinConstraint::Using(names),
                None if gives_right => {
                    return Err(syntax(
                        "which columns are the same in a NATURAL RIGHT or FULL JOIN cannot be \
                         told; write USING (…)",
                    ));
                }
                None => {}
            }
        }
        let names = match &*constraint {
            JoinConstraint::Using(names) => names.clone(),
            _ => Vec::new(),
        };
        let mut conditions = Vec::new();
        let mut must_spell = false;
        for name in names.iter().filter_map(plain) {
            let theirs = right.name.as_ref().map(|table| column(table, name));
            let (Some(mine), Some(theirs)) = (self.meaning(name), theirs) else {
                if gives_right {
                    return Err(unclear(name));
                }
                continue;
            };
            must_spell |= self.known(name).is_some_and(|known| !known.is_leftmost);
            conditions.push(equal(&mine, &theirs));
            self.merge(name, side, (mine, theirs));
        }
        let all = conditions.into_iter().reduce(and);
        let spelled = all.filter(|_| must_spell);
        let is_spelled = spelled.is_some();
        if let Some(all) = spelled {
            *constraint = JoinConstraint::On(all);
        }
        if side != Side::LeftOnly {
            self.tables.push(right);
        }
        Ok(is_spelled)
    }

    /// Columns of the tables before that `right` has too.
    fn common(&self, right: &Table) -> Option<Vec<ObjectName>> {
        let mut names: Vec<&String> = Vec::new();
        for table in &self.tables {
            for name in table.columns.as_ref()? {
                if right.has(name)? && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let names = names.into_iter();
        let names = names.map(|name| ObjectName::from(Ident::with_quote('"', name)));
        Some(names.collect())
    }

    fn known(&self, name: &Ident) -> Option<&Merged> {
        self.merged.iter().find(|merged| merged.name == name.value)
    }

    /// `None`: it may be a column of any of several tables.
    fn meaning(&self, name: &Ident) -> Option<Expr> {
        if let Some(known) = self.known(name) {
            return Some(known.means.clone());
        }
        if let [table] = &self.tables[..] {
            return Some(column(table.name.as_ref()?, name));
        }
        let mut owners = Vec::new();
        for table in &self.tables {
            if table.has(&name.value)? {
                owners.push(table);
            }
        }
        match owners[..] {
            [table] => Some(column(table.name.as_ref()?, name)),
            _ => None,
        }
    }

    fn merge(&mut self, name: &Ident, side: Side, (mine, theirs): (Expr, Expr)) {
        let known = self
            .merged
            .iter()
            .position(|known| known.name == name.value);
        let means = match side {
            Side::LeftOnly if known.is_none() => return,
            Side::LeftOnly | Side::Left => mine,
            Side::Right => theirs,
            Side::Both => called("coalesce", vec![mine, theirs]),
        };
        let is_leftmost = matches!(side, Side::LeftOnly | Side::Left);
        match known {
            Some(at) => {
                self.merged[at].is_leftmost &= is_leftmost;
                self.merged[at].means = means;
            }
            None => self.merged.push(Merged {
                name: name.value.clone(),
                means,
                is_leftmost,
            }),
        }
    }
}

fn and(all: Expr, next: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(all),
        op: BinaryOperator::And,
        right: Box::new(next),
    }
}

/// Whose rows a join keeps, and so whose column is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    /// The right table is not seen behind the join.
    LeftOnly,
    Right,
    Both,
}

fn side(operator: &JoinOperator) -> Side {
    use JoinOperator as Join;
    match operator {
        Join::Right(_) | Join::RightOuter(_) => Side::Right,
        Join::FullOuter(_) => Side::Both,
        Join::Semi(_) | Join::LeftSemi(_) | Join::Anti(_) | Join::LeftAnti(_) => Side::LeftOnly,
        _ => Side::Left,
    }
}

/// The right table is seen behind the join.
pub(super) fn shows_right(operator: &JoinOperator) -> bool {
    side(operator) != Side::LeftOnly
}

/// What a join is on, by reference or by mutable reference, as `$operator` is given.
macro_rules! joined_on {
    ($operator:expr) => {{
        use JoinOperator as Operator;
        match $operator {
            Operator::Join(on)
            | Operator::Inner(on)
            | Operator::Left(on)
            | Operator::LeftOuter(on)
            | Operator::Right(on)
            | Operator::RightOuter(on)
            | Operator::FullOuter(on)
            | Operator::Semi(on)
            | Operator::LeftSemi(on)
            | Operator::Anti(on)
            | Operator::LeftAnti(on) => Some(on),
            _ => None,
        }
    }};
}

pub(super) fn constraint_of(operator: &JoinOperator) -> Option<&JoinConstraint> {
    joined_on!(operator)
}

fn constraint_mut(join: &mut Join) -> Option<&mut JoinConstraint> {
    joined_on!(&mut join.join_operator)
}

/// By which a table is named in front of its columns.
pub(super) fn name_of(table: &TableFactor) -> Option<Vec<Ident>> {
    let alias = match table {
        TableFactor::Table { name, alias, .. } => match alias {
            Some(alias) => alias,
            None => return name.0.iter().map(|part| part.as_ident().cloned()).collect(),
        },
        TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref()?,
        _ => return None,
    };
    Some(vec![alias.name.clone()])
}

fn plain(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

fn column(table: &[Ident], name: &Ident) -> Expr {
    let parts = table.iter().chain([name]);
    Expr::CompoundIdentifier(parts.cloned().collect())
}

fn equal(left: &Expr, right: &Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left.clone()),
        op: BinaryOperator::Eq,
        right: Box::new(right.clone()),
    }
}

fn unclear(name: &Ident) -> Fault {
    syntax(&format!(
        "which table has `{name}` cannot be told in USING of a RIGHT or FULL JOIN after several \
         tables; write ON a.{name} = b.{name}"
    ))
}

/// Puts what names mean in their place, but not in subqueries, which have tables of their own.
struct Spelled<'a> {
    merged: &'a [Merged],
    depth: usize,
}

impl VisitorMut for Spelled<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some(merged) = self.merged.iter().find(|merged| merged.name == name.value)
        {
            *expr = merged.means.clone();
        }
        ControlFlow::Continue(())
    }
}
