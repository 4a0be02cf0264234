//! What histories found, each as a story of its own.

use chrono::{SecondsFormat, Utc};

use crate::world::World;

/// Whatever the rows' recheck times are: what discovery makes due goes by id.
#[test]
fn a_dry_run_with_a_limit_chooses_what_the_run_then_chooses() {
    let mut world = World::new();
    let keys = [1, 2, 3].map(|number| format!("acme/shop#{number}"));
    let linked = keys.each_ref().map(|key| world.issue(key, "Working"));
    world.sync();
    world.execute("UPDATE core_externalissuemapping SET worker_recheck_at = worker_recheck_at - id * interval '1 h'");
    let at = (Utc::now() + chrono::Duration::seconds(10)).to_rfc3339_opts(SecondsFormat::Secs, true);
    keys.iter().for_each(|key| world.github.close(key, &at));
    for expected in &linked {
        let dry = world.run(&["sync", "--limit", "1", "--dry-run", "--output", "json"]).exits(0).json();
        let real = world.run(&["sync", "--limit", "1", "--output", "json"]).exits(0).json();
        let chosen = [dry, real].map(|report| report["mappings"][0]["mapping_id"].clone());
        assert_eq!(chosen, [expected.mapping, expected.mapping]);
    }
}
