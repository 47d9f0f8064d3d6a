//! Produces at a steady rate, and tells the model what was acknowledged.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stream::KafkaProducer;

use super::model::{Model, TABLE};

const TICK: Duration = Duration::from_millis(4);
const IN_FLIGHT_MAX: usize = 400;

/// Produces for so long.
pub async fn for_a_while(
    producer: &KafkaProducer,
    per_second: f64,
    within: Duration,
    model: &mut Model,
) -> Result<()> {
    let begin = Instant::now();
    produce(producer, per_second, model, || {
        Ok((begin.elapsed() >= within).then_some(()))
    })
    .await
}

/// Produces until there is a reason to end.
pub async fn produce<T>(
    producer: &KafkaProducer,
    per_second: f64,
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
                let due = (begin.elapsed().as_secs_f64() * per_second) as u64;
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
