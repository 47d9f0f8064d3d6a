//! Pinot's JSON for schemas and table configs, parsed at the edge into a [`crate::TableSpec`].
