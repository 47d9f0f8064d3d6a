//! Asking servers for their part of a plan.
//!
//! Invariants:
//! - a server's answer is used only when its last message has come: nothing is merged twice;
//! - what a server did not serve is asked of another that holds it, once; what nobody serves fails
//!   the query with the segments' names;
//! - a dimension table is read whole by each server of the fragment, or the server's answer is
//!   not used;
//! - nothing is added to the answer of a server that finishes a plan: without it, the query is
//!   planned anew for others.

use std::collections::HashSet;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use futures::future::try_join_all;
use schemas::cluster::{InstanceState, TableState};
use schemas::fault::pinot_code;
use schemas::proto::{
    ConsumingFrom, Explain, FragmentAnswer, FragmentRequest, MissingSegment, SegmentRef,
    TableProgress, TableScan,
};
use schemas::{Fault, FaultKind, InstanceId, TableId};

use crate::codec::PLAN_FORMAT;
use crate::context::QueryContext;
use crate::explain::Explained;
use crate::fault::timed_out;
use crate::ipc::decode_batches;
use crate::routing::{holder_of_all, reroute};
use crate::table::unavailable;

/// The plan of a fragment, the same for all its servers.
#[derive(Clone, Debug)]
pub(crate) struct FragmentPlan {
    pub(crate) bytes: Bytes,
    pub(crate) hash: u64,
    /// Values for the parameters of this query.
    pub(crate) parameters: Bytes,
}

/// One server's share of a fragment.
#[derive(Clone, Debug)]
pub(crate) struct FragmentPart {
    pub(crate) server: InstanceState,
    /// The share of the one table whose rows are spread over servers.
    pub(crate) shared_out: Option<TableScan>,
    /// Tables that every server reads whole.
    pub(crate) whole: Vec<TableScan>,
    /// The server answers alone, from `whole`.
    pub(crate) finishes: bool,
}

/// A server's complete answer.
#[derive(Debug, Default)]
struct Answer {
    batches: Vec<RecordBatch>,
    missing: Vec<MissingSegment>,
}

/// What an answer lacks.
enum Lack {
    Nothing,
    /// This share of the table that is spread over servers; the rest of the answer stands.
    Share(TableScan),
    /// So much that the answer cannot be used.
    All,
}

impl QueryContext {
    /// Runs the fragment where it shall run; what is missing there runs elsewhere. One list of
    /// batches for each answer that was used, each in the order in which its server sent it.
    pub(crate) async fn ask(
        &self,
        plan: &FragmentPlan,
        part: &FragmentPart,
        memory: &MemoryReservation,
    ) -> Result<Vec<Vec<RecordBatch>>, Fault> {
        if part.finishes {
            return Ok(vec![self.ask_for_all(plan, part, memory).await?]);
        }
        let (share, mut runs) = match self.ask_one(plan, part, memory).await {
            Ok(answer) => match lack(part, &answer.missing)? {
                Lack::Nothing => return Ok(vec![answer.batches]),
                Lack::Share(share) => (Some(share), vec![answer.batches]),
                Lack::All => (part.shared_out.clone(), Vec::new()),
            },
            Err(fault) if can_be_asked_elsewhere(&fault) => {
                tracing::debug!(server = %part.server.id, cause = %fault, "asking another server");
                (part.shared_out.clone(), Vec::new())
            }
            Err(fault) => return Err(fault),
        };
        let failed = HashSet::from([part.server.id.clone()]);
        let others = self.others(part, share.as_ref(), &failed)?;
        let answers = others.iter().map(async |other| {
            let answer = self.ask_one(plan, other, memory).await?;
            match lack(other, &answer.missing)? {
                Lack::Nothing => Ok(answer.batches),
                _ => Err(self.nobody_has(&answer.missing)),
            }
        });
        runs.extend(try_join_all(answers).await?);
        Ok(runs)
    }

    async fn ask_for_all(
        &self,
        plan: &FragmentPlan,
        part: &FragmentPart,
        memory: &MemoryReservation,
    ) -> Result<Vec<RecordBatch>, Fault> {
        let fault = match self.ask_one(plan, part, memory).await {
            Ok(answer) if answer.missing.is_empty() => return Ok(answer.batches),
            Ok(answer) => self.nobody_has(&answer.missing),
            Err(fault) if can_be_asked_elsewhere(&fault) => fault,
            Err(fault) => return Err(fault),
        };
        tracing::debug!(server = %part.server.id, cause = %fault, "planning without a server");
        self.failed.lock().insert(part.server.id.clone());
        Err(fault)
    }

    /// Who else can answer for `share`, or for the tables that are read whole.
    fn others(
        &self,
        part: &FragmentPart,
        share: Option<&TableScan>,
        failed: &HashSet<InstanceId>,
    ) -> Result<Vec<FragmentPart>, Fault> {
        let Some(share) = share else {
            let tables: Vec<&TableState> = part
                .whole
                .iter()
                .filter_map(|scan| self.table(&scan.table_id))
                .collect();
            let other = holder_of_all(&self.cluster, &tables, self.turn, failed);
            let server = other.cloned().ok_or_else(|| {
                Fault::unavailable("no other server holds the dimension tables of the query")
                    .with_code(pinot_code::BROKER_SEGMENT_UNAVAILABLE)
            })?;
            return Ok(vec![FragmentPart {
                server,
                ..part.clone()
            }]);
        };
        let table = self
            .table(&share.table_id)
            .ok_or_else(|| Fault::internal("a share of a table that the query does not know"))?;
        let route = reroute(&self.cluster, table, share, failed);
        if !route.unavailable.is_empty() {
            return Err(unavailable(&table.spec.physical_name(), &route.unavailable));
        }
        let others = route.parts.into_iter().map(|other| FragmentPart {
            server: other.server,
            shared_out: Some(other.scan),
            whole: part.whole.clone(),
            finishes: false,
        });
        Ok(others.collect())
    }

    fn table(&self, id: &[u8]) -> Option<&TableState> {
        let id = TableId::from_bytes(id)?;
        self.cluster.tables.get(&id).map(|table| &**table)
    }

    fn nobody_has(&self, missing: &[MissingSegment]) -> Fault {
        let mut table = String::from("?");
        let names = missing.iter().map(|missing| {
            let known = self.table(&missing.table_id);
            let segment = missing.segment.unwrap_or_default();
            table = known.map_or_else(|| table.clone(), |known| known.spec.physical_name());
            format!("{}/{}", segment.partition, segment.sequence)
        });
        let names: Vec<String> = names.collect();
        unavailable(&table, &names)
    }

    async fn ask_one(
        &self,
        plan: &FragmentPlan,
        part: &FragmentPart,
        memory: &MemoryReservation,
    ) -> Result<Answer, Fault> {
        let server = &part.server.id;
        self.stats.lock().servers_queried.insert(server.clone());
        let left_ms = self.deadline_ms - self.clock.now_ms();
        let timeout = Duration::from_millis(left_ms.max(0) as u64);
        match tokio::time::timeout(timeout, self.exchange(plan, part, memory)).await {
            Ok(answer) => answer,
            Err(_) => {
                let what = format!("server `{server}` did not answer");
                Err(timed_out(&what, self.timeout_ms).with_code(pinot_code::BROKER_TIMEOUT))
            }
        }
    }

    async fn exchange(
        &self,
        plan: &FragmentPlan,
        part: &FragmentPart,
        memory: &MemoryReservation,
    ) -> Result<Answer, Fault> {
        let server = &part.server.id;
        let mut answers = self
            .network
            .server(&part.server)?
            .run(self.request(plan, part))
            .await?;
        let mut whole = Answer::default();
        let (mut scans, mut progress) = (Vec::new(), Vec::new());
        while let Some(answer) = answers.next().await {
            let FragmentAnswer {
                batches,
                last,
                fault,
                stats,
                missing,
                progress: more,
                ..
            } = answer?;
            if let Some(fault) = fault {
                return Err(fault.into());
            }
            if !batches.is_empty() {
                memory
                    .try_grow(batches.len())
                    .map_err(|error| crate::to_fault(&error, ""))?;
                let decoded = decode_batches(&batches).map_err(|error| {
                    Fault::internal(format!("an answer of `{server}` is damaged: {error}"))
                })?;
                whole.batches.extend(decoded);
            }
            whole.missing.extend(missing);
            scans.extend(stats);
            progress.extend(more);
            if last {
                let newest = progress
                    .iter()
                    .map(|p: &TableProgress| p.newest_event_ms)
                    .max();
                let mut stats = self.stats.lock();
                stats.newest_ingest_ms = stats.newest_ingest_ms.max(newest.unwrap_or(0));
                scans.iter().for_each(|scan| stats.add(scan));
                if self.options.explain() != Explain::None {
                    stats
                        .explained
                        .extend(scans.into_iter().map(|scan| Explained {
                            server: server.clone(),
                            plan_hash: plan.hash,
                            stats: scan,
                        }));
                }
                stats.servers_responded.insert(server.clone());
                return Ok(whole);
            }
        }
        Err(Fault::unavailable(format!(
            "the answer of `{server}` broke off"
        )))
    }

    fn request(&self, plan: &FragmentPlan, part: &FragmentPart) -> FragmentRequest {
        let scans = part.shared_out.iter().chain(&part.whole).cloned();
        let tables = scans.map(|mut scan| {
            self.after.require(&mut scan);
            scan
        });
        FragmentRequest {
            plan_format: PLAN_FORMAT,
            template_hash: plan.hash,
            plan: plan.bytes.clone(),
            parameters: plan.parameters.clone(),
            tables: tables.collect(),
            deadline_ms: self.deadline_ms,
            timeout_ms: self.timeout_ms,
            memory_bytes: 0,
            null_mode: self.null_mode.into(),
            options: Some(self.options.clone()),
        }
    }
}

/// A server that is gone or full; the query itself is not at fault, and there is time left.
fn can_be_asked_elsewhere(fault: &Fault) -> bool {
    fault.retryable
        && fault.kind != FaultKind::Timeout
        && fault.code != pinot_code::SERVER_RESOURCE_LIMIT
}

fn lack(part: &FragmentPart, missing: &[MissingSegment]) -> Result<Lack, Fault> {
    if missing.is_empty() {
        return Ok(Lack::Nothing);
    }
    let is_whole = |m: &MissingSegment| part.whole.iter().any(|scan| scan.table_id == m.table_id);
    if missing.iter().any(is_whole) {
        return Ok(Lack::All);
    }
    let server = &part.server.id;
    let unknown = || Fault::internal(format!("`{server}` misses what it was not asked for"));
    let share = part.shared_out.as_ref().ok_or_else(unknown)?;
    let mut lacking = TableScan {
        table_id: share.table_id.clone(),
        ..TableScan::default()
    };
    for missing in missing.iter().filter_map(|m| m.segment) {
        match asked_for(share, missing) {
            (Some(sealed), _) => lacking.sealed.push(sealed),
            (None, Some(run)) => lacking.consuming.push(run),
            (None, None) => return Err(unknown()),
        }
    }
    match lacking.sealed.is_empty() && lacking.consuming.is_empty() {
        true => Err(unknown()),
        false => Ok(Lack::Share(lacking)),
    }
}

fn asked_for(
    share: &TableScan,
    missing: SegmentRef,
) -> (Option<SegmentRef>, Option<ConsumingFrom>) {
    let sealed = share.sealed.iter().find(|sealed| **sealed == missing);
    let is_run = |run: &&ConsumingFrom| missing.crc == 0 && run.partition == missing.partition;
    (
        sealed.copied(),
        share.consuming.iter().find(is_run).copied(),
    )
}
