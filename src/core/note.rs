//! Why a plan is what it is: what the decision table (design, section 4) asks about one mapping, with the answers. They are
//! made where the plan is decided, so that no second copy of the rules can say something else.

use std::fmt;

use serde::{Serialize, Serializer};

/// What the decision table asks, in its order. The names are those of the JSON report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Whether another id than GitHub's is stored.
    GithubId,
    /// Whether another state than GitHub's is stored.
    State,
    /// Whether there is a close event that was not dealt with.
    CloseEvent,
    /// Whether a closed issue never changes the item's status.
    ProtectedStatus,
    /// Whether `--keep-status` names the item's status.
    KeepStatus,
    /// Whether `--close-reason` leaves the reason of the closing out.
    CloseReason,
    /// Whether the issue was closed before `--ignore-closed-before`.
    ClosedBefore,
    /// Whether the item moves.
    ItemMoves,
    /// Whether the issue was reopened.
    Reopened,
    /// Whether a pull request belongs to the issue.
    PullRequest,
    /// Whether GitHub no longer supports a link.
    Unlink,
    /// Whether the row of a pull request of the issue is to get a look of its own, because its state is another one.
    MakeDue,
    /// Whether something of the merge is not stored yet.
    Merge,
    /// Whether an object is missing in Weaviate.
    ObjectMissing,
    /// Whether an object has another status in Weaviate.
    ObjectStatus,
    /// Whether an object that Agira wrote is to be replaced.
    ObjectForeign,
    /// Whether Weaviate could not be asked about an object: it is decided when it is pushed.
    ObjectUnknown,
}

impl Question {
    /// Whether it is Weaviate that is asked about.
    pub fn is_about_objects(self) -> bool {
        self >= Self::ObjectMissing
    }
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::GithubId => "another GitHub id",
            Self::State => "another state",
            Self::CloseEvent => "close event to deal with",
            Self::ProtectedStatus => "status is protected",
            Self::KeepStatus => "status kept by --keep-status",
            Self::CloseReason => "left out by --close-reason",
            Self::ClosedBefore => "left out by --ignore-closed-before",
            Self::ItemMoves => "item moves",
            Self::Reopened => "reopened",
            Self::PullRequest => "pull request of the issue",
            Self::Unlink => "link to remove",
            Self::MakeDue => "pull request to look at",
            Self::Merge => "merge data to store",
            Self::ObjectMissing => "missing in Weaviate",
            Self::ObjectStatus => "another status in Weaviate",
            Self::ObjectForeign => "to be replaced in Weaviate",
            Self::ObjectUnknown => "unknown in Weaviate",
        })
    }
}

/// Whether a person should know of an answer without having asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// It is how things always are.
    None,
    /// A person may wonder why nothing happens.
    Surprising,
    /// A person has to put something right.
    Warning,
}

/// An answer, with the facts that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What was asked.
    pub question: Question,
    /// Yes or no.
    #[serde(serialize_with = "yes_or_no")]
    pub answer: bool,
    /// The facts, printable.
    pub facts: String,
    /// Who should know.
    #[serde(skip)]
    pub attention: Attention,
}

impl Note {
    /// Question, answer and facts on one line.
    pub fn explain(&self) -> String {
        let Self {
            question,
            answer,
            facts,
            ..
        } = self;
        format!(
            "{question}: {}, {facts}",
            if *answer { "yes" } else { "no" }
        )
    }
}

/// The facts alone, for who did not ask.
impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.facts)
    }
}

fn yes_or_no<S: Serializer>(answer: &bool, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(if *answer { "yes" } else { "no" })
}
