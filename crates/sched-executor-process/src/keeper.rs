//! A keeper: one thread that serves the queue with one worker process.
//!
//! All it has lies on its [`Desk`]. The first run there goes on in the process; those behind it were sent ahead, which is
//! done only while runs are quick. Once a run takes longer, those behind it are called back and given to others.
//!
//! A process that prints has one run at a time, so that every line is known to be of that run.
//!
//! A sink is foreign code, a listener for example, that may wait for the very runs that were sent ahead. The desk is
//! therefore put on a [`Shelf`] while a sink is called, and another thread clears it when that takes long.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Condvar, Mutex};
use sched_core::{
    CancelReason, CancelToken, Cancelled, Execution, Outcome, Run, RunContext, RunId, TaskError,
};

use crate::bell::Bell;
use crate::pool::{Found, Pool, contain, died};
use crate::process::Process;
use crate::wire::{self, OrderRef, ToPool, WireError};

/// A run that goes on for longer is not quick.
const QUICK: Duration = Duration::from_millis(1);

/// Runs that are sent ahead take so long together, as far as can be told.
const AHEAD: Duration = Duration::from_micros(500);

/// The most runs a process has.
const WIDEST: u32 = 64;

/// So many runs after its last line a process is taken for silent.
const SILENT: u64 = 256;

/// How long a process may take to call runs back before it is killed with them.
const RECALL: Duration = Duration::from_millis(100);

/// What is said of a run that no other process can know.
const CLOSURE: &str = "the task is a closure, which no other process can know; register a task by name";

/// Where a desk lies while its keeper is away.
pub(crate) struct Shelf {
    pub(crate) number: usize,
    pub(crate) bell: Arc<Bell>,
    place: Mutex<Place>,
    back: Condvar,
}

#[derive(Default)]
struct Place {
    desk: Option<Box<Desk>>,
    /// How often a desk was put here.
    puts: u64,
    /// What came back from sinks while somebody else had the desk.
    begun: Vec<Begun>,
}

/// The answer of a sink to the start of a run: none when the run is over before it began.
struct Begun {
    number: u64,
    id: RunId,
    started: Option<(Execution, RunContext)>,
}

impl Shelf {
    pub(crate) fn new(number: usize, bell: Arc<Bell>) -> Self {
        Self { number, bell, place: Mutex::default(), back: Condvar::new() }
    }

    /// Which of the desks that were ever put here lies here now.
    pub(crate) fn occupied(&self) -> Option<u64> {
        let place = self.place.lock();
        place.desk.as_ref().map(|_| place.puts)
    }

    fn put(&self, desk: Box<Desk>) {
        let mut place = self.place.lock();
        place.desk = Some(desk);
        place.puts += 1;
        self.back.notify_one();
    }

    fn take(&self) -> Option<Box<Desk>> {
        self.place.lock().desk.take()
    }

    fn wait(&self) -> Box<Desk> {
        let mut place = self.place.lock();
        loop {
            if let Some(desk) = place.desk.take() {
                return desk;
            }
            self.back.wait(&mut place);
        }
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The life of a keeper.
pub(crate) fn keep(pool: &Arc<Pool>, shelf: Arc<Shelf>) {
    let mut desk = Box::new(Desk::new(Arc::clone(&shelf)));
    loop {
        desk.is_cleared = false;
        match desk.turn(pool) {
            Turn::Over => return,
            Turn::On(next) => desk = next,
            Turn::Gone => desk = shelf.wait(),
        }
    }
}

/// Sees the runs of a desk through whose keeper is held up, and puts it back.
pub(crate) fn clear(pool: &Arc<Pool>, shelf: &Shelf) {
    let Some(mut desk) = shelf.take() else { return };
    while !desk.window.is_empty() {
        desk.is_cleared = true;
        match desk.turn(pool) {
            Turn::On(next) => desk = next,
            Turn::Over | Turn::Gone => return,
        }
    }
    shelf.put(desk);
}

/// What became of a desk.
enum Turn {
    On(Box<Desk>),
    /// Somebody else has it.
    Gone,
    Over,
}

/// A keeper's process and its runs.
struct Desk {
    shelf: Arc<Shelf>,
    process: Option<Process>,
    /// The runs the process has, in order. The first goes on.
    window: VecDeque<Sent>,
    /// How many runs were sent, to this process and those before it: the number of the next.
    orders: u64,
    /// Runs that ended while their start was being told.
    ended: Vec<(u64, End)>,
    first: First,
    /// How long a run takes of late.
    pace: Duration,
    /// Until that many runs were sent, none is sent ahead: the process prints.
    talks_until: u64,
    /// Whether runs are being called back.
    is_recalling: bool,
    /// Whether it is only to be cleared: no more runs are taken.
    is_cleared: bool,
    /// What the process prints is of this run.
    label: Option<Arc<Run>>,
    /// The time by the clock of the pool, when a run started last.
    clock: (DateTime<Utc>, Instant),
}

/// A run that was sent.
struct Sent {
    number: u64,
    id: RunId,
    run: Arc<Run>,
    token: CancelToken,
    timeout: Option<Duration>,
    stage: Stage,
}

enum Stage {
    /// It was sent ahead.
    Waiting(Execution),
    /// It goes on, and its sink is being told.
    Away,
    Running(Execution),
    /// It goes on, and was reported already.
    Over,
}

/// How a run ended in its process.
enum End {
    Over(Outcome),
    /// It did not start: its lease may have ended.
    Late,
}

/// What is known of the run that goes on.
struct First {
    since: Instant,
    is_slow: bool,
    is_told_to_stop: bool,
    /// Rings the bell when it is asked to stop, for as long as this is kept.
    asked: Option<Cancelled>,
    stop: Option<Stop>,
}

/// A run is stopped by force.
struct Stop {
    /// Never when `None`.
    kill_at: Option<Instant>,
    is_timeout: bool,
    is_killed: bool,
}

impl Stop {
    /// When the process is to be killed, later when it still has to give runs back; never once it was.
    fn next_kill(&self, is_recalling: bool) -> Option<Instant> {
        let recall = if is_recalling { RECALL } else { Duration::ZERO };
        self.kill_at.filter(|_| !self.is_killed)?.checked_add(recall)
    }
}

impl First {
    fn new() -> Self {
        Self { since: Instant::now(), is_slow: false, is_told_to_stop: false, asked: None, stop: None }
    }
}

impl Desk {
    fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            process: None,
            window: VecDeque::new(),
            orders: 0,
            ended: Vec::new(),
            first: First::new(),
            pace: QUICK,
            talks_until: 0,
            is_recalling: false,
            is_cleared: false,
            label: None,
            clock: (DateTime::UNIX_EPOCH, Instant::now()),
        }
    }

    /// Takes runs as far as there is room, waits until something happens, and deals with it.
    fn turn(mut self: Box<Self>, pool: &Arc<Pool>) -> Turn {
        if self.window.is_empty() {
            self.retire_worn(pool);
        }
        let mut pause = None;
        let room = self.room(pool);
        if room > 0 {
            pause = self.process.is_none().then(|| pool.pause(self.shelf.number)).flatten();
            if pause.is_none() {
                let others = !self.window.is_empty() || !self.ended.is_empty();
                match pool.take(self.shelf.number, room, others) {
                    Found::Runs(runs) => {
                        self.assign(pool, runs);
                        if self.window.is_empty() {
                            return Turn::On(self);
                        }
                    }
                    Found::Nothing => {}
                    Found::End => {
                        self.retire(pool);
                        return Turn::Over;
                    }
                }
            }
        }
        if self.wait(pause) {
            self.obey(pool);
        }
        match self.collect(pool) {
            Turn::On(desk) => self = desk,
            turn => return turn,
        }
        while let Some(message) = self.process.as_mut().and_then(Process::next) {
            match self.hear(pool, message) {
                Turn::On(desk) => self = desk,
                turn => return turn,
            }
        }
        if self.process.as_ref().is_some_and(Process::is_lost) {
            return self.lose(pool);
        }
        self.look_at_the_clock(pool);
        Turn::On(self)
    }

    /// How many runs it takes.
    fn room(&self, pool: &Pool) -> usize {
        let is_busy = !self.window.is_empty();
        if self.is_cleared
            || self.is_recalling
            || (is_busy && (self.first.is_slow || self.first.stop.is_some()))
        {
            return 0;
        }
        let pace = self.pace.as_nanos().max(1);
        let widest = if self.orders < self.talks_until { 1 } else { WIDEST };
        let width = u32::try_from(AHEAD.as_nanos() / pace).unwrap_or(widest).clamp(1, widest);
        let width = usize::try_from(width).unwrap_or(1);
        if is_busy && self.window.len() > width / 2 {
            return 0;
        }
        let room = width.saturating_sub(self.window.len());
        let (most, orders) = (pool.settings.max_tasks_per_child, self.process.as_ref().map(|it| it.orders));
        let left = most.map(|most| most.saturating_sub(orders.unwrap_or(0)));
        left.map_or(room, |left| room.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    /// Ends a process that has had as many runs as it may.
    fn retire_worn(&mut self, pool: &Pool) {
        let most = pool.settings.max_tasks_per_child;
        if self.process.as_ref().is_some_and(|process| most.is_some_and(|most| process.orders >= most)) {
            self.retire(pool);
        }
    }

    fn retire(&mut self, pool: &Pool) {
        if let Some(process) = self.process.take() {
            // Its answer may be on its way; nothing is there to be called back any more.
            self.is_recalling = false;
            process.retire(&self.shelf.bell, pool.settings.kill_at());
            pool.process_ended();
        }
    }

    /// Sends runs to the process, which is started when there is none.
    fn assign(&mut self, pool: &Arc<Pool>, runs: Vec<Execution>) {
        let is_new = self.process.is_none();
        if is_new {
            let started =
                Process::start(&pool.settings, &pool.alias, &self.shelf.bell, || pool.is_abandoned());
            match started {
                Ok(process) => {
                    self.process = Some(process);
                    pool.process_started();
                }
                Err(error) => return pool.process_failed(self.shelf.number, runs, &error),
            }
        }
        runs.into_iter().for_each(|run| self.send(pool, run));
        if let Some(process) = &mut self.process {
            process.flush();
        }
        if is_new {
            // The bell may have been rung while nobody but the new process was listened to.
            self.obey(pool);
        }
    }

    /// Sends a run. When nothing is before it, it begins.
    fn send(&mut self, pool: &Pool, mut execution: Execution) {
        let Some(run) = execution.run().map(Arc::clone) else { return };
        let is_first = self.window.is_empty();
        if execution.task().is_some_and(|task| !task.is_registered()) {
            return self.refuse(pool, execution, CLOSURE);
        }
        if is_first {
            let Some((begun, context)) = contain(|| execution.begin()).flatten() else {
                return pool.ended(self.shelf.number, run.id);
            };
            self.clock = (context.started_at(), Instant::now());
            self.first = First::new();
            self.label = Some(Arc::clone(&run));
            execution = begun;
        }
        match self.encode(pool, &execution, &run) {
            Err(WireError(reason)) => self.refuse(pool, execution, &reason),
            Ok(number) => {
                let timeout = execution.options().and_then(|options| options.timeout);
                let (id, token) = (run.id, execution.cancel_token());
                let stage = if is_first { Stage::Running(execution) } else { Stage::Waiting(execution) };
                self.window.push_back(Sent { number, id, run, token, timeout, stage });
            }
        }
    }

    /// Ends a run that no process can have.
    fn refuse(&self, pool: &Pool, execution: Execution, reason: &str) {
        let id = execution.run().map(|run| run.id);
        contain(|| execution.finish(Outcome::Failed(TaskError::new(reason))));
        id.into_iter().for_each(|id| pool.ended(self.shelf.number, id));
    }

    /// Puts a run into the outbox and answers its number.
    fn encode(&mut self, pool: &Pool, execution: &Execution, run: &Run) -> Result<u64, WireError> {
        let follows = !self.window.is_empty();
        let (Some(process), Some(args), Some(options)) =
            (self.process.as_mut(), execution.args(), execution.options())
        else {
            return Err("the run has no process".into());
        };
        // Read before it is asked how much is left.
        let now = wire::uptime();
        let left = execution.lease_left().map(|left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
        let (time, at) = self.clock;
        let passed = follows.then(|| TimeDelta::from_std(at.elapsed()).ok()).flatten();
        let number = self.orders;
        let order = OrderRef {
            number,
            run,
            args,
            started_at: time + passed.unwrap_or_default(),
            follows,
            lease_end: left.map(|left| now.saturating_add(left)),
            timeout: options.timeout,
            metadata: options.metadata.as_deref(),
        };
        order.encode(process.outbox(), pool.settings.max_payload)?;
        process.orders += 1;
        self.orders += 1;
        Ok(number)
    }

    /// Waits for the process, the bell and the clock; says whether the bell was rung.
    fn wait(&mut self, pause: Option<Duration>) -> bool {
        let limit = match self.next_look() {
            // Whoever had the desk before has left something to be heard.
            _ if self.process.as_ref().is_some_and(Process::has_said) => Some(Duration::ZERO),
            Some(next) => Some(next.saturating_duration_since(Instant::now())),
            None => pause,
        };
        let Some(process) = &mut self.process else { return self.shelf.bell.wait(limit) };
        let was_rung = process.wait(&self.shelf.bell, limit, self.label.as_deref());
        if process.take_printed() {
            self.talks_until = self.orders + SILENT;
        }
        was_rung
    }

    /// When the clock is to be looked at next.
    fn next_look(&self) -> Option<Instant> {
        let run = self.window.front()?;
        let since = self.first.since;
        let slow = (!self.first.is_slow).then(|| since + QUICK);
        let end = match &self.first.stop {
            Some(stop) => stop.next_kill(self.is_recalling),
            None => run.timeout.and_then(|timeout| since.checked_add(timeout)),
        };
        slow.into_iter().chain(end).min()
    }

    fn look_at_the_clock(&mut self, pool: &Pool) {
        let now = Instant::now();
        let Some(run) = self.window.front().filter(|_| self.next_look().is_some_and(|next| next <= now))
        else {
            return;
        };
        let (token, is_late) =
            (run.token.clone(), run.timeout.is_some_and(|limit| now - self.first.since >= limit));
        if !self.first.is_slow {
            self.first.is_slow = true;
            self.pace = QUICK;
            self.recall();
            // From now on the bell is rung when the run is asked to stop.
            let waker = Waker::from(Arc::clone(&self.shelf.bell));
            let asked = self.first.asked.insert(token.cancelled());
            if Pin::new(asked).poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tell_to_stop();
            }
        }
        let kill_now = match &mut self.first.stop {
            Some(stop) => {
                let is_over = stop.next_kill(self.is_recalling).is_some_and(|at| at <= now);
                is_over.then(|| stop.is_killed = true).is_some()
            }
            None => {
                if is_late {
                    self.stop(pool, true);
                }
                false
            }
        };
        if let Some(process) = self.process.as_mut().filter(|_| kill_now) {
            process.kill();
        }
    }

    /// Does what others want of its runs.
    fn obey(&mut self, pool: &Pool) {
        for id in pool.stops(self.shelf.number) {
            match self.window.iter().position(|sent| sent.id == id) {
                Some(0) => {
                    let timeout = self.window.front().and_then(|sent| sent.timeout);
                    let is_timeout = timeout.is_some_and(|timeout| self.first.since.elapsed() >= timeout);
                    self.stop(pool, is_timeout);
                }
                // Among those that come back it is dropped.
                Some(_) => self.recall(),
                None => {}
            }
        }
        if self.window.front().is_some_and(|sent| sent.token.is_cancelled()) {
            self.tell_to_stop();
        }
    }

    /// Stops the run that goes on: it is told, and killed with its process when that does not help.
    fn stop(&mut self, pool: &Pool, is_timeout: bool) {
        if self.first.stop.is_none() {
            let kill_at = pool.settings.kill_at();
            self.first.stop = Some(Stop { kill_at, is_timeout, is_killed: false });
            self.tell_to_stop();
            self.recall();
        }
    }

    fn tell_to_stop(&mut self) {
        let (Some(process), Some(first)) = (self.process.as_mut(), self.window.front()) else { return };
        if !self.first.is_told_to_stop {
            self.first.is_told_to_stop = true;
            let is_timeout = self.first.stop.as_ref().is_some_and(|stop| stop.is_timeout);
            let otherwise = if is_timeout { CancelReason::TimedOut } else { CancelReason::Asked };
            let reason = first.token.reason().unwrap_or(otherwise);
            wire::encode_cancel(process.outbox(), first.number, reason);
            process.flush();
        }
    }

    /// Calls the runs back that were sent ahead.
    fn recall(&mut self) {
        let Some(process) = self.process.as_mut().filter(|_| self.window.len() > 1) else { return };
        if !self.is_recalling {
            self.is_recalling = true;
            wire::encode_recall(process.outbox());
            process.flush();
        }
    }

    fn hear(mut self: Box<Self>, pool: &Arc<Pool>, message: ToPool) -> Turn {
        match message {
            ToPool::Done(number, outcome) if self.window.front().is_some_and(|it| it.number == number) => {
                let Some(sent) = self.window.pop_front() else { return Turn::On(self) };
                self.process.iter_mut().for_each(|process| process.end_lines(self.label.as_deref()));
                let first = std::mem::replace(&mut self.first, First::new());
                self.pace = (self.pace * 3 + first.since.elapsed()) / 4;
                let outcome = match (outcome, first.stop) {
                    (Outcome::Cancelled, Some(stop)) if stop.is_timeout => Outcome::TimedOut,
                    (outcome, _) => outcome,
                };
                self.end(pool, sent, End::Over(outcome))
            }
            ToPool::Late(number) if self.window.front().is_some_and(|it| it.number == number) => {
                let Some(sent) = self.window.pop_front() else { return Turn::On(self) };
                self.first = First::new();
                self.end(pool, sent, End::Late)
            }
            ToPool::Returned(count) => {
                self.is_recalling = false;
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let kept = self.window.len().saturating_sub(count).max(1).min(self.window.len());
                let returned = self.window.split_off(kept);
                pool.give_back(self.shelf.number, returned.into_iter().filter_map(Sent::waiting).collect());
                Turn::On(self)
            }
            _ => {
                tracing::error!(executor = &*pool.alias, "a worker process broke the protocol");
                self.process.iter_mut().for_each(Process::kill);
                Turn::On(self)
            }
        }
    }

    /// The process is gone: the run that went on ends with it, the others are given to other processes.
    fn lose(mut self: Box<Self>, pool: &Arc<Pool>) -> Turn {
        let Some(mut process) = self.process.take() else { return Turn::On(self) };
        let fate = process.bury(self.label.as_deref());
        drop(process);
        pool.process_ended();
        let (executor, is_stopped) = (&*pool.alias, self.first.stop.is_some());
        if !is_stopped {
            tracing::warn!(executor, idle = self.window.is_empty(), "{fate}");
        }
        self.is_recalling = false;
        self.pace = QUICK;
        let first = self.window.pop_front();
        let behind = std::mem::take(&mut self.window).into_iter().filter_map(Sent::waiting).collect();
        pool.give_back(self.shelf.number, behind);
        let stop = std::mem::replace(&mut self.first, First::new()).stop;
        let Some(first) = first else { return Turn::On(self) };
        let outcome = match stop {
            Some(stop) if stop.is_timeout => Outcome::TimedOut,
            Some(_) => Outcome::Cancelled,
            None => Outcome::Failed(died(&fate)),
        };
        self.end(pool, first, End::Over(outcome))
    }

    /// A run is over; the next one in the window has begun.
    fn end(mut self: Box<Self>, pool: &Arc<Pool>, sent: Sent, end: End) -> Turn {
        let finished = match sent.stage {
            Stage::Running(execution) | Stage::Waiting(execution) => Some((sent.id, execution, end)),
            Stage::Over => None,
            Stage::Away => {
                self.ended.push((sent.number, end));
                None
            }
        };
        let next = self.window.front_mut().and_then(|next| {
            self.label = Some(Arc::clone(&next.run));
            match std::mem::replace(&mut next.stage, Stage::Away) {
                Stage::Waiting(execution) => Some((next.number, next.id, execution)),
                other => {
                    next.stage = other;
                    None
                }
            }
        });
        self.tell(pool, finished, next)
    }

    /// Calls the sinks of a run that is over and of one that has begun. Meanwhile the desk lies on the shelf, unless there
    /// is nothing on it.
    fn tell(
        self: Box<Self>,
        pool: &Arc<Pool>,
        finished: Option<(RunId, Execution, End)>,
        next: Option<(u64, RunId, Execution)>,
    ) -> Turn {
        let shelf = Arc::clone(&self.shelf);
        let kept = if self.window.is_empty() {
            Some(self)
        } else {
            shelf.put(self);
            pool.watch();
            None
        };
        if let Some((id, execution, end)) = finished {
            contain(|| match end {
                End::Over(outcome) => execution.finish(outcome),
                End::Late => execution.lapse(),
            });
            pool.ended(shelf.number, id);
        }
        let begun = next.map(|(number, id, execution)| {
            let started = contain(|| execution.begin_elsewhere()).flatten();
            Begun { number, id, started }
        });
        match (kept.or_else(|| shelf.take()), begun) {
            (Some(desk), Some(begun)) => desk.begin(pool, begun),
            (Some(desk), None) => Turn::On(desk),
            (None, begun) => {
                shelf.place.lock().begun.extend(begun);
                shelf.bell.ring();
                Turn::Gone
            }
        }
    }

    /// Takes in what came back from sinks while somebody else had the desk.
    fn collect(mut self: Box<Self>, pool: &Arc<Pool>) -> Turn {
        let begun = std::mem::take(&mut self.shelf.place.lock().begun);
        let mut begun = begun.into_iter();
        while let Some(next) = begun.next() {
            let shelf = Arc::clone(&self.shelf);
            match self.begin(pool, next) {
                Turn::On(desk) => self = desk,
                turn => {
                    shelf.place.lock().begun.extend(begun);
                    shelf.bell.ring();
                    return turn;
                }
            }
        }
        Turn::On(self)
    }

    /// The sink of a run that has begun was told. The run may be over by now.
    fn begin(mut self: Box<Self>, pool: &Arc<Pool>, begun: Begun) -> Turn {
        let Begun { number, id, started } = begun;
        let sent = self.window.iter_mut().find(|sent| sent.number == number);
        match (started, sent) {
            (Some((execution, context)), Some(sent)) => {
                sent.stage = Stage::Running(execution);
                self.clock = (context.started_at(), Instant::now());
                Turn::On(self)
            }
            (Some((execution, _)), None) => match self.forget(number) {
                Some(end) => self.tell(pool, Some((id, execution, end)), None),
                None => Turn::On(self),
            },
            // It was asked to stop at the last moment, and is reported.
            (None, sent) => {
                match sent {
                    Some(sent) => {
                        sent.stage = Stage::Over;
                        self.tell_to_stop();
                    }
                    None => drop(self.forget(number)),
                }
                pool.ended(self.shelf.number, id);
                Turn::On(self)
            }
        }
    }

    /// How a run ended while its start was being told.
    fn forget(&mut self, number: u64) -> Option<End> {
        let place = self.ended.iter().position(|(ended, _)| *ended == number)?;
        Some(self.ended.swap_remove(place).1)
    }
}

impl Sent {
    /// The run, if it has not begun.
    fn waiting(self) -> Option<Execution> {
        match self.stage {
            Stage::Waiting(execution) => Some(execution),
            Stage::Away | Stage::Running(_) | Stage::Over => None,
        }
    }
}
