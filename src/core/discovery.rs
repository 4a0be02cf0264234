//! The mappings that a change on GitHub concerns (design.md, "The pipeline").

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Duration, Utc};

use super::model::{GithubId, MappingId};

/// Time after a change within which a fetch may have missed it: GitHub's times have whole seconds.
const SAME_MOMENT: Duration = Duration::seconds(2);

/// An issue or pull request that GitHub reports as changed.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct RemoteChange {
    pub subject: RemoteRef,
    /// Time of the change (UTC, GitHub's clock).
    pub updated_at: DateTime<Utc>,
    /// Issues that a pull request closes or would close.
    pub closes: Vec<RemoteRef>,
}

/// An issue or pull request as GitHub names it.
#[derive(Debug, Clone)]
pub struct RemoteRef {
    /// GitHub's id; `None` if GitHub gives no usable one.
    pub github_id: Option<GithubId>,
    /// Address of the page.
    pub url: String,
}

/// Stored facts of a mapping that a change may concern.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct Candidate {
    pub id: MappingId,
    pub github_id: GithubId,
    /// Address as stored, lower case.
    pub url: String,
    /// GitHub's `updatedAt` at the last check (UTC).
    pub updated_at: Option<DateTime<Utc>>,
    /// Time of the last check, even if it failed (UTC, GitHub's clock).
    pub checked_at: Option<DateTime<Utc>>,
    /// The mapping has no next attempt until something changes.
    pub is_parked: bool,
}

impl Candidate {
    /// Returns true if the last check may have been too early for a change at that time.
    fn may_have_missed(&self, change: DateTime<Utc>) -> bool {
        self.checked_at
            .is_none_or(|checked_at| checked_at < change + SAME_MOMENT)
    }

    fn is_current_at(&self, change: DateTime<Utc>) -> bool {
        // A check of a deleted issue gets no `updatedAt`; one attempt for each change is enough.
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

/// Returns the mappings to mark, ordered by id. A change marks its own mapping unless that is
/// current; a pull request's change marks the issues that it closes unless they were checked since.
pub fn marks(changes: &[RemoteChange], candidates: &[Candidate]) -> Vec<MappingId> {
    let mut by_id: HashMap<GithubId, Vec<&Candidate>> = HashMap::new();
    let mut by_url: HashMap<&str, Vec<&Candidate>> = HashMap::new();
    for row in candidates {
        by_id.entry(row.github_id).or_default().push(row);
        by_url.entry(&row.url).or_default().push(row);
    }
    let rows = |subject: &RemoteRef| -> Vec<&Candidate> {
        let with_id = subject.github_id.and_then(|id| by_id.get(&id));
        let with_url = by_url.get(subject.url.to_lowercase().as_str());
        let rows = with_id.into_iter().chain(with_url).flatten();
        rows.copied().collect()
    };
    let mut marked = BTreeSet::new();
    for change in changes {
        let mut own = rows(&change.subject);
        own.retain(|row| !row.is_current_at(change.updated_at));
        let mut issues: Vec<&Candidate> = change.closes.iter().flat_map(&rows).collect();
        issues.retain(|row| row.may_have_missed(change.updated_at));
        marked.extend(own.iter().chain(&issues).map(|row| row.id));
    }
    marked.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        format!("2026-03-01T10:00:{second:02}Z").parse().unwrap()
    }

    fn subject(number: i64) -> RemoteRef {
        RemoteRef {
            github_id: Some(GithubId(number)),
            url: format!("https://github.com/Acme/shop/issues/{number}"),
        }
    }

    /// A row that changed in second 10 and was checked in second 30.
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
            subject: subject(number),
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
    fn a_change_since_the_last_check_is_marked() {
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
    fn a_check_within_two_seconds_may_have_missed_the_change() {
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
    fn a_parked_mapping_is_marked_by_a_change_after_its_check() {
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
    fn a_row_with_a_wrong_id_is_matched_by_its_address() {
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
                    ..subject(1)
                },
                ..change(1, 11)
            },
            row(1),
            true,
        );
    }

    #[test]
    fn a_pull_request_marks_its_issues_unless_they_were_checked_since() {
        let closing = |second| RemoteChange {
            closes: vec![subject(1)],
            ..change(50, second)
        };
        check(closing(31), row(1), true);
        check(closing(29), row(1), true);
        check(closing(28), row(1), false);
    }

    #[test]
    fn each_mapping_is_marked_once_in_the_order_of_ids() {
        let closing = RemoteChange {
            closes: vec![subject(3), subject(1)],
            ..change(50, 40)
        };
        assert_eq!(
            marks(&[closing, change(1, 40)], &[row(3), row(1)]),
            [MappingId(101), MappingId(103)]
        );
    }
}
