//! What a table's quota lets through.

use runtime::ManualClock;
use schemas::cluster::InstanceState;
use schemas::table::QuotaSpec;
use schemas::{InstanceId, TableSpec, TableType};

use super::*;

struct Given {
    clock: Arc<ManualClock>,
    quotas: Arc<Quotas>,
    cluster: ClusterState,
}

fn given(quota: QuotaSpec, brokers: usize) -> Given {
    let clock = ManualClock::at_ms(0);
    let opts = prometheus::Opts::new("refused", "refused");
    let refused = IntCounterVec::new(opts, &["limit"]).unwrap();
    let spec = TableSpec {
        quota,
        ..TableSpec::new("t".parse().unwrap(), TableType::Offline, Vec::new())
    };
    let table = crate::tests::double::state(&spec, &[]);
    let mut cluster = ClusterState::default();
    cluster.tables.insert(spec.id, Arc::new(table));
    for at in 0..brokers {
        let id = InstanceId(format!("b{at}"));
        let broker = InstanceState {
            id: id.clone(),
            role: Role::Broker,
            address: String::new(),
            alive: true,
            plan_format: 0,
            exchange_format: 0,
            leads: false,
        };
        cluster.instances.insert(id, broker);
    }
    Given {
        quotas: Arc::new(Quotas::new(
            Arc::clone(&clock) as Arc<dyn Clock>,
            refused,
            [],
        )),
        clock,
        cluster,
    }
}

impl Given {
    fn enter(&self) -> Result<Pass, Fault> {
        self.enter_by(&*self.quotas.for_query())
    }

    fn enter_by(&self, gate: &dyn Gate) -> Result<Pass, Fault> {
        gate.enter(&BTreeSet::from(["t".to_owned()]), &self.cluster)
    }

    fn refused(&self, limit: &str) -> u64 {
        self.quotas.refused.with_label_values(&[limit]).get()
    }
}

#[test]
fn so_many_queries_a_second() {
    let quota = QuotaSpec {
        queries_per_second: Some(10.0),
        ..QuotaSpec::default()
    };
    let given = given(quota, 2);
    let let_through = |tries: usize| (0..tries).filter(|_| given.enter().is_ok()).count();
    // Half of it here.
    assert_eq!(let_through(20), 5);
    let fault = given.enter().unwrap_err();
    assert_eq!((fault.code, fault.kind), (429, FaultKind::Overloaded));
    assert!(fault.message.contains("`t_OFFLINE`"), "{fault}");
    assert!(
        fault.message.contains("10 queries a second of 2 brokers"),
        "{fault}"
    );
    given.clock.advance(Duration::from_millis(400));
    assert_eq!(let_through(20), 2);
    given.clock.advance(Duration::from_secs(3600));
    assert_eq!(let_through(20), 5);
    assert_eq!(given.refused("rate"), 15 + 1 + 18 + 15);
    // Planned again, a query does not count again.
    given.clock.advance(Duration::from_secs(1));
    let gate = given.quotas.for_query();
    assert!((0..20).all(|_| given.enter_by(&*gate).is_ok()));
    assert_eq!(let_through(20), 4);
}

#[test]
fn less_than_one_a_second() {
    let quota = QuotaSpec {
        queries_per_second: Some(0.1),
        ..QuotaSpec::default()
    };
    let given = given(quota, 1);
    assert!(given.enter().is_ok());
    given.clock.advance(Duration::from_secs(9));
    assert!(given.enter().is_err());
    given.clock.advance(Duration::from_secs(1));
    assert!(given.enter().is_ok());
}

#[test]
fn so_many_at_once() {
    let quota = QuotaSpec {
        queries_running_max: Some(2),
        ..QuotaSpec::default()
    };
    let given = given(quota, 1);
    let (first, _second) = (given.enter().unwrap(), given.enter().unwrap());
    let fault = given.enter().unwrap_err();
    assert!(fault.message.contains("maxQueriesRunning"), "{fault}");
    drop(first);
    assert!(given.enter().is_ok());
    assert_eq!(given.refused("running"), 1);
}

#[test]
fn so_much_memory_together() {
    let quota = QuotaSpec {
        memory_bytes_max: Some(1000),
        ..QuotaSpec::default()
    };
    let given = given(quota, 1);
    let (a, b) = (given.enter().unwrap(), given.enter().unwrap());
    let (a, b) = (a.memory.clone().unwrap(), b.memory.clone().unwrap());
    a.take(600).unwrap();
    let fault = b.take(600).unwrap_err();
    assert_eq!(fault.code, 429, "{fault}");
    b.take(400).unwrap();
    a.give_back(600);
    b.take(600).unwrap();
    assert_eq!(given.refused("memory"), 1);
}

#[test]
fn tables_without_a_quota_are_free() {
    let given = given(QuotaSpec::default(), 1);
    assert!((0..1000).all(|_| given.enter().is_ok()));
    assert!(given.quotas.used.lock().is_empty());
}

#[test]
fn tables_of_a_tenant_share_its_quota() {
    let usual = given(QuotaSpec::default(), 1);
    let texts = [
        "fast maxQueriesRunning=2 maxQueryMemory=1K",
        "slow maxQueriesPerSecond=0.5",
    ];
    let tenants = texts.map(|text| schemas::pinot::tenant_quota(text).unwrap());
    let clock = Arc::clone(&usual.clock) as Arc<dyn Clock>;
    let quotas = Arc::new(Quotas::new(clock, usual.quotas.refused.clone(), tenants));
    let mut cluster = ClusterState::default();
    for (name, tenant) in [("a", "fast"), ("b", "fast"), ("c", "slow"), ("d", "other")] {
        let mut spec = TableSpec::new(name.parse().unwrap(), TableType::Offline, Vec::new());
        spec.placement.server_tenant = tenant.to_owned();
        let table = crate::tests::double::state(&spec, &[]);
        cluster.tables.insert(spec.id, Arc::new(table));
    }
    let enter = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        quotas.for_query().enter(&names, &cluster)
    };
    // Of both tables one query, which counts once.
    let (first, _second) = (enter(&["a", "b"]).unwrap(), enter(&["b"]).unwrap());
    let fault = enter(&["a", "d"]).unwrap_err();
    assert_eq!((fault.code, fault.kind), (429, FaultKind::Overloaded));
    let told = "tenant `fast` has 2 queries running, its `broker.tenant_quotas` with \
                `maxQueriesRunning`";
    assert!(fault.message.starts_with(told), "{fault}");
    let memory = first.memory.clone().unwrap();
    memory.take(1000).unwrap();
    let fault = memory.take(100).unwrap_err();
    assert!(
        fault.message.contains("queries of tenant `fast`"),
        "{fault}"
    );
    drop(first);
    assert!(enter(&["a"]).is_ok());
    assert!(enter(&["c"]).is_ok());
    assert!(enter(&["c"]).is_err());
    assert!((0..1000).all(|_| enter(&["d"]).is_ok()));

    for wrong in [
        "",
        "fast",
        "maxQueriesRunning=2",
        "fast maxQueriesRunning=no",
        "fast most=2",
    ] {
        let fault = schemas::pinot::tenant_quota(wrong).unwrap_err();
        assert!(!fault.0.is_empty(), "{wrong}");
    }
}
