//! `/tables` as Pinot's users call it, and `/v1/tables`.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::*;

over_both_stores!(
    tables_come_and_go,
    a_table_needs_its_schema,
    every_fault_comes_at_once,
    what_is_about_speed_only_warns,
    configs_change_but_not_what_data_rests_on,
    both_parts_of_a_hybrid_table,
    our_own_api_is_strict,
    realtime_tables_open_their_partitions,
    consumption_is_paused_and_resumed,
);

async fn tables_come_and_go(world: &World) {
    assert_eq!(world.get("/tables").await.ok(), json!({"tables": []}));
    world.post("/schemas", SCHEMA).await.ok();
    let odd = OFFLINE.replace("\"tenants\"", "\"tennants\"");
    let odd = odd.replace("\"metadata\"", "\"tenant\":{},\"metadata\"");
    let added = world.post("/tables", &odd).await.ok();
    assert_eq!(
        added,
        json!({
            "unrecognizedProperties": {"/tenant": {"value": {}, "didYouMean": "tenants"}},
            "status": "Table orders_OFFLINE successfully added",
        })
    );
    let again = world.post("/tables", OFFLINE).await.refused(409);
    assert_eq!(again, "table `orders_OFFLINE` already exists");

    assert_eq!(
        world.get("/tables").await.ok(),
        json!({"tables": ["orders"]})
    );
    for (filter, names) in [
        ("type=offline", json!(["orders"])),
        ("type=OFFLINE", json!(["orders"])),
        ("type=realtime", json!([])),
    ] {
        let listed = world.get(&format!("/tables?{filter}")).await.ok();
        assert_eq!(listed, json!({ "tables": names }));
    }
    let original: Value = serde_json::from_str(&odd).unwrap();
    for path in ["/tables/orders", "/tables/orders_OFFLINE"] {
        let read = world.get(path).await.ok();
        assert_eq!(read, json!({ "OFFLINE": original }));
    }
    let body = world.get("/tables/orders").await.body;
    let in_order = body.find("tableName") < body.find("tableType");
    assert!(in_order && body.find("tableType") < body.find("segmentsConfig"));
    let schema = world.get("/tables/orders/schema").await.ok();
    assert_eq!(schema, serde_json::from_str::<Value>(SCHEMA).unwrap());
    let state = world.get("/tables/orders/state").await.ok();
    assert_eq!(state, json!({"state": "enabled"}));
    let enabled = world.put("/tables/orders/state?state=enable", "").await;
    assert_eq!(enabled.ok()["status"], "Table orders is enabled");
    let disabled = world.put("/tables/orders/state?state=disable", "").await;
    assert!(disabled.refused(400).contains("not supported yet"));
    let nothing = world.put("/tables/orders/state", "").await;
    assert!(nothing.refused(400).contains("state"));

    let elsewhere = world.delete("/tables/orders?type=realtime").await;
    assert_eq!(elsewhere.refused(404), "table `orders` does not exist");
    let deleted = world.delete("/tables/orders").await.ok();
    assert_eq!(
        deleted,
        json!({"status": "Tables: [orders_OFFLINE] deleted"})
    );
    for path in [
        "",
        "/schema",
        "/size",
        "/state",
        "/externalview",
        "/metadata",
    ] {
        let gone = world.get(&format!("/tables/orders{path}")).await;
        assert_eq!(gone.refused(404), "table `orders` does not exist");
    }
    let gone = world.delete("/tables/orders").await.refused(404);
    assert_eq!(gone, "table `orders` does not exist");
    assert_eq!(world.get("/tables").await.ok(), json!({"tables": []}));
}

async fn a_table_needs_its_schema(world: &World) {
    let refused = world.post("/tables", OFFLINE).await.refused(400);
    let said = "tableName: schema `orders` does not exist; POST it to /schemas first";
    assert_eq!(refused, said);
}

async fn every_fault_comes_at_once(world: &World) {
    world.post("/schemas", SCHEMA).await.ok();
    let bad = REALTIME
        .replace("\"timeColumnName\":\"ts\"", "\"timeColumnName\":\"city\"")
        .replace("[\"city\"]", "[\"town\"]")
        .replace("\"DAYS\"", "\"MOONS\"")
        .replace("\"metadata\":{}", "\"upsertConfig\":{\"mode\":\"FULL\"}")
        .replace("\"stream.kafka.topic.name\":\"orders\",", "");
    let said = world.post("/tables", &bad).await.refused(400);
    let faults: Vec<&str> = said.split("; ").collect();
    assert_eq!(
        faults,
        [
            "tableIndexConfig.streamConfigs.stream.kafka.topic.name: missing",
            "segmentsConfig.retentionTimeUnit: `MOONS` is no unit: MINUTES, HOURS or DAYS",
            "tableIndexConfig.invertedIndexColumns: there is no column `town`",
            "upsertConfig: needs `primaryKeyColumns` in the schema",
            "segmentsConfig.timeColumnName: a time column is TIMESTAMP, LONG or INT, not STRING",
        ]
    );
    assert_eq!(world.get("/tables").await.ok(), json!({"tables": []}));
}

async fn what_is_about_speed_only_warns(world: &World) {
    world.post("/schemas", SCHEMA).await.ok();
    let config = OFFLINE.replace(
        "\"loadMode\":\"MMAP\"",
        "\"rangeIndexColumns\":[\"amount\"],\"bloomFilterColumns\":[],\"onHeapDictionaryColumns\":[\"city\"]",
    );
    let added = world.post("/tables", &config).await.ok();
    assert_eq!(
        added["warnings"],
        json!(["tableIndexConfig.onHeapDictionaryColumns has no effect yet",])
    );
    assert_eq!(added["unrecognizedProperties"], json!({}));
}

async fn configs_change_but_not_what_data_rests_on(world: &World) {
    let id = world.create(REALTIME).await;
    let longer = REALTIME
        .replace("\"7\"", "\"30\"")
        .replace("localhost:9092", "elsewhere:9092");
    let updated = world.put("/tables/orders", &longer).await.ok();
    let status = "Table orders_REALTIME successfully updated";
    assert_eq!(updated["status"], status);
    let read = world.get("/tables/orders").await.ok();
    let original: Value = serde_json::from_str(&longer).unwrap();
    assert_eq!(read, json!({ "REALTIME": original }));
    let spec = world.get("/v1/tables/orders/spec").await.ok()["spec"].clone();
    assert_eq!(spec["id"], json!(id));
    assert_eq!(spec["retention"]["age_max_ms"], 30 * 86_400_000_i64);
    assert_eq!(spec["streams"][0]["brokers"], "elsewhere:9092");

    let other = REALTIME
        .replace("topic.name\":\"orders\"", "topic.name\":\"sales\"")
        .replace("\"timeColumnName\":\"ts\",", "");
    let refused = world.put("/tables/orders", &other).await.refused(400);
    let no_time = "segmentsConfig.timeColumnName: a REALTIME table needs a time column";
    assert_eq!(refused, no_time);
    let other = REALTIME.replace("topic.name\":\"orders\"", "topic.name\":\"sales\"");
    let refused = world.put("/tables/orders", &other).await.refused(400);
    let topic = "stream.kafka.topic.name: the topic of a table cannot change; drop it first";
    assert_eq!(refused, topic);
    let other_type = world.put("/tables/orders", OFFLINE).await.refused(400);
    assert!(other_type.contains("tableName: name and type of a table cannot change"));
    let missing = world.put("/tables/nothing", REALTIME).await.refused(404);
    assert_eq!(missing, "table `nothing` does not exist");
    let read = world.get("/tables/orders").await.ok();
    assert_eq!(read, json!({ "REALTIME": original }), "as it was");
}

async fn both_parts_of_a_hybrid_table(world: &World) {
    world.create(OFFLINE).await;
    world.create(REALTIME).await;
    let both = world.get("/tables/orders").await.ok();
    assert_eq!(both["OFFLINE"]["tableType"], "OFFLINE");
    assert_eq!(both["REALTIME"]["tableType"], "REALTIME");
    let one = world.get("/tables/orders?type=realtime").await.ok();
    assert_eq!(one.as_object().unwrap().len(), 1);
    assert_eq!(
        world.get("/tables").await.ok(),
        json!({"tables": ["orders"]})
    );
    let changed = OFFLINE.replace("\"replication\":\"1\"", "\"replication\":\"2\"");
    let updated = world.put("/tables/orders", &changed).await.ok();
    assert_eq!(
        updated["status"],
        "Table orders_OFFLINE successfully updated"
    );
    let deleted = world.delete("/tables/orders?type=offline").await.ok();
    assert_eq!(deleted["status"], "Tables: [orders_OFFLINE] deleted");
    let left = world.get("/tables/orders").await.ok();
    assert_eq!(left.as_object().unwrap().len(), 1);
    let view = world.get("/tables/orders/idealstate").await.ok();
    assert_eq!(view, json!({"OFFLINE": null, "REALTIME": {}}));

    // A part with other columns is no part of it.
    let other = SCHEMA.replace("\"city\"", "\"town\"");
    let body = format!(r#"{{"schema":{other},"tableConfig":{OFFLINE}}}"#);
    let refused = world.post("/v1/tables", &body).await.refused(400);
    let said = "its schema is not that of table `orders_REALTIME`: \
                `town` is new, `city` is missing";
    assert_eq!(refused, said);
}

async fn our_own_api_is_strict(world: &World) {
    let bad_schema = SCHEMA
        .replace("\"DOUBLE\"", "\"MONEY\"")
        .replace("\"dimensionFieldSpecs\"", "\"dimensionFieldSpec\"");
    let bad_config = OFFLINE.replace("\"replication\":\"1\"", "\"replication\":\"many\"");
    let bad_config = bad_config.replace("\"metadata\"", "\"tenant\":{},\"metadata\"");
    let body = format!(r#"{{"schema":{bad_schema},"tableConfig":{bad_config}}}"#);
    let said = world.post("/v1/tables", &body).await.refused(400);
    for part in [
        "schema.metricFieldSpecs[0].dataType: `MONEY` is no data type",
        "/schema/dimensionFieldSpec: unknown key; did you mean `dimensionFieldSpecs`?",
        "tableConfig.segmentsConfig.replication: a whole number was expected, not \"many\"",
        "/tableConfig/tenant: unknown key; did you mean `tenants`?",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let misfit = OFFLINE.replace("\"timeColumnName\":\"ts\"", "\"timeColumnName\":\"when\"");
    let body = format!(r#"{{"schema":{SCHEMA},"tableConfig":{misfit}}}"#);
    let said = world.post("/v1/tables", &body).await.refused(400);
    let misfit = "tableConfig.segmentsConfig.timeColumnName: there is no column `when`";
    assert_eq!(said, misfit);
    assert_eq!(world.get("/schemas").await.ok(), json!([]));
    let nothing = world.post("/v1/tables", "{}").await.refused(400);
    assert!(nothing.starts_with("the body is not understood: missing field `schema`"));

    let body = format!(r#"{{"schema":{SCHEMA},"tableConfig":{OFFLINE}}}"#);
    let created = world.post("/v1/tables", &body).await.ok();
    assert_eq!(
        (&created["table"], &created["warnings"]),
        (&json!("orders"), &json!([]))
    );
    assert_eq!(world.get("/schemas").await.ok(), json!(["orders"]));
    let spec = world.get("/v1/tables/orders/spec").await.ok();
    assert_eq!(
        (&spec["spec"]["id"], &spec["nextSequence"]),
        (&created["id"], &json!(0))
    );
}

async fn realtime_tables_open_their_partitions(world: &World) {
    let server = world.server("Server_a").await;
    *world.streams.0.watermarks.lock() = (10, 70);
    world.streams.0.partitions.store(2, Ordering::Relaxed);
    // Without a word on it, consumption begins with what comes.
    world.create(REALTIME).await;
    let ledger = async || world.get("/v1/segments/orders").await.ok()["segments"].clone();
    let opened = ledger().await;
    let starts = |ledger: &Value| -> Vec<i64> {
        let segments = ledger.as_array().unwrap().iter();
        segments
            .map(|segment| segment["start"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(starts(&opened), [70, 70]);
    // A partition that comes later is read whole.
    world.streams.0.partitions.store(3, Ordering::Relaxed);
    eventually("the third", async || {
        starts(&ledger().await) == [70, 70, 10]
    })
    .await;

    eventually("consuming", async || {
        let view = world.get("/tables/orders/externalview").await.ok();
        let segments = view["REALTIME"].as_object().unwrap();
        segments.len() == 3 && segments.values().all(|s| s["Server_a"] == "CONSUMING")
    })
    .await;
    let names = world.get("/segments/orders").await.ok();
    let name = names[0]["REALTIME"][2].as_str().unwrap();
    assert!(
        name.starts_with("orders__2__0__20") && name.ends_with('Z'),
        "{name}"
    );
    let refused = world
        .delete(&format!("/segments/orders/{name}"))
        .await
        .refused(409);
    assert!(refused.contains("is consuming"), "{refused}");
    drop(server);
}

async fn consumption_is_paused_and_resumed(world: &World) {
    world.create(REALTIME).await;
    let paused = world.post("/tables/orders/pauseConsumption", "").await.ok();
    assert_eq!(paused["pauseFlag"], true);
    assert_eq!(world.get("/tables/orders/pauseStatus").await.ok(), paused);
    let status = world.get("/v1/tables/orders/status").await.ok();
    assert_eq!(
        status["verdict"],
        "paused; `tannin table resume orders` goes on"
    );
    let resumed = world
        .post("/tables/orders/resumeConsumption", "")
        .await
        .ok();
    assert_eq!(resumed["pauseFlag"], false);
    let status = world.get("/v1/tables/orders/status").await.ok();
    assert!(
        status["verdict"].as_str().unwrap().contains("orders"),
        "{status}"
    );
}
