//! The transactional key-value store behind the controller, and its typed catalog.
