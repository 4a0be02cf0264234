//! The servers that DATABASE_URL names, one address at a time, and the limits for silent ones.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use postgres::Config;
use postgres::config::{Host, LoadBalanceHosts};
use uuid::Uuid;

use crate::core::text::Printable;

/// Time for connecting to one address if DATABASE_URL has no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a connection ends whose other side is gone.
const GONE_AFTER: Duration = Duration::from_secs(30);

const PORT: u16 = 5432;

/// Sets the limits that DATABASE_URL does not set, and returns the limit for connecting.
pub fn set_timeouts(config: &mut Config) -> Duration {
    let limit = config.get_connect_timeout().copied();
    let limit = limit.unwrap_or(CONNECT_TIMEOUT);
    config.connect_timeout(limit);
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(GONE_AFTER);
    }
    // The driver has a default for this limit only.
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(GONE_AFTER / 2);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(GONE_AFTER / 6);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    limit
}

/// Folders in which libpq and Debian's servers have their sockets.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Adds the host that libpq takes if none is given: the usual socket, or this machine if there is
/// none.
pub fn add_default_host(config: &mut Config) {
    if !config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty() {
        return;
    }
    let port = config.get_ports().first().copied().unwrap_or(PORT);
    let has_socket = |folder: &&&str| Path::new(&socket(Path::new(folder), port)).exists();
    match SOCKET_FOLDERS.iter().find(has_socket) {
        #[cfg(unix)]
        Some(folder) => config.host_path(folder),
        _ => config.host("localhost"),
    };
}

fn socket(folder: &Path, port: u16) -> String {
    format!("{}/.s.PGSQL.{port}", folder.display())
}

/// Returns the names of the servers, such as `host:5432`.
pub fn names(config: &Config) -> Vec<String> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let ports = config.get_ports();
    let name = |index: usize| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
        match (hosts.get(index), addresses.get(index)) {
            (Some(Host::Tcp(name)), _) if name.contains(':') => format!("[{name}]:{port}"),
            (Some(Host::Tcp(name)), _) => format!("{name}:{port}"),
            #[cfg(unix)]
            (Some(Host::Unix(folder)), _) => socket(folder, port),
            (None, Some(address)) => SocketAddr::new(*address, port).to_string(),
            (None, None) => String::new(),
        }
    };
    let count = hosts.len().max(addresses.len());
    let names = (0..count).map(name);
    names.map(|name| Printable(&name).to_string()).collect()
}

/// Returns one configuration per address, in the order of the attempts. A name that does not
/// resolve, and lists of different lengths, are left to the driver, which reports the error.
pub fn addresses(config: &Config) -> Vec<Config> {
    let (hosts, given, ports) = (
        config.get_hosts(),
        config.get_hostaddrs(),
        config.get_ports(),
    );
    let count = hosts.len().max(given.len());
    let fits = |length: usize| length == 0 || length == count;
    if count == 0
        || !fits(hosts.len())
        || !fits(given.len())
        || ports.len() > 1 && !fits(ports.len())
    {
        return vec![config.clone()];
    }
    let mut all = Vec::new();
    for index in 0..count {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
        let host = hosts.get(index);
        let resolved: Vec<IpAddr> = match (given.get(index), host) {
            (Some(address), _) => vec![*address],
            (None, Some(Host::Tcp(name))) => resolve(name, port),
            (None, _) => Vec::new(),
        };
        if resolved.is_empty() {
            all.push(single(config, host, None, port));
        }
        let resolved = resolved.into_iter();
        all.extend(resolved.map(|address| single(config, host, Some(address), port)));
    }
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        all.sort_by_cached_key(|_| Uuid::new_v4());
    }
    all
}

/// Returns the addresses of a host name; the list is empty if it does not resolve.
fn resolve(name: &str, port: u16) -> Vec<IpAddr> {
    let found = (name, port).to_socket_addrs();
    let found = found.into_iter().flatten();
    found.map(|address| address.ip()).collect()
}

/// Returns the configuration with this server only, because the driver cannot drop the others.
fn single(config: &Config, host: Option<&Host>, address: Option<IpAddr>, port: u16) -> Config {
    let mut one = Config::new();
    one.port(port)
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    match host {
        Some(Host::Tcp(name)) => drop(one.host(name)),
        #[cfg(unix)]
        Some(Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    address.map(|address| one.hostaddr(address));
    config.get_user().map(|user| one.user(user));
    config.get_password().map(|password| one.password(password));
    config.get_dbname().map(|name| one.dbname(name));
    config.get_options().map(|options| one.options(options));
    config
        .get_application_name()
        .map(|name| one.application_name(name));
    config
        .get_connect_timeout()
        .map(|limit| one.connect_timeout(*limit));
    config
        .get_tcp_user_timeout()
        .map(|limit| one.tcp_user_timeout(*limit));
    config
        .get_keepalives_interval()
        .map(|time| one.keepalives_interval(time));
    config
        .get_keepalives_retries()
        .map(|count| one.keepalives_retries(count));
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(text: &str) -> Config {
        let mut config = text.parse().unwrap();
        set_timeouts(&mut config);
        config
    }

    #[test]
    fn what_is_given_is_kept_and_the_rest_is_set() {
        let seconds = Duration::from_secs;
        let given = "connect_timeout=3 tcp_user_timeout=4 keepalives_idle=5 keepalives_interval=6 keepalives_retries=7";
        for (given, expected) in [
            ("", (10, 30, 15, 5, 3)),
            ("connect_timeout=0", (10, 30, 15, 5, 3)),
            (given, (3, 4, 5, 6, 7)),
        ] {
            let config = configured(&format!("host=127.0.0.1 {given}"));
            for config in addresses(&config).iter().chain([&config]) {
                let (connect, user, idle, interval, retries) = expected;
                assert_eq!(config.get_connect_timeout(), Some(&seconds(connect)));
                assert_eq!(config.get_tcp_user_timeout(), Some(&seconds(user)));
                assert_eq!(config.get_keepalives_idle(), seconds(idle));
                assert_eq!(config.get_keepalives_interval(), Some(seconds(interval)));
                assert_eq!(config.get_keepalives_retries(), Some(retries));
            }
        }
    }

    #[test]
    fn each_address_is_one_attempt_with_everything_else_as_given() {
        let rest = "user=me password=secret dbname=agira options=-cx=1 application_name=w keepalives=0 \
            target_session_attrs=read-write channel_binding=require sslnegotiation=postgres";
        for (servers, expected) in [
            (
                "host=127.0.0.1 port=1",
                &["host=127.0.0.1 hostaddr=127.0.0.1 port=1"][..],
            ),
            (
                "host=a,b hostaddr=127.0.0.2,127.0.0.3 port=1,2",
                &[
                    "host=a hostaddr=127.0.0.2 port=1",
                    "host=b hostaddr=127.0.0.3 port=2",
                ],
            ),
            (
                "hostaddr=127.0.0.2,::1 port=7",
                &["hostaddr=127.0.0.2 port=7", "hostaddr=::1 port=7"],
            ),
            (
                "host=/run,/tmp",
                &["host=/run port=5432", "host=/tmp port=5432"],
            ),
            ("host=a,b port=1,2,3", &["host=a,b port=1,2,3"]),
        ] {
            let expected: Vec<Config> = expected
                .iter()
                .map(|servers| configured(&format!("{servers} {rest}")))
                .collect();
            let found = addresses(&configured(&format!("{servers} {rest}")));
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{servers}");
        }
    }
}
