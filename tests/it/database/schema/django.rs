//! Invariant 14: Django's own inserts, updates and deletes on these tables work as before. Each test runs them on an
//! Agira without `sql/worker.sql` and on one with it; results and rows must be the same.

use std::collections::BTreeMap;

use kit::agira;
use kit::postgres_server::Database;
use postgres::Client;

/// Ids of an item with an issue and two pull requests, and of another item with one issue.
struct Rows {
    item: i64,
    other_item: i64,
    issue: i64,
    pull_request: i64,
    other_issue: i64,
}

fn rows(client: &mut Client) -> Rows {
    let project = agira::project(client, "shop", "acme", "shop");
    let item = agira::item(client, project, "Working");
    let other_item = agira::item(client, project, "Inbox");
    let issue = agira::issue(client, item, 101, "acme/shop", 1, "open");
    let pull_request = agira::pull_request(client, item, 102, "acme/shop", 2, "open");
    agira::pull_request(client, item, 103, "acme/shop", 3, "open");
    let other_issue = agira::issue(client, other_item, 104, "acme/shop", 4, "open");
    Rows {
        item,
        other_item,
        issue,
        pull_request,
        other_issue,
    }
}

/// Statements that add the traces of a run to these rows: links, an outbox, a claim, a failure.
const TRACES: &str = "
    INSERT INTO worker_pull_request_link (issue_mapping_id, github_id, item_id, row_item_id, relation)
        SELECT issue.id, pr.github_id, issue.item_id, pr.item_id, 'closes' FROM core_externalissuemapping issue, core_externalissuemapping pr
        WHERE issue.kind = 'Issue' AND pr.kind = 'PR';
    UPDATE core_externalissuemapping SET worker_claim = gen_random_uuid(), worker_claimed_until = now(), worker_outbox = '{}';
    UPDATE core_externalissuemapping SET worker_claim = NULL, worker_claimed_until = NULL, worker_due_at = NULL, worker_delivery_at = now(),
        worker_error = 'gone', worker_error_at = now() WHERE github_id = 102";

/// Rows of Agira's tables without `xmin`, and the results of the statements.
type End = (Vec<Result<u64, String>>, BTreeMap<String, Vec<String>>);

fn carry_out(
    database: &Database,
    traces: &str,
    statements: impl Fn(&Rows) -> Vec<String>,
) -> (End, Client) {
    let mut client = database.client();
    let rows = rows(&mut client);
    client.batch_execute(traces).unwrap();
    let mut answers = Vec::new();
    for statement in statements(&rows) {
        let answer = client.execute(statement.as_str(), &[]);
        answers.push(answer.map_err(|error| {
            error
                .code()
                .map_or(error.to_string(), |code| code.code().to_owned())
        }));
    }
    let mut tables = database.dump("worker_");
    for rows in tables.values_mut() {
        for row in rows.iter_mut() {
            *row = row.split_once(' ').expect("xmin first").1.to_owned();
        }
        rows.sort();
    }
    ((answers, tables), client)
}

/// Returns the results of the statements, and the number of links that are left.
#[track_caller]
fn check(statements: impl Fn(&Rows) -> Vec<String>) -> (Vec<Result<u64, String>>, i64) {
    let (bare, installed) = (Database::agira_only(), Database::create());
    let (before, _) = carry_out(&bare, "", &statements);
    let (after, mut client) = carry_out(&installed, TRACES, &statements);
    assert_eq!(after, before);
    let links = client
        .query_one("SELECT count(*) FROM worker_pull_request_link", &[])
        .unwrap()
        .get(0);
    (after.0, links)
}

fn in_transaction(statements: &[String]) -> Vec<String> {
    [&["BEGIN".to_owned()], statements, &["COMMIT".to_owned()]].concat()
}

#[test]
fn saving_a_whole_mapping_and_a_whole_item_works_as_before() {
    let (answers, links) = check(|rows| {
        let item = format!(
            "UPDATE core_item SET created_at = '2026-02-01', updated_at = '2026-02-02', title = 't', description = 'd',
                solution_description = 's', status = 'Closed', assigned_to_id = NULL, parent_id = {}, requester_id = NULL,
                type_id = type_id, organisation_id = NULL, project_id = project_id, solution_release_id = NULL, user_input = 'u',
                intern = true, short_description = 'x', responsible_id = NULL, suggested_model = 'opus-5', pr_description = 'p',
                epic_order = 3, claude_auth_mode = 'api_key' WHERE core_item.id = {}",
            rows.other_item, rows.item
        );
        let mapping = format!(
            "UPDATE core_externalissuemapping SET github_id = 999, number = 9, kind = 'PR', state = 'merged', html_url = '',
                last_synced_at = '2026-02-02', item_id = {}, pr_body = 'b', merge_commit_sha = 'c', merged_at = '2026-02-02'
             WHERE core_externalissuemapping.id = {}",
            rows.other_item, rows.pull_request
        );
        vec![item, mapping]
    });
    assert_eq!(answers, [Ok(1), Ok(1)]);
    assert_eq!(links, 4);
}

/// A link outlives the row of its pull request, so that the row does not come back.
#[test]
fn deleting_an_issue_deletes_its_links_and_deleting_a_pull_request_none() {
    let delete = |id| {
        format!(
            "DELETE FROM core_externalissuemapping WHERE core_externalissuemapping.id IN ({id})"
        )
    };
    let (answers, links) = check(|rows| vec![delete(rows.pull_request)]);
    assert_eq!((answers, links), (vec![Ok(1)], 4));
    let (answers, links) = check(|rows| vec![delete(rows.issue)]);
    assert_eq!((answers, links), (vec![Ok(1)], 2));
}

/// Django first deletes the rows that refer to a row, all in one transaction.
#[test]
fn deleting_an_item_with_its_mappings_deletes_all_links() {
    let (answers, links) = check(|rows| {
        in_transaction(&[
            format!(
                "SELECT id FROM core_item WHERE id = {} FOR UPDATE",
                rows.item
            ),
            format!(
                "DELETE FROM core_externalissuemapping WHERE item_id IN ({})",
                rows.item
            ),
            format!("DELETE FROM core_item WHERE id IN ({})", rows.item),
        ])
    });
    assert_eq!(answers, [Ok(0), Ok(1), Ok(3), Ok(1), Ok(0)]);
    // The other item's issue had links to the deleted pull requests.
    assert_eq!(links, 0);
}

/// Agira's foreign keys are checked at COMMIT, so the order within a transaction is free.
#[test]
fn deleting_an_item_before_its_mappings_works_as_before() {
    let (answers, links) = check(|rows| {
        in_transaction(&[
            format!("DELETE FROM core_item WHERE id IN ({})", rows.other_item),
            format!(
                "DELETE FROM core_externalissuemapping WHERE id IN ({})",
                rows.other_issue
            ),
        ])
    });
    assert_eq!(answers, [Ok(0), Ok(1), Ok(1), Ok(0)]);
    assert_eq!(links, 2);
}

#[test]
fn deleting_an_item_whose_mappings_stay_is_refused_as_before() {
    let (answers, links) =
        check(|rows| vec![format!("DELETE FROM core_item WHERE id = {}", rows.item)]);
    assert_eq!(answers, [Err("23503".to_owned())]);
    assert_eq!(links, 4);
}

#[test]
fn a_mapping_with_a_github_id_that_exists_is_refused_as_before() {
    let insert = |item| {
        format!(
            "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
                merge_commit_sha, merged_at) VALUES (101, 7, 'Issue', 'open', '', now(), {item}, '', '', NULL)"
        )
    };
    let (answers, _) = check(|rows| vec![insert(rows.item)]);
    assert_eq!(answers, [Err("23505".to_owned())]);
}
