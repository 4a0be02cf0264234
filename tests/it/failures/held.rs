//! Rows that a person has locked.

use crate::harness::World;

/// A person at psql has locked one of three mappings in an open transaction. The run skips it and does not wait.
#[test]
fn recheck_now_skips_a_locked_row() {
    let mut world = World::new();
    for number in 1..=3 {
        world.issue(&format!("acme/shop#{number}"), "Working");
    }
    world.sync();
    let recheck_at = "SELECT worker_recheck_at FROM core_externalissuemapping WHERE id = 2";
    let before: chrono::DateTime<chrono::Utc> = world.one(recheck_at);
    let mut person = world.database.client();
    for lock in ["FOR UPDATE", "FOR NO KEY UPDATE"] {
        let mut transaction = person.transaction().unwrap();
        transaction
            .execute(
                &format!("SELECT FROM core_externalissuemapping WHERE id = 2 {lock}"),
                &[],
            )
            .unwrap();
        let run = world
            .run(&["sync", "--recheck-now"])
            .exits(0)
            .logs("1 more keep their recheck times");
        transaction.rollback().unwrap();
        run.logs("2 waiting mappings will be rechecked now")
            .prints("2 unchanged");
        assert_eq!(
            world.one::<chrono::DateTime<chrono::Utc>>(recheck_at),
            before
        );
    }
    world
        .run(&["sync", "--recheck-now"])
        .exits(0)
        .prints("3 unchanged");
}
