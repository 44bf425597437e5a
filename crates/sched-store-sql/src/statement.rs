//! Statements: SQL text in which every value is a `?`, and the values.
//!
//! Table names carry the user's prefix, so that diesel's typed queries do not fit; text does. Unlike
//! [`diesel::sql_query`], a statement is prepared once for each connection and kept. Nothing but checked names is ever
//! put into the text.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::connection::Connection;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::methods::{ExecuteDsl, LoadQuery};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType, Nullable, Text};
use diesel::{QueryResult, RunQueryDsl};

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bind<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
    Bytes(Option<&'a [u8]>),
    #[cfg(feature = "postgres")]
    Uuid(uuid::Uuid),
    #[cfg(feature = "postgres")]
    Ints(&'a [Option<i64>]),
    #[cfg(feature = "postgres")]
    Texts(&'a [Option<&'a str>]),
    /// No list, where one of texts may be.
    #[cfg(feature = "postgres")]
    NoTexts,
    #[cfg(feature = "postgres")]
    ByteStrings(&'a [Option<&'a [u8]>]),
    #[cfg(feature = "postgres")]
    Uuids(&'a [uuid::Uuid]),
}

impl From<i64> for Bind<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Bind<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl<'a> From<&'a str> for Bind<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'a> From<Option<&'a str>> for Bind<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Bind<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Some(value))
    }
}

impl<'a> From<Option<&'a [u8]>> for Bind<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        Self::Bytes(value)
    }
}

/// A value that a database of this kind takes.
pub(crate) trait Value<DB: Backend> {
    /// Hands it over, and writes its place into the text.
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()>;
}

/// A value that is no list.
fn push_plain<'b, DB>(bind: &'b Bind<'_>, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()>
where
    DB: Backend + HasSqlType<Nullable<BigInt>> + HasSqlType<Nullable<Text>> + HasSqlType<Nullable<Binary>>,
    Option<i64>: ToSql<Nullable<BigInt>, DB>,
    for<'t> Option<&'t str>: ToSql<Nullable<Text>, DB>,
    for<'t> Option<&'t [u8]>: ToSql<Nullable<Binary>, DB>,
{
    match bind {
        Bind::Int(value) => out.push_bind_param::<Nullable<BigInt>, _>(value),
        Bind::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value),
        Bind::Bytes(value) => out.push_bind_param::<Nullable<Binary>, _>(value),
        #[cfg(feature = "postgres")]
        _ => Err(diesel::result::Error::QueryBuilderError("this database has no lists".into())),
    }
}

#[cfg(feature = "sqlite")]
impl Value<diesel::sqlite::Sqlite> for Bind<'_> {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, diesel::sqlite::Sqlite>) -> QueryResult<()> {
        push_plain(self, out)
    }
}

#[cfg(feature = "mysql")]
impl Value<diesel::mysql::Mysql> for Bind<'_> {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, diesel::mysql::Mysql>) -> QueryResult<()> {
        push_plain(self, out)
    }
}

#[cfg(feature = "postgres")]
impl Value<diesel::pg::Pg> for Bind<'_> {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        use diesel::sql_types::{Array, Uuid};
        match self {
            Self::Uuid(value) => out.push_bind_param::<Uuid, _>(value),
            Self::Ints(values) => out.push_bind_param::<Array<Nullable<BigInt>>, _>(*values),
            Self::NoTexts => {
                out.push_bind_param::<Nullable<Array<Nullable<Text>>>, _>(&None::<Vec<Option<String>>>)
            }
            Self::Texts(values) => out.push_bind_param::<Array<Nullable<Text>>, _>(*values),
            Self::ByteStrings(values) => out.push_bind_param::<Array<Nullable<Binary>>, _>(*values),
            Self::Uuids(values) => out.push_bind_param::<Array<Uuid>, _>(*values),
            plain => push_plain(plain, out),
        }
    }
}

/// Runs a statement; says how many rows it changed.
pub(crate) fn execute<C>(conn: &mut C, sql: &str, binds: &[Bind<'_>]) -> QueryResult<usize>
where
    C: Connection,
    for<'a> Statement<'a, ()>: ExecuteDsl<C>,
{
    ExecuteDsl::execute(Statement { sql, binds, is_kept: true, columns: PhantomData::<()> }, conn)
}

/// The same for a statement whose text is seldom the same: it is not kept.
#[cfg(feature = "mysql")]
pub(crate) fn execute_once<C>(conn: &mut C, sql: &str, binds: &[Bind<'_>]) -> QueryResult<usize>
where
    C: Connection,
    for<'a> Statement<'a, ()>: ExecuteDsl<C>,
{
    ExecuteDsl::execute(Statement { sql, binds, is_kept: false, columns: PhantomData::<()> }, conn)
}

/// Runs a statement and takes its rows, whose columns have the types `Columns`.
pub(crate) fn load<'a, Columns, Row, C>(
    conn: &mut C,
    sql: &'a str,
    binds: &'a [Bind<'a>],
) -> QueryResult<Vec<Row>>
where
    Statement<'a, Columns>: LoadQuery<'a, C, Row>,
{
    Statement { sql, binds, is_kept: true, columns: PhantomData::<Columns> }.internal_load(conn)?.collect()
}

/// Runs a statement whose only column is a number, and takes its first row.
pub(crate) fn number<C>(conn: &mut C, sql: &str, binds: &[Bind<'_>]) -> QueryResult<Option<i64>>
where
    for<'a> Statement<'a, Nullable<BigInt>>: LoadQuery<'a, C, Option<i64>>,
{
    let rows: Vec<Option<i64>> = load::<Nullable<BigInt>, _, _>(conn, sql, binds)?;
    Ok(rows.into_iter().next().flatten())
}

/// SQL text with its values.
pub(crate) struct Statement<'a, Columns> {
    sql: &'a str,
    binds: &'a [Bind<'a>],
    /// Whether it is prepared once for each connection.
    is_kept: bool,
    columns: PhantomData<Columns>,
}

impl<DB: Backend, Columns> QueryFragment<DB> for Statement<'_, Columns>
where
    for<'v> Bind<'v>: Value<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.is_kept {
            out.unsafe_to_cache_prepared();
        }
        let mut parts = self.sql.split('?');
        out.push_sql(parts.next().unwrap_or_default());
        for (bind, part) in self.binds.iter().zip(parts) {
            bind.push(&mut out)?;
            out.push_sql(part);
        }
        Ok(())
    }
}

/// The text is the key under which the prepared statement is kept.
impl<Columns> QueryId for Statement<'_, Columns> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Columns> Query for Statement<'_, Columns> {
    type SqlType = Columns;
}

impl<C, Columns> RunQueryDsl<C> for Statement<'_, Columns> {}
