//! The controller's view of the cluster and how it is published.
//!
//! Invariants: what is published of a table is the catalog's state of it joined with what the
//! living servers say they hold; it never goes back to an older revision of the catalog, and a
//! table that went never comes back; `version` grows with each difference.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use deepstore::DeepStore;
use metastore::catalog::{Catalog, WholeTable};
use metastore::{MetaError, Revision};
use parking_lot::Mutex;
use runtime::Clock;
use schemas::cluster::{ClusterState, InstanceState, Role, TableState};
use schemas::proto::{HeartbeatReply, HeartbeatRequest, IndexList};
use schemas::{Fault, InstanceId, SegmentId, TableId, TableSpec};
use stream::{StreamSource, Streams};
use tokio::sync::watch;
use uuid::Uuid;

use crate::background::Due;
use crate::completion::Completion;
use crate::counts::Census;
use crate::fleet::LookedAt;
use crate::follow::publish_everything;
use crate::holding::{Heard, Holding};
use crate::http::forward::Forwarder;
use crate::joining::{Rules, Verdict, judge};
use crate::leader::{Leader, Leadership};
use crate::metrics::ControllerMetrics;
use crate::reconcile::Statuses;
use crate::seen::Seen;
use crate::view::{Instance, View};
use crate::{CheckTable, Config};

/// Objects may wait so long for a commit of somebody who could not reach this process before.
const ORPHANS_AFTER_START: Duration = Duration::from_secs(300);
/// A new leader tells nobody that a server is gone which it has only not heard yet.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
const HEARD_POLL: Duration = Duration::from_millis(20);
const NOBODY_LEADS: &str = "no controller leads at present; one will within seconds, ask again";

pub(crate) struct State {
    pub(crate) config: Config,
    cluster: Uuid,
    pub(crate) catalog: Catalog,
    pub(crate) deep: DeepStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: ControllerMetrics,
    pub(crate) completion: Mutex<Completion>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) forwarder: Forwarder,
    pub(crate) leadership: Leadership,
    /// When schedules of tasks are due next.
    pub(crate) due: Mutex<Due>,
    streams: Arc<dyn Streams>,
    check: Arc<dyn CheckTable>,
    /// By table and position of the topic.
    sources: Mutex<HashMap<(TableId, usize), Arc<dyn StreamSource>>>,
    pub(crate) view: Mutex<View>,
    /// When orphans are looked for next, by the monotonic clock.
    orphans_due: Mutex<Duration>,
    /// When it took the lead from others.
    took_over: Mutex<Option<Duration>>,
    /// Since when it hears who lives.
    pub(crate) listens_since: Mutex<Duration>,
    /// Tables that were looked at, as they and the servers were then.
    pub(crate) looked_at: Mutex<HashMap<TableId, LookedAt>>,
    /// How reconcilers fare.
    pub(crate) statuses: Statuses,
    pub(crate) census: Census,
    /// Tables whose time boundary was looked at, as they were then.
    pub(crate) bounded: Mutex<HashMap<TableId, u64>>,
    version: watch::Sender<u64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl State {
    pub(crate) async fn load(
        config: Config,
        catalog: Catalog,
        deep: DeepStore,
        streams: Arc<dyn Streams>,
        check: Arc<dyn CheckTable>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Fault> {
        let orphans_due = clock.monotonic() + ORPHANS_AFTER_START;
        let cluster = catalog.cluster(clock.now_ms()).await?.id;
        let leader = match &config.election {
            Some(_) => Leader::Nobody,
            None => Leader::Here,
        };
        let forwarder = Forwarder::new(config.entrance.access.tls.clone())?;
        let state = Self {
            leadership: Leadership::new(leader),
            took_over: Mutex::default(),
            listens_since: Mutex::new(clock.monotonic()),
            config,
            cluster,
            catalog,
            deep,
            clock,
            metrics: ControllerMetrics::default(),
            completion: Mutex::default(),
            seen: Arc::default(),
            forwarder,
            due: Mutex::default(),
            streams,
            check,
            sources: Mutex::default(),
            view: Mutex::default(),
            orphans_due: Mutex::new(orphans_due),
            looked_at: Mutex::default(),
            statuses: Statuses::default(),
            census: Census::default(),
            bounded: Mutex::default(),
            version: watch::Sender::new(0),
        };
        state.read_instances().await?;
        for table in state.catalog.tables().await? {
            state.publish(table.spec.id).await?;
        }
        Ok(state)
    }

    /// What was decided here before is another's by now: begins as after a start.
    pub(crate) async fn take_over(&self) -> Result<(), MetaError> {
        let now = self.clock.monotonic();
        *self.completion.lock() = Completion::default();
        *self.orphans_due.lock() = now + ORPHANS_AFTER_START;
        *self.took_over.lock() = Some(now);
        self.due.lock().clear();
        *self.listens_since.lock() = now;
        self.view.lock().forget_all();
        self.read_instances().await?;
        publish_everything(self).await
    }

    /// Returns when every server that shall hold something was heard, or had time for it.
    pub(crate) async fn wait_until_heard(&self) {
        let Some(took_over) = *self.took_over.lock() else {
            return;
        };
        while self.clock.monotonic() < took_over + HEARD_WITHIN && !self.view.lock().all_heard() {
            self.clock.sleep(HEARD_POLL).await;
        }
    }

    /// Why nothing can be decided here or elsewhere.
    pub(crate) fn no_leader(&self) -> Fault {
        Fault::unavailable(match self.waits_for_metadata() {
            Some(reason) => reason,
            None => NOBODY_LEADS.to_owned(),
        })
    }

    fn waits_for_metadata(&self) -> Option<String> {
        let reason = self.catalog.failing()?;
        Some(format!("the controller waits for its metadata: {reason}"))
    }

    /// Otherwise what it waits for.
    pub(crate) fn ready(&self) -> Result<(), String> {
        if let Some(election) = &self.config.election {
            election.membership.check()?;
        }
        match (self.waits_for_metadata(), self.leadership.now()) {
            (Some(reason), _) => Err(reason),
            (None, Leader::Nobody) => Err(NOBODY_LEADS.to_owned()),
            (None, Leader::Here | Leader::There(_)) => Ok(()),
        }
    }

    /// Whether the messages of the table can be read as its config wants.
    pub(crate) fn check(&self, spec: &TableSpec) -> Result<(), Fault> {
        self.check.check(spec)
    }

    /// Publishes what the catalog has of the table that is not published yet. It costs what
    /// changed, unless the store has forgotten what that was.
    pub(crate) async fn publish(&self, id: TableId) -> Result<(), MetaError> {
        let since = self.view.lock().tables.get(&id).map(|known| known.revision);
        if let Some(since) = since
            && let Some(changes) = self.catalog.table_changes(id, since).await?
        {
            let mut view = self.view.lock();
            if view.apply(id, since, changes) {
                self.announce(&view);
                return Ok(());
            }
        }
        self.publish_whole(id).await
    }

    async fn publish_whole(&self, id: TableId) -> Result<(), MetaError> {
        let WholeTable {
            table,
            segments,
            revision,
        } = self.catalog.whole_table(id).await?;
        let mut view = self.view.lock();
        match table {
            None => view.remove(id),
            Some(table) => view.put(table, segments, revision),
        }
        self.announce(&view);
        Ok(())
    }

    /// Whether a change of this revision is not published yet.
    pub(crate) fn is_behind(&self, id: TableId, revision: Revision) -> bool {
        let view = self.view.lock();
        match view.tables.get(&id) {
            Some(published) => published.revision < revision,
            None => !view.removed.contains(&id),
        }
    }

    /// Returns when every broker and server acts on what is published now.
    pub(crate) async fn wait_until_seen(&self, patience: Duration) -> Result<(), Fault> {
        let version = *self.version.borrow();
        tokio::select! {
            () = self.seen.wait_for(version) => Ok(()),
            () = self.clock.sleep(patience) => {
                let behind = self.seen.behind(version);
                let names: Vec<&str> = behind.iter().map(|id| id.0.as_str()).collect();
                Err(Fault::timeout(format!(
                    "it is done, but not heard of yet by {}",
                    names.join(", ")
                )))
            }
        }
    }

    pub(crate) fn announce(&self, view: &View) {
        self.metrics.tables.set(view.tables.len() as i64);
        self.version.send_if_modified(|version| {
            let newer = *version != view.version;
            *version = view.version;
            newer
        });
    }

    pub(crate) fn heartbeat(&self, request: HeartbeatRequest) -> Result<HeartbeatReply, Fault> {
        let role: Role = request.role.parse().map_err(Fault::invalid)?;
        self.check_cluster(&request)?;
        let id = InstanceId(request.instance.clone());
        let now = self.clock.monotonic();
        let rules = Rules {
            liveness: self.config.liveness,
            clock_skew_max: self.config.clock_skew_max,
            now_ms: self.clock.now_ms(),
        };
        let mut view = self.view.lock();
        let known = view.instances.get(&id);
        let asked_before = known.map(|known| known.as_known(now));
        let life = match judge(asked_before.as_ref(), &request, &rules) {
            Verdict::Taken(life) => life,
            Verdict::Refused(reason) => return Err(Fault::conflict(reason)),
            Verdict::NotNow {
                life,
                reason,
                name_free_in,
            } => {
                if name_free_in.is_zero() {
                    view.turn_away(&id, life, &reason, now);
                    self.announce(&view);
                }
                return Ok(HeartbeatReply {
                    not_taken: reason,
                    name_free_in_ms: name_free_in.as_millis() as u64,
                    ..self.reply()
                });
            }
        };
        // Taken out, so that a change costs what changes: the instance is put anew below.
        let known = view.instances.get_mut(&id);
        let mut held = known.map_or_else(Arc::default, |known| std::mem::take(&mut known.held));
        let (changed, held_revision) = match is_same(&held, &request) {
            true => (Vec::new(), held.revision()),
            false => match Arc::make_mut(&mut held).hear(&request) {
                Heard::Changed(changed) => (changed, held.revision()),
                Heard::Unknown => (Vec::new(), 0),
            },
        };
        let instance = Instance {
            role,
            address: request.address,
            plan_format: request.plan_format,
            exchange_format: request.exchange_format,
            last_heard: now,
            alive: true,
            died: None,
            held,
            consumers: request.consumers,
            reloads: request.reloads,
            low_on_disk: request.low_on_disk,
            life,
            turned_away: None,
        };
        view.hear(id.clone(), instance, changed);
        if request.leaves {
            view.silent(&id, now);
        }
        self.announce(&view);
        drop(view);
        Ok(HeartbeatReply {
            held_revision,
            ..self.reply()
        })
    }

    fn reply(&self) -> HeartbeatReply {
        HeartbeatReply {
            version: *self.version.borrow(),
            cluster: self.cluster.to_string(),
            ..HeartbeatReply::default()
        }
    }

    /// Who has worked for another cluster, or keeps segments in another one's deep store, does not
    /// belong here.
    fn check_cluster(&self, request: &HeartbeatRequest) -> Result<(), Fault> {
        let (theirs, ours) = (&request.cluster, self.cluster.to_string());
        if !theirs.is_empty() && *theirs != ours {
            return Err(Fault::conflict(format!(
                "`{}` has worked for the cluster {theirs}, and this is {ours}: its \
                 controller.address is another cluster's, or its data dir is",
                request.instance
            )));
        }
        let theirs = &request.deep_store_of;
        if theirs.is_empty() || *theirs == ours {
            return Ok(());
        }
        Err(Fault::conflict(format!(
            "the deep store of `{}` belongs to the cluster {theirs}, this is {ours}: its \
             deepstore.url is another cluster's, or its controller.address",
            request.instance
        )))
    }

    /// Takes those who were silent too long as dead.
    pub(crate) fn judge_liveness(&self) {
        let now = self.clock.monotonic();
        let mut view = self.view.lock();
        let silent: Vec<InstanceId> = view
            .instances
            .iter()
            .filter(|(_, i)| i.alive && now.saturating_sub(i.last_heard) > self.config.liveness)
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            tracing::warn!(instance = %id, "no heartbeat, taken as dead");
            view.silent(&id, now);
        }
        self.announce(&view);
    }

    pub(crate) fn watch_version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What is published now.
    pub(crate) fn snapshot(&self) -> Arc<ClusterState> {
        self.view.lock().snapshot(|| InstanceState {
            id: InstanceId(self.config.instance.clone()),
            role: Role::Controller,
            address: self.config.address.clone(),
            alive: true,
            plan_format: 0,
            exchange_format: 0,
            leads: true,
        })
    }

    pub(crate) fn tables(&self) -> Vec<Arc<TableState>> {
        self.view
            .lock()
            .tables
            .values()
            .map(|table| Arc::clone(&table.state))
            .collect()
    }

    pub(crate) fn table(&self, id: TableId) -> Option<Arc<TableState>> {
        self.view
            .lock()
            .tables
            .get(&id)
            .map(|table| Arc::clone(&table.state))
    }

    pub(crate) fn instances(&self) -> BTreeMap<InstanceId, Instance> {
        self.view.lock().instances.clone()
    }

    /// The role of everybody that was heard of, and whether it lives.
    pub(crate) fn who_lives(&self) -> Vec<(Role, bool)> {
        let view = self.view.lock();
        let instances = view.instances.values();
        instances.map(|one| (one.role, one.alive)).collect()
    }

    /// Of each living server that holds the segment sealed.
    pub(crate) fn index_lists(&self, id: SegmentId) -> Vec<(InstanceId, Arc<IndexList>)> {
        let view = self.view.lock();
        let alive = view.instances.iter().filter(|(_, instance)| instance.alive);
        let lists = alive.filter_map(|(name, instance)| {
            let list = instance.held.indexes(id)?;
            Some((name.clone(), Arc::clone(list)))
        });
        lists.collect()
    }

    /// It is heard, and not taken for now.
    pub(crate) fn is_turned_away(&self, id: &InstanceId) -> bool {
        let view = self.view.lock();
        view.instances
            .get(id)
            .is_some_and(|one| one.turned_away.is_some())
    }

    /// Who has not been heard at all may live: this process may be younger than its silence.
    pub(crate) fn may_live(&self, id: &InstanceId) -> bool {
        let view = self.view.lock();
        view.instances.get(id).is_none_or(|instance| instance.alive)
    }

    /// Whether any living server still holds something of the table.
    pub(crate) fn is_held(&self, table: TableId) -> bool {
        let view = self.view.lock();
        view.instances
            .values()
            .any(|instance| instance.alive && instance.held.has_some_of(table))
    }

    /// The client of one of a table's streams, made once.
    pub(crate) fn source(
        &self,
        table: &TableSpec,
        topic: usize,
    ) -> Result<Arc<dyn StreamSource>, Fault> {
        let Some(spec) = table.streams.get(topic) else {
            let name = &table.name;
            return Err(Fault::invalid(format!(
                "table `{name}` has no topic {topic}"
            )));
        };
        let mut sources = self.sources.lock();
        if let Some(source) = sources.get(&(table.id, topic)) {
            return Ok(Arc::clone(source));
        }
        let source = self.streams.source(spec, table.name.as_str())?;
        sources.insert((table.id, topic), Arc::clone(&source));
        Ok(source)
    }

    /// Whether it is time to look for orphans; if so, the next time is `every` from now.
    pub(crate) fn orphans_are_due(&self, every: Duration) -> bool {
        let now = self.clock.monotonic();
        let mut due = self.orphans_due.lock();
        let is_due = now >= *due;
        if is_due {
            *due = now + every;
        }
        is_due
    }

    pub(crate) fn forget_source(&self, table: TableId) {
        self.sources.lock().retain(|(of, _), _| *of != table);
    }
}

/// It says that nothing has changed.
fn is_same(held: &Holding, request: &HeartbeatRequest) -> bool {
    let base = request.held_base;
    base != 0 && base == request.held_revision && base == held.revision()
}
