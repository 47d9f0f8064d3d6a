//! `/schemas` as Pinot's users call it.

use serde_json::json;

use super::*;

over_both_stores!(
    schemas_come_and_go,
    schemas_come_as_forms_too,
    every_fault_comes_at_once,
    unknown_keys_come_back_with_the_nearest,
    a_schema_in_use_stays,
);

async fn schemas_come_and_go(world: &World) {
    assert_eq!(world.get("/schemas").await.ok(), json!([]));
    let added = world.post("/schemas", SCHEMA).await.ok();
    let answer = json!({"unrecognizedProperties": {}, "status": "orders successfully added"});
    assert_eq!(added, answer);
    assert_eq!(world.get("/schemas").await.ok(), json!(["orders"]));
    let read = world.get("/schemas/orders").await.ok();
    assert_eq!(read, serde_json::from_str::<Value>(SCHEMA).unwrap());

    world.post("/schemas", SCHEMA).await.ok();
    let again = world.post("/schemas?override=false", SCHEMA).await;
    assert_eq!(again.refused(409), "schema `orders` already exists");
    let odd = world.post("/schemas?override=maybe", SCHEMA).await;
    assert!(odd.refused(400).starts_with("parameters: "));

    let changed = SCHEMA.replace("\"city\"", "\"town\"");
    let wrong = world.put("/schemas/other", &changed).await.refused(400);
    assert_eq!(wrong, "the schema is named `orders`, the path says `other`");
    let put = world.put("/schemas/orders", &changed).await.ok();
    assert_eq!(put["status"], "orders successfully added");
    let read = world.get("/schemas/orders").await.ok();
    assert_eq!(read["dimensionFieldSpecs"][1]["name"], "town");

    let deleted = world.delete("/schemas/orders").await.ok();
    assert_eq!(deleted, json!({"status": "Schema orders deleted"}));
    for gone in [
        world.get("/schemas/orders").await,
        world.delete("/schemas/orders").await,
        world.put("/schemas/orders", SCHEMA).await,
    ] {
        assert_eq!(gone.refused(404), "schema `orders` does not exist");
    }
}

async fn schemas_come_as_forms_too(world: &World) {
    let form = format!(
        "--x\r\nContent-Disposition: form-data; name=\"schemaName\"; filename=\"s.json\"\r\n\
         Content-Type: application/json\r\n\r\n{SCHEMA}\r\n--x--\r\n"
    );
    let headers = "Content-Type: multipart/form-data; boundary=x\r\n";
    let added = world.ask("POST /schemas", headers, form.as_bytes()).await;
    assert_eq!(added.ok()["status"], "orders successfully added");
    let empty = world.ask("POST /schemas", headers, b"--x--").await;
    assert_eq!(empty.refused(400), "the form has no part");
    let binary = world.ask("POST /schemas", "", b"\xff\xfe").await;
    assert_eq!(binary.refused(400), "the body is not text in UTF-8");
}

async fn every_fault_comes_at_once(world: &World) {
    let bad = r#"{"schemaName":"a__b","dimensionFieldSpecs":[{"name":"x","dataType":"STRNG"},{"dataType":"INT"}],
      "metricFieldSpecs":[{"name":"n","dataType":"INT","defaultNullValue":"many"}]}"#;
    let said = world.post("/schemas", bad).await.refused(400);
    let faults: Vec<&str> = said.split("; ").collect();
    assert_eq!(
        faults,
        [
            "schemaName: `a__b` is no table name: `__` separates the parts of segment names",
            "dimensionFieldSpecs[0].dataType: `STRNG` is no data type here",
            "did you mean STRING?",
            "dimensionFieldSpecs[1].name: missing",
            "metricFieldSpecs[0].defaultNullValue: \"many\" is no INT",
        ]
    );
    let cut = world
        .post("/schemas", "{\"schemaName\":")
        .await
        .refused(400);
    assert!(cut.starts_with("$: not JSON: EOF"), "{cut}");
    assert_eq!(world.get("/schemas").await.ok(), json!([]));
}

async fn unknown_keys_come_back_with_the_nearest(world: &World) {
    let odd = SCHEMA.replace(
        "\"schemaName\"",
        "\"dimensionFieldSpec\":[],\"zzz\":7,\"schemaName\"",
    );
    let added = world.post("/schemas", &odd).await.ok();
    assert_eq!(
        added["unrecognizedProperties"],
        json!({
            "/dimensionFieldSpec": {"value": [], "didYouMean": "dimensionFieldSpecs"},
            "/zzz": 7,
        })
    );
}

async fn a_schema_in_use_stays(world: &World) {
    world.create(OFFLINE).await;
    let refused = world.delete("/schemas/orders").await.refused(409);
    let used = "schema `orders` is used by table `orders_OFFLINE`; drop that first";
    assert_eq!(refused, used);

    // What is not about columns may change.
    let described = SCHEMA.replace(
        "\"schemaName\"",
        "\"description\":\"of them\",\"schemaName\"",
    );
    world.put("/schemas/orders", &described).await.ok();
    let other = SCHEMA
        .replace("\"city\"", "\"town\"")
        .replace("\"DOUBLE\"", "\"FLOAT\"");
    let refusal = "the schema of table `orders_OFFLINE` cannot become this: `city` is missing, and \
                   columns are not removed; `amount` is DOUBLE and cannot become FLOAT";
    let put = world.put("/schemas/orders", &other).await;
    assert_eq!(put.refused(400), refusal);
    let posted = world.post("/schemas", &other).await;
    assert_eq!(posted.refused(400), refusal);
    let read = world.get("/schemas/orders").await.ok();
    assert_eq!(read["description"], "of them");

    let more = SCHEMA.replace(
        "{\"name\":\"city\"",
        "{\"name\":\"street\",\"dataType\":\"STRING\"},{\"name\":\"city\"",
    );
    assert_ne!(more, SCHEMA);
    world.put("/schemas/orders", &more).await.ok();
    let tables = world.controller.state.tables();
    assert!(tables[0].spec.column("street").is_some());
    world.put("/schemas/orders", SCHEMA).await.refused(400);

    world.delete("/tables/orders").await.ok();
    world.put("/schemas/orders", &other).await.ok();
    world.delete("/schemas/orders").await.ok();
}
