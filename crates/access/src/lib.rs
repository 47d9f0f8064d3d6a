//! Whom a node lets in, to do what.
//!
//! Invariants:
//! - what somebody may do is decided in one place, [`Principal::may`] and
//!   [`Principal::may_cluster`]; doors, handlers and the planner ask there, through the [`Caller`]
//!   of their request;
//! - a file that is wrong ends the start of a node, with a sentence; one that becomes wrong later
//!   is told of and changes nothing: what was read before stays in force;
//! - no password, token or key is ever shown: not in a log, not in an error, not by `Debug`.

mod audit;
mod caller;
mod der;
mod followed;
mod gate;
mod grants;
mod jwt;
mod nodes;
mod principals;
pub mod secrets;
pub mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::{Clock, Files, TaskGroup};

pub use audit::{Audit, AuditLevel};
pub use caller::Caller;
pub use gate::{Gate, Refused};
pub use grants::{Action, Grants};
pub use nodes::NodeTrust;
pub use principals::{Principal, checked};
pub use tls::{Tls, TlsFiles};

/// What is wrong with a file, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AccessError(pub String);

/// What the settings say.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `None`: everybody may do everything.
    pub principals: Option<PathBuf>,
    pub tls: Option<TlsFiles>,
    /// With a secret that all nodes of the cluster have.
    pub node_token: Option<PathBuf>,
    pub audit: AuditLevel,
    /// `None`: into the log.
    pub audit_file: Option<PathBuf>,
}

/// How a node lets others in. The default is open to everybody: for loopback, and for tests.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub gate: Gate,
    pub tls: Option<Tls>,
    pub nodes: NodeTrust,
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Access {
    pub fn load(
        config: &Config,
        clock: &Arc<dyn Clock>,
        files: &dyn Files,
    ) -> Result<Self, AccessError> {
        let audit = Audit::open(
            config.audit,
            config.audit_file.as_deref(),
            Arc::clone(clock),
            files,
        )?;
        let gate = match &config.principals {
            Some(path) => Gate::guarded(path, audit, Arc::clone(clock))?,
            None => Gate::open(),
        };
        let tls = config.tls.clone();
        let tls = tls.map(|files| Tls::load(files, clock.now_ms()));
        let tls = tls.transpose()?;
        let nodes = NodeTrust::load(tls.clone(), config.node_token.as_deref())?;
        Ok(Self { gate, tls, nodes })
    }

    /// Reads files again when they have changed, until `tasks` stops.
    pub fn follow(&self, clock: Arc<dyn Clock>, tasks: &TaskGroup) {
        let access = self.clone();
        tasks.spawn("access files", |stop| async move {
            let again_and_again = async {
                loop {
                    clock.sleep(LOOK_EVERY).await;
                    access.look(clock.now_ms());
                }
            };
            stop.run_until_cancelled(again_and_again).await;
        });
    }

    fn look(&self, now_ms: i64) {
        self.gate.look();
        if let Some(tls) = &self.tls {
            tls.look(now_ms);
        }
    }
}
