//! A real PgBouncer in front of the throwaway PostgreSQL.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::postgres_process::{as_user, other_user, run};
use crate::postgres_server::Cluster;
use crate::wait;

/// A running PgBouncer; dropping it, or the end of this process for any reason, stops it.
pub struct PgBouncer {
    port: u16,
    /// Shell that stops PgBouncer when its stdin ends.
    shell: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts PgBouncer with one session of PostgreSQL for all clients, and with these settings, such as
    /// `pool_mode = transaction`.
    ///
    /// # Panics
    /// If there is no PgBouncer, or it does not start.
    pub fn start(settings: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("agira-worker-bouncer-")
            .tempdir()
            .expect("a temporary folder");
        let cluster = Cluster::shared();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let (users, file) = (folder.path().join("users"), folder.path().join("ini"));
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\ndefault_pool_size = 1\n{settings}\n",
            cluster.socket_folder().display(),
            cluster.port(),
            users.display()
        );
        std::fs::write(&users, "\"agira_worker\" \"\"\n").expect("a file");
        std::fs::write(&file, text).expect("a file");
        let user = other_user().expect("the user");
        if let Some(user) = &user {
            run(Command::new("chown").args(["-R", user]).arg(folder.path())).expect("chown");
        }
        let bouncer = as_user(user.as_deref(), "pgbouncer".as_ref());
        let script = "trap '' INT TERM HUP; \"$@\" & read _; kill -KILL $!";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, "watchdog"])
            .arg(bouncer.get_program())
            .args(bouncer.get_args())
            .args(["--quiet".as_ref(), file.as_os_str()]);
        let shell = shell.current_dir("/").stdin(Stdio::piped());
        let shell = shell.stdout(Stdio::null()).stderr(Stdio::null());
        let shell = shell.spawn().expect("sh");
        wait::until("PgBouncer to listen", wait::SOON, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            port,
            shell,
            _folder: folder,
        }
    }

    /// Returns the same address through PgBouncer.
    pub fn url(&self, url: &str) -> String {
        let direct = format!("127.0.0.1:{}", Cluster::shared().port());
        url.replacen(&direct, &format!("127.0.0.1:{}", self.port), 1)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
