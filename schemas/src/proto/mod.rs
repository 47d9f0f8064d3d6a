//! Messages of the internal services, generated from `schemas/proto/*.proto` by
//! `cargo xtask codegen` and committed. The services themselves are in `rpc`.

#![allow(clippy::all, unreachable_pub, reason = "generated code")]

include!("tannin.v1.rs");
