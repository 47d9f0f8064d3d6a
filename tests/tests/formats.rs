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
