//! The requests of the known per-mapping design, to compare with: for every mapping of an issue its issue, a page of its
//! timeline and every pull request named there from GitHub, then a PUT per object to Weaviate (a POST where it is
//! missing), each on a connection of its own.
//!
//! Only the requests are issued: of the database nothing is asked but the addresses, and no connection is encrypted. Both
//! is in this design's favour.
//!
//! Usage: `baseline`, with the environment of agira-worker.

use kit::github::TOKEN;
use postgres::NoTls;
use serde_json::{Value, json};
use uuid::Uuid;

fn main() {
    let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (github, weaviate) = (given("GITHUB_API_URL"), given("WEAVIATE_URL"));
    let mut database =
        postgres::Client::connect(&given("DATABASE_URL"), NoTls).expect("PostgreSQL");
    let sql =
        "SELECT number, html_url FROM core_externalissuemapping WHERE kind = 'Issue' ORDER BY id";
    for row in database.query(sql, &[]).expect("the mappings") {
        let (number, url): (i32, &str) = (row.get(0), row.get(1));
        let repository = url
            .strip_prefix("https://github.com/")
            .and_then(|rest| rest.split_once("/issues/"));
        let (repository, _) = repository.expect("the address of an issue");
        let issue = get(&format!("{github}/repos/{repository}/issues/{number}"));
        put(&weaviate, "github_issue", &issue);
        let timeline = get(&format!(
            "{github}/repos/{repository}/issues/{number}/timeline?per_page=100"
        ));
        for event in timeline.as_array().expect("a page of events") {
            let source = &event["source"]["issue"];
            if source["pull_request"].is_object() {
                put(
                    &weaviate,
                    "github_pr",
                    &get(&format!(
                        "{github}/repos/{repository}/pulls/{}",
                        source["number"]
                    )),
                );
            }
        }
    }
}

/// A client without any connection yet.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent("baseline")
        .build()
        .new_agent()
}

fn get(url: &str) -> Value {
    let answer = agent()
        .get(url)
        .header("authorization", format!("Bearer {TOKEN}"))
        .call();
    let mut answer = answer.expect("GitHub answers");
    assert_eq!(answer.status().as_u16(), 200, "{url}");
    serde_json::from_str(
        &answer
            .body_mut()
            .read_to_string()
            .expect("an answer to its end"),
    )
    .expect("JSON")
}

/// Writes the object of an issue or pull request.
fn put(weaviate: &str, kind: &str, shown: &Value) {
    let id = Uuid::new_v5(
        &Uuid::NAMESPACE_URL,
        format!("{kind}:{}", shown["id"]).as_bytes(),
    );
    let properties = json!({
        "type": kind, "object_id": shown["id"].to_string(), "title": shown["title"], "text": shown["body"],
        "status": shown["state"], "url": shown["html_url"],
    });
    let object = json!({ "class": "AgiraObject", "id": id.to_string(), "properties": properties })
        .to_string();
    let (one, all) = (
        format!("{weaviate}/v1/objects/AgiraObject/{id}"),
        format!("{weaviate}/v1/objects"),
    );
    let write = |request: ureq::RequestBuilder<ureq::typestate::WithBody>| {
        let answer = request
            .header("content-type", "application/json")
            .send(&object);
        answer.expect("Weaviate answers").status().as_u16()
    };
    if write(agent().put(&one)) == 404 {
        assert_eq!(write(agent().post(&all)), 200, "{all}");
    }
}
