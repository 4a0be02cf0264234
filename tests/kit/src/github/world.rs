//! Repositories with their issues and pull requests, and changes by people.

use std::collections::{BTreeMap, BTreeSet};

/// Creation time of everything, unless a test sets another one.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// An issue. Times are RFC 3339, UTC.
#[derive(Debug, Clone)]
pub struct Issue {
    /// `fullDatabaseId`, beyond 32 bits.
    pub github_id: i64,
    /// Title.
    pub title: String,
    /// Body.
    pub body: String,
    /// `OPEN` or `CLOSED`.
    pub state: &'static str,
    /// Reason of the close event, or `REOPENED`.
    pub state_reason: Option<String>,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Created.
    pub created_at: String,
    /// Last changed.
    pub updated_at: String,
    /// Closed.
    pub closed_at: Option<String>,
    /// Pull requests that GitHub lists as closing it.
    pub references: Vec<String>,
    /// Timeline, oldest event first.
    pub timeline: Vec<Event>,
}

/// A pull request. Times are RFC 3339, UTC.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// `fullDatabaseId`, beyond 32 bits.
    pub github_id: i64,
    /// Title.
    pub title: String,
    /// Body.
    pub body: String,
    /// `OPEN`, `CLOSED` or `MERGED`.
    pub state: &'static str,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Created.
    pub created_at: String,
    /// Last changed.
    pub updated_at: String,
    /// Merged.
    pub merged_at: Option<String>,
    /// The commit that merged it.
    pub merge_commit: Option<String>,
    /// Paths of the changed files.
    pub files: Vec<String>,
    /// Headlines of its commits.
    pub commits: Vec<String>,
}

/// An event in the timeline of an issue.
#[derive(Debug, Clone)]
pub enum Event {
    /// It was closed.
    Closed(Closer),
    /// It was reopened, at this time.
    Reopened(String),
    /// A person connected a pull request.
    Connected(String),
    /// A person disconnected a pull request.
    Disconnected(String),
    /// A pull request or issue names it.
    CrossReferenced {
        /// Which one.
        source: String,
        /// Merging it will close the issue.
        will_close: bool,
    },
}

/// The way in which GitHub fails at one field, while it answers for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sickness {
    /// Every query with the field ends in a proxy's page.
    Timeout,
    /// The field is null, with an error that names it in its path.
    Error,
}

/// What a repository still shows to those who may read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shown {
    /// Everything.
    #[default]
    Everything,
    /// Pull requests only, because its issues are turned off.
    WithoutIssues,
    /// Its name only, because it was taken down.
    NameOnly,
    /// Nothing, with this message: a policy of its organization refuses the credentials.
    Refused(&'static str),
}

/// Closer of an issue.
#[derive(Debug, Clone)]
pub enum Closer {
    /// A person, by hand.
    Nobody,
    /// A pull request that was merged.
    PullRequest(String),
    /// A commit, with the pull requests that it is part of.
    Commit(Vec<String>),
    /// The commit that merged a pull request.
    MergeCommit(String),
    /// A project's automation.
    Project,
}

impl Issue {
    pub(super) fn close(&mut self, at: &str, reason: &str, closer: Closer) {
        self.state = "CLOSED";
        self.state_reason = Some(reason.to_owned());
        self.closed_at = Some(at.to_owned());
        self.updated_at = at.to_owned();
        self.timeline.push(Event::Closed(closer));
    }

    pub(super) fn reopen(&mut self, at: &str) {
        self.state = "OPEN";
        self.state_reason = Some("REOPENED".to_owned());
        self.closed_at = None;
        self.updated_at = at.to_owned();
        self.timeline.push(Event::Reopened(at.to_owned()));
    }
}

/// An issue or a pull request.
#[derive(Debug, Clone)]
pub(super) enum Thread {
    Issue(Issue),
    PullRequest(PullRequest),
}

/// Fate of an issue that no longer exists under its number.
#[derive(Debug, Clone)]
pub(super) enum Gone {
    Deleted,
    /// Current address.
    Transferred(String),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Repository {
    pub id: i32,
    pub name: String,
    pub hidden: bool,
    pub shown: Shown,
    pub threads: BTreeMap<i32, Thread>,
    pub gone: BTreeMap<i32, Gone>,
}

impl Repository {
    /// Returns an issue or pull request unless the repository shows none of its kind.
    pub fn thread(&self, number: i32) -> Option<&Thread> {
        let thread = self.threads.get(&number)?;
        let is_shown = match self.shown {
            Shown::Everything | Shown::Refused(_) => true,
            Shown::WithoutIssues => matches!(thread, Thread::PullRequest(_)),
            Shown::NameOnly => false,
        };
        is_shown.then_some(thread)
    }
}

/// All repositories by lower-case name, with redirects from old names.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    /// Account that the token of the request can read; `None` means all.
    pub opened: Option<String>,
    repositories: BTreeMap<String, Repository>,
    renamed: BTreeMap<String, String>,
    /// Issues and pull requests that GitHub cannot answer for (lower case).
    pub too_heavy: BTreeSet<String>,
    /// Fields of issues and pull requests (`owner/name#number`, lower case) that GitHub fails at.
    pub sick_fields: BTreeMap<(String, String), Sickness>,
    last_id: i64,
}

impl World {
    /// Returns the repository of that current or former name, if the token can read it.
    pub fn repository(&self, name: &str) -> Option<&Repository> {
        let name = name.to_lowercase();
        let name = self.renamed.get(&name).unwrap_or(&name);
        self.repositories
            .get(name)
            .filter(|repository| self.shows(repository))
    }

    /// Returns true if the token of the request can read a repository.
    fn shows(&self, repository: &Repository) -> bool {
        let owner = repository.name.split('/').next().unwrap_or_default();
        !repository.hidden
            && self
                .opened
                .as_ref()
                .is_none_or(|opened| opened.eq_ignore_ascii_case(owner))
    }

    pub fn repository_with_id(&self, id: i32) -> Option<&Repository> {
        self.repositories
            .values()
            .find(|repository| repository.id == id && self.shows(repository))
    }

    /// Returns an issue or pull request that the token can read, with its repository and number.
    pub fn thread(&self, key: &str) -> Option<(&Repository, i32, &Thread)> {
        let (name, number) = split(key);
        let repository = self.repository(name)?;
        Some((repository, number, repository.thread(number)?))
    }

    pub fn is_pull_request(&self, key: &str) -> bool {
        matches!(self.thread(key), Some((_, _, Thread::PullRequest(_))))
    }

    /// Returns the issues that refer to a pull request as closing them.
    pub fn closed_by(&self, key: &str) -> Vec<String> {
        let all = self
            .repositories
            .values()
            .flat_map(|home| home.threads.iter().map(move |thread| (home, thread)));
        let refers = |(home, (number, thread)): (&Repository, (&i32, &Thread))| match thread {
            Thread::Issue(issue)
                if issue
                    .references
                    .iter()
                    .any(|reference| reference.eq_ignore_ascii_case(key)) =>
            {
                Some(format!("{}#{number}", home.name))
            }
            _ => None,
        };
        all.filter_map(refers).collect()
    }

    pub fn issue(&mut self, key: &str, change: impl FnOnce(&mut Issue)) -> i64 {
        let id = self.next_id();
        let fresh = Issue {
            github_id: id,
            title: format!("Issue {key}"),
            body: format!("What {key} says"),
            state: "OPEN",
            state_reason: None,
            labels: Vec::new(),
            created_at: CREATED.to_owned(),
            updated_at: CREATED.to_owned(),
            closed_at: None,
            references: Vec::new(),
            timeline: Vec::new(),
        };
        match self.place(key).or_insert(Thread::Issue(fresh)) {
            Thread::Issue(issue) => {
                change(issue);
                issue.github_id
            }
            Thread::PullRequest(_) => panic!("{key} is a pull request"),
        }
    }

    pub fn pull_request(&mut self, key: &str, change: impl FnOnce(&mut PullRequest)) -> i64 {
        let id = self.next_id();
        let fresh = PullRequest {
            github_id: id,
            title: format!("Pull request {key}"),
            body: format!("What {key} does"),
            state: "OPEN",
            labels: Vec::new(),
            created_at: CREATED.to_owned(),
            updated_at: CREATED.to_owned(),
            merged_at: None,
            merge_commit: None,
            files: vec!["src/lib.rs".to_owned()],
            commits: vec![format!("A commit of {key}")],
        };
        match self.place(key).or_insert(Thread::PullRequest(fresh)) {
            Thread::PullRequest(pull_request) => {
                change(pull_request);
                pull_request.github_id
            }
            Thread::Issue(_) => panic!("{key} is an issue"),
        }
    }

    pub fn merge(&mut self, key: &str, at: &str) {
        self.pull_request(key, |pull_request| {
            pull_request.state = "MERGED";
            pull_request.merged_at = Some(at.to_owned());
            pull_request.merge_commit = Some(format!("{:040x}", pull_request.github_id));
            pull_request.updated_at = at.to_owned();
        });
        let threads = self
            .repositories
            .values_mut()
            .flat_map(|repository| repository.threads.values_mut());
        for thread in threads {
            if let Thread::Issue(issue) = thread
                && issue.state == "OPEN"
                && issue
                    .references
                    .iter()
                    .any(|reference| reference.eq_ignore_ascii_case(key))
            {
                issue.close(at, "COMPLETED", Closer::PullRequest(key.to_owned()));
            }
        }
    }

    pub fn delete(&mut self, key: &str) {
        self.leave(key, Gone::Deleted);
    }

    pub fn transfer(&mut self, key: &str, new: &str) {
        let thread = self.leave(key, Gone::Transferred(new.to_owned()));
        self.place(new).or_insert(thread);
    }

    pub fn rename(&mut self, name: &str, new: &str) {
        let mut repository = self
            .repositories
            .remove(&name.to_lowercase())
            .expect("a repository to rename");
        repository.name = new.to_owned();
        self.renamed.insert(name.to_lowercase(), new.to_lowercase());
        self.repositories.insert(new.to_lowercase(), repository);
    }

    pub fn forget_redirect(&mut self, name: &str) {
        self.renamed.remove(&name.to_lowercase());
    }

    pub fn set_shown(&mut self, name: &str, shown: Shown) {
        let repository = self.repositories.get_mut(&name.to_lowercase());
        repository.expect("a repository").shown = shown;
    }

    pub fn set_hidden(&mut self, name: &str, hidden: bool) {
        self.repositories
            .get_mut(&name.to_lowercase())
            .expect("a repository to hide")
            .hidden = hidden;
    }

    fn leave(&mut self, key: &str, gone: Gone) -> Thread {
        let (name, number) = split(key);
        let repository = self
            .repositories
            .get_mut(&name.to_lowercase())
            .expect("a repository");
        repository.gone.insert(number, gone);
        repository
            .threads
            .remove(&number)
            .expect("an issue that is there")
    }

    fn place(&mut self, key: &str) -> std::collections::btree_map::Entry<'_, i32, Thread> {
        let (name, number) = split(key);
        let id = 1 + i32::try_from(self.repositories.len()).expect("few repositories");
        let repository = self
            .repositories
            .entry(name.to_lowercase())
            .or_insert_with(|| Repository {
                id,
                name: name.to_owned(),
                ..Repository::default()
            });
        repository.threads.entry(number)
    }

    /// Returns the next id, beyond 32 bits, like GitHub's ids.
    fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        5_000_000_000 + self.last_id
    }
}

/// Splits `owner/name#number`.
pub(super) fn split(key: &str) -> (&str, i32) {
    let (name, number) = key
        .split_once('#')
        .unwrap_or_else(|| panic!("{key} is not owner/name#number"));
    (
        name,
        number
            .parse()
            .unwrap_or_else(|_| panic!("{key} is not owner/name#number")),
    )
}
