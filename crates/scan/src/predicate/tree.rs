//! A filter in the form in which it is compiled: ANDs and ORs of leaves, without NOT above them.
//!
//! Only "is true" matters of a filter, and of AND and OR it follows from "is true" of their sides;
//! NOT is pushed into the leaves by the laws that hold with nulls too. Branches of one AND or OR
//! that read the same single column are joined, so that they are solved together.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, NotExpr, binary, lit, not};
use datafusion::physical_expr::utils::collect_columns;

#[derive(Clone, Debug)]
pub(super) enum Tree {
    All(Vec<Self>),
    Any(Vec<Self>),
    Leaf(Leaf),
}

/// Indices of the columns that the expression reads, ascending.
pub(super) fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut indices: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// Something that is neither AND, nor OR, nor NOT of such.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) expr: Arc<dyn PhysicalExpr>,
    /// Indices of the columns that it reads, ascending.
    columns: Vec<usize>,
}

impl Tree {
    /// All of these are true.
    pub(super) fn of_all(filters: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let mut branches = Vec::new();
        for filter in filters {
            collect(filter, true, false, &mut branches)?;
        }
        Ok(Self::All(joined(branches, Self::All)))
    }

    fn of(expr: &Arc<dyn PhysicalExpr>, negated: bool) -> Result<Self> {
        if let Some(inner) = negation_of_combined(expr) {
            return Self::of(inner, !negated);
        }
        if let Some((op, _)) = combination(expr) {
            let is_all = (op == Operator::And) != negated;
            let mut branches = Vec::new();
            collect(expr, is_all, negated, &mut branches)?;
            return Ok(match is_all {
                true => Self::All(joined(branches, Self::All)),
                false => Self::Any(joined(branches, Self::Any)),
            });
        }
        let expr = match negated {
            true => not(Arc::clone(expr))?,
            false => Arc::clone(expr),
        };
        let columns = columns_of(&expr);
        Ok(Self::Leaf(Leaf { expr, columns }))
    }

    /// Indices of the columns that it reads, ascending.
    pub(super) fn columns(&self) -> Vec<usize> {
        match self {
            Self::Leaf(leaf) => leaf.columns.clone(),
            Self::All(branches) | Self::Any(branches) => {
                let mut columns = branches.iter().flat_map(Self::columns).collect::<Vec<_>>();
                columns.sort_unstable();
                columns.dedup();
                columns
            }
        }
    }

    /// The same as one expression.
    pub(super) fn expr(&self, schema: &arrow::datatypes::Schema) -> Result<Arc<dyn PhysicalExpr>> {
        let (branches, op) = match self {
            Self::Leaf(leaf) => return Ok(Arc::clone(&leaf.expr)),
            Self::All(branches) => (branches, Operator::And),
            Self::Any(branches) => (branches, Operator::Or),
        };
        let mut whole: Option<Arc<dyn PhysicalExpr>> = None;
        for branch in branches {
            let expr = branch.expr(schema)?;
            whole = Some(match whole {
                Some(whole) => binary(whole, op, expr, schema)?,
                None => expr,
            });
        }
        Ok(whole.unwrap_or_else(|| lit(op == Operator::And)))
    }
}

fn combination(expr: &Arc<dyn PhysicalExpr>) -> Option<(Operator, &BinaryExpr)> {
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    matches!(binary.op(), Operator::And | Operator::Or).then_some((*binary.op(), binary))
}

fn negation_of_combined(expr: &Arc<dyn PhysicalExpr>) -> Option<&Arc<dyn PhysicalExpr>> {
    let inner = expr.downcast_ref::<NotExpr>()?.arg();
    let is_combined = combination(inner).is_some() || inner.downcast_ref::<NotExpr>().is_some();
    is_combined.then_some(inner)
}

/// The branches of a chain of ANDs (`is_all`) or of ORs, however it is nested.
fn collect(
    expr: &Arc<dyn PhysicalExpr>,
    is_all: bool,
    negated: bool,
    branches: &mut Vec<Tree>,
) -> Result<()> {
    if let Some(inner) = negation_of_combined(expr) {
        return collect(inner, is_all, !negated, branches);
    }
    match combination(expr) {
        Some((op, binary)) if ((op == Operator::And) != negated) == is_all => {
            collect(binary.left(), is_all, negated, branches)?;
            collect(binary.right(), is_all, negated, branches)
        }
        _ => {
            branches.push(Tree::of(expr, negated)?);
            Ok(())
        }
    }
}

/// Branches that read the same one column become one.
fn joined(branches: Vec<Tree>, join: fn(Vec<Tree>) -> Tree) -> Vec<Tree> {
    let mut groups: Vec<(Option<usize>, Vec<Tree>)> = Vec::with_capacity(branches.len());
    for branch in branches {
        let column = match branch.columns()[..] {
            [column] => Some(column),
            _ => None,
        };
        let same = |group: &&mut (Option<usize>, Vec<Tree>)| column.is_some() && group.0 == column;
        match groups.iter_mut().find(same) {
            Some((_, group)) => group.push(branch),
            None => groups.push((column, vec![branch])),
        }
    }
    if groups.len() == 1 {
        return groups.pop().map(|(_, group)| group).unwrap_or_default();
    }
    let groups = groups.into_iter().map(|(_, mut group)| match group.len() {
        1 => group.remove(0),
        _ => join(group),
    });
    groups.collect()
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (branches, op) = match self {
            Self::Leaf(leaf) => return write!(f, "{}", leaf.expr),
            Self::All(branches) => (branches, " AND "),
            Self::Any(branches) => (branches, " OR "),
        };
        for (at, branch) in branches.iter().enumerate() {
            if at > 0 {
                f.write_str(op)?;
            }
            match (branch, branches.len()) {
                (Self::Leaf(_), _) | (_, 1) => write!(f, "{branch}")?,
                _ => write!(f, "({branch})")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::{col, is_null};

    use super::*;

    #[test]
    fn nots_go_to_the_leaves_and_branches_of_one_column_meet() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Int32, true),
        ]);
        let a = || col("a", &schema).unwrap();
        let b = || col("b", &schema).unwrap();
        let is = |left, op, value: i32| binary(left, op, lit(value), &schema).unwrap();
        let both = |left, op, right| binary(left, op, right, &schema).unwrap();
        let or = both(
            both(
                is(a(), Operator::Eq, 1),
                Operator::Or,
                is(b(), Operator::Eq, 2),
            ),
            Operator::Or,
            is_null(a()).unwrap(),
        );
        let shown = |filters: &[Arc<dyn PhysicalExpr>]| Tree::of_all(filters).unwrap().to_string();
        assert_eq!(
            shown(&[Arc::clone(&or)]),
            "(a@0 = 1 OR a@0 IS NULL) OR b@1 = 2"
        );
        let negated = shown(&[not(or).unwrap(), is(a(), Operator::Lt, 7)]);
        assert_eq!(
            negated,
            "(NOT a@0 = 1 AND NOT a@0 IS NULL AND a@0 < 7) AND NOT b@1 = 2"
        );
        assert_eq!(shown(&[]), "");
    }
}
