//! What the doors answer, to the byte where clients depend on it.

use std::time::Duration;

use serde_json::json;

use super::double::{NEWEST_AGE_MS, Running, running, spec, state};

async fn one_table() -> Running {
    let spec = spec();
    running(&spec, vec![state(&spec, &["s1"])]).await
}

#[tokio::test]
async fn an_answer_has_pinots_fields_in_pinots_order() {
    let broker = one_table().await;
    let sql =
        "SELECT COUNT(*), SUM(id), name FROM things WHERE ok = true GROUP BY name ORDER BY name";
    let answer = broker.post("/query/sql", &json!({ "sql": sql })).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("x-pinot-error-code: -1"),
        "{}",
        answer.head
    );
    let body = answer.json();
    assert_eq!(
        body["resultTable"],
        json!({
            "dataSchema": {
                "columnNames": ["count(*)", "sum(id)", "name"],
                "columnDataTypes": ["LONG", "DOUBLE", "STRING"],
            },
            "rows": [[1, 1.0, "a"], [1, 3.0, "ü\"\n"]],
        })
    );
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    let wanted = "resultTable numRowsResultSet partialResult exceptions numGroupsLimitReached \
        numGroupsWarningLimitReached maxRowsInDistinctReached maxRowsWithoutChangeInDistinctReached \
        maxExecutionTimeInDistinctReached timeUsedMs requestId clientRequestId brokerId \
        numDocsScanned totalDocs numEntriesScannedInFilter numEntriesScannedPostFilter \
        numServersQueried numServersResponded numSegmentsQueried numSegmentsProcessed \
        numSegmentsMatched numConsumingSegmentsQueried numConsumingSegmentsProcessed \
        numConsumingSegmentsMatched minConsumingFreshnessTimeMs numSegmentsPrunedByBroker \
        numSegmentsPrunedByServer numSegmentsPrunedInvalid numSegmentsPrunedByLimit \
        numSegmentsPrunedByValue brokerReduceTimeMs offlineThreadCpuTimeNs realtimeThreadCpuTimeNs \
        offlineSystemActivitiesCpuTimeNs realtimeSystemActivitiesCpuTimeNs \
        offlineResponseSerializationCpuTimeNs realtimeResponseSerializationCpuTimeNs \
        offlineTotalCpuTimeNs realtimeTotalCpuTimeNs explainPlanNumEmptyFilterSegments \
        explainPlanNumMatchAllFilterSegments traceInfo tablesQueried \
        offlineThreadMemAllocatedBytes realtimeThreadMemAllocatedBytes \
        offlineResponseSerMemAllocatedBytes realtimeResponseSerMemAllocatedBytes \
        offlineTotalMemAllocatedBytes realtimeTotalMemAllocatedBytes pools rlsFiltersApplied \
        groupsTrimmed warnings";
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    assert_eq!(fields, wanted);
    for (field, value) in [
        ("numRowsResultSet", json!(2)),
        ("partialResult", json!(false)),
        ("exceptions", json!([])),
        ("numDocsScanned", json!(2)),
        ("totalDocs", json!(3)),
        ("numServersQueried", json!(1)),
        ("numServersResponded", json!(1)),
        ("tablesQueried", json!(["things"])),
        ("brokerId", json!("Broker_127.0.0.1_8099")),
    ] {
        assert_eq!(body[field], value, "{field}");
    }
    assert!(body["requestId"].is_string());
}

#[tokio::test]
async fn values_have_pinots_forms() {
    let broker = one_table().await;
    let body = broker
        .pinot("SELECT * FROM things WHERE id < 3 ORDER BY id")
        .await;
    let table = &body["resultTable"];
    let schema = &table["dataSchema"];
    assert_eq!(
        schema["columnNames"],
        json!(["id", "name", "ok", "raw", "score", "ts"])
    );
    assert_eq!(
        schema["columnDataTypes"],
        json!(["INT", "STRING", "BOOLEAN", "BYTES", "DOUBLE", "TIMESTAMP"])
    );
    let rows = json!([
        [1, "a", true, "0aff", 1.0, "1970-01-01 00:00:00.0"],
        [2, "b", false, "", "NaN", "2013-01-01 00:00:00.12"],
    ]);
    assert_eq!(table["rows"], rows);
    assert_eq!(body["warnings"], json!([]));
    // A join is for the multi-stage engine, which adds no LIMIT.
    let crossed = "SELECT a.id FROM things a, things b, things c";
    let body = broker.pinot(crossed).await;
    assert_eq!(body["numRowsResultSet"], 27);
    assert_eq!(body["warnings"], json!([]));
}

#[tokio::test]
async fn aggregates_over_nothing_are_pinots_numbers() {
    let broker = one_table().await;
    let sql = "SELECT COUNT(*), SUM(id), MIN(id), MAX(ts), AVG(score), COUNT(DISTINCT name) \
               FROM things WHERE id > 100";
    let body = broker.pinot(sql).await;
    let table = &body["resultTable"];
    assert_eq!(
        table["rows"],
        json!([[0, 0.0, "Infinity", "-Infinity", "-Infinity", 0]])
    );
    let types = json!(["LONG", "DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE", "INT"]);
    assert_eq!(table["dataSchema"]["columnDataTypes"], types);
    let body = broker
        .pinot(&format!("SET enableNullHandling=true; {sql}"))
        .await;
    assert_eq!(
        body["resultTable"]["rows"],
        json!([[0, null, null, null, null, 0]])
    );
    let body = broker.pinot("SELECT MAX(ts), MIN(ok) FROM things").await;
    assert_eq!(
        body["resultTable"]["rows"],
        json!([[1_356_998_400_120.0, 0.0]])
    );
}

#[tokio::test]
async fn the_multi_stage_door_follows_its_rules() {
    let broker = one_table().await;
    for (path, sql) in [
        (
            "/query",
            "SELECT SUM(id), id / 2 AS h FROM things WHERE id = 3 GROUP BY id",
        ),
        (
            "/query/sql",
            "SELECT SUM(id), id / 2 AS h FROM things WHERE id = 3 GROUP BY id \
          OPTION(useMultistageEngine=true)",
        ),
    ] {
        let body = broker.post(path, &json!({ "sql": sql })).await.json();
        let table = &body["resultTable"];
        assert_eq!(
            table["dataSchema"]["columnNames"],
            json!(["EXPR$0", "h"]),
            "{body}"
        );
        assert_eq!(table["rows"], json!([[3, 1]]));
    }
}

#[tokio::test]
async fn errors_of_pinots_door() {
    let broker = one_table().await;
    let answer = broker
        .post("/query/sql", &json!({ "sql": "SELECT nam FROM things" }))
        .await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("x-pinot-error-code: 710"),
        "{}",
        answer.head
    );
    let body = answer.json();
    assert!(body.get("resultTable").is_none());
    assert_eq!(body["exceptions"][0]["errorCode"], 710);
    let message = body["exceptions"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("UnknownColumnError: ")
            && message.contains("did you mean `name`?")
            && message.ends_with("(line 1, column 8)"),
        "{message}"
    );
    assert_eq!(
        (&body["numServersQueried"], &body["partialResult"]),
        (&json!(0), &json!(true))
    );

    let header = "Pinot-Use-Http-Status-For-Errors: true\r\n";
    let sql = json!({ "sql": "SELECT a FROM nothing" }).to_string();
    assert_eq!(
        broker.send("POST", "/query/sql", header, &sql).await.status,
        404
    );
    for body in ["", "{}", "no json", "[1]"] {
        let answer = broker.send("POST", "/query/sql", "", body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (400, &json!(400)),
            "{body}"
        );
    }
    assert_eq!(broker.get("/query/sql").await.status, 400);
}

#[tokio::test]
async fn a_query_by_get_and_without_a_table() {
    let broker = one_table().await;
    let body = broker
        .get("/query/sql?sql=SELECT%201%20AS%20anon_1")
        .await
        .json();
    assert_eq!(body["resultTable"]["rows"], json!([[1]]));
    assert_eq!(body["exceptions"], json!([]));
    let body = broker
        .pinot("EXPLAIN PLAN FOR SELECT COUNT(*) FROM things")
        .await;
    let schema = &body["resultTable"]["dataSchema"]["columnNames"];
    assert_eq!(
        *schema,
        json!(["Operator", "Operator_Id", "Parent_Id"]),
        "{body}"
    );
}

#[tokio::test]
async fn our_own_door() {
    let broker = one_table().await;
    let answer = broker
        .post("/v1/sql", &json!({ "sql": "SELECT name, id FROM things" }))
        .await;
    let body = answer.json();
    assert_eq!(answer.status, 200);
    let columns = json!([{ "name": "name", "type": "STRING" }, { "name": "id", "type": "INT" }]);
    assert_eq!(body["columns"], columns);
    assert_eq!(body["rows"].as_array().unwrap().len(), 3);
    assert_eq!(body["stats"]["indexes"], json!(["inverted(name)"]));
    assert_eq!(body["warnings"], json!([]));
    // What `tannin sql` shows below an answer.
    let stats = body["stats"].as_object().unwrap();
    let counts = "segmentsTotal segmentsQueried segmentsProcessed segmentsMatched segmentsPruned \
                  docsScanned totalDocs nativeOperators fallbackOperators servers";
    let counts = counts.split_whitespace().map(|name| &stats[name]);
    let counts: Vec<u64> = counts.map(|count| count.as_u64().unwrap()).collect();
    assert_eq!(counts, [5, 5, 1, 1, 4, 2, 3, 1, 0, 1]);
    assert!(stats["timeUsedMs"].as_f64().unwrap() > 0.0);
    let age_ms = stats["newestEventAgeMs"].as_i64().unwrap();
    assert!((NEWEST_AGE_MS..60_000).contains(&age_ms), "{age_ms}");
    let none = broker.post("/v1/sql", &json!({ "sql": "SELECT 1" })).await;
    assert_eq!(none.json()["stats"]["newestEventAgeMs"], json!(null));

    let sql = "SELECT name,\n  nmae FROM things";
    let answer = broker
        .post("/v1/sql", &json!({ "sql": sql, "options": { "x": 1 } }))
        .await;
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert_eq!(
        (&error["code"], &error["line"], &error["column"]),
        (&json!(710), &json!(2), &json!(3))
    );
    assert_eq!(error["span"], json!({ "start": 15, "end": 19 }));
    assert_eq!(broker.send("POST", "/v1/sql", "", "?").await.status, 400);

    let tables = broker.get("/v1/tables").await.json();
    assert_eq!(tables["tables"][0]["name"], "things");
    assert_eq!(tables["tables"][0]["rows"], 3);
    assert_eq!(
        tables["tables"][0]["columns"][0],
        json!({ "name": "id", "type": "INT" })
    );
    let options = json!({ "sql": "SELECT 1", "options": { "unheardOf": true } });
    let body = broker.post("/v1/sql", &options).await.json();
    assert_eq!(
        body["warnings"],
        json!(["option `unheardof` has no effect"])
    );
}

#[tokio::test]
async fn a_slow_query_is_listed_cancelled_and_timed_out() {
    let broker = one_table().await;
    *broker.late_by.lock() = Duration::from_secs(30);
    let body = broker
        .pinot("SET timeoutMs=50; SELECT COUNT(*) FROM things")
        .await;
    let code = body["exceptions"][0]["errorCode"].as_u64().unwrap();
    assert!(code == 250 || code == 400, "{body}");
    let cancelled = async {
        let listed = async || broker.get("/queries").await.json();
        while listed().await == json!({}) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let queries = listed().await;
        let (id, sql) = queries.as_object().unwrap().iter().next().unwrap();
        assert!(sql.as_str().unwrap().contains("SUM"));
        assert_eq!(
            broker.send("DELETE", "/query/9999", "", "").await.status,
            404
        );
        broker
            .send("DELETE", &format!("/query/{id}"), "", "")
            .await
            .status
    };
    let (body, status) = tokio::join!(broker.pinot("SELECT SUM(id) FROM things"), cancelled);
    assert_eq!(
        (status, &body["exceptions"][0]["errorCode"]),
        (200, &json!(503))
    );
    assert_eq!(broker.get("/queries").await.json(), json!({}));
}

#[tokio::test]
async fn a_query_waits_for_a_segment_that_is_about_to_be_held() {
    let spec = spec();
    let broker = running(&spec, vec![state(&spec, &[]), state(&spec, &["s1"])]).await;
    assert_eq!(broker.get("/ready").await.status, 503);
    let body = broker.pinot("SELECT COUNT(*) FROM things").await;
    assert_eq!(body["resultTable"]["rows"], json!([[3]]), "{body}");
    assert_eq!(broker.get("/ready").await.status, 200);
}

#[tokio::test]
async fn the_other_endpoints() {
    let broker = one_table().await;
    assert_eq!(broker.get("/health").await.body, "OK");
    assert!(
        broker
            .get("/metrics")
            .await
            .body
            .contains("tannin_broker_queries_total")
    );
    let page = broker.get("/").await;
    assert!(
        page.head.contains("text/html") && page.body.contains("<html"),
        "{page:?}"
    );
    for asset in ["/assets/app.js", "/assets/app.css"] {
        assert_eq!(broker.get(asset).await.status, 200);
    }
    // A table of one part is not divided.
    assert_eq!(broker.get("/debug/timeBoundary/things").await.status, 404);
    let routing = broker.get("/debug/routingTable/things").await.json();
    assert_eq!(routing, json!({ "things_OFFLINE": { "s1": ["things_0"] } }));
    let valid = json!({ "sql": "SELECT 1" });
    let valid = broker
        .post("/query/sql/validateSyntax", &valid)
        .await
        .json();
    assert_eq!(valid, json!({ "valid": true, "sqlType": "DQL" }));
    let invalid = json!({ "sql": "SELECT FROM" });
    let invalid = broker
        .post("/query/sql/validateSyntax", &invalid)
        .await
        .json();
    assert_eq!(
        (&invalid["valid"], &invalid["errorCode"]),
        (&json!(false), &json!(150))
    );
    let foreign = "Origin: http://evil.example\r\n";
    let sql = json!({ "sql": "SELECT 1" }).to_string();
    assert_eq!(
        broker
            .send("POST", "/query/sql", foreign, &sql)
            .await
            .status,
        403
    );
    broker.broker.stop(Duration::from_secs(5)).await;
}
