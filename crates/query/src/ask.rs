//! Asking servers for their part of a plan.
//!
//! Invariants:
//! - a server's answer is used only when its last message has come, and of several servers that
//!   were asked for the same share the answer of one way alone: nothing is merged twice;
//! - what a server did not serve is asked of others that hold it, until nobody is left; what nobody
//!   serves fails the query with the segments' names, or is left out where the query allows it;
//! - a dimension table is read whole by each server of the fragment, or the server's answer is
//!   not used;
//! - nothing is added to the answer of a server that finishes a plan: another one answers for all
//!   of it, or the query is planned anew without it.
//!
//! Who is late is not given up: what it was asked is asked of others too, and the first whole
//! answer is used. The other request is cancelled by a message when its future is dropped.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;

use datafusion::execution::memory_pool::MemoryReservation;
use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt, StreamExt};
use schemas::cluster::{InstanceState, TableState};
use schemas::fault::pinot_code;
use schemas::proto::{FragmentAnswer, FragmentRequest, MissingSegment, TableScan};
use schemas::{Fault, FaultKind, InstanceId, TableId};

use crate::answer::{Answer, Lack};
use crate::codec::PLAN_FORMAT;
use crate::context::QueryContext;
use crate::fault::timed_out;
use crate::ipc::decode_batches;
use crate::routing::{holder_of_all, names_of, reader_of_all, reroute};
use crate::servers::{Event, InFlight, Late};
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

impl QueryContext {
    /// Runs the fragment where it shall run; what is missing there runs elsewhere. One list of
    /// batches for each answer that was used, each in the order in which its server sent it.
    pub(crate) async fn ask(
        &self,
        plan: &FragmentPlan,
        part: &FragmentPart,
        memory: &MemoryReservation,
    ) -> Result<Vec<Vec<RecordBatch>>, Fault> {
        let asking = Asking {
            context: self,
            plan,
            memory,
        };
        self.servers.earn();
        let answers = asking.share(part.clone(), Tried::default()).await?;
        let used = answers.into_iter();
        Ok(used.map(|answer| answer.used(self, plan.hash)).collect())
    }
}

/// One fragment on its way.
struct Asking<'a> {
    context: &'a QueryContext,
    plan: &'a FragmentPlan,
    memory: &'a MemoryReservation,
}

/// Who was asked for a share already.
#[derive(Clone, Debug, Default)]
struct Tried {
    servers: HashSet<InstanceId>,
    /// Somebody who is late is still waited for: this is no last attempt.
    beside: bool,
}

impl Tried {
    fn and(&self, server: &InstanceId) -> Self {
        let mut more = self.clone();
        more.servers.insert(server.clone());
        more
    }
}

/// What became of the first request for a share.
enum First<'a> {
    Whole(Vec<Answer<'a>>),
    /// The answer stands, without this share.
    Lacks(Box<Answer<'a>>, TableScan),
    Nothing(Fault),
}

/// Why there is no answer.
enum Failed {
    /// The server says so.
    Server(Fault),
    /// It was not reached, or its answer broke off.
    Way(Fault),
}

impl<'a> Asking<'a> {
    fn share(
        &self,
        part: FragmentPart,
        tried: Tried,
    ) -> BoxFuture<'_, Result<Vec<Answer<'a>>, Fault>> {
        let answers = async move {
            let (mut answers, rest, why) = match self.first(&part, &tried).await? {
                First::Whole(answers) => return Ok(answers),
                First::Nothing(fault) => (Vec::new(), part.shared_out.clone(), fault),
                First::Lacks(answer, share) => {
                    let why = self.nobody_has(&answer.missing);
                    (vec![*answer], Some(share), why)
                }
            };
            let tried = tried.and(&part.server.id);
            let is_late = why.kind == FaultKind::Timeout;
            let others = self.others(&part, rest.as_ref(), &tried.servers);
            let Some(others) = others.filter(|_| !is_late) else {
                self.give_up(&part, rest.as_ref(), &tried, why)?;
                return Ok(answers);
            };
            tracing::debug!(server = %part.server.id, cause = %why, "asking another server");
            self.context.servers.happened(Event::Retried);
            let others = others.into_iter();
            let more = try_join_all(others.map(|other| self.share(other, tried.clone()))).await?;
            answers.extend(more.into_iter().flatten());
            Ok(answers)
        };
        answers.boxed()
    }

    /// Asks the server; when it is late, others too.
    async fn first(&self, part: &FragmentPart, tried: &Tried) -> Result<First<'a>, Fault> {
        let (servers, id) = (&self.context.servers, &part.server.id);
        let mut first = pin!(self.ask_one(part));
        let late = tokio::select! {
            biased;
            answer = &mut first => return self.judged(part, answer),
            late = servers.late(self.plan.hash, id) => late,
        };
        let mut beside = tried.and(id);
        beside.beside = true;
        let Some(others) = self.others(part, part.shared_out.as_ref(), &beside.servers) else {
            return self.judged(part, first.await);
        };
        if late == Late::Slow && !servers.can_hedge() {
            tokio::select! {
                biased;
                answer = &mut first => return self.judged(part, answer),
                () = servers.silent(id) => servers.happened(Event::Retried),
            }
        } else if late == Late::Silent {
            servers.happened(Event::Retried);
        }
        tracing::debug!(server = %id, ?late, "others are asked too");
        let others = others.into_iter();
        let others = others.map(|other| self.share(other, beside.clone()));
        let mut second = pin!(try_join_all(others));
        tokio::select! {
            biased;
            answer = &mut first => {
                let first = self.judged(part, answer)?;
                if matches!(first, First::Whole(_)) {
                    return Ok(first);
                }
                match second.await {
                    Ok(answers) => Ok(First::Whole(answers.into_iter().flatten().collect())),
                    Err(_) => Ok(first),
                }
            }
            answers = &mut second => match answers {
                Ok(answers) => {
                    servers.happened(Event::HedgeWon);
                    Ok(First::Whole(answers.into_iter().flatten().collect()))
                }
                Err(_) => self.judged(part, first.await),
            },
        }
    }

    fn judged(
        &self,
        part: &FragmentPart,
        answer: Result<Answer<'a>, Fault>,
    ) -> Result<First<'a>, Fault> {
        match answer {
            Ok(answer) => Ok(match Lack::of(part, &answer.missing)? {
                Lack::Nothing => First::Whole(vec![answer]),
                Lack::Share(share) => First::Lacks(Box::new(answer), share),
                Lack::All => First::Nothing(self.nobody_has(&answer.missing)),
            }),
            Err(fault) if can_be_asked_elsewhere(&fault) => Ok(First::Nothing(fault)),
            Err(fault) if self.context.allows_partial && fault.kind == FaultKind::Timeout => {
                Ok(First::Nothing(fault))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Nobody is left who could answer for `rest`.
    fn give_up(
        &self,
        part: &FragmentPart,
        rest: Option<&TableScan>,
        tried: &Tried,
        why: Fault,
    ) -> Result<(), Fault> {
        if tried.beside {
            return Err(why);
        }
        if part.finishes && why.kind != FaultKind::Timeout {
            let mut failed = self.context.failed.lock();
            failed.extend(tried.servers.iter().cloned());
            return Err(why);
        }
        let Some((table, rest)) = rest.and_then(|rest| Some((self.table(&rest.table_id)?, rest)))
        else {
            return Err(why);
        };
        if !self.context.allows_partial {
            return Err(why);
        }
        let names = names_of(table, rest);
        let lacking = unavailable(&table.spec.physical_name(), &names);
        let message = match why.code == lacking.code {
            true => lacking.message,
            false => format!("{}; {why}", lacking.message),
        };
        let fault = Fault { message, ..why };
        self.context.stats.lock().leave_out(fault);
        Ok(())
    }

    /// Who else can answer for `share`, or for the tables that are read whole.
    fn others(
        &self,
        part: &FragmentPart,
        share: Option<&TableScan>,
        tried: &HashSet<InstanceId>,
    ) -> Option<Vec<FragmentPart>> {
        let cluster = &self.context.cluster;
        let of_whole = |scan: &TableScan| self.table(&scan.table_id);
        let Some(share) = share else {
            let standing = self.context.turn_and_standing();
            let server = match part.finishes {
                true => {
                    let scans = part.whole.iter();
                    let scans = scans.map(|scan| Some((&**of_whole(scan)?, scan)));
                    reader_of_all(
                        cluster,
                        &scans.collect::<Option<Vec<_>>>()?,
                        standing,
                        tried,
                    )
                }
                false => {
                    let tables = part.whole.iter().filter_map(of_whole);
                    let tables: Vec<&TableState> = tables.map(|table| &**table).collect();
                    holder_of_all(cluster, &tables, standing, tried)
                }
            };
            return Some(vec![FragmentPart {
                server: server?.clone(),
                ..part.clone()
            }]);
        };
        let table = self.table(&share.table_id)?;
        let standing = self.context.standing_for(table);
        let turn = (self.context.turn_of(table), &*standing);
        let index = self.context.indexes.get(table);
        let route = reroute(cluster, (table, &index), share, turn, tried);
        if !route.unavailable.is_empty() || route.parts.is_empty() {
            return None;
        }
        let others = route.parts.into_iter().map(|other| FragmentPart {
            server: other.server,
            shared_out: Some(other.scan),
            whole: part.whole.clone(),
            finishes: false,
        });
        Some(others.collect())
    }

    fn table(&self, id: &[u8]) -> Option<&'a Arc<TableState>> {
        let id = TableId::from_bytes(id)?;
        self.context.cluster.tables.get(&id)
    }

    fn nobody_has(&self, missing: &[MissingSegment]) -> Fault {
        let mut scan = TableScan::default();
        for missing in missing {
            scan.table_id.clone_from(&missing.table_id);
            scan.sealed.extend(missing.segment);
        }
        match self.table(&scan.table_id) {
            Some(table) => unavailable(&table.spec.physical_name(), &names_of(table, &scan)),
            None => unavailable("?", &[]),
        }
    }

    async fn ask_one(&self, part: &FragmentPart) -> Result<Answer<'a>, Fault> {
        let (context, server) = (self.context, &part.server.id);
        context.stats.lock().servers_queried.insert(server.clone());
        let in_flight = context.servers.asked(server);
        let timeout = self.timeout();
        match tokio::time::timeout(timeout, self.exchange(part, &in_flight)).await {
            Ok(Ok(answer)) => {
                let elapsed = in_flight.answered();
                context.servers.learn(self.plan.hash, elapsed);
                Ok(answer)
            }
            Ok(Err(Failed::Server(fault))) => {
                in_flight.refused();
                Err(fault)
            }
            Ok(Err(Failed::Way(fault))) => {
                in_flight.broke();
                Err(fault)
            }
            Err(_) => {
                let what = format!("server `{server}` did not answer");
                Err(timed_out(&what, context.timeout_ms).with_code(pinot_code::BROKER_TIMEOUT))
            }
        }
    }

    /// The time that is left; a query that takes what there is needs some of it to finish.
    fn timeout(&self) -> Duration {
        let left_ms = self.context.deadline_ms - self.context.clock.now_ms();
        let left = Duration::from_millis(left_ms.max(0) as u64);
        match self.context.allows_partial {
            true => left.mul_f64(SHARE_OF_PARTIAL),
            false => left,
        }
    }

    async fn exchange(
        &self,
        part: &FragmentPart,
        in_flight: &InFlight,
    ) -> Result<Answer<'a>, Failed> {
        let server = &part.server.id;
        let connection = self.context.network.server(&part.server);
        let run = connection
            .map_err(Failed::Way)?
            .run(request(self.context, self.plan, part))
            .await;
        let mut answers = run.map_err(|fault| match fault.kind {
            FaultKind::Unavailable => Failed::Way(fault),
            _ => Failed::Server(fault),
        })?;
        let mut whole = Answer::new(server.clone(), self.memory);
        while let Some(answer) = answers.next().await {
            let FragmentAnswer {
                batches,
                last,
                fault,
                stats,
                missing,
                progress,
                ..
            } = answer.map_err(Failed::Way)?;
            in_flight.heard();
            if let Some(fault) = fault {
                return Err(Failed::Server(fault.into()));
            }
            let mut decoded = Vec::new();
            if !batches.is_empty() {
                whole.take(batches.len()).map_err(Failed::Server)?;
                decoded = decode_batches(&batches).map_err(|error| {
                    let what = format!("an answer of `{server}` is damaged: {error}");
                    Failed::Server(Fault::internal(what))
                })?;
            }
            whole.add(decoded, missing, stats, &progress);
            if last {
                return Ok(whole);
            }
        }
        let message = format!("the answer of `{server}` broke off");
        Err(Failed::Way(Fault::unavailable(message)))
    }
}

pub(crate) fn request(
    context: &QueryContext,
    plan: &FragmentPlan,
    part: &FragmentPart,
) -> FragmentRequest {
    let scans = part.shared_out.iter().chain(&part.whole).cloned();
    let tables = scans.map(|mut scan| {
        context.after.require(&mut scan);
        scan
    });
    FragmentRequest {
        plan_format: PLAN_FORMAT,
        template_hash: plan.hash,
        plan: plan.bytes.clone(),
        parameters: plan.parameters.clone(),
        tables: tables.collect(),
        deadline_ms: context.deadline_ms,
        timeout_ms: context.timeout_ms,
        memory_bytes: 0,
        null_mode: context.null_mode.into(),
        options: Some(context.options.clone()),
    }
}

/// Of the time that is left, when a query takes what is there at its end.
const SHARE_OF_PARTIAL: f64 = 0.9;

/// A server that is gone or full; the query itself is not at fault, and there is time left.
fn can_be_asked_elsewhere(fault: &Fault) -> bool {
    fault.retryable
        && fault.kind != FaultKind::Timeout
        && fault.code != pinot_code::SERVER_RESOURCE_LIMIT
        // Of the broker itself.
        && fault.code != pinot_code::TOO_MANY_REQUESTS
}
