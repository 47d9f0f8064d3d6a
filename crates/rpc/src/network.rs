//! How a role reaches another: by gRPC, or by a table of the roles in this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use access::NodeTrust;
use parking_lot::RwLock;
use runtime::TaskGroup;
use schemas::Fault;
use schemas::cluster::InstanceState;

use crate::channel::{Channel, channel};
use crate::connection::FragmentConnection;
use crate::failover::FailoverControl;
use crate::{ControlApi, FragmentApi};

/// The one way from role to role.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    fn controller(&self) -> Result<Arc<dyn ControlApi>, Fault>;
    fn server(&self, instance: &InstanceState) -> Result<Arc<dyn FragmentApi>, Fault>;
    /// A line to what the server at `address` offers beside its own service. Roles of one process
    /// have none.
    fn channel(&self, address: &str) -> Result<Channel, Fault> {
        let message = format!("no channel leads to `{address}` from within one process");
        Err(Fault::unavailable(message))
    }
    /// Whether [`Self::channel`] leads anywhere.
    fn has_channels(&self) -> bool {
        false
    }
}

/// Roles of one process call each other directly.
#[derive(Default)]
pub struct InProcessNetwork {
    controller: RwLock<Option<Arc<dyn ControlApi>>>,
    servers: RwLock<HashMap<String, Arc<dyn FragmentApi>>>,
}

impl InProcessNetwork {
    pub fn register_controller(&self, controller: Arc<dyn ControlApi>) {
        *self.controller.write() = Some(controller);
    }

    /// `instance` is the id under which the server sends its heartbeats.
    pub fn register_server(&self, instance: &str, server: Arc<dyn FragmentApi>) {
        self.servers.write().insert(instance.to_owned(), server);
    }

    pub fn remove_server(&self, instance: &str) {
        self.servers.write().remove(instance);
    }
}

impl fmt::Debug for InProcessNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessNetwork")
            .field("servers", &self.servers.read().keys())
            .finish_non_exhaustive()
    }
}

impl Network for InProcessNetwork {
    fn controller(&self) -> Result<Arc<dyn ControlApi>, Fault> {
        self.controller
            .read()
            .clone()
            .ok_or_else(|| Fault::unavailable("no controller runs in this process"))
    }

    fn server(&self, instance: &InstanceState) -> Result<Arc<dyn FragmentApi>, Fault> {
        let name = &instance.id.0;
        self.servers.read().get(name).cloned().ok_or_else(|| {
            Fault::unavailable(format!("server `{name}` does not run in this process"))
        })
    }
}

/// One long-lived connection to the controller and one to each server, made on first use.
pub struct GrpcNetwork {
    controller: Option<Arc<dyn ControlApi>>,
    servers: RwLock<HashMap<String, Arc<FragmentConnection>>>,
    channels: RwLock<HashMap<String, Channel>>,
    trust: NodeTrust,
    tasks: TaskGroup,
}

impl GrpcNetwork {
    /// `controller` is `host:port`, or several with commas between; a role that never calls the
    /// controller passes `None`. Nobody proves anything.
    pub fn new(controller: Option<&str>, tasks: &TaskGroup) -> Result<Self, Fault> {
        Self::trusting(controller, &NodeTrust::default(), tasks)
    }

    /// The same between nodes that prove themselves to each other.
    pub fn trusting(
        controller: Option<&str>,
        trust: &NodeTrust,
        tasks: &TaskGroup,
    ) -> Result<Self, Fault> {
        let controller = match controller {
            Some(list) => Some(Arc::new(FailoverControl::of(list, trust)?) as Arc<dyn ControlApi>),
            None => None,
        };
        let tasks = tasks.child("grpc");
        Ok(Self {
            controller,
            servers: RwLock::default(),
            channels: RwLock::default(),
            trust: trust.clone(),
            tasks,
        })
    }
}

impl fmt::Debug for GrpcNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcNetwork")
            .field("servers", &self.servers.read().keys())
            .finish()
    }
}

impl Network for GrpcNetwork {
    fn controller(&self) -> Result<Arc<dyn ControlApi>, Fault> {
        self.controller
            .clone()
            .ok_or_else(|| Fault::unavailable("no controller address is configured"))
    }

    fn server(&self, instance: &InstanceState) -> Result<Arc<dyn FragmentApi>, Fault> {
        let address = &instance.address;
        if let Some(known) = self.servers.read().get(address)
            && !known.is_closed()
        {
            return Ok(Arc::clone(known) as Arc<dyn FragmentApi>);
        }
        let fresh = Arc::new(FragmentConnection::open(address, &self.trust, &self.tasks)?);
        self.servers
            .write()
            .insert(address.clone(), Arc::clone(&fresh));
        Ok(fresh)
    }
    fn channel(&self, address: &str) -> Result<Channel, Fault> {
        if let Some(known) = self.channels.read().get(address) {
            return Ok(known.clone());
        }
        let fresh = channel(address, &self.trust)?;
        let mut channels = self.channels.write();
        Ok(channels.entry(address.to_owned()).or_insert(fresh).clone())
    }

    fn has_channels(&self) -> bool {
        true
    }
}
