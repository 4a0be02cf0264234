//! Every network fault, from each request of a run on. The run must end as design.md ("Failure model") says, and the
//! next runs must reach the state of an undisturbed run.

use kit::fault_proxy::{FaultProxy, WireFault};
use kit::github::Closer;
use serde_json::{Value, json};

use crate::fixtures::CLOSED_AT;
use crate::harness::{Run, World};
use crate::parallel::check_each;

/// Returns a world with two issues: a pull request, which gets its row in this run, closed one; the other one was
/// deleted.
fn world() -> World {
    let mut world = World::new();
    for key in ["acme/shop#1", "acme/shop#3"] {
        world.issue(key, "Working");
    }
    world.github.pull_request("acme/shop#4", |_| {});
    let closer = Closer::PullRequest("acme/shop#4".to_owned());
    world
        .github
        .close_by("acme/shop#1", CLOSED_AT, "COMPLETED", closer);
    world.github.delete("acme/shop#3");
    world.execute(
        "INSERT INTO worker_repository (name, issues_cursor, pull_requests_cursor) VALUES ('acme/shop', now(), now())",
    );
    world
}

#[derive(Debug, Clone, Copy)]
enum Service {
    Github,
    Weaviate,
}

impl Service {
    fn front(self, world: &World) -> FaultProxy {
        FaultProxy::before(&match self {
            Self::Github => world.github.url(),
            Self::Weaviate => world.weaviate.url(),
        })
    }

    fn sync(self, world: &World, front: &FaultProxy, patience: &str) -> Run {
        let variable = match self {
            Self::Github => "GITHUB_API_URL",
            Self::Weaviate => "WEAVIATE_URL",
        };
        let mut command =
            world.command(&["sync", "--output", "json", "--request-timeout", patience]);
        Run::of(command.env(variable, front.url()))
    }
}

/// Returns the final state that people and Agira see. A mapping that fails in the end may have more attempts.
fn level(world: &mut World) -> Value {
    let rows = "SELECT json_build_object(
        'items', (SELECT json_agg(json_build_array(id, status) ORDER BY id) FROM core_item),
        'mappings', (SELECT json_agg(json_build_array(item_id, kind, number, state,
            CASE WHEN worker_error IS NULL THEN worker_attempts END, worker_error,
            worker_outbox, worker_claim, worker_due_at) ORDER BY id) FROM core_externalissuemapping),
        'links', (SELECT json_agg(json_build_array(item_id, relation)) FROM worker_pull_request_link),
        'activities', (SELECT json_agg(summary ORDER BY id) FROM core_activity))";
    let mut level: Value = world.one(rows);
    let objects = world.weaviate.objects();
    level["objects"] = objects
        .iter()
        .map(|(id, object)| json!([id, object["properties"]["status"]]))
        .collect();
    level
}

struct Fault {
    name: &'static str,
    wire: WireFault,
    /// Exit code of the run if the fault does not end.
    code: i32,
    /// Request timeout of the run. It is long where no timeout is expected, so that a busy machine causes no other
    /// fault.
    patience: &'static str,
}

fn faults() -> Vec<Fault> {
    let fault = |name, wire, code, patience| Fault {
        name,
        wire,
        code,
        patience,
    };
    let answer = |content_type: &str, body: &[u8]| {
        WireFault::answer(200, &[("content-type", content_type)], body)
    };
    let elsewhere = [("location", "http://127.0.0.1:1/graphql")];
    vec![
        fault("refused", WireFault::Refused, 75, "1m"),
        fault(
            "reset before it was read",
            WireFault::ClosedBefore,
            75,
            "1m",
        ),
        fault("reset after it was served", WireFault::LostAnswer, 75, "1m"),
        fault("cut body", WireFault::Cut, 75, "1m"),
        fault(
            "garbled JSON",
            answer("application/json", b"{\"data\":{\"r0\""),
            75,
            "1m",
        ),
        fault(
            "HTML with 200",
            answer("text/html", b"<html>a login page</html>"),
            75,
            "1m",
        ),
        fault(
            "wrong content type",
            answer("image/png", b"\x89PNG\r\n"),
            75,
            "1m",
        ),
        fault(
            "34 MB",
            answer("application/json", &vec![b' '; 34_000_000]),
            75,
            "1m",
        ),
        fault("a byte now and then", WireFault::Trickle, 75, "1s"),
        fault("no answer", WireFault::Hang, 75, "1s"),
        fault(
            "a redirect to another host",
            WireFault::answer(301, &elsewhere, b""),
            1,
            "1m",
        ),
    ]
}

/// Injects this fault from the request with index `first` on.
fn check(service: Service, fault: &Fault, first: usize, expected: &Value) -> Result<(), String> {
    let mut world = world();
    let front = service.front(&world);
    front.fail_from(first, fault.wire.clone());
    let run = service.sync(&world, &front, fault.patience);
    drop(front);
    let context = format!(
        "{service:?}: {}, from request {first} on\n{}",
        fault.name,
        run.all()
    );
    let stopped_by = match (fault.code, service) {
        (75, Service::Github) => json!("github"),
        (75, Service::Weaviate) => json!("weaviate"),
        _ => Value::Null,
    };
    if (run.code, &run.json()["stopped_by"]) != (fault.code, &stopped_by) {
        return Err(format!("not {} and {stopped_by}: {context}", fault.code));
    }
    let counted =
        "SELECT count(*) FROM core_externalissuemapping WHERE number <> 3 AND worker_attempts > 0";
    if world.one::<i64>(counted) > 0 {
        return Err(format!("an attempt is counted: {context}"));
    }
    world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = now() WHERE worker_due_at > now()",
    );
    let next: Vec<Run> = (0..2).map(|_| world.run(&["sync"])).collect();
    let level = level(&mut world);
    if level != *expected {
        let next: String = next.iter().map(Run::all).collect();
        return Err(format!("{level}\nis not\n{expected}\n{context}{next}"));
    }
    Ok(())
}

fn check_all(service: Service) {
    let mut undisturbed = world();
    let front = service.front(&undisturbed);
    service.sync(&undisturbed, &front, "1m").exits(3);
    let (requests, expected) = (front.requests(), level(&mut undisturbed));
    assert!(requests >= 4, "{requests}");
    let faults = faults();
    let cases: Vec<_> = (0..requests)
        .flat_map(|first| faults.iter().map(move |fault| (fault, first)))
        .collect();
    println!("{service:?}: {} cases", cases.len());
    check_each(&cases, |(fault, first)| {
        check(service, fault, *first, &expected)
    });
}

#[test]
fn no_network_fault_of_github_loses_anything() {
    check_all(Service::Github);
}

/// Starting a real Weaviate for some dozen worlds would take too long, and these tests are not about it.
mod simulated {
    use super::*;

    #[test]
    fn no_network_fault_of_weaviate_loses_anything() {
        check_all(Service::Weaviate);
    }
}
