//! Handing runs to executors, and keeping what they have no place for.

use std::sync::Arc;

use crate::ErrorKind;
use crate::context::CancelReason;
use crate::error::panic_message;
use crate::executor::{Execution, ExecutionData, Executor, Refused};
use crate::run::{MissReason, Outcome};
use crate::scheduler::Scheduler;

impl Scheduler {
    /// Hands runs to their executors, batch by batch. What does not fit waits in order.
    pub(crate) fn submit(&self, ready: Vec<Execution>) {
        let mut groups: Vec<(Arc<str>, Vec<Execution>)> = Vec::with_capacity(1);
        let size = ready.len();
        for execution in ready {
            let Some(executor) = execution.options().map(|options| &options.executor) else { continue };
            match groups.iter_mut().find(|(alias, _)| Arc::ptr_eq(alias, executor) || alias == executor) {
                Some((_, group)) => group.push(execution),
                None => {
                    let mut group = Vec::with_capacity(size);
                    let alias = Arc::clone(executor);
                    group.push(execution);
                    groups.push((alias, group));
                }
            }
        }
        for (alias, group) in groups {
            self.submit_to(&alias, group);
        }
    }

    fn submit_to(&self, alias: &Arc<str>, group: Vec<Execution>) {
        let mut table = self.inner.dispatcher.table.lock();
        if let Some(backlog) = table.backlog.get_mut(alias).filter(|backlog| !backlog.is_empty()) {
            let added = group.len();
            backlog.extend(group);
            table.waiting += added;
            return;
        }
        drop(table);
        let executor = self.inner.state.read().executor(alias).cloned();
        let refused = match executor {
            Ok(executor) => submit_caught(alias, &*executor, group),
            Err(_) => {
                let reason = MissReason::NoExecutor(alias.as_ref().to_owned());
                group.into_iter().for_each(|run| run.finish(Outcome::Missed(reason.clone())));
                None
            }
        };
        if let Some(refused) = refused {
            self.keep_refused(alias, refused);
        }
    }

    fn keep_refused(&self, alias: &Arc<str>, refused: Refused) {
        if refused.error.kind() == ErrorKind::Closed {
            let reason = refused.error.to_string();
            refused.runs.into_iter().for_each(|run| run.finish(Outcome::Abandoned(reason.clone())));
            return;
        }
        let mut table = self.inner.dispatcher.table.lock();
        let first = refused.runs.first().and_then(Execution::run).map(|run| run.id);
        let lane = first.and_then(|id| table.active.get(&id)).map(|active| active.lane);
        table.waiting += refused.runs.len();
        table.backlog.entry(Arc::clone(alias)).or_default().put_back(refused.runs);
        drop(table);
        let lanes = self.inner.state.read().lanes();
        if let Some(lane) = lanes.iter().find(|it| Some(it.index) == lane) {
            lane.wake_for_backlog();
        }
    }

    /// Offers all executors what they had no place for.
    pub(crate) fn retry_backlogs(&self) {
        let aliases: Vec<Arc<str>> = self.inner.dispatcher.table.lock().backlog.keys().cloned().collect();
        aliases.iter().for_each(|alias| self.retry_backlog(alias));
    }

    /// Whether something waits that executors had no place for.
    pub(crate) fn has_backlog(&self) -> bool {
        self.inner.dispatcher.table.lock().backlog.values().any(|backlog| !backlog.is_empty())
    }

    /// Offers an executor what it had no place for.
    pub(super) fn retry_backlog(&self, alias: &Arc<str>) {
        let mut table = self.inner.dispatcher.table.lock();
        let Some(backlog) = table.backlog.remove(alias).filter(|backlog| !backlog.is_empty()) else { return };
        table.waiting -= backlog.len();
        drop(table);
        self.submit_to(alias, backlog.into());
    }

    /// Asks a run that was handed over to stop, by force where its executor can; says whether it did.
    pub(crate) fn stop(&self, data: &ExecutionData, reason: CancelReason) -> bool {
        data.cancel.cancel(reason);
        let alias = &data.options().executor;
        let Ok(executor) = self.inner.state.read().executor(alias).cloned() else { return false };
        let call = std::panic::AssertUnwindSafe(|| executor.cancel(data.run.id));
        std::panic::catch_unwind(call).unwrap_or_else(|panic| {
            tracing::error!(executor = &**alias, panic = panic_message(&*panic), "the executor panicked");
            false
        })
    }
}

/// Hands runs over. Those that an executor drops in a panic are reported by their own drop.
fn submit_caught(alias: &str, executor: &dyn Executor, runs: Vec<Execution>) -> Option<Refused> {
    let submit = std::panic::AssertUnwindSafe(|| executor.submit(runs));
    match std::panic::catch_unwind(submit) {
        Ok(answer) => answer.err(),
        Err(panic) => {
            tracing::error!(executor = alias, panic = panic_message(&*panic), "the executor panicked");
            None
        }
    }
}
