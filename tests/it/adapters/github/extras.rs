//! Labels, pull requests, changed files and commits that GitHub fails at while it answers for the rest.

use kit::github::Sickness;

use super::*;

/// Returns a GitHub with 60 issues and a pull request; `acme/shop#30` and `acme/shop#100` have all extras.
fn with_extras() -> Simulator {
    let simulator = with_issues(&shop(1..=60));
    for number in 101..=102 {
        simulator.pull_request(&format!("acme/shop#{number}"), |_| {});
    }
    simulator.issue("acme/shop#30", |issue| {
        issue.labels = vec!["bug".to_owned()];
        issue.references = vec!["acme/shop#101".to_owned()];
        issue.timeline = vec![kit::github::Event::Connected("acme/shop#102".to_owned())];
    });
    simulator.pull_request("acme/shop#100", |found| {
        found.labels = vec!["ready".to_owned()];
        found.files = vec!["src/cart.rs".to_owned()];
        found.commits = vec!["Keep the cart".to_owned()];
    });
    simulator
}

/// Returns the number of labels, of pull requests or files, and of pull requests or commits.
fn numbers(snapshot: &Snapshot) -> [usize; 3] {
    let (second, third) = match &snapshot.details {
        Details::Issue { pull_requests, .. } => {
            let closes = |one: &&agira_worker::core::model::PullRequestRef| {
                one.relation == agira_worker::core::model::Relation::Closes
            };
            let closing = pull_requests.iter().filter(closes).count();
            (closing, pull_requests.len() - closing)
        }
        Details::PullRequest { files, commits, .. } => (files.first.len(), commits.first.len()),
    };
    [snapshot.labels.len(), second, third]
}

#[test]
fn an_extra_that_github_cannot_answer_about_is_left_out_alone() {
    let table = [
        ("acme/shop#30", "labels", "labels", [0, 1, 1]),
        (
            "acme/shop#30",
            "closedByPullRequestsReferences",
            "pull requests",
            [1, 0, 1],
        ),
        ("acme/shop#30", "timelineItems", "pull requests", [1, 1, 0]),
        (
            "acme/shop#30",
            "latestTimelineItems",
            "reopenings",
            [1, 1, 1],
        ),
        ("acme/shop#100", "labels", "labels", [0, 1, 1]),
        ("acme/shop#100", "files", "changed files", [1, 0, 1]),
        ("acme/shop#100", "commits", "commits", [1, 1, 0]),
    ];
    for sickness in [Sickness::Timeout, Sickness::Error] {
        for (key, field, name, expected) in table {
            let simulator = with_extras();
            simulator.make_sick(key, field, sickness);
            let fetched = fetch_all(&simulator, &["acme/shop#1", key, "acme/shop#2"]);
            let case = format!("{key} {field} {sickness:?}");
            let fetched: Vec<&Snapshot> = fetched
                .iter()
                .map(|result| result.as_ref().expect(&case))
                .collect();
            assert_eq!(
                (&fetched[1].missing, numbers(fetched[1])),
                (&vec![name], expected),
                "{case}"
            );
            if let Details::Issue { some_hidden, .. } = fetched[1].details {
                assert_eq!(some_hidden, name == "pull requests", "{case}");
            }
            assert!(fetched[0].missing.is_empty() && fetched[2].missing.is_empty());
        }
    }
}

#[test]
fn requests_grow_again_after_the_issue_that_github_cannot_answer() {
    let simulator = with_extras();
    simulator.make_sick("acme/shop#30", "timelineItems", Sickness::Timeout);
    let fetched = fetch_all(&simulator, &shop(1..=60));
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    // Its own requests are the one without extras and the four for its extras. After the one for the timeline,
    // GitHub is asked for nothing.
    assert_eq!(
        sizes(&simulator),
        [
            25, 35, 18, 9, 5, 3, 3, 2, 1, 1, 1, 0, 0, 0, 0, 0, 1, 2, 4, 8, 15
        ]
    );
}
