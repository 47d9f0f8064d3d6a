//! The role that leases background tasks and rewrites or removes segments.
