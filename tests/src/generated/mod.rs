//! Generated tables and questions: every way to an answer must give the same one, and DuckDB's.
//! [`questions`] are about one table with all kinds of columns and indexes, [`statements`] about
//! several tables and all of SQL.
//!
//! A seed makes a [`world`]: one table, loaded as one sealed segment, as many, as consuming rows
//! and as both at once, with and without indexes. Questions are drawn from a seed as well, each in
//! our words and in DuckDB's; the same shape is drawn again with other literals, so that plans are
//! used again. What is not equal is told with the numbers that repeat it.

pub mod answers;
mod expressions;
pub mod oracle;
pub mod questions;
pub mod statements;
pub mod table;
mod values;
pub mod ways;
pub mod world;
