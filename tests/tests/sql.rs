//! SQL over both transports: answers of the standard dialect are DuckDB's over the same rows.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Over, both};
use tests::flights;
use tests::slt::{Door, Way, run_folder};

/// Beside the usual way, which uses what there is.
const WAYS: [Way<'_>; 5] = [
    Some(("nativeOperators", "false")),
    Some(("planTemplates", "false")),
    Some(("maxThreads", "1")),
    Some(("rowsPerThread", "1")),
    Some(("skipIndexes", "*=*")),
];

async fn ask_everything(cluster: &Cluster, way: Way<'_>) -> Result<()> {
    let broker = &cluster.node(0).addresses.broker_http;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    run_folder(broker, Door::Standard, way, &folder.join("standard")).await?;
    run_folder(broker, Door::Pinot, way, &folder.join("pinot")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_have_their_answers() -> Result<()> {
    both(|cluster| async move {
        flights::load(&cluster).await?;
        for way in WAYS.into_iter().chain([None]) {
            ask_everything(&cluster, way).await?;
        }
        ask_for_times(&cluster).await?;
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// EXPLAIN ANALYZE tells of each operator, here and on every server, what it gave and how long it
/// took.
async fn ask_for_times(cluster: &Cluster) -> Result<()> {
    let broker = &cluster.node(0).addresses.broker_http;
    let sql = "EXPLAIN ANALYZE SELECT a.name, COUNT(*) FROM flights f JOIN airlines a ON f.carrier \
               = a.carrier WHERE f.dep_delay > 60 GROUP BY a.name ORDER BY 2 DESC, 1 LIMIT 3";
    let request = cluster.http.post(format!("http://{broker}/v1/sql"));
    let answer = request.json(&json!({ "sql": sql })).send().await?;
    let answer: Value = answer.json().await?;
    let rows = answer["rows"].as_array().context("rows")?;
    let lines: Vec<&str> = rows.iter().filter_map(|row| row[0].as_str()).collect();
    let told = lines.join("\n");
    let operators = lines.iter().filter(|line| {
        let word = line.trim_start().split([':', ';']).next();
        word.is_some_and(|word| word.ends_with("Exec"))
    });
    let operators: Vec<&&str> = operators.collect();
    ensure!(operators.len() > 3, "{told}");
    ensure!(operators[0].contains("; gave 3 rows in "), "{told}");
    // The way that is left for another kind of small table did not run.
    let ran = |line: &&&&str| line.contains(" ms its own");
    ensure!(operators.iter().filter(ran).count() > 4, "{told}");
    let of_servers = lines
        .iter()
        .filter(|line| line.contains("ms of CPU"))
        .count();
    ensure!(of_servers > 0, "{told}");
    Ok(())
}

/// There it runs whole plans; the second time with the plans of the first.
#[tokio::test(flavor = "multi_thread")]
async fn one_server_gives_the_same_answers() -> Result<()> {
    let cluster = Cluster::start_of(Over::InProcess, 1).await?;
    flights::load(&cluster).await?;
    for way in [None, None].into_iter().chain(WAYS) {
        ask_everything(&cluster, way).await?;
    }
    ask_panels(&cluster).await?;
    ask_for_times(&cluster).await?;
    cluster.stop().await;
    Ok(())
}

/// What StarTree's plugin for Grafana, and Grafana for its variables, make of the dashboard's macros
/// over the first days of the sample.
const MACROS: [(&str, &str); 6] = [
    ("$__timeGroup(\"event_time\")", BUCKET),
    (
        "$__timeFilter(\"event_time\")",
        " \"event_time\" >= 1356998400000 AND \"event_time\" < 1357603200000 ",
    ),
    ("$__timeAlias()", " \"__time\" "),
    ("$__metricAlias()", " \"__metric\" "),
    ("$__table()", " \"flights\" "),
    ("${carrier:singlequote}", "'AA','B6','UA'"),
];
const BUCKET: &str = "DATETIMECONVERT(\"event_time\", '1:MILLISECONDS:EPOCH', \
                      '1:MILLISECONDS:EPOCH', '6:HOURS')";

/// Every panel of Grafana's dashboard has rows, and the columns that the plugin looks for.
async fn ask_panels(cluster: &Cluster) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root.join("deploy/observability/grafana/flights.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    ensure!(panels.len() == 5);
    for panel in panels {
        let target = &panel["targets"][0];
        let mut sql = target["pinotQlCode"].as_str().context("code")?.to_owned();
        for (name, text) in MACROS {
            sql = sql.replace(name, text);
        }
        for option in target["queryOptions"].as_array().into_iter().flatten() {
            let text = |key: &str| option[key].as_str().unwrap_or_default().to_owned();
            sql += &format!(";\n\nSET {}={}", text("name"), text("value"));
        }
        let broker = &cluster.node(0).addresses.broker_http;
        let request = cluster.http.post(format!("http://{broker}/query/sql"));
        let answer = request.json(&json!({ "sql": sql })).send().await?;
        let answer: Value = answer.json().await?;
        ensure!(answer["exceptions"] == json!([]), "{sql}: {answer}");
        ensure!(answer["numRowsResultSet"].as_u64() > Some(0), "{sql}");
        // The plugin ends at a null.
        let rows = &answer["resultTable"]["rows"];
        let cells = rows.as_array().into_iter().flatten();
        let mut cells = cells.flat_map(|row| row.as_array().into_iter().flatten());
        ensure!(cells.all(|cell| !cell.is_null()), "{sql}: {rows}");
        if target["displayType"] == "TIMESERIES" {
            let schema = &answer["resultTable"]["dataSchema"];
            let names = schema["columnNames"].as_array().context("names")?;
            let types = schema["columnDataTypes"].as_array().context("types")?;
            let time = names.iter().position(|name| name == "__time");
            ensure!(types[time.context("no __time")?] == "LONG", "{schema}");
            ensure!(names.iter().any(|name| name == "__metric"), "{schema}");
        }
    }
    Ok(())
}
