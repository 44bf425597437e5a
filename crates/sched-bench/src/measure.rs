//! Medians, percentiles, processor time and resident memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cpu_time::{ProcessTime, ThreadTime};

use crate::Outcome;

/// The middle value; the mean of the middle two when there is no middle. Zero of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (count, half) if count % 2 == 1 => values[half],
        (_, half) => f64::midpoint(values[half - 1], values[half]),
    }
}

/// The value that `percent` of the sorted values do not exceed.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0.0)
}

/// The medians of several figures, each measured `runs` times in turn.
///
/// **Errors**: those of `measure`.
pub fn medians<const N: usize>(
    runs: usize,
    mut measure: impl FnMut() -> Outcome<[f64; N]>,
) -> Outcome<[f64; N]> {
    let rows = (0..runs).map(|_| measure()).collect::<Outcome<Vec<_>>>()?;
    Ok(std::array::from_fn(|column| median(rows.iter().map(|row| row[column]).collect())))
}

/// Who takes part in a [`race`]: a name, and one round, which answers its time.
pub type Contestant<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

/// Runs contestants in turn, round after round, so that a busy moment hits all of them, and answers the median of each.
pub fn race(rounds: usize, subjects: &mut [Contestant<'_>]) -> Vec<(&'static str, f64)> {
    let mut times = vec![Vec::with_capacity(rounds); subjects.len()];
    for _ in 0..rounds {
        for ((_, subject), times) in subjects.iter_mut().zip(&mut times) {
            times.push(subject());
        }
    }
    subjects.iter().map(|(name, _)| *name).zip(times.into_iter().map(median)).collect()
}

/// Nanoseconds per call of `calls` calls, made by `run`.
pub fn nanos_per(calls: usize, run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    seconds(begun.elapsed()) * 1e9 / calls as f64
}

/// Keeps the compiler from leaving out what made `value`.
pub fn made<T>(value: T) {
    black_box(value);
}

/// A duration in seconds.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    seconds(duration) * 1e3
}

/// A duration in microseconds.
pub fn micros(duration: Duration) -> f64 {
    seconds(duration) * 1e6
}

/// Processor seconds that this process has used since it began.
///
/// **Errors**: the operating system's.
pub fn cpu_seconds() -> Outcome<f64> {
    Ok(seconds(ProcessTime::try_now()?.as_duration()))
}

/// Processor seconds that this thread has used since it began.
///
/// **Errors**: the operating system's.
pub fn thread_cpu_seconds() -> Outcome<f64> {
    Ok(seconds(ThreadTime::try_now()?.as_duration()))
}

/// Resident bytes of this process.
///
/// **Errors**: where there is no `/proc`.
pub fn resident_bytes() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in the status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        let sorted: Vec<f64> = (1..=200_u8).map(f64::from).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (100.0, 198.0));
    }

    #[test]
    fn resident_memory_grows_with_what_is_written() {
        let before = resident_bytes().unwrap();
        let block = vec![1_u8; 1 << 26];
        assert!(resident_bytes().unwrap() - before > 6e7, "{}", block.len());
    }
}
