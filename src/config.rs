//! The settings in the environment, read and checked once. Errors name the variable, never its
//! value.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::github::App;
use crate::secret::warn_if_world_readable;

/// The variables that this module reads.
#[rustfmt::skip]
pub(crate) const VARIABLES: [&str; 13] = [
    "DATABASE_URL", "DATABASE_URL_FILE", "GITHUB_TOKEN", "GITHUB_TOKEN_FILE", "GITHUB_APP_ID",
    "GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_PRIVATE_KEY_FILE", "GITHUB_APP_INSTALLATION_ID",
    "GITHUB_API_URL", "WEAVIATE_URL", "WEAVIATE_API_KEY", "WEAVIATE_API_KEY_FILE", "SSL_CERT_FILE",
];

/// Addresses of the database and the services, with the credentials for them.
#[derive(Debug)]
pub struct Settings {
    /// `DATABASE_URL`.
    pub database_url: SecretString,
    /// Address of GitHub and the credentials for it.
    pub github: GithubSettings,
    /// Address of Weaviate and the key for it.
    pub weaviate: WeaviateSettings,
}

/// Address of GitHub and the credentials for it.
#[derive(Debug)]
pub struct GithubSettings {
    /// `GITHUB_API_URL`.
    pub url: String,
    /// `GITHUB_TOKEN`, or the variables of a GitHub App.
    pub login: GithubLogin,
}

/// Address of Weaviate and the key for it.
#[derive(Debug)]
pub struct WeaviateSettings {
    /// `WEAVIATE_URL`.
    pub url: String,
    /// `WEAVIATE_API_KEY`.
    pub key: Option<SecretString>,
}

/// Credentials for GitHub.
#[derive(Debug)]
pub enum GithubLogin {
    /// `GITHUB_TOKEN`.
    Token(SecretString),
    /// `GITHUB_APP_ID` and the variables that belong to it.
    App(Box<App>),
}

/// Function that returns the value of a variable; tests have an environment of their own.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Looks up a variable in the environment of this process.
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Returns `DATABASE_URL`. It also fails if `SSL_CERT_FILE` names a file without certificates.
pub fn database_url(get: Lookup<'_>) -> anyhow::Result<SecretString> {
    check_roots(get)?;
    let url = secret(get, "DATABASE_URL")?;
    let url = url.context(
        "DATABASE_URL is not set (nor DATABASE_URL_FILE, which names a file that holds it); \
         write it like postgresql://user:password@host/agira",
    )?;
    let is_address = url.expose_secret().contains(['/', '=']);
    ensure!(
        is_address,
        "{} is not a PostgreSQL address; write it like postgresql://user:password@host/agira",
        place(get, "DATABASE_URL")
    );
    Ok(url)
}

/// Reads all variables; an error names everything that is missing or wrong. Plain http to another
/// machine is an error, or only a warning if `allow_http` is set.
pub fn settings(get: Lookup<'_>, allow_http: bool) -> anyhow::Result<Settings> {
    match (
        database_url(get),
        github(get, allow_http),
        weaviate(get, allow_http),
    ) {
        (Ok(database_url), Ok(github), Ok(weaviate)) => Ok(Settings {
            database_url,
            github,
            weaviate,
        }),
        (database_url, github, weaviate) => {
            let errors = [database_url.err(), github.err(), weaviate.err()];
            Err(joined(errors.into_iter().flatten()))
        }
    }
}

/// Several sentences about variables, which one error holds.
#[derive(Debug)]
struct Sentences(Vec<String>);

impl fmt::Display for Sentences {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbered = (1..).zip(&self.0).map(|(n, text)| format!("({n}) {text}"));
        out.write_str(&numbered.collect::<Vec<_>>().join(" "))
    }
}

/// Returns one error with the sentences of all, numbered if there are several.
fn joined(errors: impl Iterator<Item = anyhow::Error>) -> anyhow::Error {
    let sentences = |error: anyhow::Error| match error.downcast::<Sentences>() {
        Ok(Sentences(several)) => several,
        Err(error) => vec![format!("{error:#}")],
    };
    let mut all: Vec<String> = errors.flat_map(sentences).collect();
    match all.len() {
        1 => anyhow::Error::msg(all.swap_remove(0)),
        _ => anyhow::Error::msg(Sentences(all)),
    }
}

/// Reads the variables about GitHub.
pub fn github(get: Lookup<'_>, allow_http: bool) -> anyhow::Result<GithubSettings> {
    let name = "GITHUB_API_URL";
    let url = variable(get, name).and_then(|url| {
        let url = url.unwrap_or_else(|| "https://api.github.com".to_owned());
        let url = address(name, &url)?;
        check_plain(name, &url, allow_http)?;
        Ok(url)
    });
    match (url, github_login(get)) {
        (Ok(url), Ok(login)) => Ok(GithubSettings {
            url: url.to_string(),
            login,
        }),
        (url, login) => Err(joined([url.err(), login.err()].into_iter().flatten())),
    }
}

/// Reads the variables about Weaviate.
pub fn weaviate(get: Lookup<'_>, allow_http: bool) -> anyhow::Result<WeaviateSettings> {
    let name = "WEAVIATE_URL";
    let url = variable(get, name)?.with_context(|| {
        format!("{name} is not set; write it like https://host or http://127.0.0.1:8080")
    })?;
    let url = address(name, &url)?;
    ensure!(
        url.path() == "/",
        "{name} has a path; it must have scheme, host and port only"
    );
    check_plain(name, &url, allow_http)?;
    Ok(WeaviateSettings {
        url: url.to_string(),
        key: secret(get, "WEAVIATE_API_KEY")?,
    })
}

fn github_login(get: Lookup<'_>) -> anyhow::Result<GithubLogin> {
    let token = secret(get, "GITHUB_TOKEN")?;
    let id = variable(get, "GITHUB_APP_ID")?;
    let installation = variable(get, "GITHUB_APP_INSTALLATION_ID")?;
    let key = secret(get, "GITHUB_APP_PRIVATE_KEY")?;
    let names_app = id.is_some() || installation.is_some() || key.is_some();
    if let Some(token) = token {
        ensure!(
            !names_app,
            "both GITHUB_TOKEN and variables of a GitHub App (GITHUB_APP_...) are set; set only one of them"
        );
        // Another secret in its place, such as DATABASE_URL, must not be sent to GitHub.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        ensure!(
            token.expose_secret().bytes().all(fits),
            "{} holds a character that no GitHub token has, so it may be another secret; set it again",
            place(get, "GITHUB_TOKEN")
        );
        return Ok(GithubLogin::Token(token));
    }
    ensure!(
        names_app,
        "GITHUB_TOKEN is not set (nor GITHUB_TOKEN_FILE); the token needs to read issues, pull requests and contents (for a GitHub App set \
         GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_FILE instead)"
    );
    let (id, key) = match (id, key) {
        (Some(id), Some(key)) => (id, key),
        (id, key) => {
            let id = id
                .is_none()
                .then_some("GITHUB_APP_ID is not set; you find it in the App's settings");
            let key = key.is_none().then_some(
                "GITHUB_APP_PRIVATE_KEY_FILE is not set; it names the file with the App's private key",
            );
            return Err(joined(
                [id, key].into_iter().flatten().map(anyhow::Error::msg),
            ));
        }
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    ensure!(
        id.bytes().all(fits),
        "GITHUB_APP_ID is not an App id; it is a number, or a client id like Iv1.0123456789abcdef"
    );
    let installation = installation.map(|id| id.parse()).transpose().ok();
    let installation = installation.context("GITHUB_APP_INSTALLATION_ID is not a number")?;
    let app = App::new(&id, installation, key.expose_secret()).with_context(|| {
        let place = place(get, "GITHUB_APP_PRIVATE_KEY");
        format!("{place} is not the App's private key")
    })?;
    Ok(GithubLogin::App(Box::new(app)))
}

fn address(name: &str, value: &str) -> anyhow::Result<Url> {
    let url: Url = value.parse().map_err(|error| {
        anyhow::anyhow!("{name} is not an address that begins with http:// or https:// ({error}); write it like https://host:port")
    })?;
    ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "{name} does not start with http:// or https://; write it like https://host:port"
    );
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "{name} must not have credentials; put them into their own variable"
    );
    ensure!(
        url.query().is_none() && url.fragment().is_none(),
        "{name} must not have a query or a fragment"
    );
    Ok(url)
}

/// Fails if the address is plain http to another machine; warns if that is allowed.
fn check_plain(name: &str, url: &Url, allow_http: bool) -> anyhow::Result<()> {
    if url.scheme() == "http" && !is_loopback(url) {
        ensure!(
            allow_http,
            "{name} is plain http to another host, so that the network can read and change everything; use https, or \
             set --allow-http (AGIRA_WORKER_ALLOW_HTTP=true) if the network is private, as inside a cluster"
        );
        log::warn!(
            "{name} is plain http to another host: the network can read and change everything"
        );
    }
    Ok(())
}

/// Fails if `SSL_CERT_FILE` has no certificate: the TLS library would silently ignore such a file
/// and trust no server.
fn check_roots(get: Lookup<'_>) -> anyhow::Result<()> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let name = "SSL_CERT_FILE";
    let Some(path) = variable(get, name)? else {
        return Ok(());
    };
    let content =
        std::fs::read(&path).with_context(|| format!("cannot read {path}, which {name} names"))?;
    let first = CertificateDer::pem_slice_iter(&content).next();
    ensure!(
        first.is_some_and(|certificate| certificate.is_ok()),
        "{path}, which {name} names, holds no certificates in PEM form"
    );
    Ok(())
}

/// Returns true if requests to this address do not leave the machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Returns the value of a variable without space before it, and without line breaks at its end, such
/// as `echo` adds to a secret; an empty one counts as not set.
fn variable(get: Lookup<'_>, name: &str) -> anyhow::Result<Option<String>> {
    let value = get(name).map(OsString::into_string).transpose();
    let value = value.map_err(|_| anyhow::anyhow!("{name} is not UTF-8 text; set it again"))?;
    let Some(mut value) = value else {
        return Ok(None);
    };
    value.truncate(value.trim_end_matches(['\r', '\n']).len());
    value.drain(..value.len() - value.trim_start().len());
    check_marks(name, &value)?;
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// Fails if quotation marks around a value are part of it.
fn check_marks(place: &str, value: &str) -> anyhow::Result<()> {
    let is_quoted = |mark: char| value.starts_with(mark) && value.ends_with(mark);
    ensure!(
        !is_quoted('"') && !is_quoted('\''),
        "{place} holds quotation marks around its value: remove them (docker --env-file, for example, keeps them)"
    );
    Ok(())
}

/// Returns the place of a secret that is set, for messages: `NAME`, or the file that `NAME_FILE`
/// names.
fn place(get: Lookup<'_>, name: &str) -> String {
    let file_name = format!("{name}_FILE");
    match variable(get, &file_name) {
        Ok(Some(path)) => file_place(&path, &file_name),
        _ => name.to_owned(),
    }
}

/// Returns the same for a file that `file_name` names.
fn file_place(path: &str, file_name: &str) -> String {
    format!("{path}, which {file_name} names,")
}

/// Returns a secret from `NAME`, or from the file that `NAME_FILE` names; empty variables count as
/// not set.
fn secret(get: Lookup<'_>, name: &str) -> anyhow::Result<Option<SecretString>> {
    let file_name = format!("{name}_FILE");
    let direct = variable(get, name)?.map(SecretString::from);
    let Some(path) = variable(get, &file_name)? else {
        return Ok(direct);
    };
    if direct.is_some() {
        bail!("both {name} and {file_name} are set; set only one of them");
    }
    let content = std::fs::read_to_string(&path).map(SecretString::from);
    let content =
        content.with_context(|| format!("cannot read {path}, which {file_name} names"))?;
    let value = content.expose_secret().trim_end_matches(['\r', '\n']);
    let place = file_place(&path, &file_name);
    ensure!(!value.is_empty(), "{place} is empty");
    check_marks(&place, value)?;
    warn_if_world_readable(&file_name, Path::new(&path));
    Ok(Some(value.into()))
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
        assert_eq!(settings.github.url, "https://api.github.com/");
        assert!(settings.weaviate.key.is_none());
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
            "WEAVIATE_URL must not have credentials",
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
    fn plain_http_to_another_machine_must_be_allowed() {
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
    fn a_variable_that_is_not_text_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let get = |name: &str| {
            (name == "DATABASE_URL").then(|| OsString::from_vec(b"postgresql://\xff".to_vec()))
        };
        let error = format!("{:#}", database_url(&get).unwrap_err());
        assert_eq!(error, "DATABASE_URL is not UTF-8 text; set it again");
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let all = format!("{:#}", read(&[]).unwrap_err());
        assert!(all.starts_with("(1) DATABASE_URL is not set"), "{all}");
        assert!(all.contains(" (2) GITHUB_TOKEN is not set"), "{all}");
        assert!(all.contains(" (3) WEAVIATE_URL is not set"), "{all}");
        let app = [GOOD[0], GOOD[2], ("GITHUB_APP_INSTALLATION_ID", "1")];
        let app = format!("{:#}", read(&app).unwrap_err());
        assert!(app.contains("(1) GITHUB_APP_ID is not set"), "{app}");
        assert!(
            app.contains("(2) GITHUB_APP_PRIVATE_KEY_FILE is not set"),
            "{app}"
        );
    }

    #[test]
    fn marks_that_a_shell_would_remove_are_named() {
        for (name, value) in GOOD {
            for mark in ['"', '\''] {
                check_error(
                    (name, &format!("{mark}{value}{mark}")),
                    &format!("{name} holds quotation marks"),
                );
            }
        }
    }

    #[test]
    fn space_around_a_value_does_not_count() {
        let broken = GOOD.map(|(name, value)| (name, format!(" {value}\r\n")));
        let broken = [0, 1, 2].map(|index: usize| (broken[index].0, &*broken[index].1));
        let settings = read(&broken).unwrap();
        assert_eq!(settings.database_url.expose_secret(), GOOD[0].1);
        let GithubLogin::Token(token) = settings.github.login else {
            panic!("a token");
        };
        assert_eq!(token.expose_secret(), GOOD[1].1);
        check_error(("GITHUB_TOKEN", "\n"), "GITHUB_TOKEN is not set");
    }

    #[test]
    fn debug_output_has_no_secret() {
        assert!(!format!("{:?}", read(&GOOD).unwrap()).contains("tok-1234"));
    }
}
