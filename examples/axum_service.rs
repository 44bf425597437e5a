//! A web service with a scheduler in it: handlers that add and run jobs, and one graceful end for both.
//!
//! Ctrl-c, or a request to terminate, stops the scheduler, which waits for unfinished runs; then the server takes no
//! more requests and ends. A second ctrl-c asks runs to cancel.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use sched::prelude::*;

type Shared = Arc<TokioScheduler>;
type Answer = Result<String, (StatusCode, String)>;

#[sched::task]
async fn report(name: String) -> String {
    // Async tasks are spawned on the runtime: this holds no thread.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let run = sched::current_run().map(|context| context.run().id.to_string());
    format!("report for {name}, by run {}", run.unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hurry = std::env::var_os("SCHED_EXAMPLE").is_some();
    let scheduler: Shared = Arc::new(TokioScheduler::new()?);
    scheduler
        .add_job(Job::call_async(|| async { println!("tick") }).every(Duration::from_millis(700)).id("tick"))
        .await?;
    scheduler.start().await?;

    let app = Router::new()
        .route("/jobs", get(list))
        .route("/jobs/{id}/pause", post(pause))
        .route("/report/{name}", post(run_report))
        .with_state(Arc::clone(&scheduler));
    // A port of its own when it is tried by CI.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", if hurry { 0 } else { 3_000 })).await?;
    let address = listener.local_addr()?;
    println!("try: curl {address}/jobs; curl -X POST {address}/report/ops (ctrl-c ends the program)");

    let stopped = Arc::clone(&scheduler);
    let server =
        axum::serve(listener, app).with_graceful_shutdown(async move { stopped.wait_until_stopped().await });
    if hurry {
        let scheduler = Arc::clone(&scheduler);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            println!("{}", ask(address, "POST /report/ops").await.unwrap_or_default());
            println!("{}", ask(address, "GET /jobs").await.unwrap_or_default());
            scheduler.shutdown(Duration::from_secs(5)).await
        });
    }
    let (served, ended) = tokio::join!(server.into_future(), scheduler.run_until_signal());
    served?;
    Ok(ended?)
}

async fn list(State(scheduler): State<Shared>) -> Answer {
    let jobs = scheduler.get_jobs(None).await.map_err(failed)?;
    Ok(jobs.iter().map(|job| format!("{}: {job}\n", job.id())).collect())
}

async fn pause(State(scheduler): State<Shared>, Path(id): Path<String>) -> Answer {
    scheduler.pause_job(id).await.map(|job| job.to_string()).map_err(failed)
}

/// Runs the task and waits for its value; any number of requests may wait.
async fn run_report(State(scheduler): State<Shared>, Path(name): Path<String>) -> Answer {
    let run = NewRun::task("report").args(serde_json::json!([name]));
    scheduler.run_job(run).await.map(|value| value.to_string()).map_err(failed)
}

fn failed(error: sched::Error) -> (StatusCode, String) {
    let status = match error.kind() {
        sched::ErrorKind::NotFound => StatusCode::NOT_FOUND,
        sched::ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

/// What a browser does, in few words.
async fn ask(address: std::net::SocketAddr, request: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let head =
        format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}
