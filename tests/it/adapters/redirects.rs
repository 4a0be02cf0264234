//! No credential leaves in a request to a host other than the one that it is for: neither by a redirect nor by a proxy.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use kit::github::{Fault, TOKEN};
use kit::http::{Response, Server};
use kit::weaviate::Settings;

use crate::world::{Run, World};

/// A secret of Weaviate's that is found wherever it goes.
const KEY: &str = "SENTINEL-weaviate-key";

fn busy() -> World {
    let mut world = World::with(Settings {
        api_key: Some(KEY.to_owned()),
        ..Settings::default()
    });
    world.issue("acme/shop#12", "Working");
    world.github.close("acme/shop#12", "2026-03-01T10:00:00Z");
    world
}

fn run(world: &World) -> Run {
    Run::of(world.command(&["sync"]).env("WEAVIATE_API_KEY", KEY))
}

/// Where a redirect may lead: another port of loopback, loopback by another name, other schemes, other hosts.
fn targets(elsewhere: &Server) -> Vec<(String, &'static str)> {
    vec![
        (
            format!("{}/x?token=hunter2", elsewhere.url()),
            "leads to http://127.0.0.1, where nothing is sent",
        ),
        (
            elsewhere.url().replace("127.0.0.1", "localhost"),
            "leads to http://localhost, where nothing is sent",
        ),
        (
            "https://evil.example/hunter2".to_owned(),
            "leads to https://evil.example, where nothing is sent",
        ),
        (
            "ftp://me:hunter2@evil.example".to_owned(),
            "leads to ftp://evil.example, where nothing is sent",
        ),
        (
            "file:///etc/passwd".to_owned(),
            "leads to file://, where nothing is sent",
        ),
    ]
}

#[test]
fn a_redirect_of_github_is_refused_with_one_clear_line() {
    let elsewhere = Server::start(|_| Response::empty(200));
    for status in [301, 302, 303, 307, 308] {
        for (target, says) in targets(&elsewhere) {
            let world = busy();
            let answer = Response::empty(status).header("location", &target);
            world.github.fail_next(9, &Fault::Answer(answer));
            let run = run(&world).exits(1).logs(says).logs("check GITHUB_API_URL");
            assert!(
                !run.all().contains("hunter2") && !run.all().contains(TOKEN),
                "{}",
                run.all()
            );
        }
    }
    assert_eq!(elsewhere.log().len(), 0);
}

#[test]
fn a_redirect_of_weaviate_is_refused_with_one_clear_line() {
    let elsewhere = Server::start(|_| Response::empty(200));
    for status in [301, 302, 303, 307, 308] {
        for (target, says) in targets(&elsewhere) {
            let world = busy();
            let front = Server::start(move |_| Response::empty(status).header("location", &target));
            let mut command = world.command(&["sync"]);
            let run = Run::of(
                command
                    .env("WEAVIATE_API_KEY", KEY)
                    .env("WEAVIATE_URL", front.url()),
            );
            let run = run.exits(1).logs(says).logs("check WEAVIATE_URL");
            assert!(
                !run.all().contains("hunter2") && !run.all().contains(KEY),
                "{}",
                run.all()
            );
            assert!(
                front
                    .log()
                    .iter()
                    .any(|exchange| exchange.request.header("authorization").is_some())
            );
        }
    }
    assert_eq!(elsewhere.log().len(), 0);
}

/// With plain http a proxy would be sent the credentials; nothing is asked of it.
#[test]
fn plain_http_goes_to_no_proxy() {
    let proxy = Server::start(|_| Response::empty(200));
    let world = busy();
    let mut command = world.command(&["sync"]);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
        "https_proxy",
    ] {
        command.env(name, proxy.url());
    }
    Run::of(command.env("WEAVIATE_API_KEY", KEY)).exits(0);
    assert_eq!(proxy.log().len(), 0);
}

/// With https a proxy is asked for a tunnel, and sees the host alone.
#[test]
fn a_proxy_of_https_is_asked_for_a_tunnel_without_a_credential() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the program asks its proxy");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the end of the head");
            heard.extend(byte);
        }
        String::from_utf8(heard).unwrap()
    });
    let world = busy();
    let mut command = world.command(&["sync"]);
    command
        .env("GITHUB_API_URL", "https://github.invalid/api/v3")
        .env("WEAVIATE_API_KEY", KEY);
    let run = Run::of(command.env("HTTPS_PROXY", format!("http://{address}"))).exits(75);
    let heard = heard.join().unwrap();
    assert!(heard.starts_with("CONNECT github.invalid:443 "), "{heard}");
    assert!(
        !heard.contains(TOKEN) && !heard.to_lowercase().contains("\r\nauthorization"),
        "{heard}"
    );
    assert!(!run.all().contains(TOKEN), "{}", run.all());
}
