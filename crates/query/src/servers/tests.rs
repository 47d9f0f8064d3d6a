//! What is known of servers follows from what they were asked and said.

use futures::FutureExt;
use runtime::ManualClock;

use super::*;

fn id(name: &str) -> InstanceId {
    InstanceId(name.to_owned())
}

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<Event>>);

impl Observer for Seen {
    fn happened(&self, event: Event) {
        self.0.lock().push(event);
    }
}

fn servers(percent: u64) -> (Arc<ManualClock>, Arc<Seen>, Servers) {
    let (clock, seen) = (ManualClock::at_ms(1_000), Arc::new(Seen::default()));
    let observer = Arc::clone(&seen) as Arc<dyn Observer>;
    let servers = Servers::new(Arc::clone(&clock) as Arc<dyn Clock>, observer, percent);
    (clock, seen, servers)
}

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn estimates_follow_the_answers() {
    let (clock, _, servers) = servers(5);
    let answer = |ms: u64| {
        let asked = servers.asked(&id("a"));
        clock.advance(MS(ms));
        asked.answered()
    };
    assert_eq!(answer(10), MS(10));
    assert_eq!(servers.estimates()[0].latency, MS(10));
    answer(20);
    assert_eq!(servers.estimates()[0].latency, MS(12));
    // It was given up: it is at least so slow. Giving up early tells nothing.
    let given_up = servers.asked(&id("a"));
    assert_eq!(servers.estimates()[0].in_flight, 1);
    clock.advance(MS(112));
    drop(given_up);
    assert_eq!(servers.estimates()[0].latency, MS(32));
    drop(servers.asked(&id("a")));
    servers.asked(&id("a")).refused();
    let estimate = servers.estimates().remove(0);
    assert_eq!((estimate.latency, estimate.in_flight), (MS(32), 0));
}

#[test]
fn a_broken_connection_makes_silent_and_an_answer_ends_it() {
    let (_, seen, servers) = servers(5);
    servers.asked(&id("a")).broke();
    servers.asked(&id("a")).broke();
    assert!(servers.estimates()[0].silent);
    assert_eq!(servers.silent(&id("a")).now_or_never(), Some(()));
    servers.asked(&id("a")).heard();
    assert!(!servers.estimates()[0].silent);
    assert_eq!(servers.silent(&id("a")).now_or_never(), None);
    assert_eq!(*seen.0.lock(), [Event::Silent, Event::Heard]);
}

#[test]
fn late_is_who_takes_longer_than_nearly_all_of_the_shape() {
    let (clock, _, servers) = servers(5);
    for _ in 0..100 {
        servers.learn(1, MS(40));
    }
    let (a, b) = (id("a"), id("b"));
    let mut known = servers.late(1, &a).boxed();
    let mut unknown = servers.late(2, &b).boxed();
    assert_eq!((&mut known).now_or_never(), None);
    assert_eq!((&mut unknown).now_or_never(), None);
    clock.advance(MS(60));
    assert_eq!((&mut known).now_or_never(), Some(Late::Slow));
    assert_eq!((&mut unknown).now_or_never(), None);
    servers.asked(&b).broke();
    assert_eq!((&mut unknown).now_or_never(), Some(Late::Silent));
}
