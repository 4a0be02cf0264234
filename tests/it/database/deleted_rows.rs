//! Pull request rows that a person deleted in Agira stay deleted (examples/README.md, "Living beside Agira").

use agira_worker::core::agira_object::ObjectType::GithubPr;
use kit::agira;

use super::schema::catalog;
use crate::harness::World;

const ISSUE: &str = "acme/shop#12";
const OTHER_ISSUE: &str = "acme/shop#13";
const PULL_REQUEST: &str = "stranger/fork#31";
const NOT_LINKED: &str =
    "pull request stranger/fork#31 not linked: its row was deleted by a person";

/// Returns a world in which a stranger's pull request has a row, because it names an issue, and the id of the row.
fn linked() -> (World, i64) {
    let mut world = World::new();
    world.issue(ISSUE, "Working");
    world.issue(OTHER_ISSUE, "Working");
    world.closing_pull_request(ISSUE, PULL_REQUEST);
    world.sync().prints("1 pull request linked");
    let row = world.one("SELECT id FROM core_externalissuemapping WHERE kind = 'PR'");
    (world, row)
}

/// Returns the same after a person deleted the row, with the id that the row had.
fn deleted() -> (World, i64) {
    let (mut world, row) = linked();
    world.execute("DELETE FROM core_externalissuemapping WHERE kind = 'PR'");
    (world, row)
}

fn rows(world: &mut World) -> i64 {
    world.one("SELECT count(*) FROM core_externalissuemapping WHERE kind = 'PR'")
}

#[test]
fn a_deleted_row_stays_deleted_and_every_output_says_why() {
    let (mut world, row) = deleted();
    let object = world.properties(GithubPr, row);
    for _ in 0..2 {
        let run = world.run(&["sync", "--recheck-now"]).exits(0);
        assert!(!run.stdout.contains("linked. "), "{}", run.all());
        run.logs(NOT_LINKED);
        assert_eq!(rows(&mut world), 0);
    }
    let dry = world.run(&["sync", "--mapping", "1", "--dry-run"]).exits(0);
    dry.prints(NOT_LINKED);
    let status = world.run(&["status", "--mapping", "1"]).exits(0);
    status.prints(
        "a person deleted the row of its pull request https://github.com/stranger/fork/pull/31 (GitHub's id",
    );
    // Agira does not delete the object of such a row, either.
    assert_eq!(world.properties(GithubPr, row), object);
    assert!(object.is_object());
}

#[test]
fn the_author_of_a_pull_request_cannot_bring_its_deleted_row_back() {
    let (mut world, _) = deleted();
    let refer = |world: &World, issue: &str, on: bool| {
        let named = on.then(|| PULL_REQUEST.to_owned());
        world.github.issue(issue, |issue| {
            issue.references = named.into_iter().collect();
        });
    };
    refer(&world, ISSUE, false);
    world.run(&["sync", "--recheck-now"]).exits(0);
    refer(&world, ISSUE, true);
    refer(&world, OTHER_ISSUE, true);
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(rows(&mut world), 0);
}

#[test]
fn a_deleted_row_that_is_linked_by_hand_is_checked_and_linked_as_before() {
    let github_ids = |world: &World| [world.github.pull_request(PULL_REQUEST, |_| {}), -31];
    for index in 0..2 {
        let (mut world, _) = deleted();
        world.run(&["sync", "--recheck-now"]).exits(0);
        let [real, _] = github_ids(&world);
        let stored = github_ids(&world)[index];
        // The hand links it to the other item, and Agira's queue worker does not know the id.
        let item = 2 - index as i64;
        let row = agira::pull_request(
            &mut world.client,
            item,
            stored,
            "stranger/fork",
            31,
            "closed",
        );
        world.run(&["sync", "--recheck-now"]).exits(0);
        assert_eq!(
            (
                rows(&mut world),
                world.properties(GithubPr, row)["status"].as_str()
            ),
            (1, Some("open"))
        );
        let link = format!(
            "SELECT count(*) FROM worker_pull_request_link l JOIN core_externalissuemapping m USING (github_id)
             WHERE m.id = {row} AND m.github_id = {real} AND l.row_item_id = {item} AND l.issue_mapping_id = 1"
        );
        assert_eq!(world.one::<i64>(&link), 1);
        let status = world.run(&["status", "--mapping", "1"]).exits(0);
        let status = status.prints(&format!("it is linked with mapping {row}"));
        assert!(
            !status.stdout.contains("a person deleted"),
            "{}",
            status.all()
        );
    }
}

/// Django deletes the rows of an item together with the item. Nobody decided anything about the pull request.
#[test]
fn a_row_that_was_deleted_with_its_item_comes_back_on_the_item_of_another_issue() {
    let (mut world, _) = linked();
    world.github.issue(OTHER_ISSUE, |issue| {
        issue.references = vec![PULL_REQUEST.to_owned()];
    });
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("1 pull request linked");
    world.execute(
        "BEGIN; DELETE FROM core_externalissuemapping WHERE item_id = 1; DELETE FROM core_item WHERE id = 1; COMMIT",
    );
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("1 pull request linked");
    assert_eq!(
        world.one::<i64>("SELECT item_id FROM core_externalissuemapping WHERE kind = 'PR'"),
        2
    );
}

/// Earlier versions named the row of a link's pull request, and deleted the link together with the row.
const EARLIER: &str = "ALTER TABLE worker_pull_request_link ADD COLUMN mapping_id bigint REFERENCES core_externalissuemapping (id)
        ON DELETE CASCADE;
    UPDATE worker_pull_request_link l SET mapping_id = m.id FROM core_externalissuemapping m WHERE m.github_id = l.github_id;
    ALTER TABLE worker_pull_request_link DROP COLUMN github_id, DROP COLUMN row_item_id, DROP COLUMN html_url,
        ALTER COLUMN mapping_id SET NOT NULL, ADD PRIMARY KEY (issue_mapping_id, mapping_id);
    CREATE INDEX worker_pull_request_link_mapping ON worker_pull_request_link (mapping_id)";

#[test]
fn an_upgrade_keeps_the_links_and_their_rows_stay_deleted_from_then_on() {
    let (mut world, _) = linked();
    let links = "SELECT string_agg(concat_ws(' ', issue_mapping_id, github_id, item_id, row_item_id, html_url, relation), ',')
        FROM worker_pull_request_link";
    let before: (_, String) = (catalog(&mut world.client), world.one(links));
    world.execute(EARLIER);
    world
        .run(&["sync"])
        .exits(1)
        .logs("lacks worker_pull_request_link.github_id; run as the owner");
    for _ in 0..2 {
        world.database.install();
        assert_eq!((catalog(&mut world.client), world.one(links)), before);
    }
    world.execute(&std::fs::read_to_string(kit::postgres_server::role_sql()).unwrap());
    world.execute("DELETE FROM core_externalissuemapping WHERE kind = 'PR'");
    world.run(&["sync", "--recheck-now"]).exits(0);
    assert_eq!(rows(&mut world), 0);
}
