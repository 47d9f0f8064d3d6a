//! A few messages of a topic, to infer a schema from.
//!
//! Invariant: never more messages than asked for, and never later than asked for; a topic with
//! fewer messages gives what it has.

use std::time::Duration;

use futures::stream::{StreamExt, TryStreamExt};
use schemas::Offset;
use tokio::time::{Instant, timeout_at};

use crate::{Message, StreamError, StreamSource};

/// Each open reader has its own client.
const READERS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFrom {
    /// The oldest messages.
    Start,
    /// The newest.
    End,
}

/// Part of one partition: `[from, end)`, of which at most `count` messages are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    partition: u32,
    from: Offset,
    end: Offset,
    count: usize,
}

/// Up to `count` messages from all partitions of `topic`, by partition and offset. What has not
/// come `within` that time is left out.
pub async fn sample(
    source: &dyn StreamSource,
    topic: &str,
    count: usize,
    from: SampleFrom,
    within: Duration,
) -> Result<Vec<Message>, StreamError> {
    let parts = sample_partitions(source, topic, count, from, within).await?;
    Ok(parts
        .into_iter()
        .flat_map(|(_, messages)| messages)
        .collect())
}

/// The same, with the partition of each.
pub async fn sample_partitions(
    source: &dyn StreamSource,
    topic: &str,
    count: usize,
    from: SampleFrom,
    within: Duration,
) -> Result<Vec<(u32, Vec<Message>)>, StreamError> {
    let deadline = Instant::now() + within;
    let mut held = Vec::new();
    for partition in 0..source.partitions(topic).await? {
        let (start, end) = source.watermarks(topic, partition).await?;
        held.push((partition, start, end));
    }
    let reads = shares(&held, count, from).into_iter().map(|share| {
        let read = read_share(source, topic, share, deadline);
        async move { Ok::<_, StreamError>((share.partition, read.await?)) }
    });
    let mut parts: Vec<(u32, Vec<Message>)> = futures::stream::iter(reads)
        .buffer_unordered(READERS_MAX)
        .try_collect()
        .await?;
    parts.sort_by_key(|(partition, _)| *partition);
    Ok(parts)
}

/// Splits `count` evenly; what a small partition cannot give, the larger ones do.
fn shares(held: &[(u32, Offset, Offset)], count: usize, side: SampleFrom) -> Vec<Share> {
    let mut held: Vec<_> = held.iter().filter(|(_, start, end)| end > start).collect();
    held.sort_by_key(|(_, start, end)| end - start);
    let mut left = count;
    let mut shares = Vec::with_capacity(held.len());
    for (index, (partition, start, end)) in held.iter().enumerate() {
        let even = left.div_ceil(held.len() - index);
        let take = usize::try_from(end - start).unwrap_or(usize::MAX).min(even);
        left -= take;
        let from = match side {
            SampleFrom::Start => *start,
            SampleFrom::End => end - take as Offset,
        };
        shares.push(Share {
            partition: *partition,
            from,
            end: *end,
            count: take,
        });
    }
    shares.retain(|share| share.count > 0);
    shares
}

async fn read_share(
    source: &dyn StreamSource,
    topic: &str,
    share: Share,
    deadline: Instant,
) -> Result<Vec<Message>, StreamError> {
    let mut reader = source.open(topic, share.partition, share.from).await?;
    let mut sampled = Vec::with_capacity(share.count);
    while sampled.len() < share.count {
        let wait = deadline.saturating_duration_since(Instant::now());
        let Ok(fetched) = timeout_at(deadline, reader.fetch(wait)).await else {
            break;
        };
        let fetched = fetched?;
        let room = share.count - sampled.len();
        sampled.extend(fetched.messages.into_iter().take(room));
        if fetched.next >= share.end || Instant::now() >= deadline {
            break;
        }
    }
    Ok(sampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(
        held: &[(u32, Offset, Offset)],
        count: usize,
        side: SampleFrom,
    ) -> Vec<(u32, Offset, usize)> {
        let mut taken: Vec<_> = shares(held, count, side)
            .iter()
            .map(|share| (share.partition, share.from, share.count))
            .collect();
        taken.sort_unstable();
        taken
    }

    #[test]
    fn large_partitions_give_what_small_ones_lack() {
        let held = [(0, 100, 200), (1, 5, 5), (2, 7, 9)];
        assert_eq!(
            taken(&held, 10, SampleFrom::Start),
            [(0, 100, 8), (2, 7, 2)]
        );
        assert_eq!(taken(&held, 10, SampleFrom::End), [(0, 192, 8), (2, 7, 2)]);
        assert_eq!(taken(&held, 1, SampleFrom::End), [(2, 8, 1)]);
        assert_eq!(
            taken(&held, 1000, SampleFrom::End),
            [(0, 100, 100), (2, 7, 2)]
        );
        assert!(taken(&held[1..2], 10, SampleFrom::End).is_empty());
    }
}
