//! Aggregates: those that are another one under Pinot's name ([`renamed`]), so that operators of
//! the scan know them, and those of our own.

mod distinct;
mod percentile;
mod renamed;

use std::sync::Arc;

use datafusion::logical_expr::AggregateUDF;

pub use percentile::percentile_named;

use self::renamed::Renamed;

/// For sessions that plan, and for those that decode plans.
pub fn all_aggregates() -> Vec<Arc<AggregateUDF>> {
    let renamed = [distinct::all(), percentile::renamed()].concat();
    let renamed = renamed.into_iter().map(Renamed::with_canonical_names);
    let renamed = renamed.map(AggregateUDF::from);
    let own = [AggregateUDF::from(percentile::Percentile::default())];
    renamed.chain(own).map(Arc::new).collect()
}
