//! https to GitHub and Weaviate with a private CA, as a GitHub Enterprise has it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use kit::github::TOKEN;
use kit::weaviate::Settings;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::world::{Run, World};

/// A certificate for `localhost`, and that of the CA that signed it.
struct Signed {
    ca: String,
    config: Arc<ServerConfig>,
}

fn signed() -> Signed {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "kit");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    Signed { ca, config: Arc::new(config) }
}

/// A TLS front of a server that speaks plain http: one request per connection, which is all that a test needs. Its
/// threads end with the process.
fn front(config: &Arc<ServerConfig>, plain: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, plain) = (config.clone(), plain.trim_start_matches("http://").trim_end_matches('/').to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, plain) = (config.clone(), plain.clone());
            // A client that refuses the certificate hangs up: that is what some tests are about.
            std::thread::spawn(move || serve(stream?, config, &plain));
        }
    });
    port
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, plain: &str) -> std::io::Result<()> {
    let mut client = StreamOwned::new(ServerConnection::new(config).map_err(std::io::Error::other)?, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    let mut server = TcpStream::connect(plain)?;
    let end = head.len() - 2;
    server.write_all(&head[..end])?;
    server.write_all(b"connection: close\r\n\r\n")?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

#[test]
fn a_private_ca_is_trusted_where_ssl_cert_file_names_it_and_nowhere_else() {
    const KEY: &str = "SENTINEL-weaviate-key";
    let mut world = World::with(Settings { api_key: Some(KEY.to_owned()), ..Settings::default() });
    let linked = world.issue("acme/shop#12", "Working");
    world.github.close("acme/shop#12", "2026-03-01T10:00:00Z");
    let Signed { ca, config } = signed();
    let (github, weaviate) = (front(&config, &world.github.url()), front(&config, &world.weaviate.url()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, &ca).unwrap();
    let other = folder.path().join("other.crt");
    std::fs::write(&other, signed().ca).unwrap();
    let run = |host: &str, file: &std::path::Path| {
        let mut command = world.command(&["sync"]);
        command.env("GITHUB_API_URL", format!("https://{host}:{github}")).env("SSL_CERT_FILE", file);
        command.env("WEAVIATE_URL", format!("https://{host}:{weaviate}")).env("WEAVIATE_API_KEY", KEY);
        Run::of(&mut command)
    };
    let before = world.github.requests().len();
    for (host, file) in [("localhost", &other), ("127.0.0.1", &file)] {
        let run = run(host, file).exits(75).logs("certificate");
        assert!(!run.all().contains(TOKEN) && !run.all().contains(KEY), "{}", run.all());
    }
    assert_eq!(world.github.requests().len(), before, "nothing is sent before the certificate was found good");
    run("localhost", &file).exits(0);
    assert_eq!(world.item_status(linked.item), "Testing");
    assert_eq!(world.weaviate.objects().len(), 2);
}

#[test]
fn a_ca_file_that_cannot_serve_is_named_without_its_content() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let broken = b"-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n";
    for (path, says) in [
        (file("garbage", b"hunter2\xff"), "holds no certificates in PEM form"),
        (file("empty", b""), "holds no certificates in PEM form"),
        (file("broken", broken), "holds no certificates in PEM form"),
        (folder.path().join("none"), "cannot read"),
        (folder.path().to_owned(), "cannot read"),
    ] {
        let run = Run::of(world.command(&["sync"]).env("SSL_CERT_FILE", &path)).exits(1);
        let run = run.logs(says).logs("SSL_CERT_FILE").logs(&path.display().to_string());
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.all());
        assert!(!run.all().contains("hunter2"), "{}", run.all());
    }
    assert_eq!(world.github.requests().len(), 0);
}
