//! A real Weaviate, for the tests that also run against the simulator, and for the demo.
//!
//! Some of its ports are open on all interfaces whatever it is told, so it runs in a network namespace of its own; a Unix
//! socket leads in. That also lets several run side by side with the same ports.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::http::{Response, lock};
use crate::weaviate_named::Named;
use crate::weaviate_reached::{Reached, exchange};

/// The environment variable that names the server's program; `tests/weaviate.sh` prints what belongs into it.
pub const PROGRAM: &str = "AGIRA_WORKER_WEAVIATE_SERVER";

/// How long a server may take until it is ready; it takes about three seconds on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Servers that are kept for the next test; each takes about 100 MB.
const MOST_IDLE: usize = 4;

/// What can only be chosen before the server starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Adds what a class lacks.
    pub auto_schema: bool,
    /// Offers GraphQL.
    pub graphql: bool,
    /// The key that requests must carry; `None`: anonymous access.
    pub api_key: Option<String>,
    /// Objects in an answer to a query without a limit.
    pub default_limit: usize,
}

impl Config {
    /// What a server is that nobody configured.
    pub const USUAL: Self = Self {
        auto_schema: true,
        graphql: true,
        api_key: None,
        default_limit: 100,
    };
}

/// A running server; dropping it stops it and removes its folder, as does the end of this process, however it comes.
pub struct RealServer {
    config: Config,
    program: PathBuf,
    folder: PathBuf,
    process: Mutex<Option<Child>>,
    /// Holds the pipe whose end tells the watchdog that this process is gone.
    watchdog: Child,
}

impl RealServer {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// When there is none to start, or it does not start; says what to do.
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

    /// Starts it again over the same data, after [`Self::stop`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let socket = self.socket();
        // A server that was killed leaves it behind, and the next one would not listen.
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

    /// Kills it, as a power failure would; its data stays.
    pub fn stop(&self) {
        if let Some(mut process) = lock(&self.process).take() {
            // It may have ended on its own.
            let _ = process.kill();
            let _ = process.wait();
            // So that the watchdog kills nobody who gets the same number.
            let _ = std::fs::remove_file(self.folder.join("pid"));
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn command(&self) -> anyhow::Result<Command> {
        // Its id is written before it becomes the server, so that the watchdog always knows whom to stop.
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
        // Nothing of what somebody has set for a Weaviate of their own.
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
            command
                .env("AUTHENTICATION_APIKEY_ENABLED", "true")
                .env("AUTHENTICATION_APIKEY_ALLOWED_KEYS", key);
            command.env("AUTHENTICATION_APIKEY_USERS", "tester");
        }
        // A single node without network, whose disk may be as full as a developer's is.
        command.envs([
            ("CLUSTER_HOSTNAME", "node1"),
            ("CLUSTER_IN_LOCALHOST", "true"),
            ("CLUSTER_ADVERTISE_ADDR", "127.0.0.1"),
            ("CLUSTER_BIND_ADDR", "127.0.0.1"),
            ("RAFT_BOOTSTRAP_EXPECT", "1"),
            // There is nobody to wait for in an election.
            ("RAFT_TIMEOUTS_MULTIPLIER", "1"),
            ("DEFAULT_VECTORIZER_MODULE", "none"),
            // Modules that only call somebody else's API are there, as they are by default; nothing here uses them.
            ("ENABLE_MODULES", ""),
            ("DISABLE_TELEMETRY", "true"),
            ("GO_PROFILING_DISABLE", "true"),
            ("DISK_USE_READONLY_PERCENTAGE", "100"),
            ("LOG_LEVEL", "warning"),
        ]);
        Ok(command)
    }

    /// A command that runs where the server's own ports are: 8080, and 50051 for gRPC.
    ///
    /// # Panics
    /// When the server is stopped.
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

    /// Opens it on a free loopback port, byte for byte, for as long as this process runs; returns `http://127.0.0.1:PORT`.
    ///
    /// # Errors
    /// When there is no free port.
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

/// Passes bytes on until both sides are done; whoever goes away is missed by the other side alone.
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
        // It has only the folder to remove.
        let _ = self.watchdog.wait();
    }
}

/// Whoever is not has to become it in a namespace of users first.
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

/// Waits until this process is gone, however it went, then kills the server and removes its folder. A pipe tells: its
/// only writing end is this process's.
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

/// Servers that wait for the next test: starting one takes seconds.
static IDLE: Mutex<Vec<RealServer>> = Mutex::new(Vec::new());

/// An empty server for one test; it goes back with the value.
#[derive(Clone)]
pub struct Lent(Arc<Returned>);

enum Returned {
    Started(Option<RealServer>),
    Named(Named),
}

impl Lent {
    /// One with this configuration.
    ///
    /// # Panics
    /// When there is none and none can be started; says why.
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

    /// The one that somebody named, which is taken for one that nobody configured.
    ///
    /// # Panics
    /// When it cannot be used; says why.
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

    /// The server, if it is one that was started.
    pub fn started(&self) -> Option<&RealServer> {
        match &*self.0 {
            Returned::Started(server) => server.as_ref(),
            Returned::Named(_) => None,
        }
    }

    /// Kills it, as a power failure would; its data stays. A named one runs on.
    pub fn stop(&self) {
        if let Some(server) = self.started() {
            server.stop();
        }
    }

    /// Starts it again, after [`Self::stop`].
    ///
    /// # Errors
    /// When it does not start.
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
        // A named one goes back by itself.
        let Self::Started(server) = self else { return };
        // One that a failed test leaves behind may be in any state.
        let Some(server) = server.take().filter(|_| !std::thread::panicking()) else {
            return;
        };
        let runs = lock(&server.process).is_some();
        if runs {
            server.wipe();
            let mut idle = lock(&IDLE);
            idle.push(server);
            // The oldest goes, once there are too many.
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
    fn real_weaviate_ends_with_the_process_that_started_it_however_that_ends() {
        let mut server = start();
        // What the kernel does with the pipe of a process that was killed.
        drop(server.watchdog.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        while lock(&server.process)
            .as_mut()
            .expect("a process")
            .try_wait()
            .expect("its state")
            .is_none()
            || server.folder.exists()
        {
            assert!(
                Instant::now() < deadline,
                "the server or its folder is still there"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    #[ignore = "needs a real Weaviate server, which tests/run.sh provides"]
    fn two_real_weaviate_servers_run_side_by_side_open_to_nobody_but_this_machine() {
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
        // Ports that its processes hold would be seen here, had they no namespace of their own.
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
