//! Rows of Agira for which GitHub cannot be asked, and rows for which it is just possible.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, GithubPr, Item};
use kit::agira;
use serde_json::{Value, json};

use crate::fixtures::CLOSED_AT;
use crate::harness::{Linked, World};

const ISSUE: &str = "acme/shop#12";

/// Years that PostgreSQL knows and Rust, JSON or Weaviate do not.
#[test]
fn times_beyond_all_calendars_are_the_first_or_the_last_ones() {
    let (mut world, strange, good) = changed(
        "UPDATE core_item SET created_at = '-infinity', updated_at = '200000-01-01' WHERE id = $item;
         UPDATE core_externalissuemapping SET merged_at = 'infinity' WHERE id = $mapping",
    );
    world.sync().prints("2 items moved");
    for one in [&strange, &good] {
        assert_eq!(world.item_status(one.item), "Testing");
    }
    let created = &world.properties(Item, strange.item)["created_at"];
    assert_eq!(created, "0001-01-01T00:00:00Z");
}

/// Returns two closed issues, each with an item. `change` is applied to the row of the first one.
fn changed(change: &str) -> (World, Linked, Linked) {
    let mut world = World::new();
    let [bad, good] = [ISSUE, "acme/shop#13"].map(|key| world.closed_issue(key));
    world.execute(
        &change
            .replace("$mapping", &bad.mapping.to_string())
            .replace("$item", &bad.item.to_string()),
    );
    (world, bad, good)
}

/// Checks that the first of two mappings fails with a message that has all `parts`, in every output, and that the other
/// one is not affected.
#[track_caller]
fn fails(change: &str, parts: &[&str]) {
    let (mut world, bad, good) = changed(change);
    let run = world.run(&["sync", "--output", "json"]).exits(3);
    let json = run.json();
    assert_eq!(
        (&json["failed"], &json["synced"], &json["error"]),
        (&json!(1), &json!(1), &Value::Null)
    );
    let reported = json["mappings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["mapping_id"] == bad.mapping)
        .unwrap();
    assert_eq!(reported["outcome"], "failed");
    let start = format!("mapping={} item={} ", bad.mapping, bad.item);
    let line = run
        .stderr
        .lines()
        .find(|line| line.contains(&start) && line.contains("failed: "))
        .expect("a line");
    let row = world.client.query_one(
        "SELECT worker_attempts, worker_error, worker_due_at > now() FROM core_externalissuemapping WHERE id = $1",
        &[&bad.mapping],
    );
    let row = row.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, bool>(2)), (1, true));
    for said in [reported["error"].as_str().unwrap(), line, row.get(1)] {
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    world.run(&["status"]).exits(0).prints(row.get(1));
    assert_eq!(
        (world.item_status(bad.item), world.item_status(good.item)),
        ("Working".into(), "Testing".into())
    );
    assert_eq!(world.properties(GithubIssue, bad.mapping), Value::Null);
    assert_eq!(
        world.properties(GithubIssue, good.mapping)["status"],
        "closed"
    );
}

#[test]
fn an_empty_address_and_a_project_without_repository_name_what_to_set() {
    for (owner, name) in [("", ""), ("acme", ""), ("", "shop"), ("ac me", "shop")] {
        let change = format!(
            "UPDATE core_externalissuemapping SET html_url = '' WHERE id = $mapping;
             INSERT INTO core_project SELECT (jsonb_populate_record(p, '{{\"id\": 77, \"name\": \"other\", \"github_owner\": \"{owner}\",
                \"github_repo\": \"{name}\"}}')).* FROM core_project p;
             UPDATE core_item SET project_id = 77 WHERE id = $item"
        );
        fails(
            &change,
            &[
                "html_url is empty and project 77 names no repository",
                "set github_owner and github_repo",
            ],
        );
    }
}

#[test]
fn an_address_that_names_no_issue_is_reported_with_a_remedy() {
    for url in [
        "https://github.com/acme/shop/wiki",
        "https://github.com/acme/shop/issues/0",
        "https://github.com/acme/shop/issues/99999999999",
        "https://github.com/acme/shop/issues/",
        "acme/shop#12",
        " ",
    ] {
        let change =
            format!("UPDATE core_externalissuemapping SET html_url = '{url}' WHERE id = $mapping");
        fails(
            &change,
            &[
                &format!("html_url {url:?} is not the address of an issue"),
                "correct it, or empty it",
            ],
        );
    }
}

#[test]
fn an_unknown_kind_is_a_failure_of_the_mapping() {
    for kind in ["issue", "", "PullRequest"] {
        let change =
            format!("UPDATE core_externalissuemapping SET kind = '{kind}' WHERE id = $mapping");
        fails(&change, &["kind is neither Issue nor PR; correct it"]);
    }
}

#[test]
fn a_kind_that_github_contradicts_is_a_failure_of_the_mapping() {
    fails(
        "UPDATE core_externalissuemapping SET kind = 'PR' WHERE id = $mapping",
        &["acme/shop#12 is a GitHub issue, but the mapping's kind is PR; correct kind or html_url"],
    );
    // GitHub redirects from the address of an issue to that of a pull request and back, so the number decides.
    fails(
        "UPDATE core_externalissuemapping SET kind = 'PR', html_url = 'https://github.com/acme/shop/pull/12' WHERE id = $mapping",
        &["acme/shop#12 is a GitHub issue, but the mapping's kind is PR"],
    );
}

#[test]
fn an_empty_address_falls_back_to_the_projects_repository_and_the_number() {
    let (mut world, bad, _) =
        changed("UPDATE core_externalissuemapping SET html_url = '' WHERE id = $mapping");
    world.sync();
    assert_eq!(world.item_status(bad.item), "Testing");
}

#[test]
fn an_item_without_organisation_is_indexed_without_one() {
    let (mut world, without, with) = changed("");
    let organisation = agira::organisation(&mut world.client, "Acme");
    world.execute(&format!(
        "UPDATE core_item SET organisation_id = {organisation} WHERE id = {}",
        with.item
    ));
    world.sync();
    for (object_type, lacks, has) in [
        (Item, without.item, with.item),
        (GithubIssue, without.mapping, with.mapping),
    ] {
        assert_eq!(world.properties(object_type, lacks).get("org_id"), None);
        assert_eq!(
            world.properties(object_type, has)["org_id"],
            organisation.to_string()
        );
    }
}

#[test]
fn an_address_of_exactly_200_characters_works() {
    let (mut world, bad, _) = changed(
        "UPDATE core_externalissuemapping SET html_url = rpad(html_url || '#issuecomment-', 200, '7') WHERE id = $mapping",
    );
    assert_eq!(
        world.one::<i32>("SELECT max(length(html_url)) FROM core_externalissuemapping"),
        200
    );
    world.sync();
    assert_eq!(world.item_status(bad.item), "Testing");
    assert_eq!(
        world.properties(GithubIssue, bad.mapping)["external_key"],
        ISSUE
    );
}

#[test]
fn a_pull_request_whose_address_is_too_long_is_not_linked_and_fails_nothing() {
    for (name_length, fits) in [
        (200 - "https://github.com/acme//pull/7".len(), true),
        (170, false),
    ] {
        let mut world = World::new();
        let linked = world.issue(ISSUE, "Working");
        let key = format!("acme/{}#7", "x".repeat(name_length));
        world.github.pull_request(&key, |_| {});
        world
            .github
            .issue(ISSUE, |issue| issue.references = vec![key.clone()]);
        world.github.close(ISSUE, CLOSED_AT);
        let run = world.sync();
        let warns = run.stderr.contains(&format!(
            "{key} not linked: its address is longer than 200 characters"
        ));
        assert_eq!(warns, !fits, "{}", run.all());
        assert_eq!(world.item_status(linked.item), "Testing");
        let rows: Vec<i64> = world
            .client
            .query("SELECT id FROM core_externalissuemapping WHERE kind = 'PR' AND length(html_url) = 200", &[])
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(rows.len(), usize::from(fits));
        assert_eq!(
            world.one::<i64>("SELECT count(*) FROM worker_pull_request_link"),
            i64::from(fits)
        );
        for row in rows {
            assert_eq!(world.properties(GithubPr, row)["external_key"], key);
        }
    }
}
