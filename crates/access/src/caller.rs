//! Who asks, in one request: what handlers and the planner ask for permission.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use schemas::cluster::ClusterState;
use schemas::fault::pinot_code;
use schemas::{Fault, FaultKind};

use crate::audit::{Audit, Event};
use crate::grants::{Action, Grants};
use crate::principals::Principal;

#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    from: Option<IpAddr>,
    /// `POST /query/sql`.
    what: Arc<str>,
    audit: Audit,
}

impl Caller {
    pub(crate) fn new(
        principal: Principal,
        from: Option<IpAddr>,
        what: Arc<str>,
        audit: Audit,
    ) -> Self {
        Self {
            principal,
            from,
            what,
            audit,
        }
    }

    /// Where nobody proves anything.
    pub fn anyone() -> Self {
        Self::new(Principal::anyone(), None, "".into(), Audit::default())
    }

    /// Of whom nothing is known: may nothing.
    pub fn nobody() -> Self {
        let nobody = Principal::new("nobody", Grants::default());
        Self::new(nobody, None, "".into(), Audit::default())
    }

    pub fn name(&self) -> &str {
        self.principal.name()
    }

    /// Whether what belongs to `owner` is this one's own.
    pub fn is(&self, owner: &str) -> bool {
        self.principal.is_anyone() || self.principal.name() == owner
    }

    pub fn may(&self, action: Action, table: &str) -> bool {
        self.principal.may(action, table)
    }

    /// Something of it: then one may know that it is there.
    pub fn may_any(&self, table: &str) -> bool {
        Action::ALL.iter().any(|action| self.may(*action, table))
    }

    pub fn may_cluster(&self, action: Action) -> bool {
        self.principal.may_cluster(action)
    }

    /// The answer tells nothing about whether there is such a table.
    pub fn check(&self, action: Action, table: &str) -> Result<(), Fault> {
        let may = self.may(action, table);
        self.tell(action, Some(table), may);
        match may {
            true => Ok(()),
            false => Err(self.denied(action, table)),
        }
    }

    pub fn check_cluster(&self, action: Action) -> Result<(), Fault> {
        let may = self.may_cluster(action);
        self.tell(action, None, may);
        match may {
            true => Ok(()),
            false => Err(self.fault(&format!("may not {action} the cluster"))),
        }
    }

    /// The cluster with the tables alone that one may read.
    pub fn visible(&self, cluster: &Arc<ClusterState>) -> Arc<ClusterState> {
        self.principal.visible(cluster)
    }

    /// A statement has read these, or was denied.
    pub fn has_asked(&self, tables: &BTreeSet<String>, statement: &str, fault: Option<&Fault>) {
        if let Some(fault) = fault.filter(|fault| fault.kind == FaultKind::Denied) {
            self.audit.write(&Event {
                statement: Some(statement),
                why: Some(&fault.message),
                ..self.event(Action::Read, None, false)
            });
            return;
        }
        if !self.audit.wants(Action::Read, true) {
            return;
        }
        for table in tables {
            self.audit.write(&Event {
                statement: Some(statement),
                ..self.event(Action::Read, Some(table), true)
            });
        }
    }

    fn tell(&self, action: Action, table: Option<&str>, may: bool) {
        if self.audit.wants(action, may) {
            self.audit.write(&self.event(action, table, may));
        }
    }

    fn event<'a>(&'a self, action: Action, table: Option<&'a str>, may: bool) -> Event<'a> {
        Event {
            who: Some(self.name()),
            from: self.from,
            what: &self.what,
            action: Some(action),
            table,
            decision: if may { "allowed" } else { "denied" },
            why: None,
            statement: None,
        }
    }

    /// What is said to one who may not.
    pub fn denied(&self, action: Action, table: &str) -> Fault {
        self.fault(&format!("may not {action} table `{table}`"))
    }

    fn fault(&self, what: &str) -> Fault {
        let message = format!("`{}` {what}", self.name());
        Fault::new(FaultKind::Denied, pinot_code::ACCESS_DENIED, message)
    }
}
