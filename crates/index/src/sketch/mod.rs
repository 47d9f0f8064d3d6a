//! Sketches of many values in few bytes, whose states can be joined in any order.
//!
//! States are laid out exactly as DataFusion's aggregates `approx_distinct` and
//! `approx_percentile_cont` exchange them, and values are hashed as it hashes them, so that states
//! made here and states made there are joined by either side.
//!
//! ```text
//! DISTINCT := HASH* | REGISTERS     few distinct values | many
//! HASH     := u64, ascending, each once, at most 256 of them
//! REGISTERS := 16384 × u8
//! ```
//!
//! Where there are no groups DataFusion takes REGISTERS alone.
//!
//! The digest's state is its size limit, sum, count, greatest and least value, and its centroids as
//! mean, weight, mean, weight, …; in a BYTES column all of them one behind the other, each as f64.

mod hash;
mod hyper_log_log;
mod t_digest;
mod theta;

pub use hash::{hash_bytes, hash_decimal, hash_i32, hash_i64};
pub use hyper_log_log::{
    HyperLogLog, REGISTERS, Raise, count_of_registers, join_registers, register_of,
};
pub use t_digest::{Centroid, DIGEST_SIZE, TDigest};
pub use theta::ThetaSketch;
