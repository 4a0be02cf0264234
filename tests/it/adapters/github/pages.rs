//! The client reads every page of a connection.

use kit::github::{Event, Fault};

use super::*;

/// Returns an event that has nothing to do with a pull request.
fn mention() -> Event {
    Event::CrossReferenced {
        source: "acme/shop#1".to_owned(),
        will_close: false,
    }
}

fn closing(key: &str) -> Event {
    Event::CrossReferenced {
        source: key.to_owned(),
        will_close: true,
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|index| format!("label {index}")).collect()
}

/// Returns a GitHub with issue 12, which issue 1 mentions, and pull requests 101 to 151.
fn simulator() -> Simulator {
    let simulator = with_issues(&["acme/shop#1", "acme/shop#12"]);
    for key in shop(101..=151) {
        simulator.pull_request(&key, |_| {});
    }
    simulator
}

#[track_caller]
fn pull_requests(simulator: &Simulator) -> Vec<String> {
    let Details::Issue { pull_requests, .. } = fetch_one(simulator, "acme/shop#12").details else {
        panic!("not an issue")
    };
    pull_requests
        .iter()
        .map(|found| found.address.to_string())
        .collect()
}

#[test]
fn a_pull_request_in_the_110th_timeline_event_is_read() {
    let simulator = simulator();
    simulator.issue("acme/shop#12", |issue| {
        issue.timeline = std::iter::repeat_with(mention)
            .take(109)
            .chain([closing("acme/shop#101")])
            .collect();
    });
    assert_eq!(pull_requests(&simulator), ["acme/shop#101"]);
    assert_eq!(simulator.requests().len(), 3);
}

#[test]
fn the_latest_reopening_counts_behind_a_timeline_that_nobody_reads_to_the_end() {
    let (early, late) = ("2026-02-01T10:00:00Z", "2026-02-03T10:00:00Z");
    for mentions in [0, 109, 2100] {
        let simulator = simulator();
        simulator.issue("acme/shop#12", |issue| {
            issue.timeline = vec![Event::Reopened(early.to_owned())];
            issue
                .timeline
                .extend(std::iter::repeat_with(mention).take(mentions));
            issue.timeline.push(Event::Reopened(late.to_owned()));
        });
        let snapshot = fetch_one(&simulator, "acme/shop#12");
        let Details::Issue { reopened_at, .. } = snapshot.details else {
            panic!("not an issue")
        };
        let expected = Some(late.parse().expect("a time"));
        assert_eq!(reopened_at, expected, "{mentions}");
    }
}

#[test]
fn the_51st_closing_reference_is_read() {
    let simulator = simulator();
    simulator.issue("acme/shop#12", |issue| issue.references = shop(101..=151));
    assert_eq!(pull_requests(&simulator), shop(101..=151));
}

#[test]
fn the_101st_label_of_issues_and_pull_requests_is_read() {
    let simulator = simulator();
    simulator.issue("acme/shop#12", |issue| issue.labels = names(0..101));
    simulator.pull_request("acme/shop#101", |found| found.labels = names(0..250));
    assert_eq!(fetch_one(&simulator, "acme/shop#12").labels, names(0..101));
    simulator.clear_log();
    assert_eq!(fetch_one(&simulator, "acme/shop#101").labels, names(0..250));
    assert_eq!(simulator.requests().len(), 3);
}

#[test]
fn one_request_reads_the_next_page_of_all_connections() {
    let simulator = simulator();
    simulator.issue("acme/shop#12", |issue| {
        issue.labels = names(0..101);
        issue.references = shop(101..=151);
        issue.timeline = std::iter::repeat_with(mention)
            .take(50)
            .chain([closing("acme/shop#101")])
            .collect();
    });
    let seen = fetch_one(&simulator, "acme/shop#12");
    let Details::Issue { pull_requests, .. } = &seen.details else {
        panic!("{seen:?}")
    };
    assert_eq!((seen.labels.len(), pull_requests.len()), (101, 51));
    assert_eq!(simulator.requests().len(), 2);
}

#[test]
fn only_issues_with_more_pages_are_requested_again() {
    let simulator = simulator();
    simulator.issue("acme/shop#12", |issue| {
        issue.labels = names(0..3);
        issue.references = shop(101..=151);
    });
    fetch_one(&simulator, "acme/shop#12");
    let variables = &simulator.variables()[1];
    let more =
        ["moreLabels", "moreReferences", "moreTimeline"].map(|name| variables[name].as_bool());
    assert_eq!(more, [Some(false), Some(true), Some(false)]);
}

#[test]
fn further_pages_of_a_renamed_repository_are_read() {
    let simulator = simulator();
    simulator.issue("acme/shop#12", |issue| issue.labels = names(0..101));
    simulator.rename_repository("acme/shop", "acme/store");
    assert_eq!(fetch_one(&simulator, "acme/shop#12").labels.len(), 101);
}

#[test]
fn a_failed_further_page_fails_only_its_issue() {
    let simulator = simulator();
    let keys = ["acme/shop#12", "acme/shop#1"];
    simulator.issue("acme/shop#12", |issue| issue.labels = names(0..101));
    let first = recorded(&simulator, &keys).remove(0);
    simulator.fail_next(1, &Fault::Answer(first));
    let kind = "FORBIDDEN".to_owned();
    simulator.fail_next(
        1,
        &Fault::Alias {
            alias: "repository".to_owned(),
            kind,
            message: "not now".to_owned(),
        },
    );
    let fetched = fetch_all(&simulator, &keys);
    assert!(
        matches!(&fetched[0], Err(error) if error.kind == MappingErrorKind::Failed && error.message.contains("not now")),
        "{fetched:?}"
    );
    assert!(fetched[1].is_ok(), "{fetched:?}");
}

#[test]
fn a_further_page_without_an_answer_is_asked_for_again() {
    let simulator = simulator();
    simulator.issue("acme/shop#12", |issue| issue.labels = names(0..101));
    let first = recorded(&simulator, &["acme/shop#12"]).remove(0);
    simulator.fail_next(1, &Fault::Answer(first));
    let alias = Fault::Alias {
        alias: "repository".to_owned(),
        kind: "SOMETHING_NEW".to_owned(),
        message: "not now".to_owned(),
    };
    simulator.fail_next(1, &alias);
    assert_eq!(fetch_one(&simulator, "acme/shop#12").labels.len(), 101);
}
