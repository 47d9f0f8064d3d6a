//! The HTTP edge: error table, extractors, host and origin check, health.
