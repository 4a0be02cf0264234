//! https to GitHub and Weaviate with a private CA, as a GitHub Enterprise has it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kit::github::TOKEN;
use kit::weaviate::Settings;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::fixtures::WEAVIATE_KEY;
use crate::harness::{Run, World};

/// Names of the certificates; only a proxy can resolve the last two.
const NAMES: [&str; 3] = ["localhost", "github.test", "weaviate.test"];

/// A certificate for [`NAMES`], and the certificate of the CA that signed it.
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
    let certificate = CertificateParams::new(NAMES.map(str::to_owned))
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap()
        .pem();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Signed {
        ca,
        config: Arc::new(config),
    }
}

/// Starts a TLS front of a plain http server. It serves one request per connection, which is enough here. Its threads
/// end with the process.
fn front(config: &Arc<ServerConfig>, plain: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, plain) = (
        config.clone(),
        plain
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned(),
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, plain) = (config.clone(), plain.clone());
            // A client that rejects the certificate closes the connection; some tests check exactly that.
            std::thread::spawn(move || serve(stream?, config, &plain));
        }
    });
    port
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, plain: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(kit::wait::RUN))?;
    let mut client = StreamOwned::new(
        ServerConnection::new(config).map_err(std::io::Error::other)?,
        stream,
    );
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
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
    let mut world = World::with(Settings {
        api_key: Some(WEAVIATE_KEY.to_owned()),
        ..Settings::default()
    });
    let linked = world.closed_issue("acme/shop#12");
    let Signed { ca, config } = signed();
    let (github, weaviate) = (
        front(&config, &world.github.url()),
        front(&config, &world.weaviate.url()),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, &ca).unwrap();
    let other = folder.path().join("other.crt");
    std::fs::write(&other, signed().ca).unwrap();
    let run = |host: &str, file: &std::path::Path| {
        let mut command = world.command(&["sync"]);
        command
            .env("GITHUB_API_URL", format!("https://{host}:{github}"))
            .env("SSL_CERT_FILE", file);
        command
            .env("WEAVIATE_URL", format!("https://{host}:{weaviate}"))
            .env("WEAVIATE_API_KEY", WEAVIATE_KEY);
        Run::of(&mut command)
    };
    let before = world.github.requests().len();
    for (host, file) in [("localhost", &other), ("127.0.0.1", &file)] {
        let run = run(host, file).exits(75).logs("certificate");
        let cause = match host {
            "localhost" => "name a file with that CA in SSL_CERT_FILE",
            _ => "its certificate is for another host name",
        };
        let run = run
            .logs(&format!("no answer from {host}:{github}: "))
            .logs(cause);
        assert!(
            !run.all().contains(TOKEN) && !run.all().contains(WEAVIATE_KEY),
            "{}",
            run.all()
        );
    }
    assert_eq!(
        world.github.requests().len(),
        before,
        "nothing is sent before the certificate was found good"
    );
    run("localhost", &file).exits(0);
    assert_eq!(world.item_status(linked.item), "Testing");
    assert_eq!(world.weaviate.objects().len(), 2);
}

#[test]
fn an_unusable_ca_file_is_named_without_its_content() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let broken = b"-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n";
    for (path, says) in [
        (
            file("garbage", b"hunter2\xff"),
            "holds no certificates in PEM form",
        ),
        (file("empty", b""), "holds no certificates in PEM form"),
        (file("broken", broken), "holds no certificates in PEM form"),
        (folder.path().join("none"), "cannot read"),
        (folder.path().to_owned(), "cannot read"),
    ] {
        let run = Run::of(world.command(&["sync"]).env("SSL_CERT_FILE", &path)).exits(1);
        let run = run
            .logs(says)
            .logs("SSL_CERT_FILE")
            .logs(&path.display().to_string());
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.all());
        assert!(!run.all().contains("hunter2"), "{}", run.all());
        let run = Run::of(world.command(&["status"]).env("SSL_CERT_FILE", &path)).exits(1);
        run.logs(says)
            .logs("SSL_CERT_FILE")
            .logs(&path.display().to_string());
    }
    assert_eq!(world.github.requests().len(), 0);
}

/// The requests that a proxy received, and every byte that passed through its tunnels.
#[derive(Default)]
struct Heard {
    heads: Vec<String>,
    carried: Vec<u8>,
}

/// Starts a proxy that opens tunnels to the ports in `ports` and records everything that it can read. Its threads end
/// with the process.
fn proxy(ports: &[(&'static str, u16)], refuses: Option<&'static str>) -> (u16, Arc<Mutex<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, ports) = (Arc::<Mutex<Heard>>::default(), ports.to_vec());
    let shared = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (heard, ports) = (shared.clone(), ports.clone());
            std::thread::spawn(move || carry(stream?, &heard, &ports, refuses));
        }
    });
    (port, heard)
}

fn carry(
    mut client: TcpStream,
    heard: &Arc<Mutex<Heard>>,
    ports: &[(&str, u16)],
    refuses: Option<&str>,
) -> std::io::Result<()> {
    client.set_read_timeout(Some(kit::wait::RUN))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let port = ports
        .iter()
        .find(|(name, _)| head.starts_with(&format!("CONNECT {name}:443 ")))
        .map(|(_, port)| *port);
    heard.lock().unwrap().heads.push(head);
    if let Some(refusal) = refuses {
        return client.write_all(refusal.as_bytes());
    }
    let mut server = TcpStream::connect(("127.0.0.1", port.expect("a known name")))?;
    server.set_read_timeout(Some(kit::wait::RUN))?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let copied = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Both);
        copied
    });
    let mut buffer = [0; 4096];
    loop {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return server.shutdown(std::net::Shutdown::Write);
        }
        heard.lock().unwrap().carried.extend(&buffer[..read]);
        server.write_all(&buffer[..read])?;
    }
}

/// World with work to do, behind TLS fronts whose names only a proxy can resolve.
struct Behind {
    world: World,
    fronts: [(&'static str, u16); 2],
    ca: tempfile::NamedTempFile,
}

fn behind() -> Behind {
    let mut world = World::with(Settings {
        api_key: Some(WEAVIATE_KEY.to_owned()),
        ..Settings::default()
    });
    world.closed_issue("acme/shop#12");
    let Signed { ca, config } = signed();
    let fronts = [
        ("github.test", front(&config, &world.github.url())),
        ("weaviate.test", front(&config, &world.weaviate.url())),
    ];
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ca.as_bytes()).unwrap();
    Behind {
        world,
        fronts,
        ca: file,
    }
}

impl Behind {
    fn command(&self) -> std::process::Command {
        let mut command = self.world.command(&["sync"]);
        command
            .env("GITHUB_API_URL", "https://github.test")
            .env("WEAVIATE_URL", "https://weaviate.test");
        command
            .env("WEAVIATE_API_KEY", WEAVIATE_KEY)
            .env("SSL_CERT_FILE", self.ca.path())
            .env("RUST_LOG", "trace");
        command
    }
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

#[test]
fn a_proxy_transports_everything_and_can_read_nothing() {
    let behind = behind();
    let (port, heard) = proxy(&behind.fronts, None);
    let url = format!("http://somebody:hunter2@127.0.0.1:{port}");
    let run = Run::of(behind.command().env("HTTPS_PROXY", url)).exits(0);
    assert_eq!(behind.world.weaviate.objects().len(), 2);
    let heard = heard.lock().unwrap();
    for name in ["github.test", "weaviate.test"] {
        assert!(
            heard
                .heads
                .iter()
                .any(|head| head.starts_with(&format!("CONNECT {name}:443 "))),
            "{:?}",
            heard.heads
        );
    }
    assert!(
        heard.carried.len() > 1000,
        "{} bytes went through",
        heard.carried.len()
    );
    let heads = heard.heads.concat().into_bytes();
    for secret in [TOKEN, WEAVIATE_KEY] {
        assert!(
            !contains(&heads, secret) && !contains(&heard.carried, secret),
            "the proxy can read a secret"
        );
    }
    // Only the proxy gets its password; services and log do not.
    assert!(heard.heads.iter().all(|head| {
        head.to_lowercase()
            .contains("\r\nproxy-authorization: basic ")
    }));
    assert!(
        !run.all().contains("hunter2") && !run.all().contains("c29tZWJvZHk6aHVudGVyMg"),
        "{}",
        run.all()
    );
    let requests = [
        behind.world.github.requests(),
        behind.world.weaviate.requests(),
    ];
    assert!(
        requests
            .iter()
            .flatten()
            .all(|exchange| exchange.request.header("proxy-authorization").is_none())
    );
    // Neither service gets the credential of the other one.
    for (requests, own, others) in [
        (&requests[0], TOKEN, WEAVIATE_KEY),
        (&requests[1], WEAVIATE_KEY, TOKEN),
    ] {
        for exchange in requests {
            let headers = format!("{:?}", exchange.request.headers);
            assert!(headers.contains(own) && !headers.contains(others));
            assert!(!contains(&exchange.request.body, others));
        }
    }
}

#[test]
fn a_proxy_that_refuses_the_tunnel_gets_nothing_else() {
    let behind = behind();
    for refusal in [
        "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "garbage\r\n\r\n",
    ] {
        let (port, heard) = proxy(&behind.fronts, Some(refusal));
        let run = Run::of(
            behind
                .command()
                .env("HTTPS_PROXY", format!("http://127.0.0.1:{port}")),
        )
        .exits(75);
        assert!(
            run.stderr.contains("GitHub: not available"),
            "{}",
            run.all()
        );
        let heard = heard.lock().unwrap();
        assert!(
            !heard.heads.is_empty()
                && heard
                    .heads
                    .iter()
                    .all(|head| head.starts_with("CONNECT github.test:443 "))
        );
        let heads = heard.heads.concat().into_bytes();
        assert!(!contains(&heads, TOKEN) && !contains(&heads, WEAVIATE_KEY));
    }
    assert_eq!(
        behind.world.github.requests().len() + behind.world.weaviate.requests().len(),
        0
    );
}

#[test]
fn no_proxy_lists_the_hosts_that_are_reached_directly() {
    let behind = behind();
    let (port, heard) = proxy(&behind.fronts, None);
    let [(_, github), (_, weaviate)] = behind.fronts;
    let mut command = behind.command();
    command.env("GITHUB_API_URL", format!("https://localhost:{github}"));
    command
        .env("HTTPS_PROXY", format!("http://127.0.0.1:{port}"))
        .env("NO_PROXY", "other.test,localhost");
    Run::of(&mut command).exits(0);
    let heads = std::mem::take(&mut heard.lock().unwrap().heads);
    assert!(
        !heads.is_empty()
            && heads
                .iter()
                .all(|head| head.starts_with("CONNECT weaviate.test:443 ")),
        "{heads:?}"
    );
    command.env("WEAVIATE_URL", format!("https://localhost:{weaviate}"));
    Run::of(&mut command).exits(0);
    assert_eq!(heard.lock().unwrap().heads.len(), 0);
}

/// As with an address that begins with https where the server has no TLS.
#[test]
fn a_server_without_tls_is_named_as_such() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let mut command = world.command(&["status", "--services"]);
    let github = format!("https://127.0.0.1:{port}");
    let run = Run::of(command.env("GITHUB_API_URL", github)).exits(75);
    run.prints("it seems to speak no TLS: write http:// instead of https://");
}
