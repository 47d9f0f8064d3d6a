//! What a transaction comes down to: first some keys and ranges go, then some keys are put.
//!
//! Invariant: done in this order, the result is that of the operations one by one; a key is put at
//! most once, with its last value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{LeaseId, Op};

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Net {
    /// Of these and of the ranges, what is put stays.
    pub(crate) gone: BTreeSet<String>,
    pub(crate) gone_prefixes: BTreeSet<String>,
    pub(crate) puts: BTreeMap<String, (Bytes, Option<LeaseId>)>,
}

impl Net {
    pub(crate) fn of(ops: Vec<Op>) -> Self {
        let mut net = Self::default();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    net.puts.insert(key, (value, lease));
                }
                Op::Delete { key } => {
                    net.puts.remove(&key);
                    net.gone.insert(key);
                }
                Op::DeleteRange { prefix } => {
                    net.puts.retain(|key, _| !key.starts_with(&prefix));
                    net.gone_prefixes.insert(prefix);
                }
            }
        }
        net
    }
}

/// The first text that is after all that begin with `prefix`, in the order of code points.
pub(crate) fn after_prefix(prefix: &str) -> String {
    let mut kept: Vec<char> = prefix.chars().collect();
    while let Some(last) = kept.pop() {
        // `'\u{D7FF}'..` goes on after the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            kept.push(next);
            return kept.into_iter().collect();
        }
    }
    // Nothing is after all texts; no key begins with the last character.
    char::MAX.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Txn;

    #[test]
    fn later_operations_win() {
        let txn = Txn::default()
            .put("/a/1", "gone with the range")
            .put("/b", "first")
            .delete("/c")
            .delete_range("/a/")
            .put("/a/2", "stays")
            .put("/b", "second")
            .put("/d", "gone")
            .delete("/d");
        let net = Net::of(txn.ops);
        let texts = |keys: &BTreeSet<String>| keys.iter().cloned().collect::<Vec<_>>();
        assert_eq!(texts(&net.gone), ["/c", "/d"]);
        assert_eq!(texts(&net.gone_prefixes), ["/a/"]);
        let puts: Vec<_> = net.puts.iter().map(|(k, (v, _))| (&**k, &**v)).collect();
        let wanted: [(&str, &[u8]); 2] = [("/a/2", b"stays"), ("/b", b"second")];
        assert_eq!(puts, wanted);
    }

    #[test]
    fn the_end_of_a_range_is_after_all_of_it() {
        assert_eq!(after_prefix("/a/"), "/a0");
        assert_eq!(after_prefix("/"), "0");
        assert_eq!(after_prefix("a\u{D7FF}"), "a\u{E000}");
        assert_eq!(after_prefix("a\u{10FFFF}"), "b");
        assert_eq!(after_prefix(""), "\u{10FFFF}");
    }
}
