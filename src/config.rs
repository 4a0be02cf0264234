//! Where and who: the environment, read and checked once. Errors name the variable, never its value.

use std::ffi::OsString;

use anyhow::{Context, bail, ensure};
use reqwest::Url;

use crate::commands::{Secret, Settings};

/// How a variable is looked up: the process's environment, or a test's.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The environment of this process.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// DATABASE_URL.
///
/// # Errors
/// When it is not set, or its file cannot be read.
pub fn database_url(get: Lookup<'_>) -> anyhow::Result<Secret> {
    secret(get, "DATABASE_URL")?.context("DATABASE_URL is not set; write it like postgresql://user:password@host/agira")
}

/// Reads all variables.
///
/// # Errors
/// Names the variable and says what it should be.
pub fn settings(get: Lookup<'_>) -> anyhow::Result<Settings> {
    let database_url = database_url(get)?;
    let github_url = variable(get, "GITHUB_API_URL")?.unwrap_or_else(|| "https://api.github.com".to_owned());
    let github_url = address("GITHUB_API_URL", &github_url)?;
    let github_token = secret(get, "GITHUB_TOKEN")?
        .context("GITHUB_TOKEN is not set; the token needs to read issues, pull requests and contents")?;
    let weaviate_url =
        variable(get, "WEAVIATE_URL")?.context("WEAVIATE_URL is not set; write it like http://host:8080")?;
    let weaviate_url = address("WEAVIATE_URL", &weaviate_url)?;
    ensure!(weaviate_url.path() == "/", "WEAVIATE_URL has a path; give scheme, host and port only");
    let weaviate_key = secret(get, "WEAVIATE_API_KEY")?;
    Ok(Settings {
        database_url,
        github_url: github_url.to_string(),
        github_token,
        weaviate_url: weaviate_url.to_string(),
        weaviate_key,
        patience: Default::default(),
    })
}

fn address(name: &str, value: &str) -> anyhow::Result<Url> {
    let url: Url = value
        .parse()
        .map_err(|error| anyhow::anyhow!("{name} is not an address: {error}; write it like https://host:port"))?;
    ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "{name} does not start with http:// or https://; write it like https://host:port"
    );
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "{name} has credentials in it; put them into the variable that is meant for them"
    );
    ensure!(url.query().is_none() && url.fragment().is_none(), "{name} has a query or a fragment; leave it away");
    Ok(url)
}

/// The value of a variable; empty counts as not set.
fn variable(get: Lookup<'_>, name: &str) -> anyhow::Result<Option<String>> {
    let value = get(name).filter(|value| !value.is_empty()).map(OsString::into_string).transpose();
    value.map_err(|_| anyhow::anyhow!("{name} is not UTF-8 text; set it anew"))
}

/// A secret from `NAME`, or from the file that `NAME_FILE` names; empty counts as not set.
fn secret(get: Lookup<'_>, name: &str) -> anyhow::Result<Option<Secret>> {
    let file_name = format!("{name}_FILE");
    let direct = variable(get, name)?;
    let file = variable(get, &file_name)?;
    let value = match (direct, file) {
        (Some(_), Some(_)) => bail!("both {name} and {file_name} are set; set one of them"),
        (Some(value), None) => value,
        (None, Some(path)) => {
            let content = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {path}, which {file_name} names"))?;
            let value = content.trim_end_matches(['\r', '\n']).to_owned();
            ensure!(!value.is_empty(), "{path}, which {file_name} names, is empty");
            value
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(Secret(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let get = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        settings(&get)
    }

    const GOOD: [(&str, &str); 3] = [
        ("DATABASE_URL", "postgresql://me:hunter2@localhost/agira"),
        ("GITHUB_TOKEN", "tok-1234"),
        ("WEAVIATE_URL", "http://localhost:8080"),
    ];

    #[track_caller]
    fn check_error(changed: (&str, &str), expected: &str) {
        let mut vars: Vec<_> = GOOD.into_iter().filter(|(name, _)| *name != changed.0).collect();
        vars.push(changed);
        let error = format!("{:#}", read(&vars).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("tok-1234") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn defaults_are_githubs() {
        let settings = read(&GOOD).unwrap();
        assert_eq!(settings.github_url, "https://api.github.com/");
        assert!(settings.weaviate_key.is_none());
    }

    #[test]
    fn every_bad_variable_is_named() {
        check_error(("DATABASE_URL", ""), "DATABASE_URL is not set");
        check_error(("GITHUB_TOKEN", ""), "GITHUB_TOKEN is not set");
        check_error(("GITHUB_TOKEN_FILE", "/nonexistent/token"), "both GITHUB_TOKEN and GITHUB_TOKEN_FILE");
        check_error(("WEAVIATE_URL", ""), "WEAVIATE_URL is not set");
        check_error(("WEAVIATE_URL", "localhost:8080"), "WEAVIATE_URL does not start with http");
        check_error(("WEAVIATE_URL", "host"), "WEAVIATE_URL is not an address");
        check_error(("WEAVIATE_URL", "http://host/v1"), "WEAVIATE_URL has a path");
        check_error(("WEAVIATE_URL", "http://me:hunter2@host"), "WEAVIATE_URL has credentials");
        check_error(("GITHUB_API_URL", "ftp://host"), "GITHUB_API_URL does not start with http");
        check_error(("WEAVIATE_API_KEY_FILE", "/nonexistent/key"), "cannot read /nonexistent/key");
    }

    #[test]
    fn a_variable_that_is_no_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let get = |name: &str| (name == "DATABASE_URL").then(|| OsString::from_vec(b"postgresql://\xff".to_vec()));
        let error = format!("{:#}", settings(&get).unwrap_err());
        assert_eq!(error, "DATABASE_URL is not UTF-8 text; set it anew");
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert!(!format!("{:?}", read(&GOOD).unwrap()).contains("tok-1234"));
    }
}
