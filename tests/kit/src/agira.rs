//! An Agira as Django fills it, and changes by people. Every statement names all columns of Django's models, and none
//! of the worker's.

use postgres::Client;

/// Creation time of everything, unless a test sets another one.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// Offset of GitHub's ids in [`many_issues`]: beyond 32 bits, and beyond the ids of the simulator.
pub const MANY: i64 = 6_000_000_000;

/// Inserts a project; empty owner and repository mean none.
pub fn project(client: &mut Client, name: &str, owner: &str, repo: &str) -> i64 {
    id(
        client,
        "INSERT INTO core_project (name, description, github_owner, github_repo, status, sentry_dsn, sentry_project_slug,
            sentry_auth_token, sentry_enable_auto_fetch)
         VALUES ($1, '', $2, $3, 'Working', '', '', '', false) RETURNING id",
        &[&name, &owner, &repo],
    )
}

/// Inserts an organisation.
pub fn organisation(client: &mut Client, name: &str) -> i64 {
    id(
        client,
        "INSERT INTO core_organisation (name, mail_domains, short) VALUES ($1, '', 'ORG') RETURNING id",
        &[&name],
    )
}

/// An item to be inserted.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// Status.
    pub status: String,
    /// Organisation.
    pub organisation_id: Option<i64>,
}

impl Default for NewItem {
    fn default() -> Self {
        Self {
            title: "An item".to_owned(),
            description: "What the item says".to_owned(),
            status: "Working".to_owned(),
            organisation_id: None,
        }
    }
}

/// Inserts an item with a status.
pub fn item(client: &mut Client, project_id: i64, status: &str) -> i64 {
    insert_item(
        client,
        project_id,
        &NewItem {
            status: status.to_owned(),
            ..NewItem::default()
        },
    )
}

/// Inserts an item.
pub fn insert_item(client: &mut Client, project_id: i64, item: &NewItem) -> i64 {
    item_type(client);
    id(
        client,
        &format!(
            "INSERT INTO core_item (created_at, updated_at, title, description, solution_description, status, assigned_to_id,
                parent_id, requester_id, type_id, organisation_id, project_id, solution_release_id, user_input, intern,
                short_description, responsible_id, suggested_model, pr_description, epic_order, claude_auth_mode)
             VALUES ('{CREATED}', '{CREATED}', $1, $2, '', $3, NULL, NULL, NULL, (SELECT id FROM core_itemtype WHERE key = 'bug'),
                $4, $5, NULL, '', false, '', NULL, 'sonnet', '', 0, 'oauth') RETURNING id"
        ),
        &[&item.title, &item.description, &item.status, &item.organisation_id, &project_id],
    )
}

/// Inserts many items, each with the mapping of an open issue, by few statements: issue `n` of 1 to `count` belongs to
/// `acme/repo-(n % repositories)`, with number `n` and GitHub's id [`MANY`]` + n`. Creates the projects, too.
pub fn many_issues(client: &mut Client, repositories: i32, count: i32) {
    item_type(client);
    let projects: Vec<i64> = (0..repositories)
        .map(|index| project(client, "Project", "acme", &format!("repo-{index}")))
        .collect();
    let first = id(client, "SELECT coalesce(max(id), 0) FROM core_item", &[]);
    let items = format!(
        "INSERT INTO core_item (id, created_at, updated_at, title, description, solution_description, status, assigned_to_id,
            parent_id, requester_id, type_id, organisation_id, project_id, solution_release_id, user_input, intern,
            short_description, responsible_id, suggested_model, pr_description, epic_order, claude_auth_mode)
         SELECT $1::bigint + n, '{CREATED}', '{CREATED}', 'Item ' || n, 'What the item says', '', 'Working', NULL, NULL, NULL,
            (SELECT id FROM core_itemtype WHERE key = 'bug'), NULL, ($2::bigint[])[1 + n % $3], NULL, '', false, '', NULL,
            'sonnet', '', 0, 'oauth' FROM generate_series(1, $4::int) n"
    );
    let mappings = format!(
        "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
            merge_commit_sha, merged_at)
         SELECT {MANY} + n, n, 'Issue', 'open', 'https://github.com/acme/repo-' || n % $2 || '/issues/' || n, '{CREATED}',
            $1::bigint + n, '', '', NULL FROM generate_series(1, $3::int) n"
    );
    client
        .execute(&items, &[&first, &projects, &repositories, &count])
        .expect("items");
    client
        .execute(&mappings, &[&first, &repositories, &count])
        .expect("mappings");
    let advance =
        "SELECT setval(pg_get_serial_sequence('core_item', 'id'), (SELECT max(id) FROM core_item))";
    client
        .execute(advance, &[])
        .expect("the sequence of the items");
}

/// Inserts the mapping of an issue of `repository` (`owner/name`).
pub fn issue(
    client: &mut Client,
    item_id: i64,
    github_id: i64,
    repository: &str,
    number: i32,
    state: &str,
) -> i64 {
    let url = format!("https://github.com/{repository}/issues/{number}");
    mapping(client, item_id, github_id, "Issue", number, state, &url)
}

/// Inserts the mapping of a pull request of `repository` (`owner/name`).
pub fn pull_request(
    client: &mut Client,
    item_id: i64,
    github_id: i64,
    repository: &str,
    number: i32,
    state: &str,
) -> i64 {
    let url = format!("https://github.com/{repository}/pull/{number}");
    mapping(client, item_id, github_id, "PR", number, state, &url)
}

/// Inserts a mapping with any kind and address.
pub fn mapping(
    client: &mut Client,
    item_id: i64,
    github_id: i64,
    kind: &str,
    number: i32,
    state: &str,
    html_url: &str,
) -> i64 {
    id(
        client,
        &format!(
            "INSERT INTO core_externalissuemapping (github_id, number, kind, state, html_url, last_synced_at, item_id, pr_body,
                merge_commit_sha, merged_at)
             VALUES ($1, $2, $3, $4, $5, '{CREATED}', $6, '', '', NULL) RETURNING id"
        ),
        &[&github_id, &number, &kind, &state, &html_url, &item_id],
    )
}

/// Returns the status of an item.
pub fn item_status(client: &mut Client, item_id: i64) -> String {
    client
        .query_one(
            "SELECT status FROM core_item WHERE id = $1::bigint",
            &[&item_id],
        )
        .expect("an item")
        .get(0)
}

/// Sets the status of an item as a person does on Agira's board: `updated_at` changes, and an activity row that names the
/// person is written.
pub fn person_sets_status(client: &mut Client, item_id: i64, status: &str) {
    let before = item_status(client, item_id);
    let person = "INSERT INTO core_user (password, is_superuser, username, email, name, role, active, is_staff, date_joined,
            github_pat, claude_api_key, claude_oauth_token)
         VALUES ('', false, 'anna', 'anna@example.org', 'Anna', '', true, false, now(), '', '', '') ON CONFLICT DO NOTHING";
    client.batch_execute(person).expect("a person");
    client
        .execute(
            "UPDATE core_item SET status = $2, updated_at = now() WHERE id = $1",
            &[&item_id, &status],
        )
        .expect("an item");
    client
        .execute(
            "INSERT INTO core_activity (target_object_id, verb, summary, created_at, actor_id, target_content_type_id)
             SELECT $1::bigint::text, 'item.status_changed', $2, now(), (SELECT id FROM core_user WHERE username = 'anna'), id
             FROM django_content_type
             WHERE app_label = 'core' AND model = 'item'",
            &[&item_id, &format!("Status: {before} → {status}")],
        )
        .expect("an activity");
}

/// Records the merge of a pull request as Agira's webhook does: it saves the row, moves an item in `Working`, and saves
/// the item. The objects that these saves write are left to the test.
pub fn webhook_merges(client: &mut Client, mapping_id: i64) {
    let row = client
        .query_one(
            "SELECT m.item_id, m.number, m.state, i.status FROM core_externalissuemapping m JOIN core_item i ON i.id = m.item_id
             WHERE m.id = $1",
            &[&mapping_id],
        )
        .expect("a pull request");
    let (item_id, number): (i64, i32) = (row.get(0), row.get(1));
    let (state, status): (String, String) = (row.get(2), row.get(3));
    let activity = |client: &mut Client, verb: &str, summary: &str| {
        let sql =
            "INSERT INTO core_activity (target_object_id, verb, summary, created_at, actor_id, target_content_type_id)
             SELECT $1::bigint::text, $2, $3, now(), NULL, id FROM django_content_type WHERE app_label = 'core' AND model = 'item'";
        client
            .execute(sql, &[&item_id, &verb, &summary])
            .expect("an activity");
    };
    client
        .execute(
            "UPDATE core_externalissuemapping SET state = 'merged', pr_body = 'What the webhook was told',
                merge_commit_sha = 'abc', merged_at = now(), last_synced_at = now() WHERE id = $1",
            &[&mapping_id],
        )
        .expect("a pull request");
    if state != "merged" {
        let summary = format!("GitHub PR #{number} changed from {state} to merged");
        activity(client, "github.pr_state_changed", &summary);
    }
    client
        .execute(
            "UPDATE core_item SET status = CASE status WHEN 'Working' THEN 'Testing' ELSE status END,
                pr_description = 'What the webhook was told', updated_at = now() WHERE id = $1",
            &[&item_id],
        )
        .expect("an item");
    if status == "Working" {
        activity(client, "item.status_changed", "Status: Working → Testing");
    }
}

/// Returns the activities of an item, oldest first: verb and summary.
pub fn activities(client: &mut Client, item_id: i64) -> Vec<(String, String)> {
    client
        .query(
            "SELECT verb, summary FROM core_activity a JOIN django_content_type t ON t.id = a.target_content_type_id
             WHERE t.app_label = 'core' AND t.model = 'item' AND target_object_id = $1::bigint::text ORDER BY a.id",
            &[&item_id],
        )
        .expect("activities")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

fn item_type(client: &mut Client) {
    client
        .execute(
            "INSERT INTO core_itemtype (key, name, is_active, description) VALUES ('bug', 'Bug', true, '')
             ON CONFLICT (key) DO NOTHING",
            &[],
        )
        .expect("an item type");
}

fn id(client: &mut Client, sql: &str, parameters: &[&(dyn postgres::types::ToSql + Sync)]) -> i64 {
    client
        .query_one(sql, parameters)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .get(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres_server::Database;

    #[test]
    fn many_issues_equals_repeated_single_inserts() {
        let database = Database::create();
        let mut client = database.client();
        many_issues(&mut client, 2, 3);
        let project = project(&mut client, "Project", "acme", "repo-9");
        let single = item(&mut client, project, "Working");
        issue(&mut client, single, MANY + 4, "acme/repo-9", 4, "open");
        // Compares everything except the columns that identify the rows.
        let kinds = "SELECT DISTINCT to_jsonb(m) - '{id,github_id,number,html_url,item_id,worker_due_at}'::text[],
                to_jsonb(i) - '{id,title,project_id}'::text[]
             FROM core_externalissuemapping m JOIN core_item i ON i.id = m.item_id";
        assert_eq!(client.query(kinds, &[]).unwrap().len(), 1);
        let addresses = client
            .query(
                "SELECT html_url FROM core_externalissuemapping ORDER BY github_id",
                &[],
            )
            .unwrap();
        let expected = [
            "repo-1/issues/1",
            "repo-0/issues/2",
            "repo-1/issues/3",
            "repo-9/issues/4",
        ]
        .map(|rest| format!("https://github.com/acme/{rest}"));
        assert_eq!(
            addresses
                .iter()
                .map(|row| row.get(0))
                .collect::<Vec<String>>(),
            expected
        );
    }
}
