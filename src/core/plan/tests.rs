//! The decision table (design.md, "The decision table"), row by row. Each case starts from
//! `settled()` or `pull_request()`, where nothing has to change, and changes one thing.

mod carry;

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};

use super::super::agira_object::{self, AgiraObject, ObjectType};
use super::super::model::*;
use super::super::note::{Attention, Note, Question};
use super::super::records::{Decision, Link, MappingRow, ObjectState, Records};
use super::*;

/// Everything that a plan depends on, owned, so that a case can change it.
struct World {
    mapping: Mapping,
    item: Item,
    snapshot: Snapshot,
    records: Records,
    policy: Policy,
}

const ISSUE: MappingId = MappingId(42);
const PULL_REQUEST: MappingId = MappingId(55);

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn closing() -> DateTime<Utc> {
    at("2026-03-01T10:00:00Z")
}

fn policy() -> Policy {
    Policy {
        keep_status: Vec::new(),
        close_reasons: None,
        ignore_closed_before: None,
        replace_foreign: false,
        recheck_after: Duration::hours(24),
        max_attempts: 10,
    }
}

fn item(status: &str) -> Item {
    Item {
        id: ItemId(7),
        title: "Cart".to_owned(),
        description: "The cart".to_owned(),
        solution_description: String::new(),
        status: ItemStatus(status.to_owned()),
        project_id: 1,
        organisation_id: None,
        created_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-01-01T00:00:00Z"),
        project_repository: Repository::parse("acme/shop"),
    }
}

fn mapping(id: MappingId, kind: Kind, github_id: i64, number: i32, state: &str) -> Mapping {
    let page = if kind == Kind::Issue {
        "issues"
    } else {
        "pull"
    };
    Mapping {
        id,
        item_id: ItemId(7),
        github_id: GithubId(github_id),
        number,
        kind,
        state: state.to_owned(),
        html_url: format!("https://github.com/acme/shop/{page}/{number}"),
        ..Mapping::default()
    }
}

fn row(mapping: &Mapping) -> MappingRow {
    MappingRow {
        id: mapping.id,
        item_id: mapping.item_id,
        github_id: mapping.github_id,
        kind: mapping.kind,
        number: mapping.number,
        state: mapping.state.clone(),
        html_url: mapping.html_url.clone(),
        is_confirmed: false,
        is_scheduled: false,
    }
}

fn present(status: &str) -> ObjectState {
    ObjectState::Present {
        status: Some(status.to_owned()),
        without_parent: false,
    }
}

fn key(object_type: agira_object::ObjectType, id: i64) -> agira_object::ObjectKey {
    agira_object::ObjectKey {
        object_type,
        object_id: id.to_string(),
    }
}

fn world(mapping: Mapping, state: State, details: Details) -> World {
    let item = item("Working");
    let own = agira_object::mapping_key(&mapping).uuid();
    let objects = HashMap::from([
        (agira_object::item_key(&item).uuid(), present("Working")),
        (own, present(&mapping.state)),
    ]);
    let snapshot = Snapshot {
        github_id: mapping.github_id,
        repository_id: Some(GithubId(1)),
        address: Address::parse(&mapping.html_url).unwrap(),
        url: mapping.html_url.clone(),
        state,
        title: "Cart loses items".to_owned(),
        body: "Steps".to_owned(),
        labels: Vec::new(),
        created_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-03-01T10:00:00Z"),
        missing: Vec::new(),
        details,
    };
    let records = Records {
        decisions: HashMap::new(),
        items: HashMap::from([(item.id, item.clone())]),
        rows: vec![row(&mapping)],
        links: Vec::new(),
        objects,
    };
    World {
        mapping,
        item,
        snapshot,
        records,
        policy: policy(),
    }
}

/// An open issue of an item in `Working`; everything is up to date.
fn settled() -> World {
    let details = Details::Issue {
        closed_at: None,
        close_reason: None,
        pull_requests: Vec::new(),
        reopened_at: None,
        some_hidden: false,
    };
    world(
        mapping(ISSUE, Kind::Issue, 4_000_000_001, 12, "open"),
        State::Open,
        details,
    )
}

/// The same issue, closed on GitHub. State and object are up to date; the close event is not
/// handled.
fn closed() -> World {
    let mut world = settled();
    world.mapping.state = "closed".to_owned();
    world.snapshot.state = State::Closed;
    world
        .records
        .objects
        .insert(key(ObjectType::GithubIssue, 42).uuid(), present("closed"));
    world.snapshot.details = Details::Issue {
        closed_at: Some(closing()),
        close_reason: Some(CloseReason::Completed),
        pull_requests: Vec::new(),
        reopened_at: None,
        some_hidden: false,
    };
    world
}

/// A merged pull request; everything is up to date.
fn pull_request() -> World {
    let mut mapping = mapping(PULL_REQUEST, Kind::PullRequest, 4_000_000_002, 31, "merged");
    mapping.pr_body = "Body".to_owned();
    mapping.merge_commit_sha = "abc".to_owned();
    mapping.merged_at = Some(closing());
    let details = Details::PullRequest {
        merged_at: Some(closing()),
        merge_commit_sha: Some("abc".to_owned()),
        files: TruncatedList::default(),
        commits: TruncatedList::default(),
    };
    world(mapping, State::Merged, details)
}

fn pull_request_ref(github_id: i64, address: &str, state: State) -> PullRequestRef {
    let (repository, number) = address.split_once('#').unwrap();
    PullRequestRef {
        github_id: GithubId(github_id),
        address: Address {
            repository: Repository::parse(repository).unwrap(),
            number: number.parse().unwrap(),
        },
        url: format!("https://github.com/{repository}/pull/{number}"),
        state,
        relation: Relation::Closes,
    }
}

fn with_pull_requests(pull_requests: Vec<PullRequestRef>) -> World {
    let mut world = settled();
    world.snapshot.details = Details::Issue {
        closed_at: None,
        close_reason: None,
        pull_requests,
        reopened_at: None,
        some_hidden: false,
    };
    world
}

fn planned(world: &World) -> Plan {
    let World {
        mapping,
        item,
        snapshot,
        records,
        policy,
    } = world;
    plan(&PlanInput {
        mapping,
        item,
        snapshot,
        records,
        policy,
    })
}

/// Compares the plan's actions with `expected`. Then applies the plan and plans again: the second
/// plan must be empty (invariant 3).
#[track_caller]
fn check(mut world: World, expected: &[&str]) -> Plan {
    let first = planned(&world);
    let lines: Vec<String> = first.actions.iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected, "notes: {:?}", first.notes);
    check_answers(&first);
    carry(&mut world.records, &world.mapping, &first);
    for action in &first.actions {
        match action {
            Action::SetGithubId { row, to, .. } if *row == world.mapping.id => {
                world.mapping.github_id = *to
            }
            Action::RecordState { to, .. } => world.mapping.state = (*to).to_owned(),
            Action::RememberClose { closed_at } => {
                world.mapping.handled_closed_at = Some(*closed_at)
            }
            Action::RecordMerge {
                body,
                commit,
                merged_at,
            } => {
                world.mapping.pr_body = body.clone().unwrap_or(world.mapping.pr_body);
                world.mapping.merge_commit_sha =
                    commit.clone().unwrap_or(world.mapping.merge_commit_sha);
                world.mapping.merged_at = merged_at.or(world.mapping.merged_at);
            }
            _ => {}
        }
    }
    world.item = world.records.items[&world.item.id].clone();
    let again = planned(&world);
    let undecided = |action: &&Action| {
        matches!(
            action,
            Action::Write {
                change: WriteReason::Decide,
                ..
            }
        )
    };
    assert_eq!(
        again
            .actions
            .iter()
            .filter(|action| !undecided(action))
            .count(),
        0,
        "{:?}",
        again.actions
    );
    first
}

/// Checks that each action follows from an answer and that the answers are in the table's order.
#[track_caller]
fn check_answers(plan: &Plan) {
    assert!(
        plan.notes.is_sorted_by_key(|note| note.question),
        "{:?}",
        plan.notes
    );
    let is_yes = |note: &&Note| note.answer && note.attention == Attention::None;
    let answered: Vec<Question> = plan
        .notes
        .iter()
        .filter(is_yes)
        .map(|note| note.question)
        .collect();
    // A pull request is noted whether its link has to be stored or not.
    let mut answered: Vec<Question> = answered
        .into_iter()
        .filter(|question| *question != Question::PullRequest)
        .collect();
    let mut done: Vec<Question> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::SetGithubId { .. } => Some(Question::GithubId),
            Action::RecordState { .. } => Some(Question::State),
            Action::RecordMerge { .. } => Some(Question::Merge),
            Action::MoveItem { .. } => Some(Question::ItemMoves),
            Action::RememberClose { .. } => Some(Question::CloseEvent),
            Action::InsertPullRequest { .. } | Action::Link { .. } => None,
            Action::Unlink { .. } => Some(Question::Unlink),
            Action::MakeDue { .. } => Some(Question::MakeDue),
            Action::Write { change, .. } => Some(match change {
                WriteReason::Create => Question::ObjectMissing,
                WriteReason::Update { .. } => Question::ObjectStatus,
                WriteReason::Replace => Question::ObjectForeign,
                WriteReason::Decide => Question::ObjectUnknown,
            }),
        })
        .collect();
    answered.sort_unstable();
    done.sort_unstable();
    assert_eq!(answered, done, "{plan:#?}");
}

/// Compares all answers with `expected`, as a dry run prints them.
#[track_caller]
fn check_reasons(world: &World, expected: &[&str]) {
    let reasons: Vec<String> = planned(world).notes.iter().map(Note::explain).collect();
    assert_eq!(reasons, expected);
}

#[track_caller]
fn check_note(plan: &Plan, expected: &str) {
    assert!(
        plan.notes.iter().any(|note| note.to_string() == expected),
        "{:?}",
        plan.notes
    );
}

const MOVED: [&str; 3] = [
    "item status: Working => Testing",
    "remember close event of 2026-03-01T10:00:00Z",
    "Weaviate item:7: update (Weaviate still has Working)",
];

#[test]
fn settled_mappings_need_nothing() {
    check(settled(), &[]);
    check(pull_request(), &[]);
}

#[test]
fn another_state_on_github_is_recorded() {
    let mut world = settled();
    world.mapping.state = "closed".to_owned();
    let plan = check(world, &["state: closed => open"]);
    check_note(&plan, "issue is open again: item left in Working");
}

#[test]
fn only_an_issue_that_was_closed_is_reported_as_reopened() {
    let mut now_closed = settled();
    now_closed.snapshot.state = State::Closed;
    let mut reopened = pull_request();
    (reopened.mapping.state, reopened.snapshot.state) = ("closed".to_owned(), State::Open);
    for world in [now_closed, reopened] {
        let plan = planned(&world);
        assert!(
            matches!(plan.actions[0], Action::RecordState { .. }),
            "{plan:?}"
        );
        assert!(
            !plan
                .notes
                .iter()
                .any(|note| note.question == Question::Reopened && note.answer),
            "{plan:?}"
        );
    }
}

#[test]
fn a_closing_without_a_time_is_not_a_close_event() {
    let mut world = closed();
    if let Details::Issue { closed_at, .. } = &mut world.snapshot.details {
        *closed_at = None;
    }
    let plan = planned(&world);
    assert!(plan.actions.is_empty(), "{plan:?}");
    check_note(
        &plan,
        "the issue is closed, but GitHub gives no time for it",
    );
}

#[test]
fn a_closed_issue_moves_its_item_to_testing() {
    check(closed(), &MOVED);
}

#[test]
fn every_unprotected_status_is_moved() {
    for status in ["Inbox", "Backlog", "Working", "Review"] {
        let mut world = closed();
        world.item = item(status);
        world.records.items.insert(ItemId(7), item(status));
        world
            .records
            .objects
            .insert(key(ObjectType::Item, 7).uuid(), present(status));
        let first = format!("item status: {status} => Testing");
        let last = format!("Weaviate item:7: update (Weaviate still has {status})");
        check(world, &[&first, MOVED[1], &last]);
    }
}

#[test]
fn a_protected_status_stays_and_the_close_event_is_handled() {
    for status in ItemStatus::PROTECTED {
        let mut world = closed();
        world.item = item(status);
        world.records.items.insert(ItemId(7), item(status));
        world
            .records
            .objects
            .insert(key(ObjectType::Item, 7).uuid(), present(status));
        let plan = check(world, &[MOVED[1]]);
        check_note(
            &plan,
            &format!("item left in {status}: a closed issue does not change this status"),
        );
    }
}

#[test]
fn keep_status_protects_more() {
    let mut world = closed();
    world.policy.keep_status = vec!["Working".to_owned()];
    let plan = check(world, &[MOVED[1]]);
    check_note(
        &plan,
        "item left in Working: --keep-status names this status",
    );
}

#[test]
fn an_excluded_reason_moves_nothing() {
    let mut world = closed();
    world.policy.close_reasons = Some(vec!["not_planned".to_owned()]);
    let plan = check(world, &[MOVED[1]]);
    check_note(
        &plan,
        "item left in Working: the issue was closed as completed, which --close-reason does not name",
    );
}

#[test]
fn a_named_reason_moves_the_item() {
    let mut world = closed();
    world.policy.close_reasons = Some(vec!["completed".to_owned()]);
    check(world, &MOVED);
}

#[test]
fn a_closing_before_the_limit_moves_nothing() {
    let mut world = closed();
    world.policy.ignore_closed_before = Some(closing() + Duration::seconds(1));
    let plan = check(world, &[MOVED[1]]);
    check_note(
        &plan,
        "item left in Working: closed 2026-03-01T10:00:00Z, before --ignore-closed-before",
    );
    let mut world = closed();
    world.policy.ignore_closed_before = Some(closing());
    check(world, &MOVED);
}

/// Invariant 4: what a person decides after a closing is never overwritten.
#[test]
fn a_decision_after_the_closing_moves_nothing() {
    let decided = |at| {
        let mut world = closed();
        let decision = Decision { activity: 17, at };
        world.records.decisions.insert(ItemId(7), decision);
        world
    };
    let plan = check(decided(closing() + Duration::microseconds(1)), &[MOVED[1]]);
    check_note(
        &plan,
        "item left in Working: a person set its status at 2026-03-01T10:00:00Z, after the closing (activity 17)",
    );
    check(decided(closing()), &MOVED);
    check(decided(closing() - Duration::days(1)), &MOVED);
}

/// Invariant 4: a status that a person set after the close event was handled is never changed by
/// us.
#[test]
fn a_handled_close_event_leaves_the_item_in_any_status() {
    for status in ItemStatus::ALL {
        let mut world = closed();
        world.mapping.handled_closed_at = Some(closing());
        world.item = item(status);
        world.records.items.insert(ItemId(7), item(status));
        world
            .records
            .objects
            .insert(key(ObjectType::Item, 7).uuid(), present(status));
        let plan = check(world, &[]);
        check_note(
            &plan,
            "closing of 2026-03-01T10:00:00Z was handled before: item left",
        );
    }
}

/// An issue that was closed again; the first close event, a day before, is handled.
fn closed_again(last_reopening: Option<DateTime<Utc>>) -> World {
    let mut world = closed();
    world.mapping.handled_closed_at = Some(closing() - Duration::days(1));
    if let Details::Issue { reopened_at, .. } = &mut world.snapshot.details {
        *reopened_at = last_reopening;
    }
    world
}

#[test]
fn closing_again_after_a_reopen_is_another_close_event() {
    for reopened in [closing(), closing() - Duration::hours(1)] {
        let plan = check(closed_again(Some(reopened)), &MOVED);
        let time = crate::core::text::timestamp(reopened);
        check_note(
            &plan,
            &format!(
                "closed 2026-03-01T10:00:00Z; last handled closing: 2026-02-28T10:00:00Z, and reopened {time} since"
            ),
        );
    }
}

#[test]
fn closing_again_after_the_state_was_open_is_another_close_event() {
    let mut world = closed_again(None);
    world.mapping.state = "open".to_owned();
    let expected = [&["state: open => closed"], MOVED.as_slice()].concat();
    check(world, &expected);
}

/// Invariant 4: a changed reason moves `closedAt`, but nobody reopened the issue.
#[test]
fn a_closing_that_moved_without_a_reopen_leaves_the_item() {
    let reopenings = [
        None,
        // Before the handled closing, or in the very second of it.
        Some(closing() - Duration::days(2)),
        Some(closing() - Duration::days(1)),
        // Between the answer about the issue and the one about its events.
        Some(closing() + Duration::seconds(1)),
    ];
    for reopened in reopenings {
        let plan = check(closed_again(reopened), &[]);
        check_note(
            &plan,
            "closed 2026-03-01T10:00:00Z, but GitHub shows no reopening since the handled closing of \
             2026-02-28T10:00:00Z: item left",
        );
    }
}

#[test]
fn a_closing_whose_reopening_cannot_be_read_waits_for_the_next_recheck() {
    let mut world = closed_again(None);
    world.snapshot.missing = vec![REOPENINGS];
    let plan = check(world, &[]);
    check_note(
        &plan,
        "closed 2026-03-01T10:00:00Z, but the reopenings since the handled closing of 2026-02-28T10:00:00Z \
         could not be read: item left until the next recheck",
    );
}

#[test]
fn a_closing_of_another_issue_is_another_close_event() {
    let mut world = closed_again(None);
    world.snapshot.github_id = GithubId(4_000_000_077);
    let id = "GitHub id of row 42: 4000000001 => 4000000077";
    check(world, &[&[id], MOVED.as_slice()].concat());
}

#[test]
fn a_reopened_issue_leaves_its_item() {
    let mut world = settled();
    world.mapping.state = "closed".to_owned();
    world.mapping.handled_closed_at = Some(closing());
    world.item = item("Testing");
    world.records.items.insert(ItemId(7), item("Testing"));
    world
        .records
        .objects
        .insert(key(ObjectType::Item, 7).uuid(), present("Testing"));
    check(world, &["state: closed => open"]);
}

#[test]
fn a_new_pull_request_gets_a_row_and_a_link() {
    check(
        with_pull_requests(vec![pull_request_ref(
            4_000_000_009,
            "acme/shop#31",
            State::Open,
        )]),
        &[
            "insert row for pull request acme/shop#31 (open)",
            "link to pull request acme/shop#31: none => closes",
        ],
    );
}

#[test]
fn a_pull_request_of_another_repository_is_itself() {
    let mut world = with_pull_requests(vec![pull_request_ref(
        4_000_000_009,
        "acme/other#12",
        State::Merged,
    )]);
    let unrelated = Mapping {
        item_id: ItemId(8),
        ..mapping(MappingId(60), Kind::PullRequest, 4_000_000_010, 12, "open")
    };
    world.records.rows.push(row(&unrelated));
    check(
        world,
        &[
            "insert row for pull request acme/other#12 (merged)",
            "link to pull request acme/other#12: none => closes",
        ],
    );
}

/// The repository of a pull request has a new owner, and the row's own check decides.
#[test]
fn an_id_of_a_pull_request_that_github_confirmed_is_left_to_its_own_check() {
    let reference = pull_request_ref(4_000_000_009, "acme/shop#31", State::Open);
    let mut world = with_pull_requests(vec![reference]);
    let stored = mapping(PULL_REQUEST, Kind::PullRequest, 4_000_000_002, 31, "open");
    world.records.rows.push(MappingRow {
        is_confirmed: true,
        ..row(&stored)
    });
    let plan = check(world, &[]);
    check_note(
        &plan,
        "pull request acme/shop#31 not linked: row 55 has its address, and 4000000002, which GitHub confirmed before",
    );
}

/// Invariant 5: a mapping row is never moved to another item.
#[test]
fn a_row_of_another_item_is_linked_where_it_is() {
    let mut world = with_pull_requests(vec![pull_request_ref(
        4_000_000_002,
        "acme/shop#31",
        State::Open,
    )]);
    let other = Mapping {
        item_id: ItemId(8),
        ..mapping(PULL_REQUEST, Kind::PullRequest, 4_000_000_002, 31, "open")
    };
    world.records.rows.push(row(&other));
    check(
        world,
        &["link to pull request acme/shop#31: none => closes"],
    );
}

fn with_row(state: &str, at_github: State) -> World {
    let mut world = with_pull_requests(vec![pull_request_ref(
        4_000_000_002,
        "acme/shop#31",
        at_github,
    )]);
    world.records.rows.push(row(&mapping(
        PULL_REQUEST,
        Kind::PullRequest,
        4_000_000_002,
        31,
        state,
    )));
    world.records.links.push(Link {
        issue: ISSUE,
        github_id: GithubId(4_000_000_002),
        row: Some(PULL_REQUEST),
        item_id: ItemId(7),
        row_item_id: ItemId(7),
        relation: Relation::Closes,
    });
    world
}

#[test]
fn a_linked_pull_request_needs_nothing() {
    check(with_row("open", State::Open), &[]);
}

#[test]
fn another_state_of_a_linked_pull_request_makes_its_row_due() {
    check(
        with_row("open", State::Merged),
        &["row 55 becomes due: its state is open, but merged on GitHub"],
    );
}

#[test]
fn a_pull_request_that_is_scheduled_is_not_made_due() {
    let mut world = with_row("open", State::Merged);
    world.records.rows[1].is_scheduled = true;
    check(world, &[]);
}

#[test]
fn a_changed_relation_updates_the_link() {
    let mut world = with_row("open", State::Open);
    world.records.links[0].relation = Relation::Connected;
    check(
        world,
        &["link to pull request acme/shop#31: connected => closes"],
    );
}

#[test]
fn a_link_follows_the_issue_to_another_item() {
    let mut world = with_row("open", State::Open);
    world.records.links[0].item_id = ItemId(8);
    check(
        world,
        &["link to pull request acme/shop#31: closes => closes"],
    );
}

#[test]
fn a_link_follows_the_row_to_another_item() {
    let mut world = with_row("open", State::Open);
    world.records.rows[1].item_id = ItemId(8);
    check(
        world,
        &["link to pull request acme/shop#31: closes => closes"],
    );
}

/// Returns a world in which a person deleted the row of the pull request that the issue links.
fn with_deleted_row() -> World {
    let mut world = with_row("open", State::Open);
    world.records.rows.truncate(1);
    world.records.links[0].row = None;
    world
}

const DELETED: &str = "pull request acme/shop#31 not linked: its row was deleted by a person; link it by hand in Agira to get it back";

#[test]
fn a_row_that_a_person_deleted_is_not_inserted_again() {
    let plan = check(with_deleted_row(), &[]);
    check_note(&plan, DELETED);
    let attention = |note: &&Note| note.attention == Attention::Surprising;
    assert_eq!(plan.notes.iter().filter(attention).count(), 1);
}

#[test]
fn a_row_that_a_person_deleted_is_not_inserted_for_another_issue() {
    let mut world = with_deleted_row();
    world.records.links[0].issue = MappingId(43);
    check_note(&check(world, &[]), DELETED);
}

/// Otherwise the author of a pull request could bring it back by changing its text twice.
#[test]
fn a_deleted_row_is_remembered_when_github_no_longer_confirms_the_link() {
    let mut world = with_deleted_row();
    world.snapshot.details = Details::Issue {
        closed_at: None,
        close_reason: None,
        pull_requests: Vec::new(),
        reopened_at: None,
        some_hidden: false,
    };
    check(world, &[]);
}

/// The row of another pull request with the same number needs no correction by a person.
#[test]
fn a_deleted_row_is_named_before_a_row_with_its_number() {
    let mut world = with_deleted_row();
    let mut other = row(&mapping(MappingId(56), Kind::PullRequest, 9, 31, "open"));
    other.html_url = "https://github.com/acme/other/pull/31".to_owned();
    world.records.rows.push(other);
    check_note(&check(world, &[]), DELETED);
}

#[test]
fn a_deleted_row_that_a_person_links_again_is_as_before() {
    let mut world = with_deleted_row();
    let again = mapping(
        MappingId(56),
        Kind::PullRequest,
        4_000_000_002,
        31,
        "merged",
    );
    world.records.rows.push(row(&again));
    check(
        world,
        &["row 56 becomes due: its state is merged, but open on GitHub"],
    );
    // Agira's queue worker does not always know the id.
    let mut world = with_deleted_row();
    let again = mapping(MappingId(56), Kind::PullRequest, -31, 31, "open");
    world.records.rows.push(row(&again));
    check(world, &["GitHub id of row 56: -31 => 4000000002"]);
}

#[test]
fn a_link_that_github_no_longer_confirms_goes_and_the_row_stays() {
    let mut world = with_row("open", State::Open);
    world.snapshot.details = Details::Issue {
        closed_at: None,
        close_reason: None,
        pull_requests: Vec::new(),
        reopened_at: None,
        some_hidden: false,
    };
    check(
        world,
        &["link to row 55: removed, GitHub no longer confirms it"],
    );
}

#[test]
fn agiras_row_with_a_negative_id_is_adopted_not_doubled() {
    let mut world = with_pull_requests(vec![pull_request_ref(
        4_000_000_002,
        "acme/shop#31",
        State::Open,
    )]);
    world.records.rows.push(row(&mapping(
        PULL_REQUEST,
        Kind::PullRequest,
        -31,
        31,
        "open",
    )));
    check(
        world,
        &[
            "GitHub id of row 55: -31 => 4000000002",
            "link to pull request acme/shop#31: none => closes",
        ],
    );
}

#[test]
fn a_second_row_of_that_kind_and_number_is_not_inserted() {
    let mut world = with_pull_requests(vec![pull_request_ref(
        4_000_000_009,
        "acme/other#31",
        State::Open,
    )]);
    world.records.rows.push(row(&mapping(
        PULL_REQUEST,
        Kind::PullRequest,
        4_000_000_002,
        31,
        "open",
    )));
    let plan = check(world, &[]);
    check_note(
        &plan,
        "pull request acme/other#31 not linked: row 55 of the item has that number",
    );
}

#[test]
fn an_address_that_does_not_fit_is_not_inserted() {
    let of_length = |length: usize| {
        let mut long = pull_request_ref(4_000_000_009, "acme/shop#31", State::Open);
        long.url = format!(
            "https://{:h>1$}/acme/shop/pull/31",
            "",
            length - "https:///acme/shop/pull/31".len()
        );
        planned(&with_pull_requests(vec![long]))
    };
    let too_long = of_length(201);
    assert_eq!(too_long.actions, []);
    check_note(
        &too_long,
        "pull request acme/shop#31 not linked: its address is longer than 200 characters",
    );
    assert!(matches!(
        of_length(200).actions[0],
        Action::InsertPullRequest { .. }
    ));
}

#[test]
fn a_row_that_is_not_a_pull_request_is_not_linked() {
    let mut world = with_pull_requests(vec![pull_request_ref(
        4_000_000_002,
        "acme/shop#31",
        State::Open,
    )]);
    world.records.rows.push(row(&mapping(
        MappingId(61),
        Kind::Issue,
        4_000_000_002,
        9,
        "open",
    )));
    let plan = check(world, &[]);
    check_note(
        &plan,
        "pull request acme/shop#31 not linked: row 61 has its id, but is not a pull request",
    );
}

#[test]
fn githubs_id_replaces_another_one() {
    let mut world = settled();
    world.mapping.github_id = GithubId(-12);
    world.records.rows[0].github_id = GithubId(-12);
    check(world, &["GitHub id of row 42: -12 => 4000000001"]);
}

#[test]
fn an_id_that_another_row_has_stays_there() {
    let mut world = settled();
    world.mapping.github_id = GithubId(-12);
    world.records.rows[0].github_id = GithubId(-12);
    world.records.rows.push(row(&mapping(
        MappingId(62),
        Kind::Issue,
        4_000_000_001,
        12,
        "open",
    )));
    let plan = check(world, &[]);
    check_note(&plan, "keeps its GitHub id: row 62 has 4000000001");
}

#[test]
fn a_merge_fills_in_what_is_empty() {
    let mut world = pull_request();
    world.mapping.state = "open".to_owned();
    world.mapping.pr_body = String::new();
    world.mapping.merge_commit_sha = String::new();
    world.mapping.merged_at = None;
    world
        .records
        .objects
        .insert(key(ObjectType::GithubPr, 55).uuid(), present("open"));
    check(
        world,
        &[
            "state: open => merged",
            "merge data: body, commit abc, merged at 2026-03-01T10:00:00Z",
            "Weaviate github_pr:55: update (Weaviate still has open)",
        ],
    );
}

#[test]
fn stored_merge_data_stays() {
    let mut world = pull_request();
    world.snapshot.body = "Another body".to_owned();
    world.mapping.merge_commit_sha = String::new();
    check(world, &["merge data: commit abc"]);
}

#[test]
fn a_closed_pull_request_never_touches_the_item() {
    let mut world = pull_request();
    world.mapping.state = "open".to_owned();
    world.snapshot.state = State::Closed;
    world
        .records
        .objects
        .insert(key(ObjectType::GithubPr, 55).uuid(), present("closed"));
    check(world, &["state: open => closed"]);
}

#[test]
fn a_missing_object_is_created() {
    let mut world = settled();
    world
        .records
        .objects
        .values_mut()
        .for_each(|stored| *stored = ObjectState::Missing);
    check(
        world,
        &[
            "Weaviate item:7: create (it is missing)",
            "Weaviate github_issue:42: create (it is missing)",
        ],
    );
}

#[test]
fn an_object_with_another_status_is_updated() {
    let mut world = settled();
    world
        .records
        .objects
        .insert(key(ObjectType::GithubIssue, 42).uuid(), present("closed"));
    check(
        world,
        &["Weaviate github_issue:42: update (Weaviate still has closed)"],
    );
}

#[test]
fn an_object_without_a_status_is_updated() {
    let mut world = settled();
    let nothing = ObjectState::Present {
        status: None,
        without_parent: false,
    };
    world
        .records
        .objects
        .insert(key(ObjectType::GithubIssue, 42).uuid(), nothing);
    check(
        world,
        &["Weaviate github_issue:42: update (Weaviate has no status of it)"],
    );
}

/// Invariant 7: an object whose status did not change is not written.
#[test]
fn an_object_with_the_same_status_is_left_whatever_else_differs() {
    let mut world = settled();
    world.snapshot.title = "Another title".to_owned();
    world.snapshot.body = "Another body".to_owned();
    world.snapshot.labels = vec!["new".to_owned()];
    let plan = check(world, &[]);
    check_note(&plan, "github_issue:42 has open already");
}

#[test]
fn an_object_of_agira_is_replaced_only_with_the_flag() {
    let parentless = || ObjectState::Present {
        status: Some("open".to_owned()),
        without_parent: true,
    };
    let mut world = settled();
    world
        .records
        .objects
        .insert(key(ObjectType::GithubIssue, 42).uuid(), parentless());
    check(world, &[]);
    let mut world = settled();
    world
        .records
        .objects
        .insert(key(ObjectType::GithubIssue, 42).uuid(), parentless());
    world.policy.replace_foreign = true;
    check(
        world,
        &["Weaviate github_issue:42: replace (Agira wrote it with the item's text)"],
    );
}

#[test]
fn an_items_object_is_never_foreign() {
    let mut world = settled();
    world.policy.replace_foreign = true;
    let of_agira = ObjectState::Present {
        status: Some("Working".to_owned()),
        without_parent: true,
    };
    world
        .records
        .objects
        .insert(key(ObjectType::Item, 7).uuid(), of_agira);
    check(world, &[]);
}

#[test]
fn an_unknown_status_is_decided_when_pushed() {
    let mut world = settled();
    world.records.objects.clear();
    let plan = check(
        world,
        &[
            "Weaviate item:7: decide at the push (what Weaviate has is unknown)",
            "Weaviate github_issue:42: decide at the push (what Weaviate has is unknown)",
        ],
    );
    let outbox = plan.outbox(closing()).unwrap();
    assert!(outbox.item);
    assert_eq!(
        outbox
            .object
            .map(|object| object.key().to_string())
            .as_deref(),
        Some("github_issue:42")
    );
}

#[test]
fn the_item_is_written_with_the_status_that_it_gets() {
    let plan = check(closed(), &MOVED);
    let Some(Action::Write { object, .. }) = plan.actions.last() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (object.status.as_str(), object.text.as_str()),
        ("Testing", "Status: Testing\n\nThe cart")
    );
}

#[test]
fn two_mappings_of_one_item_move_it_once() {
    let mut first = closed();
    let mut second = closed();
    second.mapping.id = MappingId(43);
    second.mapping.number = 13;
    second.mapping.github_id = GithubId(4_000_000_003);
    second.snapshot.github_id = GithubId(4_000_000_003);
    first.records.rows.push(row(&second.mapping));
    first
        .records
        .objects
        .insert(key(ObjectType::GithubIssue, 43).uuid(), present("closed"));
    let plan = planned(&first);
    carry(&mut first.records, &first.mapping, &plan);
    second.records = first.records;
    second.item = second.records.items[&ItemId(7)].clone();
    check(second, &[MOVED[1]]);
}

#[test]
fn a_row_that_a_dry_run_would_insert_has_no_object_yet() {
    let mut world = pull_request();
    world.mapping.id = MappingId(-1);
    let plan = planned(&world);
    let lines: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["Weaviate github_pr:new: create (it is missing)"]);
}

#[test]
fn every_answer_that_moves_an_item_is_noted() {
    check_reasons(
        &closed(),
        &[
            "GitHub id differs: no, both are 4000000001",
            "state differs: no, both are closed",
            "close event to handle: yes, closed 2026-03-01T10:00:00Z; last handled closing: none",
            "status is protected: no, Working is not one of Testing, ReadyForRelease, Closed",
            "status is kept by --keep-status: no, it is not set",
            "reason is excluded by --close-reason: no, it is not set",
            "closing is excluded by --ignore-closed-before: no, it is not set",
            "a person decided after the closing: no, no person set its status since",
            "item moves: yes, Working => Testing, unless a person moves it before the run does",
            "issue has a pull request: no, GitHub names none",
            "link to remove: no, GitHub confirms every stored link",
            "object is missing in Weaviate: no, item:7 exists",
            "object is missing in Weaviate: no, github_issue:42 exists",
            "status differs in Weaviate: yes, item:7 has Working instead of Testing",
            "status differs in Weaviate: no, github_issue:42 has closed already",
        ],
    );
}

/// Compares the answers about the close event, up to the first exception, with `expected`.
#[track_caller]
fn check_close_reasons(world: &World, expected: &[&str]) {
    let plan = planned(world);
    let asked = plan
        .notes
        .iter()
        .filter(|note| note.question > Question::State && note.question < Question::PullRequest);
    let reasons: Vec<String> = asked.map(Note::explain).collect();
    assert_eq!(reasons, expected);
}

#[test]
fn the_first_exception_ends_the_questions() {
    let mut world = closed_again(Some(closing() - Duration::hours(1)));
    world.policy.keep_status = vec!["Review".to_owned()];
    world.policy.close_reasons = Some(vec!["not_planned".to_owned(), "duplicate".to_owned()]);
    world.policy.ignore_closed_before = Some(closing() - Duration::days(1));
    let event = "close event to handle: yes, closed 2026-03-01T10:00:00Z; last handled closing: 2026-02-28T10:00:00Z, \
                 and reopened 2026-03-01T09:00:00Z since";
    let unprotected =
        "status is protected: no, Working is not one of Testing, ReadyForRelease, Closed";
    let unkept = "status is kept by --keep-status: no, it names Review";
    check_close_reasons(
        &world,
        &[
            event,
            unprotected,
            unkept,
            "reason is excluded by --close-reason: yes, item left in Working: the issue was closed as completed, which --close-reason does not name",
        ],
    );
    world.policy.close_reasons = Some(vec!["not_planned".to_owned(), "completed".to_owned()]);
    check_close_reasons(
        &world,
        &[
            event,
            unprotected,
            unkept,
            "reason is excluded by --close-reason: no, it names not_planned, completed",
            "closing is excluded by --ignore-closed-before: no, it is 2026-02-28T10:00:00Z",
            "a person decided after the closing: no, no person set its status since",
            "item moves: yes, Working => Testing, unless a person moves it before the run does",
        ],
    );
    world.item = item("Testing");
    check_close_reasons(
        &world,
        &[
            event,
            "status is protected: yes, item left in Testing: a closed issue does not change this status",
        ],
    );
    world.mapping.handled_closed_at = Some(closing());
    check_close_reasons(
        &world,
        &[
            "close event to handle: no, closing of 2026-03-01T10:00:00Z was handled before: item left",
        ],
    );
    world.snapshot.state = State::Open;
    check_close_reasons(
        &world,
        &[
            "close event to handle: no, the issue is open",
            "issue was reopened: yes, issue is open again: item left in Testing",
        ],
    );
}

#[test]
fn the_answers_of_a_pull_request_are_noted() {
    let mut world = pull_request();
    world.mapping.merge_commit_sha = String::new();
    check_reasons(
        &world,
        &[
            "GitHub id differs: no, both are 4000000002",
            "state differs: no, both are merged",
            "close event to handle: no, a pull request never moves its item",
            "merge data to store: yes, it is merged, and GitHub has data that is not stored",
            "object is missing in Weaviate: no, github_pr:55 exists",
            "status differs in Weaviate: no, github_pr:55 has merged already",
        ],
    );
}

#[test]
fn the_pull_requests_of_an_issue_are_noted() {
    let noted = |world: &World| -> Vec<String> {
        let plan = planned(world);
        let about = |note: &&Note| {
            note.question >= Question::PullRequest && !note.question.is_about_objects()
        };
        plan.notes.iter().filter(about).map(Note::explain).collect()
    };
    let mut world = with_row("open", State::Merged);
    let linked =
        "issue has a pull request: yes, acme/shop#31 closes it (row 55); stored link: closes";
    let supported = "link to remove: no, GitHub confirms every stored link";
    let due = "pull request to check: yes, row 55 has open, GitHub has merged";
    assert_eq!(noted(&world), [linked, supported, due]);
    world.records.rows[1].is_scheduled = true;
    let comes = "pull request to check: no, row 55 has open, GitHub has merged, but its own check is scheduled";
    assert_eq!(noted(&world), [linked, supported, comes]);
    let new = with_pull_requests(vec![pull_request_ref(
        4_000_000_009,
        "acme/other#3",
        State::Open,
    )]);
    let belongs =
        "issue has a pull request: yes, acme/other#3 closes it (a new row); stored link: none";
    assert_eq!(noted(&new), [belongs, supported]);
    world.snapshot.details = Details::Issue {
        closed_at: None,
        close_reason: None,
        pull_requests: Vec::new(),
        reopened_at: None,
        some_hidden: false,
    };
    let (none, gone) = (
        "issue has a pull request: no, GitHub names none",
        "link to remove: yes, GitHub does not name the pull request of row 55",
    );
    assert_eq!(noted(&world), [none, gone]);
}

#[test]
fn push_weaviate_keeps_only_writes() {
    let plan = planned(&closed()).only_writes();
    assert!(
        plan.actions
            .iter()
            .all(|action| matches!(action, Action::Write { .. })),
        "{plan:?}"
    );
}
