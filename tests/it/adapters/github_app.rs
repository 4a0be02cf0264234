//! A GitHub App instead of a token.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agira_worker::core::failure::FailureKind;
use agira_worker::core::model::{Address, Kind};
use agira_worker::github::Github;
use agira_worker::http::Timeouts;
use kit::github::app::{App, Installation, Key};
use kit::github::{Fault, Github as Simulator};
use kit::http::Response;
use serde_json::json;

use crate::fixtures::MOVED;
use crate::harness::{Run, World};

/// Id of the App of these tests.
const ID: &str = "4711";

/// World with an App that is installed for `acme` (11) and the user `mona` (12), and two closed issues of each.
struct Apps {
    world: World,
    key: Key,
    folder: tempfile::TempDir,
}

impl Apps {
    fn new() -> Self {
        let user = Installation {
            is_user: true,
            ..Installation::new(12, "mona")
        };
        let keys = ["acme/shop#1", "mona/site#1", "acme/docs#1", "mona/blog#1"];
        Self::with(&keys, vec![Installation::new(11, "acme"), user])
    }

    /// Returns one owner with one closed issue.
    fn with_one() -> Self {
        Self::with(&["acme/shop#1"], vec![Installation::new(11, "acme")])
    }

    fn with(keys: &[&str], installations: Vec<Installation>) -> Self {
        let mut world = World::new();
        for key in keys {
            world.closed_issue(key);
        }
        let key = Key::new();
        world.github.register(App::new(ID, &key, installations));
        Self {
            world,
            key,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, content: &str) -> PathBuf {
        let path = self.folder.path().join("app.pem");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// Returns the command of `sync` as the App, with more variables; an empty value counts as not set.
    fn sync_with(&self, key: &str, vars: &[(&str, &str)]) -> Run {
        self.run_with(&["sync", "-v"], key, vars)
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &self.key.pkcs1_pem(), &[])
    }

    fn run_with(&self, args: &[&str], key: &str, vars: &[(&str, &str)]) -> Run {
        let mut command = self.world.command(args);
        command.env_remove("GITHUB_TOKEN").env("GITHUB_APP_ID", ID);
        command
            .env("GITHUB_APP_PRIVATE_KEY_FILE", self.file(key))
            .envs(vars.iter().copied());
        let run = Run::of(&mut command);
        let key = key
            .lines()
            .filter(|line| line.len() > 20 && !line.starts_with('-'))
            .map(str::to_owned);
        let shown = self
            .world
            .github_credentials()
            .into_iter()
            .chain(key)
            .any(|secret| run.all().contains(&secret));
        assert!(!shown, "invariant 12: the run shows a credential");
        run
    }

    fn sync(&self) -> Run {
        self.sync_with(&self.key.pkcs1_pem(), &[])
    }

    fn asked(&self) -> Vec<String> {
        self.world
            .github
            .requests()
            .into_iter()
            .map(|exchange| exchange.request.path)
            .collect()
    }

    /// Returns the number of requests that GitHub refused.
    fn refused(&self) -> usize {
        self.world
            .github
            .requests()
            .iter()
            .filter(|exchange| exchange.response.status == 401)
            .count()
    }

    fn change(&self, change: impl FnOnce(&mut App)) {
        self.world.github.with_app(change);
    }

    /// Returns the number of items that moved, and of tokens that GitHub issued.
    fn moved_and_made(&mut self) -> (i64, usize) {
        let moved = self.world.one(MOVED);
        (moved, self.world.github.with_app(|app| app.tokens_made))
    }
}

#[test]
fn an_app_reads_the_repositories_of_each_installation() {
    let mut apps = Apps::new();
    let run = apps.sync().exits(0).prints("4 mappings synced");
    assert!(!run.stderr.contains("WARN"), "{}", run.all());
    assert_eq!((apps.moved_and_made(), apps.refused()), ((4, 2), 0));
    let asked = apps.asked();
    assert_eq!(
        asked
            .iter()
            .filter(|path| path.ends_with("/installation"))
            .count(),
        3,
        "{asked:?}"
    );
    // Two polls and two fetches: a request never mixes owners, and one request covers all issues of an owner.
    assert_eq!(
        asked.iter().filter(|path| *path == "/graphql").count(),
        4,
        "{asked:?}"
    );
}

#[test]
fn no_credential_of_an_app_is_shown_even_with_everything_logged() {
    let apps = Apps::new();
    apps.change(|app| app.token_serves = 1);
    let run = apps.sync_with(&apps.key.pkcs1_pem(), &[("RUST_LOG", "trace")]);
    assert!(run.stderr.contains("TRACE"), "{}", run.all());
    assert!(
        apps.world.github_credentials().len() >= 5,
        "statements and tokens were sent"
    );
}

#[test]
fn a_configured_installation_needs_no_request_and_a_pkcs8_key_works() {
    let mut apps = Apps::new();
    apps.sync_with(
        &apps.key.pkcs8_pem(),
        &[("GITHUB_APP_INSTALLATION_ID", "11")],
    )
    .exits(3);
    assert_eq!(apps.moved_and_made(), (2, 1));
    assert_eq!(apps.asked()[0], "/app/installations/11/access_tokens");
    let run = apps
        .sync_with(
            &apps.key.pkcs8_pem(),
            &[("GITHUB_APP_INSTALLATION_ID", "13")],
        )
        .exits(1);
    run.logs("installation 13 of the GitHub App gets no token: Not Found; check GITHUB_APP_INSTALLATION_ID");
}

#[test]
fn a_key_in_the_environment_and_a_client_id_work() {
    let mut apps = Apps::with_one();
    apps.world.github.register(App::new(
        "Iv23liABC",
        &apps.key,
        vec![Installation::new(11, "acme")],
    ));
    let key = apps.key.pkcs1_pem();
    let vars = [
        ("GITHUB_APP_ID", "Iv23liABC"),
        ("GITHUB_APP_PRIVATE_KEY_FILE", ""),
        ("GITHUB_APP_PRIVATE_KEY", &key),
    ];
    apps.sync_with(&key, &vars).exits(0);
    assert_eq!(apps.moved_and_made(), (1, 1));
}

#[test]
fn clocks_an_hour_apart_do_not_matter() {
    for (ahead, expected) in [
        (3600, "differs from GitHub's by 3"),
        (-3600, "differs from GitHub's by -3"),
    ] {
        let mut apps = Apps::new();
        apps.world.github.settings().clock_ahead = ahead;
        let run = apps.sync().exits(0).logs(expected);
        assert_eq!(
            run.stderr.matches("this machine's clock").count(),
            1,
            "{}",
            run.all()
        );
        assert_eq!((apps.moved_and_made(), apps.refused()), ((4, 2), 1));
    }
}

#[test]
fn clocks_less_than_a_minute_apart_cost_nothing() {
    for ahead in [45, -45] {
        let mut apps = Apps::with_one();
        apps.world.github.settings().clock_ahead = ahead;
        let run = apps.sync().exits(0);
        assert!(!run.stderr.contains("clock"), "{}", run.all());
        assert_eq!((apps.moved_and_made(), apps.refused()), ((1, 1), 0));
    }
}

#[test]
fn a_token_that_is_about_to_expire_is_renewed_before_use() {
    let mut apps = Apps::new();
    apps.change(|app| app.token_lasts = 299);
    apps.sync().exits(0);
    assert_eq!((apps.moved_and_made(), apps.refused()), ((4, 4), 0));
}

#[test]
fn a_token_that_is_refused_during_a_run_is_renewed_once() {
    let mut apps = Apps::with_one();
    // GitHub answers the poll, but not the fetch.
    apps.change(|app| app.token_serves = 1);
    apps.sync()
        .exits(0)
        .logs("GitHub refuses a token of installation 11 of the GitHub App before it expires");
    assert_eq!((apps.moved_and_made(), apps.refused()), ((1, 2), 1));

    let mut apps = Apps::with_one();
    apps.world.github.delete("acme/shop#1");
    // GitHub answers poll and fetch, but not the REST request about the missing issue.
    apps.change(|app| app.token_serves = 2);
    apps.sync()
        .exits(3)
        .logs("acme/shop#1 was deleted on GitHub");
    assert_eq!((apps.moved_and_made(), apps.refused()), ((0, 2), 1));
}

#[test]
fn a_second_refused_token_ends_the_run_and_the_next_run_continues() {
    let mut apps = Apps::with_one();
    apps.world.github.pull_request("acme/shop#2", |_| {});
    apps.world.github.issue("acme/shop#1", |issue| {
        issue.references = vec!["acme/shop#2".to_owned()]
    });
    // The issue uses up the second token, and the pull request would need a third one.
    apps.change(|app| app.token_serves = 1);
    apps.sync()
        .exits(75)
        .logs("GitHub refuses a token of installation 11 of the GitHub App that it created a moment ago (Bad credentials)");
    assert_eq!((apps.moved_and_made(), apps.refused()), ((1, 2), 4));
    apps.change(|app| app.token_serves = usize::MAX);
    apps.sync().exits(0).prints("1 mapping synced");
}

#[test]
fn if_a_new_token_stays_refused_the_run_ends_and_nothing_is_lost() {
    let mut apps = Apps::with_one();
    apps.change(|app| app.token_serves = 0);
    let run = apps
        .sync()
        .exits(75)
        .logs("a token of installation 11 of the GitHub App that it created a moment ago (Bad credentials)");
    assert!(!run.stderr.contains("GITHUB_TOKEN"), "{}", run.all());
    assert_eq!((apps.moved_and_made(), apps.refused()), ((0, 1), 3));
    apps.change(|app| app.token_serves = usize::MAX);
    apps.sync().exits(0);
    assert_eq!(apps.moved_and_made(), (1, 2));
}

/// Every form in which GitHub refuses a token that it does not know everywhere yet.
fn refusals() -> [Response; 4] {
    let forbidden =
        json!({ "type": "FORBIDDEN", "message": "Resource not accessible by integration" });
    let at = |alias: &str| {
        let mut error = forbidden.clone();
        error["path"] = json!([alias]);
        error
    };
    [
        Response::json(401, &json!({ "message": "Bad credentials" })),
        Response::json(
            403,
            &json!({ "message": "Resource not accessible by integration" }),
        ),
        Response::json(200, &json!({ "errors": [forbidden] })),
        Response::json(
            200,
            &json!({ "data": { "t0": null, "r0": null }, "errors": [at("t0"), at("r0")] }),
        ),
    ]
}

/// Fetches an issue with a client whose first delay is `retry`, after these refusals. Returns what came of it, with
/// the number of requests that GitHub refused and of tokens.
fn fetch_after(
    refusals: impl IntoIterator<Item = Response>,
    retry: Duration,
) -> (Result<usize, FailureKind>, usize, usize) {
    let (key, simulator) = (Key::new(), Simulator::start());
    simulator.issue("acme/shop#1", |_| {});
    let mut app = App::new(ID, &key, vec![Installation::new(11, "acme")]);
    app.refusals = refusals.into_iter().collect();
    let count = app.refusals.len();
    simulator.register(app);
    let app = agira_worker::github::App::new(ID, None, &key.pkcs1_pem()).expect("an App");
    let timeouts = Timeouts {
        answer: Duration::from_secs(10),
        retry,
    };
    let client = Github::with_app(&simulator.url(), app).expect("a client");
    let address = Address::parse("https://github.com/acme/shop/issues/1").expect("an address");
    let fetched = client
        .with_timeouts(timeouts)
        .fetch(&[(address, Kind::Issue)], &|_| {});
    let result = match fetched.ended_by {
        Some(error) => Err(error.kind),
        None => Ok(fetched
            .answers
            .iter()
            .flatten()
            .filter(|answer| answer.is_ok())
            .count()),
    };
    let (left, made) = simulator.with_app(|app| (app.refusals.len(), app.tokens_made));
    (result, count - left, made)
}

/// A delay with which a token is fresh for a second instead of five.
const FRESH_FOR_A_SECOND: Duration = Duration::from_millis(50);

#[test]
fn a_fresh_token_that_is_refused_is_tried_twice_more() {
    for refusal in refusals() {
        for count in [1, 2] {
            let refused = std::iter::repeat_n(refusal.clone(), count);
            let begin = Instant::now();
            assert_eq!(
                fetch_after(refused, FRESH_FOR_A_SECOND),
                (Ok(1), count, 1),
                "{refusal:?}"
            );
            assert!(begin.elapsed() > FRESH_FOR_A_SECOND * 4);
        }
    }
}

/// GitHub may refuse an organization's repository for good, so that an answer about it counts in the end.
#[test]
fn a_fresh_token_that_stays_refused_is_a_failure_that_passes() {
    let all = refusals();
    for refusal in &all[..3] {
        let refused = std::iter::repeat_n(refusal.clone(), 9);
        let result = fetch_after(refused, FRESH_FOR_A_SECOND);
        assert_eq!(result, (Err(FailureKind::Unavailable), 3, 1), "{refusal:?}");
    }
    let refused = std::iter::repeat_n(all[3].clone(), 9);
    assert_eq!(fetch_after(refused, FRESH_FOR_A_SECOND), (Ok(0), 4, 1));
}

#[test]
fn a_fresh_token_that_is_refused_for_one_repository_is_not_believed_before_it_is_known_everywhere()
{
    let refused = std::iter::repeat_n(refusals()[3].clone(), 3);
    let begin = Instant::now();
    assert_eq!(fetch_after(refused, FRESH_FOR_A_SECOND), (Ok(1), 3, 1));
    assert!(begin.elapsed() >= FRESH_FOR_A_SECOND * 20);
}

#[test]
fn an_older_token_that_is_refused_is_renewed_once_and_then_a_person_has_to_act() {
    let refused = |count| std::iter::repeat_n(refusals()[0].clone(), count);
    assert_eq!(fetch_after(refused(1), Duration::ZERO), (Ok(1), 1, 2));
    let result = fetch_after(refused(9), Duration::ZERO);
    assert_eq!(result, (Err(FailureKind::Refused), 2, 2));
}

#[test]
fn an_owner_without_installation_or_permission_does_not_stop_the_others() {
    let check = |change: fn(&mut App), expected: &str| {
        let mut apps = Apps::new();
        apps.change(change);
        apps.sync().exits(3).logs(expected);
        assert_eq!(apps.moved_and_made().0, 2, "{expected}");
    };
    check(
        |app| app.installations.truncate(1),
        "the GitHub App is not installed for mona; install it for that owner",
    );
    check(
        |app| app.installations[1].is_suspended = true,
        "installation 12 of the GitHub App gets no token: This installation has been suspended",
    );
    check(
        |app| app.installations[1].permissions = json!({ "metadata": "read", "issues": "read" }),
        "installation 12 of the GitHub App may not read contents and pull_requests; add it to the App's permissions",
    );
}

#[test]
fn a_failure_to_get_a_token_is_a_failure_of_github_and_loses_nothing() {
    for status in [502, 429] {
        let mut apps = Apps::new();
        let answer = Response::empty(status).header("retry-after", "0");
        apps.world.github.fail_next(1, &Fault::Answer(answer));
        apps.sync().exits(75);
        apps.sync().exits(0);
        assert_eq!(apps.moved_and_made(), (4, 2));
    }
}

#[test]
fn a_repository_outside_the_installation_is_named_with_its_mapping_number() {
    let mut apps = Apps::new();
    apps.world.github.hide_repository("acme/docs");
    apps.sync().exits(3).logs(
        "repository acme/docs cannot be read with installation 11 of the GitHub App: GitHub says",
    );
    assert_eq!(apps.moved_and_made(), (3, 2));
}

#[test]
fn if_no_owner_has_an_installation_a_person_has_to_act() {
    let mut apps = Apps::new();
    apps.change(|app| app.installations.clear());
    apps.sync().exits(1).logs(
        "no repository can be read: the GitHub App is not installed for acme; install it for that owner",
    );
    assert_eq!(apps.moved_and_made(), (0, 0));
}

#[test]
fn wrong_app_settings_give_one_clear_line_before_any_request() {
    let apps = Apps::with_one();
    let key = apps.key.pkcs1_pem();
    let check = |key: &str, vars: &[(&str, &str)], expected: &str| {
        let run = apps.sync_with(key, vars).exits(1).logs(expected);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.all());
        assert!(!run.all().contains("hunter2"), "{}", run.all());
    };
    check(
        "",
        &[],
        "app.pem, which GITHUB_APP_PRIVATE_KEY_FILE names, is empty",
    );
    // Nobody can read a folder as a file, not even root.
    for path in ["/nowhere/key", "/"] {
        let unreadable = format!("cannot read {path}, which GITHUB_APP_PRIVATE_KEY_FILE names");
        check(&key, &[("GITHUB_APP_PRIVATE_KEY_FILE", path)], &unreadable);
    }
    let pem = |kind: &str| {
        format!("-----BEGIN {kind}-----\nhunter2hunter2hunter2hunter2\n-----END {kind}-----\n")
    };
    let of_another_kind = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let half: String = key
        .lines()
        .take(12)
        .chain(["-----END RSA PRIVATE KEY-----"])
        .map(|line| format!("{line}\n"))
        .collect();
    for bad in [
        "hunter2",
        &*pem("RSA PRIVATE KEY"),
        &pem("PRIVATE KEY"),
        &pem("ENCRYPTED PRIVATE KEY"),
        &of_another_kind,
        &half,
    ] {
        check(
            bad,
            &[],
            "app.pem, which GITHUB_APP_PRIVATE_KEY_FILE names, is not the App's private key: it holds ",
        );
    }
    let in_environment = [
        ("GITHUB_APP_PRIVATE_KEY_FILE", ""),
        ("GITHUB_APP_PRIVATE_KEY", "hunter2"),
    ];
    check(
        &key,
        &in_environment,
        "GITHUB_APP_PRIVATE_KEY is not the App's private key: it holds no RSA private key",
    );
    check(
        &key,
        &[("GITHUB_TOKEN", "hunter2")],
        "both GITHUB_TOKEN and variables of a GitHub App (GITHUB_APP_...) are set",
    );
    check(
        &key,
        &[("GITHUB_APP_ID", "hunter2 ")],
        "GITHUB_APP_ID is not an App id; it is a number, or a client id",
    );
    check(
        &key,
        &[("GITHUB_APP_ID", "")],
        "GITHUB_APP_ID is not set; you find it in the App's settings",
    );
    check(
        &key,
        &[("GITHUB_APP_INSTALLATION_ID", "hunter2")],
        "GITHUB_APP_INSTALLATION_ID is not a number",
    );
    check(
        &key,
        &[("GITHUB_APP_PRIVATE_KEY_FILE", "")],
        "GITHUB_APP_PRIVATE_KEY_FILE is not set; it names the file",
    );
    assert!(apps.asked().is_empty(), "{:?}", apps.asked());
}

#[test]
fn an_app_id_that_does_not_match_its_key_is_reported() {
    let mut apps = Apps::with_one();
    let (key, another) = (apps.key.pkcs1_pem(), Key::new().pkcs1_pem());
    for (key, id, expected) in [
        (&key, "4712", "Integration not found"),
        (&another, ID, "could not be decoded"),
    ] {
        let run = apps
            .sync_with(key, &[("GITHUB_APP_ID", id)])
            .exits(1)
            .logs(expected);
        let run = run
            .logs("do id and private key belong to the same App?); check GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY_FILE");
        assert_eq!(run.stderr.matches("ERROR").count(), 1, "{}", run.all());
    }
    assert_eq!(apps.moved_and_made(), (0, 0));
}

#[test]
fn a_key_file_that_everybody_can_read_causes_a_warning_and_is_used() {
    let apps = Apps::with_one();
    let path = apps.file(&apps.key.pkcs1_pem());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let mut command = apps.world.command(&["sync"]);
    command
        .env_remove("GITHUB_TOKEN")
        .env("GITHUB_APP_ID", ID)
        .env("GITHUB_APP_PRIVATE_KEY_FILE", &path);
    Run::of(&mut command)
        .exits(0)
        .logs("which GITHUB_APP_PRIVATE_KEY_FILE names, can be read by every user");
}

/// Returns 60 closed issues of `acme`, which come first, and 30 of `mona`.
fn many() -> Apps {
    let keys: Vec<String> = (1..=60)
        .map(|number| format!("acme/shop#{number}"))
        .chain((1..=30).map(|number| format!("mona/site#{number}")))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let installations = vec![Installation::new(11, "acme"), Installation::new(12, "mona")];
    let mut apps = Apps::with(&keys, installations);
    apps.world.execute(
        "UPDATE core_externalissuemapping SET worker_due_at = now() - interval '2 hours' WHERE html_url LIKE '%/acme/%'",
    );
    apps
}

const PAUSES: &str =
    "SELECT string_agg(scope || ' ' || count, ', ' ORDER BY scope) FROM worker_pause";

/// L1: 30 healthy mappings at 20 per run take two runs.
#[test]
fn the_limit_of_one_installation_pauses_its_own_repositories_only() {
    let mut apps = many();
    apps.change(|app| app.limited = [("acme".to_owned(), Some(600))].into());
    let args = ["sync", "--limit", "20", "--output", "json"];
    for (round, moved) in [(1, 20), (2, 30), (3, 30)] {
        apps.world.github.clear_log();
        let run = apps.run(&args).exits(75);
        let run = run.logs("about repositories of acme before");
        assert_eq!(run.json()["stopped_by"], "rate_limit", "{}", run.all());
        assert_eq!(apps.world.one::<i64>(MOVED), moved, "round {round}");
        let asked = apps.world.github.variables();
        let about_acme = asked.iter().filter(|one| one["o0"] == "acme").count();
        assert_eq!(about_acme, usize::from(round == 1), "invariant 11");
    }
    assert_eq!(apps.world.one::<String>(PAUSES), "github:acme 0");
    let status = apps.world.run(&["status", "--output", "json"]).exits(0);
    let status = status.json();
    assert_eq!(status["github_pauses"][0]["scope"], "github:acme");
    assert_eq!(status["pause"], status["github_pauses"][0]);
    apps.world
        .run(&["status"])
        .exits(0)
        .prints("GitHub is not asked about repositories of acme before");
    // A named mapping says why nothing was done.
    let named = apps.run(&["sync", "--mapping", "1"]).exits(75);
    named.prints("GitHub is not asked about acme/shop#1 before");
    apps.change(|app| app.limited.clear());
    apps.world
        .execute("UPDATE worker_pause SET until = now() - interval '1 second'");
    for _ in 0..3 {
        apps.run(&args).exits(0);
    }
    assert_eq!(apps.world.one::<i64>(MOVED), 90);
    assert_eq!(apps.world.one::<Option<String>>(PAUSES), None);
}

#[test]
fn mappings_of_an_installation_at_its_limit_take_no_place_of_others() {
    let mut apps = many();
    apps.change(|app| app.limited = [("acme".to_owned(), None)].into());
    apps.world.execute(
        "UPDATE core_externalissuemapping SET worker_error = 'x', worker_error_at = worker_due_at",
    );
    let args = ["retry-failed", "--limit", "20", "--output", "json"];
    let run = apps.run(&args).exits(75);
    assert_eq!(run.json()["given_back"], 20, "{}", run.all());
    assert_eq!(apps.world.one::<i64>(MOVED), 20);
    assert_eq!(apps.world.one::<String>(PAUSES), "github:acme 1");
}

/// No other installation can get a token either.
#[test]
fn the_limit_of_the_app_itself_pauses_everything() {
    let mut apps = many();
    let limit = Response::json(403, &json!({ "message": "API rate limit exceeded" }))
        .header("retry-after", "600");
    apps.world.github.fail_next(1, &Fault::Answer(limit));
    apps.run(&["sync"]).exits(75);
    assert_eq!(apps.asked().len(), 1, "invariant 11");
    assert_eq!(apps.world.one::<String>(PAUSES), "github 0");
}
