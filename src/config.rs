//! Where and who: the environment, read and checked once. Errors name the variable, never its value.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use reqwest::Url;
use zeroize::Zeroizing;

use crate::commands::{GithubLogin, Settings};
use crate::github::App;
use crate::secret::{Secret, warn_if_world_readable};

/// How a variable is looked up: the process's environment, or a test's.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The environment of this process.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// DATABASE_URL, once it is sure that what `SSL_CERT_FILE` names, by which its server may be judged, can serve.
///
/// # Errors
/// When it is not set, or a file cannot be read.
pub fn database_url(get: Lookup<'_>) -> anyhow::Result<Secret> {
    check_roots(get)?;
    secret(get, "DATABASE_URL")?
        .context("DATABASE_URL is not set; write it like postgresql://user:password@host/agira")
}

/// Reads all variables. Plain http leads to this machine only, unless it is allowed; then it is warned of.
///
/// # Errors
/// Names the variable and says what it should be.
pub fn settings(get: Lookup<'_>, allow_http: bool) -> anyhow::Result<Settings> {
    let database_url = database_url(get)?;
    let github_url =
        variable(get, "GITHUB_API_URL")?.unwrap_or_else(|| "https://api.github.com".to_owned());
    let github_url = address("GITHUB_API_URL", &github_url)?;
    let github_login = github_login(get)?;
    let weaviate_url = variable(get, "WEAVIATE_URL")?
        .context("WEAVIATE_URL is not set; write it like http://host:8080")?;
    let weaviate_url = address("WEAVIATE_URL", &weaviate_url)?;
    ensure!(
        weaviate_url.path() == "/",
        "WEAVIATE_URL has a path; give scheme, host and port only"
    );
    let weaviate_key = secret(get, "WEAVIATE_API_KEY")?;
    for (name, url) in [
        ("GITHUB_API_URL", &github_url),
        ("WEAVIATE_URL", &weaviate_url),
    ] {
        if url.scheme() == "http" && !is_loopback(url) {
            ensure!(
                allow_http,
                "{name} is plain http to another host, where the network can read and change everything; use https, or \
                 give --allow-http (AGIRA_WORKER_ALLOW_HTTP=true) where the network is private, as inside a cluster"
            );
            log::warn!(
                "{name} is plain http to another host: the network can read and change everything"
            );
        }
    }
    Ok(Settings {
        database_url,
        github_url: github_url.to_string(),
        github_login,
        weaviate_url: weaviate_url.to_string(),
        weaviate_key,
        retry: None,
    })
}

/// A token or a GitHub App.
fn github_login(get: Lookup<'_>) -> anyhow::Result<GithubLogin> {
    let token = secret(get, "GITHUB_TOKEN")?;
    let id = variable(get, "GITHUB_APP_ID")?;
    let installation = variable(get, "GITHUB_APP_INSTALLATION_ID")?;
    let key = secret(get, "GITHUB_APP_PRIVATE_KEY")?;
    let names_app = id.is_some() || installation.is_some() || key.is_some();
    if let Some(token) = token {
        ensure!(
            !names_app,
            "both GITHUB_TOKEN and variables of a GitHub App (GITHUB_APP_...) are set; set one of them"
        );
        return Ok(GithubLogin::Token(token));
    }
    ensure!(
        names_app,
        "GITHUB_TOKEN is not set; the token needs to read issues, pull requests and contents (for a GitHub App set \
         GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_FILE instead)"
    );
    let id = id.context("GITHUB_APP_ID is not set; it stands in the App's settings")?;
    let is_id = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    ensure!(
        is_id,
        "GITHUB_APP_ID is no App id; it is a number, or a client id like Iv1.0123456789abcdef"
    );
    let installation = installation.map(|id| id.parse()).transpose();
    let installation = installation
        .ok()
        .context("GITHUB_APP_INSTALLATION_ID is no number")?;
    let key = key.context(
        "GITHUB_APP_PRIVATE_KEY_FILE is not set; it names the file with the App's private key",
    )?;
    let app = App::new(&id, installation, key.expose()).with_context(|| {
        match get("GITHUB_APP_PRIVATE_KEY_FILE") {
            Some(path) if !path.is_empty() => {
                format!(
                    "{}, which GITHUB_APP_PRIVATE_KEY_FILE names, is not the App's private key",
                    path.display()
                )
            }
            _ => "GITHUB_APP_PRIVATE_KEY is not the App's private key".to_owned(),
        }
    })?;
    Ok(GithubLogin::App(Box::new(app)))
}

fn address(name: &str, value: &str) -> anyhow::Result<Url> {
    let url: Url = value.parse().map_err(|error| {
        anyhow::anyhow!("{name} is not an address: {error}; write it like https://host:port")
    })?;
    ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "{name} does not start with http:// or https://; write it like https://host:port"
    );
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "{name} has credentials in it; put them into the variable that is meant for them"
    );
    ensure!(
        url.query().is_none() && url.fragment().is_none(),
        "{name} has a query or a fragment; leave it away"
    );
    Ok(url)
}

/// The TLS library passes over a file that it cannot use, and then trusts nobody, without saying why.
fn check_roots(get: Lookup<'_>) -> anyhow::Result<()> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let name = "SSL_CERT_FILE";
    let Some(path) = variable(get, name)? else {
        return Ok(());
    };
    let content =
        std::fs::read(&path).with_context(|| format!("cannot read {path}, which {name} names"))?;
    let is_good = CertificateDer::pem_slice_iter(&content)
        .next()
        .is_some_and(|certificate| certificate.is_ok());
    ensure!(
        is_good,
        "{path}, which {name} names, holds no certificates in PEM form"
    );
    Ok(())
}

/// Whether requests to this address do not leave the machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// The value of a variable; empty counts as not set.
fn variable(get: Lookup<'_>, name: &str) -> anyhow::Result<Option<String>> {
    let value = get(name)
        .filter(|value| !value.is_empty())
        .map(OsString::into_string)
        .transpose();
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
            let content = std::fs::read_to_string(&path).map(Zeroizing::new);
            let content =
                content.with_context(|| format!("cannot read {path}, which {file_name} names"))?;
            let value = content.trim_end_matches(['\r', '\n']).to_owned();
            ensure!(
                !value.is_empty(),
                "{path}, which {file_name} names, is empty"
            );
            warn_if_world_readable(&file_name, Path::new(&path));
            value
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(Secret::new(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let get = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).into())
        };
        settings(&get, false)
    }

    const GOOD: [(&str, &str); 3] = [
        ("DATABASE_URL", "postgresql://me:hunter2@localhost/agira"),
        ("GITHUB_TOKEN", "tok-1234"),
        ("WEAVIATE_URL", "http://localhost:8080"),
    ];

    #[track_caller]
    fn check_error(changed: (&str, &str), expected: &str) {
        let mut vars: Vec<_> = GOOD
            .into_iter()
            .filter(|(name, _)| *name != changed.0)
            .collect();
        vars.push(changed);
        let error = format!("{:#}", read(&vars).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(
            !error.contains("tok-1234") && !error.contains("hunter2"),
            "{error}"
        );
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
        check_error(
            ("GITHUB_TOKEN_FILE", "/nonexistent/token"),
            "both GITHUB_TOKEN and GITHUB_TOKEN_FILE",
        );
        check_error(("WEAVIATE_URL", ""), "WEAVIATE_URL is not set");
        check_error(
            ("WEAVIATE_URL", "localhost:8080"),
            "WEAVIATE_URL does not start with http",
        );
        check_error(("WEAVIATE_URL", "host"), "WEAVIATE_URL is not an address");
        check_error(
            ("WEAVIATE_URL", "http://host/v1"),
            "WEAVIATE_URL has a path",
        );
        check_error(
            ("WEAVIATE_URL", "http://me:hunter2@host"),
            "WEAVIATE_URL has credentials",
        );
        check_error(
            ("GITHUB_API_URL", "ftp://host"),
            "GITHUB_API_URL does not start with http",
        );
        check_error(
            ("WEAVIATE_API_KEY_FILE", "/nonexistent/key"),
            "cannot read /nonexistent/key",
        );
    }

    #[test]
    fn plain_http_leads_to_this_machine_only_unless_it_is_allowed() {
        for host in [
            "host",
            "127.0.0.1.example",
            "localhost.example",
            "[2001:db8::1]",
            "10.0.0.1",
            "user.localhost",
        ] {
            for name in ["WEAVIATE_URL", "GITHUB_API_URL"] {
                check_error(
                    (name, &format!("http://{host}:1")),
                    "--allow-http (AGIRA_WORKER_ALLOW_HTTP=true)",
                );
            }
        }
        for url in [
            "http://localhost",
            "http://127.0.0.2:8080",
            "http://[::1]",
            "https://host",
        ] {
            read(&[GOOD[0], GOOD[1], ("WEAVIATE_URL", url)]).unwrap();
        }
        let get = |name: &str| match name {
            "WEAVIATE_URL" => Some("http://host".into()),
            _ => GOOD
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).into()),
        };
        super::settings(&get, true).unwrap();
    }

    #[test]
    fn a_variable_that_is_no_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let get = |name: &str| {
            (name == "DATABASE_URL").then(|| OsString::from_vec(b"postgresql://\xff".to_vec()))
        };
        let error = format!("{:#}", settings(&get, false).unwrap_err());
        assert_eq!(error, "DATABASE_URL is not UTF-8 text; set it anew");
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert!(!format!("{:?}", read(&GOOD).unwrap()).contains("tok-1234"));
    }
}
