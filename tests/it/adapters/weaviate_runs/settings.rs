//! Settings that servers differ in.

use kit::weaviate::{GraphQl, Settings};

use super::{check_complete, closed_issues, counts};
use crate::world::{Run, World};

/// Creates, finds unchanged, and leaves alone: twice 60 objects, and the class as it was.
#[track_caller]
fn check_runs(world: &World, run: &dyn Fn(&[&str]) -> Run) {
    let class = world.weaviate.class();
    let sync = [
        "sync",
        "--recheck-now",
        "--limit",
        "1000",
        "--output",
        "json",
    ];
    assert_eq!(counts(&run(&sync).exits(0)), [120, 0, 0]);
    check_complete(world, 60);
    let objects = world.weaviate.objects();
    world.weaviate.clear_log();
    assert_eq!(counts(&run(&sync).exits(0)), [0, 0, 120]);
    assert_eq!((world.weaviate.writes(), world.weaviate.batches()), (0, 0));
    assert_eq!(
        (world.weaviate.objects(), world.weaviate.class()),
        (objects, class)
    );
}

/// All other tests pass a proxy of ours, which has its own keep-alive and compression.
#[test]
#[ignore = "needs a real Weaviate server, which tests/run.sh provides"]
fn real_weaviate_serves_a_run_the_same_with_nothing_in_between() {
    let world = closed_issues(Settings::default(), 60);
    let url = world
        .weaviate
        .real()
        .expect("a real server: run this with KIT_WEAVIATE=real")
        .open()
        .expect("a port");
    check_runs(&world, &|args| {
        Run::of(world.command(args).env("WEAVIATE_URL", &url))
    });
    assert!(
        world.weaviate.requests().is_empty(),
        "none came through the proxy"
    );
}

/// What needs a server of its own: it is set in ways that one which runs already is not.
mod own_server {
    use super::*;

    /// Invariant 7.
    #[test]
    fn whatever_a_server_offers_a_second_look_writes_nothing_and_no_look_changes_the_class() {
        for graphql in [GraphQl::On, GraphQl::Disabled422] {
            for auto_schema in [true, false] {
                let world = closed_issues(
                    Settings {
                        graphql,
                        auto_schema,
                        ..Settings::default()
                    },
                    60,
                );
                check_runs(&world, &|args| world.run(args));
            }
        }
    }

    #[test]
    fn with_its_key_a_run_does_the_same() {
        let world = closed_issues(
            Settings {
                api_key: Some("right".to_owned()),
                ..Settings::default()
            },
            60,
        );
        check_runs(&world, &|args| {
            Run::of(world.command(args).env("WEAVIATE_API_KEY", "right"))
        });
    }
}
