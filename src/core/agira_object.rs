//! The objects of a mapping and its item in Weaviate: fields and text in Agira's form, with
//! GitHub's content.
#![expect(missing_docs, reason = "fields whose names and types say everything")]

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{Details, Item, Kind, Mapping, Snapshot, TruncatedList};

/// Weaviate class of all objects.
pub const CLASS: &str = "AgiraObject";

/// Longest body in a text, in characters. Some vectorizers refuse a longer text as a whole.
const MAX_BODY: usize = 24_000;

/// Agira's namespace for the ids of its objects.
const NAMESPACE: Uuid = Uuid::from_u128(0xa9c5_e8d0_1234_5678_9abc_def0_1234_5678);

/// Type of the thing that an object describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectType {
    Item,
    GithubIssue,
    GithubPr,
}

impl ObjectType {
    fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::PullRequest => Self::GithubPr,
            Kind::Issue | Kind::Unknown => Self::GithubIssue,
        }
    }

    /// Returns the value as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::GithubIssue => "github_issue",
            Self::GithubPr => "github_pr",
        }
    }
}

/// Type and id of an object, which determine its UUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ObjectKey {
    #[serde(rename = "type")]
    pub object_type: ObjectType,
    /// Item id or mapping id, as text.
    pub object_id: String,
}

impl ObjectKey {
    fn new(object_type: ObjectType, object_id: impl fmt::Display) -> Self {
        let object_id = object_id.to_string();
        Self {
            object_type,
            object_id,
        }
    }

    /// Returns the UUIDv5 under which Agira and the worker store the object.
    pub fn uuid(&self) -> Uuid {
        Uuid::new_v5(&NAMESPACE, self.to_string().as_bytes())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.object_type.as_str(), self.object_id)
    }
}

/// Properties of an object. Weaviate gets no field without a value. Times are UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgiraObject {
    #[serde(rename = "type")]
    pub object_type: ObjectType,
    /// Item id or mapping id, as text.
    pub object_id: String,
    pub project_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub org_id: Option<String>,
    pub title: String,
    /// Text that Agira searches.
    pub text: String,
    /// Status of the item, or state on GitHub.
    pub status: String,
    /// Address of the page for a person.
    pub url: String,
    /// `agira` or `github`.
    pub source_system: String,
    /// `owner/repo#number`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_key: Option<String>,
    /// Item of an issue or pull request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_object_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl AgiraObject {
    /// Returns the object of an item.
    pub fn of_item(item: &Item) -> Self {
        let mut parts = vec![item.description.clone()];
        let solution = &item.solution_description;
        if !solution.is_empty() {
            parts.push(format!("\n\nSolution:\n{solution}"));
        }
        Self {
            object_type: ObjectType::Item,
            object_id: item.id.to_string(),
            project_id: item.project_id.to_string(),
            org_id: item.organisation_id.map(|id| id.to_string()),
            title: item.title.clone(),
            text: joined(&format!("Status: {}", item.status), &parts),
            status: item.status.to_string(),
            url: format!("/items/{}/", item.id),
            source_system: "agira".to_owned(),
            external_key: None,
            parent_object_id: None,
            created_at: item.created_at,
            updated_at: item.updated_at,
        }
    }

    /// Returns the object of an issue or pull request: GitHub's content under the mapping's item.
    pub fn of_mapping(mapping: &Mapping, item: &Item, snapshot: &Snapshot) -> Self {
        Self {
            object_type: ObjectType::of_kind(snapshot.kind()),
            object_id: mapping.id.to_string(),
            project_id: item.project_id.to_string(),
            org_id: item.organisation_id.map(|id| id.to_string()),
            title: snapshot.title.clone(),
            text: text_of(snapshot),
            status: snapshot.state.as_str().to_owned(),
            url: snapshot.url.clone(),
            source_system: "github".to_owned(),
            external_key: Some(snapshot.address.to_string()),
            parent_object_id: Some(item.id.to_string()),
            created_at: snapshot.created_at,
            updated_at: snapshot.updated_at,
        }
    }

    /// Returns type and id.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.object_type, &self.object_id)
    }
}

/// Displays type and id, never the content.
impl fmt::Display for AgiraObject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key().fmt(out)
    }
}

/// Returns the key of an item's object.
pub fn item_key(item: &Item) -> ObjectKey {
    ObjectKey::new(ObjectType::Item, item.id)
}

/// Returns the key of a mapping's own object.
pub fn mapping_key(mapping: &Mapping) -> ObjectKey {
    ObjectKey::new(ObjectType::of_kind(mapping.kind), mapping.id)
}

/// Returns the text of an issue or pull request. It has the title, too, because a vectorizer reads
/// the text first and may not get as far as the title.
fn text_of(snapshot: &Snapshot) -> String {
    let body = bounded(&snapshot.body, &snapshot.url);
    let contents = [snapshot.title.as_str(), &body];
    let contents: Vec<&str> = contents
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let mut parts = vec![contents.join("\n\n")];
    if let Details::PullRequest { files, commits, .. } = &snapshot.details {
        parts.extend(list("Changed files", files));
        parts.extend(list("Commits", commits));
    }
    if !snapshot.labels.is_empty() {
        parts.push(format!("\n\nLabels: {}", snapshot.labels.join(", ")));
    }
    joined(&format!("State: {}", snapshot.state.as_str()), &parts)
}

/// Joins the parts that are not empty below a first line, as Agira's own form has it.
fn joined(first_line: &str, parts: &[String]) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty());
    let parts: Vec<&str> = parts.map(String::as_str).collect();
    format!("{first_line}\n\n{}", parts.join("\n"))
}

/// Returns the body, or its beginning and a line that says how much more there is at `url`. The
/// beginning ends with a line if its last tenth has a line break.
fn bounded<'a>(body: &'a str, url: &str) -> Cow<'a, str> {
    let Some((end, _)) = body.char_indices().nth(MAX_BODY) else {
        return Cow::Borrowed(body);
    };
    let (mut beginning, _) = body.split_at(end);
    if let Some((lines, rest)) = beginning.rsplit_once('\n')
        && rest.chars().count() < MAX_BODY / 10
    {
        beginning = lines;
    }
    let more = body.chars().count() - beginning.chars().count();
    Cow::Owned(format!(
        "{beginning}\n... and {more} more characters: {url}"
    ))
}

fn list(heading: &str, entries: &TruncatedList) -> Option<String> {
    if entries.first.is_empty() {
        return None;
    }
    let mut lines = format!("\n\n{heading}:\n- {}", entries.first.join("\n- "));
    let more = entries.total.saturating_sub(entries.first.len());
    if more > 0 {
        lines.push_str(&format!("\n- and {more} more"));
    }
    Some(lines)
}

#[cfg(test)]
mod tests;
