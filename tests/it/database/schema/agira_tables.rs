//! `sql/agira.sql` must create the tables that Agira's own migrations create.

use kit::postgres_server::Database;

/// Per column: name, type, NOT NULL, default, keys, indexes. `FK` means ON DELETE NO ACTION, checked at COMMIT.
const TABLES: &[(&str, &str)] = &[
    (
        "core_item",
        "id | bigint | yes | identity | PK | btree unique
        created_at | timestamp with time zone | yes | - | - | -
        updated_at | timestamp with time zone | yes | - | - | -
        title | text | yes | - | - | -
        description | text | yes | - | - | -
        solution_description | text | yes | - | - | -
        status | character varying(20) | yes | - | - | -
        assigned_to_id | bigint | no | - | FK core_user.id | btree
        parent_id | bigint | no | - | FK core_item.id | btree
        requester_id | bigint | no | - | FK core_user.id | btree
        type_id | bigint | yes | - | FK core_itemtype.id | btree
        organisation_id | bigint | no | - | FK core_organisation.id | btree
        project_id | bigint | yes | - | FK core_project.id | btree
        solution_release_id | bigint | no | - | FK core_release.id | btree
        user_input | text | yes | - | - | -
        intern | boolean | yes | - | - | -
        short_description | text | yes | - | - | -
        responsible_id | bigint | no | - | FK core_user.id | btree
        suggested_model | character varying(20) | yes | - | - | -
        pr_description | text | yes | - | - | -
        epic_order | integer | yes | - | CHECK ((epic_order >= 0)) | -
        claude_auth_mode | character varying(20) | yes | - | - | -",
    ),
    (
        "core_externalissuemapping",
        "id | bigint | yes | identity | PK | btree unique
        github_id | bigint | yes | - | UNIQUE | btree unique
        number | integer | yes | - | - | -
        kind | character varying(20) | yes | - | - | -
        state | character varying(50) | yes | - | - | -
        html_url | character varying(200) | yes | - | - | -
        last_synced_at | timestamp with time zone | yes | - | - | -
        item_id | bigint | yes | - | FK core_item.id | btree
        pr_body | text | yes | - | - | -
        merge_commit_sha | character varying(64) | yes | - | - | -
        merged_at | timestamp with time zone | no | - | - | -",
    ),
    (
        "core_project",
        "id | bigint | yes | identity | PK | btree unique
        name | character varying(255) | yes | - | - | -
        description | text | yes | - | - | -
        github_owner | character varying(255) | yes | - | - | -
        github_repo | character varying(255) | yes | - | - | -
        status | character varying(20) | yes | - | - | -
        sentry_dsn | character varying(500) | yes | - | - | -
        sentry_project_slug | character varying(255) | yes | - | - | -
        sentry_auth_token | text | yes | - | - | -
        sentry_enable_auto_fetch | boolean | yes | - | - | -",
    ),
    (
        "core_organisation",
        "id | bigint | yes | identity | PK | btree unique
        name | character varying(255) | yes | - | UNIQUE | btree unique, btree varchar_pattern_ops
        mail_domains | text | yes | - | - | -
        short | character varying(10) | yes | - | - | -",
    ),
    (
        "core_itemtype",
        "id | bigint | yes | identity | PK | btree unique
        key | character varying(100) | yes | - | UNIQUE | btree unique, btree varchar_pattern_ops
        name | character varying(255) | yes | - | - | -
        is_active | boolean | yes | - | - | -
        description | text | yes | - | - | -",
    ),
    (
        "core_activity",
        "id | bigint | yes | identity | PK | btree unique
        target_object_id | character varying(255) | yes | - | - | -
        verb | character varying(255) | yes | - | - | -
        summary | text | yes | - | - | -
        created_at | timestamp with time zone | yes | - | - | -
        actor_id | bigint | no | - | FK core_user.id | btree
        target_content_type_id | integer | yes | - | FK django_content_type.id | btree",
    ),
    (
        "django_content_type",
        "id | integer | yes | identity | PK | btree unique
        app_label | character varying(100) | yes | - | UNIQUE (app_label, model) | btree unique (app_label, model)
        model | character varying(100) | yes | - | - | -",
    ),
];

/// Query for a table of the database in the same form. Parts that span several columns are at the first one; anything
/// unusual is shown in full.
const CATALOG: &str = "
    WITH attribute AS (
        SELECT * FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
    ), key AS (
        SELECT conkey[1] AS attnum, string_agg(CASE
            WHEN contype = 'p' THEN 'PK'
            WHEN contype = 'u' AND array_length(conkey, 1) = 1 AND NOT condeferrable THEN 'UNIQUE'
            WHEN contype = 'f' AND condeferrable AND condeferred AND confdeltype = 'a' AND confupdtype = 'a' AND convalidated
            THEN 'FK ' || confrelid::regclass || '.' ||
                (SELECT attname FROM pg_attribute WHERE attrelid = confrelid AND attnum = confkey[1])
            ELSE pg_get_constraintdef(oid) END, ', ' ORDER BY contype) AS words
        FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype <> 'n' GROUP BY 1
    ), served AS (
        SELECT indkey[0] AS attnum, string_agg(am.amname || CASE WHEN indisunique THEN ' unique' ELSE '' END
            || CASE WHEN op.opcdefault OR op.opcname IN ('varchar_ops', 'text_ops') THEN '' ELSE ' ' || op.opcname END
            || CASE WHEN indnatts > 1 THEN substring(pg_get_indexdef(indexrelid) FROM ' \\(.*') ELSE '' END
            || coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), ''), ', ' ORDER BY indisunique DESC) AS words
        FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_am am ON am.oid = i.relam
            JOIN pg_opclass op ON op.oid = indclass[0]
        WHERE indrelid = to_regclass($1) GROUP BY 1
    )
    SELECT concat_ws(' | ', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'yes' ELSE 'no' END,
        CASE WHEN attidentity = 'd' THEN 'identity'
            WHEN atthasdef OR attidentity <> '' OR attgenerated <> '' THEN 'some default' ELSE '-' END,
        coalesce(key.words, '-'), coalesce(served.words, '-'))
    FROM attribute LEFT JOIN key USING (attnum) LEFT JOIN served USING (attnum) ORDER BY attnum";

#[test]
fn agira_sql_makes_the_tables_that_agira_has() {
    let database = Database::agira_only();
    let mut client = database.client();
    for (table, expected) in TABLES {
        let rows = client.query(CATALOG, &[table]).unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let expected: Vec<&str> = expected.lines().map(str::trim).collect();
        assert_eq!(found, expected, "{table}");
    }
}
