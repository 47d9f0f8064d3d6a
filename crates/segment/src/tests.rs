//! What was appended is what is read: consuming, sealed, packed and damaged.
