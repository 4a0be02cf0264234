//! Lists below the nodes of other lists: what a polled pull request closes, and the pull requests with a closing commit.

use agira_worker::core::model::GithubId;
use agira_worker::github::{Poll, RepositoryChanges};
use kit::github::{Event, Fault, Sickness};

use super::*;

const CLOSING: &str = "closingIssuesReferences";
const CONTAINING: &str = "associatedPullRequests";

/// Returns a GitHub with a pull request `acme/shop#5000` that closes so many issues.
fn closing(count: i32) -> Simulator {
    let simulator = with_issues(&shop(1..=count));
    for key in shop(1..=count) {
        simulator.issue(&key, |issue| {
            issue.references = vec!["acme/shop#5000".to_owned()]
        });
    }
    simulator.pull_request("acme/shop#5000", |_| {});
    simulator
}

fn poll(simulator: &Simulator) -> RepositoryChanges {
    poll_with(&mut client(simulator)).expect("changes")
}

fn poll_with(client: &mut Github) -> Result<RepositoryChanges, MappingError> {
    let since = "2025-01-01T00:00:00Z".parse().expect("a time");
    let poll = Poll {
        repository: Repository::parse("acme/shop").expect("owner/name"),
        issues_since: "2027-01-01T00:00:00Z".parse().expect("a time"),
        pull_requests_since: since,
        closing_after: since,
    };
    let polled = client.poll(&[poll]);
    assert_eq!(polled.ended_by, None);
    let answer = polled.answers.into_iter().flatten().next();
    answer.expect("an answer")
}

/// Returns the number of different issues that the changed pull requests close.
fn closed(changes: &RepositoryChanges) -> usize {
    let issues = changes.pull_requests.iter().flat_map(|one| &one.closes);
    let ids: std::collections::HashSet<Option<GithubId>> =
        issues.map(|issue| issue.github_id).collect();
    ids.len()
}

#[test]
fn a_poll_reads_every_issue_that_a_changed_pull_request_closes() {
    for (count, requests) in [(10, 2), (11, 3), (110, 3), (250, 5)] {
        let simulator = closing(count);
        let changes = poll(&simulator);
        assert_eq!(closed(&changes), count as usize);
        assert_eq!(simulator.requests().len(), requests, "{count}");
    }
}

/// Beyond 40 further pages, the issues wait for their recheck.
#[test]
fn a_poll_ends_at_a_pull_request_that_closes_endlessly_many_issues() {
    let simulator = closing(4100);
    let changes = poll(&simulator);
    assert_eq!(closed(&changes), 4010);
    assert_eq!(simulator.requests().len(), 42);
}

/// The cursor must not pass issues that nobody looked at.
#[test]
fn a_poll_without_time_for_all_closed_issues_is_unfinished() {
    let simulator = closing(250);
    simulator.settings().latency = Duration::from_millis(300);
    let mut client = client(&simulator);
    client.set_deadline(Instant::now() + Duration::from_millis(150));
    let answer = poll_with(&mut client).map(|changes| closed(&changes));
    let kind = answer.map_err(|error| error.kind);
    assert_eq!(kind, Err(MappingErrorKind::Released));
    assert_eq!(simulator.requests().len(), 1);
}

#[test]
fn a_list_of_closed_issues_that_github_never_answers_hides_no_change() {
    for sickness in [Sickness::Timeout, Sickness::Error] {
        let simulator = closing(12);
        simulator.pull_request("acme/shop#5001", |_| {});
        simulator.issue("acme/shop#12", |issue| {
            issue.references = vec!["acme/shop#5001".to_owned()]
        });
        simulator.make_sick("acme/shop#5000", CLOSING, sickness);
        let changes = poll(&simulator);
        assert_eq!(changes.pull_requests.len(), 2, "{sickness:?}");
        assert_eq!(closed(&changes), 1, "{sickness:?}");
    }
}

/// Returns a GitHub with an issue that a commit closed, and with so many merged pull requests that contain the commit.
fn containing(count: i32) -> Simulator {
    let simulator = with_issues(&["acme/shop#1"]);
    let keys = shop(1001..=1000 + count);
    for key in &keys {
        simulator.merge(key, "2026-02-01T00:00:00Z");
    }
    simulator.issue("acme/shop#1", |issue| {
        issue.timeline = vec![Event::Closed(Closer::Commit(keys))];
    });
    simulator
}

/// Checks the number of pull requests of the issue, and whether another one may be hidden.
#[track_caller]
fn check_related(simulator: &Simulator, expected: usize, is_hidden: bool) {
    match fetch_one(simulator, "acme/shop#1").details {
        Details::Issue {
            pull_requests,
            some_hidden,
            ..
        } => assert_eq!((pull_requests.len(), some_hidden), (expected, is_hidden)),
        Details::PullRequest { .. } => panic!("no issue"),
    }
}

#[test]
fn all_pull_requests_with_the_closing_commit_are_read() {
    for (count, requests) in [(5, 2), (6, 3), (105, 3), (106, 4)] {
        let simulator = containing(count);
        check_related(&simulator, count as usize, false);
        assert_eq!(simulator.requests().len(), requests, "{count}");
    }
}

#[test]
fn pull_requests_with_the_closing_commit_that_cannot_be_read_count_as_hidden() {
    let simulator = containing(3);
    simulator.make_sick("acme/shop#1001", CONTAINING, Sickness::Error);
    check_related(&simulator, 0, true);
    let simulator = containing(3);
    simulator.pull_request("secret/lib#1", |_| {});
    simulator.hide_repository("secret/lib");
    simulator.issue("acme/shop#1", |issue| {
        let keys = vec!["acme/shop#1001".to_owned(), "secret/lib#1".to_owned()];
        issue.timeline = vec![Event::Closed(Closer::Commit(keys))];
    });
    check_related(&simulator, 1, true);
}

/// Returns a GitHub with issues 1 to 4, of which these were closed by commits of merged pull requests.
fn closed_by_commits(numbers: &[i32]) -> Simulator {
    let simulator = with_issues(&shop(1..=4));
    for number in numbers {
        let pull_request = format!("acme/shop#{}", 1000 + number);
        simulator.merge(&pull_request, "2026-02-01T00:00:00Z");
        simulator.issue(&format!("acme/shop#{number}"), |issue| {
            issue.timeline = vec![Event::Closed(Closer::Commit(vec![pull_request]))];
        });
    }
    simulator
}

/// Returns the number of pull requests of each issue, and whether another one may be hidden; `None` without an answer.
fn all_related(answers: &[Option<Fetched>]) -> Vec<Option<(usize, bool)>> {
    let related = |answer: &Fetched| match &answer.as_ref().expect("a snapshot").details {
        Details::Issue {
            pull_requests,
            some_hidden,
            ..
        } => (pull_requests.len(), *some_hidden),
        Details::PullRequest { .. } => panic!("no issue"),
    };
    answers
        .iter()
        .map(|answer| answer.as_ref().map(related))
        .collect()
}

#[test]
fn a_commit_that_merged_a_closing_pull_request_is_not_asked_about() {
    let simulator = with_issues(&["acme/shop#1"]);
    simulator.merge("acme/shop#7", "2026-02-01T00:00:00Z");
    let key = "acme/shop#7".to_owned();
    simulator.issue("acme/shop#1", |issue| {
        issue.references = vec![key.clone()];
        issue.timeline = vec![Event::Closed(Closer::MergeCommit(key))];
    });
    check_related(&simulator, 1, false);
    assert_eq!(simulator.requests().len(), 1);
    // Without the reference, and with one to a pull request of a fork, only GitHub knows.
    simulator.issue("acme/shop#1", |issue| issue.references.clear());
    simulator.clear_log();
    check_related(&simulator, 1, false);
    assert_eq!(simulator.requests().len(), 2);
    let commit = format!("{:040x}", simulator.pull_request("acme/shop#7", |_| {}));
    simulator.merge("evil/shop#1", "2026-02-01T00:00:00Z");
    simulator.pull_request("evil/shop#1", |found| found.merge_commit = Some(commit));
    simulator.issue("acme/shop#1", |issue| {
        issue.references = vec!["evil/shop#1".to_owned()]
    });
    check_related(&simulator, 2, false);
}

#[test]
fn a_merge_commit_that_github_cannot_name_hides_nothing() {
    for sickness in [Sickness::Error, Sickness::Timeout] {
        let simulator = closed_by_commits(&[1]);
        simulator.issue("acme/shop#1", |issue| {
            issue.references = vec!["acme/shop#1001".to_owned()]
        });
        simulator.make_sick("acme/shop#1001", "mergeCommit", sickness);
        let seen = fetch_one(&simulator, "acme/shop#1");
        // A list that times out is left out, like each extra.
        let is_left_out = sickness == Sickness::Timeout;
        assert_eq!(!seen.missing.is_empty(), is_left_out, "{sickness:?}");
        let fetched = all_related(&[Some(Ok(seen))]);
        assert_eq!(fetched, [Some((1, is_left_out))], "{sickness:?}");
    }
}

#[test]
fn one_request_asks_about_all_closing_commits() {
    let simulator = closed_by_commits(&[1, 2, 4]);
    let fetched: Vec<_> = fetch_all(&simulator, &shop(1..=4))
        .into_iter()
        .map(Some)
        .collect();
    let one = Some((1, false));
    assert_eq!(all_related(&fetched), [one, one, Some((0, false)), one]);
    assert_eq!(simulator.requests().len(), 2);
}

#[test]
fn a_closing_commit_that_github_cannot_answer_about_concerns_its_issue_only() {
    for (sickness, requests) in [(Sickness::Error, 3), (Sickness::Timeout, 7)] {
        let simulator = closed_by_commits(&[1, 2, 3]);
        simulator.make_sick("acme/shop#1002", CONTAINING, sickness);
        let fetched: Vec<_> = fetch_all(&simulator, &shop(1..=4))
            .into_iter()
            .map(Some)
            .collect();
        let one = Some((1, false));
        let expected = [one, Some((0, true)), one, Some((0, false))];
        assert_eq!(all_related(&fetched), expected, "{sickness:?}");
        assert_eq!(simulator.requests().len(), requests, "{sickness:?}");
    }
}

#[test]
fn a_closing_commit_that_is_hidden_is_not_asked_about_again() {
    let simulator = closed_by_commits(&[1]);
    let alias = Fault::Alias {
        alias: "l0".to_owned(),
        kind: "NOT_FOUND".to_owned(),
        message: "Could not resolve to a node".to_owned(),
    };
    let first = recorded(&simulator, &["acme/shop#1"]).remove(0);
    simulator.fail_next(1, &Fault::Answer(first));
    simulator.fail_next(1, &alias);
    check_related(&simulator, 0, true);
    assert_eq!(simulator.requests().len(), 2);
}

/// The others count, and a later run asks about these issues again.
#[test]
fn issues_whose_closing_commits_nobody_answers_about_have_no_answer() {
    let limit = Response::json(
        200,
        &serde_json::json!({ "errors": [{ "type": "RATE_LIMITED", "message": "Not now." }] }),
    );
    let outage = Response::empty(503);
    for (answer, requests) in [(limit, 2), (outage, 7)] {
        let simulator = closed_by_commits(&[1, 3]);
        let first = recorded(&simulator, &["acme/shop#1", "acme/shop#2", "acme/shop#3"]).remove(0);
        simulator.fail_next(1, &Fault::Answer(first));
        simulator.fail_next(9, &Fault::Answer(answer));
        let fetched = client(&simulator).fetch(&issues(&shop(1..=3)), &|_| {});
        assert_eq!(
            all_related(&fetched.answers),
            [None, Some((0, false)), None]
        );
        assert!(fetched.ended_by.is_some());
        assert_eq!(simulator.requests().len(), requests);
    }
}

#[test]
fn an_issue_without_time_for_its_closing_commits_is_left_to_the_next_run() {
    let simulator = closed_by_commits(&[2]);
    simulator.settings().latency = Duration::from_millis(300);
    let mut client = client(&simulator);
    client.set_deadline(Instant::now() + Duration::from_millis(150));
    let fetched = client.fetch(&issues(&shop(1..=3)), &|_| {});
    let none = Some((0, false));
    assert_eq!(all_related(&fetched.answers), [none, None, none]);
    let kind = fetched.ended_by.map(|error| error.kind);
    assert_eq!(kind, Some(FailureKind::OutOfTime));
}

#[test]
fn closing_commits_on_later_pages_and_of_renamed_repositories_are_asked_about() {
    let simulator = closed_by_commits(&[1]);
    simulator.issue("acme/shop#1", |issue| {
        let mention = Event::CrossReferenced {
            source: "acme/shop#2".to_owned(),
            will_close: false,
        };
        let events = std::iter::repeat_n(mention, 50);
        issue.timeline = events.chain(issue.timeline.clone()).collect();
    });
    simulator.rename_repository("acme/shop", "acme/store");
    check_related(&simulator, 1, false);
    assert_eq!(simulator.requests().len(), 3);
}

#[test]
fn a_batch_asks_for_the_extras_of_each_kind_and_answers_in_the_order_of_the_targets() {
    let simulator = closed_by_commits(&[1, 3]);
    let keys = [
        "acme/shop#1001",
        "acme/shop#1",
        "acme/shop#1003",
        "acme/shop#3",
    ];
    let fetched = fetch_all(&simulator, &keys);
    let found: Vec<String> = fetched
        .iter()
        .map(|one| one.as_ref().expect("a snapshot").address.to_string())
        .collect();
    assert_eq!(found, keys);
    match &fetched[0].as_ref().expect("a snapshot").details {
        Details::PullRequest { files, commits, .. } => {
            assert_eq!((files.total, commits.total), (1, 1));
        }
        Details::Issue { .. } => panic!("an issue"),
    }
    assert_eq!(simulator.requests().len(), 2);
}

#[test]
fn a_target_of_another_kind_than_expected_is_recognized() {
    let simulator = closed_by_commits(&[1]);
    let targets = [
        (address("acme/shop#1"), Kind::PullRequest),
        (address("acme/shop#1001"), Kind::Issue),
        (address("acme/shop#2"), Kind::Unknown),
    ];
    let fetched = fetch_targets(&mut client(&simulator), &targets).expect("GitHub answers");
    let kinds: Vec<Kind> = fetched
        .iter()
        .map(|one| one.as_ref().expect("a snapshot").kind())
        .collect();
    assert_eq!(kinds, [Kind::Issue, Kind::PullRequest, Kind::Issue]);
    assert_eq!(simulator.requests().len(), 1);
}

/// Returns a poll of a repository for pull requests, of which only these are asked what they close.
fn polling(name: &str, closing_after: &str) -> Poll {
    Poll {
        repository: Repository::parse(name).expect("owner/name"),
        issues_since: time("2027-01-01T00:00:00Z"),
        pull_requests_since: time("2025-01-01T00:00:00Z"),
        closing_after: time(closing_after),
    }
}

#[test]
fn one_request_asks_what_the_new_pull_requests_of_all_repositories_close() {
    let simulator = Simulator::start();
    for repository in 0..60 {
        for (number, at) in [(7, "2026-02-01T00:00:00Z"), (8, "2026-03-01T00:00:00Z")] {
            let key = format!("acme/repo-{repository}#{number}");
            simulator.pull_request(&key, |found| found.updated_at = at.to_owned());
            let issue = format!("acme/repo-{repository}#{}", number - 6);
            simulator.issue(&issue, |issue| issue.references = vec![key]);
        }
    }
    simulator.rename_repository("acme/repo-3", "acme/new");
    simulator.issue("acme/new#2", |issue| {
        issue.references = vec!["acme/new#8".to_owned()]
    });
    let polls: Vec<Poll> = (0..60)
        .map(|number| polling(&format!("acme/repo-{number}"), "2026-02-01T00:00:00Z"))
        .collect();
    let polled = client(&simulator).poll(&polls);
    for answer in polled.answers {
        let changes = answer.expect("an answer").expect("changes");
        assert_eq!(changes.pull_requests.len(), 2);
        assert_eq!(closed(&changes), 1);
    }
    // 50 repositories and what they close, and the same for 10.
    assert_eq!(simulator.requests().len(), 4);
    assert_eq!(simulator.spent(), 4);
    simulator.clear_log();
    let polls: Vec<Poll> = (0..60)
        .map(|number| polling(&format!("acme/repo-{number}"), "2026-03-01T00:00:00Z"))
        .collect();
    client(&simulator).poll(&polls);
    assert_eq!(simulator.requests().len(), 2);
}

/// The repository without such a pull request is read all the same.
#[test]
fn a_poll_whose_closed_issues_nobody_answers_about_is_unfinished() {
    let simulator = closing(1);
    simulator.issue("acme/other#1", |_| {});
    let polls = ["acme/shop", "acme/other"].map(|name| polling(name, "2025-01-01T00:00:00Z"));
    let polled = client(&simulator).poll(&polls);
    assert_eq!(polled.ended_by, None);
    let first = simulator.requests().remove(0).response;
    for answer in [Response::empty(503), Response::empty(502)] {
        simulator.fail_next(1, &Fault::Answer(first.clone()));
        simulator.fail_next(9, &Fault::Answer(answer));
        let polled = client(&simulator).poll(&polls);
        simulator.forget_faults();
        let read: Vec<bool> = polled.answers.iter().map(Option::is_some).collect();
        assert_eq!(read, [false, true]);
        assert!(polled.ended_by.is_some());
    }
}

#[test]
fn polls_halve_requests_for_closed_issues_that_are_too_heavy() {
    let simulator = Simulator::start();
    for number in 1..=8 {
        let key = format!("acme/shop#{}", 100 + number);
        simulator.pull_request(&key, |_| {});
        simulator.issue(&format!("acme/shop#{number}"), |issue| {
            issue.references = vec![key]
        });
    }
    simulator.make_sick("acme/shop#105", CLOSING, Sickness::Timeout);
    assert_eq!(closed(&poll(&simulator)), 7);
}
