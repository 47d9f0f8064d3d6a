//! Limits, fairness, splitting and the end of jobs.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::*;

/// Far longer than anything here takes when it works.
const LONG: Duration = Duration::from_secs(20);

fn turns(pool: &ComputePool) -> Turns {
    pool.turns(CancellationToken::new()).unwrap()
}

/// Works through blocks until `done` or for too long; `false` in that case.
fn busy_until(turn: &mut Turn, done: &AtomicBool) -> bool {
    let began = Instant::now();
    while !done.load(Ordering::SeqCst) {
        if began.elapsed() > LONG || turn.check().is_err() {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

#[derive(Debug, Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtOnce {
    fn work(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Long jobs on all threads hold up no short one.
#[tokio::test]
async fn short_jobs_do_not_wait_for_long_ones() {
    let pool = ComputePool::new(2);
    let done = Arc::new(AtomicBool::new(false));
    let long = (0..3).map(|_| {
        let done = Arc::clone(&done);
        pool.run(move || {
            let began = Instant::now();
            while !done.load(Ordering::SeqCst) && began.elapsed() < LONG {
                std::thread::sleep(Duration::from_millis(1));
            }
            began.elapsed() < LONG
        })
    });
    let short = async {
        let told = pool.run_soon(|| 7).await.unwrap();
        done.store(true, Ordering::SeqCst);
        told
    };
    let (long, short) = futures::join!(join_all(long), short);
    assert_eq!(short, 7);
    assert!(long.into_iter().all(|ended| ended.unwrap()));
}

#[tokio::test]
async fn no_more_jobs_run_at_once_than_there_are_threads() {
    let pool = ComputePool::new(2);
    assert_eq!((pool.threads(), ComputePool::new(0).threads()), (2, 1));
    let (others, queries) = (Arc::new(AtOnce::default()), Arc::new(AtOnce::default()));
    let jobs = (0..12).map(|number| {
        let (others, queries, turns) = (Arc::clone(&others), Arc::clone(&queries), turns(&pool));
        let pool = pool.clone();
        async move {
            let job = turns.run(move |_| queries.work());
            let other = pool.run(move || others.work());
            job.await.unwrap();
            other.await.unwrap();
            number
        }
    });
    let done = join_all(jobs).await;
    assert_eq!(done, (0..12).collect::<Vec<_>>());
    for counts in [others, queries] {
        assert_eq!(
            counts.most.load(Ordering::SeqCst),
            2,
            "all threads are used"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_query_passes_a_big_one_and_both_end() {
    let pool = ComputePool::new(1);
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    let big = turns(&pool);
    let big = big.run(move |turn| busy_until(turn, &seen));
    let small = async {
        // The big one has the only core by now, and gives it up only at its check.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let small = turns(&pool);
        small.run(move |_| done.store(true, Ordering::SeqCst)).await
    };
    let (big, small) = tokio::join!(big, small);
    assert!(big.unwrap() && small.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_query_goes_on_among_a_stream_of_small_ones() {
    let pool = ComputePool::new(1);
    let done = Arc::new(AtomicBool::new(false));
    let big = turns(&pool);
    let big = big.run({
        let done = Arc::clone(&done);
        move |turn| {
            let began = Instant::now();
            // Half of it while others stand in line all the time.
            let mut turns_left = 100;
            let mut last = began;
            while turns_left > 0 && began.elapsed() < LONG && turn.check().is_ok() {
                if last.elapsed() > Duration::from_micros(100) {
                    last = Instant::now();
                    turns_left -= 1;
                }
            }
            done.store(true, Ordering::SeqCst);
            turns_left == 0
        }
    });
    let streams = (0..4).map(|_| async {
        let mut answered = 0;
        while !done.load(Ordering::SeqCst) {
            let small = turns(&pool);
            let job = small.run(|_| std::thread::sleep(Duration::from_micros(300)));
            job.await.unwrap();
            answered += 1;
        }
        answered
    });
    let (big, answered) = tokio::join!(big, join_all(streams));
    assert!(big.unwrap(), "it was starved");
    assert!(answered.iter().sum::<u64>() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_job_runs_on_all_free_cores_and_borrows() {
    let pool = ComputePool::new(2);
    let query = turns(&pool);
    let sums = query.run(|turn| {
        let numbers: Vec<u64> = (0..1000).collect();
        let (next, both) = (AtomicUsize::new(0), Barrier::new(2));
        turn.split(5, |turn| {
            // Passed only when two are here at once.
            both.wait();
            let mut sum = 0;
            while let Some(number) = numbers.get(next.fetch_add(1, Ordering::SeqCst)) {
                turn.check().unwrap();
                sum += number;
            }
            sum
        })
    });
    let sums = sums.await.unwrap();
    assert_eq!((sums.len(), sums.iter().sum::<u64>()), (2, 499_500));
}

#[tokio::test(flavor = "multi_thread")]
async fn helpers_without_a_core_are_not_waited_for() {
    let pool = ComputePool::new(2);
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    let other = turns(&pool);
    let other = other.run(move |turn| busy_until(turn, &seen));
    let split = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        // Short, so that no slice of the other one ends meanwhile and its core stays taken.
        let results = turns(&pool)
            .run(|turn| turn.split(2, |_| ()))
            .await
            .unwrap();
        done.store(true, Ordering::SeqCst);
        results.len()
    };
    let (other, workers) = tokio::join!(other, split);
    assert!(other.unwrap() && (1..=2).contains(&workers));
    // All slots came back.
    let both = Arc::new(Barrier::new(2));
    let jobs = (0..2).map(|_| {
        let (query, both) = (turns(&pool), Arc::clone(&both));
        async move { query.run(move |_| both.wait().is_leader()).await.unwrap() }
    });
    assert_eq!(
        join_all(jobs).await.iter().filter(|leads| **leads).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_panic_or_are_cancelled_leave_their_place_to_others() {
    let pool = ComputePool::new(2);
    let broken = pool.run(|| -> () { panic!("on purpose") }).await;
    assert!(broken.unwrap_err().to_string().contains("panicked"));
    for worker in [0, 1] {
        let query = turns(&pool);
        let next = AtomicUsize::new(0);
        let broken = query.run(move |turn| {
            let both = Barrier::new(2);
            turn.split(2, |_| {
                both.wait();
                assert_ne!(next.fetch_add(1, Ordering::SeqCst), worker, "on purpose");
            })
        });
        assert!(broken.await.unwrap_err().to_string().contains("panicked"));
    }
    let cancel = CancellationToken::new();
    let query = pool.turns(cancel.clone()).unwrap();
    let never = AtomicBool::new(false);
    let job = query.run(move |turn| busy_until(turn, &never));
    let end = async { cancel.cancel() };
    let (ended, ()) = tokio::join!(job, end);
    assert!(!ended.unwrap(), "cancelled at a check");
    assert!(turns(&pool).here().check().is_ok());
    let sums = turns(&pool).run(|turn| turn.split(2, |_| 1)).await.unwrap();
    assert!(!sums.is_empty());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_runs_behind_gives_way_and_nothing_else_does() {
    let niceness = || rustix::process::getpriority_process(None).unwrap();
    let pool = ComputePool::new(2);
    let own = niceness();
    assert_eq!(pool.run(niceness).await.unwrap(), own);
    assert_eq!(pool.run_behind(niceness).await.unwrap(), (own + 5).min(19));
    assert_eq!(pool.run_soon(niceness).await.unwrap(), (own + 5).min(19));
}
