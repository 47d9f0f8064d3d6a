//! From the bytes of a message to Arrow batches of a table's columns.
