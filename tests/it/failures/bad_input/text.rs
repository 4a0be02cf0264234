//! Untrusted text: stored verbatim as content, and escaped on terminals and in logs.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, GithubPr};
use kit::agira::{self, NewItem};
use kit::github::{Fault, NullAlias};
use kit::http::Response;
use serde_json::json;

use crate::fixtures::CLOSED_AT;
use crate::harness::{Linked, Run, World, uuid};

const ISSUE: &str = "acme/shop#12";
const PULL_REQUEST: &str = "acme/shop#13";
/// Text that controls a terminal in both ways of starting a sequence, forges a line, and reorders the rest.
const HOSTILE: &str = "x\u{1b}]0;pwned\u{7}\r\nFORGED line\u{9b}31m\u{202e}\u{0}y";

#[test]
fn nul_is_removed_and_the_end_of_60_kilobytes_is_left_out() {
    let mut world = World::new();
    let linked = world.issue(ISSUE, "Working");
    let body = format!(
        "NUL: \u{0}!\n{}\u{fc}\u{1f600}\ttail",
        "0123456789abcde\n".repeat(60 * 64)
    );
    world.github.issue(ISSUE, |issue| {
        issue.title = "a\u{0}b".to_owned();
        issue.body.clone_from(&body);
        issue.labels = vec!["l\u{0}abel".to_owned()];
        issue.references = vec![PULL_REQUEST.to_owned()];
    });
    world.github.pull_request(PULL_REQUEST, |pull_request| {
        pull_request.body.clone_from(&body)
    });
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    world.sync();
    let whole = body.replace('\u{0}', "");
    assert!(whole.len() > 60_000);
    let issue = world.properties(GithubIssue, linked.mapping);
    assert_eq!(issue["title"], "ab");
    let kept: String = whole.chars().take(23_990).collect();
    let url = &issue["url"].as_str().unwrap();
    assert_eq!(
        issue["text"],
        format!(
            "State: closed\n\nab\n\n{kept}\n... and {} more characters: {url}\n\n\nLabels: label",
            whole.chars().count() - 23_990
        )
    );
    let row: i64 = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    let text = world.properties(GithubPr, row)["text"].to_string();
    assert!(text.contains(json!(kept).to_string().trim_matches('"')));
    let stored: String =
        world.one("SELECT pr_body FROM core_externalissuemapping WHERE kind = 'PR'");
    assert_eq!(stored, whole);
}

/// Returns a world in which every untrusted text is hostile.
fn hostile() -> (World, Linked) {
    let mut world = World::new();
    let project = world.project("acme/shop");
    let storable = HOSTILE.replace('\u{0}', "");
    let item = NewItem {
        title: storable.clone(),
        description: storable,
        status: "x\u{1b}[31m\nFORGED".to_owned(),
        ..NewItem::default()
    };
    let item = agira::insert_item(&mut world.client, project, &item);
    let github_id = world.github.issue(ISSUE, |issue| {
        issue.title = HOSTILE.to_owned();
        issue.body = HOSTILE.to_owned();
        issue.labels = vec![HOSTILE.to_owned()];
        issue.references = vec![PULL_REQUEST.to_owned()];
    });
    world.github.pull_request(PULL_REQUEST, |pull_request| {
        pull_request.title = HOSTILE.to_owned();
        pull_request.body = HOSTILE.to_owned();
        pull_request.labels = vec![HOSTILE.to_owned()];
        pull_request.files = vec![HOSTILE.to_owned()];
        pull_request.commits = vec![HOSTILE.to_owned()];
    });
    world.github.merge(PULL_REQUEST, CLOSED_AT);
    let mapping = agira::issue(
        &mut world.client,
        item,
        github_id,
        "acme/shop",
        12,
        "o\u{1b}[31m\nFORGED",
    );
    let held = json!({ "title": HOSTILE, "text": HOSTILE, "status": HOSTILE });
    world.weaviate.put_object(&uuid(GithubIssue, mapping), held);
    (world, Linked { item, mapping })
}

/// Checks that no output controls a terminal or forges a line.
#[track_caller]
fn harmless(run: Run) -> Run {
    for output in [&run.stdout, &run.stderr] {
        let is_raw = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
        assert!(!output.contains(is_raw), "{:?}", run.all());
        assert!(
            !output
                .lines()
                .any(|line| line.trim_start().starts_with("FORGED")),
            "{}",
            run.all()
        );
    }
    run
}

#[test]
fn hostile_text_of_items_and_issues_is_harmless_in_every_output() {
    let (mut world, linked) = hostile();
    let mapping = linked.mapping.to_string();
    for more in [&[][..], &["--output", "json"], &["--log-format", "json"]] {
        for args in [
            &["sync", "--dry-run"][..],
            &["sync", "--dry-run", "--mapping", &mapping],
            &["status", "--mapping", &mapping],
        ] {
            let run = harmless(world.run(&[args, more, &["-vv"]].concat())).exits(0);
            assert!(
                run.stdout.contains("FORGED") || !more.is_empty(),
                "{}",
                run.all()
            );
        }
    }
    let run = harmless(world.run(&["sync", "-vv"])).exits(0);
    assert!(
        run.stderr
            .contains("item status: x\\u{1b}[31m\\nFORGED => Testing"),
        "{}",
        run.all()
    );
    assert_eq!(world.item_status(linked.item), "Testing");
    let labels = HOSTILE.replace('\u{0}', "");
    let text = world.properties(GithubIssue, linked.mapping)["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.ends_with(&format!("Labels: {labels}")),
        "content stays what it is: {text:?}"
    );
}

#[test]
fn hostile_text_in_an_address_or_an_error_is_harmless_in_every_output() {
    let storable = HOSTILE.replace('\u{0}', "");
    let check = |break_it: &dyn Fn(&mut World, &Linked), code: i32, says: &str| {
        let (mut world, linked) = hostile();
        break_it(&mut world, &linked);
        for args in [
            &["sync", "--limit", "1"][..],
            &["retry-failed", "--output", "json"],
            &["retry-failed", "--log-format", "json"],
        ] {
            let run = harmless(world.run(args));
            // What GitHub does not answer twice is a failure of the mapping.
            assert!([code, 0, 3].contains(&run.code), "{}", run.all());
            assert!(
                args[0] != "sync" || (run.code == code && run.stderr.contains(says)),
                "{}",
                run.all()
            );
        }
        harmless(world.run(&["status"])).exits(0);
        harmless(world.run(&[
            "status",
            "--output",
            "json",
            "--mapping",
            &linked.mapping.to_string(),
        ]))
        .exits(0);
        harmless(world.run(&["retry-failed", "--dry-run"]));
    };
    let address = |world: &mut World, _: &Linked| {
        let sql = "UPDATE core_externalissuemapping SET html_url = $1";
        world.client.execute(sql, &[&storable]).unwrap();
    };
    check(&address, 3, "html_url \"x\\u{1b}");
    let rejected = |world: &mut World, linked: &Linked| {
        world
            .weaviate
            .reject_object(&uuid(GithubIssue, linked.mapping), HOSTILE);
    };
    check(&rejected, 3, "Weaviate rejects github_issue:1: x\\u{1b}");
    let spoiled = |world: &mut World, _: &Linked| {
        let alias = NullAlias {
            kind: Some(HOSTILE.to_owned()),
            message: Some(HOSTILE.to_owned()),
            has_path: true,
        };
        world.github.nullify(ISSUE, 99, alias);
    };
    check(&spoiled, 75, "GitHub says: x\\u{1b}");
    for (status, code) in [(401, 1), (403, 1), (404, 1), (429, 75), (503, 75)] {
        let refused = |world: &mut World, _: &Linked| {
            let answer = Response::json(status, &json!({ "message": HOSTILE }));
            world.github.fail_next(9, &Fault::Answer(answer));
        };
        check(&refused, code, "x\\u{1b}");
    }
}

/// Invariant 12 also holds if a proxy repeats the secret that it received.
#[test]
fn a_secret_that_an_answer_repeats_is_not_shown() {
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    let body = format!("<html>who is Bearer {}?</html>", kit::github::TOKEN).into_bytes();
    let echo = kit::http::Response {
        body,
        ..kit::http::Response::empty(403)
    };
    world.github.fail_next(3, &kit::github::Fault::Answer(echo));
    for args in [
        &["sync", "-vv"][..],
        &["sync", "--output", "json"],
        &["sync", "--log-format", "json"],
    ] {
        let run = world.run(args).exits(1).logs("who is Bearer (secret)?");
        assert!(!run.all().contains(kit::github::TOKEN), "{}", run.all());
    }
}
