//! The scheduler suite: what every scheduler must do, whatever its store and its executors.
//!
//! A case plays in a [`World`]: a scheduler on a [`SimClock`](crate::SimClock), driven by a [`ManualRuntime`], so that
//! hours pass in microseconds and nothing sleeps. [`scheduler_suite!`](crate::scheduler_suite) makes one test of each
//! case. It deliberately does not test adapters, which sleep for real; [`adapter_suite!`](crate::adapter_suite) does.
//!
//! In reading order: [`fixture`] makes worlds; [`runtime`], [`recorder`], [`executors`] and [`triggers`] are
//! what they are made of; the other modules are cases.

pub mod changes;
pub mod control;
pub mod durable;
pub mod ending;
pub mod executors;
pub mod firing;
pub mod fixture;
pub mod fleet;
pub mod history;
pub mod jobs;
pub mod lifecycle;
pub mod overlap;
pub mod parts;
pub mod queueing;
pub mod recorder;
pub mod retries;
pub mod runtime;
pub mod transfer;
pub mod triggers;
pub mod trouble;

pub use self::executors::{HeldExecutor, Refusal};
pub use self::fixture::{Fixture, NOTE, Trace, World};
pub use self::recorder::{Recorder, word};
pub use self::runtime::ManualRuntime;
pub use self::triggers::Every;
#[doc(hidden)]
pub use sched_core::Error;

/// Makes one test of each case of the scheduler suite. The argument names a function without arguments that makes a
/// [`Fixture`].
///
/// # Example
/// ```ignore
/// fn fixture() -> Fixture {
///     Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(DebugExecutor::new()))
/// }
/// sched_testkit::scheduler_suite!(fixture);
/// ```
#[macro_export]
macro_rules! scheduler_suite {
    ($make:ident) => {
        $crate::scheduler_cases! { $make; lifecycle:
            a_started_scheduler_cannot_be_started_or_configured
            a_stopped_scheduler_cannot_pause_resume_or_shut_down
            the_state_follows_every_switch
            start_adds_pending_jobs_and_then_tells_of_itself
            shutdown_stops_every_part_once
            a_second_shutdown_is_refused
            a_paused_scheduler_fires_nothing_and_rests
            started_paused_nothing_fires_until_resumed
            pausing_leaves_running_runs_alone
            a_restarted_scheduler_runs_jobs_again
            a_task_may_shut_the_scheduler_down
            a_task_may_shut_down_with_others_behind_it
            a_listener_may_shut_the_scheduler_down
            shutdown_with_a_deadline_cancels_what_is_left
            shutdown_with_a_limit_beyond_all_clocks_waits
            shutdown_now_reports_every_submitted_run
            shutdown_waits_for_queued_runs
            a_failed_start_leaves_nothing_behind
            a_conflicting_pending_job_fails_the_start
            pending_jobs_survive_a_new_configuration
        }
        $crate::scheduler_cases! { $make; parts:
            an_executor_is_started_with_the_scheduler
            a_job_store_is_started_with_the_scheduler
            a_job_store_that_does_not_start_is_not_added
            a_taken_alias_is_refused
            an_unknown_alias_is_an_error
            a_removed_job_store_takes_its_jobs_along
            a_listener_hears_its_mask_until_removed
            a_panicking_listener_disturbs_nobody
            a_listener_may_call_the_scheduler
        }
        $crate::scheduler_cases! { $make; jobs:
            adding_answers_a_handle
            a_handle_calls_its_scheduler
            options_come_from_job_then_task_then_defaults
            a_taken_id_is_refused_replaced_or_kept
            replacing_keeps_the_schedule_of_an_unchanged_trigger
            a_job_that_never_fires_is_refused
            a_job_without_a_trigger_runs_at_once
            the_first_run_time_may_be_given
            a_wrong_job_is_refused_when_it_is_added
            arguments_reach_the_task_however_given
            jobs_are_listed_by_store
            a_job_is_found_by_id_and_store
            a_job_is_removed_from_its_store_only
            all_jobs_are_removed_with_one_event
            a_finished_job_is_removed_or_retained
            jobs_are_printed_under_their_stores
            closures_live_in_memory_only
            a_bound_task_names_its_jobs
            a_job_reads_as_one_line
        }
        $crate::scheduler_cases! { $make; changes:
            a_change_is_applied_and_told_once
            a_wrong_change_changes_nothing
            a_new_trigger_alone_keeps_the_next_fire_time
            rescheduling_starts_the_new_trigger_now
            a_pending_job_is_rescheduled_like_a_stored_one
            rescheduling_to_a_finished_trigger_is_refused
            a_resumed_job_goes_on_from_now
            resuming_from_the_past_catches_up
            resuming_an_ended_job_removes_it
            the_next_run_time_may_be_moved
            a_change_survives_a_fire
            a_change_that_is_overtaken_is_made_anew
            a_task_may_remove_its_own_job
        }
        $crate::scheduler_cases! { $make; firing:
            without_jobs_the_loop_sleeps
            the_loop_rests_until_the_earliest_job
            a_job_fires_at_its_times
            removal_follows_the_last_run
            the_events_of_a_run_tell_all_of_it
            a_task_sees_its_run_and_its_scheduler
            a_failing_task_is_an_event_and_the_job_goes_on
            coalescing_picks_latest_earliest_or_all
            a_backlog_runs_one_after_the_other
            catching_up_has_a_limit
            a_fire_that_is_too_late_is_missed
            each_fire_of_a_backlog_is_judged_by_itself
            lateness_is_judged_again_at_the_start
            without_a_grace_time_late_runs_happen
            jitter_delays_runs_but_not_the_schedule
            a_year_of_sleep_is_one_late_run
            more_jobs_than_a_batch_all_fire
            a_clock_set_back_fires_nothing_twice
            a_clock_set_forward_is_one_late_run
            a_wakeup_makes_the_loop_look
        }
        $crate::scheduler_cases! { $make; overlap:
            skip_drops_the_run_and_says_so
            queue_keeps_runs_in_order
            cancel_previous_stops_the_old_run
            a_task_limit_counts_over_all_jobs
            a_task_limit_does_not_lock_another_store
            a_removed_job_leaves_no_place_taken
            a_full_executor_delays_and_loses_nothing
            a_run_may_be_cancelled
        }
        $crate::scheduler_cases! { $make; trouble:
            a_faulty_trigger_suspends_its_job_only
            a_failing_store_is_tried_again_until_it_recovers
            a_commit_without_an_answer_fires_nothing_twice
            the_pauses_between_tries_double_up_to_a_cap
            a_failing_store_delays_its_own_jobs_only
            a_store_error_reaches_the_caller
            a_panicking_executor_loses_no_other_run
            a_refused_run_is_offered_again
            a_closed_executor_abandons_its_runs
            a_job_without_its_executor_is_missed
            a_failed_commit_is_not_left_to_the_end_of_its_claims
            a_commit_in_doubt_gives_way_to_a_change
            trouble_deletes_no_job
        }
        $crate::scheduler_cases! { $make; durable:
            a_durable_run_has_a_row
            a_result_is_kept_for_its_time_to_live
            a_long_run_keeps_its_lease
            the_runs_of_a_dead_scheduler_are_taken_over
            a_run_that_kills_its_schedulers_is_abandoned
            a_stale_owner_writes_nothing
            a_run_does_not_start_after_its_lease
            a_run_that_was_taken_over_does_not_start
            a_run_starts_within_its_renewed_lease
            two_schedulers_fire_each_time_once
            shutdown_gives_back_what_has_not_started
            queued_calls_run_by_priority_and_time
            a_wrong_call_is_refused_when_it_is_queued
            a_run_is_named_before_it_is_queued
            a_caller_may_wait_for_a_result
            a_waiting_caller_is_told_of_a_shutdown
            a_claimed_run_may_be_cancelled
            overlap_policies_hold_for_durable_runs
            durable_removal_follows_the_last_run
            waiting_for_a_place_is_not_busy_waiting
            a_run_for_another_schedulers_executor_waits
            a_completion_is_written_when_the_store_recovers
            a_late_durable_run_is_missed
        }
        $crate::scheduler_cases! { $make; control:
            a_run_that_takes_too_long_is_stopped_by_force
            a_run_that_cannot_be_stopped_keeps_its_place
            a_run_that_cannot_be_stopped_may_give_its_place_up
            an_end_after_the_deadline_is_a_timeout
            a_hung_queued_run_is_never_run_twice
            a_hung_queued_run_may_give_its_place_up
            a_shutdown_leaves_no_hung_run_to_others
            a_waiting_caller_is_told_of_a_timeout
            a_failing_store_holds_no_timeout_up
            a_run_may_be_cancelled_wherever_it_stands
            a_run_that_waits_for_its_turn_may_be_cancelled
            a_run_elsewhere_is_not_cancelled
            a_replaced_run_is_stopped_by_force
            a_token_says_why
            ended_runs_leave_no_deadline
        }
        $crate::scheduler_cases! { $make; retries:
            a_failing_run_is_tried_again
            a_run_that_fails_for_good_says_how_often
            only_the_named_failures_are_tried_again
            a_pending_attempt_keeps_its_place
            a_paused_scheduler_starts_no_attempt
            a_pending_attempt_may_be_cancelled_or_replaced
            a_shutdown_ends_pending_attempts
            a_hung_run_is_tried_again_when_it_is_over
            a_queued_run_keeps_its_history
            attempts_go_on_elsewhere
            retry_rules_are_inherited_and_stored
        }
        $crate::scheduler_cases! { $make; ending:
            a_listener_of_a_store_failure_may_shut_down
            a_shutdown_that_does_not_wait_leaves_a_stuck_turn_behind
            nothing_is_added_while_a_shutdown_goes_on
            a_removed_store_waits_for_its_queued_runs
            an_end_survives_a_store_that_panics
            a_loop_does_not_wait_for_its_own_run
            a_hung_run_that_was_to_be_tried_again_may_be_cancelled
            a_free_place_of_a_task_goes_to_who_can_take_it
        }
        $crate::scheduler_cases! { $make; queueing:
            a_queued_call_takes_its_options
            priorities_order_jobs_too
            a_backlog_is_ordered_by_priority
            a_full_executor_leaves_runs_in_the_queue
            claimed_runs_are_limited
            a_key_limits_direct_runs_of_all_jobs
            runs_behind_a_key_count_as_unfinished
            a_key_is_freed_however_its_run_ends
            what_is_made_is_checked_and_not_stored
        }
        $crate::scheduler_cases! { $make; fleet:
            a_planner_plans_and_a_worker_runs
            a_full_scheduler_tells_the_others
            a_client_only_asks
            a_planner_needs_durable_delivery
            who_runs_nothing_needs_no_executor
            a_named_scheduler_recovers_its_own
            the_identity_is_given_once
            leases_are_renewed_while_a_turn_is_stuck
            a_run_is_timed_while_its_loop_is_stuck
            a_graceful_stop_gives_leases_back_at_once
            a_run_that_a_stop_cuts_short_is_another_attempt_elsewhere
            a_run_that_shuts_down_has_its_end_written
            a_job_is_removed_after_its_last_run_elsewhere
            a_job_is_told_before_its_runs
        }
        $crate::scheduler_cases! { $make; history:
            runs_are_listed_by_job_state_and_time
            finished_runs_are_kept_up_to_a_limit
            finished_runs_are_kept_for_a_time
            old_runs_are_deleted_batch_by_batch
        }
        $crate::scheduler_cases! { $make; transfer:
            exported_jobs_work_where_they_are_imported
            transfer_needs_a_started_scheduler
            a_wrong_import_adds_nothing
            a_job_of_an_unknown_task_is_kept_and_missed
        }
    };
}

/// Makes the tests of one module of cases.
#[doc(hidden)]
#[macro_export]
macro_rules! scheduler_cases {
    ($make:ident; $module:ident: $($case:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $case() -> Result<(), $crate::scheduler::Error> {
                    $crate::scheduler::$module::$case(&super::$make())
                }
            )*
        }
    };
}
