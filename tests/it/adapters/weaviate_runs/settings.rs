//! Server settings that can differ.

use kit::weaviate::{GraphQl, Settings};

use super::{check_complete, counts};
use crate::fixtures::closed_issues;
use crate::harness::{Run, World};

/// Makes a run that creates objects and a run that writes nothing; checks 60 objects each time, and that the class did
/// not change.
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

/// All other tests use the kit's proxy, which has its own keep-alive and compression.
#[test]
#[ignore = "needs a real Weaviate server, which tests/run.sh provides"]
fn real_weaviate_serves_a_run_without_a_proxy() {
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

/// Tests that start their own server, because a running server cannot change these settings.
mod own_server {
    use super::*;

    /// Invariant 7.
    #[test]
    fn with_every_server_setting_a_second_run_writes_nothing_and_no_run_changes_the_class() {
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
    fn a_run_with_an_api_key_gives_the_same_result() {
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
