//! Comparison of the simulator's schema with GitHub's published schema.

use apollo_compiler::collections::IndexMap;
use apollo_compiler::schema::{Component, ExtendedType, FieldDefinition, Name};

use crate::graphql::read;

/// Returns the parts of the simulator's schema that the published schema does not have or defines with another type,
/// and arguments that only the published schema requires. If the list is empty, every document that fits the
/// simulator's schema fits GitHub's.
///
/// # Errors
/// If the published schema cannot be parsed.
pub fn differences(published: &str) -> Result<Vec<String>, String> {
    difference(super::sdl(), published)
}

fn difference(ours: &str, published: &str) -> Result<Vec<String>, String> {
    let (ours, published) = (read(ours)?, read(published)?);
    let mut found = Vec::new();
    for (name, own) in ours.types.iter().filter(|(_, own)| !own.is_built_in()) {
        match published.types.get(name) {
            None => found.push(format!("{name} is not published")),
            Some(theirs) => compare(name, own, theirs, &mut found),
        }
    }
    Ok(found)
}

fn compare(name: &Name, ours: &ExtendedType, theirs: &ExtendedType, found: &mut Vec<String>) {
    let mut lacks = |what: &Name| found.push(format!("{name}.{what} is not published"));
    match (ours, theirs) {
        (ExtendedType::Object(ours), ExtendedType::Object(theirs)) => {
            compare_fields(name, &ours.fields, &theirs.fields, found);
        }
        (ExtendedType::Interface(ours), ExtendedType::Interface(theirs)) => {
            compare_fields(name, &ours.fields, &theirs.fields, found);
        }
        (ExtendedType::Enum(ours), ExtendedType::Enum(theirs)) => {
            ours.values
                .keys()
                .filter(|value| !theirs.values.contains_key(*value))
                .for_each(&mut lacks);
        }
        (ExtendedType::Union(ours), ExtendedType::Union(theirs)) => {
            ours.members
                .iter()
                .filter(|member| !theirs.members.contains(*member))
                .for_each(|member| lacks(member));
        }
        (ExtendedType::Scalar(_), ExtendedType::Scalar(_)) => {}
        (ExtendedType::InputObject(ours), ExtendedType::InputObject(theirs)) => {
            for (field, ours) in &ours.fields {
                match theirs.fields.get(field) {
                    Some(theirs)
                        if ours.ty == theirs.ty && ours.default_value == theirs.default_value => {}
                    Some(theirs) => found.push(format!(
                        "{name}.{field} is {}, published as {}",
                        ours.ty, theirs.ty
                    )),
                    None => found.push(format!("{name}.{field} is not published")),
                }
            }
            let demanded = theirs.fields.iter().filter(|(field, theirs)| {
                theirs.is_required() && !ours.fields.contains_key(*field)
            });
            found.extend(
                demanded.map(|(field, _)| {
                    format!("{name} is published with the required field {field}")
                }),
            );
        }
        _ => found.push(format!(
            "{name} is published as another kind of type, or is of a kind that nobody compares"
        )),
    }
}

type Fields = IndexMap<Name, Component<FieldDefinition>>;

fn compare_fields(name: &Name, ours: &Fields, theirs: &Fields, found: &mut Vec<String>) {
    for (field, ours) in ours {
        let Some(theirs) = theirs.get(field) else {
            found.push(format!("{name}.{field} is not published"));
            continue;
        };
        if ours.ty != theirs.ty {
            found.push(format!(
                "{name}.{field} is {}, published as {}",
                ours.ty, theirs.ty
            ));
        }
        for argument in &ours.arguments {
            let shown = argument.to_string();
            match theirs.argument_by_name(&argument.name) {
                None => found.push(format!("{name}.{field}({shown}) is not published")),
                Some(published)
                    if argument.ty == published.ty
                        && argument.default_value == published.default_value => {}
                Some(published) => {
                    let mut published = published.as_ref().clone();
                    published.description = None;
                    found.push(format!(
                        "{name}.{field}({shown}) is published as {published}"
                    ));
                }
            }
        }
        let demanded = theirs
            .arguments
            .iter()
            .filter(|argument| argument.is_required());
        for argument in demanded.filter(|argument| ours.argument_by_name(&argument.name).is_none())
        {
            found.push(format!(
                "{name}.{field} is published with the required argument {}",
                argument.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "
        type Query { issue(number: Int!, closed: Boolean = false): Issue }
        type Issue { title: String! state: State labels: [Label] }
        union Label = Issue
        enum State { OPEN }
        input Filter { since: String states: [State!] }
        scalar Time";

    #[track_caller]
    fn check(change: (&str, &str), expected: &[&str]) {
        assert!(OURS.contains(change.0), "{}", change.0);
        assert_eq!(
            difference(OURS, &OURS.replacen(change.0, change.1, 1)).unwrap(),
            expected
        );
    }

    #[test]
    fn additional_parts_of_the_published_schema_are_accepted() {
        check(("title: String!", "title: String! body: String!"), &[]);
        check(
            (
                "closed: Boolean = false",
                "closed: Boolean = false, first: Int",
            ),
            &[],
        );
        check(("{ OPEN }", "{ OPEN CLOSED }"), &[]);
        check(("union Label = Issue", "union Label = Issue | Query"), &[]);
        check(("type Query", "\"Where queries start.\" type Query"), &[]);
    }

    #[test]
    fn a_part_that_only_our_schema_has_is_reported() {
        check(("scalar Time", ""), &["Time is not published"]);
        check(("title: String!", ""), &["Issue.title is not published"]);
        check(("OPEN", "CLOSED"), &["State.OPEN is not published"]);
        check(("= Issue", "= Query"), &["Label.Issue is not published"]);
        check(
            (", closed: Boolean = false", ""),
            &["Query.issue(closed: Boolean = false) is not published"],
        );
    }

    #[test]
    fn inputs_are_compared_field_by_field() {
        check(("since: String", "since: String labels: [String]"), &[]);
        check(("since: String", ""), &["Filter.since is not published"]);
        check(
            ("[State!]", "[State]"),
            &["Filter.states is [State!], published as [State]"],
        );
        check(
            ("since: String", "since: String by: ID!"),
            &["Filter is published with the required field by"],
        );
    }

    #[test]
    fn a_field_that_is_published_twice_counts_once() {
        check(("title: String!", "title: String! title: String!"), &[]);
        check(
            ("title: String!", "title: String title: String!"),
            &["Issue.title is String!, published as String"],
        );
        assert!(difference(OURS, "type Query { issue: Missing }").is_err());
    }

    #[test]
    fn a_difference_is_reported() {
        check(
            ("title: String!", "title: String"),
            &["Issue.title is String!, published as String"],
        );
        check(
            ("[Label]", "[Label!]"),
            &["Issue.labels is [Label], published as [Label!]"],
        );
        check(
            ("closed: Boolean = false", "closed: Boolean = true"),
            &["Query.issue(closed: Boolean = false) is published as closed: Boolean = true"],
        );
        check(
            ("number: Int!", "number: Int"),
            &["Query.issue(number: Int!) is published as number: Int"],
        );
        check(
            ("scalar Time", "enum Time { NOW }"),
            &["Time is published as another kind of type, or is of a kind that nobody compares"],
        );
        check(
            (
                "closed: Boolean = false",
                "closed: Boolean = false, by: ID!",
            ),
            &["Query.issue is published with the required argument by"],
        );
    }
}
