//! Lists of servers. Most segments of a table are on one of a few lists, which they share.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;

/// Servers of a segment, in the order in which they are preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Servers(Arc<[InstanceId]>);

impl Deref for Servers {
    type Target = [InstanceId];

    fn deref(&self) -> &[InstanceId] {
        &self.0
    }
}

impl From<Vec<InstanceId>> for Servers {
    fn from(servers: Vec<InstanceId>) -> Self {
        Self(servers.into())
    }
}

impl FromIterator<InstanceId> for Servers {
    fn from_iter<I: IntoIterator<Item = InstanceId>>(servers: I) -> Self {
        Self(servers.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Servers {
    type Item = &'a InstanceId;
    type IntoIter = std::slice::Iter<'a, InstanceId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<const N: usize> PartialEq<[InstanceId; N]> for Servers {
    fn eq(&self, other: &[InstanceId; N]) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<Vec<InstanceId>> for Servers {
    fn eq(&self, other: &Vec<InstanceId>) -> bool {
        *self.0 == **other
    }
}

/// One copy of each list.
#[derive(Debug, Default)]
pub struct ServerLists(HashSet<Servers>);

/// Lists that nobody uses any more are forgotten when there are so many.
const LISTS_KEPT: usize = 10_000;

impl ServerLists {
    pub fn shared(&mut self, list: &[InstanceId]) -> Servers {
        // A list hashes as the slice of its servers does.
        if let Some(known) = self.0.get(list) {
            return known.clone();
        }
        if self.0.len() >= LISTS_KEPT {
            self.0.retain(|list| Arc::strong_count(&list.0) > 1);
        }
        let list = Servers::from(list.to_vec());
        self.0.insert(list.clone());
        list
    }
}

impl std::borrow::Borrow<[InstanceId]> for Servers {
    fn borrow(&self) -> &[InstanceId] {
        &self.0
    }
}
