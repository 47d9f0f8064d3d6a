//! Handshakes, reload, mutual proof, and files that are wrong.

use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// 2026-06-01.
const NOW_MS: i64 = 1_780_272_000_000;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate that ends with the year, and its key.
    fn issue(&self, dir: &Path, until_year: i32) -> TlsFiles {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let files = TlsFiles {
            certificate: dir.join("node.pem"),
            key: dir.join("node.key"),
            ca: Some(dir.join("ca.pem")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::write(files.ca.as_ref().unwrap(), self.0.pem()).unwrap();
        files
    }
}

/// Answers every connection with what it was asked, once.
async fn echo(tls: &Tls, protocol: Protocol) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut incoming = Incoming::new(listener, Some(tls), protocol);
    let task = async move {
        loop {
            let mut connection = incoming.next().await;
            let mut word = [0; 4];
            if connection.read_exact(&mut word).await.is_ok() {
                connection.write_all(&word).await.unwrap();
                connection.flush().await.unwrap();
            }
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a test")]
    (address, tokio::spawn(task))
}

/// The serial number of the certificate that was shown.
async fn ask(tls: &Tls, address: &str) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = tls.connect(address, stream).await?;
    stream.write_all(b"ping").await?;
    let mut word = [0; 4];
    stream.read_exact(&mut word).await?;
    assert_eq!(&word, b"ping");
    let (_, session) = stream.get_ref();
    Ok(session.peer_certificates().unwrap()[0].to_vec())
}

#[tokio::test]
async fn nodes_of_one_authority_speak_and_others_do_not() {
    let (dir, foreign_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let tls = Tls::load(Authority::new().issue(dir.path(), 2030), NOW_MS).unwrap();
    let (address, _server) = echo(&tls, Protocol::Grpc).await;
    ask(&tls, &address).await.unwrap();

    // It trusts the authority of the cluster, but has a certificate of another one.
    let foreign = Authority::new().issue(foreign_dir.path(), 2030);
    let foreign = TlsFiles {
        ca: Some(dir.path().join("ca.pem")),
        ..foreign
    };
    let foreign = Tls::load(foreign, NOW_MS).unwrap();
    ask(&foreign, &address).await.unwrap_err();
    // It has none.
    let none = TlsConnector::from(Arc::new(
        client_config(Some(&dir.path().join("ca.pem"))).unwrap(),
    ));
    let stream = TcpStream::connect(&address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = none.connect(name, stream).await.unwrap();
    let _sent = stream.write_all(b"ping").await;
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap_err();
    // And the cluster's own still speak.
    ask(&tls, &address).await.unwrap();
}

#[tokio::test]
async fn new_connections_have_the_new_certificate() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let files = authority.issue(dir.path(), 2030);
    let tls = Tls::load(files.clone(), NOW_MS).unwrap();
    let (address, _server) = echo(&tls, Protocol::Http).await;
    let first = ask_http(&tls, &address).await;
    tls.look(NOW_MS);
    assert_eq!(ask_http(&tls, &address).await, first);
    authority.issue(dir.path(), 2031);
    tls.look(NOW_MS);
    let second = ask_http(&tls, &address).await;
    assert_ne!(second, first);
    assert_eq!(tls.version(), 2);

    std::fs::write(&files.key, "no key").unwrap();
    tls.look(NOW_MS);
    assert_eq!(ask_http(&tls, &address).await, second);
    assert_eq!(tls.version(), 2);
}

/// As HTTP clients do, without a certificate of their own.
async fn ask_http(tls: &Tls, address: &str) -> Vec<u8> {
    let ca = tls.0.files.ca.clone();
    let config = client_config(ca.as_deref()).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let mut stream = stream.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_silent_peer_holds_up_nobody() {
    let dir = TempDir::new().unwrap();
    let tls = Tls::load(Authority::new().issue(dir.path(), 2030), NOW_MS).unwrap();
    let (address, _server) = echo(&tls, Protocol::Http).await;
    let silent = TcpStream::connect(&address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    ask_http(&tls, &address).await;
    drop(silent);
}

#[test]
fn what_is_wrong_with_files_is_told() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let refused = |files: &TlsFiles| match Tls::load(files.clone(), NOW_MS) {
        Ok(_) => panic!("{files:?}"),
        Err(AccessError(why)) => why,
    };
    let expired = authority.issue(dir.path(), 2026);
    assert!(refused(&expired).contains("node.pem` has expired on 2026-01-01"));
    let good = authority.issue(dir.path(), 2030);
    let early = Tls::load(good.clone(), 0);
    assert!(
        early
            .unwrap_err()
            .0
            .contains("does not count before 2020-01-01")
    );
    let missing = TlsFiles {
        key: dir.path().join("nothing"),
        ..good.clone()
    };
    assert!(refused(&missing).contains("nothing` cannot be read: No such file"));
    let swapped = TlsFiles {
        key: good.certificate.clone(),
        ..good.clone()
    };
    assert!(refused(&swapped).contains("holds no private key"));
    let swapped = TlsFiles {
        certificate: good.key.clone(),
        ..good.clone()
    };
    assert!(refused(&swapped).contains("holds no certificate"));
    std::fs::write(&good.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(refused(&good).contains("is not that of the certificate"));
    let good = authority.issue(dir.path(), 2030);
    std::fs::write(good.ca.as_ref().unwrap(), "").unwrap();
    assert!(refused(&good).contains("authority's certificate"));
}
