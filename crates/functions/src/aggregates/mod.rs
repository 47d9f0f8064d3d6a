//! Aggregates: those that are another one under Pinot's name ([`renamed`]), so that operators of
//! the scan know them, and those that are computed here ([`own`]).

mod correlation;
mod distinct;
mod each_entry;
mod funnel_count;
mod funnel_steps;
mod histogram;
mod min_max_range;
mod mode;
mod moments;
mod most_frequent;
mod ordered;
mod ordered_text;
mod own;
mod percentile;
mod plain_names;
mod raw;
mod renamed;
mod single_value;
mod states;

use std::sync::Arc;

use datafusion::logical_expr::AggregateUDF;

pub use percentile::percentile_named;
pub use single_value::single_value;

use self::own::Own;
use self::renamed::Renamed;

pub(crate) fn renamed_aggregates() -> Vec<Renamed> {
    let all = [
        distinct::all(),
        percentile::renamed(),
        ordered::all(),
        plain_names::all(),
        each_entry::renamed(),
    ];
    let all = all.concat().into_iter();
    all.map(Renamed::with_canonical_names).collect()
}

fn own() -> Vec<Own> {
    let single = vec![
        mode::mode(),
        histogram::histogram(),
        min_max_range::min_max_range(),
        funnel_count::funnel_count(),
    ];
    [single, moments::all(), funnel_steps::all(), raw::all()].concat()
}

/// In the place of DataFusion's of the same name.
pub fn replaced_aggregates() -> Vec<Arc<AggregateUDF>> {
    let correlation = correlation::SteadyCorrelation::default();
    vec![
        Arc::new(AggregateUDF::from(correlation)),
        ordered_text::string_agg(),
    ]
}

/// For sessions that plan, and for those that decode plans.
pub fn all_aggregates() -> Vec<Arc<AggregateUDF>> {
    let renamed = renamed_aggregates().into_iter().map(AggregateUDF::from);
    let entries = each_entry::own().into_iter().map(AggregateUDF::from);
    let own = own().into_iter().map(AggregateUDF::from);
    let special = [
        AggregateUDF::from(percentile::Percentile::default()),
        AggregateUDF::from(most_frequent::MostFrequent::default()),
        AggregateUDF::from(single_value::SingleValue::default()),
    ];
    let all = renamed.chain(own).chain(special).chain(entries);
    all.map(Arc::new).collect()
}
