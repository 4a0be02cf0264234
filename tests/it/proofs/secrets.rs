//! Invariant 12 in the hardest cases: everything is logged, every command runs, and services fail. `harness.rs` also
//! searches the outputs of every run, and all tables at the end of every test.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use kit::github::{Fault, TOKEN};
use kit::http::Response;
use kit::weaviate::{self, Settings};

use crate::fixtures::WEAVIATE_KEY;
use crate::harness::{Run, World, send_signal};

/// Returns a response of GitHub that repeats the secret of the request.
fn echo(status: u16) -> Response {
    let body = format!("<html>who is Bearer {TOKEN}?</html>").into_bytes();
    Response {
        body,
        ..Response::empty(status)
    }
}

#[test]
fn no_command_shows_a_secret_even_with_everything_logged() {
    let mut world = World::with(Settings {
        api_key: Some(WEAVIATE_KEY.to_owned()),
        ..Settings::default()
    });
    for number in 1..=3 {
        world.closed_issue(&format!("acme/shop#{number}"));
    }
    let commands: &[&[&str]] = &[
        &["sync", "--recheck-now"],
        &["sync", "--dry-run", "--mapping", "1"],
        &["push-weaviate", "--mapping", "2"],
        &["retry-failed"],
        &["status"],
    ];
    let breaks: &[&dyn Fn()] = &[
        &|| {},
        &|| world.github.fail_next(1, &Fault::Answer(echo(500))),
        &|| {
            world.github.fail_next(
                1,
                &Fault::Answer(Response {
                    body: b"no answer".to_vec(),
                    ..Response::empty(401)
                }),
            )
        },
        &|| {
            world.weaviate.fail_next(
                1,
                &weaviate::Fault::Status(403, "Bearer SENTINEL-weaviate-key".to_owned()),
            )
        },
        &|| world.weaviate.fail_next(1, &weaviate::Fault::Html),
    ];
    for args in commands {
        for break_it in breaks {
            for format in [&["--output", "json"][..], &["--log-format", "json"]] {
                break_it();
                let mut command = world.command(&[args, format].concat());
                command
                    .env("RUST_LOG", "trace")
                    .env("WEAVIATE_API_KEY", WEAVIATE_KEY);
                let run = Run::of(&mut command);
                assert!([0, 1, 3, 75].contains(&run.code), "{}", run.all());
                assert!(
                    run.stderr.to_lowercase().contains("trace"),
                    "everything is logged\n{}",
                    run.all()
                );
            }
        }
    }
}

#[test]
fn a_secret_file_that_everybody_can_read_causes_a_warning_and_is_used() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    for (mode, warns) in [(0o600, false), (0o640, false), (0o644, true)] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let run = Run::of(
            world
                .command(&["sync"])
                .env_remove("GITHUB_TOKEN")
                .env("GITHUB_TOKEN_FILE", &path),
        )
        .exits(0);
        let line = "which GITHUB_TOKEN_FILE names, can be read by every user of this machine; run: chmod o= ";
        assert_eq!(run.stderr.contains(line), warns, "{mode:o}\n{}", run.all());
    }
}

#[test]
fn plain_http_to_another_host_needs_the_flag_and_causes_a_warning() {
    let world = World::new();
    let run = |allow: &[&str], variable: Option<&str>| {
        let mut command = world.command(&[&["sync", "--dry-run"], allow].concat());
        command.env("GITHUB_API_URL", "http://github.invalid/api/v3");
        variable.map(|value| command.env("AGIRA_WORKER_ALLOW_HTTP", value));
        Run::of(&mut command)
    };
    for variable in [None, Some("false")] {
        run(&[], variable)
            .exits(1)
            .logs("GITHUB_API_URL is plain http to another host")
            .logs("set --allow-http");
    }
    for (allow, variable) in [(&["--allow-http"][..], None), (&[], Some("true"))] {
        run(allow, variable)
            .exits(0)
            .logs("WARN ] GITHUB_API_URL is plain http to another host");
    }
}

/// Libraries keep copies of secrets that nobody erases, so no memory may be written to a disk.
#[test]
fn a_run_that_crashes_leaves_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let crash = Command::new("sh")
        .args(["-c", "ulimit -c unlimited; kill -s ABRT $$"])
        .current_dir(folder.path())
        .status();
    if !crash.unwrap().core_dumped() {
        eprintln!("NOT TESTED: this machine makes no core dump of anything");
    }
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let github = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = world.command(&["sync"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c unlimited; exec \"$0\" sync"])
        .arg(plain.get_program())
        .env_clear();
    command
        .envs(
            plain
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(folder.path());
    command.env(
        "GITHUB_API_URL",
        format!("http://{}", github.local_addr().unwrap()),
    );
    let mut run = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // After its request, the program waits for the response.
    let _asked = kit::wait::connection(&github);
    send_signal(run.id(), "ABRT");
    let ended = kit::wait::end(&mut run, kit::wait::SOON);
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
}
