//! The decision table: a world produces each row of the table, and the program must log the line of the row.

use kit::agira;
use kit::github::{Closer, Event};

use crate::fixtures::{CLOSED_AT, LATER, LONG_AGO};
use crate::harness::{Run, World};

use super::{DESIGN, table};

/// Returns all output of runs in a world that produces every row.
fn all_outputs() -> String {
    let mut world = World::new();
    let mut said = String::new();
    let mut keep = |run: Run| said.push_str(&format!("{}{}", run.stdout, run.stderr));
    let moved = world.issue("acme/shop#1", "Working");
    for (key, status) in [
        ("#2", "Testing"),
        ("#3", "Review"),
        ("#4", "Working"),
        ("#5", "Working"),
        ("#7", "Working"),
    ] {
        world.issue(&format!("acme/shop{key}"), status);
    }
    world.github.pull_request("acme/shop#21", |pull_request| {
        pull_request.body = "Fixes #1".to_owned()
    });
    world.github.issue("acme/shop#1", |issue| {
        issue.references = vec!["acme/shop#21".to_owned()]
    });
    world.github.merge("acme/shop#21", CLOSED_AT);
    world.github.pull_request("acme/shop#22", |pull_request| {
        pull_request.body = "See #1".to_owned()
    });
    world.github.issue("acme/shop#1", |issue| {
        issue.timeline.push(Event::CrossReferenced {
            source: "acme/shop#22".to_owned(),
            will_close: false,
        });
    });
    world.github.close("acme/shop#2", CLOSED_AT);
    world.github.close("acme/shop#3", CLOSED_AT);
    world
        .github
        .close_by("acme/shop#4", CLOSED_AT, "NOT_PLANNED", Closer::Nobody);
    world.github.close("acme/shop#5", LONG_AGO);
    world.github.delete("acme/shop#7");
    let rejected = world.closed_issue("acme/shop#9");
    agira::person_sets_status(&mut world.client, rejected.item, "Working");
    let policy = [
        "--keep-status=Review",
        "--close-reason=completed",
        "--ignore-closed-before=2026-02-01",
    ];
    let run =
        |world: &World, args: &[&str]| world.run(&[&["sync", "--verbose"], args, &policy].concat());
    keep(run(&world, &[]).exits(3));

    let overtaken = world.closed_issue("acme/shop#6");
    let (mut client, item) = (world.database.client(), overtaken.item);
    world.github.meanwhile(move || {
        let by_form = format!("UPDATE core_item SET status = 'Inbox' WHERE id = {item}");
        client.batch_execute(&by_form).unwrap();
    });
    keep(run(&world, &[]).exits(0));

    // The reason of a closing is changed.
    world
        .github
        .close_by("acme/shop#3", LATER, "NOT_PLANNED", Closer::Nobody);
    keep(run(&world, &[]).exits(0));

    // An issue is reopened, a link is not confirmed, and a pull request's row is stale.
    world.github.reopen("acme/shop#2", "2026-03-02T10:00:00Z");
    world.execute("UPDATE core_externalissuemapping SET state = 'open' WHERE kind = 'PR'");
    keep(run(&world, &["--mapping", &moved.mapping.to_string()]).exits(0));
    world.execute(
        "INSERT INTO worker_pull_request_link (issue_mapping_id, github_id, item_id, row_item_id, relation)
         SELECT 2, github_id, 2, item_id, 'closes' FROM core_externalissuemapping WHERE kind = 'PR'",
    );
    keep(run(&world, &["--recheck-now"]).exits(0));
    world.execute("DELETE FROM core_externalissuemapping WHERE kind = 'PR'");
    keep(run(&world, &["--recheck-now"]).exits(0));

    // A server of GitHub lags behind, and a stranger takes over the name of a repository.
    world.github.issue("acme/shop#1", |issue| {
        LONG_AGO.clone_into(&mut issue.updated_at);
    });
    keep(run(&world, &["--mapping", &moved.mapping.to_string()]).exits(0));
    world.issue("acme/old#1", "Working");
    keep(run(&world, &[]).exits(0));
    world.github.rename_repository("acme/old", "acme/new");
    world.github.forget_redirect("acme/old");
    world.github.issue("acme/old#1", |_| {});
    keep(run(&world, &["--recheck-now"]).exits(3));

    world.weaviate.settings().down = true;
    world.issue("acme/shop#8", "Working");
    keep(run(&world, &[]).exits(75));
    said
}

/// Returns true if a line has the message, in which `...` matches any text.
pub fn has_message(text: &str, message: &str) -> bool {
    let parts: Vec<String> = message.split("...").map(regex::escape).collect();
    regex::Regex::new(&parts.join(".*")).unwrap().is_match(text)
}

#[test]
fn the_program_logs_the_line_of_every_decision_row() {
    let said = all_outputs();
    let rows = table(DESIGN, "The decision table");
    assert!(rows.len() > 15, "{rows:?}");
    let messages = rows
        .iter()
        .filter_map(|row| row.get(2))
        .filter(|message| message.starts_with('`'));
    let missing: Vec<&String> = messages
        .filter(|message| !has_message(&said, message.trim_matches('`')))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} not in\n{said}");
    assert!(!said.contains("acme/shop#22"), "a plain mention\n{said}");
    assert!(
        !has_message(&said, "no such message") && has_message("row 3 has 7", "row ... has ...")
    );
}
