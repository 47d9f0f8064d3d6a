//! The composition root and the commands of `tannin`, as a library so that tests can start a node.
