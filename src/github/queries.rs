//! The GraphQL documents, beside nothing else, so that they can be checked against GitHub's published schema.

/// The lightest question that there is.
pub(super) const ALIVE: &str = "query Alive { rateLimit { cost remaining resetAt } }";

/// Everything that is asked about one issue or pull request. What may have more pages stands under a condition, so that
/// the first page and the following ones are asked for with the same text.
const FRAGMENTS: &str = "
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
          ... on Commit { associatedPullRequests(first: 5) { nodes { ...PullRequestRef } totalCount } }
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
        source { __typename ... on PullRequest { ...PullRequestRef title body } }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}
fragment PullRequestPages on PullRequest {
  labels(first: 100, after: $labels) @include(if: $moreLabels) { nodes { name } pageInfo { hasNextPage endCursor } }
}
fragment PullRequestRef on PullRequest {
  fullDatabaseId number url pullRequestState: state repository { nameWithOwner }
}";

/// What does not come in pages.
const LOOK_FRAGMENTS: &str = "
fragment IssueLook on Issue {
  fullDatabaseId number url issueState: state stateReason(enableDuplicate: true)
  title body createdAt updatedAt closedAt
  ...IssuePages
}
fragment PullRequestLook on PullRequest {
  fullDatabaseId number url pullRequestState: state
  title body createdAt updatedAt mergedAt mergeCommit { oid }
  files(first: 100) { nodes { path } totalCount }
  commits(first: 100) { nodes { commit { messageHeadline } } totalCount }
  ...PullRequestPages
}";

/// Asked with every query: what it cost and what is left.
const RATE_LIMIT: &str = "rateLimit { cost remaining resetAt }";

/// Looks at `count` issues or pull requests of whatever repositories, as aliases `t0`, `t1`, ... with variables `o0`,
/// `n0`, `i0`, ... for owner, name and number.
pub(super) fn look(count: usize) -> String {
    let mut variables = "$labels: String, $references: String, $timeline: String, \
        $moreLabels: Boolean! = true, $moreReferences: Boolean! = true, $moreTimeline: Boolean! = true"
        .to_owned();
    let mut aliases = String::new();
    for index in 0..count {
        variables.push_str(&format!(
            ", $o{index}: String!, $n{index}: String!, $i{index}: Int!"
        ));
        aliases.push_str(&format!(
            "  t{index}: repository(owner: $o{index}, name: $n{index}) {{ nameWithOwner \
             issueOrPullRequest(number: $i{index}) {{ __typename ...IssueLook ...PullRequestLook }} }}\n"
        ));
    }
    format!("query Look({variables}) {{\n{aliases}  {RATE_LIMIT}\n}}{LOOK_FRAGMENTS}{FRAGMENTS}")
}

/// The next page of whatever connections of one issue or pull request have one.
pub(super) fn pages() -> String {
    format!(
        "query Pages(
  $owner: String!, $name: String!, $number: Int!, $labels: String, $references: String, $timeline: String,
  $moreLabels: Boolean!, $moreReferences: Boolean!, $moreTimeline: Boolean!
) {{
  repository(owner: $owner, name: $name) {{
    issueOrPullRequest(number: $number) {{ __typename ...IssuePages ...PullRequestPages }}
  }}
  {RATE_LIMIT}
}}{FRAGMENTS}"
    )
}

/// What changed in `count` repositories, as aliases `r0`, `r1`, ... with variables `o0`, `n0` for owner and name, `s0` for the
/// time since which issues are wanted, and for each connection where to go on and whether to.
pub(super) fn changes(count: usize) -> String {
    let mut variables = Vec::new();
    let mut aliases = String::new();
    for index in 0..count {
        variables.push(format!(
            "$o{index}: String!, $n{index}: String!, $s{index}: DateTime!, $issues{index}: String, \
             $pullRequests{index}: String, $moreIssues{index}: Boolean!, $morePullRequests{index}: Boolean!"
        ));
        aliases.push_str(&format!(
            "  r{index}: repository(owner: $o{index}, name: $n{index}) {{
    issues(first: 50, after: $issues{index}, filterBy: {{since: $s{index}}}, orderBy: {{field: UPDATED_AT, direction: ASC}})
      @include(if: $moreIssues{index}) {{ nodes {{ fullDatabaseId url updatedAt }} pageInfo {{ hasNextPage endCursor }} }}
    pullRequests(first: 20, after: $pullRequests{index}, orderBy: {{field: UPDATED_AT, direction: DESC}})
      @include(if: $morePullRequests{index}) {{
      nodes {{ fullDatabaseId url updatedAt closingIssuesReferences(first: 10) {{ nodes {{ fullDatabaseId url }} }} }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}\n"
        ));
    }
    format!(
        "query Changes({}) {{\n{aliases}  {RATE_LIMIT}\n}}",
        variables.join(", ")
    )
}

/// Every document that the adapter can send, for checking against GitHub's published schema.
pub fn documents() -> Vec<String> {
    vec![ALIVE.to_owned(), look(2), pages(), changes(2)]
}
