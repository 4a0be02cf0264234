//! Whole runs in a hostile world: every text on GitHub, in Agira and in Weaviate is untrusted.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, GithubPr, Item};
use fastrand::Rng;
use kit::agira::{self, NewItem};
use kit::http::{Request, Response, Server};
use serde_json::{Value, json};

use super::generator::{long_text, text, texts};
use super::{check_json, check_log, check_printable};
use crate::fixtures::CLOSED_AT;
use crate::harness::{Linked, Run, World, split, uuid};

const ISSUES: i32 = 120;
const SEED: u64 = 88;

/// Expected objects of one issue and of its pull request.
struct Written {
    linked: Linked,
    title: String,
    text: String,
    pull_request: String,
    pull_requests_title: String,
    pull_requests_text: String,
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// Returns the text of an object that has these lists of files, commits or both.
fn object_text(
    state: &str,
    content: [&str; 2],
    lists: &[(&str, &[String])],
    labels: &[String],
) -> String {
    let [title, body] = content.map(without_nul);
    let body: String = body.chars().take(24_000).collect();
    let contents: Vec<String> = [title, body]
        .into_iter()
        .filter(|one| !one.is_empty())
        .collect();
    let mut parts = vec![contents.join("\n\n")];
    for (heading, entries) in lists.iter().filter(|(_, entries)| !entries.is_empty()) {
        let lines = entries
            .iter()
            .map(|entry| format!("- {}", without_nul(entry)));
        let lines: Vec<String> = lines.collect();
        parts.push(format!("\n\n{heading}:\n{}", lines.join("\n")));
    }
    if !labels.is_empty() {
        parts.push(format!("\n\nLabels: {}", without_nul(&labels.join(", "))));
    }
    parts.retain(|part| !part.is_empty());
    format!("State: {state}\n\n{}", parts.join("\n"))
}

/// Returns an item, its closed issue and the pull request that closes it, all with untrusted text. Weaviate has an
/// object of the issue.
fn stranger(world: &mut World, rng: &mut Rng, number: i32) -> Written {
    let (issue, pull_request) = (
        format!("acme/shop#{number}"),
        format!("acme/shop#{}", 1000 + number),
    );
    let project = world.project("acme/shop");
    let item = NewItem {
        title: without_nul(&text(rng, 1000)),
        description: without_nul(&long_text(rng)),
        status: without_nul(&text(rng, 20)),
        ..NewItem::default()
    };
    let item = agira::insert_item(&mut world.client, project, &item);
    let (title, body, labels) = (text(rng, 256), long_text(rng), texts(rng));
    let github_id = world.github.issue(&issue, |issue| {
        issue.title.clone_from(&title);
        issue.body.clone_from(&body);
        issue.labels.clone_from(&labels);
        issue.references = vec![pull_request.clone()];
    });
    let (pulls_title, pulls_body, pulls_labels) = (text(rng, 256), long_text(rng), texts(rng));
    let (files, commits) = (texts(rng), texts(rng));
    world.github.pull_request(&pull_request, |pull_request| {
        pull_request.title.clone_from(&pulls_title);
        pull_request.body.clone_from(&pulls_body);
        pull_request.labels.clone_from(&pulls_labels);
        pull_request.files.clone_from(&files);
        pull_request.commits.clone_from(&commits);
    });
    world.github.merge(&pull_request, CLOSED_AT);
    let (repository, number) = split(&issue);
    let state = without_nul(&text(rng, 50));
    let mapping = agira::issue(
        &mut world.client,
        item,
        github_id,
        repository,
        number,
        &state,
    );
    let held = json!({ "title": text(rng, 100), "text": long_text(rng), "status": format!("{} held", text(rng, 100)) });
    world.weaviate.put_object(&uuid(GithubIssue, mapping), held);
    let lists = [("Changed files", files.as_slice()), ("Commits", &commits)];
    Written {
        linked: Linked { item, mapping },
        title: without_nul(&title),
        text: object_text("closed", [&title, &body], &[], &labels),
        pull_request,
        pull_requests_title: without_nul(&pulls_title),
        pull_requests_text: object_text(
            "merged",
            [&pulls_title, &pulls_body],
            &lists,
            &pulls_labels,
        ),
    }
}

/// Runs the program with everything logged, and checks its outputs.
#[track_caller]
fn run(world: &World, args: &[&str]) -> Run {
    let run = Run::of(world.command(args).env("RUST_LOG", "trace"));
    assert!(!run.stderr.contains("panicked"), "{}", run.all());
    match args.windows(2).any(|pair| pair == ["--log-format", "json"]) {
        true => check_json(&run.stderr),
        false => check_log(&run.stderr),
    }
    match args.windows(2).any(|pair| pair == ["--output", "json"]) {
        true => check_json(&run.stdout),
        false => check_printable(&run.stdout),
    }
    // Every line of the program starts with its own text.
    assert!(
        !run.stdout
            .lines()
            .any(|line| line.trim_start().starts_with("FORGED")),
        "{}",
        run.all()
    );
    run
}

#[test]
fn untrusted_text_reaches_weaviate_complete_and_outputs_printable() {
    let mut rng = Rng::with_seed(SEED);
    let mut world = World::new();
    let all: Vec<Written> = (1..=ISSUES)
        .map(|number| stranger(&mut world, &mut rng, number))
        .collect();
    let limit = &["--limit", "1000"][..];
    for more in [&[][..], &["--output", "json"], &["--log-format", "json"]] {
        run(&world, &[&["sync", "--dry-run"], limit, more].concat()).exits(0);
    }
    for one in &all[..20] {
        let mapping = one.linked.mapping.to_string();
        run(&world, &["sync", "--dry-run", "--mapping", &mapping]).exits(0);
        run(&world, &["status", "--mapping", &mapping]).exits(0);
    }
    run(&world, &[&["sync", "--output", "json"], limit].concat()).exits(0);
    for one in &all {
        let issue = world.properties(GithubIssue, one.linked.mapping);
        assert_eq!(
            (&issue["title"], &issue["text"]),
            (&json!(one.title), &json!(one.text))
        );
        assert!(world.properties(Item, one.linked.item).is_object());
        let (_, number) = split(&one.pull_request);
        let sql =
            "SELECT id, pr_body FROM core_externalissuemapping WHERE kind = 'PR' AND number = $1";
        let row = world.client.query_one(sql, &[&number]).unwrap();
        let pull_request = world.properties(GithubPr, row.get(0));
        let wanted = (
            &json!(one.pull_requests_title),
            &json!(one.pull_requests_text),
        );
        assert_eq!((&pull_request["title"], &pull_request["text"]), wanted);
        let body: String = row.get(1);
        assert!(one.pull_requests_text.contains(&body), "{body:?}");
    }
    // The same, but the services reject everything that they can reject, with untrusted text as the reason.
    for one in &all {
        world
            .weaviate
            .delete_object(&uuid(GithubIssue, one.linked.mapping));
        world.weaviate.reject_object(
            &uuid(GithubIssue, one.linked.mapping),
            &text(&mut rng, 2000),
        );
    }
    for more in [&[][..], &["--output", "json"], &["--log-format", "json"]] {
        run(&world, &[&["sync", "--recheck-now"], limit, more].concat());
        run(&world, &[&["status"], more].concat()).exits(0);
        run(
            &world,
            &[&["retry-failed", "--dry-run"], limit, more].concat(),
        );
    }
    assert_eq!(
        world.one::<i64>(
            "SELECT count(*) FROM core_externalissuemapping WHERE worker_delivery_error IS NOT NULL"
        ),
        i64::from(ISSUES)
    );
}

/// Starts a proxy that can change the responses of another server.
fn front(
    behind: String,
    change: impl Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> Server {
    let client = reqwest::blocking::Client::builder()
        .no_proxy()
        .tls_certs_only(std::iter::empty())
        .build()
        .unwrap();
    Server::start(move |request| {
        let method = request.method.parse().unwrap();
        let query = if request.query.is_empty() {
            String::new()
        } else {
            format!("?{}", request.query)
        };
        let mut forwarded = client
            .request(method, format!("{behind}{}{query}", request.path))
            .body(request.body.clone());
        let own = ["host", "content-length", "connection", "accept-encoding"];
        for (name, value) in request
            .headers
            .iter()
            .filter(|(name, _)| !own.contains(&&**name))
        {
            forwarded = forwarded.header(name, value);
        }
        let answer = forwarded.send().unwrap();
        let status = answer.status().as_u16();
        let date = answer
            .headers()
            .get("date")
            .map(|date| date.to_str().unwrap().to_owned());
        let response = Response {
            body: change(request, answer.bytes().unwrap().to_vec()),
            ..Response::empty(status)
        };
        date.into_iter()
            .fold(response, |response, date| response.header("date", &date))
    })
}

fn replaced(body: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let mut parts = body.to_vec();
    while let Some(at) = parts
        .windows(from.len())
        .position(|part| part == from.as_bytes())
    {
        parts.splice(at..at + from.len(), to.iter().copied());
    }
    parts
}

/// JSON can contain a lone surrogate, and a server can send bytes that are not UTF-8. The JSON parser rejects both.
#[test]
fn an_invalid_character_in_a_response_is_replaced_and_affects_nothing_else() {
    let mut world = World::new();
    let [half, bytes, good] =
        ["acme/shop#1", "acme/shop#2", "acme/shop#3"].map(|key| world.closed_issue(key));
    world.github.issue("acme/shop#1", |issue| {
        issue.title = "a HALF b HALF \u{1f600}".to_owned()
    });
    world
        .github
        .issue("acme/shop#2", |issue| issue.body = "a BYTES b".to_owned());
    let held = json!({ "title": "t", "text": "t", "status": "HALF" });
    world
        .weaviate
        .put_object(&uuid(GithubIssue, good.mapping), held);
    let spoil = |_: &Request, body: Vec<u8>| {
        replaced(
            &replaced(&body, "HALF", br"\ud83d"),
            "BYTES",
            b"\xff\xed\xa0\x80",
        )
    };
    let (github, weaviate) = (
        front(world.github.url(), spoil),
        front(world.weaviate.url(), spoil),
    );
    for args in [
        &["sync", "--dry-run", "--output", "json"][..],
        &["sync", "--dry-run", "--mapping", "1"],
        &["sync"],
    ] {
        let mut command = world.command(args);
        let run = Run::of(
            command
                .env("GITHUB_API_URL", github.url())
                .env("WEAVIATE_URL", weaviate.url()),
        )
        .exits(0);
        check_printable(&run.stdout);
        check_log(&run.stderr);
    }
    for linked in [&half, &bytes, &good] {
        assert_eq!(world.item_status(linked.item), "Testing");
        assert_eq!(
            world.properties(GithubIssue, linked.mapping)["status"],
            "closed"
        );
    }
    assert_eq!(
        world.properties(GithubIssue, half.mapping)["title"],
        "a \u{fffd} b \u{fffd} \u{1f600}"
    );
    let text = "State: closed\n\nIssue acme/shop#2\n\na \u{fffd}\u{fffd}\u{fffd}\u{fffd} b";
    assert_eq!(world.properties(GithubIssue, bytes.mapping)["text"], text);
}

/// Untrusted text in places where nobody expects it: in names, types, ids and times.
#[test]
fn hostile_text_of_a_service_is_harmless_in_every_output() {
    const HOSTILE: &str = "\u{0}\u{1b}[31m\r\n[2026-03-01T10:00:00Z ERROR] FORGED\u{202e}";
    let long = format!("{HOSTILE}{}", "x".repeat(1 << 20));
    let set = |body: &[u8], pointer: &str, value: Value| {
        let mut answer: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(place) = answer.pointer_mut(pointer) {
            *place = value;
        }
        answer.to_string().into_bytes()
    };
    type Change = Box<dyn Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync>;
    let at = |pointer: &'static str, value: Value| -> Change {
        Box::new(move |request, body| {
            match String::from_utf8_lossy(&request.body).contains("query Fetch(") {
                true => set(&body, pointer, value.clone()),
                false => body,
            }
        })
    };
    let whole = |path: &'static str, answer: Value| -> Change {
        Box::new(move |request, body| match request.path == path {
            true => answer.to_string().into_bytes(),
            false => body,
        })
    };
    let issue = "/data/t0/issueOrPullRequest";
    let github: Vec<(Change, i32)> = vec![
        (at("/data/t0/nameWithOwner", json!(long)), 3),
        (at("/data/t0/issueOrPullRequest/issueState", json!(long)), 3),
        (
            at("/data/t0/issueOrPullRequest/stateReason", json!(long)),
            0,
        ),
        (
            at("/data/t0/issueOrPullRequest/fullDatabaseId", json!(long)),
            3,
        ),
        (at("/data/t0/issueOrPullRequest/url", json!(long)), 3),
        (at("/data/t0/issueOrPullRequest/closedAt", json!(long)), 3),
        (at("/data/t0/issueOrPullRequest/number", json!(long)), 3),
        (at("/data/t0/issueOrPullRequest/__typename", json!(long)), 3),
        (at(issue, json!(long)), 3),
        (
            at(
                "/data/t0/issueOrPullRequest/closedByPullRequestsReferences/nodes/0/url",
                json!(long),
            ),
            0,
        ),
        (
            at(
                "/data/t0/issueOrPullRequest/closedByPullRequestsReferences/nodes/0/fullDatabaseId",
                json!("x"),
            ),
            0,
        ),
        (
            Box::new(move |request, body| {
                let id = "/data/t0/issueOrPullRequest/closedByPullRequestsReferences/nodes/0/fullDatabaseId";
                let url = "/data/t0/issueOrPullRequest/closedByPullRequestsReferences/nodes/0/url";
                match String::from_utf8_lossy(&request.body).contains("query Fetch(") {
                    true => set(&set(&body, id, json!(HOSTILE)), url, json!(HOSTILE)),
                    false => body,
                }
            }),
            0,
        ),
        (
            whole(
                "/graphql",
                json!({ "data": null, "errors": [{ "message": long, "type": long, "path": [long] }] }),
            ),
            1,
        ),
        (
            whole(
                "/graphql",
                json!({ "data": { "t0": null }, "errors": [{ "message": long, "type": long, "path": ["t0"] }] }),
            ),
            75,
        ),
        (
            whole(
                "/graphql",
                json!({ "errors": [{ "message": long, "type": "RATE_LIMITED" }] }),
            ),
            75,
        ),
        (whole("/graphql", json!({ "errors": long })), 75),
        (whole("/graphql", json!(long)), 75),
    ];
    let said = long.clone();
    let rejected: Change = Box::new(move |request, body| {
        let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match sent["objects"]
            .as_array()
            .filter(|_| request.path == "/v1/batch/objects")
        {
            Some(objects) => {
                let result = json!({ "result": { "errors": { "error": [{ "message": said }] } } });
                json!(vec![result; objects.len()]).to_string().into_bytes()
            }
            None => body,
        }
    });
    let weaviate: Vec<(Change, i32)> = vec![
        (
            whole(
                "/v1/schema/AgiraObject",
                json!({ "properties": [{ "name": "status", "dataType": [long] }] }),
            ),
            1,
        ),
        (whole("/v1/schema/AgiraObject", json!(long)), 1),
        (
            whole("/v1/graphql", json!({ "errors": [{ "message": long }] })),
            0,
        ),
        (
            whole(
                "/v1/graphql",
                json!({ "errors": [{ "message": format!("429 Too many requests {long}") }] }),
            ),
            75,
        ),
        (whole("/v1/graphql", json!(long)), 75),
        (rejected, 75),
        (whole("/v1/batch/objects", json!(long)), 75),
    ];
    let check = |github: Option<Change>, weaviate: Option<Change>, code: i32| {
        let mut world = World::new();
        let linked = world.issue("acme/shop#1", "Working");
        world.github.pull_request("acme/shop#2", |_| {});
        world.github.issue("acme/shop#1", |issue| {
            issue.references = vec!["acme/shop#2".to_owned()]
        });
        world.github.close("acme/shop#1", CLOSED_AT);
        let github = github.map(|change| front(world.github.url(), change));
        let weaviate = weaviate.map(|change| front(world.weaviate.url(), change));
        let mapping = linked.mapping.to_string();
        for args in [
            &["sync", "--mapping", &mapping, "--dry-run"][..],
            &["sync", "--mapping", &mapping, "-vv"],
            &["retry-failed", "--log-format", "json", "--output", "json"],
            &["status"],
        ] {
            let mut command = world.command(args);
            command.env("RUST_LOG", "agira_worker=trace");
            github
                .as_ref()
                .map(|front| command.env("GITHUB_API_URL", front.url()));
            weaviate
                .as_ref()
                .map(|front| command.env("WEAVIATE_URL", front.url()));
            let run = Run::of(&mut command);
            let is_json = |which: &str| args.windows(2).any(|pair| pair == [which, "json"]);
            if is_json("--output") {
                check_json(&run.stdout)
            } else {
                check_printable(&run.stdout)
            }
            if is_json("--log-format") {
                check_json(&run.stderr)
            } else {
                check_log(&run.stderr)
            }
            assert!(!run.stderr.contains("panicked"), "{}", run.all());
            // Content may be long, but messages about it may not.
            let longest = run.stderr.lines().map(str::len).max().unwrap_or_default();
            assert!(
                longest < 4000,
                "a line of {longest} bytes: {}",
                run.stderr.chars().take(2000).collect::<String>()
            );
            if args.contains(&"-vv") {
                assert_eq!(run.code, code, "{}", run.all());
            }
        }
        // The run is recorded, whatever ended it.
        assert_eq!(
            world.one::<i64>("SELECT count(*) FROM worker_run WHERE command = 'sync'"),
            1
        );
    };
    for (change, code) in github {
        check(Some(change), None, code);
    }
    for (change, code) in weaviate {
        check(None, Some(change), code);
    }
}

/// Arithmetic on a time that a service names never overflows.
#[test]
fn a_pause_with_an_absurd_end_does_not_panic() {
    for wait in [
        "18446744073709551615",
        "9223372036854775807",
        "99999999999999999999999",
    ] {
        let mut world = World::new();
        world.issue("acme/shop#1", "Working");
        let answer = Response::empty(429).header("retry-after", wait);
        world
            .github
            .fail_next(1, &kit::github::Fault::Answer(answer));
        let run = run(&world, &["sync"])
            .exits(75)
            .logs("GitHub's rate limit is reached");
        assert!(
            world.one::<bool>("SELECT until > now() FROM worker_pause"),
            "{}",
            run.all()
        );
        assert_eq!(world.github.requests().len(), 1);
    }
}
