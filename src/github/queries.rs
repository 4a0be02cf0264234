//! The GraphQL documents. Tests check all of them against GitHub's published schema.

use crate::core::model::Kind;

/// The lightest query, which shows that GitHub answers.
pub(super) const ALIVE: &str = "query Alive { rateLimit { cost remaining resetAt } }";

/// The connections of an issue that have pages. Each is conditional, so that first and following
/// pages have the same text.
const ISSUE_PAGES: &str = "
fragment IssuePages on Issue {
  labels(first: 100, after: $labels) @include(if: $moreLabels) { nodes { name } pageInfo { hasNextPage endCursor } }
  closedByPullRequestsReferences(first: 50, after: $references, includeClosedPrs: true) @include(if: $moreReferences) {
    nodes { ...PullRequestRef } pageInfo { hasNextPage endCursor }
  }
  timelineItems(
    first: 50, after: $timeline,
    itemTypes: [CLOSED_EVENT, CONNECTED_EVENT, DISCONNECTED_EVENT, CROSS_REFERENCED_EVENT]
  ) @include(if: $moreTimeline) {
    nodes {
      __typename
      ... on ClosedEvent {
        closer { __typename ... on PullRequest { ...PullRequestRef } ... on Commit { id oid } }
      }
      ... on ConnectedEvent {
        source { __typename ... on PullRequest { ...PullRequestRef } }
        subject { __typename ... on PullRequest { ...PullRequestRef } }
      }
      ... on DisconnectedEvent {
        source { __typename ... on PullRequest { ...PullRequestRef } }
        subject { __typename ... on PullRequest { ...PullRequestRef } }
      }
      ... on CrossReferencedEvent {
        willCloseTarget
        source { __typename ... on PullRequest { ...PullRequestRef body } }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
  reopenings: timelineItems(last: 1, itemTypes: [REOPENED_EVENT]) @include(if: $moreReopenings) {
    nodes { ... on ReopenedEvent { createdAt } }
  }
}
fragment PullRequestRef on PullRequest {
  fullDatabaseId number url pullRequestState: state repository { nameWithOwner } mergeCommit { oid }
}";

/// The connections of a pull request that have pages.
const PULL_REQUEST_PAGES: &str = "
fragment PullRequestPages on PullRequest {
  labels(first: 100, after: $labels) @include(if: $moreLabels) { nodes { name } pageInfo { hasNextPage endCursor } }
  files(first: 100) @include(if: $moreFiles) { nodes { path } totalCount }
  commits(first: 100) @include(if: $moreCommits) { nodes { commit { messageHeadline } } totalCount }
}";

/// The variables of the connections of an issue, and of a pull request.
const ISSUE_VARIABLES: [&str; 7] = [
    "$labels: String",
    "$moreLabels: Boolean!",
    "$references: String",
    "$moreReferences: Boolean!",
    "$timeline: String",
    "$moreTimeline: Boolean!",
    "$moreReopenings: Boolean!",
];
const PULL_REQUEST_VARIABLES: [&str; 4] = [
    "$labels: String",
    "$moreLabels: Boolean!",
    "$moreFiles: Boolean!",
    "$moreCommits: Boolean!",
];

/// Returns the connections of this kind: their fragments, the name of the one to spread, and their
/// variables. A target of an unknown kind is asked about as an issue.
fn pages(kind: Kind) -> (&'static str, &'static str, &'static [&'static str]) {
    match kind {
        Kind::PullRequest => (
            PULL_REQUEST_PAGES,
            "PullRequestPages",
            &PULL_REQUEST_VARIABLES,
        ),
        Kind::Issue | Kind::Unknown => (ISSUE_PAGES, "IssuePages", &ISSUE_VARIABLES),
    }
}

/// Argument without which github.com does not say that an issue was closed as a duplicate. GitHub
/// will remove it, and GitHub Enterprise Server has it since 3.17.
const WITH_DUPLICATES: &str = "(enableDuplicate: true)";

/// Returns a document without the argument that some versions of GitHub do not have; `None` if it
/// has none.
pub(super) fn without_duplicates(document: &str) -> Option<String> {
    let without = document.replace(WITH_DUPLICATES, "");
    (without != document).then_some(without)
}

/// The fields that do not come in pages. Every target is asked for both, because a mapping may have
/// the wrong kind.
const FIELD_FRAGMENTS: &str = "
fragment IssueFields on Issue {
  fullDatabaseId number url issueState: state stateReason(enableDuplicate: true)
  title body createdAt updatedAt closedAt
}
fragment PullRequestFields on PullRequest {
  fullDatabaseId number url pullRequestState: state
  title body createdAt updatedAt mergedAt mergeCommit { oid }
}";

/// Part of every query: its cost, and the points that are left.
const RATE_LIMIT: &str = "rateLimit { cost remaining resetAt }";

/// Returns the query for issues or pull requests of these kinds and any repositories, with aliases
/// `t0`, `t1`, ... and variables `o0`, `n0`, `i0`, ... for owner, name and number. An alias asks
/// only for the connections of its kind, because each of them costs.
pub(super) fn fetch_query(kinds: &[Kind]) -> String {
    let (mut variables, mut fragments, mut aliases) = (Vec::new(), Vec::new(), String::new());
    for (index, kind) in kinds.iter().enumerate() {
        let (fragment, pages, switches) = pages(*kind);
        if !fragments.contains(&fragment) {
            fragments.push(fragment);
            for variable in switches {
                // All are on, unless a variable turns one off.
                let variable = variable.replace('!', "! = true");
                if !variables.contains(&variable) {
                    variables.push(variable);
                }
            }
        }
        variables.push(format!(
            "$o{index}: String!, $n{index}: String!, $i{index}: Int!"
        ));
        aliases.push_str(&format!(
            "  t{index}: repository(owner: $o{index}, name: $n{index}) {{ nameWithOwner databaseId \
             issueOrPullRequest(number: $i{index}) {{ __typename ...IssueFields ...PullRequestFields ...{pages} }} }}\n"
        ));
    }
    format!(
        "query Fetch({}) {{\n{aliases}  {RATE_LIMIT}\n}}{FIELD_FRAGMENTS}{}",
        variables.join(", "),
        fragments.concat()
    )
}

/// Returns the query for the next page of each connection of one issue or pull request that has
/// one.
pub(super) fn pages_query(kind: Kind) -> String {
    let (fragment, pages, variables) = pages(kind);
    format!(
        "query Pages($owner: String!, $name: String!, $number: Int!, {}) {{
  repository(owner: $owner, name: $name) {{ issueOrPullRequest(number: $number) {{ __typename ...{pages} }} }}
  {RATE_LIMIT}
}}{fragment}",
        variables.join(", ")
    )
}

/// A list below the nodes of another list. The document of that one does not ask for it, because it
/// would cost as much as if every node had one.
#[derive(Debug, Clone, Copy)]
pub(super) enum ListBelow {
    /// The issues that a pull request closes.
    ClosedIssues,
    /// The pull requests that contain a commit.
    PullRequests,
}

impl ListBelow {
    /// Returns the name of the list's field.
    pub const fn field(self) -> &'static str {
        match self {
            Self::ClosedIssues => "closingIssuesReferences",
            Self::PullRequests => "associatedPullRequests",
        }
    }
}

/// Returns the query for the first page of a list below each of `count` nodes, with aliases `l0`,
/// `l1`, ... and their ids in the variables `l0`, `l1`, ...
pub(super) fn lists_query(list: ListBelow, count: usize) -> String {
    let (owner, size, fields) = match list {
        ListBelow::ClosedIssues => ("PullRequest", 10, "fullDatabaseId url"),
        ListBelow::PullRequests => (
            "Commit",
            5,
            "fullDatabaseId number url pullRequestState: state repository { nameWithOwner }",
        ),
    };
    let field = list.field();
    let variables: Vec<String> = (0..count).map(|index| format!("$l{index}: ID!")).collect();
    let aliases: String = (0..count)
        .map(|index| format!("  l{index}: node(id: $l{index}) {{ ...List }}\n"))
        .collect();
    format!(
        "query Lists({}) {{\n{aliases}  {RATE_LIMIT}\n}}
fragment List on {owner} {{ {field}(first: {size}) {{ nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }}",
        variables.join(", ")
    )
}

/// The query for one page of a list below a single node, with its id.
pub(super) const LIST_PAGE: &str = "query ListPage($id: ID!, $after: String) {
  node(id: $id) {
    __typename
    ... on PullRequest {
      closingIssuesReferences(first: 100, after: $after) {
        nodes { fullDatabaseId url } pageInfo { hasNextPage endCursor }
      }
    }
    ... on Commit {
      associatedPullRequests(first: 100, after: $after) {
        nodes { fullDatabaseId number url pullRequestState: state repository { nameWithOwner } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
  rateLimit { cost remaining resetAt }
}";

/// Returns the query for changes in `count` repositories, with aliases `r0`, `r1`, ... The
/// variables are `o0` and `n0` for owner and name, `s0` for the oldest change of an issue, and for
/// each connection a switch (`moreIssues0`) and a cursor (`issues0`).
pub(super) fn poll_query(count: usize) -> String {
    let mut variables = Vec::new();
    let mut aliases = String::new();
    for index in 0..count {
        variables.push(format!(
            "$o{index}: String!, $n{index}: String!, $s{index}: DateTime!, $issues{index}: String, \
             $pullRequests{index}: String, $moreIssues{index}: Boolean!, $morePullRequests{index}: Boolean!"
        ));
        aliases.push_str(&format!(
            "  r{index}: repository(owner: $o{index}, name: $n{index}) {{
    databaseId hasIssuesEnabled
    issues(first: 50, after: $issues{index}, filterBy: {{since: $s{index}}}, orderBy: {{field: UPDATED_AT, direction: ASC}})
      @include(if: $moreIssues{index}) {{ nodes {{ fullDatabaseId url updatedAt }} pageInfo {{ hasNextPage endCursor }} }}
    pullRequests(first: 20, after: $pullRequests{index}, orderBy: {{field: UPDATED_AT, direction: DESC}})
      @include(if: $morePullRequests{index}) {{
      nodes {{ id fullDatabaseId url updatedAt }} pageInfo {{ hasNextPage endCursor }}
    }}
  }}\n"
        ));
    }
    format!(
        "query Poll({}) {{\n{aliases}  {RATE_LIMIT}\n}}",
        variables.join(", ")
    )
}

/// Returns every document that the adapter can send, to be checked against GitHub's published
/// schema; those for a GitHub without the argument of `stateReason` if `with_duplicates` is false.
pub fn documents(with_duplicates: bool) -> Vec<String> {
    let documents = [
        ALIVE.to_owned(),
        fetch_query(&[Kind::Issue; 2]),
        fetch_query(&[Kind::PullRequest; 2]),
        fetch_query(&[Kind::Issue, Kind::PullRequest]),
        pages_query(Kind::Issue),
        pages_query(Kind::PullRequest),
        lists_query(ListBelow::ClosedIssues, 2),
        lists_query(ListBelow::PullRequests, 2),
        LIST_PAGE.to_owned(),
        poll_query(2),
    ];
    documents
        .into_iter()
        .map(|document| match without_duplicates(&document) {
            Some(without) if !with_duplicates => without,
            _ => document,
        })
        .collect()
}
