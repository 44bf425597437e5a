#![doc = include_str!("../README.md")]

mod attributes;
mod cron;
mod expand;
mod faults;
mod function;
mod json;
mod options;
mod retry;
mod schedule;

use proc_macro::TokenStream;

/// Registers a function as a task and gives it typed constructors for its jobs.
///
/// For `fn report(to: String, rows: u32) -> Result<u64, E>` the function stays as it is, and beside it appear
///
/// | item | is |
/// | --- | --- |
/// | `report::job(to, rows) -> JobBuilder` | a job of the task with these arguments |
/// | `report::call(to, rows) -> Call` | the same call without a schedule, for a direct run |
/// | `report::task() -> Task` | the task, for explicit registration |
/// | `report::NAME` | the name under which it is registered |
///
/// The task joins the registry at link time.
///
/// # Attributes
///
/// All are optional. A duration is a number of seconds or text such as `"1h 30m"`.
///
/// | attribute | value | means |
/// | --- | --- | --- |
/// | `name` | text | the stable name under which stored jobs find the task; the function's name when not given |
/// | `executor` | text | the alias of the executor that runs it |
/// | `max_instances` | integer ≥ 1 | at most this many unfinished runs at once: of each job, and of all jobs together |
/// | `overlap` | `"skip"` `"queue"` `"cancel_previous"` | what happens beyond that |
/// | `misfire_grace_time` | duration or `"none"` | how late a run may start |
/// | `coalesce` | `"latest"` `"earliest"` `"all"`, or a boolean | which of several due fire times run; `true` is the latest, `false` is all |
/// | `max_catch_up` | integer ≥ 1 | at most this many missed fire times run when all do |
/// | `jitter` | duration | each run starts up to this much later |
/// | `timeout` | duration | how long a run may take, from its start |
/// | `timeout_slot` | `"hold"` `"free"` | whether a run that timed out and cannot be stopped keeps its place |
/// | `retry` | integer ≥ 1, or `retry(…)` | how often a run is tried at most: `retry(max_attempts = 5, backoff = "10s", jitter = "2s", only = ["timed_out"])`; a `backoff` that grows is `backoff(first = "1s", factor = 2, max = "5m")` |
/// | `max_takeovers` | integer ≥ 1 | how often a queued run is taken over whose scheduler died |
/// | `priority` | integer | higher runs first, among runs that wait |
/// | `concurrency_key`, `concurrency_limit` | text, integer ≥ 1 | at most this many runs with the same key at once |
/// | `retain` | `"remove"` `"finished"` | what happens to a job when its trigger ends |
/// | `result_ttl` | duration | how long results are kept |
/// | `metadata` | `{ "key" = value, … }` | data of your own, shown to the task |
/// | `crate` | path as text | where `sched` is found when it is not `::sched`, such as `"sched_core"` |
///
/// # Parameters and answer
///
/// A parameter's type must be owned and both `Serialize` and `DeserializeOwned`; an `Option` may be left out. One
/// parameter may be `&RunContext`; it is not an argument. The function may be `async`; its future must be `Send`.
/// It returns nothing, a `Serialize` value, or a `Result` (or an alias of one) whose error is `Display + 'static`.
///
/// # Example
/// ```standalone_crate
/// use sched_core::RunContext;
/// use sched_macros::task;
///
/// #[task(crate = "sched_core", max_instances = 3, timeout = "30s")]
/// async fn fetch(run: &RunContext, url: String, limit: Option<u32>) -> Result<usize, String> {
///     let attempt = run.run().attempt;
///     Ok(url.len() + usize::try_from(attempt + limit.unwrap_or(0)).map_err(|error| error.to_string())?)
/// }
///
/// let job = fetch::job("https://example.org".to_owned(), None).id("fetch-home").replace_existing();
/// assert_eq!(fetch::task().signature_text(), "fetch(url, limit?)");
/// # let _ = job;
/// ```
#[proc_macro_attribute]
pub fn task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand::task(attributes.into(), item.into()).into()
}

/// Does what [`task`](macro@task) does and declares one job of it, which the scheduler adds when it is told to add
/// the declared jobs. The job replaces a stored one of its id; an unchanged trigger keeps its next fire time.
///
/// # Attributes
///
/// Exactly one says when the job fires:
///
/// | attribute | value | means |
/// | --- | --- | --- |
/// | `cron` | crontab text | by Unix rules: `"0 9 * * mon-fri"`, `"@daily"` |
/// | `cron(…)` | `year month day week day_of_week hour minute second`, and `expr dialect start_date end_date gap overlap jitter timezone` | by keyword fields: `cron(day = "last sun", hour = 3)` |
/// | `interval`, `every` | duration | `"5m"`, `90` |
/// | `interval(…)` | `weeks days hours minutes seconds microseconds`, and `first start_date end_date jitter timezone` | `interval(hours = 2, start_date = "2026-01-01")` |
/// | `calendarinterval(…)` | `years months weeks days hour minute second`, and `start_date end_date gap overlap jitter timezone` | `calendarinterval(months = 1, hour = 9)` |
/// | `at`, `date` | text | once, at `"2026-12-24 18:00"` |
/// | `trigger` | `{ type = "…", … }` | any trigger, by the alias of its plug-in |
///
/// The others are optional:
///
/// | attribute | value | means |
/// | --- | --- | --- |
/// | `id` | text | the job's id; the task's name when not given |
/// | `args` | `[…]` or `{ name = … }` of literals | the arguments; required when a parameter is |
/// | `timezone` | IANA name | the zone of the trigger; the scheduler's when not given |
/// | `store` | text | the alias of the store that keeps it |
/// | every attribute of [`task`](macro@task) | | `name` names the task, and with it the job |
///
/// Crontab text is checked here as far as its number of fields and its characters go; what the trigger itself
/// refuses is an error when the job is added.
///
/// # Example
/// ```standalone_crate
/// use sched_macros::scheduled;
///
/// #[scheduled(crate = "sched_core", id = "my_job_id", cron(day = "last sun"), args = ["ops@example.org"])]
/// fn report(to: String) -> usize {
///     to.len()
/// }
///
/// let registry = sched_core::Registry::linked()?;
/// assert_eq!(registry.declared_jobs().len(), 1);
/// # Ok::<(), sched_core::Error>(())
/// ```
#[proc_macro_attribute]
pub fn scheduled(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand::scheduled(attributes.into(), item.into()).into()
}
