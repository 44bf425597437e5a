//! The server: one client, three collections, and the few commands by which everything is read and written.
//!
//! Writes are the commands `insert`, `update` and `delete` with many statements, unordered, acknowledged by a majority and
//! journalled, whatever the URL says, but for those that say otherwise. Reads go to the primary.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocument, RawDocumentBuf, cstr, doc, rawdoc};
use mongodb::options::{
    ClientOptions, CollectionOptions, FindOptions, Hint, ReadConcern, ReadPreference, SelectionCriteria,
};
use mongodb::sync::{Client, ClientSession, Collection};
use parking_lot::Mutex;
use sched_core::{Error, ErrorKind};

use crate::config::{Config, Names};
use crate::error::{Reply, failed, is_duplicate};
use crate::schema;

/// The most statements of one command, the most documents of one statement, and the most that are asked for at once.
pub(crate) const CHUNK: usize = 1_000;

/// How many tokens are drawn at once.
const TOKENS_AT_ONCE: i64 = 64;

/// No token is as great: what a stranger has written into a document does not use them up.
pub(crate) const TOKENS_END: i64 = 1 << 62;

/// A command that has grown to so many bytes takes no further statement; the server takes 16 MiB.
const CHUNK_BYTES: usize = 6 << 20;

/// A collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Jobs,
    Runs,
    Meta,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Insert,
    Update,
    Delete,
}

/// How a search goes.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) filter: Document,
    pub(crate) sort: Option<Document>,
    pub(crate) limit: Option<usize>,
    pub(crate) fields: Option<Document>,
    /// How many documents are sent at once; as many as there may be when not given.
    pub(crate) batch: Option<usize>,
    /// The index to go by, where the server would have to try several.
    pub(crate) hint: Option<&'static str>,
}

impl Search {
    pub(crate) fn of(filter: Document) -> Self {
        Self { filter, ..Self::default() }
    }

    pub(crate) fn sorted(self, sort: Document) -> Self {
        Self { sort: Some(sort), ..self }
    }

    pub(crate) fn first(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub(crate) fn page(self, limit: Option<usize>) -> Self {
        Self { limit, ..self }
    }

    pub(crate) fn in_batches(self, size: usize) -> Self {
        Self { batch: Some(size), ..self }
    }

    pub(crate) fn by(self, index: &'static str) -> Self {
        Self { hint: Some(index), ..self }
    }

    pub(crate) fn only(self, fields: Document) -> Self {
        Self { fields: Some(fields), ..self }
    }

    fn options(self) -> (Document, FindOptions) {
        let Self { filter, sort, limit, fields, batch, hint } = self;
        let batch = u32::try_from(batch.or(limit).unwrap_or(CHUNK).clamp(1, CHUNK)).unwrap_or(u32::MAX);
        let mut options = FindOptions::default();
        options.batch_size = Some(batch);
        options.limit = limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
        options.sort = sort;
        options.projection = fields;
        options.hint = hint.map(|hint| Hint::Name(hint.to_owned()));
        (filter, options)
    }
}

/// A lease in microseconds, rounded up to what the server's clock counts.
pub(crate) fn lease_micros(lease: Duration) -> i64 {
    i64::try_from(lease.as_micros().div_ceil(1_000).saturating_mul(1_000))
        .unwrap_or(i64::MAX / 4)
        .min(i64::MAX / 4)
}

/// The server's time in microseconds, in an expression.
pub(crate) fn server_now() -> Bson {
    Bson::from(doc! { "$multiply": [{ "$toLong": "$$NOW" }, 1_000_i64] })
}

/// The same for a write's statement.
pub(crate) fn raw_server_now() -> RawDocumentBuf {
    rawdoc! { "$multiply": [{ "$toLong": "$$NOW" }, 1_000_i64] }
}

/// The last moment of a lease that begins now, in microseconds, in an expression.
pub(crate) fn lease_end(lease: Duration) -> RawDocumentBuf {
    rawdoc! { "$add": [raw_server_now(), lease_micros(lease)] }
}

/// In an expression, the value that stands at the same place as the document's `_id` among `ids`. The server makes a table
/// of them, so that one statement with many values costs far less than many statements.
pub(crate) fn value_by_id(ids: RawArrayBuf, values: RawArrayBuf) -> RawDocumentBuf {
    let place = rawdoc! { "$indexOfArray": [{ "$literal": ids }, "$_id"] };
    rawdoc! { "$arrayElemAt": [{ "$literal": values }, place] }
}

/// How long a write is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until a majority has it in its journal: nothing can undo it.
    UntilDurable,
    /// Until the primary has applied it. A crash may undo it, but then also every write that came after it to the same
    /// primary: it is durable when a later one is.
    UntilApplied,
}

/// An open database.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    client: Client,
    names: Arc<Names>,
    /// What errors say it is.
    place: Arc<str>,
    write_concern: RawDocumentBuf,
    /// Tokens that were drawn and not used yet.
    tokens: Arc<Mutex<Range<i64>>>,
}

impl Database {
    /// Connects, and makes or checks the indexes.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        let place: Arc<str> = format!("{}/{}", config.address, config.names.database).into();
        let parsed = ClientOptions::parse(config.address.uri()).run();
        let mut options = parsed.map_err(|error| failed(error, &place))?;
        // What the URL says counts, where it says it.
        options.server_selection_timeout.get_or_insert(config.server_selection_timeout);
        options.connect_timeout.get_or_insert(config.connect_timeout);
        options.max_pool_size.get_or_insert(config.max_pool_size);
        options.app_name.get_or_insert_with(|| "sched".to_owned());
        let client = Client::with_options(options).map_err(|error| failed(error, &place))?;
        let patience = i64::try_from(config.write_timeout.as_millis()).unwrap_or(i64::MAX);
        let write_concern = rawdoc! { "w": "majority", "j": true, "wtimeout": patience };
        let (names, tokens) = (Arc::new(config.names.clone()), Arc::new(Mutex::new(0..0)));
        let database = Self { client, names, place, write_concern, tokens };
        schema::prepare(&database, config.create_schema)?;
        Ok(database)
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn name(&self, table: Table) -> &str {
        match table {
            Table::Jobs => &self.names.jobs,
            Table::Runs => &self.names.runs,
            Table::Meta => &self.names.meta,
        }
    }

    pub(crate) fn collection(&self, table: Table) -> Collection<RawDocumentBuf> {
        let options = CollectionOptions::builder()
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .read_concern(ReadConcern::local())
            .build();
        self.client.database(&self.names.database).collection_with_options(self.name(table), options)
    }

    /// Runs a command and answers its reply.
    pub(crate) fn run(&self, command: Document) -> mongodb::error::Result<Document> {
        self.client.database(&self.names.database).run_command(command).run()
    }

    pub(crate) fn failed(&self, error: mongodb::error::Error) -> Error {
        failed(error, &self.place)
    }

    /// What a search finds.
    pub(crate) fn find(&self, table: Table, search: Search) -> Result<Vec<RawDocumentBuf>, Error> {
        let mut found = Vec::new();
        self.each(table, search, |document| {
            found.push(document.to_owned());
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The first that a search finds.
    pub(crate) fn find_one(&self, table: Table, search: Search) -> Result<Option<RawDocumentBuf>, Error> {
        Ok(self.find(table, search.first(1))?.into_iter().next())
    }

    /// Visits what a search finds, until told to stop.
    pub(crate) fn each(
        &self,
        table: Table,
        search: Search,
        mut visit: impl FnMut(&RawDocument) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if search.limit == Some(0) {
            return Ok(());
        }
        let (filter, options) = search.options();
        let collection = self.collection(table);
        let find = collection.find(filter).with_options(options);
        let mut cursor = find.run().map_err(|error| self.failed(error))?;
        while cursor.advance().map_err(|error| self.failed(error))? {
            if visit(cursor.current()).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// A chain of calls, for [`write_in`](Self::write_in) and [`find_in`](Self::find_in): each sees what those before it
    /// have written or found, whichever server is the primary by then.
    pub(crate) fn chain(&self) -> Result<ClientSession, Error> {
        self.client.start_session().causal_consistency(true).run().map_err(|error| self.failed(error))
    }

    /// What a search finds of that which can never be undone.
    pub(crate) fn find_in(
        &self,
        chain: &mut ClientSession,
        table: Table,
        search: Search,
    ) -> Result<Vec<RawDocumentBuf>, Error> {
        let (filter, mut options) = search.options();
        options.read_concern = Some(ReadConcern::majority());
        let collection = self.collection(table);
        let find = collection.find(filter).with_options(options).session(&mut *chain);
        let mut cursor = find.run().map_err(|error| self.failed(error))?;
        let mut found = Vec::new();
        while cursor.advance(chain).map_err(|error| self.failed(error))? {
            found.push(cursor.current().to_owned());
        }
        Ok(found)
    }

    /// What an aggregation answers, which goes by an index when one is named.
    pub(crate) fn aggregate(
        &self,
        table: Table,
        stages: Vec<Document>,
        index: Option<&str>,
    ) -> Result<Vec<Document>, Error> {
        let collection = self.collection(table);
        let mut aggregate = collection.aggregate(stages);
        if let Some(index) = index {
            aggregate = aggregate.hint(Hint::Name(index.to_owned()));
        }
        let answered = aggregate.run().map_err(|error| self.failed(error))?;
        answered.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// Writes, statement by statement; a statement that is refused does not affect the others.
    pub(crate) fn write(
        &self,
        table: Table,
        verb: Verb,
        statements: &[RawDocumentBuf],
    ) -> Result<Reply, Error> {
        self.write_and((table, verb), statements, Wait::UntilDurable)
    }

    /// As [`write`](Self::write), as a part of a chain.
    pub(crate) fn write_in(
        &self,
        chain: &mut ClientSession,
        (table, verb): (Table, Verb),
        statements: &[RawDocumentBuf],
    ) -> Result<Reply, Error> {
        self.write_each(statements, |statements| {
            let command = self.command((table, verb), statements, Wait::UntilDurable);
            self.client.database(&self.names.database).run_raw_command(command).session(&mut *chain).run()
        })
    }

    /// As [`write`](Self::write), and waits for it.
    pub(crate) fn write_and(
        &self,
        (table, verb): (Table, Verb),
        statements: &[RawDocumentBuf],
        wait: Wait,
    ) -> Result<Reply, Error> {
        self.write_each(statements, |statements| {
            let command = self.command((table, verb), statements, wait);
            self.client.database(&self.names.database).run_raw_command(command).run()
        })
    }

    /// Sends statements, as many at once as go into one command.
    fn write_each(
        &self,
        statements: &[RawDocumentBuf],
        mut send: impl FnMut(&[RawDocumentBuf]) -> mongodb::error::Result<Document>,
    ) -> Result<Reply, Error> {
        let mut total = Reply::default();
        let mut first = 0;
        while first < statements.len() {
            let count = chunk(&statements[first..]);
            let reply = match send(&statements[first..first + count]) {
                Ok(reply) => {
                    let reply =
                        RawDocumentBuf::try_from(&reply).map_err(|error| self.failed(error.into()))?;
                    Reply::read(&reply, first)
                }
                Err(error) => match Reply::of_unread(&error, first) {
                    Some(reply) => reply,
                    None => return Err(self.failed(error)),
                },
            };
            let reply = reply.map_err(|error| error.in_context(&self.place))?;
            total.changed += reply.changed;
            total.refused.extend(reply.refused);
            first += count;
        }
        Ok(total)
    }

    /// Updates none of whose statements can be refused; says how many documents they matched.
    pub(crate) fn update(&self, table: Table, statements: &[RawDocumentBuf]) -> Result<usize, Error> {
        self.write(table, Verb::Update, statements)?.all(&self.place)
    }

    /// Deletes what matches; says how many.
    pub(crate) fn delete(&self, table: Table, filter: RawDocumentBuf) -> Result<usize, Error> {
        self.write(table, Verb::Delete, &[rawdoc! { "q": filter, "limit": 0 }])?.all(&self.place)
    }

    fn command(
        &self,
        (table, verb): (Table, Verb),
        statements: &[RawDocumentBuf],
        wait: Wait,
    ) -> RawDocumentBuf {
        let mut list = RawArrayBuf::new();
        statements.iter().for_each(|statement| list.push(statement));
        let mut command = RawDocumentBuf::new();
        let (name, key) = match verb {
            Verb::Insert => (cstr!("insert"), cstr!("documents")),
            Verb::Update => (cstr!("update"), cstr!("updates")),
            Verb::Delete => (cstr!("delete"), cstr!("deletes")),
        };
        command.append(name, self.name(table));
        command.append(key, list);
        command.append(cstr!("ordered"), false);
        match wait {
            Wait::UntilDurable => command.append(cstr!("writeConcern"), &self.write_concern),
            Wait::UntilApplied => command.append(cstr!("writeConcern"), rawdoc! { "w": 1, "j": false }),
        }
        command
    }

    /// A token that no claim ever had, greater than `above`. Tokens are drawn many at once, so that most calls ask nobody.
    pub(crate) fn token(&self, above: i64) -> Result<i64, Error> {
        let mut tokens = self.tokens.lock();
        tokens.start = tokens.start.max(above.saturating_add(1));
        if tokens.is_empty() {
            *tokens = self.draw(above, &mut self.chain()?)?;
        }
        let token = tokens.start;
        tokens.start += 1;
        Ok(token)
    }

    /// Waits until everything that was seen before is durable, or undone for ever. What a chain finds from now on tells
    /// which.
    pub(crate) fn wait_until_durable(&self, chain: &mut ClientSession) -> Result<(), Error> {
        self.draw(0, chain).map(drop)
    }

    /// Draws tokens that nobody has drawn before, greater than `above`, from the counter.
    fn draw(&self, above: i64, chain: &mut ClientSession) -> Result<Range<i64>, Error> {
        let drawn = match self.advance_counter(above, chain) {
            // Somebody else has made the counter at the same moment.
            Err(error) if is_duplicate(&error) => self.advance_counter(above, chain),
            drawn => drawn,
        };
        let reply = drawn.map_err(|error| self.failed(error))?;
        let counter = reply.get_document("value").ok();
        match counter.and_then(|counter| counter.get_i64("value").ok()) {
            Some(last) if last < TOKENS_END => Ok(last - TOKENS_AT_ONCE + 1..last + 1),
            _ => {
                Err(Error::new(ErrorKind::Corrupt, "the counter of tokens is no counter")
                    .in_context(&self.place))
            }
        }
    }

    fn advance_counter(&self, above: i64, chain: &mut ClientSession) -> mongodb::error::Result<Document> {
        // A counter that is behind the documents was lost, as when a part of a backup was restored.
        let last = doc! { "$max": [{ "$ifNull": ["$value", 0_i64] }, above] };
        let concern = Document::try_from(&*self.write_concern)?;
        let command = doc! {
            "findAndModify": self.name(Table::Meta),
            "query": { "_id": schema::TOKENS },
            "update": [{ "$set": { "value": { "$add": [last, TOKENS_AT_ONCE] } } }],
            "upsert": true,
            "new": true,
            "writeConcern": concern,
        };
        self.client.database(&self.names.database).run_command(command).session(chain).run()
    }
}

/// How many statements go into one command: at least one.
fn chunk(statements: &[RawDocumentBuf]) -> usize {
    let mut bytes = 0;
    let fits = |statement: &&RawDocumentBuf| {
        bytes += statement.as_bytes().len();
        bytes <= CHUNK_BYTES
    };
    statements.iter().take(CHUNK).take_while(fits).count().max(1)
}

/// Does something with the server. The driver waits for its own runtime and panics inside of another, so that it is then
/// given a thread that belongs to none.
///
/// **Errors**: those of `work`; [`Unexpected`](ErrorKind::Unexpected) when it panics there.
pub(crate) fn outside_of_runtimes<T: Send>(
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if tokio::runtime::Handle::try_current().is_err() {
        return work();
    }
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unexpected, "a call of the MongoDB driver panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_by_number_and_by_size() {
        let small = vec![rawdoc! { "a": 1 }; CHUNK + 7];
        assert_eq!((chunk(&small), chunk(&small[CHUNK..])), (CHUNK, 7));
        let large = vec![rawdoc! { "a": "x".repeat(CHUNK_BYTES / 2) }; 3];
        assert_eq!(chunk(&large), 1);
        let medium = vec![rawdoc! { "a": "x".repeat(CHUNK_BYTES / 3 - 64) }; 4];
        assert_eq!(chunk(&medium), 3);
    }

    #[test]
    fn leases_are_rounded_up_and_have_an_end() {
        assert_eq!(lease_micros(Duration::from_micros(1)), 1_000);
        assert_eq!(lease_micros(Duration::from_millis(500)), 500_000);
        let longest = lease_micros(Duration::MAX);
        assert!(longest > 1 << 60 && longest < i64::MAX - (1 << 60));
    }
}
