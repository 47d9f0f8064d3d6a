//! SQL functions and aggregates of our own, one in a file or a family of one-liners.
//!
//! Broker and servers know the same ones ([`all`]). What a function needs to know of a column
//! beside its type stands in the metadata of the column's field (`schemas::arrow`), so that it
//! means the same wherever it is evaluated. Where a segment has an index that knows the answer,
//! the scan asks the index; the functions themselves are the definition of the answer.

/// What has a `name` is shown and compared by it: functions hold closures, which cannot be.
macro_rules! known_by_name {
    ($type:ident) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($type)).field(&self.name).finish()
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.name == other.name
            }
        }

        impl Eq for $type {}

        impl std::hash::Hash for $type {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.name.hash(state);
            }
        }
    };
}
pub(crate) use known_by_name;

mod aggregates;
mod arguments;
mod arrays;
mod conversion;
mod decimal_bytes;
mod docs;
mod geohash;
mod hash;
mod ip;
mod json_build;
mod json_extract_index;
mod json_extract_key;
mod json_extract_scalar;
mod json_match;
mod json_path;
mod later;
mod logic;
mod math;
mod names;
mod plain;
mod rows;
mod shifts;
mod shown;
mod text;
mod text_match;
mod time;
mod typed;
mod url;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::ScalarUDF;

pub use aggregates::{all_aggregates, percentile_named, replaced_aggregates, single_value};
pub use arguments::Call;
pub use conversion::{bytes_of_hex, hex_of_bytes};
pub use json_extract_index::{ExtractQuestion, JsonExtractIndex};
pub use json_extract_scalar::JsonExtractScalar;
pub use json_match::{JsonMatch, flattening};
pub use later::later;
pub use names::{aggregate_in_pinot, canonical, in_pinot, in_standard, is_same};
pub use text::is_number_pattern;
pub use text_match::{TextMatch, TextQuestion, analyzer};
pub use time::{granularity_ms, granularity_of, interval_microseconds, interval_times, time_in};
pub use typed::ResultType;

/// A session with DataFusion's functions, ours in the place of some.
pub fn with_replaced_functions(mut session: SessionStateBuilder) -> SessionState {
    // Of two with one name the later one counts.
    let aggregates = session.aggregate_functions().get_or_insert_default();
    aggregates.extend(replaced_aggregates());
    let windows = session.window_functions().get_or_insert_default();
    windows.extend(shifts::shifts());
    session.build()
}

/// For sessions that plan, and for those that decode plans.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let plain = plain_functions().into_iter().map(ScalarUDF::from);
    let special = [
        ScalarUDF::from(TextMatch::default()),
        ScalarUDF::from(JsonMatch::default()),
        ScalarUDF::from(JsonExtractIndex::default()),
        ScalarUDF::from(JsonExtractScalar::default()),
    ];
    let special = special.into_iter().chain(json_build::all());
    special.chain(plain).map(Arc::new).collect()
}

fn plain_functions() -> Vec<plain::Plain> {
    let all = [
        time::all(),
        text::all(),
        url::all(),
        math::all(),
        logic::all(),
        arrays::all(),
        conversion::all(),
        decimal_bytes::all(),
        json_path::all(),
        json_extract_key::all(),
        hash::all(),
        geohash::all(),
        ip::all(),
    ];
    let all = all.concat().into_iter();
    all.map(plain::Plain::with_canonical_names).collect()
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
