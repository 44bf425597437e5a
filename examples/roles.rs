//! A web front end, a planner and workers as processes of their own, on one Redis server.
//!
//! `roles web`, `roles planner`, `roles worker`, each with the server's URL as a second argument, or with
//! `SCHED_TEST_REDIS_URL` set. Each ends on ctrl-c. `roles.sh` starts them all and asks the front end for some work.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use sched::prelude::*;
use sched::{RunId, RunState};
use serde_json::json;

/// The front end and the planner know tasks by name and parameters; only workers run them.
#[task(result_ttl = "10m")]
fn thumbnail(picture: String) -> String {
    format!("{picture}, made small by worker {}", std::process::id())
}

#[task]
fn tidy_up() {
    println!("tidied up");
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let word = arguments.next();
    let url = arguments.next().or_else(|| std::env::var("SCHED_TEST_REDIS_URL").ok());
    let url = url.ok_or("give the URL of a Redis server, or set SCHED_TEST_REDIS_URL")?;
    let config = |role: &str| {
        json!({
            "role": role,
            "job_stores": { "default": { "type": "redis", "url": url, "prefix": "example-roles" } },
            // A notice travels at once; without a broker, workers look every ten seconds.
            "event_broker": { "type": "redis", "url": url },
        })
    };
    match word.as_deref() {
        Some("web") => serve(config("client")),
        Some("planner") => {
            let scheduler = BlockingScheduler::from_config(config("scheduler"))?;
            scheduler
                .add_job(tidy_up::job().every(Duration::from_secs(1)).id("tidy-up").replace_existing())?;
            run(&scheduler)
        }
        Some("worker") => run(&BlockingScheduler::from_config(config("worker"))?),
        _ => Err("usage: roles web|planner|worker [URL]".into()),
    }
}

fn run(scheduler: &BlockingScheduler) -> Result<(), Box<dyn Error>> {
    sched::shutdown_on_signal(scheduler)?;
    Ok(scheduler.start()?)
}

#[tokio::main]
async fn serve(config: serde_json::Value) -> Result<(), Box<dyn Error>> {
    let scheduler = Arc::new(TokioScheduler::from_config(config)?);
    scheduler.start().await?;
    let app = axum::Router::new()
        .route("/thumbnails/{picture}", post(order))
        .route("/runs/{id}", get(look))
        .with_state(Arc::clone(&scheduler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let stopped = Arc::clone(&scheduler);
    let server =
        axum::serve(listener, app).with_graceful_shutdown(async move { stopped.wait_until_stopped().await });
    let (served, ended) = tokio::join!(server.into_future(), scheduler.run_until_signal());
    served?;
    Ok(ended?)
}

type Answer = Result<String, (StatusCode, String)>;

async fn order(State(scheduler): State<Arc<TokioScheduler>>, Path(picture): Path<String>) -> Answer {
    let run = scheduler.add_run(thumbnail::call(picture)).await.map_err(failed)?;
    Ok(format!("/runs/{run}"))
}

async fn look(State(scheduler): State<Arc<TokioScheduler>>, Path(id): Path<String>) -> Answer {
    let id: RunId = id.parse().map_err(failed)?;
    Ok(match scheduler.get_run_result(id, None).await.map_err(failed)?.state {
        RunState::Finished { outcome, .. } => {
            outcome.value().map_or_else(|| outcome.to_string(), |value| value.to_string())
        }
        _ => "not yet".to_owned(),
    })
}

fn failed(error: sched::Error) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error.to_string())
}
