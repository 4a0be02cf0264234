//! The GitHub client of the program over HTTP, against the strict simulator.

mod below;
mod extras;
mod failures;
mod holes;
mod limits;
mod pages;
mod points;
mod published_schema;
mod relations;
mod too_heavy;
mod versions;

use std::time::{Duration, Instant};

use agira_worker::core::failure::{FailureKind, MappingError, MappingErrorKind, ServiceError};
use agira_worker::core::model::{
    Address, CloseReason, Details, Kind, Repository, Snapshot, State, TruncatedList,
};
use agira_worker::github::Github;
use agira_worker::http::Timeouts;
use kit::github::{Closer, Github as Simulator, TOKEN};
use kit::http::{Exchange, Response};

use crate::harness::split;

type Fetched = Result<Snapshot, MappingError>;

/// A timeout that is long enough for every response here, and no delay between retries.
const PATIENCE: Timeouts = Timeouts {
    answer: Duration::from_secs(10),
    retry: Duration::ZERO,
};

fn client(simulator: &Simulator) -> Github {
    client_at(&simulator.url())
}

fn client_at(url: &str) -> Github {
    Github::new(url, TOKEN)
        .expect("a client")
        .with_timeouts(PATIENCE)
}

fn address(key: &str) -> Address {
    let (repository, number) = split(key);
    Address {
        repository: Repository::parse(repository).expect("owner/name"),
        number,
    }
}

/// Returns the issues with these names as targets of a fetch.
fn issues(keys: &[impl AsRef<str>]) -> Vec<(Address, Kind)> {
    let issue = |key: &str| (address(key), Kind::Issue);
    keys.iter().map(|key| issue(key.as_ref())).collect()
}

/// Fetches these issues.
fn fetch_with(client: &mut Github, keys: &[impl AsRef<str>]) -> Result<Vec<Fetched>, ServiceError> {
    fetch_targets(client, &issues(keys))
}

fn fetch_targets(
    client: &mut Github,
    targets: &[(Address, Kind)],
) -> Result<Vec<Fetched>, ServiceError> {
    let fetched = client.fetch(targets, &|_| {});
    let answers = fetched.answers.into_iter().flatten().collect();
    fetched.ended_by.map_or(Ok(answers), Err)
}

/// Fetches these, each as what it is; GitHub itself must answer.
#[track_caller]
fn fetch_all(simulator: &Simulator, keys: &[impl AsRef<str>]) -> Vec<Fetched> {
    let mut targets = issues(keys);
    for ((_, kind), key) in targets.iter_mut().zip(keys) {
        if simulator.is_pull_request(key.as_ref()) {
            *kind = Kind::PullRequest;
        }
    }
    fetch_targets(&mut client(simulator), &targets).expect("GitHub answers")
}

/// Fetches one, successfully.
#[track_caller]
fn fetch_one(simulator: &Simulator, key: &str) -> Snapshot {
    let result = fetch_all(simulator, &[key]).pop().expect("one result");
    result.unwrap_or_else(|error| panic!("{key}: {error:?}"))
}

/// Returns the failure of GitHub itself.
#[track_caller]
fn refused(client: &mut Github) -> ServiceError {
    fetch_with(client, &["acme/shop#1", "acme/shop#2"]).expect_err("GitHub does not answer")
}

/// Returns the number of targets that have an answer.
fn count(fetched: &agira_worker::github::Fetched) -> usize {
    fetched.answers.iter().flatten().count()
}

/// Starts a GitHub with these issues.
fn with_issues(keys: &[impl AsRef<str>]) -> Simulator {
    let simulator = Simulator::start();
    for key in keys {
        simulator.issue(key.as_ref(), |_| {});
    }
    simulator
}

fn shop(numbers: std::ops::RangeInclusive<i32>) -> Vec<String> {
    numbers
        .map(|number| format!("acme/shop#{number}"))
        .collect()
}

/// Returns the number of issues or pull requests in each GraphQL request.
fn sizes(simulator: &Simulator) -> Vec<usize> {
    let owners = |variables: &serde_json::Value| {
        let names = variables
            .as_object()
            .into_iter()
            .flat_map(|variables| variables.keys());
        names
            .filter(|name| name.starts_with('o') && name[1..].parse::<usize>().is_ok())
            .count()
    };
    simulator.variables().iter().map(owners).collect()
}

fn paths(exchanges: &[Exchange]) -> Vec<String> {
    exchanges
        .iter()
        .map(|exchange| exchange.request.path.clone())
        .collect()
}

/// Returns GitHub's response to a fetch of these, so that a test can change it and send it again.
fn recorded(simulator: &Simulator, keys: &[&str]) -> Vec<Response> {
    fetch_all(simulator, keys);
    let answers = simulator
        .requests()
        .into_iter()
        .map(|exchange| exchange.response)
        .collect();
    simulator.clear_log();
    answers
}

#[test]
fn twenty_six_issues_of_several_repositories_take_two_requests_over_one_connection() {
    let keys: Vec<String> = (1..=26)
        .map(|number| format!("acme/shop{}#{number}", number % 3))
        .collect();
    let simulator = with_issues(&keys);
    let mut client = client(&simulator);
    let fetched = fetch_with(&mut client, &keys).expect("GitHub answers");
    let found: Vec<String> = fetched
        .iter()
        .map(|result| result.as_ref().expect("a snapshot").address.to_string())
        .collect();
    assert_eq!(found, keys);
    assert_eq!(sizes(&simulator), [25, 1]);
    let exchanges = simulator.requests();
    assert_eq!(
        exchanges[0].request.connection,
        exchanges[1].request.connection
    );
    assert_eq!(client.requests(), 2);
}

#[test]
fn after_a_full_response_requests_are_twice_as_large() {
    let keys = shop(1..=140);
    let simulator = with_issues(&keys);
    let mut client = client(&simulator);
    fetch_with(&mut client, &keys).expect("GitHub answers");
    assert_eq!(sizes(&simulator), [25, 50, 50, 15]);
    simulator.clear_log();
    simulator.settings().most_aliases = 30;
    fetch_with(&mut client, &keys).expect("GitHub answers");
    assert_eq!(
        sizes(&simulator),
        [50, 25, 25, 25, 25, 25, 15],
        "what was too heavy once is not tried again"
    );
}

#[test]
fn a_fetch_reports_its_progress() {
    let keys = shop(1..=26);
    let simulator = with_issues(&keys);
    let targets = issues(&keys);
    let done = std::cell::RefCell::new(Vec::new());
    let fetched = client(&simulator).fetch(&targets, &|count| done.borrow_mut().push(count));
    assert_eq!(
        (done.into_inner(), count(&fetched), fetched.ended_by),
        (vec![25, 1], 26, None)
    );
}

#[test]
fn no_request_begins_after_the_deadline_and_earlier_results_count() {
    let keys = shop(1..=60);
    let simulator = with_issues(&keys);
    // This one has further pages, which cannot be read any more.
    simulator.issue("acme/shop#3", |issue| {
        issue.labels = vec!["bug".to_owned(); 101]
    });
    simulator.settings().latency = Duration::from_millis(300);
    let targets = issues(&keys);
    let mut client = client(&simulator);
    client.set_deadline(Instant::now() + Duration::from_millis(150));
    let fetched = client.fetch(&targets, &|_| {});
    assert_eq!((count(&fetched), simulator.requests().len()), (24, 1));
    assert!(fetched.answers[2].is_none(), "{:?}", fetched.answers[2]);
    let kind = fetched.ended_by.map(|error| error.kind);
    assert_eq!(kind, Some(FailureKind::OutOfTime));
}

#[test]
fn a_failure_of_github_keeps_earlier_results() {
    let keys = shop(1..=60);
    let simulator = with_issues(&keys);
    let targets = issues(&keys);
    simulator.settings().points = 1;
    let fetched = client(&simulator).fetch(&targets, &|_| {});
    assert_eq!(count(&fetched), 25);
    assert!(
        matches!(
            &fetched.ended_by,
            Some(error) if matches!(error.kind, FailureKind::RateLimited(_))
        ),
        "{:?}",
        fetched.ended_by
    );
}

#[test]
fn every_request_has_a_user_agent_and_accepts_compression() {
    let simulator = with_issues(&shop(1..=2));
    simulator.delete("acme/shop#2");
    fetch_all(&simulator, &shop(1..=2));
    let exchanges = simulator.requests();
    assert_eq!(paths(&exchanges), ["/graphql", "/repos/acme/shop/issues/2"]);
    for Exchange { request, .. } in &exchanges {
        let header = |name| request.header(name).unwrap_or_default();
        assert_eq!(
            header("user-agent"),
            concat!("agira-worker/", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(header("authorization"), format!("Bearer {TOKEN}"));
        assert_eq!(header("accept"), "application/vnd.github+json");
        assert!(header("accept-encoding").contains("gzip"), "{request:?}");
    }
    assert_eq!(
        exchanges[1].request.header("x-github-api-version"),
        Some("2022-11-28")
    );
    assert!(
        exchanges[0].sent_bytes < exchanges[0].response.body.len(),
        "not compressed"
    );
}

#[test]
fn github_enterprise_is_requested_below_its_own_root() {
    let simulator = with_issues(&shop(1..=1));
    simulator.transfer("acme/shop#1", "acme/other#5");
    let mut client = client_at(&format!("{}/api/v3/", simulator.url()));
    let fetched = fetch_with(&mut client, &shop(1..=1)).expect("GitHub answers");
    assert!(
        matches!(&fetched[0], Err(error) if error.kind == MappingErrorKind::Gone && error.message.contains("acme/other/issues/5")),
        "{fetched:?}"
    );
    let asked = [
        "/api/graphql",
        "/api/v3/repos/acme/shop/issues/1",
        "/api/v3/repositories/2/issues/5",
    ];
    assert_eq!(paths(&simulator.requests()), asked);
}

#[test]
fn an_issue_is_read_with_all_its_fields() {
    let simulator = Simulator::start();
    let id = simulator.issue("acme/shop#12", |issue| {
        issue.title = "Prices are wrong".to_owned();
        issue.body = "See the list.".to_owned();
        issue.labels = vec!["bug".to_owned(), "prices".to_owned()];
    });
    simulator.close_by(
        "acme/shop#12",
        "2026-03-01T10:00:00Z",
        "NOT_PLANNED",
        Closer::Nobody,
    );
    let seen = fetch_one(&simulator, "ACME/Shop#12");
    assert!(
        id > i64::from(i32::MAX),
        "the simulator's ids are beyond 32 bits: {id}"
    );
    assert_eq!(seen.github_id.0, id);
    assert_eq!(
        (seen.address.to_string(), &*seen.url),
        (
            "acme/shop#12".to_owned(),
            "https://github.com/acme/shop/issues/12"
        )
    );
    assert_eq!(
        (seen.state, &*seen.title, &*seen.body),
        (State::Closed, "Prices are wrong", "See the list.")
    );
    assert_eq!(seen.labels, ["bug", "prices"]);
    assert_eq!(
        (seen.created_at, seen.updated_at),
        (time("2026-01-01T00:00:00Z"), time("2026-03-01T10:00:00Z"))
    );
    let Details::Issue {
        closed_at,
        close_reason,
        pull_requests,
        reopened_at: None,
        some_hidden: false,
    } = seen.details
    else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (closed_at, close_reason),
        (
            Some(time("2026-03-01T10:00:00Z")),
            Some(CloseReason::NotPlanned)
        )
    );
    assert!(pull_requests.is_empty(), "{pull_requests:?}");
}

fn time(text: &str) -> chrono::DateTime<chrono::Utc> {
    text.parse().expect("a time")
}

#[test]
fn every_close_reason_is_read() {
    let reasons = [
        ("COMPLETED", Some(CloseReason::Completed)),
        ("NOT_PLANNED", Some(CloseReason::NotPlanned)),
        ("DUPLICATE", Some(CloseReason::Duplicate)),
    ];
    for (said, expected) in reasons {
        let simulator = with_issues(&shop(1..=1));
        simulator.close_by("acme/shop#1", "2026-03-01T10:00:00Z", said, Closer::Nobody);
        assert_eq!(close_reason(&simulator), expected, "{said}");
        simulator.reopen("acme/shop#1", "2026-03-02T10:00:00Z");
        assert_eq!(close_reason(&simulator), None, "{said}, reopened");
    }
}

#[track_caller]
fn close_reason(simulator: &Simulator) -> Option<CloseReason> {
    let seen = fetch_one(simulator, "acme/shop#1");
    let Details::Issue { close_reason, .. } = seen.details else {
        panic!("{seen:?}")
    };
    close_reason
}

#[test]
fn a_pull_request_is_read_with_its_merge() {
    let simulator = Simulator::start();
    let id = simulator.pull_request("acme/shop#13", |found| {
        found.labels = vec!["ready".to_owned()]
    });
    assert_eq!(fetch_one(&simulator, "acme/shop#13").state, State::Open);
    simulator.merge("acme/shop#13", "2026-03-01T10:00:00Z");
    let seen = fetch_one(&simulator, "acme/shop#13");
    assert_eq!((seen.github_id.0, seen.state), (id, State::Merged));
    assert_eq!(
        (&*seen.url, seen.labels),
        (
            "https://github.com/acme/shop/pull/13",
            vec!["ready".to_owned()]
        )
    );
    let Details::PullRequest {
        merged_at,
        merge_commit_sha,
        files,
        commits,
    } = seen.details
    else {
        panic!("an issue")
    };
    assert_eq!(
        (merged_at, merge_commit_sha),
        (
            Some(time("2026-03-01T10:00:00Z")),
            Some(format!("{id:040x}"))
        )
    );
    assert_eq!(
        (files.first, files.total),
        (vec!["src/lib.rs".to_owned()], 1)
    );
    assert_eq!(
        (commits.first, commits.total),
        (vec!["A commit of acme/shop#13".to_owned()], 1)
    );
}

#[test]
fn a_large_pull_request_is_read_with_its_first_hundred_files_and_commits_and_the_totals() {
    let simulator = Simulator::start();
    let numbered = |what: &str, count: usize| {
        (0..count)
            .map(|index| format!("{what} {index}"))
            .collect::<Vec<_>>()
    };
    simulator.pull_request("acme/shop#13", |found| {
        found.files = numbered("file", 150);
        found.commits = numbered("commit", 120);
    });
    let Details::PullRequest { files, commits, .. } = fetch_one(&simulator, "acme/shop#13").details
    else {
        panic!("an issue")
    };
    let counts = |bounded: &TruncatedList| (bounded.first.len(), bounded.total);
    assert_eq!((counts(&files), counts(&commits)), ((100, 150), (100, 120)));
    assert_eq!(
        (files.first, commits.first),
        (numbered("file", 100), numbered("commit", 100))
    );
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn text_is_complete_except_for_characters_that_postgresql_cannot_store() {
    let simulator = Simulator::start();
    let body = "Preise für Bücher 📚\u{202e}\r\n\u{1b}[31m".repeat(2000);
    assert!(body.len() > 60_000);
    simulator.issue("acme/shop#1", |issue| {
        issue.title = "a\0b".to_owned();
        issue.body = format!("\0{body}\0");
        issue.labels = vec!["c\0d".to_owned()];
    });
    simulator.pull_request("acme/shop#2", |found| {
        found.files = vec!["e\0f".to_owned()];
        found.commits = vec!["g\0h".to_owned()];
    });
    let seen = fetch_one(&simulator, "acme/shop#1");
    assert_eq!((&*seen.title, seen.labels), ("ab", vec!["cd".to_owned()]));
    assert!(seen.body == body, "the body is not as it was");
    let Details::PullRequest { files, commits, .. } = fetch_one(&simulator, "acme/shop#2").details
    else {
        panic!("an issue")
    };
    assert_eq!(
        (files.first, commits.first),
        (vec!["ef".to_owned()], vec!["gh".to_owned()])
    );
}

#[test]
fn a_renamed_repository_is_read_with_its_new_name() {
    let simulator = with_issues(&shop(1..=1));
    simulator.rename_repository("acme/shop", "acme/store");
    let seen = fetch_one(&simulator, "acme/shop#1");
    assert_eq!(
        (seen.address.to_string(), &*seen.url),
        (
            "acme/store#1".to_owned(),
            "https://github.com/acme/store/issues/1"
        )
    );
}

#[test]
fn budget_and_clock_come_from_github() {
    let simulator = with_issues(&shop(1..=1));
    simulator.settings().points = 100;
    simulator.settings().clock_ahead = 3600;
    let mut client = client(&simulator);
    assert_eq!(client.answered_at(), None);
    fetch_with(&mut client, &shop(1..=1)).expect("GitHub answers");
    fetch_with(&mut client, &shop(1..=1)).expect("GitHub answers");
    let limits = client.limits();
    let left = simulator.settings().points;
    assert_eq!(
        (limits.points as i64, limits.remaining),
        (100 - left, Some(left))
    );
    let ahead = client.answered_at().expect("a clock") - chrono::Utc::now();
    assert!((3590..=3600).contains(&ahead.num_seconds()), "{ahead}");
    let reset = limits.reset_at.expect("a reset") - client.answered_at().expect("a clock");
    assert!((1799..=1801).contains(&reset.num_seconds()), "{reset}");
}
