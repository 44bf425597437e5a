//! What a broker on a server does when others are there, and when the server is not.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::heard::{Heard, notice, notice_due};
use super::{BrokerFixture, CASES, subscribe};
use crate::jobs::NOON;
use crate::sink::PATIENCE;

/// How long many calls that wait for nothing may take, on a machine that does other things too.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Two instances are two processes: each hears the other, and itself.
pub fn broker_reaches_other_processes(fixture: BrokerFixture) {
    let (_, here) = fixture.subscribe();
    let (_, there) = subscribe(&**fixture.peer());
    fixture.broker.publish(&[notice("here")]).expect("it is published");
    fixture.peer().publish(&[notice("there")]).expect("it is published");
    for heard in [&here, &there] {
        heard.of("here");
        heard.of("there");
    }
}

/// A notice is heard elsewhere at once; the case prints how soon.
pub fn broker_is_quick(fixture: BrokerFixture) {
    let (_, heard) = subscribe(&**fixture.peer());
    fixture.broker.publish(&[notice("before")]).expect("it is published");
    heard.of("before");
    let mut times: Vec<Duration> = (0..50)
        .map(|round| {
            let (origin, begin) = (round.to_string(), Instant::now());
            fixture.broker.publish(&[notice(&origin)]).expect("it is published");
            heard.of(&origin);
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    let _ = writeln!(
        std::io::stdout(),
        "{}…: a notice takes {median:?} at the median, {longest:?} at most",
        fixture.threads
    );
    assert!(median < AT_ONCE, "a notice takes {median:?} at the median");
}

/// Ten thousand notices are a few messages, and the earliest time arrives.
pub fn broker_gathers_bursts(fixture: BrokerFixture) {
    const BURST: i64 = 10_000;
    let (_, heard) = subscribe(&**fixture.peer());
    fixture.broker.publish(&[notice("before")]).expect("it is published");
    heard.of("before");
    let requests = fixture.proxy().requests();
    let begin = Instant::now();
    for number in 0..BURST {
        let due = NOON + TimeDelta::milliseconds(BURST - number);
        fixture.broker.publish(&[notice_due("burst", due)]).expect("it is published");
    }
    let took = begin.elapsed();
    heard.hears(&notice_due("burst", NOON + TimeDelta::milliseconds(1)));
    // One for each gathering time, and what the clients talk about besides.
    let most = usize::try_from(took.as_millis()).unwrap_or(usize::MAX).saturating_add(100);
    let (told, asked) = (heard.count_of("burst"), fixture.proxy().requests() - requests);
    assert!(told <= most && asked <= 3 * most, "{told} notices and {asked} requests in {took:?}");
}

/// Who only publishes reaches others.
pub fn broker_publishes_without_subscribers(fixture: BrokerFixture) {
    let (_, heard) = subscribe(&**fixture.peer());
    fixture.broker.publish(&[notice("first")]).expect("it is published");
    heard.of("first");
    fixture.broker.publish(&[notice("last")]).expect("it is published");
    // What was published is sent before the broker is gone.
    drop(fixture.broker);
    heard.of("last");
}

/// Guarantee 3: a network that is silent holds nobody up.
pub fn broker_publish_does_not_wait(fixture: BrokerFixture) {
    let (_, heard) = subscribe(&**fixture.peer());
    fixture.broker.publish(&[notice("before")]).expect("it is published");
    heard.of("before");
    fixture.proxy().freeze();
    let begin = Instant::now();
    for _ in 0..1_000 {
        fixture.broker.publish(&[notice("frozen")]).expect("it is published");
    }
    let took = begin.elapsed();
    assert!(took < AT_ONCE, "publishing into a network that is silent took {took:?}");
    assert_eq!(heard.count_of("frozen"), 0);
    fixture.proxy().thaw();
    heard.hears_in_the_end(&*fixture.broker, "frozen");
}

/// A broker whose connections were cut hears and is heard again, by itself.
pub fn broker_reconnects_after_a_cut(fixture: BrokerFixture) {
    let ((_, here), (_, there)) = (fixture.subscribe(), subscribe(&**fixture.peer()));
    exchange(&fixture, [&here, &there], "before");
    for round in ["first", "second"] {
        fixture.proxy().cut();
        exchange(&fixture, [&here, &there], round);
    }
}

/// A broker whose server was gone for a while hears and is heard again, by itself.
pub fn broker_reconnects_after_an_outage(fixture: BrokerFixture) {
    let ((_, here), (_, there)) = (fixture.subscribe(), subscribe(&**fixture.peer()));
    exchange(&fixture, [&here, &there], "before");
    fixture.proxy().refuse(true);
    fixture.proxy().cut();
    let begin = Instant::now();
    for _ in 0..1_000 {
        // Whether this is an error is the broker's choice.
        let _ = fixture.broker.publish(&[notice("lost")]);
    }
    assert!(begin.elapsed() < AT_ONCE, "publishing without a server took {:?}", begin.elapsed());
    let (_, late) = fixture.subscribe();
    fixture.proxy().refuse(false);
    exchange(&fixture, [&here, &there], "after");
    late.hears_in_the_end(&**fixture.peer(), "late");
}

/// What was published while the server was gone is told when it is back.
pub fn broker_keeps_what_was_published_in_an_outage(fixture: BrokerFixture) {
    let (_, there) = subscribe(&**fixture.peer());
    fixture.proxy().refuse(true);
    fixture.broker.publish(&[notice("kept")]).expect("it is published");
    fixture.proxy().refuse(false);
    there.of("kept");
}

/// A server that is not there when it is needed first fails nothing.
pub fn broker_starts_without_its_server(fixture: BrokerFixture) {
    fixture.proxy().refuse(true);
    let begin = Instant::now();
    let (_, here) = fixture.subscribe();
    assert!(begin.elapsed() < PATIENCE, "the first subscription took {:?}", begin.elapsed());
    let (_, there) = subscribe(&**fixture.peer());
    fixture.proxy().refuse(false);
    exchange(&fixture, [&here, &there], "after");
}

/// A message that is no notice is ignored, and the next one is heard.
pub fn broker_ignores_what_is_no_notice(fixture: BrokerFixture) {
    let (_, heard) = fixture.subscribe();
    let stranger = fixture.stranger.as_ref().expect("the fixture has a stranger");
    let long = "[".repeat(5_000);
    for message in ["", "hello", "{}", "[{\"origin\":\"x\"}]", "[[[[", "null", "[1]", &long] {
        stranger(message.as_bytes());
    }
    fixture.broker.publish(&[notice("a")]).expect("it is published");
    heard.of("a");
    stranger(b"[{\"origin\":\"stranger\",\"store\":\"default\",\"due\":0,\"later\":{}}]");
    heard.of("stranger");
    assert_eq!(heard.notices().len(), 2);
}

/// No thread is left when the last subscription has ended, when a broker is dropped, and when its server is gone.
pub fn broker_threads_end(mut fixture: BrokerFixture) {
    fixture.running = None;
    let alone = CASES.write();
    let prefix = fixture.threads;
    assert!(!prefix.is_empty(), "the fixture knows the names of threads");
    wait_for_threads(prefix, |count| count == 0);
    let (first, _) = fixture.subscribe();
    let (second, heard) = fixture.subscribe();
    fixture.broker.publish(&[notice("a")]).expect("it is published");
    heard.of("a");
    fixture.broker.unsubscribe(first);
    wait_for_threads(prefix, |count| count > 0);
    fixture.broker.unsubscribe(second);
    wait_for_threads(prefix, |count| count == 0);
    let (_, heard) = fixture.subscribe();
    fixture.broker.publish(&[notice("b")]).expect("it is published");
    heard.of("b");
    fixture.proxy().refuse(true);
    fixture.proxy().cut();
    fixture.broker.publish(&[notice("c")]).expect("it is published");
    drop(fixture.broker);
    wait_for_threads(prefix, |count| count == 0);
    drop(alone);
}

/// A broker is used and dropped inside of a runtime, whatever its client is made of.
pub fn broker_works_inside_a_runtime(fixture: BrokerFixture) {
    let BrokerFixture { broker, runtime, .. } = fixture;
    let inside = runtime.expect("the fixture has a runtime");
    inside(Box::new(move || {
        let (subscription, heard) = subscribe(&*broker);
        broker.publish(&[notice("a")]).expect("it is published");
        heard.of("a");
        broker.unsubscribe(subscription);
        let (_, heard) = subscribe(&*broker);
        broker.publish(&[notice("b")]).expect("it is published");
        heard.of("b");
        drop(broker);
    }));
}

/// Each hears the other in the end.
fn exchange(fixture: &BrokerFixture, [here, there]: [&Arc<Heard>; 2], round: &str) {
    there.hears_in_the_end(&*fixture.broker, &format!("{round}, here"));
    here.hears_in_the_end(&**fixture.peer(), &format!("{round}, there"));
}

/// Waits until the number of this process's threads with such a name is right. Only Linux tells their names.
fn wait_for_threads(prefix: &str, is_right: impl Fn(usize) -> bool) {
    let begin = Instant::now();
    while let Some(count) = threads(prefix).filter(|count| !is_right(*count)) {
        assert!(begin.elapsed() < PATIENCE, "{count} threads are called {prefix}…");
        std::thread::yield_now();
    }
}

fn threads(prefix: &str) -> Option<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    Some(names.filter(|name| name.starts_with(prefix)).count())
}
