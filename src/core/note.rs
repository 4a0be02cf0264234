//! The questions of the decision table (design.md, "The decision table"), and the answers that
//! explain a plan. The code that decides also notes the answer, so that explanation and decision
//! cannot differ.

use std::fmt;

use serde::{Serialize, Serializer};

/// A question of the decision table. The variants are in the table's order; their names are those
/// of the JSON report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The stored GitHub id differs from GitHub's.
    GithubId,
    /// The stored state differs from GitHub's.
    State,
    /// The issue has a close event that is not handled yet.
    CloseEvent,
    /// The item has a status that a closed issue never changes.
    ProtectedStatus,
    /// The item has a status that `--keep-status` names.
    KeepStatus,
    /// The issue was closed for a reason that `--close-reason` does not name.
    CloseReason,
    /// The issue was closed before `--ignore-closed-before`.
    ClosedBefore,
    /// A person set the item's status after the closing.
    DecidedAfter,
    /// The item gets another status.
    ItemMoves,
    /// The issue was reopened.
    Reopened,
    /// A pull request belongs to the issue.
    PullRequest,
    /// GitHub no longer confirms a stored link.
    Unlink,
    /// A pull request's row has to be marked, because its state differs from GitHub's.
    MakeDue,
    /// Merge data of the pull request is not stored yet.
    Merge,
    /// An object is missing in Weaviate.
    ObjectMissing,
    /// An object has another status in Weaviate.
    ObjectStatus,
    /// An object that Agira wrote has to be replaced.
    ObjectForeign,
    /// An object has an unknown status in Weaviate, so that the push decides.
    ObjectUnknown,
}

impl Question {
    /// Returns true for questions about objects in Weaviate.
    pub fn is_about_objects(self) -> bool {
        self >= Self::ObjectMissing
    }
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::GithubId => "GitHub id differs",
            Self::State => "state differs",
            Self::CloseEvent => "close event to handle",
            Self::ProtectedStatus => "status is protected",
            Self::KeepStatus => "status is kept by --keep-status",
            Self::CloseReason => "reason is excluded by --close-reason",
            Self::ClosedBefore => "closing is excluded by --ignore-closed-before",
            Self::DecidedAfter => "a person decided after the closing",
            Self::ItemMoves => "item moves",
            Self::Reopened => "issue was reopened",
            Self::PullRequest => "issue has a pull request",
            Self::Unlink => "link to remove",
            Self::MakeDue => "pull request to check",
            Self::Merge => "merge data to store",
            Self::ObjectMissing => "object is missing in Weaviate",
            Self::ObjectStatus => "status differs in Weaviate",
            Self::ObjectForeign => "object to replace in Weaviate",
            Self::ObjectUnknown => "status in Weaviate is unknown",
        })
    }
}

/// Attention that an answer asks of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// Nothing unusual.
    None,
    /// A person may wonder why nothing happens.
    Surprising,
    /// A person has to correct something.
    Warning,
}

/// An answer to a question, with its facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct Note {
    pub question: Question,
    #[serde(serialize_with = "yes_or_no")]
    pub answer: bool,
    /// Reasons for the answer, printable.
    pub facts: String,
    #[serde(skip)]
    pub attention: Attention,
    /// The item keeps its status because of this answer.
    #[serde(skip)]
    pub kept: Option<Kept>,
}

/// A status that an item keeps although its issue was closed or reopened. Both texts are printable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields whose names and types say everything")]
pub struct Kept {
    pub status: String,
    pub reason: String,
}

impl Note {
    /// Formats question, answer and facts as one line.
    pub fn explain(&self) -> String {
        let answer = yes(self.answer);
        format!("{}: {answer}, {}", self.question, self.facts)
    }
}

/// Displays the facts without question and answer.
impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.facts)
    }
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

fn yes_or_no<S: Serializer>(answer: &bool, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(yes(*answer))
}
