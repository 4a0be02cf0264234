//! The objects of a mapping and its item in Weaviate: fields and text in Agira's form, with
//! GitHub's content.
#![expect(missing_docs, reason = "fields whose names and types say everything")]

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{Details, Item, Kind, Mapping, Snapshot, TruncatedList};

/// Weaviate class of all objects.
pub const CLASS: &str = "AgiraObject";

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
        let mut text = format!("Status: {}\n\n{}", item.status, item.description);
        let solution = &item.solution_description;
        if !solution.is_empty() {
            section(&mut text, &format!("Solution:\n{solution}"));
        }
        Self {
            object_type: ObjectType::Item,
            object_id: item.id.to_string(),
            project_id: item.project_id.to_string(),
            org_id: item.organisation_id.map(|id| id.to_string()),
            title: item.title.clone(),
            text,
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

fn text_of(snapshot: &Snapshot) -> String {
    let mut text = format!("State: {}\n\n{}", snapshot.state.as_str(), snapshot.body);
    if let Details::PullRequest { files, commits, .. } = &snapshot.details {
        list(&mut text, "Changed files", files);
        list(&mut text, "Commits", commits);
    }
    if !snapshot.labels.is_empty() {
        let labels = snapshot.labels.join(", ");
        section(&mut text, &format!("Labels: {labels}"));
    }
    text
}

fn list(text: &mut String, heading: &str, entries: &TruncatedList) {
    if entries.first.is_empty() {
        return;
    }
    let mut lines = format!("{heading}:\n- {}", entries.first.join("\n- "));
    let more = entries.total.saturating_sub(entries.first.len());
    if more > 0 {
        lines.push_str(&format!("\n- and {more} more"));
    }
    section(text, &lines);
}

/// Adds a section after two blank lines, as Agira's own form has it.
fn section(text: &mut String, content: &str) {
    text.push_str("\n\n\n");
    text.push_str(content);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::*;
    use super::*;

    #[track_caller]
    fn check_uuid(object_type: ObjectType, expected: &str) {
        assert_eq!(
            ObjectKey {
                object_type,
                object_id: "1".to_owned()
            }
            .uuid()
            .to_string(),
            expected
        );
    }

    #[test]
    fn uuids_are_agiras() {
        check_uuid(ObjectType::Item, "00a700b1-f9b6-5e47-9438-d49140cd8928");
        check_uuid(
            ObjectType::GithubIssue,
            "8f269b6e-47db-5157-9f1b-0ff2ee824feb",
        );
        check_uuid(ObjectType::GithubPr, "4dd76b06-64a2-5478-bb06-3c80f473017e");
    }

    fn item() -> Item {
        Item {
            id: ItemId(1),
            title: "Add Crud Operation to Entity Project in User UI ".to_owned(),
            description: "Betrifft UI /items/inbox/\n\n## ListView\n1. ...".to_owned(),
            solution_description: String::new(),
            status: ItemStatus("Working".to_owned()),
            project_id: 1,
            organisation_id: Some(1),
            created_at: "2026-01-24T19:52:40.473439Z".parse().unwrap(),
            updated_at: "2026-01-25T10:08:59.748469Z".parse().unwrap(),
            project_repository: None,
        }
    }

    fn mapping(kind: Kind) -> Mapping {
        Mapping {
            id: MappingId(42),
            item_id: ItemId(1),
            kind,
            ..Mapping::default()
        }
    }

    fn snapshot(details: Details) -> Snapshot {
        Snapshot {
            github_id: GithubId(4_000_000_001),
            address: Address {
                repository: Repository::parse("acme/shop").unwrap(),
                number: 12,
            },
            url: "https://github.com/acme/shop/issues/12".to_owned(),
            state: State::Closed,
            title: "Cart loses items".to_owned(),
            body: "Steps".to_owned(),
            labels: vec!["bug".to_owned(), "ui".to_owned()],
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            updated_at: "2026-01-02T00:00:00Z".parse().unwrap(),
            details,
        }
    }

    /// Agira's sample for item 1, as it goes over the wire: RFC 3339 dates, nulls left out.
    #[test]
    fn the_object_of_item_1_equals_agiras_sample() {
        assert_eq!(
            serde_json::to_value(AgiraObject::of_item(&item())).unwrap(),
            json!({
                "type": "item", "object_id": "1", "project_id": "1", "org_id": "1",
                "title": "Add Crud Operation to Entity Project in User UI ",
                "text": "Status: Working\n\nBetrifft UI /items/inbox/\n\n## ListView\n1. ...",
                "status": "Working", "url": "/items/1/", "source_system": "agira",
                "created_at": "2026-01-24T19:52:40.473439Z", "updated_at": "2026-01-25T10:08:59.748469Z",
            })
        );
    }

    #[test]
    fn a_solution_follows_two_blank_lines() {
        let solved = Item {
            description: "Seeded description.".to_owned(),
            solution_description: "Fixed it.".to_owned(),
            status: ItemStatus::testing(),
            ..item()
        };
        assert_eq!(
            AgiraObject::of_item(&solved).text,
            "Status: Testing\n\nSeeded description.\n\n\nSolution:\nFixed it."
        );
    }

    #[test]
    fn an_item_without_organisation_has_no_org_id() {
        let alone = Item {
            organisation_id: None,
            ..item()
        };
        assert!(
            serde_json::to_value(AgiraObject::of_item(&alone))
                .unwrap()
                .get("org_id")
                .is_none()
        );
    }

    #[test]
    fn an_issue_has_githubs_content_and_the_items_place() {
        let details = Details::Issue {
            closed_at: None,
            close_reason: None,
            pull_requests: Vec::new(),
            some_hidden: false,
        };
        assert_eq!(
            serde_json::to_value(AgiraObject::of_mapping(
                &mapping(Kind::Issue),
                &item(),
                &snapshot(details)
            ))
            .unwrap(),
            json!({
                "type": "github_issue", "object_id": "42", "project_id": "1", "org_id": "1", "title": "Cart loses items",
                "text": "State: closed\n\nSteps\n\n\nLabels: bug, ui", "status": "closed",
                "url": "https://github.com/acme/shop/issues/12", "source_system": "github",
                "external_key": "acme/shop#12", "parent_object_id": "1",
                "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z",
            })
        );
    }

    #[test]
    fn a_pull_request_names_files_and_commits_and_how_many_more_there_are() {
        let details = Details::PullRequest {
            merged_at: None,
            merge_commit_sha: None,
            files: TruncatedList {
                first: vec!["src/cart.rs".to_owned()],
                total: 3,
            },
            commits: TruncatedList {
                first: vec!["Keep the cart".to_owned()],
                total: 1,
            },
        };
        let object =
            AgiraObject::of_mapping(&mapping(Kind::PullRequest), &item(), &snapshot(details));
        assert_eq!(object.object_type, ObjectType::GithubPr);
        assert_eq!(
            object.text,
            "State: closed\n\nSteps\n\n\nChanged files:\n- src/cart.rs\n- and 2 more\n\n\nCommits:\n- Keep the cart\n\n\nLabels: bug, ui"
        );
    }
}
