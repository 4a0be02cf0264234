//! Names and addresses are folded as the program folds them, whatever the collation of the database is.

use kit::postgres_server::Database;

use super::schema::catalog;
use crate::fixtures::{rest_is_over, seconds_from_now};
use crate::harness::World;
use crate::surroundings::hygiene::files_below;

const ISSUE: &str = "INFO/ITIL#12";

fn turkish() -> World {
    let mut world = World::on(Database::turkish());
    let folded: String = world.one("SELECT lower('I')");
    assert_eq!(folded, "\u{131}");
    world.weaviate.create_agira_class();
    world
}

#[test]
#[ignore = "needs PostgreSQL 15 or newer with ICU"]
fn names_with_a_capital_i_are_polled_and_found_in_a_turkish_database() {
    let mut world = turkish();
    let linked = world.issue(ISSUE, "Working");
    let without_address = world.issue("INFO/ITIL#13", "Working");
    world.execute(&format!(
        "UPDATE core_externalissuemapping SET html_url = '' WHERE id = {}",
        without_address.mapping
    ));
    world.sync().prints("2 mappings synced");
    // The stored id is Agira's own, so that discovery finds the row by its address.
    world.execute(&format!(
        "UPDATE core_externalissuemapping SET github_id = -12 WHERE id = {}",
        linked.mapping
    ));
    world.github.close(ISSUE, &seconds_from_now(10));
    world.sync().prints("1 item moved");
    let names = "SELECT string_agg(name, ' ') FROM worker_repository";
    assert_eq!(world.one::<String>(names), "info/itil");
    // The mappings of a hidden repository wait, and are woken.
    world.github.hide_repository("INFO/ITIL");
    world.execute("UPDATE core_externalissuemapping SET worker_due_at = now()");
    world.run(&["sync"]).exits(1);
    let waiting = "SELECT count(*) FROM core_externalissuemapping WHERE worker_due_at IS NULL AND worker_error IS NOT NULL";
    assert_eq!(world.one::<i64>(waiting), 2);
    world.github.show_repository("INFO/ITIL");
    rest_is_over(&mut world);
    world.sync();
    assert_eq!(world.one::<i64>(waiting), 0);
    let status = world.run(&["status"]).exits(0);
    status.prints("info/itil");
    // A repository that is in use is not deleted.
    world.execute("UPDATE worker_repository SET polled_at = now() - interval '2 days'; UPDATE worker_run SET started_at = now() - interval '2 days'");
    world.sync();
    assert_eq!(world.one::<String>(names), "info/itil");
}

#[test]
#[ignore = "needs PostgreSQL 15 or newer with ICU"]
fn an_upgrade_replaces_what_folded_names_as_the_database_does() {
    let mut world = turkish();
    let before = catalog(&mut world.client);
    world.execute(
        "DROP INDEX worker_mapping_address_hash;
         CREATE INDEX worker_mapping_url ON core_externalissuemapping (lower(html_url)) INCLUDE (html_url);
         ALTER TABLE worker_repository ALTER COLUMN name TYPE text COLLATE \"default\";
         INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor) VALUES (lower('INFO/ITIL'), now(), now())",
    );
    for _ in 0..2 {
        world.database.install();
        assert_eq!(catalog(&mut world.client), before);
        let collation = "SELECT attcollation::regcollation::text FROM pg_attribute
            WHERE attrelid = 'worker_repository'::regclass AND attname = 'name'";
        assert_eq!(world.one::<String>(collation), "\"C\"");
    }
    world.issue(ISSUE, "Working");
    world.sync();
    let names = "SELECT count(*) FROM worker_repository WHERE name = 'info/itil'";
    assert_eq!(world.one::<i64>(names), 1);
}

/// The other tests run in a database in which this makes no difference.
#[test]
fn every_name_is_folded_without_the_collation_of_the_database() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("sql/worker.sql")];
    files_below(&root.join("src/db"), &mut files);
    let mut folded = 0;
    for file in files {
        let text = std::fs::read_to_string(&file)
            .unwrap()
            .replace("\\\"", "\"");
        for part in text.split("lower(").skip(1) {
            folded += 1;
            let mut depth = 1;
            let end = part.find(|letter| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                depth == 0
            });
            let argument = &part[..end.unwrap()];
            // The column `worker_repository.name` has that collation.
            let is_folded = argument.ends_with(" COLLATE \"C\"") || argument == "name";
            assert!(is_folded, "{}: lower({argument})", file.display());
        }
    }
    assert!(folded > 15, "{folded}");
}
