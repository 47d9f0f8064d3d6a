//! Where the database is, and what its errors mean to the reader.
//!
//! Invariant: no password is in what is printed: a place is `host:port/database`, and the options
//! that hold the password are never shown.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::MetaError;
use crate::error::reason;

const FORM: &str = "write postgres://user@host:5432/database";

#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=verify-full`.
    pub url: String,
    /// Instead of the one in the URL.
    pub password: Option<String>,
    pub connections_max: u32,
    /// Of every statement, with the wait for a connection.
    pub deadline: Duration,
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("connections_max", &self.connections_max)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

pub(super) struct Address {
    pub(super) options: PgConnectOptions,
    pub(super) place: String,
}

impl PostgresConfig {
    pub(super) fn address(&self) -> Result<Address, MetaError> {
        let wrong = |what: String| MetaError::Address(format!("{what}; {FORM}"));
        let scheme = self.url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("postgres" | "postgresql")) {
            return Err(wrong("this is no address of PostgreSQL".to_owned()));
        }
        let options = PgConnectOptions::from_str(&self.url);
        let options = options.map_err(|error| wrong(unexplained(&error)))?;
        let Some(database) = options.get_database().map(str::to_owned) else {
            return Err(wrong("no database is named".to_owned()));
        };
        let options = match &self.password {
            Some(password) => options.password(password),
            None => options,
        };
        let deadline = self.deadline.as_millis().to_string();
        let options = options
            .application_name("tannin")
            .options([
                ("statement_timeout", deadline.as_str()),
                ("default_transaction_isolation", "read committed"),
                ("client_min_messages", "warning"),
            ])
            .disable_statement_logging();
        let host = match options.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let place = format!("{host}:{}/{database}", options.get_port());
        Ok(Address { options, place })
    }
}

/// Errors of the configuration have their cause below them.
fn unexplained(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

/// SQLSTATEs after which the same statement may succeed later: connections, resources, shutdown.
fn is_passing(code: &str) -> bool {
    ["08", "53", "57P"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == "57014"
}

pub(super) fn fault(place: &str, error: sqlx::Error) -> MetaError {
    let place = place.to_owned();
    let code = error.as_database_error().and_then(|error| error.code());
    let reason = match (&error, code.as_deref()) {
        (_, Some("28P01" | "28000")) => {
            let reason = format!("{}; see `metastore.password_file`", reason(&error));
            return MetaError::Unusable { place, reason };
        }
        (_, Some("3D000")) => {
            let reason = format!("{}; create it with createdb", reason(&error));
            return MetaError::Unusable { place, reason };
        }
        (_, Some("42501")) => {
            let reason = format!("{}; let the database's owner grant it", reason(&error));
            return MetaError::Unusable { place, reason };
        }
        (_, Some("3F000" | "42P01" | "42883")) => {
            let reason = format!(
                "what the controller keeps there is gone ({}); restore it from a backup",
                reason(&error)
            );
            return MetaError::Unusable { place, reason };
        }
        (_, Some(code)) if is_passing(code) => reason(&error),
        (sqlx::Error::Io(cause), _) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection; is it PostgreSQL?".to_owned()
        }
        (sqlx::Error::Io(cause), _) => cause.to_string(),
        (sqlx::Error::Protocol(_), _) => "what answers there is not PostgreSQL".to_owned(),
        (sqlx::Error::Tls(cause), _) => format!("TLS failed: {cause}"),
        (sqlx::Error::PoolTimedOut, _) => "no connection is to be had".to_owned(),
        (sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed, _) => error.to_string(),
        _ => return MetaError::Store(error),
    };
    MetaError::Unreachable { place, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> PostgresConfig {
        PostgresConfig {
            url: url.to_owned(),
            password: None,
            connections_max: 4,
            deadline: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_place_has_no_password() {
        let with_password = config("postgres://me:secret@db.example:6543/tannin?sslmode=require");
        let place = with_password.address().ok().map(|address| address.place);
        assert_eq!(place.as_deref(), Some("db.example:6543/tannin"));
        assert!(!format!("{with_password:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_address_is_told() {
        let said = |url: &str| match config(url).address() {
            Ok(address) => address.place,
            Err(error) => error.to_string(),
        };
        assert_eq!(
            said("mysql://me:secret@db/x"),
            "`metastore.url`: this is no address of PostgreSQL; write \
             postgres://user@host:5432/database"
        );
        assert_eq!(
            said("postgres://me:secret@db"),
            "`metastore.url`: no database is named; write postgres://user@host:5432/database"
        );
        let port = said("postgres://me:secret@db:99999/x");
        assert!(port.contains("invalid port number") && !port.contains("secret"));
    }
}
