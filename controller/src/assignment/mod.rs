//! Who shall hold what: pure functions from a table, the servers with their tags and what is wanted
//! now, to what shall be wanted.
//!
//! Invariants: a replica lies on a server of the right tag, and no two of a segment on one server;
//! nothing is taken off a server unless somebody takes its place; what is right stays where it is.
//! [`Aim::Balance`] leaves no server of a tag with two segments of the table more than another,
//! where one replica a server allows it.

mod groups;
mod plan;
mod spread;
#[cfg(test)]
mod tests;

pub(crate) use groups::instance_partitions;
pub(crate) use plan::{Fleet, Node, Order, Wish, placed_new, plan, pool};
pub(crate) use spread::Aim;
