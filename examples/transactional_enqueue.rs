//! Queueing work in a transaction of one's own: an order and what follows from it are written together, or not at all.
//!
//! The jobs live in the application's database. `enqueue_in` and `add_job_in` take the application's own diesel
//! connection, here to SQLite; to PostgreSQL or MySQL it is the same.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::sync::Arc;

use sched::prelude::*;
// The `diesel` that the store is built with.
use sched::store_sql::diesel::connection::SimpleConnection as _;
use sched::store_sql::diesel::dsl::sql;
use sched::store_sql::diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, select, sql_query, sql_types,
};

#[task(result_ttl = "1h")]
fn send_receipt(order: i64) -> String {
    println!("a receipt for order {order}");
    format!("receipt {order}")
}

#[task]
fn ask_for_review(order: i64) {
    println!("how was order {order}?");
}

/// The application's database, and the scheduler that has its jobs there.
struct Shop {
    conn: SqliteConnection,
    store: Arc<SqlStore>,
    scheduler: BackgroundScheduler,
}

impl Shop {
    fn open(path: &str) -> Result<Self, Box<dyn Error>> {
        let store = Arc::new(SqlStore::open(format!("sqlite:///{path}"))?);
        let own = Arc::clone(&store);
        let builder = Scheduler::builder().with(|config| config.job_store("default", own));
        let scheduler = BackgroundScheduler::build(builder)?;
        scheduler.start()?;
        let mut conn = SqliteConnection::establish(path)?;
        conn.batch_execute("PRAGMA busy_timeout = 5000; CREATE TABLE orders (number INTEGER PRIMARY KEY)")?;
        Ok(Self { conn, store, scheduler })
    }

    /// Takes an order, queues its receipt, and plans a question for next week: all of it or nothing.
    fn order(&mut self, number: i64, paid: bool) -> Result<(), Box<dyn Error>> {
        let Self { conn, store, scheduler } = self;
        conn.immediate_transaction(|conn| -> Result<(), Box<dyn Error>> {
            let insert = sql_query("INSERT INTO orders (number) VALUES (?)");
            insert.bind::<sql_types::BigInt, _>(number).execute(conn)?;

            let (_, run) = scheduler.make_run(send_receipt::call(number))?;
            store.enqueue_in(conn, vec![run])?;

            let next_week = scheduler.clock().now() + Duration::from_secs(7 * 86_400);
            let job = ask_for_review::job(number).at(next_week).id(format!("review-{number}"));
            store.add_job_in(conn, &scheduler.make_job(job)?, ConflictPolicy::Error)?;

            // An error takes everything back that was written above.
            if paid { Ok(()) } else { Err("the payment was refused".into()) }
        })?;
        // It is committed. Without this call, the run is found when the scheduler looks next.
        scheduler.wakeup();
        Ok(())
    }

    fn show(&mut self) -> Result<(), Box<dyn Error>> {
        let count = sql::<sql_types::BigInt>("(SELECT count(*) FROM orders)");
        let orders: i64 = select(count).get_result(&mut self.conn)?;
        let jobs = self.scheduler.get_jobs(None)?.len();
        let runs = self.scheduler.get_runs(&sched::RunFilter::default(), None)?.len();
        println!("    orders: {orders}, jobs: {jobs}, runs: {runs}");
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("sched-shop-{}.sqlite", std::process::id()));
    let mut shop = Shop::open(&path.display().to_string())?;
    let receipts = shop.scheduler.subscribe(EVENT_JOB_EXECUTED);

    println!("order 1 is not taken: {:?}", shop.order(1, false).err().map(|error| error.to_string()));
    shop.show()?;

    shop.order(2, true)?;
    let receipt = receipts.next_within(Duration::from_secs(10));
    println!("order 2 is taken: {:?}", receipt.as_ref().and_then(|event| event.value()));
    shop.show()?;

    shop.scheduler.shutdown(true)?;
    drop(shop);
    for suffix in ["", "-wal", "-shm"] {
        // The latter two are gone when SQLite has tidied up.
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    Ok(())
}
