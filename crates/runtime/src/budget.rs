//! Memory as a tree of budgets: process → ingest | query | cache → one query.
//!
//! A permit taken from a child is taken from every ancestor too, and given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Debug)]
pub struct MemoryBudget {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    parent: Option<Arc<Node>>,
}

#[derive(Debug, thiserror::Error)]
#[error("`{budget}` is limited to {limit_bytes} bytes and {wanted_bytes} more were asked for")]
pub struct OverBudget {
    pub budget: String,
    pub limit_bytes: u64,
    pub wanted_bytes: u64,
}

impl MemoryBudget {
    pub fn root(name: impl Into<String>, limit_bytes: u64) -> Self {
        Self::node(name.into(), limit_bytes, None)
    }

    pub fn child(&self, name: impl Into<String>, limit_bytes: u64) -> Self {
        Self::node(name.into(), limit_bytes, Some(Arc::clone(&self.node)))
    }

    fn node(name: String, limit_bytes: u64, parent: Option<Arc<Node>>) -> Self {
        let used_bytes = AtomicU64::new(0);
        Self {
            node: Arc::new(Node {
                name,
                limit_bytes,
                used_bytes,
                parent,
            }),
        }
    }

    pub fn used_bytes(&self) -> u64 {
        self.node.used_bytes.load(Ordering::Relaxed)
    }

    pub fn limit_bytes(&self) -> u64 {
        self.node.limit_bytes
    }

    pub fn try_reserve(&self, bytes: u64) -> Result<MemoryPermit, OverBudget> {
        take(&self.node, bytes)?;
        Ok(MemoryPermit {
            node: Arc::clone(&self.node),
            bytes,
        })
    }
}

fn take(node: &Arc<Node>, bytes: u64) -> Result<(), OverBudget> {
    let fits = |used: u64| {
        used.checked_add(bytes)
            .filter(|sum| *sum <= node.limit_bytes)
    };
    if node
        .used_bytes
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
        .is_err()
    {
        return Err(OverBudget {
            budget: node.name.clone(),
            limit_bytes: node.limit_bytes,
            wanted_bytes: bytes,
        });
    }
    if let Some(parent) = &node.parent
        && let Err(error) = take(parent, bytes)
    {
        node.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        return Err(error);
    }
    Ok(())
}

#[derive(Debug)]
pub struct MemoryPermit {
    node: Arc<Node>,
    bytes: u64,
}

impl MemoryPermit {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn try_grow(&mut self, by_bytes: u64) -> Result<(), OverBudget> {
        take(&self.node, by_bytes)?;
        self.bytes += by_bytes;
        Ok(())
    }

    /// Gives back `by_bytes`, at most all.
    pub fn shrink(&mut self, by_bytes: u64) {
        let by_bytes = by_bytes.min(self.bytes);
        self.bytes -= by_bytes;
        give_back(&self.node, by_bytes);
    }
}

fn give_back(node: &Arc<Node>, bytes: u64) {
    let mut node = Some(node);
    while let Some(current) = node {
        current.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        node = current.parent.as_ref();
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        give_back(&self.node, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_child_takes_nothing() {
        let process = MemoryBudget::root("process", 100);
        let query = process.child("query", 80);
        let mut held = query.try_reserve(70).unwrap();
        held.shrink(10);
        assert!(query.try_reserve(30).is_err(), "over its own limit");
        let _other = process.try_reserve(30).unwrap();
        assert!(query.try_reserve(15).is_err(), "over the parent's limit");
        assert_eq!((query.used_bytes(), process.used_bytes()), (60, 90));
        drop(held);
        assert_eq!((query.used_bytes(), process.used_bytes()), (0, 30));
    }
}
