//! Planning a job that is due now, and one that slept for a year.

use std::hint::black_box;

use chrono_tz::Tz;
use criterion::{Criterion, criterion_group, criterion_main};
use sched_bench::triggers::cases::CASES;
use sched_bench::triggers::planning::{sleeper, spec_of};
use sched_core::{Cursor, plan};

fn due_now(criterion: &mut Criterion) {
    let now = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap_or_default();
    let mut group = criterion.benchmark_group("plan, due now");
    for case in CASES {
        let Ok(Ok(spec)) = case.trigger(Tz::Europe__Berlin).map(spec_of) else { continue };
        let cursor = Cursor::at(now, now);
        group.bench_function(case.name, |bencher| bencher.iter(|| plan(&spec, &cursor, black_box(now), 1)));
    }
}

fn after_a_year(criterion: &mut Criterion) {
    let Ok((spec, cursor, now)) = sleeper() else { return };
    criterion.bench_function("plan, 1 second interval after a year", |bencher| {
        bencher.iter(|| plan(&spec, &cursor, black_box(now), 1));
    });
}

criterion_group!(benches, due_now, after_a_year);
criterion_main!(benches);
