//! Plans of fragments, decoded and optimized once, and given to each run with its own segments.
//!
//! Invariants:
//! - what is kept depends on the plan's bytes, on the options and on the specs of its tables, and
//!   on nothing else: rules see scans without segments, and no operator looks at the values in
//!   filters before it runs;
//! - all that a run brings (segments, values, counters, its end) comes by [`Run`]. Each leaf of
//!   ours takes it in `with_new_state`. A plan with a leaf that does not, or that these segments do
//!   not fit, is made anew for the run;
//! - nothing of one run is left for the next: only operators that can be reset are kept.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use parking_lot::Mutex;
use query::can_be_reset;
use query::codec::{DecodedPlan, ScanFactory, decode_plan};
use query::parameters::Parameters;
use query::scan_exec::ScanDescription;
use query::watched::{Watch, giving_way, watched};
use runtime::ComputePool;
use runtime::compute::Turns;
use schemas::proto::{Explain, ScanOptions, ScanStats};
use schemas::{Fault, FaultKind, TableId, TableSpec};
use segment::SegmentView;

use crate::computed::computing;
use crate::engine::Fragment;
use crate::learned::hand_down;
use crate::native::{GroupingSetsExec, NativeAggregates};
use crate::scan_exec::ServerScanExec;
use crate::selection::{FirstOfRowsExec, TopRows};
use crate::shared::Shared;
use crate::sides::fewer_kept;
use crate::subqueries;

type Plan = Arc<dyn ExecutionPlan>;
type Segments = HashMap<TableId, Arc<Vec<SegmentView>>>;
type Specs = HashMap<TableId, Arc<TableSpec>>;

/// Plans that are kept at once.
const KEPT_MAX: usize = 1024;

/// What one run brings to a plan.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) tables: Segments,
    pub(crate) specs: Specs,
    pub(crate) shared: Arc<Shared>,
    pub(crate) parameters: Parameters,
    pub(crate) decoding: Arc<TaskContext>,
}

/// A scan of one run.
pub(crate) struct Bound {
    pub(crate) description: Arc<ScanDescription>,
    pub(crate) spec: Arc<TableSpec>,
    pub(crate) segments: Arc<Vec<SegmentView>>,
    pub(crate) shared: Arc<Shared>,
}

/// What a leaf is given by `with_new_state`.
pub(crate) fn run_of(state: &Arc<dyn Any + Send + Sync>) -> Option<&Run> {
    state.downcast_ref()
}

impl Run {
    /// `None`: the run does not fit the scan.
    pub(crate) fn bind(&self, description: &Arc<ScanDescription>) -> Option<Bound> {
        let mut description = Arc::clone(description);
        if let Some(sent) = &description.sent_filters {
            let schema = &description.table_schema;
            let filters = sent.with(&self.parameters, schema, &self.decoding).ok()?;
            description = Arc::new(ScanDescription {
                filters,
                ..ScanDescription::clone(&description)
            });
        }
        Some(Bound {
            spec: Arc::clone(self.specs.get(&description.table)?),
            segments: Arc::clone(self.tables.get(&description.table)?),
            shared: Arc::clone(&self.shared),
            description,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    plan_hash: u64,
    null_mode: i32,
    without_native_operators: bool,
}

/// A plan without segments.
#[derive(Debug)]
struct Prepared {
    /// Hashes may be equal by chance; bytes are not.
    bytes: Bytes,
    options: ScanOptions,
    specs: Specs,
    /// `None`: it is made anew each time.
    plan: Option<Plan>,
    /// What rules counted.
    stats: ScanStats,
}

/// Plans of fragments that were seen.
#[derive(Debug)]
pub(crate) struct PreparedPlans {
    kept: Mutex<HashMap<Key, Arc<Prepared>>>,
    /// Held by kept plans in the place of a run's.
    nobody: Turns,
    used_again: AtomicU64,
}

impl PreparedPlans {
    pub(crate) fn new(pool: &ComputePool) -> Self {
        Self {
            kept: Mutex::default(),
            nobody: pool.turns_of_nobody(),
            used_again: AtomicU64::new(0),
        }
    }

    /// Runs for which there was a plan.
    pub(crate) fn used_again(&self) -> u64 {
        self.used_again.load(Ordering::Relaxed)
    }

    /// The fragment's plan for this run.
    pub(crate) fn plan(&self, fragment: &Fragment, run: &Arc<Run>) -> Result<Plan> {
        let options = &fragment.options;
        // Who asks how a query runs is told what became of this very plan.
        if options.without_plan_templates || options.explain() != Explain::None {
            return made_for(fragment, run);
        }
        let key = Key {
            plan_hash: fragment.template_hash,
            null_mode: fragment.null_mode.into(),
            without_native_operators: options.without_native_operators,
        };
        let known = self.kept.lock().get(&key).cloned();
        let known = known.filter(|known| known.is_of(fragment));
        let is_known = known.is_some();
        let prepared = match known {
            Some(known) => known,
            None => self.keep(key, self.prepare(fragment, run)?),
        };
        let bound = match &prepared.plan {
            Some(plan) => bind(plan, run)?,
            None => None,
        };
        let Some(plan) = bound else {
            return made_for(fragment, run);
        };
        self.used_again
            .fetch_add(u64::from(is_known), Ordering::Relaxed);
        run.shared.counters.update(|stats| {
            stats.native_operators += prepared.stats.native_operators;
            stats.fallback_operators += prepared.stats.fallback_operators;
        });
        learning(plan, run)
    }

    fn keep(&self, key: Key, prepared: Prepared) -> Arc<Prepared> {
        let prepared = Arc::new(prepared);
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&prepared));
        prepared
    }

    fn prepare(&self, fragment: &Fragment, run: &Run) -> Result<Prepared> {
        let shared = Arc::new(Shared {
            turns: self.nobody.clone(),
            counters: Default::default(),
            options: fragment.options.clone(),
            many_groups: Arc::clone(&run.shared.many_groups),
            suspects: Default::default(),
        });
        let factory = Arc::new(Factory {
            tables: None,
            specs: fragment.specs.clone(),
            shared: Arc::clone(&shared),
        });
        let DecodedPlan {
            plan,
            is_of_its_values,
        } = decode_plan(&fragment.plan, &run.parameters, &run.decoding, factory)?;
        let is_of_its_segments = joins(&plan);
        let plan = optimized(plan, &shared, &run.decoding)?;
        let may_be_kept = !is_of_its_values && !is_of_its_segments && can_be_reset(&plan, &is_ours);
        Ok(Prepared {
            bytes: fragment.plan.clone(),
            options: fragment.options.clone(),
            specs: fragment.specs.clone(),
            plan: may_be_kept.then_some(plan),
            stats: shared.counters.snapshot(),
        })
    }
}

impl Prepared {
    fn is_of(&self, fragment: &Fragment) -> bool {
        let same_spec = |(id, spec): (&TableId, &Arc<TableSpec>)| {
            let known = self.specs.get(id);
            known.is_some_and(|known| Arc::ptr_eq(known, spec))
        };
        self.bytes == fragment.plan
            && self.options == fragment.options
            && self.specs.len() == fragment.specs.len()
            && fragment.specs.iter().all(same_spec)
    }
}

/// The plan of this run and no other.
fn made_for(fragment: &Fragment, run: &Run) -> Result<Plan> {
    let factory = Factory {
        tables: Some(run.tables.clone()),
        specs: run.specs.clone(),
        shared: Arc::clone(&run.shared),
    };
    let factory = Arc::new(factory);
    let decoded = decode_plan(&fragment.plan, &run.parameters, &run.decoding, factory)?;
    learning(optimized(decoded.plan, &run.shared, &run.decoding)?, run)
}

fn optimized(plan: Plan, shared: &Arc<Shared>, decoding: &TaskContext) -> Result<Plan> {
    let options = decoding.session_config().options();
    let plan = match shared.options.without_native_operators {
        true => plan,
        false => subqueries::handed_down(plan)?,
    };
    let rule = NativeAggregates {
        shared: Arc::clone(shared),
    };
    let plan = rule.optimize(plan, options)?;
    if shared.options.without_native_operators {
        return giving_way(plan);
    }
    let rule = TopRows {
        shared: Arc::clone(shared),
    };
    let plan = fewer_kept(rule.optimize(plan, options)?)?;
    giving_way(computing(plan)?)
}

/// The plan of one run, whose operators may learn and end with it.
fn learning(plan: Plan, run: &Run) -> Result<Plan> {
    let watch = Watch {
        cancel: run.shared.cancel().clone(),
        // The server cancels it.
        deadline: None,
    };
    let plan = watched(plan, &watch)?;
    match run.shared.options.without_native_operators {
        true => Ok(plan),
        false => hand_down(plan, run.decoding.session_config().options()),
    }
}

/// What holds nothing between runs, as far as it is ours.
fn is_ours(plan: &Plan) -> bool {
    let mut children = plan.children().into_iter();
    let has_own = plan.is::<GroupingSetsExec>() || plan.is::<FirstOfRowsExec>();
    (has_own || children.len() == 0) && children.all(|child| can_be_reset(child, &is_ours))
}

/// Joins are planned by what is in the segments.
fn joins(plan: &Plan) -> bool {
    plan.is::<HashJoinExec>() || plan.children().into_iter().any(joins)
}

/// A fresh copy of the plan for the run; `None`: it does not fit.
fn bind(plan: &Plan, run: &Arc<Run>) -> Result<Option<Plan>> {
    let children = plan.children();
    if children.is_empty() {
        if plan.is::<PlaceholderRowExec>() || plan.is::<EmptyExec>() {
            return Ok(Some(Arc::clone(plan)));
        }
        return Ok(plan.with_new_state(Arc::clone(run) as _));
    }
    let mut bound = Vec::with_capacity(children.len());
    for child in children {
        match bind(child, run)? {
            Some(child) => bound.push(child),
            None => return Ok(None),
        }
    }
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    let fresh = Arc::clone(plan).replace_children(bound, keep)?;
    fresh.reset_state().map(Some)
}

/// Makes scans of tables.
#[derive(Debug)]
struct Factory {
    /// `None`: the scans are given their segments later.
    tables: Option<Segments>,
    specs: Specs,
    shared: Arc<Shared>,
}

impl ScanFactory for Factory {
    fn scan(&self, description: ScanDescription) -> Result<Arc<dyn ExecutionPlan>> {
        let table = description.table;
        let segments = match &self.tables {
            Some(tables) => tables.get(&table).cloned(),
            None => Some(Arc::default()),
        };
        let (Some(segments), Some(spec)) = (segments, self.specs.get(&table)) else {
            let name = &description.table_name;
            return Err(internal_datafusion_err!(
                "the fragment names no segments of table `{name}`"
            ));
        };
        // A broker that knows a newer schema asks elsewhere until this server knows it too.
        for at in description.projection.iter().copied() {
            let name = description.table_schema.field(at).name();
            if !name.starts_with('$') && spec.column(name).is_none() {
                let message = format!("this server does not know column `{name}` yet");
                let code = schemas::fault::pinot_code::QUERY_EXECUTION;
                let fault = Fault::new(FaultKind::Unavailable, code, message);
                return Err(crate::columns::external(fault));
            }
        }
        let (spec, shared) = (Arc::clone(spec), Arc::clone(&self.shared));
        let scan = ServerScanExec::new(description, spec, segments, shared)?;
        Ok(Arc::new(scan))
    }
}
