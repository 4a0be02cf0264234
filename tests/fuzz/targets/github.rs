//! GitHub's answers to looks, polls and what an App asks: whatever they are, they become snapshots, changes or errors.
#![no_main]

use std::sync::LazyLock;

use agira_worker::core::model::{Address, Kind, Repository, Snapshot};
use agira_worker::github::{App, Github, Poll};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use fuzz::{PATIENCE, Service};
use libfuzzer_sys::fuzz_target;

static SERVICE: LazyLock<Service> = LazyLock::new(Service::start);

/// A key that belongs to nothing.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key pair");
    pem::encode(&pem::Pem::new(
        "PRIVATE KEY",
        pair.as_der().expect("an encoding").as_ref(),
    ))
});

fn check(snapshot: &Snapshot) {
    let texts = [&snapshot.title, &snapshot.body, &snapshot.url]
        .into_iter()
        .chain(&snapshot.labels);
    assert!(
        texts.into_iter().all(|text| !text.contains('\0')),
        "PostgreSQL cannot store it"
    );
}

fn ask(client: impl Fn() -> Github, data: &[u8]) {
    let repository = Repository::parse("acme/shop").expect("a repository");
    let targets = [(1, Kind::Issue), (2, Kind::PullRequest)].map(|(number, kind)| {
        let repository = repository.clone();
        (Address { repository, number }, kind)
    });
    SERVICE.answer(data);
    let looks = client().fetch(&targets, &|_| {});
    assert!(looks.answers.iter().all(Option::is_some) || looks.ended_by.is_some());
    for look in looks.answers.into_iter().flatten() {
        match look {
            Ok(snapshot) => check(&snapshot),
            Err(error) => assert!(!error.message.is_empty()),
        }
    }
    SERVICE.answer(data);
    let since = "2026-01-01T00:00:00Z".parse().expect("a time");
    let poll = Poll {
        repository,
        issues_since: since,
        pull_requests_since: since,
        closing_after: since,
    };
    assert_eq!(client().poll(&[poll]).answers.len(), 1);
}

fuzz_target!(|data: &[u8]| {
    // To sign takes its time.
    if data.windows(10).any(|part| part == b"expires_at") {
        let app = || App::new("1", None, &KEY).expect("an App");
        ask(
            || {
                Github::with_app(&SERVICE.url, app())
                    .expect("a client")
                    .with_timeouts(PATIENCE)
            },
            data,
        );
    } else {
        ask(
            || {
                Github::new(&SERVICE.url, "token")
                    .expect("a client")
                    .with_timeouts(PATIENCE)
            },
            data,
        );
    }
});
