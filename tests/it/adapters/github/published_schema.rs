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
    for document in agira_worker::github::documents(true) {
        kit::graphql::check(kit::github::sdl(), &document)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
#[ignore = "needs GitHub's published schema, which tests/run.sh fetches"]
fn the_documents_fit_githubs_published_schema() {
    let published = published();
    for document in agira_worker::github::documents(true) {
        kit::graphql::check(&published, &document).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// No package has the schema of a GitHub without the argument: GitHub Enterprise Server 3.16, and github.com after the
/// announced removal.
#[test]
#[ignore = "needs GitHub's published schema, which tests/run.sh fetches"]
fn the_documents_without_the_argument_fit_githubs_published_schema_without_it() {
    let published = published();
    let without = without_enable_duplicate(&published);
    assert_ne!(without, published, "GitHub has removed the argument");
    for document in agira_worker::github::documents(false) {
        kit::graphql::check(&without, &document).unwrap_or_else(|error| panic!("{error}"));
    }
    let refused = agira_worker::github::documents(true);
    let refused = refused
        .iter()
        .filter_map(|document| kit::graphql::check(&without, document).err());
    assert_eq!(refused.count(), 3, "those about issues");
}

/// Removes the argument `enableDuplicate`, which has a description, from a schema.
fn without_enable_duplicate(schema: &str) -> String {
    let Some((before, rest)) = schema.split_once("stateReason(") else {
        return schema.to_owned();
    };
    let after = rest.find("): ").and_then(|end| rest.get(end + 1..));
    format!("{before}stateReason{}", after.expect("a field"))
}

#[test]
#[ignore = "needs GitHub's published schema, which tests/run.sh fetches"]
fn the_simulators_schema_is_part_of_githubs() {
    let differences = kit::github::differences(&published()).expect("a schema");
    assert!(differences.is_empty(), "{differences:#?}");
}
