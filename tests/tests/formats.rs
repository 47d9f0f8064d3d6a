//! From messages of other formats than plain JSON to answers: Avro by a registry that is away at
//! first, nested records, filters and transforms; each offset stays accounted for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use schemas::cluster::Role;
use serde_json::{Value, json};
use stream::KafkaProducer;
use tests::cluster::{Cluster, both, until};
use tests::process::number;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Zero where every offset is accounted for.
const PROOF: &str = "SELECT SUM(end_offset - start_offset - \"rows\" - rejected - filtered - absent \
                     - merged + unnested), SUM(rejected), SUM(filtered), SUM(unnested), SUM(merged) \
                     FROM sys.segments WHERE \"table\" = 'orders'";

fn orders(log: &str, columns: &Value, stream: &Value, ingestion: &Value) -> Value {
    let mut map = json!({
        "streamType": "kafka",
        "stream.kafka.topic.name": "orders",
        "stream.kafka.broker.list": log,
        "stream.kafka.consumer.prop.auto.offset.reset": "smallest",
    });
    for (key, value) in stream.as_object().into_iter().flatten() {
        map[key] = value.clone();
    }
    let mut config = ingestion.clone();
    config["streamIngestionConfig"] = json!({ "streamConfigMaps": [map] });
    json!({
        "schema": {
            "schemaName": "orders",
            "enableColumnBasedNullHandling": true,
            "dimensionFieldSpecs": columns["dimensions"],
            "metricFieldSpecs": columns["metrics"],
            "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "TIMESTAMP", "format": "TIMESTAMP",
                                     "granularity": "1:MILLISECONDS" }],
        },
        "tableConfig": {
            "tableName": "orders",
            "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts", "replication": "1" },
            "tenants": {},
            "tableIndexConfig": { "nullHandlingEnabled": true },
            "ingestionConfig": config,
            "metadata": {},
        },
    })
}

async fn send(cluster: &Cluster, messages: &[(&str, Vec<u8>)]) -> Result<()> {
    let producer = KafkaProducer::new(&cluster.log())?;
    for (key, payload) in messages {
        producer
            .send("orders", Some(0), Some(key.as_bytes()), payload)
            .await?;
    }
    producer.flush(Duration::from_secs(20)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_through_the_pipeline() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("orders", 1).await?;
        let columns = json!({ "dimensions": [
            { "name": "id", "dataType": "INT" },
            { "name": "buyer.name", "dataType": "STRING" },
            { "name": "items.sku", "dataType": "STRING" },
            { "name": "sku_upper", "dataType": "STRING" },
            { "name": "cents", "dataType": "LONG" },
            { "name": "__key", "dataType": "STRING" },
            { "name": "__metadata$offset", "dataType": "LONG" },
        ], "metrics": [] });
        let ingestion = json!({
            "complexTypeConfig": { "fieldsToUnnest": ["items"] },
            "filterConfig": { "filterFunction": "\"items.price\" < 0" },
            "transformConfigs": [
                { "columnName": "ts", "transformFunction": "fromEpochSeconds(CAST(at AS LONG))" },
                { "columnName": "sku_upper", "transformFunction": "upper(\"items.sku\")" },
                { "columnName": "cents", "transformFunction": "\"items.price\" * 100" },
            ],
        });
        let stream = json!({ "stream.kafka.metadata.populate": "true" });
        let table = orders(&cluster.log(), &columns, &stream, &ingestion);
        cluster.post("/v1/tables", &table).await?;
        let order = |id: u32, items: Value| {
            let order = json!({ "id": id, "at": 1_700_000_000 + id, "buyer": { "name": "Ann" },
                                "items": items });
            order.to_string().into_bytes()
        };
        let messages = [
            (
                "k0",
                order(
                    0,
                    json!([{ "sku": "a", "price": 1.5 }, { "sku": "b", "price": -1 }]),
                ),
            ),
            ("k1", b"no json".to_vec()),
            ("k2", order(2, json!([{ "sku": "c", "price": -3 }]))),
            (
                "k3",
                order(
                    3,
                    json!([{ "sku": "d", "price": "dear" }, { "sku": "e", "price": 2 }]),
                ),
            ),
            ("k4", order(4, json!([]))),
        ];
        send(&cluster, &messages).await?;
        let asked = "SELECT id, \"items.sku\", sku_upper, cents, __key, \"__metadata$offset\", ts, \
                     \"buyer.name\" FROM orders ORDER BY id, \"items.sku\"";
        cluster.wait_for("SELECT COUNT(*) FROM orders", 3).await?;
        let rows = cluster.sql().rows(asked).await?;
        let first = &rows[0];
        ensure!(
            number(&first[0]) == 0 && first[1] == "a" && first[2] == "A",
            "{rows:?}"
        );
        ensure!(
            number(&first[3]) == 150 && first[4] == "k0" && first[7] == "Ann",
            "{rows:?}"
        );
        ensure!(number(&rows[1][0]) == 3 && rows[1][1] == "e", "{rows:?}");
        ensure!(number(&rows[1][5]) == 3, "{rows:?}");
        ensure!(number(&rows[2][0]) == 4 && rows[2][1].is_null(), "{rows:?}");
        let proof = cluster.sql().numbers(PROOF).await?;
        ensure!(proof == [0, 2, 2, 2, 0], "{proof:?}");
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_that_cannot_run_are_refused() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("orders", 1).await?;
        let columns = json!({ "dimensions": [{ "name": "id", "dataType": "INT" }],
                              "metrics": [] });
        let transform = |text: &str| {
            json!({ "transformConfigs": [{ "columnName": "id", "transformFunction": text }] })
        };
        let cases = [
            (json!({}), transform("uper(x)"), "upper"),
            (json!({}), transform("Groovy({x.toLowerCase()}, x)"), "lower"),
            (json!({}), transform("id + 1"), "another name"),
            (json!({}), transform("count(*)"), "aggregate"),
            (json!({}), json!({ "filterConfig": { "filterFunction": "id" } }), "no condition"),
            (
                json!({ "stream.kafka.decoder.class.name": "SimpleAvroMessageDecoder",
                        "stream.kafka.decoder.prop.schema": "{\"type\":\"record\"}" }),
                json!({}),
                "schema",
            ),
        ];
        for (stream, ingestion, wanted) in cases {
            let table = orders(&cluster.log(), &columns, &stream, &ingestion);
            let refused = cluster.post("/v1/tables", &table).await;
            let Err(refused) = refused else {
                anyhow::bail!("{ingestion} {stream} was taken");
            };
            let told = format!("{refused:#}");
            ensure!(told.contains(wanted), "{told}");
        }
        cluster.stop().await;
        Ok(())
    })
    .await
}

/// Of two versions of an order: in the second the fields stand in another order.
fn schemas() -> HashMap<&'static str, Value> {
    let field = |name: &str, of: &str| json!({ "name": name, "type": of });
    let ts = json!({ "name": "ts",
                     "type": { "type": "long", "logicalType": "timestamp-millis" } });
    let record = |fields: Value| json!({ "type": "record", "name": "O", "fields": fields });
    HashMap::from([
        ("/schemas/ids/7", record(json!([field("id", "long"), ts]))),
        (
            "/schemas/ids/8",
            record(json!([field("city", "string"), field("id", "int"), ts])),
        ),
    ])
}

/// Schemas under their paths, served as soon as it is started.
async fn registry(listener: TcpListener, schemas: HashMap<&'static str, Value>) {
    let schemas = Arc::new(schemas);
    while let Ok((mut connection, _)) = listener.accept().await {
        let mut request = vec![0; 4096];
        let read = connection.read(&mut request).await.unwrap_or(0);
        let request = String::from_utf8_lossy(&request[..read]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match schemas.get(path) {
            Some(schema) => ("200 OK", json!({ "schema": schema.to_string() })),
            None => ("404 Not Found", json!({ "error_code": 40403 })),
        };
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let _closed = connection.write_all(answer.as_bytes()).await;
    }
}

fn zigzag(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn text(value: &str) -> Vec<u8> {
    [zigzag(value.len() as i64), value.as_bytes().to_vec()].concat()
}

fn framed(id: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    [vec![0], id.to_be_bytes().to_vec(), fields.concat()].concat()
}

async fn orders_are_read(cluster: &Cluster) -> Result<()> {
    cluster.wait_for("SELECT COUNT(*) FROM orders", 3).await?;
    let sql = cluster.sql();
    let rows = sql.rows("SELECT id, city FROM orders ORDER BY id").await?;
    ensure!(
        rows == [
            vec![json!(1), Value::Null],
            vec![json!(2), json!("Oslo")],
            vec![json!(6), Value::Null]
        ],
        "{rows:?}"
    );
    let reasons = "SELECT \"offset\", reason FROM sys.rejected_rows ORDER BY \"offset\"";
    let reasons = until("the rejections", || async {
        let reasons = sql.rows(reasons).await?;
        ensure!(reasons.len() == 3, "{reasons:?}");
        Ok(reasons)
    })
    .await?;
    let told: Vec<String> = reasons.iter().map(|row| row[1].to_string()).collect();
    ensure!(told[0].contains("schema 9 is unknown"), "{told:?}");
    ensure!(told[1].contains("not framed"), "{told:?}");
    ensure!(told[2].contains("left after the record"), "{told:?}");
    ensure!(sql.numbers(PROOF).await? == [0, 3, 0, 0, 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_waits_for_its_registry_and_follows_schemas() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("orders", 1).await?;
        // A port at which nobody listens yet.
        let reserved = TcpListener::bind("127.0.0.1:0").await?;
        let address = reserved.local_addr()?;
        drop(reserved);
        let columns = json!({ "dimensions": [
            { "name": "id", "dataType": "LONG" },
            { "name": "city", "dataType": "STRING" },
        ], "metrics": [] });
        let stream = json!({
            "stream.kafka.decoder.class.name": "org.apache.pinot.plugin.inputformat.avro.\
                confluent.KafkaConfluentSchemaRegistryAvroMessageDecoder",
            "stream.kafka.decoder.prop.schema.registry.rest.url": format!("http://{address}"),
        });
        let table = orders(&cluster.log(), &columns, &stream, &json!({}));
        cluster.post("/v1/tables", &table).await?;
        let messages = [
            ("", framed(7, &[zigzag(1), zigzag(1_700_000_000_000)])),
            (
                "",
                framed(8, &[text("Oslo"), zigzag(2), zigzag(1_700_000_000_001)]),
            ),
            ("", framed(9, &[zigzag(3)])),
            ("", br#"{"id": 4}"#.to_vec()),
            (
                "",
                framed(7, &[zigzag(5), zigzag(1_700_000_000_002), vec![1]]),
            ),
            ("", framed(7, &[zigzag(6), zigzag(1_700_000_000_003)])),
        ];
        send(&cluster, &messages).await?;
        until("the table says what it waits for", || async {
            let status = cluster.get("/v1/tables/orders/status").await?;
            let told = status.to_string();
            ensure!(
                told.contains("schema registry") && told.contains("ERROR"),
                "{told}"
            );
            Ok(())
        })
        .await?;
        ensure!(cluster.sql().numbers("SELECT COUNT(*) FROM orders").await? == [0]);

        let listener = TcpListener::bind(address).await?;
        let serve = registry(listener, schemas());
        tokio::select! {
            () = serve => anyhow::bail!("the registry ended"),
            checked = orders_are_read(&cluster) => checked?,
        }
        cluster.stop().await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_while_it_consumes() -> Result<()> {
    both(|cluster| async move {
        cluster.create_topic("orders", 1).await?;
        let columns = json!({ "dimensions": [{ "name": "id", "dataType": "LONG" }],
                              "metrics": [] });
        let table = orders(&cluster.log(), &columns, &json!({}), &json!({}));
        cluster.post("/v1/tables", &table).await?;
        let order = |id: u32| {
            let order = json!({ "id": id, "ts": 1_700_000_000_000u64, "city": "Oslo" });
            ("", order.to_string().into_bytes())
        };
        send(&cluster, &[order(0), order(1)]).await?;
        cluster.wait_for("SELECT COUNT(*) FROM orders", 2).await?;

        let mut schema = table["schema"].clone();
        let put = |schema: &Value| {
            let body = Some(schema.to_string());
            cluster.call(Role::Controller, Method::PUT, "/schemas/orders", body)
        };
        schema["dimensionFieldSpecs"] = json!([{ "name": "id", "dataType": "STRING" }]);
        let (status, told) = put(&schema).await?;
        ensure!(
            status == 400 && told.contains("LONG and cannot become STRING"),
            "{told}"
        );
        schema["dimensionFieldSpecs"] = json!([
            { "name": "id", "dataType": "LONG" },
            { "name": "city", "dataType": "STRING", "defaultNullValue": "nowhere" },
        ]);
        let (status, told) = put(&schema).await?;
        ensure!(status.is_success(), "{told}");
        until("new rows have the column", || async {
            send(&cluster, &[order(2)]).await?;
            let sql = "SELECT COUNT(*) FROM orders WHERE city = 'Oslo'";
            ensure!(cluster.sql().numbers(sql).await? != [0], "not yet");
            Ok(())
        })
        .await?;
        let old = "SELECT COUNT(*) FROM orders WHERE id < 2 AND city IS NULL";
        cluster.wait_for(old, 2).await?;
        let defaults = cluster
            .pinot("SELECT city FROM orders WHERE id = 0")
            .await?;
        let value = &defaults["resultTable"]["rows"][0][0];
        ensure!(value == "nowhere", "{defaults}");
        ensure!(cluster.sql().numbers(PROOF).await? == [0, 0, 0, 0, 0]);
        cluster.stop().await;
        Ok(())
    })
    .await
}

const ROLLED: &str = "SELECT SUM(n), SUM(cents), COUNT(*), DISTINCTCOUNTTHETASKETCH(thetas), \
                      DISTINCTCOUNTHLL(users), PERCENTILETDIGEST(prices, 50) FROM orders";

/// What must hold of an answer at any time; how many messages it is of, and its rows.
fn rolled_of(row: &[Value]) -> Result<(i64, i64)> {
    let (messages, rows) = (number(&row[0]), number(&row[2]));
    ensure!(number(&row[1]) == 7 * messages, "{row:?}");
    let users = messages.min(1000);
    ensure!(number(&row[3]) == users, "{row:?}");
    let (found, wanted) = (number(&row[4]) as f64, users as f64);
    ensure!((found - wanted).abs() <= 0.03 * wanted, "{row:?}");
    Ok((messages, rows))
}

/// A table whose rows are rolled up by shop and goods.
fn rolled(log: &str) -> Value {
    let columns = json!({ "dimensions": [
        { "name": "shop", "dataType": "STRING" },
        { "name": "goods", "dataType": "INT" },
    ], "metrics": [
        { "name": "n", "dataType": "LONG" },
        { "name": "cents", "dataType": "LONG" },
        { "name": "users", "dataType": "BYTES" },
        { "name": "thetas", "dataType": "BYTES" },
        { "name": "prices", "dataType": "BYTES" },
    ] });
    let rules = [
        ("n", "COUNT(*)"),
        ("cents", "SUM(price)"),
        ("users", "DISTINCTCOUNTHLL(user, 12)"),
        ("thetas", "distinctCountThetaSketch(user)"),
        ("prices", "PERCENTILETDIGEST(at)"),
    ];
    let rules = rules
        .map(|(column, function)| json!({ "columnName": column, "aggregationFunction": function }));
    let ingestion = json!({ "aggregationConfigs": rules });
    // Many times as few as there are messages, and more than there are keys.
    let stream = json!({ "realtime.segment.flush.threshold.rows": "200" });
    orders(log, &columns, &stream, &ingestion)
}

/// Rows that agree in all but metrics are one row of a sealed segment, and nearly so of a consuming
/// one; questions beside it find each message once.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_segment_are_rolled_up() -> Result<()> {
    const MESSAGES: i64 = 30_000;
    /// Of 6 shops and 10 goods.
    const KEYS: i64 = 30;
    both(|cluster| async move {
        cluster.create_topic("orders", 1).await?;
        cluster.post("/v1/tables", &rolled(&cluster.log())).await?;
        let message = |i: i64| {
            let order = json!({ "shop": format!("s{}", i % 6), "goods": i % 10, "price": 7,
                                "user": format!("u{}", i % 1000), "at": i,
                                "ts": 1_700_000_000_000_i64 });
            (0, order.to_string())
        };
        let producing = async {
            for part in 0..10 {
                let own = (part * MESSAGES / 10..(part + 1) * MESSAGES / 10).map(message);
                cluster.produce("orders", own).await?;
            }
            Ok(())
        };
        let asking = async {
            let (mut seen, mut most) = (0, 0);
            while seen < MESSAGES {
                let row = cluster.sql().rows(ROLLED).await?.remove(0);
                if row[0].is_null() || number(&row[2]) == 0 {
                    continue;
                }
                let (messages, rows) = rolled_of(&row)?;
                ensure!(messages >= seen, "{messages} after {seen}");
                (seen, most) = (messages, most.max(rows));
            }
            ensure!(most <= 400, "{most} rows");
            Ok(())
        };
        let (produced, asked): (Result<()>, Result<()>) = tokio::join!(producing, asking);
        produced.and(asked)?;
        let path = "/tables/orders_REALTIME/forceCommit";
        cluster.post(path, &json!({})).await?;
        let sealed = "SELECT COUNT(*) FROM sys.segments WHERE \"table\" = 'orders' \
                      AND status = 'DONE' AND end_offset = 30000";
        cluster.wait_for(sealed, 1).await?;
        let segments = "SELECT COUNT(*), MAX(\"rows\") FROM sys.segments \
                        WHERE \"table\" = 'orders' AND status = 'DONE'";
        let found = cluster.sql().numbers(segments).await?;
        let row = cluster.sql().rows(ROLLED).await?.remove(0);
        let (messages, rows) = rolled_of(&row)?;
        ensure!(
            messages == MESSAGES && rows <= KEYS * found[0],
            "{row:?} in {found:?}"
        );
        ensure!(found[1] <= KEYS, "{found:?}");
        let middle = row[5].as_f64().unwrap_or_default();
        ensure!((middle - 15_000.0).abs() < 600.0, "{row:?}");
        let proof = cluster.sql().numbers(PROOF).await?;
        ensure!(proof[0] == 0 && proof[4] == MESSAGES - rows, "{proof:?}");
        cluster.stop().await;
        Ok(())
    })
    .await
}
