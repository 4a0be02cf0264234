//! Events beside the runs: on GitHub, by people, and in the services.

use kit::github::{Closer, Event, Fault, Github};
use kit::http::Response;
use kit::weaviate;

use super::steps::{History, Issue};

/// An event on GitHub.
type Happening = (String, Box<dyn FnOnce(&Github) + Send>);

const STATUSES: [&str; 6] = [
    "Inbox",
    "Backlog",
    "Working",
    "Testing",
    "ReadyForRelease",
    "Closed",
];

impl History<'_, '_> {
    /// Plays an event on GitHub, later than all earlier ones.
    pub(super) fn github(&mut self) -> Happening {
        let seconds = self.random.i64(1..60);
        self.world.pass_time(seconds);
        let at = self.world.at();
        let here: Vec<usize> = (0..self.issues.len())
            .filter(|index| !self.issues[*index].is_deleted)
            .collect();
        let index = here.get(self.random.usize(0..here.len().max(1))).copied();
        let pull = self.pulls[self.random.usize(0..self.pulls.len())].clone();
        let Some(index) = index else {
            return ("nothing".to_owned(), Box::new(|_| {}));
        };
        let key = self.issues[index].key.clone();
        match self.random.u32(0..16) {
            0..3 => (
                format!("{key} is closed or open again at {at}"),
                Box::new(move |github| toggle(github, &key, &at, Closer::Nobody)),
            ),
            3 => (
                format!("{key} is closed by a commit of {pull}, or open again at {at}"),
                Box::new(move |github| {
                    let mut is_merged = false;
                    github.pull_request(&pull, |one| is_merged = one.state == "MERGED");
                    let closer = match is_merged {
                        true => Closer::Commit(vec![pull]),
                        false => Closer::Nobody,
                    };
                    toggle(github, &key, &at, closer);
                }),
            ),
            4 | 5 => (
                format!("{pull} is merged at {at}"),
                Box::new(move |github| merge(github, &pull, &at)),
            ),
            6 => (
                format!("{pull} is closed at {at}"),
                Box::new(move |github| {
                    github.pull_request(&pull, |one| {
                        if one.state != "MERGED" {
                            one.state = if one.state == "OPEN" {
                                "CLOSED"
                            } else {
                                "OPEN"
                            };
                            one.updated_at = at;
                        }
                    });
                }),
            ),
            7..9 => (
                format!("{pull} is to close {key}, or is not any more"),
                Box::new(move |github| {
                    github.issue(&key, |issue| {
                        match issue.references.iter().position(|other| *other == pull) {
                            Some(position) => drop(issue.references.remove(position)),
                            None => issue.references.push(pull.clone()),
                        }
                    });
                    github.pull_request(&pull, |one| one.updated_at = at);
                }),
            ),
            9 => {
                let connects = self.random.bool();
                (
                    format!("{pull} is connected to {key}: {connects}"),
                    Box::new(move |github| {
                        github.issue(&key, |issue| {
                            issue.updated_at = at;
                            issue.timeline.push(if connects {
                                Event::Connected(pull)
                            } else {
                                Event::Disconnected(pull)
                            });
                        });
                    }),
                )
            }
            10 => {
                let says = self.random.bool();
                (
                    format!("{pull} names {key}; says that it closes it: {says}"),
                    Box::new(move |github| {
                        let body = if says {
                            format!("Fixes {key}")
                        } else {
                            format!("See {key}")
                        };
                        github.pull_request(&pull, |one| {
                            (one.body, one.updated_at) = (body, at.clone())
                        });
                        github.issue(&key, |issue| {
                            issue.updated_at = at;
                            issue.timeline.push(Event::CrossReferenced {
                                source: pull,
                                will_close: false,
                            });
                        });
                    }),
                )
            }
            11 => (
                format!("{key} gets another title"),
                Box::new(move |github| {
                    github.issue(&key, |issue| {
                        (issue.title, issue.updated_at) = (format!("As of {at}"), at)
                    });
                }),
            ),
            12 => {
                let number = self.next();
                let home = self.repositories[self.random.usize(0..self.repositories.len())].clone();
                let new = format!("{home}#{number}");
                self.pulls.push(new.clone());
                (
                    format!("{new} is opened, and closes {key}"),
                    Box::new(move |github| {
                        github.pull_request(&new, |one| one.updated_at = at);
                        github.issue(&key, |issue| issue.references.push(new));
                    }),
                )
            }
            13 => {
                self.issues[index].is_deleted = true;
                (
                    format!("{key} is deleted"),
                    Box::new(move |github| github.delete(&key)),
                )
            }
            14 => {
                let number = self.next();
                let home = self.repositories[self.random.usize(0..self.repositories.len())].clone();
                let new = format!("{home}#{number}");
                self.issues[index].key = new.clone();
                (
                    format!("{key} is transferred to {new}"),
                    Box::new(move |github| {
                        github.transfer(&key, &new);
                        github.issue(&new, |issue| issue.updated_at = at);
                    }),
                )
            }
            _ => {
                let (name, shows) = (
                    self.repositories[self.random.usize(0..self.repositories.len())].clone(),
                    self.random.bool(),
                );
                (
                    format!("{name} can be seen: {shows}"),
                    Box::new(move |github| match shows {
                        true => github.show_repository(&name),
                        false => github.hide_repository(&name),
                    }),
                )
            }
        }
    }

    /// Returns an action of people in Agira, as SQL.
    pub(super) fn people(&mut self) -> String {
        let index = self.random.usize(0..self.issues.len());
        let item = self.random.i64(1..=3);
        let Issue {
            key,
            mapping,
            is_deleted,
            ..
        } = &self.issues[index];
        let (repository, number) = crate::harness::split(key);
        match (self.random.u32(0..8), *mapping) {
            (0, Some(mapping)) => {
                let state = if self.random.bool() { "open" } else { "closed" };
                format!("UPDATE core_externalissuemapping SET state = '{state}' WHERE id = {mapping}")
            }
            (1, Some(mapping)) => {
                self.issues[index].mapping = None;
                format!("DELETE FROM core_externalissuemapping WHERE id = {mapping}")
            }
            (1 | 2, None) if !is_deleted => self.link(index),
            (2, Some(mapping)) => format!(
                "UPDATE core_externalissuemapping SET number = {number},
                    html_url = 'https://github.com/{repository}/issues/{number}' WHERE id = {mapping}"
            ),
            (3, Some(mapping)) => {
                self.issues[index].item = item;
                format!("UPDATE core_externalissuemapping SET item_id = {item} WHERE id = {mapping}")
            }
            (4, _) => format!("UPDATE core_item SET title = 'Another', updated_at = now() WHERE id = {item}"),
            _ => {
                let status = STATUSES[self.random.usize(0..STATUSES.len())];
                format!("UPDATE core_item SET status = '{status}', updated_at = now() WHERE id = {item}")
            }
        }
    }

    /// Breaks a service, or repairs it.
    pub(super) fn services(&mut self) {
        self.is_well = false;
        let count = self.random.usize(1..5);
        let html = Response {
            body: b"<html>a proxy</html>".to_vec(),
            ..Response::empty(200)
        };
        let limit = |status: u16| {
            Response::json(
                status,
                &serde_json::json!({ "message": "secondary rate limit" }),
            )
        };
        let github = |response: Response| Fault::Answer(response);
        let (github, weaviate) = (
            [
                github(Response::empty(502)),
                github(html),
                github(limit(403)),
                github(limit(429).header("retry-after", "120")),
                github(Response::json(200, &serde_json::json!({ "data": null }))),
                github(Response::json(
                    401,
                    &serde_json::json!({ "message": "Bad credentials" }),
                )),
            ],
            [
                weaviate::Fault::Status(500, "it broke".to_owned()),
                weaviate::Fault::Html,
                weaviate::Fault::LoseAnswer,
                weaviate::Fault::Status(429, "slow down".to_owned()),
            ],
        );
        match self.random.u32(0..8) {
            0..3 => {
                let fault = &github[self.random.usize(0..github.len())];
                self.tell(format!(
                    "the next {count} requests to GitHub fail: {fault:?}"
                ));
                self.world.github.fail_next(count, fault);
            }
            3 => {
                let points = self.random.i64(0..6);
                self.tell(format!("GitHub has {points} points left"));
                self.world.github.settings().points = points;
            }
            4 => {
                self.tell("Weaviate's key or the service is broken for the time being".to_owned());
                self.world.weaviate.settings().down = true;
            }
            5 => {
                let ids: Vec<String> = self.world.weaviate.objects().into_keys().collect();
                if let Some(id) = self.random.choice(ids) {
                    self.tell(format!("Weaviate loses {id}, and takes it no more"));
                    self.world.weaviate.delete_object(&id);
                    self.world.weaviate.reject_object(&id, "vectorizing failed");
                }
            }
            6 => {
                let fault = &weaviate[self.random.usize(0..weaviate.len())];
                self.tell(format!(
                    "the next {count} requests to Weaviate fail: {fault:?}"
                ));
                self.world.weaviate.fail_next(count, fault);
            }
            _ => self.recover(),
        }
    }
}

fn toggle(github: &Github, key: &str, at: &str, closer: Closer) {
    let mut is_open = true;
    github.issue(key, |issue| is_open = issue.state == "OPEN");
    match is_open {
        true => github.close_by(key, at, "COMPLETED", closer),
        false => github.reopen(key, at),
    }
}

/// Merges a pull request, unless it is closed or merged already.
fn merge(github: &Github, pull: &str, at: &str) {
    let mut is_open = false;
    github.pull_request(pull, |one| is_open = one.state == "OPEN");
    if is_open {
        github.merge(pull, at);
    }
}
