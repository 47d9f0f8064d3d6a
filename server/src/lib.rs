//! The role that consumes streams, holds segments and runs query fragments.
