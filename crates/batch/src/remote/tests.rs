//! Files of a host over HTTPS, with an authority of the test's own. The host is this machine, which
//! no import may ask: what judges addresses is passed by.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const CONTENT: &str = "id,name\n1,ann\n";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The address of a host that serves one file, and sends who asks for another elsewhere.
async fn start(authority: &CertifiedIssuer<'_, KeyPair>) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["files.example".to_owned()]).unwrap();
    let signed = signed.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let chain = vec![CertificateDer::from(signed.der().to_vec())];
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not trust the host hangs up.
            let _ = serve(&acceptor, stream).await;
        }
    });
    address
}

async fn serve(acceptor: &TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await?);
    }
    let asked = String::from_utf8_lossy(&asked);
    let (head, body) = match asked.contains(" /moved.csv ") {
        true => ("302 Found\r\nlocation: http://localhost:1/x.csv", ""),
        false => ("200 OK\r\netag: \"one\"", CONTENT),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    if asked.starts_with("GET") {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[tokio::test]
async fn a_host_proves_its_name_and_redirects_are_not_followed() {
    let (ours, others) = (authority(), authority());
    let address = start(&ours).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, authority) in [("ca.pem", &ours), ("other.pem", &others)] {
        std::fs::write(folder.path().join(name), authority.pem()).unwrap();
    }
    let client = |host: &str, ca: Option<&str>| {
        let url = Url::parse(&format!("https://{host}:{}/a.csv", address.port())).unwrap();
        let ca = ca.map(|name| folder.path().join(name));
        let client = client_at(&url, host, &[address], ca.as_deref());
        client.map(|client| (client, url))
    };
    let (asks, url) = client("files.example", Some("ca.pem")).unwrap();
    let source = source_of(&asks, url.clone()).await.unwrap();
    assert_eq!(
        (source.bytes, source.version.as_str()),
        (CONTENT.len() as u64, "\"one\"")
    );
    let fetched = fetch(&source, &asks, url.clone(), folder.path())
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&fetched).unwrap(), CONTENT);
    let moved = url.join("/moved.csv").unwrap();
    let told = source_of(&asks, moved).await.unwrap_err().to_string();
    assert!(told.contains("redirects are not followed"), "{told}");
    // Another authority, none, and another name.
    for (host, ca) in [
        ("files.example", Some("other.pem")),
        ("files.example", None),
        ("data.example", Some("ca.pem")),
    ] {
        let (asks, url) = client(host, ca).unwrap();
        let told = source_of(&asks, url).await.unwrap_err().to_string();
        assert!(told.contains("certificate"), "{host}: {told}");
    }
    let told = client("files.example", Some("none.pem"))
        .unwrap_err()
        .to_string();
    assert!(told.contains("import.ca_file"), "{told}");
}
