//! The store on a real PostgreSQL: the suite of all stores, and what only a server can do to it.
//!
//! `cargo xtask test` starts a server and names it; tests that stop one start their own.

mod away;
mod refused;
mod watched;

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::*;
use crate::conformance::{self, Time};

/// The address of a superuser.
const POSTGRES_VARIABLE: &str = "TEST_POSTGRES";
/// The program that starts and stops servers.
const XTASK_VARIABLE: &str = "TEST_XTASK";

/// Without it the terminal says that the test did not run, past the test harness, which hides what
/// passing tests print.
fn variable(name: &str, test: &str) -> Option<String> {
    let named = std::env::var_os(name).and_then(|named| named.into_string().ok());
    let named = named.filter(|named| !named.is_empty());
    if named.is_none() {
        // A closed terminal is no reason to fail.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test} needs a PostgreSQL; `cargo xtask test` starts one and sets {name}"
        );
    }
    named
}

/// A database of its own for a test.
pub(crate) struct Database {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn fresh(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = variable(POSTGRES_VARIABLE, test)?;
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tannin_{}_{n}", std::process::id());
        let url = match server.rsplit_once('/') {
            Some((before, _)) => format!("{before}/{name}"),
            None => panic!("{POSTGRES_VARIABLE} names no database"),
        };
        let database = Self { server, name, url };
        database.on_server("CREATE DATABASE").await;
        Some(database)
    }

    async fn on_server(&self, what: &str) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        let statement = AssertSqlSafe(format!("{what} {}", self.name));
        sqlx::raw_sql(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }

    pub(crate) async fn store(&self) -> PostgresStore {
        PostgresStore::open(&config(&self.url)).await.unwrap()
    }

    async fn execute(&self, statement: &'static str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }

    /// For tests that passed: others leave it to be looked at.
    pub(crate) async fn remove(self) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        let statement = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        sqlx::raw_sql(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

pub(super) fn config(url: &str) -> PostgresConfig {
    PostgresConfig {
        url: url.to_owned(),
        password: None,
        connections_max: 4,
        deadline: Duration::from_secs(20),
    }
}

/// Every lease comes nearer to its end: to the holders that is time that passes.
#[async_trait]
impl Time for Database {
    async fn pass(&self, time: Duration) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let nearer = "UPDATE tannin.leases SET ends = ends - $1 * interval '1 millisecond'";
        let nearer = sqlx::query(nearer).bind(time.as_millis() as f64);
        nearer.execute(&mut connection).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_store_as_the_others_are() {
    let Some(database) = Database::fresh("the suite of all stores").await else {
        return;
    };
    let (store, other) = (database.store().await, database.store().await);
    conformance::suite(&store, &other, &database).await;
    drop((store, other));
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_start_at_once_make_one_schema() {
    let Some(database) = Database::fresh("starting at once").await else {
        return;
    };
    let stores = futures::future::join_all((0..6).map(|_| database.store())).await;
    for (n, store) in stores.iter().enumerate() {
        conformance::put(store, &format!("/{n}"), "here").await;
    }
    assert_eq!(stores[0].range("/").await.unwrap().0.len(), 6);
    drop(stores);
    database.remove().await;
}
