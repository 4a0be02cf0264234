//! Which mappings a change at GitHub concerns (design, section 3, step 2).

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Duration, Utc};

use super::model::{GithubId, MappingId};

/// GitHub's times have whole seconds: a change within this time of a look may have been missed by it.
const SAME_MOMENT: Duration = Duration::seconds(2);

/// An issue or pull request that GitHub reports as changed.
#[derive(Debug, Clone)]
pub struct RemoteChange {
    /// Which one.
    pub subject: RemoteRef,
    /// When (UTC, GitHub's clock).
    pub updated_at: DateTime<Utc>,
    /// The issues that a pull request closes, or would.
    pub closes: Vec<RemoteRef>,
}

/// An issue or pull request as GitHub names it.
#[derive(Debug, Clone)]
pub struct RemoteRef {
    /// GitHub's id; `None` when GitHub names no usable one.
    pub github_id: Option<GithubId>,
    /// Address of its page.
    pub url: String,
}

/// What is stored about a mapping that a change may concern.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The mapping.
    pub id: MappingId,
    /// GitHub's id as stored.
    pub github_id: GithubId,
    /// Address as stored, lower case.
    pub url: String,
    /// GitHub's `updatedAt` at the last look (UTC).
    pub updated_at: Option<DateTime<Utc>>,
    /// When the last look was, also one that failed (UTC, GitHub's clock).
    pub checked_at: Option<DateTime<Utc>>,
    /// It failed for good, until something changes.
    pub is_parked: bool,
}

impl Candidate {
    /// Whether the last look may have been too early for a change at that time.
    fn may_have_missed(&self, change: DateTime<Utc>) -> bool {
        self.checked_at
            .is_none_or(|checked_at| checked_at < change + SAME_MOMENT)
    }

    fn is_current_at(&self, change: DateTime<Utc>) -> bool {
        // A look at what is gone learns no `updatedAt`; one attempt for each change is enough (design, section 5).
        if self.is_parked && !self.may_have_missed(change) {
            return true;
        }
        match self.updated_at.map(|updated_at| updated_at.cmp(&change)) {
            Some(Ordering::Equal) => !self.may_have_missed(change),
            Some(Ordering::Greater) => true,
            Some(Ordering::Less) | None => false,
        }
    }
}

/// The mappings to be marked, in the order of their ids. A change marks its own mapping unless that has been seen as it is
/// now; a pull request's change marks the issues that it closes unless they were looked at since.
pub fn marks(changes: &[RemoteChange], seen: &[Candidate]) -> Vec<MappingId> {
    let mut by_id: HashMap<GithubId, Vec<&Candidate>> = HashMap::new();
    let mut by_url: HashMap<&str, Vec<&Candidate>> = HashMap::new();
    for row in seen {
        by_id.entry(row.github_id).or_default().push(row);
        by_url.entry(&row.url).or_default().push(row);
    }
    let rows = |named: &RemoteRef| -> Vec<&Candidate> {
        let with_id = named
            .github_id
            .and_then(|id| by_id.get(&id))
            .into_iter()
            .flatten();
        let there = by_url
            .get(named.url.to_lowercase().as_str())
            .into_iter()
            .flatten();
        with_id.chain(there).copied().collect()
    };
    let mut marked = BTreeSet::new();
    for change in changes {
        let own = rows(&change.subject)
            .into_iter()
            .filter(|row| !row.is_current_at(change.updated_at));
        marked.extend(own.map(|row| row.id));
        let issues = change
            .closes
            .iter()
            .flat_map(&rows)
            .filter(|row| row.may_have_missed(change.updated_at));
        marked.extend(issues.map(|row| row.id));
    }
    marked.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        format!("2026-03-01T10:00:{second:02}Z").parse().unwrap()
    }

    fn named(number: i64) -> RemoteRef {
        RemoteRef {
            github_id: Some(GithubId(number)),
            url: format!("https://github.com/Acme/shop/issues/{number}"),
        }
    }

    /// A row that was looked at in second 30 and had changed in second 10.
    fn row(number: i64) -> Candidate {
        Candidate {
            id: MappingId(100 + number),
            github_id: GithubId(number),
            url: format!("https://github.com/acme/shop/issues/{number}"),
            updated_at: Some(at(10)),
            checked_at: Some(at(30)),
            is_parked: false,
        }
    }

    fn change(number: i64, second: u32) -> RemoteChange {
        RemoteChange {
            subject: named(number),
            updated_at: at(second),
            closes: Vec::new(),
        }
    }

    #[track_caller]
    fn check(change: RemoteChange, row: Candidate, is_marked: bool) {
        let expected: Vec<MappingId> = if is_marked { vec![row.id] } else { Vec::new() };
        assert_eq!(marks(&[change], &[row]), expected);
    }

    #[test]
    fn what_changed_since_it_was_seen_is_marked() {
        check(change(1, 10), row(1), false);
        check(change(1, 9), row(1), false);
        check(change(1, 11), row(1), true);
        check(
            change(1, 10),
            Candidate {
                updated_at: None,
                checked_at: None,
                ..row(1)
            },
            true,
        );
        check(change(2, 11), row(1), false);
    }

    #[test]
    fn a_look_in_the_same_moment_may_have_missed_it() {
        check(
            change(1, 10),
            Candidate {
                checked_at: Some(at(11)),
                ..row(1)
            },
            true,
        );
        check(
            change(1, 10),
            Candidate {
                checked_at: Some(at(12)),
                ..row(1)
            },
            false,
        );
    }

    #[test]
    fn what_is_parked_is_marked_by_what_changed_after_its_look() {
        let parked = || Candidate {
            is_parked: true,
            ..row(1)
        };
        check(change(1, 28), parked(), false);
        check(change(1, 28), row(1), true);
        check(change(1, 29), parked(), true);
        check(
            change(1, 29),
            Candidate {
                checked_at: None,
                ..parked()
            },
            true,
        );
    }

    #[test]
    fn a_row_with_a_wrong_id_is_found_by_its_address() {
        check(
            change(1, 11),
            Candidate {
                github_id: GithubId(-7),
                ..row(1)
            },
            true,
        );
        check(
            RemoteChange {
                subject: RemoteRef {
                    github_id: None,
                    ..named(1)
                },
                ..change(1, 11)
            },
            row(1),
            true,
        );
    }

    #[test]
    fn a_pull_request_marks_the_issues_that_it_closes_unless_they_were_looked_at_since() {
        let closing = |second| RemoteChange {
            closes: vec![named(1)],
            ..change(50, second)
        };
        check(closing(31), row(1), true);
        check(closing(29), row(1), true);
        check(closing(28), row(1), false);
    }

    #[test]
    fn each_mapping_is_marked_once_in_the_order_of_ids() {
        let closing = RemoteChange {
            closes: vec![named(3), named(1)],
            ..change(50, 40)
        };
        assert_eq!(
            marks(&[closing, change(1, 40)], &[row(3), row(1)]),
            [MappingId(101), MappingId(103)]
        );
    }
}
