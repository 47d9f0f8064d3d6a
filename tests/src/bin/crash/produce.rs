//! Produces until the node is dead.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Result;
use stream::KafkaProducer;
use tests::exactly_once::model::Model;
use tests::exactly_once::produce::produce;
use tests::process::Node;

const POLL: Duration = Duration::from_millis(4);
pub(crate) const EVENTS_PER_SECOND: f64 = 3000.0;

/// How a round ended.
#[derive(Debug)]
pub(crate) enum Death {
    /// By itself, which a fail point does.
    Itself(ExitStatus),
    /// Killed from outside at the deadline.
    Killed,
}

/// Produces until the node is dead, at `deadline` at the latest.
pub(crate) async fn until_death(
    node: &mut Node,
    deadline: Instant,
    kafka: Option<&str>,
    model: &mut Model,
) -> Result<Death> {
    let producer = match connect(node, deadline, kafka).await? {
        Ok(producer) => producer,
        Err(death) => return Ok(death),
    };
    produce(&producer, EVENTS_PER_SECOND, model, || dead(node, deadline)).await
}

/// A producer once the log listens; or how the node ended before.
async fn connect(
    node: &mut Node,
    deadline: Instant,
    kafka: Option<&str>,
) -> Result<Result<KafkaProducer, Death>> {
    loop {
        if let Some(death) = dead(node, deadline)? {
            return Ok(Err(death));
        }
        if let Some(ports) = node.ports() {
            return Ok(Ok(KafkaProducer::new(kafka.unwrap_or(&ports.log))?));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn dead(node: &mut Node, deadline: Instant) -> Result<Option<Death>> {
    if let Some(status) = node.ended()? {
        return Ok(Some(Death::Itself(status)));
    }
    if Instant::now() < deadline {
        return Ok(None);
    }
    node.kill()?;
    Ok(Some(Death::Killed))
}
