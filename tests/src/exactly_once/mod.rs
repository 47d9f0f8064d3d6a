//! What must hold of a table whatever happens to the processes around it: every event that the log
//! has taken is there once, as it was sent.
//!
//! [`model`] knows what was acknowledged, [`produce`] sends, [`verify`] compares. Those who kill
//! things ([`crate::process`]) share them.

pub mod model;
pub mod produce;
pub mod tables;
pub mod verify;
