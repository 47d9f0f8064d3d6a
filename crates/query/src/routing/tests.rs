//! Which server reads what.
