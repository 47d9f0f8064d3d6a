//! The HTTP edge: routes and their description, error table, listener, host and origin check,
//! who asks and what for, health, metrics.
//!
//! Every role serves HTTP through here, so that errors, refusals and health look the same on all.

mod admitted;
pub mod api;
mod caught;
mod error;
mod guard;
mod health;
mod metrics;
mod packed;
mod params;
mod permitted;
mod serve;
#[cfg(test)]
mod tests;

pub use admitted::By;
pub use api::Api;
pub use error::ApiError;
pub use guard::HostGuard;
pub use health::{Readiness, health_routes};
pub use metrics::Metrics;
pub use params::Params;
pub use serve::{Entrance, serve};
