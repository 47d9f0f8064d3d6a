//! The real binary as a newcomer meets it: what it prints, how it ends.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_tannin");
const PATIENCE: Duration = Duration::from_secs(60);
const FREE_PORTS: [&str; 7] = [
    "controller.http_port=0",
    "controller.grpc_port=0",
    "broker.http_port=0",
    "server.http_port=0",
    "server.grpc_port=0",
    "minion.http_port=0",
    "log.port=0",
];

fn tannin(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A quickstart on free ports, killed when dropped.
struct Quickstart {
    child: Child,
    folder: tempfile::TempDir,
}

impl Quickstart {
    fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args)
    }

    fn start_in(folder: tempfile::TempDir, args: &[&str]) -> Self {
        let _ = std::fs::remove_file(folder.path().join("data/ports.json"));
        let child = Command::new(BINARY)
            .arg("quickstart")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(FREE_PORTS.iter().flat_map(|setting| ["--set", setting]))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn port(&mut self, name: &str) -> String {
        let begin = Instant::now();
        loop {
            let ports = std::fs::read(self.data().join("ports.json")).unwrap_or_default();
            let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap_or_default();
            if let Some(address) = ports[name].as_str() {
                return address.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begin.elapsed() < PATIENCE,
                "no {name} in ports.json, ended: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `command` with the addresses of this node.
    fn run(&mut self, command: &[&str]) -> Output {
        let (broker, controller) = (self.port("broker_http"), self.port("controller_http"));
        let mut all = command.to_vec();
        all.extend(["--broker", &broker, "--controller", &controller]);
        tannin(&all)
    }

    /// Until `command` prints `wanted`.
    fn run_until(&mut self, command: &[&str], wanted: &str) -> String {
        let begin = Instant::now();
        loop {
            let output = self.run(command);
            if out(&output).contains(wanted) {
                return out(&output);
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{command:?} does not print `{wanted}`:\n{}{}",
                out(&output),
                err(&output)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// SIGINT, then what it printed and the folder.
    fn interrupt(mut self) -> (Output, tempfile::TempDir) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                begin.elapsed() < Duration::from_secs(15),
                "still runs after Ctrl-C"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let output = Output {
            status: self.child.wait().unwrap(),
            stdout: drain(self.child.stdout.take().unwrap()),
            stderr: drain(self.child.stderr.take().unwrap()),
        };
        (output, folder)
    }
}

fn drain(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn flights_arrive_stop_and_go_on_where_they_were() {
    let mut node = Quickstart::start(&["--events-per-second=200"]);
    let count = [
        "sql",
        "--format=csv",
        "SELECT COUNT(*) >= 336776 AS whole FROM flights",
    ];
    node.run_until(&count, "true");
    let sealed = [
        "sql",
        "--format=csv",
        "SELECT COUNT(*) > 0 AS some FROM sys.segments WHERE \"table\" = 'flights' AND status = 'DONE'",
    ];
    node.run_until(&sealed, "true");
    let answer = node.run_until(
        &[
            "sql",
            "SELECT carrier, COUNT(*) FROM flights WHERE carrier = 'HA' GROUP BY 1",
        ],
        "rows",
    );
    assert!(answer.contains("inverted(carrier)"), "{answer}");
    assert!(answer.contains("newest event"), "{answer}");
    let proof = node.run(&["prove", "flights"]);
    assert!(proof.status.success(), "{}", err(&proof));
    assert!(out(&proof).contains("proved"), "{}", out(&proof));
    let status = out(&node.run(&["table", "status", "flights"]));
    assert!(status.contains("CONSUMING"), "{status}");

    let (output, folder) = node.interrupt();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let printed = out(&output);
    for part in ["page and SQL", "ask:", "stop: Ctrl-C", "start over: rm -r"] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    assert_eq!(err(&output), "");

    let mut again = Quickstart::start_in(folder, &["--events-per-second=200"]);
    again.run_until(&count, "true");
    let lost = "SELECT SUM(lost) FROM (SELECT \"$partition\", MAX(\"$offset\") - MIN(\"$offset\") + \
                1 - COUNT(*) + COUNT(*) - COUNT(DISTINCT \"$offset\") AS lost FROM flights GROUP BY \
                1) t";
    again.run_until(&["sql", "--format=csv", lost], "\n0\n");
    let (output, _) = again.interrupt();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

/// Of fifty clicks in two partitions, before there is a table.
fn previews(log: &str, folder: &Path) {
    let base = [
        "preview", "--format", "csv", "--kafka", log, "--topic", "clicks",
    ];
    let inferred = tannin(&[&base[..], &["SELECT COUNT(*), MAX(ms) FROM clicks"]].concat());
    assert!(inferred.status.success(), "{}", err(&inferred));
    assert!(out(&inferred).contains("50,49.5"), "{}", out(&inferred));
    assert!(
        err(&inferred).contains("50 messages of `clicks`: 50 rows"),
        "{}",
        err(&inferred)
    );

    let config = serde_json::json!({
        "schema": { "schemaName": "clicks",
            "dimensionFieldSpecs": [{ "name": "path", "dataType": "STRING" },
                                    { "name": "ms", "dataType": "INT" }],
            "dateTimeFieldSpecs": [{ "name": "ts", "dataType": "TIMESTAMP", "format": "TIMESTAMP",
                                     "granularity": "1:MILLISECONDS" }] },
        "tableConfig": { "tableName": "clicks", "tableType": "REALTIME",
            "segmentsConfig": { "timeColumnName": "ts" },
            "ingestionConfig": {
                "filterConfig": { "filterFunction": "page = '/p7'" },
                "transformConfigs": [{ "columnName": "path",
                                       "transformFunction": "upper(page)" }],
                "sourceFieldConfigs": [{ "name": "ms", "dataType": "DOUBLE" }],
                "streamIngestionConfig": { "streamConfigMaps": [{
                    "streamType": "kafka", "stream.kafka.topic.name": "clicks",
                    "stream.kafka.broker.list": log }] } } },
    });
    let path = folder.join("clicks.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let configured = tannin(&[&base[..], &["--config", path]].concat());
    assert!(configured.status.success(), "{}", err(&configured));
    let told = err(&configured);
    assert!(told.contains("0 rows, 49 rejected, 1 left out"), "{told}");
    assert!(told.contains("`ms` is INT and cannot take 0.5"), "{told}");
    let other = tannin(&["preview", "--kafka", log, "--topic", "clacks"]);
    assert!(err(&other).contains("clacks"), "{}", err(&other));
}

#[test]
fn an_own_topic_in_one_command() {
    let mut node = Quickstart::start(&["--empty"]);
    let log = node.port("log");
    let create = [
        "table", "create", "clicks", "--kafka", &log, "--topic", "clicks", "--yes",
    ];
    let missing = node.run(&create);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("clicks"), "{}", err(&missing));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use stream::{KafkaProducer, KafkaSource, StreamSource};
        let source = KafkaSource::new(&log, &[], "test").unwrap();
        source.create_topic("clicks", 2).await.unwrap();
        let producer = KafkaProducer::new(&log).unwrap();
        for n in 0..50 {
            let event = format!(
                r#"{{"ts":{},"page":"/p{n}","ms":{n}.5}}"#,
                1_700_000_000_000u64 + n
            );
            let partition = Some((n % 2) as i32);
            producer
                .send("clicks", partition, None, event.as_bytes())
                .await
                .unwrap();
        }
        producer.flush(PATIENCE).await.unwrap();
    });
    previews(&log, node.folder.path());
    let created = node.run(&create);
    assert!(created.status.success(), "{}", err(&created));
    let printed = out(&created);
    for part in [
        "sampled 50 messages",
        "TIMESTAMP",
        "time column: ts",
        "answers:",
    ] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    node.run_until(
        &[
            "sql",
            "--format=csv",
            "SELECT COUNT(*), MAX(ms) FROM clicks",
        ],
        "50,49.5",
    );
    let again = node.run(&create);
    assert!(err(&again).contains("exists already"), "{}", err(&again));
    let dropped = node.run(&["table", "drop", "clicks", "--yes"]);
    assert!(dropped.status.success(), "{}", err(&dropped));
}

#[test]
fn a_file_becomes_a_table() {
    let mut node = Quickstart::start(&["--empty"]);
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("trips.csv");
    std::fs::write(&csv, "id,city,fare\n1,Zürich,10.5\n2,,7\n3,Bern,1.25\n").unwrap();
    let file = csv.to_str().unwrap();
    let imported = node.run(&["import", file]);
    assert!(imported.status.success(), "{}", err(&imported));
    assert!(
        out(&imported).contains("3 rows into trips"),
        "{}",
        out(&imported)
    );
    let answer = node.run(&["sql", "--format=json", "SELECT * FROM trips ORDER BY id"]);
    assert_eq!(
        out(&answer),
        "{\"id\":1,\"city\":\"Zürich\",\"fare\":10.5}\n{\"id\":2,\"city\":null,\"fare\":7.0}\n\
         {\"id\":3,\"city\":\"Bern\",\"fare\":1.25}\n"
    );
    // The same file again: more rows of the same table.
    assert!(node.run(&["import", file]).status.success());
    let count = node.run(&["sql", "--format=csv", "SELECT COUNT(*) AS n FROM trips"]);
    assert_eq!(out(&count), "n\n6\n");
    // And a table becomes a file.
    let sql = "SELECT * FROM trips WHERE id < 3 ORDER BY id, fare";
    for ending in ["parquet", "csv", "json"] {
        let file = folder.path().join(format!("some.{ending}"));
        let exported = node.run(&["sql", sql, "--output", file.to_str().unwrap()]);
        assert!(exported.status.success(), "{}", err(&exported));
        let statement = format!("SELECT city, fare FROM '{}'", file.display());
        let read = tannin(&["sql", "--format=csv", &statement]);
        let rows = "city,fare\nZürich,10.5\nZürich,10.5\n,7.0\n,7.0\n";
        assert_eq!(out(&read), rows, "{ending}: {}", err(&read));
    }
    let refused = node.run(&["sql", sql, "--output", "trips.xyz"]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    // A column that the table lacks would be lost.
    std::fs::write(&csv, "id,colour\n4,red\n").unwrap();
    let refused = node.run(&["import", file]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        err(&refused).contains("no column colour"),
        "{}",
        err(&refused)
    );
}

#[test]
fn folders_replace_a_table_which_is_exported_and_read_back() {
    let mut node = Quickstart::start(&["--empty"]);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    std::fs::create_dir_all(input.join("deep")).unwrap();
    std::fs::write(input.join("a.csv"), "id,city\n1,Bern\n2,\n").unwrap();
    std::fs::write(input.join("deep/b.jsonl"), "{\"id\":3}\n{\"id\":4}\n").unwrap();
    let input = input.to_str().unwrap();
    let import = ["import", input, "--table", "trips"];
    let imported = node.run(&import);
    assert!(imported.status.success(), "{}", err(&imported));
    let told = "4 rows into trips";
    assert!(out(&imported).contains(told), "{}", out(&imported));
    let made = "1 segment from 2 files";
    assert!(out(&imported).contains(made), "{}", out(&imported));
    let count = [
        "sql",
        "--format=csv",
        "SELECT COUNT(*) AS n, SUM(id) FROM trips",
    ];
    assert!(node.run(&import).status.success());
    assert!(out(&node.run(&count)).contains("8,20"));
    let replaced = node.run(&[&import[..], &["--replace"]].concat());
    assert!(replaced.status.success(), "{}", err(&replaced));
    assert!(out(&node.run(&count)).contains("4,10"));
    // A bad file: the others of its import are not seen either, and the next one goes on with them.
    let bad = format!("{input}/c.csv");
    std::fs::write(&bad, "id\nx\n").unwrap();
    let refused = node.run(&[&import[..], &["--replace"]].concat());
    assert!(err(&refused).contains("c.csv` row 1"), "{}", err(&refused));
    assert!(out(&node.run(&count)).contains("4,10"));
    std::fs::write(&bad, "id\n90\n").unwrap();
    let mended = node.run(&[&import[..], &["--replace"]].concat());
    assert!(mended.status.success(), "{}", err(&mended));
    assert!(out(&mended).contains("5 rows"), "{}", out(&mended));
    assert!(out(&node.run(&count)).contains("5,100"));

    let target = folder.path().join("out");
    let exported = node.run(&["export", "trips", "--to", target.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", err(&exported));
    assert!(
        out(&exported).contains("5 rows of trips in 1 files"),
        "{}",
        out(&exported)
    );
    let copied = node.run(&["import", target.to_str().unwrap(), "--table", "copy"]);
    assert!(copied.status.success(), "{}", err(&copied));
    let differ = "SELECT COUNT(*) AS n FROM (SELECT * FROM trips EXCEPT SELECT * FROM copy)";
    let differ = node.run(&["sql", "--format=csv", differ]);
    assert_eq!(out(&differ), "n\n0\n", "{}", err(&differ));
    let file = folder.path().join("one.parquet");
    let one = "SELECT id FROM trips WHERE id > 3";
    let exported = node.run(&["export", one, "--to", file.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", err(&exported));
    let read = format!("SELECT SUM(id) AS s FROM '{}'", file.display());
    assert_eq!(out(&tannin(&["sql", "--format=csv", &read])), "s\n94\n");
}

#[test]
fn several_values_a_row_and_uuids_come_back() {
    let mut node = Quickstart::start(&["--empty"]);
    let table = r#"{
        "schema": {"schemaName": "posts", "enableColumnBasedNullHandling": true,
            "dimensionFieldSpecs": [
                {"name": "id", "dataType": "UUID"},
                {"name": "tags", "dataType": "STRING", "singleValueField": false},
                {"name": "marks", "dataType": "INT", "singleValueField": false}]},
        "tableConfig": {"tableName": "posts", "tableType": "OFFLINE",
            "segmentsConfig": {"replication": "1"}, "tenants": {}, "metadata": {},
            "tableIndexConfig": {"nullHandlingEnabled": true, "invertedIndexColumns": ["tags"]}}}"#;
    let controller = node.port("controller_http");
    let created = post(&controller, "/v1/tables", table);
    assert!(
        created.contains(" 200 ") || created.contains(" 201 "),
        "{created}"
    );
    let file = node.folder.path().join("posts.jsonl");
    let rows = "{\"id\": \"0189D5E47CDE7A0BB2DB8F1E0F1E2D3C\", \"tags\": [\"a\", \"b\"], \
                \"marks\": 7}\n{\"tags\": [], \"marks\": [1, null, 2]}\n";
    std::fs::write(&file, rows).unwrap();
    let imported = node.run(&["import", file.to_str().unwrap()]);
    assert!(imported.status.success(), "{}", err(&imported));
    let answer = node.run(&[
        "sql",
        "--format=json",
        "SELECT * FROM posts ORDER BY $docId",
    ]);
    assert_eq!(
        out(&answer),
        "{\"id\":\"0189d5e4-7cde-7a0b-b2db-8f1e0f1e2d3c\",\"tags\":[\"a\",\"b\"],\"marks\":[7]}\n\
         {\"id\":null,\"tags\":null,\"marks\":[1,2]}\n",
        "{}",
        err(&answer)
    );
    // Pinot's door, without null handling: defaults in the place of nulls.
    let broker = node.port("broker_http");
    let query = r#"{"sql": "SELECT id, tags, marks FROM posts ORDER BY $docId"}"#;
    let answer = post(&broker, "/query/sql", query);
    for wanted in [
        r#""columnDataTypes":["UUID","STRING_ARRAY","INT_ARRAY"]"#,
        r#"["00000000-0000-0000-0000-000000000000",["null"],[1,2]]"#,
    ] {
        assert!(answer.contains(wanted), "{answer}");
    }
}

/// The whole answer to one request.
fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_segment_file_tells_what_it_holds_and_whether_it_is_whole() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/segment/testdata/v2.seg"
    );
    let whole = tannin(&["segment", "verify", file]);
    assert!(whole.status.success(), "{}", err(&whole));
    assert!(out(&whole).contains("whole: 300 rows"), "{}", out(&whole));
    let shown = out(&tannin(&["segment", "inspect", file]));
    for wanted in [
        "string_dimension",
        "dictionary u8, sorted",
        "lz4 blocks",
        "inverted",
    ] {
        assert!(shown.contains(wanted), "{wanted} is not in\n{shown}");
    }
    let json = out(&tannin(&["segment", "inspect", file, "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let columns = json["columns"].as_array().unwrap();
    let bytes: u64 = columns
        .iter()
        .map(|column| column["bytes"].as_u64().unwrap())
        .sum();
    assert!(bytes > 0 && bytes < json["bytes"].as_u64().unwrap());

    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.seg");
    let mut content = std::fs::read(file).unwrap();
    let middle = content.len() / 3;
    content[middle] ^= 1;
    std::fs::write(&damaged, content).unwrap();
    let refused = tannin(&["segment", "verify", damaged.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let told = err(&refused);
    assert!(
        told.contains("damaged.seg") && told.contains("checksum"),
        "{told}"
    );
    let missing = tannin(&["segment", "verify", "no-such.seg"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn a_file_answers_without_a_server() {
    let flights =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/examples/flights/airlines.parquet");
    let statement = format!("FROM '{}' LIMIT 2", flights.display());
    let answer = tannin(&["sql", "--format=csv", &statement]);
    assert!(answer.status.success(), "{}", err(&answer));
    assert_eq!(out(&answer).lines().count(), 3, "{}", out(&answer));
    let missing = tannin(&["sql", "FROM 'no/such.parquet'"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        err(&missing).contains("no/such.parquet"),
        "{}",
        err(&missing)
    );
}

#[test]
fn errors_point_at_the_place() {
    let mut node = Quickstart::start(&["--empty"]);
    let answer = node.run(&["sql", "SELECT 1 +\n  nonsense"]);
    assert_eq!(answer.status.code(), Some(1));
    let text = err(&answer);
    assert!(text.contains("  nonsense\n    ^"), "{text}");

    // As deep as a statement may be, and deeper.
    let chain = |terms: usize| {
        let terms: Vec<String> = (0..terms).map(|n| format!("id <> {n}")).collect();
        let terms = terms.join(" AND ");
        format!("SELECT COUNT(*) AS n FROM (VALUES (1), (5000)) AS t (id) WHERE {terms}")
    };
    let answer = node.run(&["sql", "--format=csv", &chain(2_000)]);
    assert_eq!(out(&answer), "n\n1\n", "{}", err(&answer));
    let answer = node.run(&["sql", &chain(3_000)]);
    assert!(err(&answer).contains("2000 conditions"), "{}", err(&answer));
    assert!(node.run(&["sql", "SELECT 1"]).status.success());
}

#[test]
fn a_data_dir_has_one_owner() {
    let mut node = Quickstart::start(&["--empty"]);
    node.port("broker_http");
    let data = node.data();
    let second = tannin(&[
        "quickstart",
        "--empty",
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert_eq!(second.status.code(), Some(3), "{}", err(&second));
    assert!(
        err(&second).contains("in use by another tannin"),
        "{}",
        err(&second)
    );
    let (output, folder) = node.interrupt();
    assert_eq!(output.status.code(), Some(0));

    std::fs::write(folder.path().join("data/FORMAT"), "99\n").unwrap();
    let newer = tannin(&[
        "quickstart",
        "--empty",
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert_eq!(newer.status.code(), Some(3), "{}", err(&newer));
    assert!(err(&newer).contains("format `99`"), "{}", err(&newer));
}

#[test]
fn taken_ports_are_all_named_with_a_way_out() {
    let held = [
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    ];
    let ports = held
        .each_ref()
        .map(|listener| listener.local_addr().unwrap().port());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (broker, minion) = (
        format!("broker.http_port={}", ports[0]),
        format!("minion.http_port={}", ports[1]),
    );
    let args = [
        "quickstart",
        "--data-dir",
        data.to_str().unwrap(),
        "--set",
        &broker,
        "--set",
        &minion,
    ];
    let refused = tannin(&args);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    let text = err(&refused);
    for port in ports {
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    }
    assert!(text.contains("--port-offset"), "{text}");
}

#[test]
fn settings_that_do_not_exist_are_errors() {
    let wrong = tannin(&["start", "--set", "broker.http_prot=1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        err(&wrong).contains("did you mean `http_port`"),
        "{}",
        err(&wrong)
    );
    let printed = out(&tannin(&["config", "print"]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, &printed).unwrap();
    assert!(
        tannin(&["config", "check", file.to_str().unwrap()])
            .status
            .success()
    );
    assert!(out(&tannin(&["version"])).starts_with("tannin "));
}
