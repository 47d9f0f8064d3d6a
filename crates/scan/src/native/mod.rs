//! The native aggregate: filter, group by and aggregate over dictionary codes and raw numbers.
//!
//! An optimizer rule replaces an aggregate over our scan by [`exec::NativeAggregateExec`] when
//! every part of it is one we know. In the place of a partial aggregate it emits the very state
//! columns, so that DataFusion's final aggregate merges them, here or at the broker; in the place
//! of a whole one it emits values. Anything else stays as it is.
//!
//! Workers read blocks of segments: keys become small numbers ([`keys`], [`groups`]), values go
//! into accumulators ([`accumulate`]), together for aggregates that read the same, or into those of
//! DataFusion for aggregates that are not ours ([`general`]); what is known of
//! a whole segment is not read ([`whole`]). The groups of a segment are joined with those of others
//! by their keys ([`merge`]) and wait in [`grouped`] until somebody asks for their rows. Where only
//! the groups with the most rows are wanted, most others are left out before ([`most`]); where any
//! few keys are, workers stop when they have them ([`enough`]); where any few groups are, these are
//! chosen before their rows are read ([`chosen`]). Very many groups are found in another way
//! ([`partitioned`]). Where memory is short, states go out before all are joined ([`chunks`]).
//!
//! Grouping sets are made of the states of all keys' groups ([`grouping`]). Joins with small tables
//! become expressions of the scan's columns ([`looked_up`]), or come after the aggregate
//! ([`joined`]).

mod accumulate;
mod aggregate;
mod arithmetic;
mod buckets;
mod choice;
mod chosen;
mod chunks;
mod coded;
mod combined;
mod counted;
mod derived;
mod dictionary;
mod distinct;
mod divider;
mod enough;
mod entries;
mod evaluated;
mod exec;
mod fold;
mod general;
mod grouped;
mod grouping;
mod groups;
mod input;
mod joined;
mod keys;
mod linear;
mod looked_up;
mod lookup;
mod lookup_exec;
mod merge;
mod most;
mod number;
mod ordered;
mod pairs;
mod partitioned;
mod plan;
mod registers;
mod remainder;
mod rows;
mod samples;
mod sets;
mod sketches;
mod star_tree;
mod states;
mod table;
mod totals;
mod values;
mod waiting;
mod whole;
mod worker;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::reset_plan_states;

pub(crate) use self::chunks::is_short;
pub(crate) use self::combined::Combined;
pub(crate) use self::exec::{NativeAggregateExec, Wanted};
pub(crate) use self::grouped::Grouped;
pub(crate) use self::grouping::GroupingSetsExec;
pub(crate) use self::lookup::LookupExpr;
pub(crate) use self::number::BlockRows;
pub(crate) use self::plan::{Output, replace_columns};

use self::lookup_exec::LookupAggregateExec;
use crate::shared::Shared;

type Plan = Arc<dyn ExecutionPlan>;

/// Replaces what can be replaced and counts both ways.
#[derive(Debug)]
pub(crate) struct NativeAggregates {
    pub(crate) shared: Arc<Shared>,
}

impl NativeAggregates {
    /// What is run in the place of the aggregate.
    fn ours(&self, node: &Plan, aggregate: &AggregateExec) -> Result<Option<Plan>> {
        if let Some(ours) = plan::recognise(aggregate)? {
            return Ok(Some(Arc::new(ours)));
        }
        let of_all_keys = |node: &Plan, aggregate: &AggregateExec| self.ours(node, aggregate);
        if let Some(ours) = grouping::recognise(aggregate, of_all_keys)? {
            return Ok(Some(ours));
        }
        let Some((native, mut small)) = looked_up::recognise(aggregate)? else {
            return joined::recognise(aggregate);
        };
        let mut others = Vec::with_capacity(small.len());
        for own in &mut small {
            let other = self.replaced(Arc::clone(&own.plan))?;
            // Each of the two plans runs it by itself.
            let before = std::mem::replace(&mut own.plan, Arc::clone(&other));
            others.push((before, reset_plan_states(other)?));
        }
        let mut is_native_anyway = false;
        let joins = looked_up::with_small(Arc::clone(node), &others)?;
        let joins = joins.transform_down(|node| {
            let aggregate = node.downcast_ref::<AggregateExec>();
            let before = aggregate.map(joined::recognise).transpose()?.flatten();
            is_native_anyway |= before.is_some();
            Ok(match before {
                Some(before) => Transformed::new(before, true, TreeNodeRecursion::Jump),
                None => Transformed::no(node),
            })
        })?;
        let ours = LookupAggregateExec::new(native, small, joins.data, is_native_anyway);
        Ok(Some(Arc::new(ours)))
    }

    fn replaced(&self, plan: Plan) -> Result<Plan> {
        let replaced = plan.transform_down(|node| {
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            let counters = &self.shared.counters;
            let ours = match self.shared.options.without_native_operators {
                false => self.ours(&node, aggregate)?,
                true => None,
            };
            match ours {
                Some(ours) => {
                    counters.update(|stats| stats.native_operators += 1);
                    Ok(Transformed::new(ours, true, TreeNodeRecursion::Jump))
                }
                None => {
                    // Of two for the same groups, the lower one may still be replaced: it counts.
                    let is_upper = matches!(
                        aggregate.mode(),
                        AggregateMode::Final | AggregateMode::FinalPartitioned
                    );
                    counters.update(|stats| stats.fallback_operators += u64::from(!is_upper));
                    Ok(Transformed::no(node))
                }
            }
        })?;
        Ok(replaced.data)
    }
}

impl PhysicalOptimizerRule for NativeAggregates {
    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> Result<Plan> {
        self.replaced(plan)
    }

    fn name(&self) -> &str {
        "native_aggregates"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
