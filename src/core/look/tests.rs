use super::super::model::*;
use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// GitHub's clock at the answer.
fn now() -> DateTime<Utc> {
    at("2026-03-01T10:30:00Z")
}

/// An issue that changed at 10:00 and was checked at 10:25.
fn mapping() -> Mapping {
    Mapping {
        id: MappingId(42),
        github_id: GithubId(4_000_000_001),
        kind: Kind::Issue,
        external_updated_at: Some(at("2026-03-01T10:00:00Z")),
        checked_at: Some(at("2026-03-01T10:25:00Z")),
        ..Mapping::default()
    }
}

/// Returns GitHub's state of it, which is the stored one unless a case changes it.
fn snapshot() -> Snapshot {
    Snapshot {
        github_id: GithubId(4_000_000_001),
        repository_id: Some(GithubId(1)),
        address: Address::parse("https://github.com/acme/shop/issues/12").unwrap(),
        url: "https://github.com/acme/shop/issues/12".to_owned(),
        state: State::Open,
        title: String::new(),
        body: String::new(),
        labels: Vec::new(),
        created_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-03-01T10:00:00Z"),
        missing: Vec::new(),
        details: Details::Issue {
            closed_at: None,
            close_reason: None,
            reopened_at: None,
            pull_requests: Vec::new(),
            some_hidden: false,
        },
    }
}

/// The same as it was a second before the change.
fn older() -> Snapshot {
    Snapshot {
        updated_at: at("2026-03-01T09:59:59Z"),
        ..snapshot()
    }
}

/// Another issue at the same address, created when the first one was.
fn other() -> Snapshot {
    Snapshot {
        github_id: GithubId(4_000_000_002),
        ..snapshot()
    }
}

const FIRST: Option<GithubId> = Some(GithubId(1));

#[test]
fn an_id_of_another_repository_is_not_taken_up() {
    let stranger = Snapshot {
        repository_id: Some(GithubId(2)),
        ..other()
    };
    let reason = is_another(&mapping(), &stranger, FIRST);
    assert_eq!(
        reason.as_deref(),
        Some(
            "is another issue than before: the id was 4000000001 and is 4000000002 now, and its repository's id was 1 and is \
             2 now; correct html_url, delete the mapping, or accept what GitHub shows now with: agira-worker retry-failed \
             --mapping 42"
        )
    );
    // Nobody knows the former id, or the new one.
    assert_eq!(is_another(&mapping(), &stranger, None), None);
    let unnamed = Snapshot {
        repository_id: None,
        ..other()
    };
    assert_eq!(is_another(&mapping(), &unnamed, FIRST), None);
}

#[test]
fn an_id_of_an_issue_that_was_created_after_the_last_look_is_not_taken_up() {
    let created = |created_at| Snapshot {
        created_at,
        ..other()
    };
    let younger = created(at("2026-03-01T10:00:01Z"));
    for known in [None, FIRST] {
        let reason = is_another(&mapping(), &younger, known).unwrap();
        let why = "and it was created 2026-03-01T10:00:01Z, after the last change of the former one (2026-03-01T10:00:00Z);";
        assert!(reason.contains(why), "{reason}");
    }
    let older = created(at("2026-03-01T10:00:00Z"));
    assert_eq!(is_another(&mapping(), &older, FIRST), None);
}

/// A person put another address of the same repository into the row.
#[test]
fn an_older_issue_of_the_same_repository_is_taken_up() {
    assert_eq!(is_another(&mapping(), &other(), FIRST), None);
    assert!(has_new_id(&mapping(), &other()));
}

#[test]
fn the_same_id_is_the_same_issue_wherever_it_is() {
    let moved = Snapshot {
        repository_id: Some(GithubId(2)),
        created_at: now(),
        ..snapshot()
    };
    assert_eq!(is_another(&mapping(), &moved, FIRST), None);
}

/// Agira stores `-number` if it does not know the id.
#[test]
fn an_id_that_github_never_confirmed_is_corrected() {
    let stranger = Snapshot {
        repository_id: Some(GithubId(2)),
        created_at: now(),
        ..other()
    };
    let unchecked = Mapping {
        external_updated_at: None,
        ..mapping()
    };
    let negative = Mapping {
        github_id: GithubId(-12),
        ..mapping()
    };
    for unconfirmed in [unchecked, negative] {
        assert_eq!(is_another(&unconfirmed, &stranger, FIRST), None);
    }
}

#[test]
fn a_look_that_is_older_than_the_recorded_one_is_not_recorded() {
    let reason = is_outdated(&mapping(), &older(), now());
    assert_eq!(
        reason.as_deref(),
        Some(
            "GitHub shows its state of 2026-03-01T09:59:59Z, which is older than the recorded one of 2026-03-01T10:00:00Z"
        )
    );
    for same_or_newer in [at("2026-03-01T10:00:00Z"), at("2026-03-01T10:00:01Z")] {
        let snapshot = Snapshot {
            updated_at: same_or_newer,
            ..snapshot()
        };
        assert_eq!(is_outdated(&mapping(), &snapshot, now()), None);
    }
}

#[test]
fn nothing_is_older_than_the_first_look() {
    let first = Mapping {
        external_updated_at: None,
        ..mapping()
    };
    assert_eq!(is_outdated(&first, &older(), now()), None);
}

#[test]
fn another_issue_is_not_older() {
    let other = Snapshot {
        updated_at: older().updated_at,
        ..other()
    };
    assert_eq!(is_outdated(&mapping(), &other, now()), None);
}

/// A GitHub that was restored from a backup shows older states for ever.
#[test]
fn an_older_look_counts_ten_minutes_after_the_last_check() {
    let is_outdated_after = |seconds: i64| {
        let checked_at = Some(now() - Duration::seconds(seconds));
        let mapping = Mapping {
            checked_at,
            ..mapping()
        };
        is_outdated(&mapping, &older(), now()).is_some()
    };
    assert!(is_outdated_after(599));
    assert!(!is_outdated_after(600));
    // GitHub's clock went back, too.
    assert!(!is_outdated_after(-600));
    let unchecked = Mapping {
        checked_at: None,
        ..mapping()
    };
    assert_eq!(is_outdated(&unchecked, &older(), now()), None);
}

/// Its check time moves with each attempt, and must not keep what GitHub shows away for ever.
#[test]
fn an_older_look_of_a_failing_mapping_counts_ten_minutes_after_the_change() {
    let failing = |updated_at| Mapping {
        attempts: 1,
        external_updated_at: Some(updated_at),
        checked_at: Some(now()),
        ..mapping()
    };
    let recent = failing(now() - Duration::seconds(599));
    assert!(is_outdated(&recent, &older(), now()).is_some());
    let old = failing(now() - Duration::seconds(600));
    assert_eq!(is_outdated(&old, &older(), now()), None);
}

#[test]
fn a_stored_time_after_githubs_clock_is_not_believed() {
    let ahead = |seconds: i64| Mapping {
        external_updated_at: Some(now() + Duration::seconds(seconds)),
        ..mapping()
    };
    assert!(is_outdated(&ahead(60), &older(), now()).is_some());
    assert_eq!(is_outdated(&ahead(61), &older(), now()), None);
}
