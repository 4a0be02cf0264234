//! No credential is sent to another host than its own, neither by a redirect nor by a proxy.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use kit::github::{Fault, TOKEN};
use kit::http::{Response, Server};

use crate::fixtures::{WEAVIATE_KEY, one_closed_issue_with_key};
use crate::harness::{Run, World};

fn run(world: &World) -> Run {
    Run::of(
        world
            .command(&["sync"])
            .env("WEAVIATE_API_KEY", WEAVIATE_KEY),
    )
}

/// Targets of redirects: another port of loopback, loopback by another name, other schemes, other hosts.
fn targets(elsewhere: &Server) -> Vec<(String, &'static str)> {
    vec![
        (
            format!("{}/x?token=hunter2", elsewhere.url()),
            "redirects to http://127.0.0.1, which is not followed",
        ),
        (
            elsewhere.url().replace("127.0.0.1", "localhost"),
            "redirects to http://localhost, which is not followed",
        ),
        (
            "https://evil.example/hunter2".to_owned(),
            "redirects to https://evil.example, which is not followed",
        ),
        (
            "ftp://me:hunter2@evil.example".to_owned(),
            "redirects to ftp://evil.example, which is not followed",
        ),
        (
            "file:///etc/passwd".to_owned(),
            "redirects to file://, which is not followed",
        ),
    ]
}

#[test]
fn a_redirect_of_github_is_refused_with_one_clear_line() {
    let elsewhere = Server::start(|_| Response::empty(200));
    for status in [301, 302, 303, 307, 308] {
        for (target, says) in targets(&elsewhere) {
            let world = one_closed_issue_with_key(Some(WEAVIATE_KEY));
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
            let world = one_closed_issue_with_key(Some(WEAVIATE_KEY));
            let front = Server::start(move |_| Response::empty(status).header("location", &target));
            let mut command = world.command(&["sync"]);
            let run = Run::of(
                command
                    .env("WEAVIATE_API_KEY", WEAVIATE_KEY)
                    .env("WEAVIATE_URL", front.url()),
            );
            let run = run.exits(1).logs(says).logs("check WEAVIATE_URL");
            assert!(
                !run.all().contains("hunter2") && !run.all().contains(WEAVIATE_KEY),
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

/// With plain http, a proxy would receive the credentials, so the program does not use it.
#[test]
fn plain_http_does_not_use_a_proxy() {
    let proxy = Server::start(|_| Response::empty(200));
    let world = one_closed_issue_with_key(Some(WEAVIATE_KEY));
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
    Run::of(command.env("WEAVIATE_API_KEY", WEAVIATE_KEY)).exits(0);
    assert_eq!(proxy.log().len(), 0);
}

/// With https, the program asks a proxy only for a tunnel, and the proxy learns only the host.
#[test]
fn an_https_proxy_gets_no_credential_in_the_tunnel_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        let mut stream = kit::wait::connection(&listener);
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
    let world = one_closed_issue_with_key(Some(WEAVIATE_KEY));
    let mut command = world.command(&["sync"]);
    command
        .env("GITHUB_API_URL", "https://github.invalid/api/v3")
        .env("WEAVIATE_API_KEY", WEAVIATE_KEY);
    let run = Run::of(command.env("HTTPS_PROXY", format!("http://{address}"))).exits(75);
    let heard = heard.join().unwrap();
    assert!(heard.starts_with("CONNECT github.invalid:443 "), "{heard}");
    assert!(
        !heard.contains(TOKEN) && !heard.to_lowercase().contains("\r\nauthorization"),
        "{heard}"
    );
    assert!(!run.all().contains(TOKEN), "{}", run.all());
}
