//! The points of requests, reckoned from the documents by the formula that GitHub publishes on its page "Rate limits and query
//! limits for the GraphQL API".

use std::collections::BTreeSet;

use agira_worker::github::Poll;
use kit::github::Event;
use serde_json::Value;

use super::*;

/// The connections of a document, each with the number of requests that it takes if all above it are full.
fn connections(document: &str) -> Vec<usize> {
    let mut text = document.to_owned();
    let fragments: Vec<String> = document
        .split("fragment ")
        .skip(1)
        .map(str::to_owned)
        .collect();
    // Fragments use others.
    for _ in 0..fragments.len() {
        for fragment in &fragments {
            let name = fragment.split(' ').next().expect("a name");
            let (_, body) = fragment.split_once('{').expect("a body");
            let body = format!("... on Spread {{{body}");
            let spread = text.replace(&format!("...{name} "), &format!("{body} "));
            text = spread.replace(&format!("...{name}\n"), &format!("{body}\n"));
        }
    }
    let operation = text.split("\nfragment ").next().expect("an operation");
    let (mut found, mut above, mut next) = (Vec::new(), vec![1], 1);
    let mut rest = operation;
    while let Some(place) = rest.find(['{', '}', '(']) {
        let (sign, after) = (rest.as_bytes()[place], &rest[place + 1..]);
        rest = after;
        match sign {
            b'(' => {
                let arguments = after.split(')').next().unwrap_or_default();
                let size = ["first: ", "last: "]
                    .into_iter()
                    .find_map(|name| arguments.split(name).nth(1));
                if let Some(size) = size {
                    let digits = size.split(|one: char| !one.is_ascii_digit()).next();
                    next = digits
                        .and_then(|digits| digits.parse().ok())
                        .expect("a size");
                    found.push(*above.last().expect("the top"));
                }
                // Arguments have braces of their own.
                rest = &after[arguments.len()..];
            }
            b'{' => {
                above.push(above.last().expect("the top") * next);
                next = 1;
            }
            _ => drop(above.pop()),
        }
    }
    found
}

fn points(document: &str) -> usize {
    let requests: usize = connections(document).into_iter().sum();
    ((requests + 50) / 100).max(1)
}

#[test]
fn points_are_reckoned_as_in_githubs_example() {
    let document = "query { viewer { repositories(first: 100) { edges { node { issues(first: 50) { edges { node { \
        labels(first: 60) { edges { node { name } } } } } } } } } } }";
    assert_eq!(connections(document), [1, 100, 5000]);
    assert_eq!(points(document), 51);
    let other = "query Q($a: String) { a { ...F } b { ...F }\n}\nfragment F on T { c(first: 10, by: {d: $a}) { e } }";
    assert_eq!(connections(other), [1, 1]);
}

/// Returns a GitHub of which a fetch and a poll need all kinds of requests.
fn everything() -> Simulator {
    let simulator = with_issues(&shop(1..=80));
    for key in shop(101..=220) {
        simulator.pull_request(&key, |_| {});
    }
    for key in shop(1..=60) {
        simulator.issue(&key, |issue| {
            let commit = Closer::Commit(shop(101..=107));
            issue.labels = vec!["bug".to_owned(); 101];
            issue.references = shop(101..=112);
            issue.timeline = vec![Event::Closed(commit)];
        });
    }
    simulator
}

#[test]
fn every_request_costs_what_its_document_says() {
    let simulator = everything();
    let keys = [shop(1..=80), shop(101..=220)].concat();
    let fetched = fetch_all(&simulator, &keys);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    let since = "2025-01-01T00:00:00Z".parse().expect("a time");
    let poll = |name: &str| Poll {
        repository: Repository::parse(name).expect("owner/name"),
        issues_since: since,
        pull_requests_since: since,
        closing_after: since,
    };
    let polls = [poll("acme/shop"), poll("acme/none")];
    client(&simulator).poll(&polls);
    simulator.make_too_heavy("acme/shop#1");
    fetch_all(&simulator, &shop(1..=1));
    let mut names = BTreeSet::new();
    for exchange in simulator.requests() {
        let read = |body: &[u8]| serde_json::from_slice::<Value>(body).expect("JSON");
        let body = read(&exchange.request.body);
        let document = body["query"].as_str().expect("a document");
        let name = document.split(['(', ' ']).nth(1).expect("a name");
        names.insert(name.to_owned());
        let cost = &read(&exchange.response.body)["data"]["rateLimit"]["cost"];
        assert_eq!(*cost, points(document), "{document}");
    }
    let all = agira_worker::github::documents(true);
    let all = all.iter().filter_map(|one| one.split(['(', ' ']).nth(1));
    assert_eq!(names, all.map(str::to_owned).collect());
}

#[test]
fn no_document_asks_for_a_connection_below_a_list() {
    for document in agira_worker::github::documents(true) {
        let connections = connections(&document);
        assert!(connections.iter().all(|above| *above == 1), "{document}");
    }
}
