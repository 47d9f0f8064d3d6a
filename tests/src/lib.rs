//! End-to-end tests over an in-process cluster; [`process`] is the real binary as a child process.

pub mod process;
