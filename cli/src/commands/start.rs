//! `tannin start`: roles of a cluster, from a settings file.

use std::path::Path;

use anyhow::Result;
use runtime::settings::{Layers, Settings};

use crate::args::StartArgs;
use crate::entrance;
use crate::exit::Exit;
use crate::node::{Node, Parts, Transport};
use crate::signals::Signals;
use crate::telemetry;

pub(crate) async fn run(args: StartArgs) -> Result<()> {
    let mut layers = Layers::default();
    if let Some(path) = &args.config {
        layers.file(&path.display().to_string(), &read(path)?);
    }
    let settings = finish(layers, &args.set)?;
    telemetry::init(&settings.telemetry)?;
    entrance::refuse_open_doors(&settings, &args.role)?;
    let mut signals = Signals::new()?;
    let node = Node::start(&settings, &args.role, Parts::real(Transport::Grpc)).await?;
    let roles: Vec<&str> = args.role.iter().map(|role| role.name()).collect();
    tracing::info!(roles = roles.join(","), data_dir = %node.data_dir.display(), "started");
    let refusal = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            None
        }
        reason = node.refused() => Some(reason),
    };
    node.stop().await;
    match refusal {
        None => Ok(()),
        Some(reason) => Err(Exit::usage(format!(
            "the cluster refuses this node: {reason}"
        ))),
    }
}

pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Exit::usage(format!("cannot read `{}`: {error}", path.display())))
}

/// Environment and flags on top of `layers`.
pub(crate) fn finish(mut layers: Layers, flags: &[String]) -> Result<Settings> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    layers.environment(variables);
    for flag in flags {
        layers.assignment(flag);
    }
    layers
        .settings()
        .map_err(|error| Exit::usage(error.to_string()))
}
