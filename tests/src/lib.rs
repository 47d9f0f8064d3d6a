//! End-to-end tests over an in-process cluster; [`process`] is the real binary as a child process.
//!
//! [`cluster`] is the harness: real ports, real files, a real log, every role, over either
//! transport. [`flights`] is the sample that most tests ask about.

pub mod asking;
pub mod clock;
pub mod cluster;
pub mod exactly_once;
pub mod flights;
pub mod generated;
pub mod guarded;
pub mod kafka;
pub mod members;
pub mod memory;
pub mod postgres;
pub mod process;
pub mod scenario;
pub mod several;
pub mod slt;
