//! The GraphQL documents. Tests check all of them against GitHub's published schema.

/// The lightest query, which shows that GitHub answers.
pub(super) const ALIVE: &str = "query Alive { rateLimit { cost remaining resetAt } }";

/// The connections of one issue or pull request that have pages. Each is conditional, so that first
/// and following pages have the same text.
const PAGE_FRAGMENTS: &str = "
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
        closer {
          __typename
          ... on PullRequest { ...PullRequestRef }
          ... on Commit {
            id
            associatedPullRequests(first: 5) { nodes { ...PullRequestRef } pageInfo { hasNextPage endCursor } }
          }
        }
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
fragment PullRequestPages on PullRequest {
  labels(first: 100, after: $labels) @include(if: $moreLabels) { nodes { name } pageInfo { hasNextPage endCursor } }
  files(first: 100) @include(if: $moreFiles) { nodes { path } totalCount }
  commits(first: 100) @include(if: $moreCommits) { nodes { commit { messageHeadline } } totalCount }
}
fragment PullRequestRef on PullRequest {
  fullDatabaseId number url pullRequestState: state repository { nameWithOwner }
}";

/// Argument without which github.com does not say that an issue was closed as a duplicate. GitHub
/// will remove it, and GitHub Enterprise Server has it since 3.17.
const WITH_DUPLICATES: &str = "(enableDuplicate: true)";

/// Returns a document without the argument that some versions of GitHub do not have; `None` if it
/// has none.
pub(super) fn without_duplicates(document: &str) -> Option<String> {
    let without = document.replace(WITH_DUPLICATES, "");
    (without != document).then_some(without)
}

/// The fields that do not come in pages.
const FIELD_FRAGMENTS: &str = "
fragment IssueFields on Issue {
  fullDatabaseId number url issueState: state stateReason(enableDuplicate: true)
  title body createdAt updatedAt closedAt
  ...IssuePages
}
fragment PullRequestFields on PullRequest {
  fullDatabaseId number url pullRequestState: state
  title body createdAt updatedAt mergedAt mergeCommit { oid }
  ...PullRequestPages
}";

/// Part of every query: its cost, and the points that are left.
const RATE_LIMIT: &str = "rateLimit { cost remaining resetAt }";

/// Returns the query for `count` issues or pull requests of any repositories, with aliases `t0`,
/// `t1`, ... and variables `o0`, `n0`, `i0`, ... for owner, name and number.
pub(super) fn fetch_query(count: usize) -> String {
    let mut variables = "$labels: String, $references: String, $timeline: String, \
        $moreLabels: Boolean! = true, $moreReferences: Boolean! = true, $moreTimeline: Boolean! = true, \
        $moreReopenings: Boolean! = true, $moreFiles: Boolean! = true, $moreCommits: Boolean! = true"
        .to_owned();
    let mut aliases = String::new();
    for index in 0..count {
        variables.push_str(&format!(
            ", $o{index}: String!, $n{index}: String!, $i{index}: Int!"
        ));
        aliases.push_str(&format!(
            "  t{index}: repository(owner: $o{index}, name: $n{index}) {{ nameWithOwner databaseId \
             issueOrPullRequest(number: $i{index}) {{ __typename ...IssueFields ...PullRequestFields }} }}\n"
        ));
    }
    format!(
        "query Fetch({variables}) {{\n{aliases}  {RATE_LIMIT}\n}}{FIELD_FRAGMENTS}{PAGE_FRAGMENTS}"
    )
}

/// Returns the query for the next page of each connection of one issue or pull request that has
/// one.
pub(super) fn pages_query() -> String {
    format!(
        "query Pages(
  $owner: String!, $name: String!, $number: Int!, $labels: String, $references: String, $timeline: String,
  $moreLabels: Boolean!, $moreReferences: Boolean!, $moreTimeline: Boolean!,
  $moreReopenings: Boolean!, $moreFiles: Boolean!, $moreCommits: Boolean!
) {{
  repository(owner: $owner, name: $name) {{
    issueOrPullRequest(number: $number) {{ __typename ...IssuePages ...PullRequestPages }}
  }}
  {RATE_LIMIT}
}}{PAGE_FRAGMENTS}"
    )
}

/// The query for one page of a list below a node, with its id.
pub(super) const LIST_BELOW: &str = "query ListBelow($id: ID!, $after: String) {
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
/// each connection a switch (`moreIssues0`) and a cursor (`issues0`). `moreClosing` is the switch
/// of what pull requests close.
pub(super) fn poll_query(count: usize) -> String {
    let mut variables = vec!["$moreClosing: Boolean! = true".to_owned()];
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
      nodes {{
        id fullDatabaseId url updatedAt
        closingIssuesReferences(first: 10) @include(if: $moreClosing) {{
          nodes {{ fullDatabaseId url }} pageInfo {{ hasNextPage endCursor }}
        }}
      }}
      pageInfo {{ hasNextPage endCursor }}
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
        fetch_query(2),
        pages_query(),
        poll_query(2),
        LIST_BELOW.to_owned(),
    ];
    documents
        .into_iter()
        .map(|document| match without_duplicates(&document) {
            Some(without) if !with_duplicates => without,
            _ => document,
        })
        .collect()
}
