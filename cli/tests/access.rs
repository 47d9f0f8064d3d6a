//! A node that wants to know who asks, by the real binary: what it refuses to start with, and how
//! commands say who they are.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_tannin");
const PATIENCE: Duration = Duration::from_secs(60);

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args);
    for name in ["USER", "PASSWORD", "TOKEN", "CA_FILE"] {
        command.env_remove(format!("TANNIN_{name}"));
    }
    command
}

fn tannin(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn hash_of(password: &str) -> String {
    let mut child = command(&["access", "password"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = format!("{password}\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
    out(&child.wait_with_output().unwrap()).trim().to_owned()
}

/// Writes a file of principals, certificates and a token of the cluster.
fn write(folder: &Path) -> String {
    let printed = out(&tannin(&["access", "token"]));
    let (token, hash) = printed.trim().split_once('\n').unwrap();
    let principals = format!(
        "[principals.ann]\npassword = '{}'\ntables = {{ '*' = ['*'] }}\n\
         [principals.robot]\ntoken = '{hash}'\n",
        hash_of("secret")
    );
    std::fs::write(folder.join("principals.toml"), principals).unwrap();
    std::fs::write(folder.join("token"), format!("{token}\n")).unwrap();
    std::fs::write(folder.join("password"), "secret\n").unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    std::fs::write(folder.join("node.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("node.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    token.to_owned()
}

struct Node {
    child: Child,
    folder: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PORTS: [&str; 7] = [
    "controller.http_port=0",
    "controller.grpc_port=0",
    "broker.http_port=0",
    "server.http_port=0",
    "server.grpc_port=0",
    "minion.http_port=0",
    "log.port=0",
];

/// `section.key=value`, with paths below the folder.
fn start(folder: &Path, settings: &[&str]) -> Command {
    let mut command = command(&["start"]);
    let data = format!("node.data_dir={}", folder.join("data").display());
    let named = settings
        .iter()
        .map(|setting| match setting.split_once("_file=") {
            Some((name, file)) => format!("{name}_file={}", folder.join(file).display()),
            None => (*setting).to_owned(),
        });
    let all = PORTS
        .map(str::to_owned)
        .into_iter()
        .chain([data])
        .chain(named);
    command.args(all.flat_map(|setting| ["--set".to_owned(), setting]));
    command
}

const GUARDED: [&str; 4] = [
    "security.principals_file=principals.toml",
    "security.certificate_file=node.pem",
    "security.key_file=node.key",
    "security.ca_file=ca.pem",
];

impl Node {
    fn start() -> (Self, String) {
        let folder = tempfile::tempdir().unwrap();
        let token = write(folder.path());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = start(folder.path(), &GUARDED)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        (Self { child, folder }, token)
    }

    fn addresses(&mut self) -> (String, String) {
        let begin = Instant::now();
        loop {
            let ports = std::fs::read(self.folder.path().join("data/ports.json"));
            let ports = ports.unwrap_or_default();
            let ports: serde_json::Value = serde_json::from_slice(&ports).unwrap_or_default();
            if let (Some(broker), Some(controller)) = (
                ports["broker_http"].as_str(),
                ports["controller_http"].as_str(),
            ) {
                return (broker.to_owned(), controller.to_owned());
            }
            let log = std::fs::read_to_string(self.folder.path().join("log"));
            assert!(begin.elapsed() < PATIENCE, "no ports: {log:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&mut self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let (broker, controller) = self.addresses();
        let mut command = command(args);
        command.args(["--broker", &broker, "--controller", &controller]);
        command.envs(variables.iter().copied());
        command.output().unwrap()
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one node is started for all of it")]
fn commands_say_who_they_are() {
    let (mut node, token) = Node::start();
    let (ca, password, token_file) = (
        node.file("ca.pem"),
        node.file("password"),
        node.file("token"),
    );
    let ask = ["sql", "--format=csv", "SELECT 1 AS one"];
    let begin = Instant::now();
    let ann = [
        ("TANNIN_USER", "ann"),
        ("TANNIN_PASSWORD", "secret"),
        ("TANNIN_CA_FILE", &*ca),
    ];
    loop {
        let answer = node.run(&ask, &ann);
        if out(&answer) == "one\n1\n" {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{}", err(&answer));
        std::thread::sleep(Duration::from_millis(50));
    }
    let with = |more: &[&str]| -> Vec<String> {
        let all = ask.iter().chain(more);
        all.map(|word| (*word).to_owned()).collect()
    };
    let good = [
        with(&[
            "--ca-file",
            &ca,
            "--user",
            "ann",
            "--password-file",
            &password,
        ]),
        with(&["--ca-file", &ca, "--token-file", &token_file]),
    ];
    for args in good {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let answer = node.run(&args, &[]);
        assert_eq!(out(&answer), "one\n1\n", "{}", err(&answer));
    }
    let by_token = node.run(&ask, &[("TANNIN_TOKEN", &token), ("TANNIN_CA_FILE", &ca)]);
    assert_eq!(out(&by_token), "one\n1\n", "{}", err(&by_token));

    let list = ["table", "list"];
    assert!(node.run(&list, &ann).status.success());
    let bad: [(&[(&str, &str)], &str); 5] = [
        (
            &[("TANNIN_CA_FILE", &ca)],
            "(401): name yourself with --user",
        ),
        (
            &[
                ("TANNIN_CA_FILE", &ca),
                ("TANNIN_USER", "ann"),
                ("TANNIN_PASSWORD", "x"),
            ],
            "name or password is wrong",
        ),
        (
            &[("TANNIN_CA_FILE", &ca), ("TANNIN_USER", "ann")],
            "`ann` has no password",
        ),
        (
            &[("TANNIN_CA_FILE", &ca), ("TANNIN_PASSWORD", "x")],
            "whose password is it",
        ),
        (&[], "did not answer"),
    ];
    for (variables, wanted) in bad {
        let answer = node.run(&ask, variables);
        assert!(!answer.status.success());
        let said = err(&answer);
        assert!(said.contains(wanted), "{variables:?}: {said}");
    }
    let untrusted = with(&["--tls"]);
    let untrusted: Vec<&str> = untrusted.iter().map(String::as_str).collect();
    let answer = node.run(&untrusted, &[]);
    assert!(
        err(&answer).contains("no TLS with the broker"),
        "{}",
        err(&answer)
    );
    let log = std::fs::read_to_string(node.folder.path().join("log")).unwrap();
    assert!(!log.contains("secret") && !log.contains(&token), "{log}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one node is started for all of it")]
fn a_node_does_not_start_half_open() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file(
        "wrong.toml",
        "[principals.ann]\n\npassword = 'very secret'\n",
    );
    file("other.key", &KeyPair::generate().unwrap().serialize_pem());
    file("short", "short");
    let beyond = "node.host=0.0.0.0";
    let principals = GUARDED[0];
    let all: [(&[&str], &str); 9] = [
        (
            &[beyond],
            "beyond loopback, and its HTTP would answer everybody",
        ),
        (&[beyond, principals], "its gRPC would answer everybody"),
        (
            &[beyond, principals, "security.cluster_token_file=token"],
            "the built-in log answers everybody",
        ),
        (
            &["security.principals_file=wrong.toml"],
            "wrong.toml:3: `password` of `ann` is not",
        ),
        (
            &["security.principals_file=nothing.toml"],
            "nothing.toml` cannot be read",
        ),
        (&["security.certificate_file=node.pem"], "go together"),
        (
            &[
                "security.certificate_file=node.pem",
                "security.key_file=other.key",
            ],
            "is not that of the certificate",
        ),
        (
            &[
                "security.certificate_file=token",
                "security.key_file=node.key",
            ],
            "holds no certificate in PEM",
        ),
        (&["security.cluster_token_file=short"], "is not 16 or more"),
    ];
    for (settings, wanted) in all {
        let refused = start(folder.path(), settings).output().unwrap();
        let said = err(&refused);
        assert_eq!(refused.status.code(), Some(2), "{settings:?}: {said}");
        assert!(said.contains(wanted), "{settings:?}: {said}");
        assert!(!said.contains("very secret"), "{said}");
    }
    for (setting, wanted) in [
        ("node.host=0.0.0.0", "listens on loopback alone"),
        (
            "security.principals_file=p",
            "lets in everybody of this machine",
        ),
    ] {
        let data = folder.path().join("data").display().to_string();
        let refused = tannin(&["quickstart", "--data-dir", &data, "--set", setting]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(err(&refused).contains(wanted), "{}", err(&refused));
    }
    let good: PathBuf = folder.path().join("principals.toml");
    let checked = tannin(&["access", "check", good.to_str().unwrap()]);
    assert!(out(&checked).contains("2 principals"), "{}", out(&checked));
    let wrong = folder.path().join("wrong.toml");
    let checked = tannin(&["access", "check", wrong.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(err(&checked).contains("wrong.toml:3:"), "{}", err(&checked));
}
