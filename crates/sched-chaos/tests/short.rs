//! A short run on every store whose server is there: members are killed, frozen, restarted and cut off a few times, and
//! nothing is lost or done twice. `cargo xtask chaos` plays long ones, in which servers are killed, too.

use std::error::Error;
use std::process::Command;

use sched_chaos::plan::Store;

fn play(store: Store) -> Result<(), Box<dyn Error>> {
    if store != Store::Sqlite && store.server_url().is_none() {
        return Ok(());
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sched-chaos"));
    command.args(["run", "--store", store.name(), "--rounds", "12", "--jobs", "12", "--lease", "3000"]);
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(told.lines().last().unwrap_or_default())?;
    assert!(report["verdict"]["fires"].as_u64().is_some_and(|fires| fires >= 12), "{report}");
    assert_eq!(report["verdict"]["good"], true, "{report}");
    Ok(())
}

#[test]
fn sqlite_loses_and_doubles_nothing() -> Result<(), Box<dyn Error>> {
    play(Store::Sqlite)
}

#[test]
fn postgres_loses_and_doubles_nothing() -> Result<(), Box<dyn Error>> {
    play(Store::Postgres)
}

#[test]
fn mysql_loses_and_doubles_nothing() -> Result<(), Box<dyn Error>> {
    play(Store::Mysql)
}

#[test]
fn redis_loses_and_doubles_nothing() -> Result<(), Box<dyn Error>> {
    play(Store::Redis)
}

#[test]
fn mongodb_loses_and_doubles_nothing() -> Result<(), Box<dyn Error>> {
    play(Store::Mongodb)
}
