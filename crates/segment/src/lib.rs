//! The .seg container, its builder, and the sealed and the consuming segment.
