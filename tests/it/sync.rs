//! The main job: closed issues move their items, pull requests are linked, Weaviate is filled.

use agira_worker::core::agira_object::ObjectType::{GithubIssue, GithubPr, Item};

use crate::world::World;

const CLOSED_AT: &str = "2026-03-01T10:00:00Z";

#[test]
fn a_closed_issue_moves_its_item_to_testing() {
    let mut world = World::new();
    let linked = world.issue("acme/shop#12", "Working");
    world.github.close("acme/shop#12", CLOSED_AT);
    let run = world.sync();
    println!("{}", run.all());
    assert_eq!(world.item_status(linked.item), "Testing");
    println!("{:#?}", world.weaviate.objects());
}
