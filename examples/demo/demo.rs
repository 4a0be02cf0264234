//! Tells the story of `examples/demo.sh`: a small Agira, a GitHub and a Weaviate, and agira-worker between them.
//!
//! Usage: `demo PATH_OF_AGIRA_WORKER`. Everything runs on loopback and disappears with this process.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use chrono::{SecondsFormat, Utc};
use kit::agira::{self, NewItem};
use kit::github::{Closer, Github, TOKEN};
use kit::postgres_server::Database;
use kit::weaviate::Weaviate;
use postgres::Client;

const CLOSED_AT: &str = "2026-03-01T10:00:00Z";

fn main() -> ExitCode {
    let Some(program) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: demo PATH_OF_AGIRA_WORKER");
        return ExitCode::from(2);
    };
    let story = Story::begin(program);
    match story.tell() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The services of the story, and a record of whether everything went as expected.
struct Story {
    program: PathBuf,
    database: Database,
    client: Client,
    github: Github,
    weaviate: Weaviate,
    as_told: bool,
}

impl Story {
    fn begin(program: PathBuf) -> Self {
        say("Starting a throwaway PostgreSQL, a GitHub and a Weaviate, on loopback");
        let database = Database::create();
        let client = database.client();
        let weaviate = Weaviate::start();
        let what = if weaviate.real().is_some() {
            "a real server"
        } else {
            "a simulator"
        };
        println!("\n  PostgreSQL is a real server, GitHub is a simulator, and Weaviate is {what}.");
        Self {
            program,
            database,
            client,
            github: Github::start(),
            weaviate,
            as_told: true,
        }
    }

    fn tell(mut self) -> bool {
        say("A small Agira: seven items, each linked to a GitHub issue");
        let (cart, dark_mode) = self.seed();
        self.show_items();

        say(
            "What would a run do? A dry run changes nothing. A mapping is Agira's row for an issue or a pull request",
        );
        self.run(&["sync", "--dry-run"], 3);

        say(
            "The run itself. One issue was deleted on GitHub: that is reported (exit code 3) and stops nobody else",
        );
        self.run(&["sync"], 3);
        self.show_items();
        println!(
            "\n  Weaviate now holds {} objects.",
            self.weaviate.objects().len()
        );
        self.expect(self.weaviate.objects().len() == 14);

        say("Is everything all right? Two of the nine mappings are pull requests");
        self.run(&["status"], 0);

        say("A second run asks GitHub once what changed, and has nothing to do");
        let before = self.database.dump("worker_");
        self.run(&["sync"], 0);
        self.expect(self.database.dump("worker_") == before);

        say(
            "A developer closes the issue about the dark mode, in GitHub: the next run moves its item",
        );
        self.github.close(
            "acme/shop#14",
            &Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        );
        self.run(&["sync"], 0);
        let status = agira::item_status(&mut self.client, dark_mode);
        self.expect(status == "Testing");

        say("A tester finds that the cart still loses items, and moves item 1 back to Working");
        agira::person_sets_status(&mut self.client, cart, "Working");

        say(
            "A recheck leaves the item where the person put it, although the issue is still closed",
        );
        self.run(&["sync", "--recheck-now"], 0);
        self.show_items();
        let status = agira::item_status(&mut self.client, cart);
        self.expect(status == "Working");

        if self.as_told {
            say("That is all. README.md (Install) has the steps for your own Agira");
        } else {
            say("THE STORY DID NOT GO AS TOLD: see above");
        }
        self.as_told
    }

    /// Fills Agira and GitHub. Returns the items about the cart and about the dark mode.
    fn seed(&mut self) -> (i64, i64) {
        let shop = agira::project(&mut self.client, "Shop", "acme", "shop");
        let backend = agira::project(&mut self.client, "Backend", "acme", "backend");
        let docs = agira::project(&mut self.client, "Docs", "acme", "docs");
        let cart = self.item(shop, "Cart loses items", "Working", "acme/shop#12");
        self.item(shop, "Cart total is wrong", "Working", "acme/shop#13");
        let dark_mode = self.item(shop, "Dark mode", "Backlog", "acme/shop#14");
        self.item(shop, "Login times out", "Working", "acme/shop#16");
        self.item(backend, "Export orders as CSV", "Review", "acme/backend#3");
        self.item(
            docs,
            "Typo on the start page",
            "ReadyForRelease",
            "acme/docs#2",
        );
        self.item(shop, "Import from the old shop", "Working", "acme/shop#9");

        let github = &self.github;
        github.pull_request("acme/shop#15", |pull_request| {
            pull_request.title = "Keep the cart in the session".to_owned();
            pull_request.body = "Fixes #12, fixes #13".to_owned();
            pull_request.files = vec!["src/cart.rs".to_owned(), "tests/cart.rs".to_owned()];
            pull_request.commits = vec![
                "Keep the cart in the session".to_owned(),
                "Round once, at the end".to_owned(),
            ];
        });
        for key in ["acme/shop#12", "acme/shop#13"] {
            github.issue(key, |issue| {
                issue.references = vec!["acme/shop#15".to_owned()]
            });
        }
        github.merge("acme/shop#15", CLOSED_AT);
        github.pull_request("acme/backend#7", |pull_request| {
            pull_request.title = "Answer logins within a second".to_owned();
        });
        github.merge("acme/backend#7", CLOSED_AT);
        let closer = Closer::PullRequest("acme/backend#7".to_owned());
        github.close_by("acme/shop#16", CLOSED_AT, "COMPLETED", closer);
        github.close("acme/backend#3", CLOSED_AT);
        github.reopen("acme/backend#3", "2026-03-02T10:00:00Z");
        github.close("acme/docs#2", CLOSED_AT);
        github.delete("acme/shop#9");
        (cart, dark_mode)
    }

    fn item(&mut self, project: i64, title: &str, status: &str, key: &str) -> i64 {
        let github_id = self
            .github
            .issue(key, |issue| issue.title = title.to_owned());
        let new = NewItem {
            title: title.to_owned(),
            status: status.to_owned(),
            ..NewItem::default()
        };
        let item = agira::insert_item(&mut self.client, project, &new);
        let (repository, number) = key.split_once('#').expect("owner/name#number");
        agira::issue(
            &mut self.client,
            item,
            github_id,
            repository,
            number.parse().expect("a number"),
            "open",
        );
        item
    }

    fn show_items(&mut self) {
        let rows = self.client.query(
            "SELECT i.id, i.title, i.status, string_agg(
                replace(replace(regexp_replace(l.url, '^https://github.com/', ''), '/issues/', '#'), '/pull/', '#')
                    || ' ' || l.state, ', ' ORDER BY l.kind, l.id)
             FROM core_item i CROSS JOIN LATERAL (
                 SELECT m.id, m.kind, m.state, m.html_url AS url FROM core_externalissuemapping m WHERE m.item_id = i.id
                 UNION
                 SELECT m.id, m.kind, m.state, m.html_url FROM core_externalissuemapping m
                 JOIN worker_pull_request_link l USING (github_id) WHERE l.item_id = i.id) l
             GROUP BY i.id ORDER BY i.id",
            &[],
        );
        println!("\n  {:<5}{:<27}{:<17}linked", "item", "title", "status");
        for row in rows.expect("the items") {
            let (id, title, status, linked): (i64, &str, &str, &str) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            println!("  {id:<5}{title:<27}{status:<17}{linked}");
        }
    }

    fn run(&mut self, args: &[&str], expected: i32) {
        println!("\n$ agira-worker {}", args.join(" "));
        let status = Command::new(&self.program)
            .args(args)
            .env("DATABASE_URL", self.database.worker_url())
            .env("GITHUB_API_URL", self.github.url())
            .env("GITHUB_TOKEN", TOKEN)
            .env("WEAVIATE_URL", self.weaviate.url())
            .env_remove("WEAVIATE_API_KEY")
            .status();
        let code = status.expect("agira-worker starts").code();
        println!("(exit code {})", code.unwrap_or(-1));
        self.expect(code == Some(expected));
    }

    #[track_caller]
    fn expect(&mut self, is_as_told: bool) {
        if !is_as_told {
            println!("!! not as told, {}", std::panic::Location::caller());
            self.as_told = false;
        }
    }
}

fn say(line: &str) {
    println!("\n== {line}");
}
