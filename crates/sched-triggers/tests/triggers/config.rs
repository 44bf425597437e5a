//! The configuration form: what it takes, what it refuses, and that it round-trips.

use proptest::prelude::*;
use sched_triggers::{CronTrigger, PLUGINS};
use serde_json::{Map, Value, json};

use crate::support::{build, fires};

#[test]
fn every_alias_is_linked_in() {
    let registry = sched_core::Registry::linked().unwrap();
    let aliases: Vec<&str> = registry.plugins().flat_map(|plugin| plugin.aliases.iter().copied()).collect();
    for plugin in PLUGINS {
        assert!(plugin.aliases.iter().all(|alias| aliases.contains(alias)), "{:?}", plugin.aliases);
    }
}

#[test]
fn both_versions_argument_names_mean_the_same() {
    let same = |first: Value, second: Value| {
        assert_eq!(build(first).unwrap().to_config(), build(second).unwrap().to_config())
    };
    same(
        json!({ "type": "date", "run_date": "2026-01-01" }),
        json!({ "type": "date", "run_time": "2026-01-01" }),
    );
    same(
        json!({ "type": "cron", "hour": 9, "start_date": "2026-01-01", "end_date": "2026-02-01 12:00:00" }),
        json!({ "type": "cron", "hour": "9", "start_time": "2026-01-01T00:00:00Z", "end_time": "2026-02-01T12:00:00Z" }),
    );
    same(json!({ "type": "crontab", "expr": "0 9 * * *" }), json!({ "type": "cron", "expr": "0 9 * * *" }));
}

#[test]
fn naive_times_are_in_the_triggers_zone() {
    let config = json!({ "type": "date", "run_date": "2026-07-01 09:00:00", "timezone": "Europe/Helsinki" });
    assert_eq!(fires(&*build(config).unwrap(), "2026-01-01T00:00:00Z", 1), ["2026-07-01T09:00:00+03:00"]);
}

#[test]
fn faults_are_collected_with_their_paths() {
    let error = build(json!({ "type": "cron", "hour": 24, "minuet": 5, "gap": "jump", "timezone": "Mars" }))
        .unwrap_err();
    let text = error.to_string();
    for part in [
        "minuet: unknown key (did you mean `minute`?)",
        "gap: unknown value `jump`, expected skip, shift",
        "timezone: unknown time zone `Mars`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    for config in [
        json!({ "type": "cron", "hour": true }),
        json!({ "type": "cron", "hour": [1, 2] }),
        json!({ "type": "cron" }),
        json!({ "type": "cron", "hour": null }),
        json!({ "type": "crontab" }),
        json!({ "type": "crontab", "expr": "0 9 * * *", "hour": 9 }),
        json!({ "type": "date", "run_date": 12345 }),
        json!({ "type": "calendarinterval", "days": 1.5 }),
        json!({ "type": "calendarinterval", "days": -1 }),
        json!({ "type": "calendarinterval", "days": 1, "start_date": "2026-01-01 10:00:00" }),
    ] {
        let error = build(config.clone()).map(|_| ()).unwrap_err();
        assert!(!error.faults().is_empty() && !error.to_string().is_empty(), "{config}");
        assert!(error.faults().iter().all(|fault| !fault.message.is_empty()), "{config}: {error}");
    }
}

type Parts = BoxedStrategy<Vec<(String, Value)>>;

fn optional(key: &'static str, values: impl Strategy<Value = Value> + 'static) -> Parts {
    proptest::option::of(values)
        .prop_map(move |value| value.map(|value| (key.to_owned(), value)).into_iter().collect())
        .boxed()
}

fn table(kind: &'static str, parts: Vec<Parts>) -> BoxedStrategy<Value> {
    parts
        .prop_map(move |parts| {
            let typed = ("type".to_owned(), json!(kind));
            Value::Object(Map::from_iter(parts.into_iter().flatten().chain([typed])))
        })
        .boxed()
}

fn choice(key: &'static str, values: &'static [&'static str]) -> Parts {
    optional(key, proptest::sample::select(values).prop_map(|value| json!(value)))
}

fn number(key: &'static str, range: std::ops::Range<u32>) -> Parts {
    optional(key, range.prop_map(|value| json!(value)))
}

fn holidays() -> Parts {
    let days = proptest::sample::select(vec![json!("sat,sun"), json!(["12-25", "2026-12-24/2027-01-01"])]);
    let roll =
        proptest::sample::select(vec!["skip", "following", "preceding", "modified_following", "nearest"]);
    proptest::option::of((days, roll))
        .prop_map(|chosen| match chosen {
            None => Vec::new(),
            Some((days, roll)) => vec![("holidays".to_owned(), days), ("roll".to_owned(), json!(roll))],
        })
        .boxed()
}

const ZONES: &[&str] = &["UTC", "Europe/Berlin", "Pacific/Apia", "America/New_York"];

fn common() -> Vec<Parts> {
    vec![
        choice("timezone", ZONES),
        choice("start_date", &["2026-01-01T00:00:00Z", "2026-03-29 02:30:00", "1999-12-31 23:59:59.000001"]),
        choice("end_date", &["2031-01-01T00:00:00Z", "2036-03-29 02:30:00.5"]),
        optional("jitter", proptest::sample::select(vec![json!(0), json!(5), json!(0.25), json!("1m")])),
    ]
}

fn cron() -> BoxedStrategy<Value> {
    let mut parts = common();
    parts.extend([
        choice("year", &["*", "2026-2040/3", "2028"]),
        choice("month", &["*/3", "jan-mar, 7", "2"]),
        choice("day", &["last", "1st mon, last sun", "31", "*/2"]),
        choice("week", &["1-53/2", "53"]),
        choice("day_of_week", &["mon-fri", "1,3"]),
        choice("hour", &["*", "0,12"]),
        choice("minute", &["*/7", "5"]),
        choice("gap", &["skip", "shift"]),
        choice("overlap", &["both", "first", "second"]),
        choice("dialect", &["aps3", "aps4", "unix"]),
        holidays(),
    ]);
    parts.push(Just(vec![("second".to_owned(), json!("*/30"))]).boxed());
    table("cron", parts)
}

fn leaf() -> BoxedStrategy<Value> {
    let mut interval = common();
    interval.extend([
        number("weeks", 0..3),
        number("hours", 0..50),
        number("microseconds", 1..3_000_000),
        choice("first", &["now", "interval"]),
    ]);
    interval.push(Just(vec![("seconds".to_owned(), json!(1))]).boxed());
    let mut crontab = common();
    crontab.push(
        proptest::sample::select(vec!["0 9 * * 1-5", "@hourly", "@reboot", "*/5 8-18 1,15 * sun-tue"])
            .prop_map(|text| vec![("expr".to_owned(), json!(text))])
            .boxed(),
    );
    let calendar = vec![
        choice("timezone", ZONES),
        number("years", 0..3),
        number("months", 0..30),
        number("days", 1..40),
        number("hour", 0..24),
        number("minute", 0..60),
        holidays(),
        choice("start_date", &["2026-01-31"]),
        choice("end_date", &["2030-01-31"]),
        choice("gap", &["skip", "shift"]),
        choice("overlap", &["both", "first", "second"]),
        Just(vec![("weeks".to_owned(), json!(1))]).boxed(),
    ];
    let date = vec![
        choice("timezone", ZONES),
        choice("run_date", &["2026-05-05 12:00:00.5", "2026-03-29 02:30:00"]),
    ];
    prop_oneof![
        cron(),
        table("crontab", crontab),
        table("interval", interval),
        table("calendarinterval", calendar),
        table("date", date)
    ]
    .boxed()
}

fn any_trigger() -> BoxedStrategy<Value> {
    leaf()
        .prop_recursive(2, 8, 3, |inner| {
            let single = |key: &'static str, values: BoxedStrategy<Value>| {
                values.prop_map(move |value| vec![(key.to_owned(), value)]).boxed()
            };
            let count = |range: std::ops::Range<u32>| range.prop_map(|count| json!(count)).boxed();
            let list = proptest::collection::vec(inner.clone(), 1..4).prop_map(|list| json!(list)).boxed();
            let listed = |key| single(key, list.clone());
            let child = || single("trigger", inner.clone().boxed());
            let and = vec![
                listed("triggers"),
                number("threshold", 0..5),
                number("max_iterations", 1..100),
                number("jitter", 0..5),
                choice("timezone", ZONES),
            ];
            let later = prop_oneof![single("later", count(1..90_000)), single("earlier", count(1..90_000))];
            prop_oneof![
                table("and", and),
                table("or", vec![listed("triggers"), number("jitter", 0..5), choice("timezone", ZONES)]),
                table(
                    "except",
                    vec![
                        child(),
                        listed("exceptions"),
                        number("lasting", 0..90_000),
                        choice("timezone", ZONES)
                    ]
                ),
                table("offset", vec![child(), later.boxed(), choice("timezone", ZONES)]),
                table("limit", vec![child(), single("max_fires", count(1..20)), choice("timezone", ZONES)]),
            ]
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_configuration_form_round_trips(config in any_trigger()) {
        let trigger = build(config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"));
        let written = trigger.to_config();
        let again = build(written.clone()).unwrap_or_else(|error| panic!("{written}: {error}"));
        prop_assert_eq!(again.to_config(), written);
        let now = "2026-02-01T00:00:00Z";
        prop_assert_eq!(fires(&*again, now, 5), fires(&*trigger, now, 5));
        prop_assert!(!trigger.describe().is_empty());
        let anchored = trigger.anchored(now.parse().unwrap());
        if let Some(anchored) = anchored {
            prop_assert!(anchored.anchored(now.parse().unwrap()).is_none());
            prop_assert_eq!(sched_core::trigger_definition(&*anchored), trigger.to_config());
            prop_assert_eq!(build(anchored.to_config()).unwrap().to_config(), anchored.to_config());
        }
    }

    #[test]
    fn cron_text_round_trips(config in cron()) {
        let text = build(config).unwrap().to_string();
        let trigger: CronTrigger = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(trigger.to_string().parse::<CronTrigger>().unwrap(), trigger);
    }

    #[test]
    fn answers_increase_and_fresh_answers_do_not_lie_before_now(config in leaf(), seconds in 0_i64..3_000_000_000) {
        let trigger = build(config).unwrap();
        let now = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        if let Some(first) = trigger.next_fire_time(None, now).unwrap() {
            prop_assert!(first >= now || trigger.alias() == "date" || trigger.alias() == "crontab");
            if let Some(second) = trigger.next_fire_time(Some(first), now).unwrap() {
                prop_assert!(second > first);
            }
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[0-9*/,\\-#?LWlast mon@.é\\[\\]'=]{0,24}") {
        for dialect in ["aps3", "aps4", "unix", "quartz"] {
            let _ = build(json!({ "type": "crontab", "expr": text.clone(), "dialect": dialect }));
            let _ = build(json!({ "type": "cron", "day": text.clone(), "day_of_week": text.clone(), "minute": text.clone(), "dialect": dialect }));
        }
        let _ = text.parse::<CronTrigger>();
        let _ = build(json!({ "type": "date", "run_date": text.clone() }));
        let _ = build(json!({ "type": "interval", "seconds": text.clone(), "jitter": text }));
    }
}
