//! Registries over https, with an authority of the test's own.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

struct World {
    folder: tempfile::TempDir,
    url: String,
}

impl World {
    fn file(&self, name: &str) -> Option<String> {
        Some(self.folder.path().join(name).display().to_string())
    }
}

/// Writes `<name>.pem` and `<name>.key`.
fn issue(authority: &CertifiedIssuer<'_, KeyPair>, folder: &Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let signed = CertificateParams::new(names).unwrap();
    let signed = signed.signed_by(&key, authority).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), signed.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A registry that answers each request with a schema in which its `Authorization` stands, or sends
/// the asker elsewhere. It wants to know who asks where `wants_clients`.
async fn start(wants_clients: bool) -> World {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (authority(), authority());
    for (issuer, name) in [(&ours, "node"), (&ours, "client"), (&others, "stranger")] {
        issue(issuer, folder.path(), name);
    }
    std::fs::write(folder.path().join("ca.pem"), ours.pem()).unwrap();
    std::fs::write(folder.path().join("other.pem"), others.pem()).unwrap();
    let read = |name: &str| folder.path().join(name);
    let certificate = CertificateDer::from_pem_file(read("node.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(read("node.key")).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&ring));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match wants_clients {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(read("ca.pem")).unwrap())
                .unwrap();
            let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring);
            builder.with_client_cert_verifier(judge.build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 1024];
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => asked.extend_from_slice(&piece[..read]),
                }
            }
            let answer = answer(&String::from_utf8_lossy(&asked));
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    World {
        folder,
        url: format!("https://localhost:{port}"),
    }
}

fn answer(asked: &str) -> String {
    if asked.contains("/ids/7 ") {
        return "HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\ncontent-length: 0\r\n\
                connection: close\r\n\r\n"
            .to_owned();
    }
    let mut lines = asked.lines();
    let said = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then_some(value)
    });
    let body = format!("{{\"schema\": \"{}\"}}", said.unwrap_or("nobody"));
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

fn spec(world: &World, tls: RegistryTls) -> RegistrySpec {
    RegistrySpec {
        url: world.url.clone(),
        user_info: None,
        token: None,
        tls,
    }
}

/// What the registry saw of who asks.
async fn asked(spec: &RegistrySpec, known: &Credentials) -> Result<String, Fault> {
    let schema = Registry::new(spec, known)?.schema(1).await?;
    Ok(schema.unwrap().texts[0].1.clone())
}

#[tokio::test]
async fn a_registry_proves_its_name_by_the_authority_that_is_named() {
    let world = start(false).await;
    let ca = |name: &str| RegistryTls {
        ca_file: world.file(name),
        ..RegistryTls::default()
    };
    let none = Credentials::default();
    assert_eq!(
        asked(&spec(&world, ca("ca.pem")), &none).await.unwrap(),
        "nobody"
    );
    for tls in [RegistryTls::default(), ca("other.pem")] {
        let told = asked(&spec(&world, tls), &none).await.unwrap_err();
        assert!(told.message.contains("does not answer"), "{told}");
        assert!(told.message.contains("certificate"), "{told}");
    }
    for (name, what) in [("none.pem", "No such file"), ("node.key", "no certificate")] {
        let told = asked(&spec(&world, ca(name)), &none).await.unwrap_err();
        assert!(
            told.message.contains(what) && told.message.contains(name),
            "{told}"
        );
    }
    let registry = Registry::new(&spec(&world, ca("ca.pem")), &none).unwrap();
    let told = registry.schema(7).await.unwrap_err();
    assert!(told.message.contains("302"), "it is not followed: {told}");
}

#[tokio::test]
async fn secrets_come_from_the_table_or_from_the_machine() {
    let world = start(false).await;
    let of_table = spec(
        &world,
        RegistryTls {
            ca_file: world.file("ca.pem"),
            ..RegistryTls::default()
        },
    );
    let text = format!("{} bearer from-the-machine", world.url);
    let known = Credentials::parse(&text).unwrap();
    assert_eq!(
        asked(&of_table, &known).await.unwrap(),
        "Bearer from-the-machine"
    );
    let elsewhere = Credentials::parse("https://elsewhere bearer x").unwrap();
    assert_eq!(asked(&of_table, &elsewhere).await.unwrap(), "nobody");
    let basic = RegistrySpec {
        user_info: Some("ann:secret".to_owned()),
        ..of_table.clone()
    };
    assert_eq!(
        asked(&basic, &known).await.unwrap(),
        "Basic YW5uOnNlY3JldA=="
    );
    let bearer = RegistrySpec {
        token: Some("from-the-table".to_owned()),
        ..of_table
    };
    assert_eq!(
        asked(&bearer, &known).await.unwrap(),
        "Bearer from-the-table"
    );
    for shown in [format!("{basic:?}"), format!("{bearer:?}")] {
        assert!(
            !shown.contains("secret") && !shown.contains("from-the"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn who_asks_proves_it_by_a_certificate() {
    let world = start(true).await;
    let tls = |name: &str| RegistryTls {
        ca_file: world.file("ca.pem"),
        certificate_file: world.file(&format!("{name}.pem")),
        key_file: world.file(&format!("{name}.key")),
    };
    let none = Credentials::default();
    assert_eq!(
        asked(&spec(&world, tls("client")), &none).await.unwrap(),
        "nobody"
    );
    asked(&spec(&world, tls("stranger")), &none)
        .await
        .unwrap_err();
    let unknown = RegistryTls {
        certificate_file: None,
        key_file: None,
        ..tls("client")
    };
    asked(&spec(&world, unknown), &none).await.unwrap_err();
    let without_key = RegistryTls {
        key_file: None,
        ..tls("client")
    };
    let told = asked(&spec(&world, without_key), &none).await.unwrap_err();
    assert!(told.message.contains("client.pem"), "{told}");
}
