//! Answers fragments of queries from one snapshot per table.
//!
//! Invariants: all scans of a fragment see the same view of a table; what was asked for and is not
//! here is named in the answer, never left out in silence; an answer's last message is sent only
//! when all others were.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use memchr::memmem;
use query::ipc::encode_batches;
use query::system::{CONSUMERS, CONSUMING, INDEXES, INGEST_EVENTS, REJECTED_ROWS};
use query::timed_out;
use rpc::{AnswerStream, FragmentApi, PartStream};
use runtime::CancellationToken;
use scan::{Engine, Fragment, FragmentResult, FragmentStream, Suspects};
use schemas::cluster::ClusterState;
use schemas::fault::pinot_code;
use schemas::proto::{
    FetchSegmentRequest, FragmentAnswer, FragmentRequest, SystemRowsReply, SystemRowsRequest,
    TableScan,
};
use schemas::table::{ColumnSpec, virtual_column};
use schemas::{
    DataType, Fault, FaultKind, FieldRole, InstanceId, Partition, SegmentId, TableId, Value,
};
use segment::{Extent, SealedSegment, Segment, SegmentError, SegmentView};

use crate::Core;
use crate::select::{IsCommitted, Selection, select_table, without_hidden};
use crate::store::{job_fault, segment_fault};
use crate::view::{Table, TableView};

/// Bytes of batches in one message, before they are encoded.
const MESSAGE_BYTES: usize = 8 << 20;
/// Larger answers are encoded on the compute pool.
const INLINE_ROWS_MAX: usize = 10_000;

/// So many files are looked at for changes each time, of more each one so often: looking at
/// thousands takes longer than a query.
const LOOKED_AT_EACH_TIME: usize = 16;
const LOOK_EVERY_MS: i64 = 1000;

#[derive(Debug)]
pub(crate) struct Fragments {
    core: Arc<Core>,
    engine: Engine,
}

/// What is not as it was written.
enum Damage {
    Segment(String),
    Sidecar(String),
}

impl Fragments {
    pub(crate) fn new(core: Arc<Core>, engine: Engine) -> Self {
        Self { core, engine }
    }

    async fn answer(
        &self,
        request: FragmentRequest,
        cancel: CancellationToken,
    ) -> Result<Vec<FragmentAnswer>, Fault> {
        let left_ms = request.deadline_ms - self.core.clock.now_ms();
        let timeout = Duration::from_millis(left_ms.max(0) as u64);
        let started = self.core.clock.monotonic();
        let answered = tokio::time::timeout(timeout, self.answer_whole(&request, &cancel)).await;
        let elapsed = self.core.clock.monotonic().saturating_sub(started);
        self.core.metrics.fragments.inc();
        self.core
            .metrics
            .fragment_seconds
            .observe(elapsed.as_secs_f64());
        answered.unwrap_or_else(|_| {
            cancel.cancel();
            Err(timed_out("the server did not finish", request.timeout_ms))
        })
    }

    async fn answer_whole(
        &self,
        request: &FragmentRequest,
        cancel: &CancellationToken,
    ) -> Result<Vec<FragmentAnswer>, Fault> {
        let mut selection = self.select(request).await?;
        if self.replace_changed(&selection).await? {
            selection = self.select(request).await?;
        }
        let suspects = Suspects::default();
        let mut outcome = self.run_on(request, &selection, (cancel, &suspects)).await;
        if let Err(fault) = &outcome
            && may_be_damage(fault)
            && self.mend(&selection, &suspects.list()).await?
        {
            selection = self.select(request).await?;
            outcome = self.run_on(request, &selection, (cancel, &suspects)).await;
        }
        let result = outcome?;
        self.encode(result, selection).await
    }

    pub(crate) fn check_format(&self, request: &FragmentRequest) -> Result<(), Fault> {
        let (own, format) = (self.core.config.plan_format, request.plan_format);
        if format == own {
            return Ok(());
        }
        Err(Fault::unavailable(format!(
            "this server reads plans of format {own}, not {format}"
        )))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same, batch by batch. What is missing here is a fault: its rows are merged as they come.
    pub(crate) async fn begin(
        &self,
        request: &FragmentRequest,
        cancel: &CancellationToken,
    ) -> Result<(FragmentStream, Selection), Fault> {
        let mut selection = self.select(request).await?;
        if self.replace_changed(&selection).await? {
            selection = self.select(request).await?;
        }
        if !selection.missing.is_empty() {
            let missing = selection.missing.len();
            let message = format!("{missing} segments are not on this server any more");
            return Err(
                Fault::unavailable(message).with_code(pinot_code::BROKER_SEGMENT_UNAVAILABLE)
            );
        }
        let fragment = fragment_of(request, &selection, (cancel, &Suspects::default()));
        Ok((self.engine.run_stream(fragment)?, selection))
    }

    async fn run_on(
        &self,
        request: &FragmentRequest,
        selection: &Selection,
        (cancel, suspects): (&CancellationToken, &Suspects),
    ) -> Result<FragmentResult, Fault> {
        let fragment = fragment_of(request, selection, (cancel, suspects));
        self.engine.run(fragment).await
    }

    async fn select(&self, request: &FragmentRequest) -> Result<Selection, Fault> {
        let mut selection = Selection::default();
        for scan in &request.tables {
            let id = TableId::from_bytes(&scan.table_id)
                .ok_or_else(|| Fault::invalid("a table id has 16 bytes"))?;
            let table = self.core.tables.get(id).ok_or_else(|| {
                Fault::unavailable(format!("table {id} is not on this server yet"))
                    .with_code(pinot_code::BROKER_SEGMENT_UNAVAILABLE)
            })?;
            reach(&table, scan).await;
            let pins = self.core.cache.bring(&self.core, &table, scan).await?;
            selection.pins.push(pins);
            let all_rows = request
                .options
                .as_ref()
                .is_some_and(|own| own.replaced_rows);
            let is_keyed = table.view().spec.keyed.is_some() && !all_rows;
            let (scan, behind) = without_hidden(scan, &table.hidden(), is_keyed);
            selection.missing.extend(behind);
            // The newest state: no file is shown before the state that names it.
            let is_committed = |held: &SealedSegment| committed(&self.core.cluster.borrow(), held);
            let scan = (&*scan, &is_committed as IsCommitted<'_>);
            table.select(|view| select_table(view, (id, all_rows), scan, &mut selection));
            let consuming = selection
                .tables
                .get(&id)
                .into_iter()
                .flat_map(|views| views.iter());
            let consuming = consuming.filter(|view| matches!(view.segment, Segment::Consuming(_)));
            let partitions: Vec<Partition> = consuming.map(SegmentView::partition).collect();
            let now_ms = self.core.clock.now_ms();
            selection.behind.extend(table.behind(&partitions, now_ms));
        }
        let names_host = memmem::find(&request.plan, virtual_column::HOST_NAME.as_bytes());
        if names_host.is_some() {
            let host = host_column(&self.core.config.instance);
            for spec in selection.specs.values_mut() {
                Arc::make_mut(spec).columns.push(host.clone());
            }
        }
        Ok(selection)
    }

    async fn encode(
        &self,
        result: FragmentResult,
        selection: Selection,
    ) -> Result<Vec<FragmentAnswer>, Fault> {
        let FragmentResult {
            schema,
            batches,
            mut stats,
        } = result;
        stats.warnings.extend(selection.behind);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let encoded = if rows <= INLINE_ROWS_MAX {
            messages(&schema, batches)
        } else {
            let job = move || messages(&schema, batches);
            self.core.compute.run(job).await.map_err(job_fault)?
        };
        let mut answers = encoded?;
        let last = answers.last_mut().expect("there is always one message");
        last.last = true;
        last.stats = Some(stats);
        last.missing = selection.missing;
        last.progress = selection.progress;
        Ok(answers)
    }

    /// Loads again what somebody wrote to after it was verified.
    async fn replace_changed(&self, selection: &Selection) -> Result<bool, Fault> {
        let mut any = false;
        let now_ms = self.core.clock.now_ms();
        let every_ms = match selection.sealed().nth(LOOKED_AT_EACH_TIME) {
            Some(_) => LOOK_EVERY_MS,
            None => 0,
        };
        for segment in selection.sealed() {
            if let Err(error) = segment.check_unchanged_lately(now_ms, every_ms) {
                self.replace(segment, Damage::Segment(error.to_string()))
                    .await?;
                any = true;
            } else if let Err(error) = segment.check_sidecar_lately(now_ms, every_ms) {
                self.drop_sidecar(segment, error.to_string()).await?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Verifies what was read, only the `suspects` if there are some; sets damaged files aside and
    /// loads them again.
    async fn mend(&self, selection: &Selection, suspects: &[SegmentId]) -> Result<bool, Fault> {
        let is_meant =
            |segment: &&Arc<SealedSegment>| suspects.is_empty() || suspects.contains(&segment.id());
        let sealed = selection.sealed().filter(is_meant).map(Arc::clone);
        let sealed: Vec<Arc<SealedSegment>> = sealed.collect();
        let verify = move || {
            let corrupt = |found: Result<(), SegmentError>| {
                let error = found.err().filter(SegmentError::is_corrupt)?;
                Some(error.to_string())
            };
            let damaged = sealed.into_iter().filter_map(|segment| {
                let damage = match corrupt(segment.verify_all()) {
                    Some(reason) => Damage::Segment(reason),
                    None => Damage::Sidecar(corrupt(segment.verify_sidecar())?),
                };
                Some((segment, damage))
            });
            damaged.collect::<Vec<_>>()
        };
        let damaged = self.core.compute.run(verify).await.map_err(job_fault)?;
        let any = !damaged.is_empty();
        for (segment, damage) in damaged {
            match damage {
                Damage::Segment(_) => self.replace(&segment, damage).await?,
                Damage::Sidecar(reason) => self.drop_sidecar(&segment, reason).await?,
            }
        }
        Ok(any)
    }

    /// The segment goes on without its later indexes, which are built again; where columns are
    /// among them, it is not shown before it has them again.
    async fn drop_sidecar(
        &self,
        damaged: &Arc<SealedSegment>,
        reason: String,
    ) -> Result<(), Fault> {
        let id = damaged.id();
        if damaged.has_computed() {
            return self.replace(damaged, Damage::Sidecar(reason)).await;
        }
        let Some(table) = self.core.tables.get(id.table) else {
            return Ok(());
        };
        let mut was_there = false;
        table.publish(|view| {
            let held = view.find(id.partition, id.sequence);
            if held.is_some_and(|held| held.is_same_file(damaged)) {
                let without = damaged.without_sidecar(&view.spec);
                was_there = view.add_sealed(without).is_ok();
            }
        });
        if let Some((path, _)) = damaged.sidecar().filter(|_| was_there) {
            self.core.store.drop_sidecar(path, &reason);
            self.core.indexer.want((id, damaged.crc()), Extent::All);
        }
        Ok(())
    }

    async fn replace(&self, damaged: &SealedSegment, damage: Damage) -> Result<(), Fault> {
        let id = damaged.id();
        let Some(table) = self.core.tables.get(id.table) else {
            return Ok(());
        };
        let still_there = |view: &TableView| {
            view.find(id.partition, id.sequence)
                .is_some_and(|held| std::ptr::eq(&**held, damaged))
        };
        if !still_there(&table.view()) {
            return Ok(());
        }
        table.publish(|view| {
            if still_there(view) {
                view.remove_sealed(id.partition, id.sequence);
            }
        });
        self.core.heart.hurry();
        match (damage, damaged.sidecar()) {
            (Damage::Segment(reason), _) => self.core.store.quarantine(damaged.path(), &reason),
            (Damage::Sidecar(reason), Some((path, _))) => {
                self.core.store.drop_sidecar(path, &reason);
            }
            (Damage::Sidecar(_), None) => {}
        }
        let cluster = Arc::clone(&self.core.cluster.borrow());
        let state = cluster.tables.get(&id.table);
        let segment = state.and_then(|table| table.segments.find(id));
        let Some(segment) = segment.filter(|segment| segment.record.is_done()) else {
            return Ok(());
        };
        let spec = Arc::clone(&table.view().spec);
        let loaded = self.core.store.load(&spec, &segment.record).await?;
        match table.publish(|view| view.add_sealed(loaded)) {
            // It is looked for again; until then another replica answers.
            Err(SegmentError::Early { .. }) => return Ok(()),
            shown => shown.map_err(|error| segment_fault(&error))?,
        }
        self.core
            .indexer
            .want((id, segment.record.crc), Extent::All);
        self.core.heart.hurry();
        Ok(())
    }
}

/// As the cluster's state says.
pub(crate) fn committed(cluster: &ClusterState, held: &SealedSegment) -> bool {
    let table = cluster.tables.get(&held.id().table);
    let found = table.and_then(|table| table.segments.find(held.id()));
    found.is_some_and(|own| own.record.is_done() && own.record.is_file(held.crc()))
}

/// Damage is found by the reader of a column and comes as an internal fault of the execution.
fn may_be_damage(fault: &Fault) -> bool {
    fault.kind == FaultKind::Internal && fault.code == pinot_code::QUERY_EXECUTION
}

fn fragment_of(
    request: &FragmentRequest,
    selection: &Selection,
    (cancel, suspects): (&CancellationToken, &Suspects),
) -> Fragment {
    Fragment {
        plan: request.plan.clone(),
        template_hash: request.template_hash,
        parameters: request.parameters.clone(),
        tables: selection.tables.clone(),
        specs: selection.specs.clone(),
        null_mode: request.null_mode(),
        options: request.options.clone().unwrap_or_default(),
        cancel: cancel.clone(),
        suspects: suspects.clone(),
    }
}

/// Waits until the minimum offsets are read. The deadline of the fragment ends the wait.
async fn reach(table: &Table, scan: &TableScan) {
    loop {
        let progress = table.progress.notified();
        tokio::pin!(progress);
        progress.as_mut().enable();
        let view = table.view();
        let reached = scan.minimum_offsets.iter().all(|wanted| {
            let run = view.run(wanted.partition).last();
            run.is_some_and(|current| current.next_offset() >= wanted.offset)
        });
        if reached {
            return;
        }
        progress.await;
    }
}

/// No segment has it: its default is everywhere.
fn host_column(server: &InstanceId) -> ColumnSpec {
    let name = server.0.as_str();
    let host = name
        .split_once('_')
        .and_then(|(_, rest)| rest.rsplit_once('_'));
    let host = host.map_or(name, |(host, _)| host);
    ColumnSpec {
        default: Value::String(host.to_owned()),
        ..ColumnSpec::new(
            virtual_column::HOST_NAME,
            DataType::String,
            FieldRole::Dimension,
        )
    }
}

/// One message at least; each is an IPC stream of its own.
fn messages(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<Vec<FragmentAnswer>, Fault> {
    let mut answers = Vec::new();
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut flush = |group: &mut Vec<RecordBatch>| -> Result<(), Fault> {
        let encoded = encode_batches(schema, group)
            .map_err(|error| Fault::from_chain(FaultKind::Internal, &error))?;
        group.clear();
        answers.push(FragmentAnswer {
            batches: encoded,
            ..FragmentAnswer::default()
        });
        Ok(())
    };
    for batch in batches {
        bytes += batch.get_array_memory_size();
        group.push(batch);
        if bytes >= MESSAGE_BYTES {
            flush(&mut group)?;
            bytes = 0;
        }
    }
    if !group.is_empty() {
        flush(&mut group)?;
    }
    if answers.is_empty() {
        answers.push(FragmentAnswer::default());
    }
    Ok(answers)
}

fn failed(fault: Fault) -> FragmentAnswer {
    FragmentAnswer {
        last: true,
        fault: Some(fault.into()),
        ..FragmentAnswer::default()
    }
}

/// A cheap handle for the answer's stream, which outlives the call.
#[derive(Clone, Debug)]
pub(crate) struct FragmentService(pub(crate) Arc<Fragments>);

#[async_trait]
impl FragmentApi for FragmentService {
    async fn run(&self, request: FragmentRequest) -> Result<AnswerStream, Fault> {
        self.0.check_format(&request)?;
        // A broker looks whether somebody is here.
        if request.plan.is_empty() {
            let nothing = FragmentAnswer {
                last: true,
                ..FragmentAnswer::default()
            };
            return Ok(stream::once(async { Ok(nothing) }).boxed());
        }
        let fragments = Arc::clone(&self.0);
        let cancel = CancellationToken::new();
        // Dropping the stream cancels the fragment.
        let dropped = cancel.clone().drop_guard();
        let answers = async move {
            let _dropped = dropped;
            match fragments.answer(request, cancel).await {
                Ok(answers) => stream::iter(answers),
                Err(fault) => stream::iter(vec![failed(fault)]),
            }
        };
        Ok(stream::once(answers).flatten().map(Ok).boxed())
    }

    async fn fetch_segment(&self, request: FetchSegmentRequest) -> Result<PartStream, Fault> {
        crate::peers::send(&self.0.core.store, &request).await
    }

    async fn system_rows(&self, request: SystemRowsRequest) -> Result<SystemRowsReply, Fault> {
        let core = &self.0.core;
        let tables = core.tables.all();
        let rows = match request.table.as_str() {
            REJECTED_ROWS => {
                let now_ms = core.clock.now_ms();
                let job = move || crate::system::rejected_rows(&tables, now_ms);
                core.compute.run(job).await.map_err(job_fault)??
            }
            CONSUMING => crate::system::consuming(&tables)?,
            CONSUMERS => crate::system::consumers(&tables, &core.config.instance)?,
            INDEXES => crate::system::indexes(&tables, &core.config.instance)?,
            INGEST_EVENTS => crate::events::rows(&core.events.all(), &core.config.instance)?,
            other => {
                let message = format!("there is no system table `{other}` on servers");
                return Err(Fault::not_found(message));
            }
        };
        let batches = encode_batches(&rows.schema(), &[rows])
            .map_err(|error| Fault::from_chain(FaultKind::Internal, &error))?;
        Ok(SystemRowsReply {
            batches,
            fault: None,
        })
    }
}
