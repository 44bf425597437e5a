//! The expansion causes no warning under strict lints, whatever the visibility.
#![deny(warnings, missing_docs, unreachable_pub, unsafe_code, unused, nonstandard_style, rust_2018_idioms)]
#![deny(unused_qualifications, missing_debug_implementations, let_underscore_drop, unnameable_types)]

use sched_core::RunContext;
use sched_macros::{scheduled, task};

/// Public.
pub mod tasks {
    use super::*;

    /// Adds up.
    #[task(crate = "sched_core", metadata = { "team" = "ops" }, timeout = 5)]
    pub fn public(left: u64, right: Option<u64>) -> Result<u64, String> {
        Ok(left + right.unwrap_or(0))
    }

    #[scheduled(crate = "sched_core", cron = "0 9 * * mon-fri", args = [[1, 2]])]
    pub(crate) async fn restricted(run: &RunContext, values: Vec<u8>) -> usize {
        std::future::ready(values.len()).await + usize::from(run.is_cancelled())
    }

    #[task(crate = "sched_core")]
    fn private() {}

    #[deprecated = "use `public`"]
    #[task(crate = "sched_core")]
    pub(super) fn old() {}
}

#[expect(deprecated)]
fn main() {
    let _job = tasks::public::job(1, None);
    tasks::old();
}
