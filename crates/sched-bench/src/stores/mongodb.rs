//! The backlog in MongoDB, on a replica set and on a server that stands alone. The limit claims a thousand due jobs with
//! one update, reads them, and writes their next times with one command, under the same write concern.

use std::time::Instant;

use mongodb::bson::{Document, doc};
use mongodb::sync::Client;
use sched_store_mongodb::MongoStore;
use sched_testkit::server;

use super::backlog::{self, Budget};
use crate::Outcome;
use crate::options::Options;
use crate::out::Board;

/// How many jobs the limit claims at once.
const BATCH: i64 = 1_000;

/// Measures both ways of delivery, where there is a server.
///
/// **Errors**: those of the server and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let servers =
        [("mongodb replica set", server::mongodb()), ("mongodb alone", server::mongodb_standalone())];
    let jobs = backlog::size(options);
    for (kind, url) in servers {
        let Some(url) = url else { continue };
        let ours = |delivery| {
            let database = server::unique_name("bench");
            let rate =
                backlog::rate(|| MongoStore::builder(&url).database(&database).build(), jobs, delivery);
            Client::with_uri_str(&url)?.database(&database).drop().run()?;
            rate
        };
        let budget = Budget { server: kind, least: [0.4, 0.25] };
        backlog::compare(options, board, &budget, ours, || limit(&url, jobs))?;
    }
    Ok(())
}

/// Jobs per second of the least code.
fn limit(url: &str, jobs: u32) -> Outcome<f64> {
    let database = Client::with_uri_str(url)?.database(&server::unique_name("limit"));
    let durable = doc! { "w": "majority", "j": true };
    let table = database.collection::<Document>("jobs");
    database
        .run_command(doc! {
            "createIndexes": "jobs", "indexes": [{ "name": "due", "key": { "next_run": 1, "_id": 1 } }],
        })
        .run()?;
    table
        .insert_many((0..jobs).map(|number| {
            doc! {
                "_id": format!("job-{number:08}"), "next_run": 1_i64, "token": 0_i64, "payload": "{}",
            }
        }))
        .run()?;
    let begun = Instant::now();
    let mut done = 0;
    for token in 1_i64.. {
        let is_due = doc! { "next_run": { "$lte": 1_i64 }, "token": 0_i64 };
        let due = table.find(is_due.clone()).projection(doc! { "_id": 1 }).limit(BATCH).batch_size(1_000);
        let due = due.sort(doc! { "next_run": 1, "_id": 1 }).run()?.collect::<Result<Vec<Document>, _>>()?;
        let ids: Vec<_> = due.iter().filter_map(|document| document.get("_id").cloned()).collect();
        if ids.is_empty() {
            break;
        }
        let mut claim = is_due;
        claim.insert("_id", doc! { "$in": &ids });
        database
            .run_command(doc! {
                "update": "jobs", "writeConcern": &durable,
                "updates": [{ "q": claim, "u": { "$set": { "token": token } }, "multi": true }],
            })
            .run()?;
        let claimed = table.find(doc! { "_id": { "$in": &ids }, "token": token }).batch_size(1_000).run()?;
        let claimed = claimed.collect::<Result<Vec<Document>, _>>()?;
        let updates = claimed.iter().map(|document| {
            let own = doc! { "_id": document.get("_id").cloned(), "token": token };
            doc! { "q": own, "u": { "$set": { "next_run": 2_i64, "token": 0_i64 } } }
        });
        let updates: Vec<Document> = updates.collect();
        done += updates.len();
        database
            .run_command(doc! {
                "update": "jobs", "ordered": false, "writeConcern": &durable, "updates": updates,
            })
            .run()?;
    }
    let time = begun.elapsed().as_secs_f64();
    database.drop().run()?;
    if done == jobs as usize { Ok(f64::from(jobs) / time) } else { Err("the limit lost jobs".into()) }
}
