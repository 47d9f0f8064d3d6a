//! The native aggregate: filter, group by and aggregate over dictionary codes and raw numbers.
//!
//! An optimizer rule replaces an aggregate over our scan by [`exec::NativeAggregateExec`] when
//! every part of it is one we know. In the place of a partial aggregate it emits the very state
//! columns, so that DataFusion's final aggregate merges them, here or at the broker; in the place
//! of a whole one it emits values. Anything else stays as it is.
//!
//! Workers read blocks of segments: keys become small numbers ([`keys`], [`groups`]), values go
//! into accumulators ([`accumulate`]), together for aggregates that read the same; what is known of
//! a whole segment is not read ([`whole`]). The groups of a segment are joined with those of others
//! by their keys ([`merge`]) and wait in [`grouped`] until somebody asks for their rows. Where only
//! the groups with the most rows are wanted, most others are left out before ([`most`]); where any
//! few keys are, workers stop when they have them ([`enough`]); where any few groups are, these are
//! chosen before their rows are read ([`chosen`]). Very many groups are found in another way
//! ([`partitioned`]). Where memory is short, states go out before all are joined ([`chunks`]).

mod accumulate;
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
mod grouped;
mod groups;
mod input;
mod joined;
mod keys;
mod linear;
mod merge;
mod most;
mod number;
mod ordered;
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
mod whole;
mod worker;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

pub(crate) use self::chunks::is_short;
pub(crate) use self::combined::Combined;
pub(crate) use self::exec::{NativeAggregateExec, Wanted};
pub(crate) use self::grouped::Grouped;
pub(crate) use self::number::BlockRows;
pub(crate) use self::plan::{Output, replace_columns};

use crate::shared::Shared;

/// Replaces what can be replaced and counts both ways.
#[derive(Debug)]
pub(crate) struct NativeAggregates {
    pub(crate) shared: Arc<Shared>,
}

impl PhysicalOptimizerRule for NativeAggregates {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_down(|node| {
            let Some(aggregate) = node.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(node));
            };
            let ours = match self.shared.options.without_native_operators {
                false => plan::recognise(aggregate)?,
                true => None,
            };
            let counters = &self.shared.counters;
            let ours: Option<Arc<dyn ExecutionPlan>> = match ours {
                Some(ours) => Some(Arc::new(ours)),
                None if self.shared.options.without_native_operators => None,
                None => joined::recognise(aggregate)?,
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

    fn name(&self) -> &str {
        "native_aggregates"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
