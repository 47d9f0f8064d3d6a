//! The internal services between roles, over gRPC or in one process.
//!
//! A role sees two traits: [`ControlApi`], which the controller implements, and [`FragmentApi`],
//! which a server implements. Their messages are those of `schemas/proto`. Over gRPC the same
//! messages travel as protobuf; in one process they are handed over as they are. A role cannot
//! tell which of the two it has. Over gRPC nodes prove themselves to each other, where the settings
//! say how (`access::NodeTrust`).

mod channel;
mod client;
mod connection;
mod control;
mod failover;
mod fragments;
mod line;
mod membership;
mod network;
mod serve;
mod watch;

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::too_many_lines,
    unreachable_pub,
    missing_debug_implementations,
    unused_qualifications,
    reason = "generated code"
)]
mod generated {
    include!("generated/tannin.v1.rs");
}

pub use channel::{Channel, Door};
pub use client::fault_of_the_way;
pub use control::{ControlApi, UpdateStream};
pub use failover::controller_for_controllers;
pub use fragments::{AnswerStream, FragmentApi, PartStream};
pub use membership::{Membership, Remember, Standing};
pub use network::{GrpcNetwork, InProcessNetwork, Network};
pub use serve::{ControlDoors, serve_control, serve_fragments};
pub use watch::follow_cluster;
