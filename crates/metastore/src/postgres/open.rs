//! What a database must be before a controller uses it.
//!
//! Invariant: the schema `tannin` is ours in a format that this version knows, or is not there and
//! is made; of several controllers that start at once one makes it.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use tokio::time::{Instant, sleep, timeout_at};

use super::address::{Address, fault};
use crate::MetaError;

/// Version of the tables; [`MIGRATIONS`] lead to it.
const FORMAT: i32 = 1;
/// Each leads from the format of its position to the next.
const MIGRATIONS: [&str; FORMAT as usize] = [include_str!("schema.sql")];
const OLDEST_SERVER: i32 = 130_000;
/// Of `pg_advisory_xact_lock`; any number that nobody else uses.
const MIGRATION_LOCK: i64 = 0x7461_6e6e_696e;
const STARTING_UP: &str = "57P03";
const RETRY: Duration = Duration::from_millis(200);

/// What a server tells of itself.
const SERVER: &str = "SELECT current_setting('server_version_num')::int, \
                      current_setting('server_version'), current_setting('server_encoding'), \
                      pg_is_in_recovery()";
const EXISTING: &str = "SELECT to_regnamespace('tannin') IS NOT NULL, \
                        to_regclass('tannin.store') IS NOT NULL";

pub(super) async fn prepare(address: &Address, deadline: Duration) -> Result<(), MetaError> {
    let until = Instant::now() + deadline;
    let place = &address.place;
    let late = |_| MetaError::Unreachable {
        place: place.clone(),
        reason: format!("no answer within {} ms", deadline.as_millis()),
    };
    let preparing = async {
        let mut connection = connect(address, until).await?;
        check_server(&mut connection, place).await?;
        migrate(&mut connection, place).await?;
        // It has done its work; how it ends does not matter.
        let _ = connection.close().await;
        Ok(())
    };
    timeout_at(until, preparing).await.map_err(late)?
}

/// A server that is only just starting is waited for.
async fn connect(address: &Address, until: Instant) -> Result<PgConnection, MetaError> {
    loop {
        match PgConnection::connect_with(&address.options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                let code = error.as_database_error().and_then(|error| error.code());
                let is_starting = code.as_deref() == Some(STARTING_UP);
                if !is_starting || Instant::now() + RETRY > until {
                    return Err(fault(&address.place, error));
                }
            }
        }
        sleep(RETRY).await;
    }
}

async fn check_server(connection: &mut PgConnection, place: &str) -> Result<(), MetaError> {
    let row = connection.fetch_one(SERVER).await;
    let server = row.and_then(|row| {
        Ok(Server {
            number: row.try_get(0)?,
            version: row.try_get(1)?,
            encoding: row.try_get(2)?,
            is_standby: row.try_get(3)?,
        })
    });
    let server = server.map_err(|error| fault(place, error))?;
    match server.refusal() {
        None => Ok(()),
        Some(reason) => Err(unusable(place, reason)),
    }
}

struct Server {
    number: i32,
    version: String,
    encoding: String,
    is_standby: bool,
}

impl Server {
    fn refusal(&self) -> Option<String> {
        let Self {
            number,
            version,
            encoding,
            is_standby,
        } = self;
        if *number < OLDEST_SERVER {
            let oldest = OLDEST_SERVER / 10_000;
            return Some(format!(
                "PostgreSQL {version} is too old, {oldest} is the oldest that will do"
            ));
        }
        if encoding != "UTF8" {
            return Some(format!(
                "its encoding is {encoding}; create a database with encoding UTF8"
            ));
        }
        is_standby
            .then(|| "it is a standby that takes no writes; name the primary server".to_owned())
    }
}

async fn migrate(connection: &mut PgConnection, place: &str) -> Result<(), MetaError> {
    let failed = |error| fault(place, error);
    let mut txn = connection.begin().await.map_err(failed)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK);
    lock.execute(&mut *txn).await.map_err(failed)?;
    let format = format(&mut txn, place).await?;
    if format > FORMAT {
        return Err(unusable(
            place,
            format!(
                "it has format {format}, this version reads up to {FORMAT}; start the newer \
                 version that wrote it"
            ),
        ));
    }
    for migration in &MIGRATIONS[format as usize..] {
        sqlx::raw_sql(*migration)
            .execute(&mut *txn)
            .await
            .map_err(failed)?;
    }
    txn.commit().await.map_err(failed)
}

/// 0: there is nothing yet.
async fn format(txn: &mut PgConnection, place: &str) -> Result<i32, MetaError> {
    let failed = |error| fault(place, error);
    let row = txn.fetch_one(EXISTING).await.map_err(failed)?;
    let there = |at: usize| row.try_get::<bool, _>(at);
    match (there(0).map_err(failed)?, there(1).map_err(failed)?) {
        (false, _) => return Ok(0),
        (true, false) => {
            let reason = "its schema `tannin` is somebody else's; use another database".to_owned();
            return Err(unusable(place, reason));
        }
        (true, true) => {}
    }
    let row = txn.fetch_one("SELECT format FROM tannin.store").await;
    let format = row.and_then(|row| row.try_get(0)).map_err(failed)?;
    if format < 1 {
        return Err(unusable(place, format!("there is no format {format}")));
    }
    Ok(format)
}

fn unusable(place: &str, reason: String) -> MetaError {
    MetaError::Unusable {
        place: place.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: i32, encoding: &str, is_standby: bool) -> Option<String> {
        let version = "9.6.24".to_owned();
        let encoding = encoding.to_owned();
        let server = Server {
            number,
            version,
            encoding,
            is_standby,
        };
        server.refusal()
    }

    #[test]
    fn servers_that_will_not_do_are_refused_with_a_reason() {
        assert_eq!(server(150_018, "UTF8", false), None);
        assert_eq!(
            server(90_624, "UTF8", false).as_deref(),
            Some("PostgreSQL 9.6.24 is too old, 13 is the oldest that will do")
        );
        let latin = server(150_000, "LATIN1", false);
        assert!(latin.is_some_and(|reason| reason.contains("LATIN1")));
        let standby = server(150_000, "UTF8", true);
        assert!(standby.is_some_and(|reason| reason.contains("standby")));
    }
}
