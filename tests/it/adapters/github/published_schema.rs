//! The GraphQL documents are checked against the schema that GitHub publishes.

/// Returns the published schema.
#[track_caller]
fn published() -> String {
    let path = std::env::var("GITHUB_SCHEMA")
        .expect("GITHUB_SCHEMA names the file with GitHub's published schema");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_documents_fit_the_simulators_schema() {
    for document in agira_worker::github::documents() {
        kit::graphql::check(kit::github::sdl(), &document)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
#[ignore = "needs GitHub's published schema, which tests/run.sh fetches"]
fn the_documents_fit_githubs_published_schema() {
    let published = published();
    for document in agira_worker::github::documents() {
        kit::graphql::check(&published, &document).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
#[ignore = "needs GitHub's published schema, which tests/run.sh fetches"]
fn the_simulators_schema_is_part_of_githubs() {
    let differences = kit::github::differences(&published()).expect("a schema");
    assert!(differences.is_empty(), "{differences:#?}");
}
