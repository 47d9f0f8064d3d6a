//! The database goes away and comes back; nobody has to do anything for that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::conformance::{next, put};

/// A server that the test stops and starts.
struct Server {
    xtask: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    fn start(test: &str) -> Option<Self> {
        let xtask = variable(XTASK_VARIABLE, test)?.into();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = Self {
            xtask,
            folder: tempfile::tempdir().unwrap(),
            port,
        };
        server.up();
        Some(server)
    }

    fn run(&self, args: &[&str]) -> String {
        let output = Command::new(&self.xtask)
            .arg("postgres")
            .args(args)
            .arg(self.dir())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Its address.
    fn up(&self) -> String {
        let said = self.run(&["up", &self.port.to_string()]);
        let (_, url) = said.trim().split_once(": ").unwrap();
        url.to_owned()
    }

    fn down(&self) {
        self.run(&["down"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_is_used_again() {
    let Some(server) = Server::start("a restart of the database") else {
        return;
    };
    let config = PostgresConfig {
        deadline: Duration::from_secs(5),
        ..config(&server.up())
    };
    let store = PostgresStore::open(&config).await.unwrap();
    let other = PostgresStore::open(&config).await.unwrap();
    let mut changes = other.watch("/").await.unwrap();
    put(&store, "/before", "1").await;
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == "/before"));

    server.down();
    let refused = store.txn(Txn::default().put("/during", "1")).await;
    let said = refused.unwrap_err();
    assert!(matches!(said, MetaError::Unreachable { .. }), "{said}");
    assert!(
        store
            .failing()
            .is_some_and(|reason| reason.contains("127.0.0.1"))
    );
    let asked = Instant::now();
    assert!(store.get("/before").await.is_err());
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "nobody waits while it is known to be away"
    );

    server.up();
    let back = Instant::now();
    while store.txn(Txn::default().put("/after", "1")).await.is_err() {
        assert!(
            back.elapsed() < Duration::from_secs(20),
            "{:?}",
            store.failing()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(next(&mut changes).await, Change::Put(entry) if entry.key == "/after"));
    assert_eq!((store.failing(), other.failing()), (None, None));
    let (entries, _) = other.range("/").await.unwrap();
    assert_eq!(
        entries.len(),
        2,
        "what was refused did not happen: {entries:?}"
    );
}

/// A statement that waits for ever ends by its deadline, and what comes after it is not disturbed.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_hangs_nobody() {
    let Some(database) = Database::fresh("a database that hangs").await else {
        return;
    };
    let config = PostgresConfig {
        connections_max: 2,
        deadline: Duration::from_millis(500),
        ..config(&database.url)
    };
    let store = PostgresStore::open(&config).await.unwrap();
    put(&store, "/before", "1").await;
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE tannin.store IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    for _ in 0..5 {
        let asked = Instant::now();
        let late = store
            .txn(Txn::default().put("/during", "1"))
            .await
            .unwrap_err();
        assert!(matches!(late, MetaError::Unreachable { .. }), "{late}");
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
    }
    drop(holder);
    let back = Instant::now();
    while store.txn(Txn::default().put("/after", "1")).await.is_err() {
        assert!(
            back.elapsed() < Duration::from_secs(20),
            "{:?}",
            store.failing()
        );
    }
    let (entries, _) = store.range("/").await.unwrap();
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["/after", "/before"]);
    drop(store);
    database.remove().await;
}
