//! More than the cluster can do: clients that ask for much at once, and tables that are created by two
//! at a time and dropped again. It has to refuse, and to be itself again afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::exactly_once::model::TABLE;
use tests::exactly_once::tables;

use crate::cluster::{Cluster, Role};

const CLIENTS: usize = 48;
const LASTS: Duration = Duration::from_secs(4);
/// Of a query of 2 s, on a machine that has far too much to do.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Of groups, of a join of all with all, of an order over everything.
const STATEMENTS: [&str; 4] = [
    "SELECT id, who, COUNT(*), SUM(price) FROM {t} GROUP BY 1, 2 ORDER BY 4 DESC LIMIT 10",
    "SELECT COUNT(*) FROM {t} a, {t} b WHERE a.id < b.id AND a.kind = b.kind",
    "SELECT * FROM {t} ORDER BY price, id LIMIT 1000",
    "SELECT a.who, COUNT(DISTINCT b.id) FROM {t} a JOIN {t} b ON a.who = b.who GROUP BY 1",
];

pub(crate) async fn heavy(cluster: &Cluster) -> Result<()> {
    let end = Instant::now() + LASTS;
    let clients = (0..CLIENTS).map(|at| async move {
        let sql = cluster.sql(at % 2);
        let statement = STATEMENTS[at % STATEMENTS.len()].replace("{t}", TABLE);
        while Instant::now() < end {
            let asked = format!("SET timeoutMs = 2000; {statement}");
            let ended = tokio::time::timeout(SILENCE_MAX, sql.rows(&asked)).await;
            // A refusal is an answer; silence is none.
            let _answer = ended.context("a query of 2 s has no end")?;
        }
        anyhow::Ok(())
    });
    let (asked, made) = tokio::join!(join_all(clients), tables_come_and_go(cluster, end));
    made?;
    asked.into_iter().collect()
}

/// Each is created through both controllers at once: one of them may, and says so.
async fn tables_come_and_go(cluster: &Cluster, end: Instant) -> Result<()> {
    let controllers = cluster.of(Role::Controller).len();
    let mut nth = 0;
    while Instant::now() < end {
        nth += 1;
        let name = format!("scratch_{nth}");
        let mut schema = tables::schema();
        schema["schemaName"] = json!(name);
        schema["primaryKeyColumns"] = Value::Null;
        let mut table = json!({ "tableName": name, "tableType": "OFFLINE",
            "segmentsConfig": { "replication": "2" }, "tenants": {}, "tableIndexConfig": {},
            "metadata": {} });
        table["segmentsConfig"]["timeColumnName"] = json!("ts");
        let post = |nth, path, body| cluster.call(nth, (Method::POST, path), Some(body));
        let (status, text) = post(0, "/schemas", &schema).await?;
        ensure!(status.is_success(), "{name}: {status}: {text}");
        let made = join_all((0..controllers).map(|nth| post(nth, "/tables", &table))).await;
        let made = made.into_iter().collect::<Result<Vec<_>>>()?;
        let count = |wanted| made.iter().filter(|(status, _)| *status == wanted).count();
        ensure!(
            count(StatusCode::OK) + count(StatusCode::GATEWAY_TIMEOUT) == 1
                && count(StatusCode::CONFLICT) == controllers - 1,
            "{name} was created by two at once: {made:?}"
        );
        for path in [
            format!("/tables/{name}?type=offline"),
            format!("/schemas/{name}"),
        ] {
            let (status, text) = cluster.call(nth % 2, (Method::DELETE, &path), None).await?;
            // It is done, and a broker that is busy has not heard of it yet.
            let is_done = status.is_success() || status == StatusCode::GATEWAY_TIMEOUT;
            ensure!(is_done, "DELETE {path}: {status}: {text}");
        }
    }
    Ok(())
}
