//! The role that owns the metadata and decides what exists and where it lives.
