//! Nobody comes in without proof, and nobody sees what is not his: over every endpoint of every role,
//! and through every form of a statement.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::cluster::until;
use tests::guarded::{Guarded, PRINCIPALS, ROWS, TOKEN};

/// What is open to everybody: whether a process lives, and whether it serves.
const OPEN: [&str; 5] = [
    "/health",
    "/health/liveness",
    "/health/readiness",
    "/pinot-controller/admin",
    "/ready",
];

/// Method, path with its parts filled in, and what it needs: of all operations of a role.
async fn operations(node: &Guarded, role: Role) -> Result<Vec<(Method, String, String)>> {
    let (status, document) = node.get("root", role, "/help/openapi.json").await?;
    ensure!(status.is_success(), "{status}: {document}");
    let document: Value = serde_json::from_str(&document)?;
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().context("no paths")? {
        let parts = path.split('/').map(|part| match part.starts_with('{') {
            true => "secret",
            false => part,
        });
        let filled = parts.collect::<Vec<_>>().join("/");
        for (method, operation) in methods.as_object().context("no methods")? {
            let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
            let needs = operation["x-needs"].as_str().context("it needs nothing")?;
            all.push((method, filled.clone(), needs.to_owned()));
        }
    }
    for path in [
        "/help",
        "/help/page.js",
        "/help/openapi.json",
        "/nothing/is/here",
    ] {
        all.push((Method::GET, path.to_owned(), "a login".to_owned()));
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_of_every_role_wants_to_know_who_asks() -> Result<()> {
    let node = Guarded::start().await?;
    let mut open = BTreeSet::new();
    for role in Role::ALL {
        let operations = operations(&node, role).await?;
        ensure!(operations.len() > 6, "{role:?} has {operations:?}");
        for (method, path, needs) in operations {
            let what = format!("{role:?}: {method} {path}, which needs {needs}");
            ensure!(
                !needs.contains("undeclared"),
                "{what}: say what it needs, as others do"
            );
            let request = || node.http.request(method.clone(), node.url(role, &path));
            let without = request().send().await?;
            if needs == "nothing" {
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                ensure!(!refused.contains(&without.status()), "{what}");
                open.insert(path);
                continue;
            }
            ensure!(
                without.status() == StatusCode::UNAUTHORIZED,
                "{what}: {}",
                without.status()
            );
            ensure!(without.headers().contains_key("www-authenticate"), "{what}");
            for wrong in ["Basic Z3Vlc3Q6d3Jvbmc=", "Bearer nonsense", "nonsense"] {
                let wrong = request().header("authorization", wrong).send().await?;
                ensure!(
                    wrong.status() == StatusCode::UNAUTHORIZED,
                    "{what}: {}",
                    wrong.status()
                );
            }
            // Who is known and may nothing gets no farther where a table or the cluster is asked for.
            let (status, text) = node
                .call("guest", role, method.clone(), &path, None)
                .await?;
            ensure!(status != StatusCode::UNAUTHORIZED, "{what}: {text}");
            let is_refused = status == StatusCode::FORBIDDEN;
            let must_be = needs.ends_with(" of the table") || needs.ends_with(" of the cluster");
            ensure!(is_refused || !must_be, "{what}: {status}: {text}");
            ensure!(!text.contains("secret-word"), "{what}: {text}");
        }
    }
    let wanted: BTreeSet<String> = OPEN.map(str::to_owned).into();
    ensure!(open == wanted, "open to everybody: {open:?}");
    let plain = node.url(Role::Broker, "/health").replace("https", "http");
    ensure!(
        node.http.get(plain).send().await.is_err(),
        "HTTP without TLS was answered"
    );
    node.node.stop().await;
    Ok(())
}

/// Forms of statements that name `secret`.
const FORMS: [&str; 27] = [
    "SELECT * FROM secret",
    "SELECT 1 FROM secret",
    "SELECT COUNT(*) FROM secret",
    "SELECT word FROM \"secret\" LIMIT 1",
    "SELECT word FROM default.secret",
    "SELECT word FROM secret_REALTIME",
    "SELECT word FROM SECRET",
    "SELECT m.id FROM mine m JOIN secret s ON m.id = s.id",
    "SELECT m.id FROM mine m LEFT JOIN secret s ON m.id = s.id",
    "SELECT m.id FROM mine m, secret s WHERE m.id = s.id",
    "SELECT m.id FROM mine m NATURAL JOIN secret s",
    "SELECT id FROM mine WHERE id IN (SELECT id FROM secret)",
    "SELECT id FROM mine WHERE EXISTS (SELECT 1 FROM secret WHERE secret.id = mine.id)",
    "SELECT (SELECT MAX(word) FROM secret) AS w FROM mine",
    "SELECT id FROM mine UNION ALL SELECT id FROM secret",
    "SELECT id FROM mine EXCEPT SELECT id FROM secret",
    "SELECT id FROM mine INTERSECT SELECT id FROM secret",
    "WITH x AS (SELECT word FROM secret) SELECT * FROM x",
    "WITH x AS (SELECT id FROM mine), y AS (SELECT * FROM secret) SELECT COUNT(*) FROM x",
    "SELECT * FROM (SELECT * FROM (SELECT word FROM secret) AS a) AS b",
    "SELECT id FROM mine UNION ALL SELECT id FROM secret WHERE 1 = 0",
    "SELECT COUNT(*) FILTER (WHERE id IN (SELECT id FROM secret)) FROM mine",
    "SELECT id FROM mine ORDER BY (SELECT COUNT(*) FROM secret)",
    "EXPLAIN SELECT * FROM secret",
    "EXPLAIN ANALYZE SELECT * FROM secret",
    "DESCRIBE secret",
    "SHOW COLUMNS FROM secret",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_a_statement_shows_a_table_of_others() -> Result<()> {
    let node = Guarded::start().await?;
    let mut shown = 0;
    for sql in FORMS {
        let (status, _) = node.sql("root", sql).await?;
        if status.is_success() {
            shown += 1;
            // The second time there is a plan, of one who may.
            must_be_denied(&node, "/v1/sql", sql).await?;
            must_be_denied(&node, "/v1/sql", sql).await?;
        }
    }
    ensure!(
        shown >= FORMS.len() - 3,
        "{shown} of {} statements are right",
        FORMS.len()
    );
    for sql in FORMS.iter().filter(|sql| !sql.starts_with("DESCRIBE")) {
        let of_pinot = sql.replace("EXPLAIN SELECT", "EXPLAIN PLAN FOR SELECT");
        let body = json!({ "sql": of_pinot });
        for path in ["/query/sql", "/query"] {
            let asked = node.call("root", Role::Broker, Method::POST, path, Some(&body));
            let (_, text) = asked.await?;
            let answer: Value = serde_json::from_str(&text)?;
            if answer["exceptions"].as_array().is_none_or(Vec::is_empty) {
                must_be_denied(&node, path, &of_pinot).await?;
            }
        }
    }
    let import = "INSERT INTO secret FROM FILE 'file:///etc/passwd'";
    must_be_denied(&node, "/query/sql", import).await?;
    must_be_denied(&node, "/v1/sql", import).await?;
    let own = json!({ "sql": import.replace("secret", "mine") });
    let asked = node.call(
        "reader",
        Role::Broker,
        Method::POST,
        "/query/sql",
        Some(&own),
    );
    let (status, text) = asked.await?;
    ensure!(status == StatusCode::FORBIDDEN, "{status}: {text}");
    let unknown = must_be_denied(&node, "/v1/sql", "SELECT * FROM nothing").await?;
    ensure!(
        unknown.contains("may not read table `nothing`"),
        "{unknown}"
    );
    what_may_be_read_is(&node).await?;
    node.node.stop().await;
    Ok(())
}

async fn must_be_denied(node: &Guarded, path: &str, sql: &str) -> Result<String> {
    for who in ["reader", "writer", "guest"] {
        let body = json!({ "sql": sql });
        let asked = node.call(who, Role::Broker, Method::POST, path, Some(&body));
        let (status, text) = asked.await?;
        ensure!(
            status == StatusCode::FORBIDDEN,
            "{who}: {sql}: {status}: {text}"
        );
        ensure!(
            !text.contains("-word") && text.contains("180"),
            "{who}: {sql}: {text}"
        );
        if who == "guest" {
            return Ok(text);
        }
    }
    Ok(String::new())
}

async fn what_may_be_read_is(node: &Guarded) -> Result<()> {
    let (status, answer) = node.sql("reader", "SELECT COUNT(*) FROM mine").await?;
    ensure!(
        status.is_success() && answer["rows"][0][0] == ROWS,
        "{answer}"
    );
    for sql in [
        "SHOW TABLES",
        "SELECT * FROM sys.tables",
        "SELECT * FROM sys.columns",
        "SELECT * FROM sys.segments",
        "SELECT * FROM sys.partitions",
        "SELECT * FROM sys.rejected_rows",
        "SELECT * FROM sys.ingest_events",
        "SELECT * FROM sys.tasks",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.columns",
    ] {
        let (_, of_root) = node.sql("root", sql).await?;
        let (status, answer) = node.sql("reader", sql).await?;
        ensure!(status.is_success(), "{sql}: {answer}");
        ensure!(
            !answer["rows"].to_string().contains("secret"),
            "{sql}: {answer}"
        );
        let has_rows = ["sys.rejected", "sys.ingest", "sys.tasks"];
        let has_rows = !has_rows.iter().any(|table| sql.contains(table));
        ensure!(
            of_root["rows"].to_string().contains("secret") || !has_rows,
            "{sql}: {of_root}"
        );
    }
    let owners = "SELECT DISTINCT principal FROM sys.queries";
    let (_, answer) = node.sql("reader", owners).await?;
    ensure!(answer["rows"] == json!([["reader"]]), "{answer}");
    let (_, answer) = node.sql("root", owners).await?;
    ensure!(
        answer["rows"].as_array().is_some_and(|rows| rows.len() > 2),
        "{answer}"
    );
    for table in ["nodes", "metrics", "settings"] {
        let sql = format!("SELECT * FROM sys.{table}");
        let (status, answer) = node.sql("root", &sql).await?;
        ensure!(status.is_success(), "{sql}: {answer}");
        let (status, answer) = node.sql("reader", &sql).await?;
        ensure!(status == StatusCode::FORBIDDEN, "{sql}: {answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one node is started for all of it")]
async fn doors_that_name_tables_ask_for_them() -> Result<()> {
    let node = Guarded::start().await?;
    let (broker, controller) = (Role::Broker, Role::Controller);
    let config = json!({
        "tableName": "other", "tableType": "OFFLINE", "segmentsConfig": { "replication": "1" },
        "tenants": {}, "metadata": {}, "tableIndexConfig": {},
    });
    let columns = json!([{ "name": "id", "dataType": "LONG" }]);
    let schema = json!({ "schemaName": "other", "dimensionFieldSpecs": columns });
    let both = json!({ "schema": schema, "tableConfig": config });
    let sql = json!({ "sql": "SELECT word FROM secret" });
    let row = json!([{ "id": 1, "word": "new", "ts": 1_767_323_045_678_i64 }]);
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let denied: [(&str, Role, Method, &str, Option<&Value>); 15] = [
        ("reader", controller, get.clone(), "/tables/secret", None),
        (
            "reader",
            controller,
            get.clone(),
            "/tables/secret_REALTIME/size",
            None,
        ),
        ("reader", controller, get.clone(), "/schemas/secret", None),
        (
            "reader",
            controller,
            get.clone(),
            "/tables/livebrokers?tables=mine,secret",
            None,
        ),
        ("reader", controller, Method::DELETE, "/tables/mine", None),
        ("reader", controller, put, "/schemas/mine", Some(&schema)),
        ("reader", controller, post.clone(), "/tables", Some(&config)),
        (
            "reader",
            controller,
            post.clone(),
            "/schemas",
            Some(&schema),
        ),
        (
            "writer",
            controller,
            post.clone(),
            "/v1/tables",
            Some(&both),
        ),
        ("reader", controller, post.clone(), "/sql", Some(&sql)),
        (
            "writer",
            controller,
            post.clone(),
            "/tables/mine/pauseConsumption",
            None,
        ),
        (
            "reader",
            broker,
            post.clone(),
            "/v1/tables/mine/events",
            Some(&row),
        ),
        (
            "writer",
            broker,
            post.clone(),
            "/v1/tables/secret/events",
            Some(&row),
        ),
        (
            "reader",
            broker,
            get.clone(),
            "/debug/routingTable/sql?query=SELECT+word+FROM+secret",
            None,
        ),
        ("reader", Role::Server, get.clone(), "/metrics", None),
    ];
    for (who, role, method, path, body) in denied {
        let (status, text) = node.call(who, role, method.clone(), path, body).await?;
        ensure!(
            status == StatusCode::FORBIDDEN,
            "{who}: {method} {path}: {status}: {text}"
        );
    }
    for path in ["ingestFromURI", "ingestFromFile"] {
        let path = format!(
            "/{path}?tableNameWithType=secret_OFFLINE&batchConfigMapStr=%7B%7D&sourceURIStr=file:///x"
        );
        let called = node.call("writer", controller, post.clone(), &path, Some(&row));
        let (status, text) = called.await?;
        let is_form = text.contains("no form");
        ensure!(
            status == StatusCode::FORBIDDEN || is_form,
            "{path}: {status}: {text}"
        );
    }
    for path in [
        "/tables",
        "/schemas",
        "/brokers/tables",
        "/v2/brokers",
        "/leader/tables",
    ] {
        let (status, text) = node.get("reader", controller, path).await?;
        ensure!(
            status.is_success() && text.contains("mine"),
            "{path}: {text}"
        );
        ensure!(!text.contains("secret"), "{path}: {text}");
    }
    let (status, text) = node.get("reader", broker, "/v1/tables").await?;
    ensure!(
        status.is_success() && text.contains("mine") && !text.contains("secret"),
        "{text}"
    );
    let of_mine = json!({ "sql": "SELECT COUNT(*) FROM mine" });
    let asked = node.call("reader", controller, post.clone(), "/sql", Some(&of_mine));
    let (status, text) = asked.await?;
    ensure!(
        status.is_success() && text.contains(&ROWS.to_string()),
        "{status}: {text}"
    );
    let appended = node.call("writer", broker, post, "/v1/tables/mine/events", Some(&row));
    let (status, text) = appended.await?;
    ensure!(status.is_success(), "{status}: {text}");
    let robot = node
        .http
        .get(node.url(controller, "/tables"))
        .bearer_auth(TOKEN);
    let text = robot.send().await?.text().await?;
    ensure!(text.contains("mine") && !text.contains("secret"), "{text}");
    for who in PRINCIPALS.map(|(name, _)| name) {
        let (_, text) = node
            .get(who, controller, "/auth/verify?tableName=secret")
            .await?;
        ensure!(text == (who == "root").to_string(), "{who}: {text}");
    }
    node.node.stop().await;
    Ok(())
}

/// 64 billion rows.
const LONG: &str = "SELECT COUNT(*) FROM mine a, mine b, mine c, mine d, mine e";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one node is started for all of it")]
async fn answers_and_queries_of_others_are_not_there() -> Result<()> {
    let node = Guarded::start().await?;
    let broker = Role::Broker;
    let kept = json!({ "sql": "SELECT word FROM mine LIMIT 5" });
    let asked = node.call(
        "root",
        broker,
        Method::POST,
        "/query/sql?getCursor=true",
        Some(&kept),
    );
    let (_, text) = asked.await?;
    let answer: Value = serde_json::from_str(&text)?;
    let id = answer["requestId"].as_str().context("no id")?;
    for path in [
        format!("/responseStore/{id}"),
        format!("/responseStore/{id}/results"),
    ] {
        let (status, text) = node.get("reader", broker, &path).await?;
        ensure!(status == StatusCode::NOT_FOUND, "{path}: {status}: {text}");
        ensure!(
            node.get("root", broker, &path).await?.0.is_success(),
            "{path}"
        );
    }
    let path = format!("/responseStore/{id}");
    let (status, _) = node
        .call("reader", broker, Method::DELETE, &path, None)
        .await?;
    ensure!(status == StatusCode::NOT_FOUND, "{status}");
    ensure!(node.get("reader", broker, "/responseStore").await?.1 == "[]");
    let far = "/responseStore?expiredBefore=9999999999999";
    node.call("reader", broker, Method::DELETE, far, None)
        .await?;
    ensure!(
        node.get("root", broker, &path).await?.0.is_success(),
        "it was forgotten"
    );

    let long = node.sql("root", LONG);
    let others = async {
        let own = until("the query runs", || async {
            let (_, text) = node.get("root", broker, "/queries").await?;
            let running: Value = serde_json::from_str(&text)?;
            let running = running.as_object().context("no object")?.clone();
            let found = running.into_iter().find(|(_, sql)| sql == LONG);
            found.context("it does not run yet")
        });
        let (id, _) = own.await?;
        ensure!(node.get("reader", broker, "/queries").await?.1 == "{}");
        let (_, text) = node.get("reader", Role::Controller, "/queries").await?;
        ensure!(!text.contains("mine"), "{text}");
        for (role, path) in [
            (broker, format!("/query/{id}")),
            (Role::Controller, format!("/clientQuery/{id}")),
        ] {
            let (status, text) = node
                .call("reader", role, Method::DELETE, &path, None)
                .await?;
            ensure!(status == StatusCode::NOT_FOUND, "{path}: {status}: {text}");
        }
        let path = format!("/query/{id}");
        let ended = node.call("root", broker, Method::DELETE, &path, None);
        let (status, text) = ended.await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok(())
    };
    let (long, others) = tokio::join!(long, others);
    others?;
    let (status, answer) = long?;
    ensure!(
        !status.is_success() && answer.to_string().contains("cancelled"),
        "{answer}"
    );
    node.node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_count_and_what_happens_is_written_down() -> Result<()> {
    let node = Guarded::start().await?;
    let (broker, controller) = (Role::Broker, Role::Controller);
    node.sql("reader", "SELECT word FROM secret").await?;
    node.sql("reader", "SELECT MAX(word) FROM mine").await?;
    let wrong = node
        .http
        .get(node.url(broker, "/queries"))
        .basic_auth("reader", Some("wrong"));
    wrong.send().await?;
    node.call("reader", controller, Method::DELETE, "/tables/mine", None)
        .await?;
    let written = std::fs::read_to_string(node.file("audit.jsonl"))?;
    let lines: Vec<Value> = written
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let has = |wanted: Value| {
        let wanted = wanted.as_object().cloned().unwrap_or_default();
        lines
            .iter()
            .any(|line| wanted.iter().all(|(name, value)| line[name] == *value))
    };
    for wanted in [
        json!({ "who": "root", "action": "admin", "table": "secret", "decision": "allowed",
                "what": "POST /v1/tables", "from": "127.0.0.1" }),
        json!({ "who": "reader", "action": "read", "decision": "denied",
                "why": "`reader` may not read table `secret`",
                "statement": "SELECT word FROM secret" }),
        json!({ "who": "reader", "action": "read", "table": "mine", "decision": "allowed" }),
        json!({ "who": null, "decision": "refused", "why": "name or password is wrong" }),
        json!({ "who": "reader", "action": "admin", "table": "mine", "decision": "denied",
                "what": "DELETE /tables/mine" }),
    ] {
        ensure!(has(wanted.clone()), "{wanted} is not in {written}");
    }
    let principals = std::fs::read_to_string(node.file("principals.toml"))?;
    ensure!(
        !written.contains("argon2") && !written.contains("Basic"),
        "{written}"
    );

    std::fs::write(
        node.file("principals.toml"),
        "[principals.reader]\npasword = 'x'\n",
    )?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (status, _) = node.sql("reader", "SELECT COUNT(*) FROM mine").await?;
    ensure!(
        status.is_success(),
        "a wrong file has changed something: {status}"
    );
    let more = principals.replace("mine = ['read']", "mine = ['read'], secret = ['read']");
    std::fs::write(node.file("principals.toml"), more)?;
    until("the file counts", || async {
        let (status, answer) = node.sql("reader", "SELECT COUNT(*) FROM secret").await?;
        ensure!(status.is_success(), "{answer}");
        Ok(())
    })
    .await?;

    // A new certificate of the same authority: old connections stay, new ones have it.
    let before = node.http.get(node.url(broker, "/health")).send().await?;
    ensure!(before.status().is_success());
    node.authority.issue(node.folder.path())?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (status, text) = node.get("root", controller, "/queries").await?;
    ensure!(status.is_success(), "{text}");
    let (status, _) = node.sql("reader", "SELECT COUNT(*) FROM mine").await?;
    ensure!(status.is_success());
    node.node.stop().await;
    Ok(())
}
