//! Statements: SQL text in which every value is a `?`, and the values.
//!
//! Table names carry the user's prefix, so that diesel's typed queries do not fit; text does. Unlike
//! [`diesel::sql_query`], a statement is prepared once for each connection and kept. Nothing but a checked prefix is
//! ever put into the text.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::methods::LoadQuery;
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, RunQueryDsl};

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bind<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
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

/// Runs a statement; says how many rows it changed.
pub(crate) fn execute(conn: &mut SqliteConnection, sql: &str, binds: &[Bind<'_>]) -> QueryResult<usize> {
    Statement::<()> { sql, binds, columns: PhantomData }.execute(conn)
}

/// Runs a statement and takes its rows, whose columns have the types `Columns`.
pub(crate) fn load<'a, Columns, Row>(
    conn: &mut SqliteConnection,
    sql: &'a str,
    binds: &'a [Bind<'a>],
) -> QueryResult<Vec<Row>>
where
    Statement<'a, Columns>: LoadQuery<'a, SqliteConnection, Row>,
{
    Statement { sql, binds, columns: PhantomData }.load(conn)
}

/// Runs a statement whose only column is a number, and takes its first row.
pub(crate) fn number(conn: &mut SqliteConnection, sql: &str, binds: &[Bind<'_>]) -> QueryResult<Option<i64>> {
    let rows: Vec<Option<i64>> = load::<Nullable<BigInt>, _>(conn, sql, binds)?;
    Ok(rows.into_iter().next().flatten())
}

/// SQL text with its values.
pub(crate) struct Statement<'a, Columns> {
    sql: &'a str,
    binds: &'a [Bind<'a>],
    columns: PhantomData<Columns>,
}

impl<DB, Columns> QueryFragment<DB> for Statement<'_, Columns>
where
    DB: Backend + HasSqlType<Nullable<BigInt>> + HasSqlType<Nullable<Text>>,
    Option<i64>: ToSql<Nullable<BigInt>, DB>,
    for<'t> Option<&'t str>: ToSql<Nullable<Text>, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut parts = self.sql.split('?');
        out.push_sql(parts.next().unwrap_or_default());
        for (bind, part) in self.binds.iter().zip(parts) {
            match bind {
                Bind::Int(value) => out.push_bind_param::<Nullable<BigInt>, _>(value)?,
                Bind::Text(value) => out.push_bind_param::<Nullable<Text>, _>(value)?,
            }
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

impl<Columns> RunQueryDsl<SqliteConnection> for Statement<'_, Columns> {}
