//! Who leads: for each group of tables one key, under the lease of the one who does.
//!
//! There is one group today. Whoever asks who decides about a table asks for its group.

use schemas::TableId;
use serde::{Deserialize, Serialize};

use super::{decode, encode};
use crate::{LeaseId, MetaError, MetaStore, Op, Txn, TxnOutcome};

pub(crate) const LEADERS: &str = "/leaders/";

/// Tables that have one leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group(u32);

impl Group {
    pub const ALL: [Self; 1] = [Self(0)];

    pub fn of(_table: TableId) -> Self {
        Self(0)
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    fn key(self) -> String {
        format!("{LEADERS}{}", self.0)
    }
}

/// A controller that leads, and where others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    pub instance: String,
    /// What its process drew at its start; empty: it is of a version that does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incarnation: String,
    pub http: String,
    pub grpc: String,
    pub since_ms: i64,
}

/// `None`: nobody leads.
pub async fn leader(
    store: &dyn MetaStore,
    group: Group,
) -> Result<Option<LeaderRecord>, MetaError> {
    let entry = store.get(&group.key()).await?;
    let decoded = entry.as_ref().map(decode::<LeaderRecord>).transpose()?;
    Ok(decoded.map(|found| found.value))
}

/// Leads until the lease ends. `false`: somebody leads already, or the lease has ended.
pub async fn lead(
    store: &dyn MetaStore,
    group: Group,
    record: &LeaderRecord,
    lease: LeaseId,
) -> Result<bool, MetaError> {
    let key = group.key();
    let mut txn = Txn::default().if_absent(&key);
    txn.ops.push(Op::Put {
        key,
        value: encode(record).into(),
        lease: Some(lease),
    });
    Ok(matches!(store.txn(txn).await?, TxnOutcome::Committed(_)))
}
