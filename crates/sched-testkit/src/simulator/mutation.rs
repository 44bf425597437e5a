//! The deliberate bugs: each is switched on by name, and each is to be caught.

use std::fmt;
use std::str::FromStr;

macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// A bug of the simulated store, of the wrapper around it, of the start of runs, or of what drives the loops.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Mutation {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }

        impl FromStr for Mutation {
            type Err = String;
            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $(stringify!($name) => Ok(Self::$name),)+
                    _ => Err(format!("there is no mutation `{name}`")),
                }
            }
        }
    };
}

mutations! {
    /// Jobs are claimed though others hold a lease on them.
    ClaimIgnoresLease;
    /// A lease on a job is judged by the clock of the client that claims.
    LeaseByClientClock;
    /// A lease on a run is judged by the clock of the client that claims.
    RunLeaseByClientClock;
    /// A claim on a job leaves no lease behind, and commits need none.
    CommitNeedsNoClaim;
    /// A commit with an old token is applied.
    CommitAcceptsStaleToken;
    /// A claim stays open after its commit.
    CommitKeepsTheClaim;
    /// A commit advances the job and queues no runs.
    AdvanceWithoutRuns;
    /// A commit queues its runs and does not advance the job.
    RunsWithoutAdvance;
    /// A commit takes the job out of the schedule.
    CursorLost;
    /// A commit jumps over one fire time.
    CursorSkipsOne;
    /// A job whose schedule ends is kept as it was.
    RemovedJobStays;
    /// A job goes with its commit though its schedule goes on.
    CommitRemovesTheJob;
    /// A commit claims its run though another one of the job is unfinished.
    CommitClaimsForBusyJobs;
    /// A commit says that it claimed its run, and the run waits in the queue.
    CommitClaimsLeaveNoLease;
    /// The fire time of a job is no unique key.
    FireTimesAreNotUnique;
    /// Claims on jobs use the same token again.
    JobTokenNotIncreased;
    /// Claims on runs use the same token again.
    RunTokenNotIncreased;
    /// A claim on a run does not count the attempt.
    AttemptNotCounted;
    /// A stale token renews.
    RenewAcceptsStaleToken;
    /// A renewal answers yes and extends nothing.
    RenewDoesNotExtend;
    /// A renewal of an open claim is refused.
    RenewRefusesTheOwner;
    /// A stale token finishes a run.
    FinishAcceptsStaleToken;
    /// A run that is finished keeps its lease.
    FinishIsForgotten;
    /// A run that is finished keeps its place.
    FinishKeepsThePlace;
    /// A stale token gives a claim back.
    ReleaseAcceptsStaleToken;
    /// A released run counts its attempt.
    ReleaseCountsTheAttempt;
    /// A released run is not put back.
    ReleaseDoesNotPutBack;
    /// Runs are taken back a second before their lease ends.
    ReapBeforeTheLeaseEnds;
    /// Runs are never taken back.
    ReapForgets;
    /// Jobs are claimed in the reverse order.
    JobOrderReversed;
    /// Runs are claimed in the reverse order.
    RunOrderReversed;
    /// One more job is claimed than was asked for.
    JobBatchOffByOne;
    /// One more run is claimed than the executor has places.
    PlacesOffByOne;
    /// The limit of a job is not kept.
    JobLimitIgnored;
    /// One run more than the limit of a job.
    JobLimitOffByOne;
    /// The limit of a task is not kept.
    TaskLimitIgnored;
    /// The limit of a key is not kept.
    KeyLimitIgnored;
    /// A run that a limit holds back holds back all others.
    LimitBlocksOthers;
    /// Runs are queued though the overlap policy is to skip.
    OverlapNotSkipped;
    /// Runs are skipped though there is a place.
    OverlapSkipsTooEarly;
    /// What is skipped is not named.
    SkippedNotNamed;
    /// A retry loses the attempts that went before.
    RetryForgetsHistory;
    /// A retry begins to count anew.
    RetryForgetsTheAttempt;
    /// A run that is to be tried again is over.
    RetryEndsTheRun;
    /// A run that is to be tried again does not wait.
    RetryDoesNotWait;
    /// To recover an owner takes the claims of all.
    RecoverTakesFromAll;
    /// To recover an owner does nothing.
    RecoverDoesNothing;
    /// A claim is made and the job is not given out.
    ClaimLosesJobs;
    /// The next wake-up does not know of leases on jobs.
    WakeupIgnoresLeases;
    /// The next wake-up is an hour late.
    WakeupTooLate;
    /// The run queue never wakes anybody.
    RunWakeupForgotten;
    /// The wrapper answers renewals without asking the store.
    WrapperForgetsToRenew;
    /// The wrapper says that a commit was applied and does not pass it on, now and then.
    WrapperDropsCommits;
    /// Jobs are claimed and committed in one write that the server undoes, and it is answered as if it had not.
    WrapperAnswersUndone;
    /// Jobs that are claimed and committed in one write are not locked meanwhile.
    AtOnceLocksNothing;
    /// A run starts without a look at the end of its lease: its scheduler's clock stands still meanwhile.
    BeginIgnoresLease;
    /// The driver sleeps ten times as long as it was told.
    DriverOversleeps;
    /// The driver does not sleep.
    DriverNeverSleeps;
    /// The driver stops after its first failed turn.
    DriverDiesOfFailure;
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
