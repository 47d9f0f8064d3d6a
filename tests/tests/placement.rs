//! Where segments are: rebalances, servers that come, drain and go, tenants and tiers, while
//! queries are answered, each of them right.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use tests::asking::Asking;
use tests::cluster::{Cluster, Over, until};
use tests::flights;

const COUNT: &str = "SELECT COUNT(*) FROM flights";
const SEALED: &str =
    "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";

async fn with_flights(cluster: &Cluster, rows: u64, replication: u32) -> Result<()> {
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let table = flights::table(&cluster.log(), "flights", replication);
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(rows)?).await?;
    cluster.wait_for_each(COUNT, rows as i64).await?;
    let each = rows / u64::from(flights::PARTITIONS) / flights::SEGMENT_ROWS;
    let sealed = each * u64::from(flights::PARTITIONS);
    cluster.wait_for(SEALED, sealed as i64).await
}

/// Segments that each server shall hold.
async fn shares(cluster: &Cluster, table: &str) -> Result<BTreeMap<String, usize>> {
    let ideal = cluster.get(&format!("/tables/{table}/idealstate")).await?;
    let mut shares = BTreeMap::new();
    for part in ["OFFLINE", "REALTIME"] {
        for servers in ideal[part]
            .as_object()
            .into_iter()
            .flat_map(|all| all.values())
        {
            for server in servers.as_object().context("no servers")?.keys() {
                *shares.entry(server.clone()).or_default() += 1;
            }
        }
    }
    Ok(shares)
}

async fn rebalance(cluster: &Cluster, table: &str, options: &str) -> Result<Value> {
    let path = format!("/tables/{table}/rebalance?{options}");
    let answer = cluster.post(&path, &json!({})).await?;
    let job = answer["jobId"].as_str().context("no job")?.to_owned();
    until("the rebalance is done", || async {
        let status = cluster.get(&format!("/rebalanceStatus/{job}")).await?;
        let stats = &status["tableRebalanceProgressStats"];
        ensure!(stats["status"] == "DONE", "{status}");
        Ok(())
    })
    .await?;
    Ok(answer)
}

async fn drain(cluster: &Cluster, server: &str) -> Result<()> {
    let path = format!("/instances/{server}/state?state=DRAIN");
    cluster.put(&path).await?;
    until("nothing is left on it", || async {
        let one = cluster.get(&format!("/instances/{server}")).await?;
        ensure!(one["segments"] == 0, "{one}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn servers_come_and_go_and_no_query_notices() -> Result<()> {
    const ROWS: u64 = 24_000;
    let mut cluster = Cluster::start_of(Over::Grpc, 2).await?;
    with_flights(&cluster, ROWS, 2).await?;
    let before = cluster.servers().await?;
    let asking = Asking::start(cluster.sql(), COUNT, ROWS as i64);
    let by_carrier = "SELECT SUM(c) FROM (SELECT carrier, COUNT(*) AS c FROM flights GROUP BY 1)";
    let groups = Asking::start(cluster.sql(), by_carrier, ROWS as i64);

    // A third server has nothing until a rebalance gives it its share.
    cluster.add_server().await?;
    let all = cluster.servers().await?;
    let new = all
        .iter()
        .find(|name| !before.contains(name))
        .context("no new server")?;
    let dry = cluster
        .post("/tables/flights/rebalance?dryRun=true", &json!({}))
        .await?;
    ensure!(dry["status"] == "DONE" && dry["jobId"].is_null(), "{dry}");
    let gets = &dry["rebalanceSummaryResult"]["serverInfo"]["serversGettingNewSegments"];
    ensure!(*gets == json!([new]), "{dry}");
    ensure!(!shares(&cluster, "flights").await?.contains_key(new));
    rebalance(&cluster, "flights", "minAvailableReplicas=1").await?;
    let even = shares(&cluster, "flights").await?;
    let (least, most) = (even.values().min(), even.values().max());
    ensure!(even.len() == 3, "{even:?}");
    // What is sealed and what consumes are even each for itself.
    ensure!(
        most.zip(least)
            .is_some_and(|(most, least)| most - least <= 2),
        "{even:?}"
    );
    let again = cluster
        .post("/tables/flights/rebalance", &json!({}))
        .await?;
    ensure!(again["status"] == "NO_OP", "{again}");

    // More rows while the second one drains.
    let more: Vec<(u32, String)> = flights::events(2 * ROWS)?.split_off(ROWS as usize);
    let (first, second) = more.split_at(more.len() / 2);
    asking.may_be(2 * ROWS as i64);
    groups.may_be(2 * ROWS as i64);
    cluster.produce("flights", first.to_vec()).await?;
    let gone = all
        .iter()
        .find(|name| *name != new && **name != first_of(&cluster))
        .cloned();
    let gone = gone.context("nobody to drain")?;
    drain(&cluster, &gone).await?;
    cluster.produce("flights", second.to_vec()).await?;
    cluster.wait_for(COUNT, 2 * ROWS as i64).await?;
    cluster.wait_for_each(COUNT, 2 * ROWS as i64).await?;
    asking.must_be(2 * ROWS as i64);
    groups.must_be(2 * ROWS as i64);
    let left = shares(&cluster, "flights").await?;
    ensure!(!left.contains_key(&gone) && left.len() == 2, "{left:?}");
    let refused = cluster
        .call(
            Role::Controller,
            Method::DELETE,
            &format!("/instances/{gone}"),
            None,
        )
        .await?;
    ensure!(refused.0 == 409, "it lives: {refused:?}");
    cluster.stop_node(1).await;
    cluster.wait_for_each(COUNT, 2 * ROWS as i64).await?;
    until("it is forgotten", || async {
        cluster.delete(&format!("/instances/{gone}")).await?;
        Ok(())
    })
    .await?;
    ensure!(!cluster.get("/instances").await?.to_string().contains(&gone));

    ensure!(asking.finish().await? > 20 && groups.finish().await? > 20);
    let proof = "SELECT COUNT(*), SUM(c) FROM (SELECT \"$partition\", \"$offset\", COUNT(*) - 1 \
                 AS c FROM flights GROUP BY 1, 2)";
    ensure!(cluster.sql().numbers(proof).await? == [2 * ROWS as i64, 0]);
    let reconcilers = "SELECT COUNT(*) FROM sys.tasks WHERE kind LIKE 'reconcile_%' AND \
                       state = 'RUNNING' AND attempts > 0";
    cluster.wait_for(reconcilers, 7).await?;
    cluster.stop().await;
    Ok(())
}

/// The server of the first node, which has all other roles too.
fn first_of(cluster: &Cluster) -> String {
    let address = &cluster.node(0).addresses.server_grpc;
    format!("Server_{}", address.replace(':', "_"))
}

fn keyed(cluster: &Cluster) -> Value {
    json!({
        "schema": {
            "schemaName": "latest",
            "dimensionFieldSpecs": [{ "name": "id", "dataType": "STRING" }],
            "metricFieldSpecs": [{ "name": "n", "dataType": "LONG" }],
            "dateTimeFieldSpecs": [{
                "name": "ts", "dataType": "LONG",
                "format": "1:MILLISECONDS:EPOCH", "granularity": "1:MILLISECONDS",
            }],
            "primaryKeyColumns": ["id"],
        },
        "tableConfig": {
            "tableName": "latest",
            "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {},
            "tableIndexConfig": {},
            "routing": { "instanceSelectorType": "strictReplicaGroup" },
            "upsertConfig": { "mode": "FULL", "comparisonColumns": ["ts"] },
            "ingestionConfig": { "streamIngestionConfig": { "streamConfigMaps": [{
                "streamType": "kafka",
                "stream.kafka.topic.name": "latest",
                "stream.kafka.broker.list": cluster.log(),
                "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
                "realtime.segment.flush.threshold.rows": "500",
            }] } },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_whose_keys_have_rules_move_whole() -> Result<()> {
    const PARTITIONS: u32 = 4;
    const KEYS: u32 = 200;
    let mut cluster = Cluster::start_of(Over::Grpc, 1).await?;
    cluster.create_topic("latest", PARTITIONS).await?;
    cluster.post("/v1/tables", &keyed(&cluster)).await?;
    let round = |version: u32| -> Vec<(u32, String)> {
        let row = |key: u32| {
            let row = format!(r#"{{"id":"k{key}","n":{version},"ts":{}}}"#, 1000 + version);
            (key % PARTITIONS, row)
        };
        (0..KEYS).map(row).collect()
    };
    for version in 1..=20 {
        cluster.produce("latest", round(version)).await?;
    }
    let sum = "SELECT COUNT(*), SUM(n), COUNT(DISTINCT n) FROM latest";
    let is = |version: u32| [KEYS, KEYS * version, 1].map(i64::from);
    let shows = async |cluster: &Cluster, version: u32| {
        let sql = cluster.sql();
        until("each key counts once", || async {
            let found = sql.numbers(sum).await?;
            ensure!(found == is(version), "{found:?}");
            Ok(())
        })
        .await
    };
    shows(&cluster, 20).await?;
    // An old row of a key would show as a smaller sum, one that counts twice as a greater count.
    let keys = i64::from(KEYS);
    let count = Asking::start(cluster.sql(), "SELECT COUNT(*) FROM latest", keys);
    let sums = Asking::start(cluster.sql(), "SELECT SUM(n) FROM latest", 20 * keys);
    sums.may_be(40 * keys);
    cluster.add_server().await?;
    let producing = async {
        for version in 21..=40 {
            cluster.produce("latest", round(version)).await?;
        }
        anyhow::Ok(())
    };
    let (moved, produced) = tokio::join!(rebalance(&cluster, "latest", ""), producing);
    moved?;
    produced?;
    shows(&cluster, 40).await?;
    let ideal = cluster.get("/tables/latest/idealstate").await?;
    let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, servers) in ideal["REALTIME"].as_object().context("no segments")? {
        let partition = name.split("__").nth(1).context("no partition")?;
        let servers = servers.as_object().context("no servers")?.keys().cloned();
        homes
            .entry(partition.to_owned())
            .or_default()
            .extend(servers);
    }
    ensure!(homes.values().all(|of| of.len() == 1), "{homes:?}");
    let of: Vec<&BTreeSet<String>> = homes.values().collect();
    let all: BTreeSet<&String> = of.iter().flat_map(|one| one.iter()).collect();
    ensure!(all.len() == 2, "{homes:?}");
    ensure!(count.finish().await? > 5 && sums.finish().await? > 5);
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_tiers_say_where_segments_lie() -> Result<()> {
    const ROWS: u64 = 24_000;
    let cluster = Cluster::start_of(Over::Grpc, 3).await?;
    let servers = cluster.servers().await?;
    let tag = async |server: &str, tags: &str| {
        let path = format!("/instances/{server}/updateTags?tags={tags}");
        cluster.put(&path).await
    };
    let mut table = flights::table(&cluster.log(), "flights", 1);
    table["tableConfig"]["tenants"] = json!({ "server": "hot" });
    table["tableConfig"]["tierConfigs"] = json!([{
        "name": "cold", "segmentSelectorType": "time", "segmentAge": "30d",
        "storageType": "pinot_server", "serverTag": "cold_OFFLINE",
    }]);
    cluster.create_topic("flights", flights::PARTITIONS).await?;
    let body = Some(table.to_string());
    let refused = cluster
        .call(Role::Controller, Method::POST, "/v1/tables", body)
        .await?;
    ensure!(refused.0 == 400, "{refused:?}");
    ensure!(
        refused.1.contains("no server has the tag `hot_REALTIME`"),
        "{refused:?}"
    );
    tag(&servers[0], "hot_REALTIME").await?;
    tag(&servers[1], "cold_OFFLINE").await?;
    let tenants = cluster.get("/tenants").await?;
    ensure!(
        tenants["SERVER_TENANTS"] == json!(["DefaultTenant", "cold", "hot"]),
        "{tenants}"
    );
    let hot = cluster.get("/tenants/hot").await?;
    ensure!(hot["ServerInstances"] == json!([servers[0]]), "{hot}");

    // The flights are of 2013: what is sealed is old, and goes to the cold server by itself.
    cluster.post("/v1/tables", &table).await?;
    cluster.produce("flights", flights::events(ROWS)?).await?;
    cluster.wait_for(COUNT, ROWS as i64).await?;
    until("sealed segments are on the cold server", || async {
        let ideal = cluster.get("/tables/flights/idealstate").await?;
        for (name, on) in ideal["REALTIME"].as_object().context("no segments")? {
            let on = on.as_object().context("no servers")?;
            let consumes = on.values().any(|state| state == "CONSUMING");
            let wanted = if consumes { &servers[0] } else { &servers[1] };
            ensure!(on.keys().eq([wanted]), "{name} is on {on:?}");
        }
        Ok(())
    })
    .await?;
    cluster.wait_for_each(COUNT, ROWS as i64).await?;

    // The tenant gets another server in the place of its only one.
    tag(&servers[2], "hot_REALTIME").await?;
    let rows = Asking::start(cluster.sql(), COUNT, ROWS as i64);
    drain(&cluster, &servers[0]).await?;
    let shares = shares(&cluster, "flights").await?;
    ensure!(
        shares.keys().eq([&servers[1], &servers[2]]
            .into_iter()
            .collect::<BTreeSet<_>>()),
        "{shares:?}"
    );
    rows.finish().await?;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_outlives_its_controller_and_is_broken_off() -> Result<()> {
    const ROWS: u64 = 24_000;
    let mut cluster = Cluster::start_of(Over::Grpc, 1).await?;
    with_flights(&cluster, ROWS, 1).await?;
    cluster.add_server().await?;
    let path = "/tables/flights/rebalance?batchSizePerServer=1";
    let answer = cluster.post(path, &json!({})).await?;
    let job = answer["jobId"].as_str().context("no job")?.to_owned();
    let twice = cluster.call(Role::Controller, Method::POST, path, Some("{}".to_owned()));
    let (status, text) = twice.await?;
    // It may be done already, or the same plan is under way.
    ensure!(status == 409 || text.contains("NO_OP"), "{status}: {text}");
    // The first node has the controller: it goes on where it was. The other is told its address
    // when it starts.
    cluster.stop_node(1).await;
    cluster.stop_node(0).await;
    cluster.start_node(0).await?;
    cluster.start_node(1).await?;
    cluster.wait_ready().await?;
    until("the rebalance is done", || async {
        let status = cluster.get(&format!("/rebalanceStatus/{job}")).await?;
        ensure!(
            status["tableRebalanceProgressStats"]["status"] == "DONE",
            "{status}"
        );
        Ok(())
    })
    .await?;
    cluster.wait_for_each(COUNT, ROWS as i64).await?;
    ensure!(shares(&cluster, "flights").await?.len() == 2);

    // A third one comes and what goes to it turns back.
    let before = shares(&cluster, "flights").await?;
    cluster.add_server().await?;
    let asking = Asking::start(cluster.sql(), COUNT, ROWS as i64);
    cluster.post(path, &json!({})).await?;
    let (status, text) = cluster
        .call(
            Role::Controller,
            Method::DELETE,
            "/tables/flights/rebalance",
            None,
        )
        .await?;
    if status.is_success() {
        let id: Vec<String> = serde_json::from_str(&text)?;
        let told = cluster.get(&format!("/rebalanceStatus/{}", id[0])).await?;
        ensure!(
            told["tableRebalanceProgressStats"]["status"] == "CANCELLED",
            "{told}"
        );
        let after = shares(&cluster, "flights").await?;
        ensure!(
            after.values().sum::<usize>() == before.values().sum::<usize>(),
            "{after:?}"
        );
    }
    asking.finish().await?;
    cluster.wait_for_each(COUNT, ROWS as i64).await?;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_the_disk_nothing_is_consumed_and_all_is_answered() -> Result<()> {
    let mut cluster = Cluster::start_of(Over::Grpc, 1).await?;
    with_flights(&cluster, 8_000, 1).await?;
    cluster.set("server.disk_free_bytes_min=9000000000000000000");
    cluster.stop_node(0).await;
    cluster.start_node(0).await?;
    let stopped = "SELECT COUNT(*) FROM sys.partitions WHERE state = 'ERROR' AND detail LIKE \
                   '%server.disk_free_bytes_min%'";
    cluster
        .wait_for(stopped, i64::from(flights::PARTITIONS))
        .await?;
    let more = flights::events(16_000)?.split_off(8_000);
    cluster.produce("flights", more).await?;
    let sealed =
        "SELECT SUM(rows) FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'";
    let rows = cluster.sql().numbers(sealed).await?;
    cluster.wait_for(COUNT, rows[0]).await?;
    let (status, text) = cluster
        .call(
            Role::Controller,
            Method::POST,
            "/tables/flights/rebalance",
            Some("{}".to_owned()),
        )
        .await?;
    ensure!(
        status == 503 && text.contains("takes segments"),
        "{status}: {text}"
    );

    cluster.set("server.disk_free_bytes_min=0");
    cluster.stop_node(0).await;
    cluster.start_node(0).await?;
    cluster.wait_for(COUNT, 16_000).await?;
    cluster.stop().await;
    Ok(())
}
