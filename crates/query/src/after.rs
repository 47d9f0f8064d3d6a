//! Reading one's own writes: whoever appended rows got a token, and a query with the token waits
//! until its servers have read them.
//!
//! A token is `clicks_REALTIME:0=124,3=99`: for each partition the first offset that was not
//! appended. Several are separated by spaces.

use std::collections::HashMap;
use std::fmt;

use schemas::cluster::ClusterState;
use schemas::proto::{PartitionOffset, TableScan};
use schemas::{Fault, Offset, Partition, TableId};

/// The end of what was appended to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub physical_table: String,
    pub ends: Vec<(Partition, Offset)>,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.physical_table)?;
        for (at, (partition, end)) in self.ends.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{partition}={end}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Token {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let fault = || Fault::invalid(format!("`{text}` is no token of appended rows"));
        let (table, ends) = text.rsplit_once(':').ok_or_else(fault)?;
        let ends = ends.split(',').filter(|end| !end.is_empty()).map(|end| {
            let (partition, end) = end.split_once('=').ok_or_else(fault)?;
            let partition = partition.parse().map_err(|_| fault())?;
            Ok((partition, end.parse().map_err(|_| fault())?))
        });
        Ok(Self {
            physical_table: table.to_owned(),
            ends: ends.collect::<Result<_, Fault>>()?,
        })
    }
}

/// How far each table must have been read.
#[derive(Clone, Debug, Default)]
pub struct After(HashMap<TableId, HashMap<Partition, Offset>>);

impl After {
    /// A table that was dropped meanwhile is not waited for.
    pub fn parse(tokens: &str, cluster: &ClusterState) -> Result<Self, Fault> {
        let mut after = Self::default();
        for token in tokens.split_whitespace() {
            let token: Token = token.parse()?;
            for table in cluster.resolve(&token.physical_table) {
                let wanted = after.0.entry(table.spec.id).or_default();
                for (partition, end) in &token.ends {
                    let known = wanted.entry(*partition).or_insert(*end);
                    *known = (*known).max(*end);
                }
            }
        }
        Ok(after)
    }

    /// Whether somebody reads, or has read, what is waited for: partitions of a new topic are found
    /// some time after rows were appended to it.
    pub fn is_read(&self, cluster: &ClusterState) -> bool {
        self.0.iter().all(|(table, ends)| {
            let table = cluster.tables.get(table);
            table.is_none_or(|table| {
                ends.keys().all(|partition| {
                    let mut segments = table.segments.of_partition(*partition);
                    segments.any(|segment| !segment.online.is_empty())
                })
            })
        })
    }

    /// Has the server wait before it reads.
    pub(crate) fn require(&self, scan: &mut TableScan) {
        let wanted = TableId::from_bytes(&scan.table_id).and_then(|id| self.0.get(&id));
        let Some(wanted) = wanted else {
            return;
        };
        let consumed = scan.consuming.iter().map(|from| from.partition);
        let ends = consumed.filter_map(|partition| {
            let offset = *wanted.get(&partition)?;
            Some(PartitionOffset { partition, offset })
        });
        let ends: Vec<PartitionOffset> = ends.collect();
        scan.minimum_offsets.extend(ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let token = Token {
            physical_table: "a.b_REALTIME".to_owned(),
            ends: vec![(0, 124), (3, 99)],
        };
        assert_eq!(token.to_string(), "a.b_REALTIME:0=124,3=99");
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        for bad in ["", "t", "t:x", "t:1=", "t:-1=4"] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
