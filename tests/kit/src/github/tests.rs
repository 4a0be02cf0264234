//! The simulator is as strict as it claims.

use serde_json::json;

use super::*;

/// Returns status and body of one request with these headers.
fn ask(github: &Github, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> (u16, Value) {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent("")
        .build()
        .new_agent();
    let mut request = ureq::http::Request::builder().uri(format!("{}{path}", github.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = match body {
        Some(body) => agent
            .run(request.method("POST").body(body.to_string()).unwrap())
            .unwrap(),
        None => agent.run(request.body(()).unwrap()).unwrap(),
    };
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

const GOOD: [(&str, &str); 2] = [
    ("user-agent", "test"),
    ("authorization", "Bearer github_pat_simulated"),
];

fn query(github: &Github, query: &str) -> Value {
    let (status, answer) = ask(github, "/graphql", &GOOD, Some(json!({ "query": query })));
    assert_eq!(status, 200, "{answer}");
    answer
}

fn one_issue() -> Github {
    let github = Github::start();
    github.issue("acme/shop#12", |_| {});
    github
}

#[test]
fn a_request_needs_user_agent_and_token() {
    let github = one_issue();
    let path = "/repos/acme/shop/issues/12";
    assert_eq!(ask(&github, path, &GOOD[1..], None).0, 403);
    assert_eq!(ask(&github, path, &GOOD[..1], None).0, 401);
    assert_eq!(
        ask(
            &github,
            path,
            &[GOOD[0], ("authorization", "Bearer wrong")],
            None
        )
        .0,
        401
    );
    assert_eq!(
        ask(
            &github,
            path,
            &[GOOD[0], GOOD[1], ("x-github-api-version", "2020-01-01")],
            None
        )
        .0,
        400
    );
    assert_eq!(ask(&github, path, &GOOD, None).0, 200);
    assert_eq!(
        ask(&github, "/repos/acme/shop/issues/12/", &GOOD, None).0,
        404
    );
}

#[test]
fn graphql_rejects_unknown_fields() {
    let github = one_issue();
    for bad in [
        "{ repository(owner: \"acme\", name: \"shop\") { colour } }",
        "{ repository(owner: \"acme\") { nameWithOwner } }",
        "{ repository(owner: \"acme\", name: \"shop\", id: 1) { nameWithOwner } }",
        "{ repository(owner: \"acme\", name: \"shop\") }",
    ] {
        let answer = query(&github, bad);
        assert!(
            answer["data"].is_null() && answer["errors"][0]["message"].is_string(),
            "{bad}: {answer}"
        );
    }
}

fn issue_query(fields: &str) -> String {
    format!(
        "{{ repository(owner: \"acme\", name: \"shop\") {{ issueOrPullRequest(number: 12) {{ ... on Issue {{ {fields} }} }} }} }}"
    )
}

#[test]
fn every_connection_needs_first_within_limits() {
    let github = one_issue();
    let kind = |fields: &str| query(&github, &issue_query(fields))["errors"][0]["type"].clone();
    assert_eq!(
        kind("labels { totalCount }"),
        "MISSING_PAGINATION_BOUNDARIES"
    );
    assert_eq!(
        kind("labels(first: 101) { totalCount }"),
        "EXCESSIVE_PAGINATION"
    );
    assert_eq!(
        kind("labels(first: 1, after: \"timelineItems:1\") { totalCount }"),
        "INVALID_CURSOR_ARGUMENTS"
    );
    let many = "timelineItems(first: 100) { nodes { ... on ClosedEvent { closer { ... on Commit { \
        associatedPullRequests(first: 100) { nodes { files(first: 100) { totalCount } } } } } } } }";
    assert_eq!(kind(many), "MAX_NODE_LIMIT_EXCEEDED");
}

#[test]
fn ids_are_text_beyond_32_bits() {
    let answer = query(&one_issue(), &issue_query("fullDatabaseId databaseId"));
    let issue = &answer["data"]["repository"]["issueOrPullRequest"];
    assert_eq!(
        (
            issue["fullDatabaseId"].as_str(),
            issue["databaseId"].is_null()
        ),
        (Some("5000000001"), true)
    );
}

#[test]
fn the_reason_duplicate_is_visible_only_on_request() {
    let github = one_issue();
    github.close_by(
        "acme/shop#12",
        "2026-02-01T00:00:00Z",
        "DUPLICATE",
        Closer::Nobody,
    );
    let answer = query(
        &github,
        &issue_query("stateReason with: stateReason(enableDuplicate: true)"),
    );
    let issue = &answer["data"]["repository"]["issueOrPullRequest"];
    assert_eq!(
        (&issue["stateReason"], &issue["with"]),
        (&Value::Null, &json!("DUPLICATE"))
    );
}

#[test]
fn a_missing_node_is_null_with_an_error_for_its_path() {
    let github = one_issue();
    let answer = query(
        &github,
        "{ a: repository(owner: \"acme\", name: \"gone\") { nameWithOwner }
           b: repository(owner: \"ACME\", name: \"shop\") { nameWithOwner issueOrPullRequest(number: 1) { __typename } } }",
    );
    assert_eq!(
        answer["data"],
        json!({ "a": null, "b": { "nameWithOwner": "acme/shop", "issueOrPullRequest": null } })
    );
    let errors: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (&e["type"], &e["path"]))
        .collect();
    let not_found = json!("NOT_FOUND");
    assert_eq!(
        errors,
        [
            (&not_found, &json!(["a"])),
            (&not_found, &json!(["b", "issueOrPullRequest"]))
        ]
    );
}

#[test]
fn rest_reports_deleted_and_transferred_issues() {
    let github = one_issue();
    for number in 13..=14 {
        github.issue(&format!("acme/shop#{number}"), |_| {});
    }
    github.delete("acme/shop#12");
    github.transfer("acme/shop#13", "acme/other#1");
    github.rename_repository("acme/shop", "acme/store");
    let under = |name: &str, number: i32| {
        ask(
            &github,
            &format!("/repos/acme/{name}/issues/{number}"),
            &GOOD,
            None,
        )
        .0
    };
    let status = |number| under("store", number);
    assert_eq!([12, 13, 14, 15].map(status), [410, 301, 200, 404]);
    assert_eq!(
        [12, 13, 14, 15].map(|number| under("shop", number)),
        [301; 4]
    );
    github.hide_repository("acme/store");
    assert_eq!([12, 13, 14].map(status), [404; 3]);
    assert_eq!(under("shop", 12), 404);
}

#[test]
fn rest_shows_timelines_page_by_page() {
    let github = one_issue();
    github.pull_request("acme/shop#13", |_| {});
    github.issue("acme/shop#12", |issue| {
        let source = "acme/shop#13".to_owned();
        issue.timeline = vec![Event::Reopened("2026-02-01T00:00:00Z".to_owned()); 30];
        issue.timeline.push(Event::CrossReferenced {
            source,
            will_close: true,
        });
    });
    let page = |query: &str| {
        ask(
            &github,
            &format!("/repos/acme/shop/issues/12/timeline{query}"),
            &GOOD,
            None,
        )
        .1
    };
    let count = |query: &str| page(query).as_array().unwrap().len();
    assert_eq!(
        [
            "",
            "?page=2",
            "?per_page=100",
            "?per_page=20&page=2",
            "?page=3"
        ]
        .map(count),
        [30, 1, 31, 11, 0]
    );
    let links = || {
        github
            .requests()
            .last()
            .unwrap()
            .response
            .headers
            .iter()
            .any(|(name, _)| name == "link")
    };
    assert_eq!(
        [
            page("").is_array() && links(),
            page("?page=2").is_array() && links()
        ],
        [true, false]
    );
    let source = page("?page=2")[0]["source"]["issue"].clone();
    assert_eq!(
        (&source["number"], source["pull_request"].is_object()),
        (&json!(13), true)
    );
}

#[test]
fn rest_shows_a_pull_request_by_its_own_id_and_no_issue() {
    let github = one_issue();
    let id = github.pull_request("acme/shop#13", |_| {});
    github.merge("acme/shop#13", "2026-02-01T00:00:00Z");
    let (status, shown) = ask(&github, "/repos/acme/shop/pulls/13", &GOOD, None);
    assert_eq!(
        (status, &shown["id"], &shown["state"], &shown["merged"]),
        (200, &json!(id), &json!("closed"), &json!(true))
    );
    assert_eq!(
        ask(&github, "/repos/acme/shop/pulls/12", &GOOD, None).0,
        404
    );
    github.rename_repository("acme/shop", "acme/store");
    let (status, moved) = ask(&github, "/repos/acme/shop/pulls/13", &GOOD, None);
    assert_eq!(
        (
            status,
            moved["url"]
                .as_str()
                .unwrap()
                .ends_with("/repositories/1/pulls/13")
        ),
        (301, true)
    );
}

#[test]
fn a_spent_budget_rejects_every_request() {
    let github = one_issue();
    github.settings().points = 1;
    assert!(query(&github, &issue_query("number"))["errors"].is_null());
    assert_eq!(
        query(&github, &issue_query("number"))["errors"][0]["type"],
        "RATE_LIMITED"
    );
    assert_eq!(
        ask(&github, "/repos/acme/shop/issues/12", &GOOD, None).0,
        403
    );
}

#[test]
fn a_query_that_is_too_heavy_ends_in_a_proxys_page() {
    let github = one_issue();
    github.settings().most_aliases = 0;
    assert_eq!(
        ask(
            &github,
            "/graphql",
            &GOOD,
            Some(json!({ "query": issue_query("number") }))
        )
        .0,
        502
    );
}

#[test]
fn merging_closes_the_referenced_issues() {
    let github = one_issue();
    github.pull_request("acme/shop#13", |_| {});
    github.issue("acme/shop#12", |issue| {
        issue.references.push("acme/shop#13".to_owned())
    });
    github.merge("acme/shop#13", "2026-02-01T00:00:00Z");
    let fields = "state closedAt closedByPullRequestsReferences(first: 5) { nodes { state } }
        timelineItems(first: 5, itemTypes: [CLOSED_EVENT]) { nodes { ... on ClosedEvent { closer { ... on PullRequest { number } } } } }";
    let answer = query(&github, &issue_query(fields));
    assert_eq!(
        answer["data"]["repository"]["issueOrPullRequest"],
        json!({
            "state": "CLOSED", "closedAt": "2026-02-01T00:00:00Z",
            "closedByPullRequestsReferences": { "nodes": [{ "state": "MERGED" }] },
            "timelineItems": { "nodes": [{ "closer": { "number": 13 } }] },
        })
    );
}
