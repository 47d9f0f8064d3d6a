//! Keys that follow from other keys: of `GROUP BY a, a - 1, upper(b), b` only `a` and `b` make
//! groups, and the others are evaluated for the groups that are given out.
//!
//! Floats make no others follow: their two zeros are one group, and not the same to a function.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use crate::predicate::Inputs;

/// A key column of the answer.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    /// Over the columns of the table.
    pub(super) expr: Arc<dyn PhysicalExpr>,
    pub(super) whence: Whence,
}

#[derive(Clone, Debug)]
pub(super) enum Whence {
    /// The key at this place makes groups.
    Own(usize),
    /// An expression over the keys at `from`.
    Derived { inputs: Inputs, from: Vec<usize> },
}

type Keys = Vec<Arc<dyn PhysicalExpr>>;

/// All keys make groups.
pub(super) fn as_they_are(keys: Keys) -> (Keys, Vec<KeyColumn>) {
    let all = keys.iter().enumerate().map(|(place, expr)| KeyColumn {
        expr: Arc::clone(expr),
        whence: Whence::Own(place),
    });
    let all = all.collect();
    (keys, all)
}

/// The keys that make groups, and all that are given out.
pub(super) fn split(keys: Keys, table: &Schema) -> Result<(Keys, Vec<KeyColumn>)> {
    let makes_others_follow = |key: &Arc<dyn PhysicalExpr>| {
        let column = key.downcast_ref::<Column>()?;
        let is_float = table.field(column.index()).data_type().is_floating();
        (!is_float).then(|| column.index())
    };
    let columns: Vec<usize> = keys.iter().filter_map(makes_others_follow).collect();
    let follows = |key: &Arc<dyn PhysicalExpr>| {
        let is_known = |column: &Column| columns.contains(&column.index());
        let is_volatile = |expr: &Arc<dyn PhysicalExpr>| Ok(expr.is_volatile_node());
        Ok::<_, datafusion::error::DataFusionError>(
            !columns.is_empty()
                && !key.is::<Column>()
                && collect_columns(key).iter().all(is_known)
                && !key.exists(is_volatile)?,
        )
    };
    let mut own: Keys = Vec::with_capacity(keys.len());
    let mut places = Vec::with_capacity(keys.len());
    for key in &keys {
        let place = match follows(key)? {
            true => None,
            false => {
                own.push(Arc::clone(key));
                Some(own.len() - 1)
            }
        };
        places.push(place);
    }
    let place_of = |index: usize| {
        let is_it = |key: &Arc<dyn PhysicalExpr>| {
            let column = key.downcast_ref::<Column>();
            column.is_some_and(|column| column.index() == index)
        };
        own.iter().position(is_it)
    };
    let mut all = Vec::with_capacity(keys.len());
    for (expr, place) in keys.into_iter().zip(places) {
        let whence = match place {
            Some(place) => Whence::Own(place),
            None => {
                let read = collect_columns(&expr);
                let mut read: Vec<usize> = read.iter().map(Column::index).collect();
                read.sort_unstable();
                read.dedup();
                Whence::Derived {
                    inputs: Inputs::of(&expr, table)?,
                    from: read.into_iter().filter_map(place_of).collect(),
                }
            }
        };
        all.push(KeyColumn { expr, whence });
    }
    Ok((own, all))
}
