//! A real Weaviate server, for the tests that also run against the simulator, and for the demo.
//!
//! Some of its ports are always open on all interfaces, so it runs in its own network namespace, which a unix socket
//! leads into. Several servers can therefore run side by side with the same ports.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::http::{Response, lock};
use crate::weaviate_named::Named;
use crate::weaviate_reached::{Reached, exchange};

/// Environment variable with the path of the server; `tests/weaviate.sh` prints this path.
pub const PROGRAM: &str = "AGIRA_WORKER_WEAVIATE_SERVER";

/// Limit for the start of a server, which takes about three seconds on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Number of servers that are kept for later tests; each uses about 100 MB.
const MOST_IDLE: usize = 4;

/// Settings that only take effect when the server starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// True if the server adds missing parts of a class.
    pub auto_schema: bool,
    /// True if the server offers GraphQL.
    pub graphql: bool,
    /// API key that requests must have; `None` allows anonymous access.
    pub api_key: Option<String>,
    /// Another key, of the user `guest`, who may only do what roles permit (RBAC).
    pub guest_key: Option<String>,
    /// Number of objects in a response to a query without a limit.
    pub default_limit: usize,
}

impl Config {
    /// Settings of a server without configuration.
    pub const USUAL: Self = Self {
        auto_schema: true,
        graphql: true,
        api_key: None,
        guest_key: None,
        default_limit: 100,
    };
}

/// A running server. Dropping it, or the end of this process for any reason, stops it and removes its folder.
pub struct RealServer {
    config: Config,
    program: PathBuf,
    folder: PathBuf,
    process: Mutex<Option<Child>>,
    /// Pipe whose end tells the watchdog that this process has ended.
    watchdog: Child,
}

impl RealServer {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// If there is no server to start, or it does not start; the message says what to do.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        let program = std::env::var_os(PROGRAM).map(PathBuf::from).with_context(|| {
            format!("there is no Weaviate server: set {PROGRAM} to what tests/weaviate.sh prints, or use tests/run.sh")
        })?;
        ensure!(
            program.is_file(),
            "{PROGRAM} names {}, which is no file",
            program.display()
        );
        let folder = tempfile::Builder::new()
            .prefix("agira-worker-weaviate-")
            .tempdir()?
            .keep();
        let watchdog = watchdog(&folder)?;
        let server = Self {
            config,
            program,
            folder,
            process: Mutex::new(None),
            watchdog,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Starts the server again with the same data, after [`Self::stop`].
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let socket = self.socket();
        // A killed server leaves its socket behind, and the next one could not listen on it.
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))?;
        let mut command = self.command()?;
        let started = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let process = &mut *lock(&self.process);
        let process = process.insert(started);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self
                .ask("GET", "/v1/.well-known/ready", &[], &[])
                .is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            let ended = process.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(5).collect();
                let how = ended.map_or("is not ready in time".to_owned(), |status| {
                    format!("ended ({status})")
                });
                bail!(
                    "Weaviate {how}; its last words, newest first:\n{}",
                    lines.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server, as a power failure would; its data stays.
    pub fn stop(&self) {
        if let Some(mut process) = lock(&self.process).take() {
            // The server may have ended already.
            let _ = process.kill();
            let _ = process.wait();
            // Otherwise the watchdog could kill another process that gets the same id.
            let _ = std::fs::remove_file(self.folder.join("pid"));
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn command(&self) -> anyhow::Result<Command> {
        // The process writes its id before it becomes the server, so that the watchdog always knows which process to
        // stop.
        let script = "echo $$ > \"$1/pid\" && ip link set lo up && exec \"$2\" --scheme http --host 127.0.0.1 --port 8080 \
             --scheme unix --socket-path \"$1/socket\" --graceful-timeout 1s";
        let namespace: &[&str] = if is_root() {
            &["--net"]
        } else {
            &["--user", "--map-root-user", "--net"]
        };
        let allowed = Command::new("unshare")
            .args(namespace)
            .arg("true")
            .output()
            .context("unshare (util-linux)")?;
        ensure!(
            allowed.status.success(),
            "this machine permits no network namespaces, without which a Weaviate server would be open to the network \
             ({}); tests/run.sh --without-weaviate leaves these tests out",
            String::from_utf8_lossy(&allowed.stderr).trim()
        );
        let mut command = Command::new("unshare");
        command
            .args(namespace)
            .args(["sh", "-c", script, "weaviate"])
            .arg(&self.folder)
            .arg(&self.program);
        let flag = |on: bool| if on { "true" } else { "false" };
        let limit = self.config.default_limit.to_string();
        // The environment may have settings for another Weaviate.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("PERSISTENCE_DATA_PATH", self.folder.join("data"))
            .env("AUTOSCHEMA_ENABLED", flag(self.config.auto_schema))
            .env("DISABLE_GRAPHQL", flag(!self.config.graphql))
            .env("QUERY_DEFAULTS_LIMIT", &limit)
            .env("QUERY_DEFAULTS_LIMIT_GRAPHQL", &limit)
            .env(
                "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED",
                flag(self.config.api_key.is_none()),
            );
        if let Some(key) = &self.config.api_key {
            let guest = self.config.guest_key.as_deref();
            let keys: Vec<&str> = [key.as_str()].into_iter().chain(guest).collect();
            let users = ["tester", "guest"][..keys.len()].join(",");
            command
                .env("AUTHENTICATION_APIKEY_ENABLED", "true")
                .env("AUTHENTICATION_APIKEY_ALLOWED_KEYS", keys.join(","))
                .env("AUTHENTICATION_APIKEY_USERS", users);
            if guest.is_some() {
                command
                    .env("AUTHORIZATION_RBAC_ENABLED", "true")
                    .env("AUTHORIZATION_RBAC_ROOT_USERS", "tester");
            }
        }
        // A single node without network. Its disk may be as full as that of a developer.
        command.envs([
            ("CLUSTER_HOSTNAME", "node1"),
            ("CLUSTER_IN_LOCALHOST", "true"),
            ("CLUSTER_ADVERTISE_ADDR", "127.0.0.1"),
            ("CLUSTER_BIND_ADDR", "127.0.0.1"),
            ("RAFT_BOOTSTRAP_EXPECT", "1"),
            // A single node has no election to wait for.
            ("RAFT_TIMEOUTS_MULTIPLIER", "1"),
            ("DEFAULT_VECTORIZER_MODULE", "none"),
            // The modules that only call a third-party API are enabled by default; nothing here uses them.
            ("ENABLE_MODULES", ""),
            ("DISABLE_TELEMETRY", "true"),
            ("GO_PROFILING_DISABLE", "true"),
            ("DISK_USE_READONLY_PERCENTAGE", "100"),
            ("LOG_LEVEL", "warning"),
        ]);
        Ok(command)
    }

    /// Returns a command that runs in the server's namespace, with the ports 8080 and, for gRPC, 50051.
    ///
    /// # Panics
    /// If the server is stopped.
    pub fn command_inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let id = lock(&self.process)
            .as_ref()
            .expect("a server that runs")
            .id();
        let mut command = Command::new("nsenter");
        command.args(["--target", &id.to_string(), "--net"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }

    /// Returns status and body of one request with [`Config::api_key`], whose user may do everything.
    ///
    /// # Panics
    /// If the server does not answer with JSON.
    pub fn administer(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        self.json(method, target, Some(body))
    }

    /// Forwards a free loopback port to the server until this process ends; returns `http://127.0.0.1:PORT`.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn open(&self) -> std::io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let socket = self.socket();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let socket = socket.clone();
                std::thread::spawn(move || pass(&client, &socket));
            }
        });
        Ok(url)
    }
}

/// Copies bytes until both sides are done.
fn pass(client: &TcpStream, socket: &Path) {
    let Ok(server) = UnixStream::connect(socket) else {
        return;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut &*client, &mut &server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut &server, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
    });
}

impl Drop for RealServer {
    fn drop(&mut self) {
        self.stop();
        drop(self.watchdog.stdin.take());
        // Only the folder is left to remove.
        let _ = self.watchdog.wait();
    }
}

/// Returns the options of `unshare`; without root, the process first needs a user namespace.
fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout == b"0\n")
}

impl Reached for RealServer {
    fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        exchange(
            UnixStream::connect(self.socket())?,
            method,
            target,
            headers,
            body,
        )
    }

    fn key(&self) -> Option<&str> {
        self.config.api_key.as_deref()
    }
}

/// Starts a watchdog that waits until this process ends for any reason, and then kills the server and removes its
/// folder. It waits for the end of a pipe whose only writing end belongs to this process.
fn watchdog(folder: &Path) -> anyhow::Result<Child> {
    let script = "trap '' INT TERM HUP; read _; if [ -f \"$1/pid\" ]; then kill -KILL \"$(cat \"$1/pid\")\"; fi; \
        for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf \"$1\" && break; sleep 0.1; done";
    let mut command = Command::new("sh");
    command.args(["-c", script, "watchdog"]).arg(folder);
    Ok(command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

/// Servers for later tests, because starting one takes seconds.
static IDLE: Mutex<Vec<RealServer>> = Mutex::new(Vec::new());

/// An empty server for one test; dropping the value returns it.
#[derive(Clone)]
pub struct Lent(Arc<Returned>);

enum Returned {
    Started(Option<RealServer>),
    Named(Named),
}

impl Lent {
    /// Returns a server with this configuration.
    ///
    /// # Panics
    /// If there is none and none can be started; the message says why.
    pub fn of(config: Config) -> Self {
        let idle = {
            let mut idle = lock(&IDLE);
            idle.iter()
                .position(|server| server.config == config)
                .map(|index| idle.swap_remove(index))
        };
        let server = idle.unwrap_or_else(|| {
            RealServer::start(config).unwrap_or_else(|error| panic!("no real Weaviate: {error:#}"))
        });
        Self(Arc::new(Returned::Started(Some(server))))
    }

    /// Returns the server that a person named; it must have the default configuration.
    ///
    /// # Panics
    /// If it cannot be used; the message says why.
    pub fn named(config: Config) -> Self {
        assert_eq!(
            config,
            Config::USUAL,
            "a test with settings of its own belongs into a module called own_server"
        );
        let named =
            Named::wait_for().unwrap_or_else(|error| panic!("the named Weaviate: {error:#}"));
        Self(Arc::new(Returned::Named(named)))
    }

    /// Returns the server, if the kit started it.
    pub fn started(&self) -> Option<&RealServer> {
        match &*self.0 {
            Returned::Started(server) => server.as_ref(),
            Returned::Named(_) => None,
        }
    }

    /// Kills the server, as a power failure would; its data stays. A named server keeps running.
    pub fn stop(&self) {
        if let Some(server) = self.started() {
            server.stop();
        }
    }

    /// Starts the server again, after [`Self::stop`].
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_again(&self) -> anyhow::Result<()> {
        self.started().map_or(Ok(()), RealServer::start_again)
    }
}

impl std::ops::Deref for Lent {
    type Target = dyn Reached;
    fn deref(&self) -> &Self::Target {
        match &*self.0 {
            Returned::Started(server) => server
                .as_ref()
                .expect("it is taken only by the end of the last Lent"),
            Returned::Named(named) => named,
        }
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        // A named server is released by its own drop.
        let Self::Started(server) = self else { return };
        // A failed test may leave the server in any state.
        let Some(server) = server.take().filter(|_| !std::thread::panicking()) else {
            return;
        };
        let runs = lock(&server.process).is_some();
        if runs {
            server.wipe();
            let mut idle = lock(&IDLE);
            idle.push(server);
            // If there are too many, the oldest server ends.
            let one_too_many = (idle.len() > MOST_IDLE).then(|| idle.remove(0));
            drop(idle);
            drop(one_too_many);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn start() -> RealServer {
        RealServer::start(Config::USUAL).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn create_class(server: &RealServer, name: &str) {
        let (status, said) = server.json("POST", "/v1/schema", Some(&json!({ "class": name })));
        assert_eq!(status, 200, "{said}");
    }

    fn classes(server: &RealServer) -> usize {
        server.json("GET", "/v1/schema", None).1["classes"]
            .as_array()
            .expect("classes")
            .len()
    }

    #[test]
    #[ignore = "needs a real Weaviate server, which tests/run.sh provides"]
    fn real_weaviate_keeps_its_data_over_a_power_failure_and_can_be_wiped() {
        let server = start();
        create_class(&server, "One");
        server.stop();
        assert!(
            server.ask("GET", "/v1/schema", &[], &[]).is_err(),
            "it is stopped"
        );
        server.start_again().expect("it starts again");
        assert_eq!(classes(&server), 1);
        server.wipe();
        assert_eq!(classes(&server), 0);
        let folder = server.folder.clone();
        assert!(folder.exists());
        drop(server);
        assert!(!folder.exists());
    }

    #[test]
    #[ignore = "needs a real Weaviate server, which tests/run.sh provides"]
    fn real_weaviate_ends_with_the_process_that_started_it() {
        let mut server = start();
        // The kernel closes the pipe when it ends the process.
        drop(server.watchdog.stdin.take());
        let what = "the server and its folder to go";
        crate::wait::until(what, Duration::from_secs(10), || {
            let mut process = lock(&server.process);
            let state = process.as_mut().expect("a process").try_wait();
            state.expect("its state").is_some() && !server.folder.exists()
        });
    }

    #[test]
    #[ignore = "needs a real Weaviate server, which tests/run.sh provides"]
    fn two_real_weaviate_servers_run_side_by_side_on_loopback_only() {
        let (one, other) = (start(), start());
        create_class(&one, "One");
        assert_eq!((classes(&one), classes(&other)), (1, 0));
        let url = one.open().expect("a free port");
        let answer = ureq::get(format!("{url}/v1/schema"))
            .call()
            .expect("an answer")
            .body_mut()
            .read_to_string();
        assert!(answer.expect("a body").contains("\"class\":\"One\""));
        // Without their own namespace, the ports of the processes would be visible here.
        let ours = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        for server in [&one, &other] {
            let id = lock(&server.process).as_ref().expect("a process").id();
            assert_ne!(
                std::fs::read_link(format!("/proc/{id}/ns/net")).expect("a namespace"),
                ours
            );
        }
    }
}
