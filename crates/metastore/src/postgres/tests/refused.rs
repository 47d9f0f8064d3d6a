//! Databases that cannot be used are refused with one sentence that names no password.

use tokio::net::TcpListener;

use super::*;

async fn refusal(url: &str) -> String {
    let config = PostgresConfig {
        deadline: Duration::from_secs(2),
        ..config(url)
    };
    let error = PostgresStore::open(&config).await.unwrap_err();
    let said = error.to_string();
    assert!(!said.contains("password") || said.contains("password authentication failed"));
    assert!(!said.contains('\n'), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told() {
    let Some(database) = Database::fresh("refusals").await else {
        return;
    };
    let missing = refusal(&database.url.replace(&database.name, "nowhere")).await;
    assert!(
        missing.contains("database \"nowhere\" does not exist; create it"),
        "{missing}"
    );
    let (_, host) = database.url.split_once('@').unwrap();
    let wrong = refusal(&format!("postgres://tannin:wrong-secret@{host}")).await;
    assert!(
        wrong.contains("password authentication failed for user \"tannin\""),
        "{wrong}"
    );
    assert!(!wrong.contains("secret"), "{wrong}");

    database
        .execute("CREATE SCHEMA tannin; CREATE TABLE tannin.mine (a int)")
        .await;
    let foreign = refusal(&database.url).await;
    assert!(
        foreign.ends_with("somebody else's; use another database"),
        "{foreign}"
    );
    database.execute("DROP SCHEMA tannin CASCADE").await;

    drop(database.store().await);
    database
        .execute("UPDATE tannin.store SET format = 99")
        .await;
    let newer = refusal(&database.url).await;
    let wanted = "it has format 99, this version reads up to 1; start the newer version that \
                  wrote it";
    assert!(newer.ends_with(wanted), "{newer}");
    database.remove().await;
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let said = refusal(&format!("postgres://me:secret@127.0.0.1:{port}/x")).await;
    assert!(said.starts_with("PostgreSQL at `127.0.0.1:"), "{said}");
    assert!(
        said.contains("refused") && !said.contains("secret"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_no_postgresql_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://me:secret@127.0.0.1:{port}/x");
    let silent = refusal(&url).await;
    assert!(silent.ends_with("no answer within 2000 ms"), "{silent}");

    let answering = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.writable().await.unwrap();
            let _ = stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let said = tokio::select! {
        () = answering => unreachable!("it answers for ever"),
        said = refusal(&url) => said,
    };
    assert!(
        said.ends_with("what answers there is not PostgreSQL"),
        "{said}"
    );
}
