//! The GraphQL endpoint: validation by apollo-compiler, GitHub's own limits, and the fields of the schema.

use std::sync::{Arc, LazyLock};

use apollo_compiler::ast::{self, Definition, Document, Value as Literal};
use apollo_compiler::executable::{Field, Selection, SelectionSet};
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::rest::LIMIT;
use super::world::{Closer, Event, Issue, PullRequest, Repository, Shown, Sickness, Thread, World};
use super::{Fault, State, Version};
use crate::graphql::{Cache, Object, Refused, Resolved, execute, validate};
use crate::http::Response;

/// Node limit of GitHub's page "Rate limits and query limits for the GraphQL API".
const MOST_NODES: u64 = 500_000;

/// Type of an error that ends the whole query; no answer shows it.
const TIMEOUT: &str = "TIMEOUT";

/// Name for sicknesses of the end of a timeline, which GitHub reads apart from its beginning.
const LATEST: &str = "latestTimelineItems";

/// Argument that not every version has.
const ENABLE_DUPLICATE: &str = "(enableDuplicate: Boolean = false)";

/// Returns the schema of a version, parsed.
fn schema(version: Version) -> Arc<Valid<Schema>> {
    static SCHEMAS: LazyLock<Cache<Valid<Schema>>> = LazyLock::new(Cache::default);
    let read = |sdl: &str| {
        Schema::parse_and_validate(sdl, "schema.graphql").map_err(|invalid| invalid.to_string())
    };
    let schema = SCHEMAS.get(&sdl_of(version), read);
    schema.expect("the simulator's own schema")
}

/// Returns the simulated part of the schema of a version.
fn sdl_of(version: Version) -> String {
    let cut = |sdl: &str, part: &str| {
        assert!(sdl.contains(part), "the schema has no {part}");
        sdl.replace(part, "")
    };
    match version {
        Version::Today => sdl().to_owned(),
        Version::WithoutEnableDuplicate => cut(sdl(), ENABLE_DUPLICATE),
        Version::Server3_15 => {
            let sdl = sdl_of(Version::WithoutEnableDuplicate);
            // Another name for the field is the same as none.
            sdl.replace("closedByPullRequestsReferences(", "unknown(")
        }
    }
}

/// Returns the simulated part of GitHub's schema.
pub fn sdl() -> &'static str {
    include_str!("schema.graphql")
}

/// Answers one GraphQL request.
pub fn answer(state: &mut State, body: &[u8], reset: DateTime<Utc>) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return Response::json(400, &json!({ "message": "Problems parsing JSON" }));
    };
    let Some(query) = body["query"].as_str() else {
        return errors(
            json!([{ "message": "A query attribute must be specified and must be a string." }]),
        );
    };
    static DOCUMENTS: LazyLock<Cache<Valid<ExecutableDocument>>> = LazyLock::new(Cache::default);
    let version = state.settings.version;
    let schema = schema(version);
    let document = DOCUMENTS.get(&format!("{version:?} {query}"), |_| {
        validate(&schema, query)
    });
    let document = match document {
        Ok(document) => document,
        Err(invalid) => return errors(githubs_errors(&invalid.0, query)),
    };
    if state.settings.points <= 0 {
        let refused = errors(
            json!([{ "type": "RATE_LIMITED", "message": "API rate limit already exceeded for user ID 1." }]),
        );
        return refused;
    }
    let size = Size::of(&document, &body["variables"]);
    if size.aliases > state.settings.most_aliases {
        return too_late();
    }
    if size.nodes > MOST_NODES {
        let message = format!(
            "This query requests up to {} possible nodes which exceeds the maximum limit",
            size.nodes
        );
        return errors(json!([{ "type": "MAX_NODE_LIMIT_EXCEEDED", "message": message }]));
    }
    let cost = (size.requests as f64 / 100.0).round().max(1.0) as i64;
    state.settings.points -= cost;
    state.spent += cost;
    let budget = json!({
        "cost": cost, "limit": LIMIT, "nodeCount": size.nodes, "remaining": state.settings.points, "used": state.spent,
        "resetAt": reset.to_rfc3339_opts(SecondsFormat::Secs, true),
    });
    let root = query_root(&state.world, budget);
    let executed = execute(&schema, &document, &body["variables"], &root);
    drop(root);
    match executed {
        Ok(answer) if is_too_late(&answer) => too_late(),
        Ok(mut answer) => {
            spoil(&mut state.faults, &mut answer);
            nullify(state, &body["variables"], &mut answer);
            Response::json(200, &answer)
        }
        Err(invalid) => errors(json!([{ "message": invalid.0 }])),
    }
}

/// Returns GitHub's errors for a document outside its schema. GitHub does not look into a field that it
/// does not know, so that it misses the use of the variables there.
fn githubs_errors(message: &str, query: &str) -> Value {
    let first = githubs_error(message);
    let mut errors = vec![first.clone()];
    if let Some(field) = first["extensions"]["fieldName"].as_str() {
        errors.extend(unused_without(query, field).iter().map(|(operation, name)| {
            json!({
                "message": format!("Variable ${name} is declared by {operation} but not used"),
                "extensions": { "code": "variableNotUsed", "variableName": name },
            })
        }));
    }
    // The order is not promised; the least helpful one is the hardest.
    errors.reverse();
    json!(errors)
}

/// Returns the variables, behind the names of their operations, that have no use except in a field.
fn unused_without(query: &str, field: &str) -> Vec<(String, String)> {
    let document = match Document::parse(query, "query.graphql") {
        Ok(document) => document,
        Err(invalid) => invalid.partial,
    };
    let (mut declared, mut used) = (Vec::new(), String::new());
    for definition in &document.definitions {
        match definition {
            Definition::OperationDefinition(operation) => {
                let name = operation.name.as_ref().map(ToString::to_string);
                let name = name.unwrap_or_default();
                let variables = operation.variables.iter();
                declared.extend(variables.map(|one| (name.clone(), one.name.to_string())));
                add_uses(&operation.selection_set, field, &mut used);
            }
            Definition::FragmentDefinition(fragment) => {
                add_uses(&fragment.selection_set, field, &mut used);
            }
            _ => {}
        }
    }
    declared.retain(|(_, name)| !used.contains(&format!("${name} ")));
    declared
}

/// Adds the variables that selections use, each with a space behind it, except in a field.
fn add_uses(selections: &[ast::Selection], except: &str, used: &mut String) {
    for selection in selections {
        let (arguments, directives, below): (&[_], _, &[_]) = match selection {
            ast::Selection::Field(field) if field.name == except => continue,
            ast::Selection::Field(field) => {
                (&field.arguments, &field.directives, &field.selection_set)
            }
            ast::Selection::InlineFragment(fragment) => {
                (&[], &fragment.directives, &fragment.selection_set)
            }
            ast::Selection::FragmentSpread(spread) => (&[], &spread.directives, &[]),
        };
        let of_directives = directives.iter().flat_map(|one| &one.arguments);
        for argument in arguments.iter().chain(of_directives) {
            let text = argument.value.to_string();
            let words = text
                .split(|letter: char| letter != '$' && letter != '_' && !letter.is_alphanumeric());
            for word in words.filter(|word| word.starts_with('$')) {
                used.push_str(word);
                used.push(' ');
            }
        }
        add_uses(below, except, used);
    }
}

/// Returns GitHub's error for a document outside its schema, in GitHub's words.
fn githubs_error(message: &str) -> Value {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.as_slice() {
        [on, field, ..] if message.contains("does not have a field") => json!({
            "message": format!("Field '{field}' doesn't exist on type '{on}'"),
            "extensions": { "code": "undefinedField", "typeName": on, "fieldName": field },
        }),
        [argument, field, ..] if message.contains("is not supported by") => {
            let field = field.rsplit('.').next().unwrap_or_default();
            json!({
                "message": format!("Field '{field}' doesn't accept argument '{argument}'"),
                "extensions": {
                    "code": "argumentNotAccepted", "name": field, "typeName": "Field", "argumentName": argument,
                },
            })
        }
        _ => json!({ "message": message }),
    }
}

fn is_too_late(answer: &Value) -> bool {
    let errors = answer["errors"].as_array();
    errors.is_some_and(|errors| errors.iter().any(|error| error["type"] == TIMEOUT))
}

/// Returns the page of GitHub's proxy after ten seconds.
fn too_late() -> Response {
    let page = b"<html><body>We couldn't respond to your request in time.</body></html>".to_vec();
    Response {
        body: page,
        ..Response::empty(502)
    }
    .header("content-type", "text/html")
}

fn errors(errors: Value) -> Response {
    Response::json(200, &json!({ "errors": errors }))
}

/// Replaces the data that faults affect by errors.
fn spoil(faults: &mut Vec<Fault>, answer: &mut Value) {
    while let Some(Fault::Alias {
        alias,
        kind,
        message,
    }) = faults.first().cloned()
    {
        if answer["data"].get(&alias).is_none() {
            return; // another query is meant
        }
        faults.remove(0);
        answer["data"][&alias] = Value::Null;
        let error = json!({ "type": kind, "path": [alias], "message": message });
        add_error(answer, error);
    }
}

fn add_error(answer: &mut Value, error: Value) {
    match answer.get_mut("errors").and_then(Value::as_array_mut) {
        Some(errors) => errors.push(error),
        None => answer["errors"] = json!([error]),
    }
}

/// Puts null in the place of the repositories of a poll and the issues of a fetch that GitHub fails
/// to answer about.
fn nullify(state: &mut State, variables: &Value, answer: &mut Value) {
    let text = |name: String| variables[name].as_str().unwrap_or_default().to_lowercase();
    for index in 0.. {
        let (poll, fetch) = (format!("r{index}"), format!("t{index}"));
        let repository = format!(
            "{}/{}",
            text(format!("o{index}")),
            text(format!("n{index}"))
        );
        let (alias, key) = if answer["data"].get(&poll).is_some() {
            (poll, repository)
        } else if answer["data"].get(&fetch).is_some() {
            let number = &variables[format!("i{index}")];
            (fetch, format!("{repository}#{number}"))
        } else {
            return;
        };
        let Some((count @ 1.., null)) = state.null_aliases.get_mut(&key) else {
            continue;
        };
        *count -= 1;
        answer["data"][&alias] = Value::Null;
        if let Some(message) = &null.message {
            let mut error = json!({ "message": message });
            if let Some(kind) = &null.kind {
                error["type"] = json!(kind);
            }
            if null.has_path {
                error["path"] = json!([alias]);
            }
            add_error(answer, error);
        }
    }
}

/// Size of a query by the rules of GitHub's page on limits.
#[derive(Debug, Default)]
struct Size {
    aliases: usize,
    /// Number of parents of connections; each counts as one request.
    requests: u64,
    nodes: u64,
}

impl Size {
    fn of(document: &ExecutableDocument, variables: &Value) -> Self {
        let mut size = Self::default();
        for operation in document.operations.iter() {
            let fields = operation.selection_set.selections.iter();
            size.aliases += fields
                .filter(
                    |field| matches!(field, Selection::Field(field) if field.name == "repository"),
                )
                .count();
            size.add(document, &operation.selection_set, variables, 1);
        }
        size
    }

    fn add(
        &mut self,
        document: &ExecutableDocument,
        set: &SelectionSet,
        variables: &Value,
        parents: u64,
    ) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    let first = first(field, variables);
                    if let Some(first) = first {
                        self.requests += parents;
                        self.nodes += parents * first;
                    }
                    self.add(
                        document,
                        &field.selection_set,
                        variables,
                        parents * first.unwrap_or(1),
                    );
                }
                Selection::InlineFragment(fragment) => {
                    self.add(document, &fragment.selection_set, variables, parents)
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = document.fragments.get(&spread.fragment_name) {
                        self.add(document, &fragment.selection_set, variables, parents);
                    }
                }
            }
        }
    }
}

fn first(field: &Field, variables: &Value) -> Option<u64> {
    let argument = field
        .arguments
        .iter()
        .find(|argument| argument.name == "first" || argument.name == "last")?;
    match &*argument.value {
        Literal::Int(number) => number.as_str().parse().ok(),
        Literal::Variable(name) => variables[name.as_str()].as_u64(),
        _ => None,
    }
}

type Answered<'a> = Result<Resolved<'a>, Refused>;

/// A node of a connection; `None`: null.
type Node<'a> = Result<Option<Object<'a>>, Refused>;

fn query_root(world: &World, budget: Value) -> Object<'_> {
    Object::new("Query", move |field, arguments| match field {
        "rateLimit" => Ok(Resolved::Object(Object::leaves(
            "RateLimit",
            budget.clone(),
        ))),
        "node" => {
            let id = arguments["id"].as_str().unwrap_or_default();
            let found = match id.split_once(':') {
                Some(("COMMIT", keys)) => Some(commit(world, keys.to_owned())),
                Some((_, key)) => named(world, key)?,
                None => None,
            };
            let message = format!("Could not resolve to a node with the global id of '{id}'.");
            let found = found.ok_or_else(|| Refused::typed("NOT_FOUND", message))?;
            Ok(Resolved::Object(found))
        }
        _ => {
            let text = |name: &str| arguments[name].as_str().unwrap_or_default();
            let name = format!("{}/{}", text("owner"), text("name"));
            let found = world.repository(&name).ok_or_else(|| {
                let message = format!("Could not resolve to a Repository with the name '{name}'.");
                Refused::typed("NOT_FOUND", message)
            })?;
            by_policy(found)?;
            Ok(Resolved::Object(repository(world, found)))
        }
    })
}

fn repository<'a>(world: &'a World, repository: &'a Repository) -> Object<'a> {
    Object::new("Repository", move |field, arguments| match field {
        "issueOrPullRequest" => {
            let number = arguments["number"]
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
                .unwrap_or_default();
            let found = repository.thread(number).ok_or_else(|| {
                let message = format!(
                    "Could not resolve to an issue or pull request with the number of {number}."
                );
                Refused::typed("NOT_FOUND", message)
            })?;
            if world
                .too_heavy
                .contains(&format!("{}#{number}", repository.name.to_lowercase()))
            {
                let message = "Resource limits for this query exceeded.".to_owned();
                return Err(Refused::typed("RESOURCE_LIMITS_EXCEEDED", message));
            }
            Ok(Resolved::Object(thread(world, repository, number, found)))
        }
        "issues" | "pullRequests" if repository.shown == Shown::NameOnly => Err(Refused::typed(
            "FORBIDDEN",
            "Repository access blocked".to_owned(),
        )),
        "issues" | "pullRequests" => threads(world, repository, field, arguments),
        _ => leaf(
            &json!({
                "databaseId": repository.id, "nameWithOwner": repository.name,
                "hasIssuesEnabled": repository.shown == Shown::Everything,
            }),
            field,
        ),
    })
}

fn leaf<'a>(fields: &Value, field: &str) -> Answered<'a> {
    Ok(Resolved::Leaf(fields[field].clone()))
}

fn thread<'a>(
    world: &'a World,
    home: &'a Repository,
    number: i32,
    thread: &'a Thread,
) -> Object<'a> {
    match thread {
        Thread::Issue(found) => issue(world, home, number, found),
        Thread::PullRequest(found) => pull_request(world, home, number, found),
    }
}

/// Returns the error of a field that GitHub fails at.
fn sick<'a>(world: &World, home: &Repository, number: i32, field: &str) -> Option<Answered<'a>> {
    let key = format!("{}#{number}", home.name.to_lowercase());
    let refused = match world.sick_fields.get(&(key, field.to_owned()))? {
        Sickness::Timeout => Refused::typed(TIMEOUT, String::new()),
        Sickness::Error => Refused {
            kind: None,
            message: "Something went wrong while executing your query.".to_owned(),
        },
    };
    Some(Err(refused))
}

/// Fails if the repository's organization refuses these credentials by a policy.
fn by_policy(repository: &Repository) -> Result<(), Refused> {
    match repository.shown {
        Shown::Refused(message) => Err(Refused::typed("FORBIDDEN", message.to_owned())),
        _ => Ok(()),
    }
}

/// Returns an issue or pull request by name; `None` if the token cannot read it.
fn named<'a>(world: &'a World, key: &str) -> Node<'a> {
    let Some((home, number, found)) = world.thread(key) else {
        return Ok(None);
    };
    by_policy(home)?;
    Ok(Some(thread(world, home, number, found)))
}

fn issue<'a>(world: &'a World, home: &'a Repository, number: i32, issue: &'a Issue) -> Object<'a> {
    let failure = move |field: &str| sick(world, home, number, field);
    Object::new("Issue", move |field, arguments| match field {
        "timelineItems" if arguments.contains_key("last") => match failure(LATEST) {
            Some(failure) => failure,
            None => timeline(world, home, (number, issue), arguments),
        },
        _ if failure(field).is_some() => failure(field).expect("it was there"),
        "repository" => Ok(Resolved::Object(repository(world, home))),
        "labels" => labels(&issue.labels, arguments),
        "closedByPullRequestsReferences" => {
            let with_closed = arguments["includeClosedPrs"].as_bool().unwrap_or(false);
            let shown = |key: &&String| match world.thread(key) {
                Some((_, _, Thread::PullRequest(found))) => with_closed || found.state != "CLOSED",
                _ => false,
            };
            let nodes: Vec<_> = issue.references.iter().filter(shown).collect();
            connection(
                "PullRequestConnection",
                field,
                nodes.len(),
                arguments,
                move |index| named(world, nodes[index]),
            )
        }
        "timelineItems" => timeline(world, home, (number, issue), arguments),
        "stateReason" => {
            let reason = issue.state_reason.as_deref();
            // Without the argument, the schema has it no more.
            let with_duplicate = arguments.get("enableDuplicate") != Some(&json!(false));
            Ok(Resolved::Leaf(json!(
                reason.filter(|reason| with_duplicate || *reason != "DUPLICATE")
            )))
        }
        _ => leaf(
            &json!({
                "fullDatabaseId": issue.github_id.to_string(), "databaseId": i32::try_from(issue.github_id).ok(),
                "id": format!("ISSUE:{}#{number}", home.name), "number": number,
                "url": format!("https://github.com/{}/issues/{number}", home.name),
                "state": issue.state, "title": issue.title, "body": issue.body, "createdAt": issue.created_at,
                "updatedAt": issue.updated_at, "closedAt": issue.closed_at,
            }),
            field,
        ),
    })
}

/// Returns events of an issue, oldest first.
fn timeline<'a>(
    world: &'a World,
    home: &'a Repository,
    (number, issue): (i32, &'a Issue),
    arguments: &Map<String, Value>,
) -> Answered<'a> {
    let wanted = arguments.get("itemTypes").and_then(Value::as_array);
    let fits =
        |event: &&Event| wanted.is_none_or(|wanted| wanted.contains(&json!(item_type(event))));
    let events: Vec<&Event> = issue.timeline.iter().filter(fits).collect();
    connection(
        "IssueTimelineItemsConnection",
        "timelineItems",
        events.len(),
        arguments,
        move |index| event(world, home, number, issue, events[index]),
    )
}

fn pull_request<'a>(
    world: &'a World,
    home: &'a Repository,
    number: i32,
    found: &'a PullRequest,
) -> Object<'a> {
    let failure = move |field: &str| sick(world, home, number, field);
    Object::new("PullRequest", move |field, arguments| match field {
        _ if failure(field).is_some() => failure(field).expect("it was there"),
        "repository" => Ok(Resolved::Object(repository(world, home))),
        "labels" => labels(&found.labels, arguments),
        "closingIssuesReferences" => {
            let closes = world.closed_by(&format!("{}#{number}", home.name));
            connection(
                "IssueConnection",
                field,
                closes.len(),
                arguments,
                move |index| named(world, &closes[index]),
            )
        }
        "files" => connection(
            "PullRequestChangedFileConnection",
            field,
            found.files.len(),
            arguments,
            |index| {
                Ok(Some(Object::leaves(
                    "PullRequestChangedFile",
                    json!({ "path": found.files[index] }),
                )))
            },
        ),
        "commits" => connection(
            "PullRequestCommitConnection",
            field,
            found.commits.len(),
            arguments,
            |index| {
                let headline = &found.commits[index];
                Ok(Some(Object::new("PullRequestCommit", move |_, _| {
                    Ok(Resolved::Object(Object::leaves(
                        "Commit",
                        json!({ "oid": "0", "messageHeadline": headline }),
                    )))
                })))
            },
        ),
        "mergeCommit" => Ok(match &found.merge_commit {
            Some(oid) => Resolved::Object(Object::leaves(
                "Commit",
                json!({ "oid": oid, "messageHeadline": "Merge" }),
            )),
            None => Resolved::Leaf(Value::Null),
        }),
        _ => leaf(
            &json!({
                "fullDatabaseId": found.github_id.to_string(), "databaseId": i32::try_from(found.github_id).ok(),
                "id": format!("PR:{}#{number}", home.name), "number": number,
                "url": format!("https://github.com/{}/pull/{number}", home.name),
                "state": found.state, "title": found.title, "body": found.body, "createdAt": found.created_at,
                "updatedAt": found.updated_at, "mergedAt": found.merged_at,
            }),
            field,
        ),
    })
}

fn labels<'a>(labels: &'a [String], arguments: &Map<String, Value>) -> Answered<'a> {
    connection(
        "LabelConnection",
        "labels",
        labels.len(),
        arguments,
        |index| {
            let label = json!({ "name": labels[index] });
            Ok(Some(Object::leaves("Label", label)))
        },
    )
}

fn item_type(event: &Event) -> &'static str {
    match event {
        Event::Closed(_) => "CLOSED_EVENT",
        Event::Reopened(_) => "REOPENED_EVENT",
        Event::Connected(_) => "CONNECTED_EVENT",
        Event::Disconnected(_) => "DISCONNECTED_EVENT",
        Event::CrossReferenced { .. } => "CROSS_REFERENCED_EVENT",
    }
}

/// Returns an event; `None` if the token cannot read the other end.
fn event<'a>(
    world: &'a World,
    home: &'a Repository,
    number: i32,
    of: &'a Issue,
    event: &'a Event,
) -> Node<'a> {
    let own = move || Ok(Resolved::Object(issue(world, home, number, of)));
    let other = move |key: &str| match named(world, key)? {
        Some(other) => Ok(Resolved::Object(other)),
        None => Err(Refused::typed("NOT_FOUND", format!("{key} is hidden"))),
    };
    Ok(Some(match event {
        Event::Closed(closer) => {
            Object::new("ClosedEvent", move |field, _| match (field, closer) {
                ("closer", Closer::PullRequest(key)) => {
                    Ok(named(world, key)?.map_or(Resolved::Leaf(Value::Null), Resolved::Object))
                }
                ("closer", Closer::Commit(pull_requests)) => {
                    Ok(Resolved::Object(commit(world, pull_requests.join(","))))
                }
                ("closer", Closer::MergeCommit(key)) => {
                    Ok(Resolved::Object(commit(world, format!("{key}!"))))
                }
                ("closer", Closer::Project) => Ok(Resolved::Object(Object::leaves(
                    "ProjectV2",
                    json!({ "title": "A project" }),
                ))),
                ("closer", Closer::Nobody) => Ok(Resolved::Leaf(Value::Null)),
                _ => Ok(Resolved::Leaf(json!(of.updated_at))),
            })
        }
        Event::Reopened(at) => Object::leaves("ReopenedEvent", json!({ "createdAt": at })),
        Event::Connected(key) | Event::Disconnected(key) => {
            if world.thread(key).is_none() {
                return Ok(None);
            }
            let name = if matches!(event, Event::Connected(_)) {
                "ConnectedEvent"
            } else {
                "DisconnectedEvent"
            };
            Object::new(name, move |field, _| match field {
                "source" => own(),
                "subject" => other(key),
                _ => Ok(Resolved::Leaf(json!(of.updated_at))),
            })
        }
        Event::CrossReferenced { source, will_close } => {
            if world.thread(source).is_none() {
                return Ok(None);
            }
            Object::new("CrossReferencedEvent", move |field, _| match field {
                "source" => other(source),
                "target" => own(),
                "willCloseTarget" => Ok(Resolved::Leaf(json!(will_close))),
                _ => Ok(Resolved::Leaf(json!(of.updated_at))),
            })
        }
    }))
}

/// Returns the commit that these pull requests contain, separated by commas; with a `!` behind it, the commit that merged
/// a pull request. Its id names them, too.
fn commit(world: &World, id: String) -> Object<'_> {
    let (keys, oid) = match id.strip_suffix('!') {
        Some(key) => match world.thread(key) {
            Some((_, _, Thread::PullRequest(found))) => {
                (key.to_owned(), found.merge_commit.clone())
            }
            _ => (key.to_owned(), None),
        },
        None => (id.clone(), None),
    };
    let oid = oid.unwrap_or_else(|| format!("{:040x}", 0xc0ffee));
    Object::new("Commit", move |field, arguments| match field {
        "associatedPullRequests" => {
            let first = keys.split(',').next().filter(|key| !key.is_empty());
            if let Some((home, number, _)) = first.and_then(|first| world.thread(first))
                && let Some(failure) = sick(world, home, number, field)
            {
                return failure;
            }
            let keys: Vec<String> = match first {
                Some(_) => keys.split(',').map(str::to_owned).collect(),
                None => Vec::new(),
            };
            connection(
                "PullRequestConnection",
                field,
                keys.len(),
                arguments,
                move |index| named(world, &keys[index]),
            )
        }
        _ => leaf(
            &json!({ "oid": oid, "messageHeadline": "Fix it", "id": format!("COMMIT:{id}") }),
            field,
        ),
    })
}

/// Returns a connection whose cursors are positions, because its earlier elements do not change.
fn connection<'a>(
    type_name: &str,
    field: &str,
    total: usize,
    arguments: &Map<String, Value>,
    node: impl Fn(usize) -> Node<'a> + 'a,
) -> Answered<'a> {
    page(
        type_name,
        field,
        total,
        arguments,
        |cursor| cursor.parse().ok(),
        |end| end.to_string(),
        node,
    )
}

/// Returns one page of a connection by the rules of GitHub's page "Using pagination in the GraphQL API". `start`
/// returns the first position after a cursor, and `cursor` the cursor before a position.
fn page<'a>(
    type_name: &str,
    field: &str,
    total: usize,
    arguments: &Map<String, Value>,
    start: impl Fn(&str) -> Option<usize>,
    cursor: impl Fn(usize) -> String,
    node: impl Fn(usize) -> Node<'a> + 'a,
) -> Answered<'a> {
    let (first, last) = (arguments.get("first"), arguments.get("last"));
    let size = first.or(last).and_then(Value::as_u64).ok_or_else(|| {
        let message =
            format!("You must provide a `first` or `last` value to properly paginate the `{field}` connection.");
        Refused::typed("MISSING_PAGINATION_BOUNDARIES", message)
    })?;
    if !(1..=100).contains(&size) {
        let message = format!(
            "Requesting {size} records on the `{field}` connection exceeds the `first` limit of 100 records."
        );
        return Err(Refused::typed("EXCESSIVE_PAGINATION", message));
    }
    let start = match arguments.get("after").and_then(Value::as_str) {
        None if first.is_none() => total.saturating_sub(size as usize),
        None => 0,
        // A cursor of another connection is invalid.
        Some(cursor) => cursor
            .strip_prefix(&format!("{field}:"))
            .and_then(start)
            .ok_or_else(|| {
                Refused::typed(
                    "INVALID_CURSOR_ARGUMENTS",
                    format!("`{cursor}` does not appear to be a valid cursor."),
                )
            })?,
    };
    let end = total.min(start + size as usize);
    let cursor = (end > start).then(|| format!("{field}:{}", cursor(end)));
    Ok(Resolved::Object(Object::new(type_name, move |part, _| {
        Ok(match part {
            "nodes" => Resolved::List((start..end).map(&node).collect()),
            "pageInfo" => Resolved::Object(Object::leaves(
                "PageInfo",
                json!({ "hasNextPage": end < total, "endCursor": cursor, "hasPreviousPage": start > 0, "startCursor": null }),
            )),
            _ => Resolved::Leaf(json!(total)),
        })
    })))
}

/// Returns the issues or the pull requests of a repository in the order of their changes. Cursors contain a time and a
/// number, so an element that changes moves to the other end.
fn threads<'a>(
    world: &'a World,
    home: &'a Repository,
    field: &str,
    arguments: &Map<String, Value>,
) -> Answered<'a> {
    let since = arguments
        .get("filterBy")
        .and_then(|filter| filter["since"].as_str())
        .unwrap_or_default();
    let mut found: Vec<(String, i32)> = home
        .threads
        .iter()
        .filter_map(|(number, thread)| match thread {
            _ if home.thread(*number).is_none() => None,
            Thread::Issue(issue) if field == "issues" => Some((issue.updated_at.clone(), *number)),
            Thread::PullRequest(found) if field == "pullRequests" => {
                Some((found.updated_at.clone(), *number))
            }
            _ => None,
        })
        .filter(|(updated_at, _)| updated_at.as_str() >= since)
        .collect();
    found.sort();
    let order = arguments.get("orderBy").cloned().unwrap_or_default();
    if order["field"] != "UPDATED_AT" {
        return Err(Refused {
            kind: None,
            message: "only the order of changes is simulated".to_owned(),
        });
    }
    let ascending = order["direction"] == "ASC";
    if !ascending {
        found.reverse();
    }
    let keys: Vec<String> = found
        .iter()
        .map(|(updated_at, number)| format!("{updated_at}/{number:010}"))
        .collect();
    let start = |cursor: &str| {
        let is_behind = |key: &String| {
            if ascending {
                key.as_str() > cursor
            } else {
                key.as_str() < cursor
            }
        };
        Some(keys.iter().position(is_behind).unwrap_or(keys.len()))
    };
    let type_name = if field == "issues" {
        "IssueConnection"
    } else {
        "PullRequestConnection"
    };
    page(
        type_name,
        field,
        found.len(),
        arguments,
        start,
        |end| keys[end - 1].clone(),
        move |index| {
            let (_, number) = &found[index];
            let found = home.threads.get(number);
            Ok(found.map(|found| thread(world, home, *number, found)))
        },
    )
}
