//! The environment, and the boundary that text of strangers passes.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use agira_worker::core::closing_keyword;
use agira_worker::core::model::{Address, Repository};
use agira_worker::core::text::{Printable, printable_json, shortened, storable};
use agira_worker::{config, db};
use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret;

/// Variables, as a case names them by order. None of them names a file.
const VARIABLES: [&str; 7] = [
    "DATABASE_URL",
    "GITHUB_API_URL",
    "WEAVIATE_URL",
    "GITHUB_TOKEN",
    "GITHUB_APP_ID",
    "GITHUB_APP_INSTALLATION_ID",
    "GITHUB_APP_PRIVATE_KEY",
];
/// Stands in what no error may show.
const SENTINEL: &str = "hunter2";

fn environment(data: &[u8]) {
    let values = data
        .split(|byte| *byte == 0)
        .map(|value| OsString::from_vec(value.to_vec()));
    let variables: Vec<_> = VARIABLES.into_iter().zip(values).collect();
    let get = |name: &str| {
        variables
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.clone())
    };
    if let Err(error) = config::settings(&get, false) {
        assert!(
            !format!("{error:#}").contains(SENTINEL),
            "a value is shown: {error:#}"
        );
    }
    if let Ok(url) = config::database_url(&get)
        && let Err(error) = db::parameters(url.expose_secret())
    {
        assert!(
            !format!("{error:#}").contains(SENTINEL),
            "a value is shown: {error:#}"
        );
    }
}

fn boundary(text: &str) {
    let shown = Printable(text).to_string();
    assert!(!shown.chars().any(char::is_control));
    let told = serde_json::json!({ "text": text }).to_string();
    let printed = printable_json(&told);
    let read: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(read["text"].as_str(), Some(text));
    assert!(!printed.chars().any(char::is_control));
    assert!(shortened(text, 10).chars().count() <= 11);
    assert!(!storable(text.to_owned()).contains('\0'));
    let repository = Repository::parse("acme/shop").expect("a repository");
    let issue = Address {
        repository: repository.clone(),
        number: 1,
    };
    let url = "https://github.com/acme/shop/pull/3";
    closing_keyword::closes(text, &repository, url, &issue);
    if let Some(address) = Address::parse(text) {
        assert!(address.number > 0);
        assert_eq!(
            Repository::parse(address.repository.as_str()),
            Some(address.repository)
        );
    }
}

fuzz_target!(|data: &[u8]| {
    environment(data);
    boundary(&String::from_utf8_lossy(data));
});
