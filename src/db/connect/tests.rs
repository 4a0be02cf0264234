//! Connection strings: what is taken, and what the errors about the others show.

use super::*;

fn error(url: &str) -> String {
    let error = parameters(url).map(drop).expect_err(url);
    format!("{error:#}")
}

#[test]
fn an_address_that_cannot_be_read_is_not_shown() {
    for bad in [
        "postgresql:/me:hunter2@host/agira?sslmode=disable",
        "host=host password=my hunter2=1",
        "postgresql://host/agira?password=my&hunter2=1",
        "postgresql://me:my?hunter2=1",
    ] {
        let error = format!("{:#}", open(bad).err().unwrap());
        assert!(
            error.starts_with("DATABASE_URL is not a PostgreSQL address"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_the_driver_does_not_know_is_translated() {
    for (url, expected) in [
        ("postgresql://me:p@host/db", "postgresql://me:p@host/db"),
        (
            "postgresql://me:a?sslmode=x@host/db",
            "postgresql://me:a%3Fsslmode=x@host/db",
        ),
        (
            "postgresql://me@a:1,b:2/db?sslmode=verify-ca&application_name=x&sslrootcert=%2Fa%20b",
            "postgresql://me@a:1,b:2/db?application_name=x",
        ),
        (
            r"host=h sslmode = 'require' password='it\'s sslmode=disable' sslrootcert=/a\ b",
            r"host=h password='it\'s sslmode=disable'",
        ),
        (
            "postgresql://h/db?keepalives_count=7&connect_timeout=3",
            "host=h port=5432 dbname=db keepalives_retries=7 connect_timeout=3",
        ),
        (
            "postgresql://h/db?connect_timeout=3&keepalives_count=7",
            "host=h port=5432 dbname=db keepalives_retries=7 connect_timeout=3",
        ),
        (
            "host=h keepalives_count=7 connect_timeout=3",
            "host=h keepalives_retries=7 connect_timeout=3",
        ),
        (
            "host=h target_session_attrs=primary",
            "host=h target_session_attrs=read-write",
        ),
        (
            "host=h target_session_attrs=standby",
            "host=h target_session_attrs=read-only",
        ),
        (
            "host=h target_session_attrs=prefer-standby",
            "host=h target_session_attrs=any",
        ),
        (
            "host=h client_encoding=UTF8 fallback_application_name='a b' gssencmode=disable sslcompression=0 krbsrvname=x",
            "host=h",
        ),
        ("host=h sslcrl='' passfile=", "host=h"),
    ] {
        let (config, _) = parameters(url).unwrap_or_else(|error| panic!("{url}: {error:#}"));
        let expected: postgres::Config = expected.parse().unwrap();
        assert_eq!(format!("{config:?}"), format!("{expected:?}"), "{url}");
    }
    let milliseconds = parameters("host=h tcp_user_timeout=1500").unwrap().0;
    let limit = milliseconds.get_tcp_user_timeout().copied();
    assert_eq!(limit, Some(Duration::from_millis(1500)));
    let none = parameters("host=h tcp_user_timeout=0").unwrap().0;
    assert_eq!(none.get_tcp_user_timeout(), None);
}

#[test]
fn the_password_stays_as_it_is() {
    for (url, password) in [
        ("postgresql://me:p%40ss@h/db?sslmode=disable", "p@ss"),
        ("postgresql://me:a/b:c?d@h/db?keepalives_count=1", "a/b:c?d"),
        (
            "postgresql://h/db?client_encoding=UTF8&password=a%26b&sslsni=1",
            "a&b",
        ),
        (
            r"host=h password='it\'s a secret' client_encoding=UTF8",
            "it's a secret",
        ),
    ] {
        let (config, _) = parameters(url).unwrap();
        assert_eq!(config.get_password(), Some(password.as_bytes()), "{url}");
    }
}

#[test]
fn an_option_that_is_not_known_is_named_without_its_value() {
    for (option, expected) in [
        (
            "pgbouncer=hunter2",
            "it has the option pgbouncer, which is unknown",
        ),
        (
            "conect_timeout=hunter2",
            "it has the option conect_timeout, which is unknown",
        ),
        (
            "passfile=hunter2",
            "the option passfile, which this program does not support: put",
        ),
        (
            "sslcrl=hunter2",
            "the option sslcrl, which this program does not support",
        ),
        (
            "service=hunter2",
            "the option service, which this program does not support",
        ),
        ("gssencmode=require", "gssencmode must be disable or prefer"),
        (
            "target_session_attrs=hunter2",
            "target_session_attrs must be one of any,",
        ),
        (
            "keepalives_count=hunter2",
            "keepalives_count is not a number",
        ),
        (
            "tcp_user_timeout=hunter2",
            "tcp_user_timeout is not a number",
        ),
        ("sslcertmode=require", "sslcertmode must be allow"),
        ("sslmode=hunter2", "sslmode must be one of"),
        ("sslmode=allow", "sslmode must be one of disable,"),
        (
            "sslmode=require&sslrootcert=system",
            "needs sslmode=verify-full",
        ),
        ("sslkey=hunter2", "sslcert and sslkey need each other"),
        (
            "ssl_min_protocol_version=hunter2",
            "must be TLSv1.2 or TLSv1.3",
        ),
        (
            "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "is newer than",
        ),
        ("connect_timeout=hunter2", "connect_timeout"),
    ] {
        let pairs = format!("host=h {}", option.replace('&', " "));
        for url in [format!("postgresql://me:pw@h/db?{option}"), pairs] {
            let error = error(&url);
            assert!(error.starts_with("DATABASE_URL"), "{error}");
            assert!(
                error.contains(expected) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_sign_of_the_password_that_is_not_encoded_is_named() {
    for url in [
        "postgresql://me:hunter2@hunter3@host/agira",
        "postgres://me:hunter2@hunter3/x@host/agira?sslmode=disable",
    ] {
        let error = error(url);
        assert!(
            error.contains("more than one @") && error.contains("%40"),
            "{error}"
        );
        assert!(!error.contains("hunter"), "{error}");
    }
    // The name of a user may have one, which comes after the ?.
    parameters("postgresql://host/agira?user=me@domain").unwrap();
}

#[test]
fn without_a_host_the_usual_socket_or_this_machine_is_meant() {
    for url in ["postgresql:///agira", "dbname=agira user=me"] {
        let (config, _) = parameters(url).unwrap();
        assert_eq!(config.get_hosts().len(), 1, "{url}");
    }
}

#[test]
fn servers_are_named_without_asking_them() {
    for (url, expected) in [
        ("postgresql://me:hunter2@host/agira", "host:5432"),
        ("host=a,b hostaddr=127.0.0.1,127.0.0.2 port=1,2", "a:1, b:2"),
        ("hostaddr=::1 port=7", "[::1]:7"),
        ("host=/run/postgresql", "/run/postgresql/.s.PGSQL.5432"),
    ] {
        assert_eq!(places(url).unwrap(), expected);
    }
}
