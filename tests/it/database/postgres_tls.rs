//! Connections to PostgreSQL as in libpq: every `sslmode` against real servers with a CA of these tests, and every form
//! of DATABASE_URL.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use kit::postgres_server::{Cluster, TEMPLATE};
use rcgen::ExtendedKeyUsagePurpose::{self, ClientAuth, ServerAuth};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::harness::Run;

/// Servers with a certificate for `localhost` but not for `127.0.0.1`, although they can be reached at both.
struct Servers {
    good: Cluster,
    expired: Cluster,
    /// Server with a certificate that is only for clients.
    misused: Cluster,
    /// Certificates of the servers' CA, of another CA, and of a client.
    files: tempfile::TempDir,
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (
        params.self_signed(&key).unwrap().pem(),
        Issuer::new(params, key),
    )
}

/// Returns certificate and key, as PEM.
fn certificate(
    name: &str,
    last_year: i32,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    (
        params.signed_by(&key, issuer).unwrap().pem(),
        key.serialize_pem(),
    )
}

/// Rules for users: `plain` must not use TLS, `encrypted` must use it, `person` needs a certificate, `member` needs a
/// password, and everybody else may connect.
const RULES: &str = "host all member all scram-sha-256\nhostssl all plain all reject\nhostnossl all plain all trust\nhostssl all encrypted all trust\n\
    hostnossl all encrypted all reject\nhostssl all person all cert\nhostnossl all person all reject\n\
    host all all all trust\nlocal all all trust\n";

fn server(
    last_year: i32,
    usage: ExtendedKeyUsagePurpose,
    ca: &str,
    issuer: &Issuer<'_, KeyPair>,
) -> Cluster {
    let (certificate, key) = certificate("localhost", last_year, usage, issuer);
    let settings = "ssl = on\nssl_cert_file = 'kit.crt'\nssl_key_file = 'kit.key'\nssl_ca_file = 'kit-ca.crt'\n";
    let files = [
        ("kit.crt", &*certificate),
        ("kit.key", &*key),
        ("kit-ca.crt", ca),
        ("postgresql.conf", settings),
        ("pg_hba.conf", RULES),
    ];
    let cluster = Cluster::of(&files);
    let mut client = postgres::Client::connect(&cluster.url(TEMPLATE), postgres::NoTls).unwrap();
    for user in ["plain", "encrypted", "person"] {
        client
            .batch_execute(&format!("CREATE ROLE {user} LOGIN SUPERUSER"))
            .unwrap();
    }
    let member = "SET password_encryption = 'scram-sha-256'; CREATE ROLE member LOGIN SUPERUSER PASSWORD 'hunter2-member'";
    client.batch_execute(member).unwrap();
    cluster
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let (ca, issuer) = authority("kit");
        let files = tempfile::tempdir().unwrap();
        let (person, key) = certificate("person", 4000, ClientAuth, &issuer);
        for (name, content) in [
            ("ca.crt", &*ca),
            ("other-ca.crt", &authority("somebody else").0),
            ("person.crt", &person),
            ("person.key", &key),
            ("garbage", "hunter2\n"),
            ("empty", ""),
        ] {
            std::fs::write(files.path().join(name), content).unwrap();
        }
        Servers {
            good: server(4000, ServerAuth, &ca, &issuer),
            expired: server(2021, ServerAuth, &ca, &issuer),
            misused: server(4000, ClientAuth, &ca, &issuer),
            files,
        }
    })
}

/// Runs `status` with only this DATABASE_URL; it only reads.
fn status(url: &str) -> Run {
    Run::of(
        Command::new(env!("CARGO_BIN_EXE_agira-worker"))
            .arg("status")
            .env_clear()
            .env("DATABASE_URL", url),
    )
}

fn url(user: &str, host: &str, cluster: &Cluster, parameters: &str) -> String {
    let files = servers().files.path().display().to_string();
    let parameters = parameters.replace("FILES", &files);
    format!(
        "postgresql://{user}@{host}:{}/{TEMPLATE}?{parameters}",
        cluster.port()
    )
}

#[track_caller]
fn connects(url: &str) {
    let run = status(url);
    assert_eq!(run.code, 0, "{url}\n{}", run.all());
}

#[track_caller]
fn refuses(url: &str, says: &[&str]) {
    let run = status(url).exits(1);
    let line = run.stderr.lines().last().unwrap_or_default();
    assert!(
        says.iter().all(|part| line.contains(part)),
        "{url}: no {says:?}\n{}",
        run.all()
    );
    assert!(
        !run.all().contains("hunter2") && !run.all().contains("panicked"),
        "{}",
        run.all()
    );
}

#[test]
fn sslmode_decides_how_the_certificate_is_verified() {
    let Servers {
        good,
        expired,
        misused,
        ..
    } = servers();
    let ca = "sslrootcert=FILES/ca.crt";
    for mode in ["require", "verify-ca", "verify-full"] {
        connects(&url(
            "encrypted",
            "localhost",
            good,
            &format!("sslmode={mode}&{ca}"),
        ));
    }
    // The certificate does not name the IP address, which matters only if the name is verified.
    connects(&url(
        "encrypted",
        "127.0.0.1",
        good,
        &format!("sslmode=verify-ca&{ca}"),
    ));
    refuses(
        &url(
            "encrypted",
            "127.0.0.1",
            good,
            &format!("sslmode=verify-full&{ca}"),
        ),
        &[
            "cannot connect to PostgreSQL at 127.0.0.1:",
            "check sslmode and sslrootcert in DATABASE_URL, and the server's certificate for TLS",
            "not valid for name",
        ],
    );
    for mode in ["require", "verify-ca", "verify-full"] {
        let other = format!("sslmode={mode}&sslrootcert=FILES/other-ca.crt");
        refuses(
            &url("encrypted", "localhost", good, &other),
            &["check sslmode", "for TLS", "UnknownIssuer"],
        );
        let right = format!("sslmode={mode}&{ca}");
        refuses(
            &url("encrypted", "localhost", expired, &right),
            &["check sslmode", "for TLS", "expired"],
        );
        refuses(
            &url("encrypted", "localhost", misused, &right),
            &[
                "check sslmode",
                "certificate does not allow extended key usage for server authentication",
            ],
        );
    }
    // Without a root certificate, `require` verifies nothing, as in libpq; no system trusts the CA of these tests.
    connects(&url("encrypted", "127.0.0.1", expired, "sslmode=require"));
    for system in [
        "sslmode=verify-full",
        "sslmode=verify-ca",
        "sslrootcert=system",
    ] {
        refuses(
            &url("encrypted", "localhost", good, system),
            &["UnknownIssuer"],
        );
    }
}

#[test]
fn ssl_cert_file_replaces_the_systems_roots() {
    let Servers { good, files, .. } = servers();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agira-worker"));
    command
        .arg("status")
        .env_clear()
        .env("SSL_CERT_FILE", files.path().join("ca.crt"));
    Run::of(command.env(
        "DATABASE_URL",
        url("encrypted", "localhost", good, "sslrootcert=system"),
    ))
    .exits(0);
}

#[test]
fn a_server_without_tls_is_refused_if_tls_is_required() {
    let plain = Cluster::shared();
    for mode in ["disable", "prefer"] {
        connects(&url(
            "postgres",
            "127.0.0.1",
            plain,
            &format!("sslmode={mode}"),
        ));
    }
    for mode in [
        "require",
        "verify-ca&sslrootcert=FILES/ca.crt",
        "verify-full&sslrootcert=FILES/ca.crt",
    ] {
        refuses(
            &url("postgres", "127.0.0.1", plain, &format!("sslmode={mode}")),
            &["server does not support TLS"],
        );
    }
}

#[test]
fn prefer_tries_with_and_without_tls_and_disable_only_without() {
    let good = &servers().good;
    for mode in ["sslmode=prefer", ""] {
        for user in ["plain", "encrypted"] {
            connects(&url(user, "127.0.0.1", good, mode));
        }
    }
    connects(&url("plain", "127.0.0.1", good, "sslmode=disable"));
    refuses(
        &url("encrypted", "127.0.0.1", good, "sslmode=disable"),
        &["pg_hba.conf rejects connection"],
    );
    refuses(
        &url("plain", "127.0.0.1", good, "sslmode=require"),
        &["pg_hba.conf rejects connection"],
    );
}

#[test]
fn a_client_certificate_authenticates_the_client() {
    let Servers { good, files, .. } = servers();
    let ours = "sslmode=verify-full&sslrootcert=FILES/ca.crt&sslcert=FILES/person.crt&sslkey=FILES/person.key";
    let key = files.path().join("person.key");
    set_mode(&key, 0o600);
    let run = status(&url("person", "localhost", good, ours)).exits(0);
    assert_eq!(run.stderr, "");
    let without = url(
        "person",
        "localhost",
        good,
        "sslmode=verify-full&sslrootcert=FILES/ca.crt",
    );
    refuses(&without, &["certificate"]);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_unusable_file_is_named_without_its_content() {
    let good = &servers().good;
    for (parameters, says) in [
        (
            "sslmode=verify-ca&sslrootcert=FILES/none",
            ["cannot be read", "/none, which sslrootcert names"],
        ),
        (
            "sslmode=verify-ca&sslrootcert=FILES/garbage",
            ["holds no certificates in PEM form", "sslrootcert"],
        ),
        (
            "sslmode=verify-ca&sslrootcert=FILES/empty",
            ["holds no certificates in PEM form", "sslrootcert"],
        ),
        (
            "sslcert=FILES/garbage&sslkey=FILES/person.key",
            ["holds no certificates in PEM form", "sslcert"],
        ),
        (
            "sslcert=FILES/person.crt&sslkey=FILES/garbage",
            ["holds no private key", "sslkey"],
        ),
        (
            "sslcert=FILES/person.crt&sslkey=FILES/none",
            ["cannot be read", "/none, which sslkey names"],
        ),
        ("sslmode=hunter2", ["sslmode must be one of", "verify-full"]),
        // Otherwise it would first send the password without TLS.
        ("sslmode=allow", ["sslmode must be one of", "prefer"]),
        (
            "sslcert=FILES/person.crt",
            ["sslcert and sslkey need each other", ""],
        ),
    ] {
        refuses(
            &url("encrypted", "localhost", good, parameters),
            &["DATABASE_URL", says[0], says[1]],
        );
    }
}

#[test]
fn every_form_of_database_url_is_parsed() {
    let (good, ca) = (&servers().good, servers().files.path().join("ca.crt"));
    let (ca, port) = (ca.display(), good.port());
    connects(&format!(
        "host=localhost port={port} user=encrypted dbname={TEMPLATE} sslmode = 'verify-full' sslrootcert='{ca}'"
    ));
    // The first host does not answer.
    connects(&format!(
        "postgresql://encrypted@127.0.0.1:1,127.0.0.1:{port}/{TEMPLATE}?sslmode=require"
    ));
    let folder = good.socket_folder().display();
    // A socket has no TLS, as in libpq, and needs none.
    for mode in ["disable", "prefer", "require", "verify-full"] {
        connects(&format!(
            "host={folder} port={port} user=postgres dbname={TEMPLATE} sslmode={mode}"
        ));
    }
    let encoded = folder.to_string().replace('/', "%2F");
    connects(&format!(
        "postgresql://postgres@{encoded}:{port}/{TEMPLATE}"
    ));
}

/// SCRAM that is bound to the TLS connection: no server in between can pass it on, even with a trusted certificate.
#[test]
fn channel_binding_binds_the_password_to_the_tls_connection() {
    let good = &servers().good;
    let of = |password: &str, parameters: &str| {
        url("member", "localhost", good, parameters)
            .replace("member@", &format!("member:{password}@"))
    };
    let full = "sslmode=verify-full&sslrootcert=FILES/ca.crt";
    for binding in ["disable", "prefer", "require"] {
        connects(&of(
            "hunter2-member",
            &format!("{full}&channel_binding={binding}"),
        ));
        let wrong = of(
            "hunter2-wrong",
            &format!("{full}&channel_binding={binding}"),
        );
        refuses(
            &wrong,
            &[
                "cannot connect to PostgreSQL",
                "password authentication failed",
                "user or password is wrong; in an address, @ : / ? # % in a password are %40",
            ],
        );
    }
    let pairs = format!(
        "host=localhost port={} user=member password=hunter2-member dbname={TEMPLATE}",
        good.port()
    );
    connects(&format!("{pairs} sslmode=require channel_binding=require"));
    connects(&of("hunter2-member", "channel_binding=require"));
    // Without TLS, there is no connection to bind to.
    connects(&of("hunter2-member", "sslmode=disable"));
    refuses(
        &of("hunter2-member", "sslmode=disable&channel_binding=require"),
        &["cannot connect to PostgreSQL", "channel binding"],
    );
    refuses(
        &of("hunter2-member", "channel_binding=always"),
        &["DATABASE_URL is not a PostgreSQL address"],
    );
}

/// As the README says, a variable that libpq reads has no effect here.
#[test]
fn only_database_url_is_read() {
    let Servers { good, files, .. } = servers();
    let passwords = files.path().join("pgpass");
    std::fs::write(&passwords, "*:*:*:*:hunter2-member\n").unwrap();
    set_mode(&passwords, 0o600);
    let run = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agira-worker"));
        command
            .arg("status")
            .env_clear()
            .env("DATABASE_URL", url)
            .env("HOME", files.path());
        for (name, value) in [
            ("PGHOST", "no-such-host.invalid"),
            ("PGPORT", "1"),
            ("PGUSER", "nobody"),
            ("PGPASSWORD", "hunter2-member"),
            ("PGSSLMODE", "disable"),
            ("PGSERVICE", "nothing"),
        ] {
            command.env(name, value);
        }
        Run::of(command.env("PGPASSFILE", &passwords))
    };
    run(&url("encrypted", "localhost", good, "sslmode=require")).exits(0);
    run(&url("member", "localhost", good, "sslmode=require"))
        .exits(1)
        .logs("it has no password, and PGPASSWORD and ~/.pgpass are not read");
}

#[test]
fn several_hosts_of_any_kind_are_tried_in_order() {
    let good = &servers().good;
    let (port, folder) = (good.port(), good.socket_folder().display());
    let rest = format!("user=postgres dbname={TEMPLATE}");
    connects(&format!(
        "host=127.0.0.1,localhost port=1,{port} {rest} sslmode=require"
    ));
    connects(&format!(
        "host=no-such-host.invalid,127.0.0.1 port={port} {rest}"
    ));
    // A socket never uses TLS, whatever the other host needs.
    for mode in ["disable", "prefer", "require"] {
        connects(&format!(
            "host={folder},127.0.0.1 port={port} {rest} sslmode={mode}"
        ));
        connects(&format!(
            "host=/no/such/folder,127.0.0.1 port={port} {rest} sslmode={mode}"
        ));
    }
    status(&format!("host=/no/such/folder,127.0.0.1 port=1 {rest}"))
        .exits(75)
        .logs("cannot connect to PostgreSQL");
}

/// Each of these is tried with psql, too, so that both agree about what an option means.
#[test]
fn what_psql_takes_is_taken() {
    let good = &servers().good;
    let port = good.port();
    for parameters in [
        "keepalives_count=3&keepalives_idle=10&keepalives_interval=5&keepalives=1",
        "client_encoding=UTF8",
        "client_encoding=auto",
        "fallback_application_name=x&application_name=y",
        "sslsni=0&sslmode=require",
        "sslsni=1&sslmode=require",
        "sslcompression=0",
        "ssl_min_protocol_version=TLSv1.3&sslmode=require",
        "ssl_min_protocol_version=TLSv1.2&ssl_max_protocol_version=TLSv1.2&sslmode=require",
        "target_session_attrs=primary",
        "target_session_attrs=any",
        "target_session_attrs=read-write",
        "target_session_attrs=prefer-standby",
        "gssencmode=disable",
        "gssencmode=prefer",
        "krbsrvname=postgres",
        "tcp_user_timeout=30000",
        "connect_timeout=5",
        "options=-c%20geqo%3Doff",
        "ssl=true",
    ] {
        let address = url("encrypted", "127.0.0.1", good, parameters);
        let pairs = parameters
            .replace('&', " ")
            .replace("-c%20geqo%3Doff", "'-c geqo=off'");
        // In pairs, libpq does not know this one either.
        let pairs = pairs.replace("ssl=true", "sslmode=require");
        let pairs = format!("host=127.0.0.1 port={port} user=encrypted dbname={TEMPLATE} {pairs}");
        for form in [address, pairs] {
            let mut command = Command::new("psql");
            let said = kit::wait::output(command.args(["-X", "-d", &form, "-c", "SELECT 1"]));
            let said = said.expect("psql");
            assert!(
                said.status.success(),
                "{form}: {}",
                String::from_utf8_lossy(&said.stderr)
            );
            connects(&form);
        }
    }
}
