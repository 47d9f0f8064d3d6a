//! GROUP BY a column of several values makes one group of each entry, as Pinot does: a row counts
//! once for every entry it has. Predicates below were answered for the row as a whole.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, ExprSchema, Result, UnnestOptions};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};

/// Every aggregate of the plan reads entries where it groups by a column of several values.
pub(crate) fn explode_groups(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut exploded = false;
    let plan = plan.transform_up_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = &node
            && let Some(by_entry) = by_entry(aggregate)?
        {
            exploded = true;
            return Ok(Transformed::yes(by_entry));
        }
        // What is above has the entry's type.
        match exploded {
            true => node.recompute_schema().map(Transformed::yes),
            false => Ok(Transformed::no(node)),
        }
    })?;
    Ok(plan.data)
}

/// `None`: no key has several values.
fn by_entry(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let input = &aggregate.input;
    let mut lists: Vec<Column> = Vec::new();
    for key in &aggregate.group_expr {
        if let Expr::Column(column) = key
            && matches!(input.schema().data_type(column)?, DataType::List(_))
        {
            lists.push(column.clone());
        }
    }
    if lists.is_empty() {
        return Ok(None);
    }
    let columns = input.schema().columns();
    let mut plan = LogicalPlanBuilder::new_from_arc(Arc::clone(input));
    // One after the other: each entry of one with each of the others.
    for list in lists {
        plan = plan.unnest_column_with_options(list.clone(), UnnestOptions::default())?;
        // The entry has the name of its list, but not that of the table.
        let named = columns.iter().map(|column| {
            if *column != list {
                return Expr::Column(column.clone());
            }
            let entry = Expr::Column(Column::from_name(&column.name));
            entry.alias_qualified(column.relation.clone(), &column.name)
        });
        plan = plan.project(named.collect::<Vec<_>>())?;
    }
    let keys = aggregate.group_expr.clone();
    let aggregate = Aggregate::try_new(Arc::new(plan.build()?), keys, aggregate.aggr_expr.clone())?;
    Ok(Some(LogicalPlan::Aggregate(aggregate)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListBuilder, RecordBatch, StringViewBuilder};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn a_row_counts_once_for_each_entry() {
        let mut tags = ListBuilder::new(StringViewBuilder::new());
        for row in [&["a", "b"][..], &["b"], &["b", "b"], &["c"]] {
            tags.append_value(row.iter().map(Some));
        }
        let rows = RecordBatch::try_from_iter([
            ("tags", Arc::new(tags.finish()) as _),
            ("n", Arc::new(Int32Array::from(vec![1, 2, 4, 8])) as _),
        ]);
        let context = SessionContext::new();
        context.register_batch("t", rows.unwrap()).unwrap();
        let sql = "SELECT tags, count(*) AS rows, sum(n) AS n FROM t WHERE n < 8 \
                   GROUP BY tags HAVING count(*) > 0 ORDER BY tags DESC";
        let plan = context.state().create_logical_plan(sql).await.unwrap();
        let frame = context.execute_logical_plan(explode_groups(plan).unwrap());
        let found = frame.await.unwrap().collect().await.unwrap();
        let found = pretty_format_batches(&found).unwrap().to_string();
        let wanted = "+------+------+----+\n\
                      | tags | rows | n  |\n\
                      +------+------+----+\n\
                      | b    | 4    | 11 |\n\
                      | a    | 1    | 1  |\n\
                      +------+------+----+";
        assert_eq!(found, wanted);
    }
}
