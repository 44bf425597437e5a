//! The indexes, and which version a database has.
//!
//! MongoDB makes collections by itself when something is written to them; what has to be made are the indexes, two of which
//! guarantee something: a fire time of a job is one run, and a place under a limit is taken once.

use mongodb::bson::{Bson, Document, doc};
use sched_core::{Error, ErrorKind};

use crate::config::Names;
use crate::database::{Database, Search, Table};
use crate::error::{is_duplicate, is_index_conflict, is_missing_collection};

/// The newest version this program knows.
const VERSION: i64 = 1;

/// The document that counts tokens.
pub(crate) const TOKENS: &str = "tokens";

/// The document that says which version the documents have.
const SCHEMA: &str = "schema";

/// Indexes that searches name.
pub(crate) const UNFINISHED: &str = "unfinished";
pub(crate) const WAITING: &str = "waiting";
pub(crate) const WAKES: &str = "wakes";

/// The indexes of a collection, as the command `createIndexes` takes them.
fn indexes(table: Table) -> Vec<Document> {
    match table {
        Table::Jobs => vec![
            doc! { "name": "due", "key": { "next_run": 1, "_id": 1 } },
            doc! { "name": "claimed", "key": { "until": 1 }, "sparse": true },
            doc! { "name": "quarantined", "key": { "quarantine": 1 }, "sparse": true },
            doc! { "name": "removed", "key": { "removed": 1 }, "sparse": true },
        ],
        Table::Runs => vec![
            doc! {
                "name": "fires", "key": { "job": 1, "fire": 1 }, "unique": true,
                "partialFilterExpression": { "job": { "$exists": true }, "state": { "$gte": 0 } },
            },
            doc! { "name": "places", "key": { "places": 1 }, "unique": true, "sparse": true },
            doc! {
                "name": WAITING, "key": { "executor": 1, "priority": -1, "scheduled": 1, "_id": 1 },
                "partialFilterExpression": { "state": 0 },
            },
            doc! { "name": UNFINISHED, "key": { "job": 1 }, "partialFilterExpression": { "state": { "$lt": 2 } } },
            doc! { "name": WAKES, "key": { "state": 1, "wake": 1 } },
            doc! {
                "name": "ended", "key": { "finished": 1, "_id": 1 },
                "partialFilterExpression": { "state": 2 },
            },
        ],
        Table::Meta => Vec::new(),
    }
}

/// What to run in the MongoDB shell when the store is not to do it.
pub(crate) fn ddl(names: &Names) -> String {
    let mut text = String::new();
    for (table, name) in [(Table::Jobs, &names.jobs), (Table::Runs, &names.runs)] {
        for mut index in indexes(table) {
            let key = index.remove("key").unwrap_or(Bson::Null);
            let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let collection = match is_plain {
                true => format!("db.{name}"),
                false => format!("db.getCollection({})", serde_json::Value::from(name.as_str())),
            };
            text.push_str(&format!("{collection}.createIndex({key}, {index});\n"));
        }
    }
    text
}

/// Makes what is missing, or says what to do.
pub(crate) fn prepare(database: &Database, create: bool) -> Result<(), Error> {
    match (found_version(database)?, create) {
        (Some(found), _) if found > VERSION => {
            let message = format!(
                "the collections have schema version {found}, newer than {VERSION}, the newest this program \
                 knows: update it, or give it a database of its own"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).in_context(database.place()));
        }
        (_, false) => check(database)?,
        (_, true) => {
            make(database, Table::Jobs)?;
            make(database, Table::Runs)?;
        }
    }
    write_version(database)
}

fn found_version(database: &Database) -> Result<Option<i64>, Error> {
    let found = database.find_one(Table::Meta, Search::of(doc! { "_id": SCHEMA }))?;
    Ok(found.and_then(|document| document.get_i64("version").ok()))
}

/// Another process may do the same at the same moment.
fn write_version(database: &Database) -> Result<(), Error> {
    let written = database.run(doc! {
        "findAndModify": database.name(Table::Meta),
        "query": { "_id": SCHEMA },
        "update": { "$max": { "version": VERSION } },
        "upsert": true,
        "writeConcern": { "w": "majority", "j": true },
    });
    match written {
        Err(error) if !is_duplicate(&error) => Err(database.failed(error)),
        _ => Ok(()),
    }
}

fn make(database: &Database, table: Table) -> Result<(), Error> {
    let indexes: Vec<Bson> = indexes(table).into_iter().map(Bson::from).collect();
    let made = database.run(doc! { "createIndexes": database.name(table), "indexes": indexes });
    made.map(drop).map_err(|error| {
        let is_other = is_index_conflict(&error);
        let error = database.failed(error);
        match is_other {
            true => Error::new(
                ErrorKind::InvalidState,
                format!(
                    "collection \"{}\" has another index of the same name: {error}",
                    database.name(table)
                ),
            ),
            false => error,
        }
    })
}

/// **Errors**: [`InvalidState`](ErrorKind::InvalidState) naming the statements to run.
fn check(database: &Database) -> Result<(), Error> {
    for table in [Table::Jobs, Table::Runs] {
        let found = match database.collection(table).list_index_names().run() {
            Ok(found) => found,
            Err(error) if is_missing_collection(&error) => Vec::new(),
            Err(error) => return Err(database.failed(error)),
        };
        let missing: Vec<String> = indexes(table)
            .iter()
            .filter_map(|index| index.get_str("name").ok())
            .filter(|name| !found.iter().any(|found| found == name))
            .map(str::to_owned)
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "collection \"{}\" has no index {} and `create_schema` is off; run:\n{}",
                database.name(table),
                missing.join(", "),
                ddl(database.names())
            );
            return Err(Error::new(ErrorKind::InvalidState, message).in_context(database.place()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_name_the_collections() {
        let names = Names {
            database: "app".to_owned(),
            jobs: "jobs".to_owned(),
            runs: "my-runs".to_owned(),
            meta: "meta".to_owned(),
        };
        let ddl = ddl(&names);
        assert!(
            ddl.contains("db.jobs.createIndex({ \"next_run\": 1, \"_id\": 1 }, { \"name\": \"due\" });"),
            "{ddl}"
        );
        assert!(
            ddl.contains("db.getCollection(\"my-runs\").createIndex({ \"job\": 1, \"fire\": 1 }"),
            "{ddl}"
        );
        assert_eq!(ddl.lines().count(), 10);
    }
}
