//! Transactions, as a reader of committed messages sees them.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::time::Instant;

use super::{Bench, Outcome, PATIENCE, Problem, blocking, ensure, read_until};

/// Blocks, as all that librdkafka does for transactions.
#[derive(Clone)]
struct Transactional {
    topic: String,
    producer: std::sync::Arc<BaseProducer>,
}

impl Transactional {
    fn begin(&self, payload: &str) -> Outcome {
        self.producer.begin_transaction()?;
        for _ in 0..3 {
            let record = BaseRecord::<(), str>::to(&self.topic)
                .partition(0)
                .payload(payload);
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(self.producer.flush(PATIENCE)?)
    }

    fn commit(&self) -> Outcome {
        Ok(self.producer.commit_transaction(PATIENCE)?)
    }

    fn abort(&self) -> Outcome {
        Ok(self.producer.abort_transaction(PATIENCE)?)
    }
}

async fn transactional(
    bench: &Bench,
    topic: &str,
    timeout_ms: &str,
) -> Result<Transactional, Problem> {
    let config = bench.config(&[
        ("transactional.id", topic),
        ("transaction.timeout.ms", timeout_ms),
        ("linger.ms", "0"),
    ]);
    let topic = topic.to_owned();
    blocking(move || {
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(PATIENCE)?;
        let producer = std::sync::Arc::new(producer);
        Ok(Transactional { topic, producer })
    })
    .await
}

pub(super) async fn aborted_and_open_transactions_are_hidden(bench: &Bench) -> Outcome {
    let topic = bench.topic("transactions", 1).await?;
    let producer = transactional(bench, &topic, "60000").await?;
    let in_turn = producer.clone();
    // Offsets 0-2, 4-6, 8-10, 12-14; each transaction ends with a marker.
    blocking(move || {
        in_turn.begin("kept")?;
        in_turn.commit()?;
        in_turn.begin("dropped")?;
        in_turn.abort()?;
        in_turn.begin("kept")?;
        in_turn.commit()?;
        in_turn.begin("open")
    })
    .await?;
    let mut reader = bench.open(&topic, 0, 0).await?;
    let read = read_until(&mut *reader, 12).await?;
    let offsets: Vec<i64> = read.iter().map(|message| message.offset).collect();
    ensure!(offsets == [0, 1, 2, 8, 9, 10], "{offsets:?} are visible");
    let kept = |message: &crate::Message| message.payload.as_deref() == Some(b"kept".as_slice());
    ensure!(read.iter().all(kept), "dropped messages are visible");

    let waited = reader.fetch(Duration::from_millis(300)).await?;
    let next = waited.next;
    ensure!(
        waited.messages.is_empty() && next == 12,
        "an open transaction is passed: {next}"
    );
    blocking(move || producer.abort()).await?;
    let read = read_until(&mut *reader, 16).await?;
    ensure!(
        read.is_empty(),
        "messages of an aborted transaction: {read:?}"
    );
    Ok(())
}

pub(super) async fn an_older_producer_is_fenced(bench: &Bench) -> Outcome {
    let topic = bench.topic("fenced", 1).await?;
    let older = transactional(bench, &topic, "60000").await?;
    let begun = older.clone();
    blocking(move || begun.begin("older")).await?;
    let newer = transactional(bench, &topic, "60000").await?;
    let late = blocking(move || Ok(older.commit())).await?;
    ensure!(late.is_err(), "the older producer has committed");
    blocking(move || {
        newer.begin("newer")?;
        newer.commit()
    })
    .await?;
    // 3 of the older, its abort marker, 3 of the newer, the commit marker.
    let read = bench.read((&topic, 0), 0, 8).await?;
    let newer = |message: &crate::Message| message.payload.as_deref() == Some(b"newer".as_slice());
    ensure!(
        read.len() == 3 && read.iter().all(newer),
        "visible: {read:?}"
    );
    Ok(())
}

pub(super) async fn a_silent_transaction_is_aborted(bench: &Bench) -> Outcome {
    let topic = bench.topic("silent", 1).await?;
    let silent = transactional(bench, &topic, "1500").await?;
    let begun = silent.clone();
    blocking(move || begun.begin("silent")).await?;
    let mut reader = bench.open(&topic, 0, 0).await?;
    // Kafka looks every 10 s.
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let fetched = reader.fetch(Duration::from_millis(500)).await?;
        ensure!(
            fetched.messages.is_empty(),
            "messages of an open transaction"
        );
        if fetched.next >= 4 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "an open transaction hides the log for good"
        );
    }
}
