//! Produces at a steady rate, and tells the model what was acknowledged.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stream::KafkaProducer;
use tests::process::Node;

use crate::model::{Model, TABLE};

const TICK: Duration = Duration::from_millis(4);
const EVENTS_PER_SECOND: f64 = 3000.0;
const IN_FLIGHT_MAX: usize = 400;

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
    produce(&producer, model, || dead(node, deadline)).await
}

/// Produces for so long.
pub(crate) async fn for_a_while(
    producer: &KafkaProducer,
    within: Duration,
    model: &mut Model,
) -> Result<()> {
    let begin = Instant::now();
    produce(producer, model, || {
        Ok((begin.elapsed() >= within).then_some(()))
    })
    .await
}

/// Produces until there is a reason to end.
async fn produce<T>(
    producer: &KafkaProducer,
    model: &mut Model,
    mut ended: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let mut sending = FuturesUnordered::new();
    let mut ticks = tokio::time::interval(TICK);
    let begin = Instant::now();
    let mut sent = 0u64;
    loop {
        tokio::select! {
            Some((id, delivered)) = sending.next() => {
                // An event without an answer stays unknown.
                if let Ok((_, offset)) = delivered {
                    model.acknowledged(id, offset)?;
                }
            }
            _ = ticks.tick() => {
                if let Some(reason) = ended()? {
                    return Ok(reason);
                }
                let due = (begin.elapsed().as_secs_f64() * EVENTS_PER_SECOND) as u64;
                while sent < due && sending.len() < IN_FLIGHT_MAX {
                    let (id, partition, payload) = model.send();
                    sent += 1;
                    sending.push(async move {
                        let payload = payload.as_bytes();
                        let result = producer.produce(TABLE, Some(partition), None, payload).await;
                        (id, result)
                    });
                }
            }
        }
    }
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
        tokio::time::sleep(TICK).await;
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
