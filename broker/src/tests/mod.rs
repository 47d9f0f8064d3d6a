//! The broker as a whole: a real listener, a controller and a server that are stand-ins.

mod doors;
pub(crate) mod double;
