//! `tannin quickstart`: every role in one process, with sample data that keeps arriving.
//!
//! It is a node like any other, and a client of it: tables are created and rows are loaded over
//! HTTP, events are produced over Kafka's protocol.

mod feeder;
mod seed;
mod show;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use runtime::TaskGroup;
use runtime::settings::{Layers, Settings};
use schemas::cluster::Role;

use crate::args::QuickstartArgs;
use crate::client::Client;
use crate::commands::start::finish;
use crate::entrance;
use crate::exit::Exit;
use crate::node::{Node, Parts, Transport};
use crate::sample::QUESTIONS;
use crate::signals::Signals;
use crate::telemetry;
use seed::Seed;
use show::Screen;

const FEEDER_GRACE: Duration = Duration::from_secs(3);

pub(crate) async fn run(args: QuickstartArgs) -> Result<()> {
    let settings = settings(&args)?;
    telemetry::init(&settings.telemetry)?;
    let mut signals = Signals::new()?;
    let mut parts = Parts::real(Transport::InProcess(Arc::default()));
    if !args.empty {
        let owned = |(title, sql): (&str, &str)| (title.to_owned(), sql.to_owned());
        parts.examples = QUESTIONS.map(owned).to_vec();
    }
    let node = Node::start(&settings, &Role::ALL, parts).await?;
    let tasks = TaskGroup::new("quickstart");
    let screen = Screen::new(&settings, &node);
    screen.places();
    let outcome = tokio::select! {
        outcome = work(&args, &node, &screen, &tasks) => outcome,
        _ = signals.next() => Ok(()),
    };
    screen.stopping();
    let stop = async {
        tasks.stop(FEEDER_GRACE).await;
        node.stop().await;
    };
    tokio::select! {
        () = stop => outcome,
        _ = signals.next() => anyhow::bail!("ended before everything was drained"),
    }
}

/// Ends only with an error.
async fn work(
    args: &QuickstartArgs,
    node: &Node,
    screen: &Screen,
    tasks: &TaskGroup,
) -> Result<()> {
    let client = Client::at(&node.addresses.broker_http, &node.addresses.controller_http)?;
    if args.empty {
        screen.empty();
        return std::future::pending().await;
    }
    let seed = Seed {
        client: &client,
        node,
        events_per_second: args.events_per_second,
    };
    seed.plant(tasks).await?;
    screen.watch(&client, args.events_per_second).await
}

/// A newcomer is shown what goes wrong and nothing else, unless somebody asks for more.
fn settings(args: &QuickstartArgs) -> Result<Settings> {
    let mut layers = Layers::default();
    layers.assignment("telemetry.log_level=warn");
    let mut flags = Vec::new();
    if let Some(folder) = &args.data_dir {
        flags.push(format!("node.data_dir={}", folder.display()));
    }
    if let Some(offset) = args.port_offset {
        flags.push(format!("node.port_offset={offset}"));
    }
    flags.extend(args.set.iter().cloned());
    let settings = finish(layers, &flags)?;
    entrance::stay_at_home(&settings)?;
    if !args.empty && !settings.log.enabled {
        return Err(Exit::usage(
            "the sample flights come through the built-in log, and log.enabled is false; add \
             --empty to do without them",
        ));
    }
    Ok(settings)
}
