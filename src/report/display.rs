//! The result of a run as plain data for display. Everything that is drawn is here in words.

use std::collections::BTreeMap;

use super::counts::{Change, Written};
use super::entry::{Entry, Explained, Row};
use super::words::{counted, number};
use crate::core::agira_object::ObjectType;

/// The result of a run. All texts are printable.
#[derive(Debug, Default)]
pub(super) struct Display {
    /// Lines about the whole run.
    pub notices: Vec<String>,
    /// A block for each item that changes.
    pub blocks: Vec<Block>,
    /// Failures, by cause.
    pub failures: Vec<Group>,
    /// Mappings that are left to a later run, by reason.
    pub left: Vec<Group>,
    /// The whole run in one sentence.
    pub summary: String,
    /// The meaning of the exit code, unless it is 0.
    pub ending: Option<String>,
}

/// An item that changes, or whose status stays for a reason.
#[derive(Debug)]
pub(super) struct Block {
    pub item: i64,
    pub title: String,
    pub rows: Vec<Row>,
    /// The whole decision about each of its mappings; only in a dry run of named ones.
    pub explained: Vec<Explained>,
}

/// Mappings with the same cause.
#[derive(Debug)]
pub(super) struct Group {
    pub heading: String,
    pub members: Vec<Member>,
}

/// A mapping of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub item: i64,
    pub title: String,
    pub reference: String,
    pub next: String,
}

/// Returns a block for each item that has something to tell, in the order of the entries.
pub(super) fn blocks(entries: &[Entry]) -> Vec<Block> {
    let mut places: BTreeMap<i64, usize> = BTreeMap::new();
    let mut items: Vec<Vec<&Entry>> = Vec::new();
    for entry in entries {
        let place = *places.entry(entry.item).or_insert(items.len());
        match items.get_mut(place) {
            Some(item) => item.push(entry),
            None => items.push(vec![entry]),
        }
    }
    let blocks = items.iter().filter_map(|entries| block(entries));
    blocks.collect()
}

fn block(entries: &[&Entry]) -> Option<Block> {
    let first = entries.first()?;
    let all: Vec<&Row> = entries.iter().flat_map(|entry| &entry.rows).collect();
    let is_named = |row: &Row| {
        let names = |other: &&&Row| {
            let name = other.subject.trim_start_matches(['+', '-', ' ']);
            !other.is_minor && name == row.subject
        };
        all.iter().any(|other| names(&other))
    };
    let rows = all.iter().filter(|row| !row.is_minor || !is_named(row));
    let mut rows: Vec<Row> = rows.map(|row| (*row).clone()).collect();
    let mut objects = objects(entries);
    if let Some(row) = objects.first_mut().filter(|_| rows.is_empty()) {
        // This line alone says which issue the block is about.
        row.what = format!("{}: {}", row.subject, row.what);
        row.subject.clone_from(&first.reference);
    }
    rows.extend(objects);
    let explained = entries.iter().filter_map(|entry| entry.explained.clone());
    let explained: Vec<Explained> = explained.collect();
    let is_told = !rows.is_empty() || !explained.is_empty();
    is_told.then(|| Block {
        item: first.item,
        title: first.title.clone(),
        rows,
        explained,
    })
}

/// Returns the lines about Weaviate: what is new, what changes, and what waits.
fn objects(entries: &[&Entry]) -> Vec<Row> {
    let row = |subject: &str, what: String, why: &str| Row {
        subject: subject.to_owned(),
        what,
        why: why.to_owned(),
        is_minor: false,
    };
    let mut rows = Vec::new();
    let written: Vec<Written> = entries
        .iter()
        .flat_map(|entry| entry.objects.clone())
        .collect();
    for (change, subject, why) in [
        (Change::New, "+ Weaviate", ""),
        (Change::Updated, "Weaviate", "status updated"),
        (Change::Replaced, "Weaviate", "instead of what Agira wrote"),
    ] {
        let types = written.iter().filter(|one| one.change == change);
        let types: Vec<ObjectType> = types.map(|one| one.object_type).collect();
        if !types.is_empty() {
            rows.push(row(subject, named(&types), why));
        }
    }
    let waiting = entries.iter().map(|entry| entry.waiting).sum();
    if waiting > 0 {
        let verb = if waiting == 1 { "waits" } else { "wait" };
        let what = format!("{} {verb}", counted(waiting, "object"));
        rows.push(row("Weaviate", what, "until Weaviate answers"));
    }
    rows
}

/// Names objects, such as `item, 2 issues`.
fn named(types: &[ObjectType]) -> String {
    let names = [
        (ObjectType::Item, "item"),
        (ObjectType::GithubIssue, "issue"),
        (ObjectType::GithubPr, "pull request"),
    ];
    let named = names.iter().filter_map(|(object_type, name)| {
        let count = types.iter().filter(|one| *one == object_type).count() as u64;
        match count {
            0 => None,
            1 => Some((*name).to_owned()),
            _ => Some(counted(count, name)),
        }
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Groups the failures by their cause. `repositories` are failures of whole repositories, which
/// their mappings share.
pub(super) fn failures(entries: &[Entry], repositories: &[String]) -> Vec<Group> {
    let mut groups = Groups::default();
    for reason in repositories {
        groups.add(reason.clone(), reason.clone());
    }
    for entry in entries {
        if let Some(trouble) = entry.trouble.as_ref().filter(|one| one.is_failure) {
            let owner = repositories
                .iter()
                .find(|one| one.contains(&trouble.reason));
            let cause = owner.unwrap_or(&trouble.cause).clone();
            groups.add_member(cause, &trouble.reason, entry);
        }
    }
    groups.headed("failed")
}

/// Groups what is left to a later run by its reason.
pub(super) fn left(entries: &[Entry]) -> Vec<Group> {
    let mut groups = Groups::default();
    for entry in entries {
        if let Some(trouble) = entry.trouble.as_ref().filter(|one| !one.is_failure) {
            groups.add_member(trouble.cause.clone(), &trouble.reason, entry);
        }
    }
    groups.headed("left to a later run")
}

/// Groups in the order in which their causes came up.
#[derive(Default)]
struct Groups {
    places: BTreeMap<String, usize>,
    /// For each cause: the reason of its first member, the cause, and the members.
    all: Vec<(String, String, Vec<Member>)>,
}

impl Groups {
    fn add(&mut self, cause: String, reason: String) -> usize {
        let next = self.all.len();
        let place = *self.places.entry(cause.clone()).or_insert(next);
        if place == next {
            self.all.push((reason, cause, Vec::new()));
        }
        place
    }

    fn add_member(&mut self, cause: String, reason: &str, entry: &Entry) {
        let place = self.add(cause, reason.to_owned());
        if let Some((_, _, members)) = self.all.get_mut(place) {
            members.push(Member {
                item: entry.item,
                title: entry.title.clone(),
                reference: entry.reference.clone(),
                next: entry
                    .trouble
                    .as_ref()
                    .map_or_else(String::new, |one| one.next.clone()),
            });
        }
    }

    /// Returns the groups with headings that begin with a verb.
    fn headed(self, verb: &str) -> Vec<Group> {
        let groups = self.all.into_iter().map(|(reason, cause, members)| {
            let heading = match members.len() {
                0 | 1 => format!("{verb}: {reason}"),
                count => format!("{} {verb}: {cause}", number(count as u64)),
            };
            Group { heading, members }
        });
        groups.collect()
    }
}
