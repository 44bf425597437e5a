//! The fourteen cron cases in two zones, from one instant.

use std::hint::black_box;

use chrono_tz::Tz;
use criterion::{Criterion, criterion_group, criterion_main};
use sched_bench::triggers::cases::CASES;
use sched_core::Trigger;

fn next_fire_time(criterion: &mut Criterion) {
    let from = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap_or_default();
    for zone in [Tz::UTC, Tz::Europe__Berlin] {
        let mut group = criterion.benchmark_group(format!("next_fire_time, {zone}"));
        for case in CASES {
            let Ok(trigger) = case.trigger(zone) else { continue };
            group.bench_function(case.name, |bencher| {
                bencher.iter(|| trigger.next_fire_time(None, black_box(from)));
            });
        }
    }
}

criterion_group!(benches, next_fire_time);
criterion_main!(benches);
