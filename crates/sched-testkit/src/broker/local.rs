//! What every broker does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use chrono::{DateTime, SubsecRound, TimeDelta};
use parking_lot::Mutex;
use sched_core::{EventBroker, Notice, SubscriptionId};

use super::heard::{Heard, notice};
use super::{BrokerFixture, subscribe};
use crate::jobs::NOON;
use crate::sink::PATIENCE;

/// Guarantee 1: everybody who was there before is called, the publisher included.
pub fn broker_reaches_every_subscriber(fixture: BrokerFixture) {
    let subscribers: Vec<_> = (0..3).map(|_| fixture.subscribe()).collect();
    fixture.broker.publish(&[notice("a"), notice("b")]).expect("it is published");
    for (_, heard) in &subscribers {
        heard.of("a");
        heard.of("b");
    }
    let ids: Vec<SubscriptionId> = subscribers.iter().map(|(id, _)| *id).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
}

/// Origin and store arrive as they were, the time to the microsecond.
pub fn broker_carries_notices_whole(fixture: BrokerFixture) {
    let (_, heard) = fixture.subscribe();
    let long = "x".repeat(1_000);
    let times = [
        NOON,
        NOON + TimeDelta::microseconds(1),
        DateTime::UNIX_EPOCH - TimeDelta::microseconds(1),
        DateTime::from_timestamp(253_402_300_799, 999_999_000).unwrap_or(NOON),
    ];
    let names = ["default", "L\u{e4}ger \u{1f980}", "\"quoted\"\\n\n", "a' ;--$1", "", &long];
    for (number, store) in names.into_iter().enumerate() {
        for (at, due) in times.into_iter().enumerate() {
            let origin: Arc<str> = format!("{store}/{number}/{at}").into();
            let sent = Notice { origin: Arc::clone(&origin), store: store.into(), due };
            fixture.broker.publish(std::slice::from_ref(&sent)).expect("it is published");
            assert_eq!(heard.of(&origin), sent);
        }
    }
    let fine = Notice { due: NOON + TimeDelta::nanoseconds(1_999), ..notice("nanoseconds") };
    fixture.broker.publish(std::slice::from_ref(&fine)).expect("it is published");
    let heard = heard.of("nanoseconds");
    assert!(
        heard.due <= fine.due && heard.due >= fine.due.trunc_subsecs(6),
        "{} for {}",
        heard.due,
        fine.due
    );
}

/// A batch of nothing is nothing.
pub fn broker_takes_empty_batches(fixture: BrokerFixture) {
    fixture.broker.publish(&[]).expect("nothing is published");
    let (_, heard) = fixture.subscribe();
    fixture.broker.publish(&[]).expect("nothing is published");
    fixture.broker.publish(&[notice("a")]).expect("it is published");
    heard.of("a");
    assert_eq!(heard.notices().len(), 1);
}

/// Guarantee 2: who unsubscribed hears nothing more; the others do.
pub fn broker_is_silent_after_unsubscribe(fixture: BrokerFixture) {
    let (first, silent) = fixture.subscribe();
    let (_, other) = fixture.subscribe();
    fixture.broker.publish(&[notice("before")]).expect("it is published");
    silent.of("before");
    fixture.broker.unsubscribe(first);
    fixture.broker.publish(&[notice("after")]).expect("it is published");
    other.of("after");
    assert_eq!(silent.count_of("after"), 0);
}

/// Ending a subscription twice, or one that never was, does nothing.
pub fn broker_takes_unknown_subscriptions(fixture: BrokerFixture) {
    fixture.broker.unsubscribe(SubscriptionId(u64::MAX));
    let (ended, _) = fixture.subscribe();
    let (_, heard) = fixture.subscribe();
    fixture.broker.unsubscribe(ended);
    fixture.broker.unsubscribe(ended);
    fixture.broker.publish(&[notice("a")]).expect("it is published");
    heard.of("a");
}

/// A subscriber is let go of when its subscription ends, and when the broker does.
pub fn broker_lets_go_of_callbacks(fixture: BrokerFixture) {
    let (ended, first) = fixture.subscribe();
    let (_, second) = fixture.subscribe();
    fixture.broker.publish(&[notice("a")]).expect("it is published");
    first.of("a");
    second.of("a");
    fixture.broker.unsubscribe(ended);
    wait_until_alone(&first);
    drop(fixture);
    wait_until_alone(&second);
}

/// A callback that is being called is let go of a moment later.
fn wait_until_alone(heard: &Arc<Heard>) {
    let begin = Instant::now();
    while Arc::strong_count(heard) > 1 {
        assert!(begin.elapsed() < PATIENCE, "the subscriber is still known");
        std::thread::yield_now();
    }
}

/// After the last subscription has ended there can be another.
pub fn broker_is_subscribed_to_again(fixture: BrokerFixture) {
    let mut earlier: Vec<Arc<Heard>> = Vec::new();
    for round in ["one", "two", "three"] {
        let (subscription, heard) = fixture.subscribe();
        fixture.broker.publish(&[notice(round)]).expect("it is published");
        heard.of(round);
        assert!(earlier.iter().all(|silent| silent.count_of(round) == 0));
        fixture.broker.unsubscribe(subscription);
        earlier.push(heard);
    }
}

/// Who is called may call the broker.
pub fn broker_takes_calls_from_callbacks(fixture: BrokerFixture) {
    let (_, heard) = fixture.subscribe();
    let (broker, own) = (Arc::downgrade(&fixture.broker), Arc::new(Mutex::new(None)));
    let mine = Arc::clone(&own);
    let answer = move |question: &Notice| {
        let Some(broker) = broker.upgrade().filter(|_| &*question.origin == "question") else { return };
        let (other, _) = subscribe(&*broker);
        broker.publish(&[notice("answer")]).expect("it is published");
        broker.unsubscribe(other);
        mine.lock().take().into_iter().for_each(|id| broker.unsubscribe(id));
    };
    *own.lock() = Some(fixture.broker.subscribe(Arc::new(answer)).expect("it subscribes"));
    fixture.broker.publish(&[notice("question")]).expect("it is published");
    heard.of("answer");
    fixture.broker.publish(&[notice("question"), notice("end")]).expect("it is published");
    heard.of("end");
    assert_eq!(heard.count_of("answer"), 1);
}

/// A subscriber that panics keeps nobody from hearing, neither this notice nor the next.
pub fn broker_survives_callbacks_that_panic(fixture: BrokerFixture) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let rude = move |_: &Notice| {
        counter.fetch_add(1, Ordering::SeqCst);
        panic!("deliberate");
    };
    fixture.broker.subscribe(Arc::new(rude)).expect("it subscribes");
    let (_, heard) = fixture.subscribe();
    for origin in ["a", "b"] {
        fixture.broker.publish(&[notice(origin)]).expect("it is published");
        heard.of(origin);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// Everything may be called at once, from any thread.
pub fn broker_is_used_from_many_threads(fixture: BrokerFixture) {
    let (_, heard) = fixture.subscribe();
    let broker: &dyn EventBroker = &*fixture.broker;
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                for round in 0..20 {
                    let (subscription, own) = subscribe(broker);
                    let origin = format!("{number}/{round}");
                    broker.publish(&[notice(&origin)]).expect("it is published");
                    own.of(&origin);
                    broker.unsubscribe(subscription);
                }
            });
        }
    });
    for number in 0..8 {
        heard.of(&format!("{number}/19"));
    }
}

/// `Debug` says something.
pub fn broker_shows_itself(fixture: BrokerFixture) {
    let text = format!("{:?}", fixture.broker);
    assert!(text.contains(char::is_alphabetic), "{text:?}");
}
