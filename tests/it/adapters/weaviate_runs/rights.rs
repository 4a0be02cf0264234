//! The least rights in a Weaviate with roles (RBAC), which the manual names.

use kit::weaviate_server::{Config, RealServer};
use serde_json::{Value, json};

use crate::fixtures::CLOSED_AT;
use crate::harness::{Run, World};

const ADMINISTRATOR: &str = "key-of-the-administrator";
const GUEST: &str = "key-of-the-program";

/// Returns a permission of the class, or of all classes.
fn permission(action: &str, collection: &str) -> Value {
    match action.ends_with("_data") {
        true => json!({ "action": action, "data": { "collection": collection } }),
        false => json!({ "action": action, "collections": { "collection": collection } }),
    }
}

/// A server whose administrator gives rights to the program.
struct Guarded {
    server: RealServer,
    url: String,
}

impl Guarded {
    fn start() -> Self {
        let config = Config {
            api_key: Some(ADMINISTRATOR.to_owned()),
            guest_key: Some(GUEST.to_owned()),
            ..Config::USUAL
        };
        let server = RealServer::start(config).unwrap_or_else(|error| panic!("{error:#}"));
        let url = server.open().expect("a free port");
        let guarded = Self { server, url };
        // A role has at least one right.
        let nothing = [permission("read_collections", "Unrelated")];
        let role = json!({ "name": "agira_worker", "permissions": nothing });
        guarded.ask("POST", "/v1/authz/roles", &role);
        let role = json!({ "roles": ["agira_worker"], "userType": "db" });
        guarded.ask("POST", "/v1/authz/users/guest/assign", &role);
        guarded
    }

    #[track_caller]
    fn ask(&self, method: &str, target: &str, body: &Value) {
        let (status, said) = self.server.administer(method, target, body);
        assert!((200..300).contains(&status), "{target}: {status} {said}");
    }

    #[track_caller]
    fn change(&self, how: &str, (action, collection): (&str, &str)) {
        let body = json!({ "permissions": [permission(action, collection)] });
        let target = format!("/v1/authz/roles/agira_worker/{how}-permissions");
        self.ask("POST", &target, &body);
    }

    fn objects(&self) -> u64 {
        let list = "/v1/objects?class=AgiraObject&limit=100";
        let (_, listed) = self.server.administer("GET", list, &Value::Null);
        listed["totalResults"].as_u64().expect("a number")
    }

    fn sync(&self, world: &World) -> Run {
        let mut command = world.command(&["sync", "--recheck-now"]);
        command.env("WEAVIATE_URL", &self.url);
        Run::of(command.env("WEAVIATE_API_KEY", GUEST))
    }
}

const RIGHTS: [(&str, &str); 4] = [
    ("read_collections", "AgiraObject"),
    ("read_data", "AgiraObject"),
    ("create_data", "AgiraObject"),
    ("update_data", "AgiraObject"),
];

#[test]
#[ignore = "needs a real Weaviate server, which tests/run.sh provides"]
fn real_weaviate_serves_a_run_with_the_least_rights() {
    let guarded = Guarded::start();
    let mut world = World::new();
    world.issue("acme/shop#1", "Working");
    for right in RIGHTS {
        guarded.change("add", right);
    }
    // The class is missing.
    let refused = guarded.sync(&world);
    assert_eq!(refused.code, 1, "{}", refused.all());
    guarded.change("add", ("create_collections", "AgiraObject"));
    guarded.sync(&world).exits(0).prints("2 objects written");
    guarded.change("remove", ("create_collections", "AgiraObject"));
    // Each of the others is needed, and so is nothing else.
    for (number, right) in (2..).zip(RIGHTS) {
        change_both(&mut world, number);
        guarded.change("remove", right);
        let refused = guarded.sync(&world);
        assert_ne!(refused.code, 0, "{right:?}: {}", refused.all());
        guarded.change("add", right);
        // A rejected object waits for its next delivery.
        world.execute("UPDATE core_externalissuemapping SET worker_delivery_at = now() WHERE worker_outbox IS NOT NULL");
        guarded.sync(&world).exits(0);
        let objects = guarded.objects();
        assert_eq!(objects, 2 * u64::from(number), "{right:?}");
    }
    let asked = |code: i32, says: &str| {
        let mut command = world.command(&["status", "--services"]);
        command.env("WEAVIATE_URL", &guarded.url);
        let run = Run::of(command.env("WEAVIATE_API_KEY", GUEST));
        run.exits(code).prints("user guest").prints(says);
    };
    asked(0, "the key may write");
    guarded.change("remove", RIGHTS[3]);
    asked(1, "the key may not write objects of AgiraObject");
    guarded.change("add", RIGHTS[3]);
    let alone = "Weaviate does not answer GraphQL (403";
    change_both(&mut world, 6);
    guarded.sync(&world).exits(0).logs(alone);
    guarded.change("add", ("read_collections", "*"));
    change_both(&mut world, 7);
    let run = guarded.sync(&world).exits(0);
    assert!(!run.stderr.contains(alone), "{}", run.all());
    run.prints("4 objects written");
}

/// Adds an issue, which needs new objects, and closes the one before, whose objects change.
fn change_both(world: &mut World, number: u32) {
    world.issue(&format!("acme/shop#{number}"), "Working");
    let before = format!("acme/shop#{}", number - 1);
    world.github.close(&before, CLOSED_AT);
}
