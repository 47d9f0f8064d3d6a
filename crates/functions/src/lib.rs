//! SQL functions of our own, one in a file.
//!
//! Broker and servers know the same ones ([`all`]). What a function needs to know of a column
//! beside its type stands in the metadata of the column's field (`schemas::arrow`), so that it
//! means the same wherever it is evaluated. Where a segment has an index that knows the answer,
//! the scan asks the index; the functions themselves are the definition of the answer.

mod arguments;
mod json_extract_index;
mod json_extract_scalar;
mod json_match;
mod text_match;
mod typed;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub use arguments::Call;
pub use json_extract_index::{ExtractQuestion, JsonExtractIndex};
pub use json_extract_scalar::JsonExtractScalar;
pub use json_match::{JsonMatch, flattening};
pub use text_match::{TextMatch, TextQuestion, analyzer};
pub use typed::ResultType;

/// For sessions that plan, and for those that decode plans.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(TextMatch::default())),
        Arc::new(ScalarUDF::from(JsonMatch::default())),
        Arc::new(ScalarUDF::from(JsonExtractIndex::default())),
        Arc::new(ScalarUDF::from(JsonExtractScalar::default())),
    ]
}

#[cfg(test)]
mod tests;
