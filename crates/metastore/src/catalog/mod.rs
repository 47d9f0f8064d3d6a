//! Typed access to what the controller keeps.
