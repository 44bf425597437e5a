//! Statements about jobs, and what is asked about them.
//!
//! A claim is open while `until` is there; its token is new to the whole database. A document with `removed` is no job any
//! more: it stays until the runs of its last commit were let go.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, cstr, doc, rawdoc};
use sched_core::codec::to_micros;
use sched_core::{ClaimRequest, Cursor, Error, Job, JobFilter, JobPosition, JobState};

use crate::codec::{Row, append_cursor, append_spec};
use crate::database::{
    CHUNK, Database, Search, TOKENS_END, Table, Verb, Wait, lease_end, raw_server_now, server_now,
    value_by_id,
};
use crate::error::Refused;

/// The document of a new job.
pub(crate) fn document(job: &Job, encoded: Vec<u8>) -> RawDocumentBuf {
    let mut document = rawdoc! { "_id": job.id().as_str() };
    append_spec(&mut document, job, encoded);
    append_cursor(&mut document, &job.cursor);
    document.append(cstr!("revision"), job.cursor.revision.cast_signed());
    document
}

/// The statement that writes a job over the one that a filter finds, as a change by a user: claims on it end. Without a
/// cursor it stays where it stands.
pub(crate) fn replacement(
    filter: RawDocumentBuf,
    (job, encoded): (&Job, Vec<u8>),
    cursor: Option<&Cursor>,
    mark: ObjectId,
) -> RawDocumentBuf {
    let mut set = RawDocumentBuf::new();
    append_spec(&mut set, job, encoded);
    if let Some(cursor) = cursor {
        append_cursor(&mut set, cursor);
    }
    set.append(cstr!("mark"), mark);
    rawdoc! {
        "q": filter,
        "u": {
            "$set": set,
            "$inc": { "revision": 1_i64 },
            "$unset": { "owner": "", "until": "", "quarantine": "" },
        },
    }
}

/// The jobs of these ids.
pub(crate) fn of_ids(ids: &[&str]) -> Document {
    doc! { "_id": { "$in": ids }, "removed": null }
}

pub(crate) fn raw_ids(ids: &[&str]) -> RawArrayBuf {
    ids.iter().copied().collect()
}

/// Claims due jobs; answers their token and rows, in order.
///
/// It is not waited for until the claims are durable. Should a crash undo them, then what is committed under them is stale.
pub(crate) fn claim(database: &Database, request: &ClaimRequest) -> Result<Option<(i64, Vec<Row>)>, Error> {
    let due = request.now.timestamp_micros();
    // `$expr` alone would be true without a lease too, but then a sparse index may answer, which has no such document.
    let is_free = doc! { "$or": [{ "until": null }, { "$expr": { "$lt": ["$until", server_now()] } }] };
    let search = Search::of(doc! {
        "next_run": { "$lte": due }, "_id": { "$gte": "" }, "token": { "$not": { "$gte": TOKENS_END } }, "$and": [is_free],
    });
    let search = search.sorted(doc! { "next_run": 1, "_id": 1 }).first(request.limit);
    let found = database.find(Table::Jobs, search.only(doc! { "token": 1 }))?;
    let found: Vec<Row> = found.into_iter().map(Row).collect();
    let ids: Vec<&str> = found.iter().filter_map(Row::job_id).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    let token = database.token(found.iter().map(Row::token).max().unwrap_or(0))?;
    let claims = ids.chunks(CHUNK).map(|ids| claim_of(ids, (token, due), request)).collect::<Vec<_>>();
    let claimed = database.write_and((Table::Jobs, Verb::Update), &claims, Wait::UntilApplied)?;
    if claimed.all(database.place())? == 0 {
        return Ok(None);
    }
    let won = Search::of(doc! { "_id": { "$in": ids }, "token": token });
    let mut rows: Vec<Row> = database.find(Table::Jobs, won)?.into_iter().map(Row).collect();
    rows.sort_by_cached_key(|row| (row.number("next_run").ok().flatten(), row.job_id().map(str::to_owned)));
    Ok(Some((token, rows)))
}

/// The statement that claims those of these jobs that are due and free. The token of a job grows, whoever claims it.
fn claim_of(ids: &[&str], (token, due): (i64, i64), request: &ClaimRequest) -> RawDocumentBuf {
    let has_ended = rawdoc! { "$expr": { "$lt": ["$until", raw_server_now()] } };
    let owner = rawdoc! { "$literal": &*request.owner };
    rawdoc! {
        "q": {
            "_id": { "$in": raw_ids(ids) }, "next_run": { "$lte": due }, "token": { "$not": { "$gte": token } },
            "$or": [{ "until": null }, has_ended],
        },
        "u": [{ "$set": { "token": token, "owner": owner, "until": lease_end(request.lease) } }],
        "multi": true,
    }
}

/// Takes claimed rows that do not decode out of the schedule, and writes down why.
pub(crate) fn quarantine(database: &Database, token: i64, rows: &[(String, Error)]) -> Result<usize, Error> {
    let statements: Vec<RawDocumentBuf> = rows
        .iter()
        .map(|(id, reason)| {
            rawdoc! {
                "q": { "_id": id.as_str(), "token": token, "until": { "$exists": true } },
                "u": {
                    "$set": { "quarantine": reason.to_string(), "next_run": null },
                    "$unset": { "owner": "", "until": "" },
                },
            }
        })
        .collect();
    database.update(Table::Jobs, &statements)
}

/// Puts rows that decode again back into the schedule, at their fire times.
pub(crate) fn end_quarantine(database: &Database, rows: &[Row]) -> Result<usize, Error> {
    let statements = rows.iter().filter_map(|row| {
        let is_scheduled = rawdoc! { "$eq": ["$status", "scheduled"] };
        let due = rawdoc! { "$cond": [is_scheduled, "$next_fire", null] };
        Some(rawdoc! {
            "q": { "_id": row.job_id()?, "quarantine": { "$exists": true } },
            "u": [{ "$set": { "next_run": due } }, { "$unset": "quarantine" }],
        })
    });
    database.update(Table::Jobs, &statements.collect::<Vec<_>>())
}

/// Marks jobs as removed; says how many. Claims on them end.
pub(crate) fn mark_removed(
    database: &Database,
    filter: RawDocumentBuf,
    mark: ObjectId,
) -> Result<usize, Error> {
    database.update(Table::Jobs, &[removal(filter, mark, true)])
}

/// The statement that marks as removed what a filter finds.
fn removal(filter: RawDocumentBuf, mark: ObjectId, multi: bool) -> RawDocumentBuf {
    rawdoc! {
        "q": filter,
        "u": { "$set": { "removed": mark, "next_run": null }, "$unset": { "owner": "", "until": "" } },
        "multi": multi,
    }
}

/// Ends the claims of an owner.
pub(crate) fn end_claims(database: &Database, owner: &str) -> Result<usize, Error> {
    let statement = rawdoc! {
        "q": { "until": { "$exists": true }, "owner": owner },
        "u": { "$unset": { "owner": "", "until": "" } },
        "multi": true,
    };
    database.update(Table::Jobs, &[statement])
}

/// When the earliest unclaimed job is due, or the earliest claim no longer holds.
pub(crate) fn next_wakeup(database: &Database) -> Result<Option<i64>, Error> {
    let time = |search: Search, key: &str| -> Result<Option<i64>, Error> {
        let found = database.find_one(Table::Jobs, search.only(doc! { key: 1 }))?;
        Ok(found.and_then(|document| Row(document).number(key).ok().flatten()))
    };
    let due = Search::of(doc! { "next_run": { "$gte": i64::MIN }, "_id": { "$gte": "" }, "until": null });
    let due = time(due.sorted(doc! { "next_run": 1, "_id": 1 }), "next_run")?;
    let lease = Search::of(doc! { "until": { "$exists": true } }).sorted(doc! { "until": 1 });
    let ends = time(lease, "until")?.map(|until| until.saturating_add(1));
    Ok([due, ends].into_iter().flatten().min())
}

/// The two parts of a listing, in their order: what is scheduled, by time and id, and what is not, by id.
pub(crate) fn listing(filter: &JobFilter) -> Vec<Search> {
    let mut common = doc! { "removed": null };
    if let Some(task) = &filter.task {
        common.insert("task", &**task);
    }
    match filter.state {
        Some(JobState::Scheduled) => drop(common.insert("status", "scheduled")),
        Some(JobState::Paused) => drop(common.insert("status", "paused")),
        Some(JobState::Finished) => drop(common.insert("status", "finished")),
        Some(JobState::Suspended) => drop(common.insert("status", doc! { "$regex": "^suspended" })),
        // Some are known as such only once they are decoded.
        Some(JobState::Quarantined) | None => {}
    }
    let with = |own: Document| {
        let mut filter = common.clone();
        filter.extend(own);
        filter
    };
    let is_scheduled = doc! { "$gte": i64::MIN };
    let after = filter.after.as_ref();
    let mut parts = Vec::new();
    let scheduled = match after {
        None => Some(doc! { "next_run": is_scheduled.clone(), "_id": { "$gte": "" } }),
        Some(JobPosition { next_run_time: Some(time), id }) => {
            let time = to_micros(*time);
            let later = doc! { "next_run": { "$gt": time }, "_id": { "$gte": "" } };
            Some(doc! { "$or": [later, { "next_run": time, "_id": { "$gt": id.as_str() } }] })
        }
        Some(JobPosition { next_run_time: None, .. }) => None,
    };
    parts.extend(scheduled.map(|own| Search::of(with(own)).sorted(doc! { "next_run": 1, "_id": 1 })));
    let id = match after {
        Some(JobPosition { next_run_time: None, id }) => doc! { "$gt": id.as_str() },
        _ => doc! { "$gte": "" },
    };
    let idle = with(doc! { "next_run": { "$not": is_scheduled }, "_id": id });
    parts.push(Search::of(idle).sorted(doc! { "_id": 1 }));
    parts
}

/// How many jobs there are by the first word of their status, those in quarantine apart.
pub(crate) fn counts(database: &Database) -> Result<Vec<(String, usize)>, Error> {
    let is_text = doc! { "$eq": [{ "$type": "$status" }, "string"] };
    let word = doc! { "$arrayElemAt": [{ "$split": ["$status", ":"] }, 0] };
    let is_quarantined = doc! { "$ne": [{ "$type": "$quarantine" }, "missing"] };
    let word = doc! { "$switch": { "branches": [
        { "case": is_quarantined, "then": "quarantined" },
        { "case": is_text, "then": word },
    ], "default": "quarantined" } };
    let stages = vec![
        doc! { "$match": { "removed": null, "_id": { "$gte": "" } } },
        doc! { "$group": { "_id": word, "count": { "$sum": 1_i64 } } },
    ];
    let counted = database.aggregate(Table::Jobs, stages, None)?;
    Ok(counted
        .iter()
        .filter_map(|group| {
            let count = usize::try_from(group.get_i64("count").ok()?).ok()?;
            Some((group.get_str("_id").ok()?.to_owned(), count))
        })
        .collect())
}

/// The statement that ends claims under a token and advances their jobs, each to its own cursor.
pub(crate) fn advance(jobs: &[(&str, &Cursor)], token: i64, mark: ObjectId) -> RawDocumentBuf {
    let ids: RawArrayBuf = jobs.iter().map(|(id, _)| *id).collect();
    let cursors = jobs.iter().map(|(_, cursor)| {
        let mut fields = RawDocumentBuf::new();
        append_cursor(&mut fields, cursor);
        fields
    });
    let cursor = value_by_id(ids.clone(), cursors.collect());
    let committed = rawdoc! { "$literal": { "committed": mark } };
    let revision = rawdoc! { "revision": { "$add": [{ "$ifNull": ["$revision", 0_i64] }, 1_i64] } };
    rawdoc! {
        "q": claimed(ids, token),
        "u": [
            { "$replaceWith": { "$mergeObjects": ["$$ROOT", cursor, committed, revision] } },
            { "$unset": ["owner", "until"] },
        ],
        "multi": true,
    }
}

/// The statement that ends claims under a token and marks their jobs as removed.
pub(crate) fn advance_to_the_end(jobs: &[&str], token: i64, mark: ObjectId) -> RawDocumentBuf {
    rawdoc! {
        "q": claimed(raw_ids(jobs), token),
        "u": {
            "$set": { "committed": mark, "removed": mark, "next_run": null },
            "$unset": { "owner": "", "until": "" },
        },
        "multi": true,
    }
}

/// Finds jobs that are claimed under a token.
fn claimed(ids: RawArrayBuf, token: i64) -> RawDocumentBuf {
    rawdoc! { "_id": { "$in": ids }, "token": token, "until": { "$exists": true } }
}

/// Inserts jobs; says which of them were refused.
pub(crate) fn insert(database: &Database, documents: &[RawDocumentBuf]) -> Result<Vec<Refused>, Error> {
    Ok(database.write(Table::Jobs, Verb::Insert, documents)?.refused)
}
