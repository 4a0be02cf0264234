//! A throwaway PostgreSQL: one real server per process, one database per test.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use postgres::{Client, NoTls, Row};

use crate::postgres_process::{as_user, binaries, other_user, run, watchdog};

/// A running server on a free loopback port. When the process ends for any reason, the server is stopped and its folder
/// removed.
pub struct Cluster {
    port: u16,
    /// Major version of PostgreSQL.
    version: u32,
    folder: PathBuf,
    /// Pipe whose end tells the watchdog that this process has ended.
    _watchdog: Child,
}

/// Returns the folder `sql/` of the project.
pub fn sql(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../sql")
        .join(name)
}

/// Returns the path of `examples/sql/role.sql`.
pub fn role_sql() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sql/role.sql")
}

/// Template database for the databases of tests.
pub const TEMPLATE: &str = "kit_template";
/// Template database without `sql/worker.sql`.
const AGIRA_TEMPLATE: &str = "kit_agira_template";

impl Cluster {
    /// Returns the server of this process; the first call starts it.
    ///
    /// # Panics
    /// If there is no PostgreSQL to start; the message says what to install.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::of(&[]))
    }

    /// Starts a separate server with these files in its data folder, which settings can name. `postgresql.conf` is
    /// added to the usual settings, and `pg_hba.conf` replaces the usual rules.
    ///
    /// # Panics
    /// Like [`Cluster::shared`].
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self::start(files).unwrap_or_else(|error| panic!("no throwaway PostgreSQL: {error:#}"))
    }

    fn start(files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let bin = binaries()?;
        let folder = tempfile::Builder::new()
            .prefix("agira-worker-pg-")
            .tempdir()?
            .keep();
        let watchdog = watchdog(&bin, &folder)?;
        let user = other_user()?;
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(&folder))?;
        }
        let data = folder.join("data");
        let mut initdb = as_user(user.as_deref(), &bin.join("initdb"));
        initdb.args([
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--username=postgres",
            "--no-sync",
            "-D",
        ]);
        run(initdb.arg(&data))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nmax_connections = 200\n\
             fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off\n\
             shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = top\npg_stat_statements.max = 50000\n",
            folder.display()
        );
        std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))?
            .write_all(settings.as_bytes())?;
        for (name, content) in files {
            let path = data.join(name);
            let append = *name == "postgresql.conf";
            let mut options = std::fs::OpenOptions::new();
            options
                .create(true)
                .write(true)
                .append(append)
                .truncate(!append)
                .mode(0o600);
            options.open(&path)?.write_all(content.as_bytes())?;
            if let Some(user) = &user {
                run(Command::new("chown").arg(user).arg(&path))?;
            }
        }
        let mut start = as_user(user.as_deref(), &bin.join("pg_ctl"));
        start
            .args(["start", "--wait", "--silent", "-D"])
            .arg(&data)
            .arg("--log")
            .arg(folder.join("log"));
        run(&mut start)?;
        let cluster = Self {
            port,
            version: version(&data)?,
            folder,
            _watchdog: watchdog,
        };
        let mut client = cluster.client("postgres");
        for (name, files) in [
            (AGIRA_TEMPLATE, &["agira.sql"][..]),
            (TEMPLATE, &["agira.sql", "worker.sql"]),
        ] {
            client.batch_execute(&format!("CREATE DATABASE {name}"))?;
            let mut template = cluster.client(name);
            template.batch_execute("CREATE EXTENSION pg_stat_statements")?;
            // Tests use gen_random_uuid(), which version 12 has only here.
            if cluster.version < 13 {
                template.batch_execute("CREATE EXTENSION pgcrypto SCHEMA pg_catalog")?;
            }
            for file in files {
                template.batch_execute(&std::fs::read_to_string(sql(file))?)?;
            }
        }
        cluster
            .client(TEMPLATE)
            .batch_execute(&std::fs::read_to_string(role_sql())?)?;
        Ok(cluster)
    }

    /// Stops the server in one of pg_ctl's modes: `fast` ends all sessions, and `immediate` is like a crash.
    ///
    /// # Panics
    /// If pg_ctl fails.
    pub fn stop(&self, mode: &str) {
        self.control(&["stop", "--mode", mode]);
    }

    /// Starts the server again.
    ///
    /// # Panics
    /// If pg_ctl fails.
    pub fn start_again(&self) {
        self.control(&["start"]);
    }

    fn control(&self, arguments: &[&str]) {
        let control = || {
            let mut control = as_user(other_user()?.as_deref(), &binaries()?.join("pg_ctl"));
            control
                .args(arguments)
                .args(["--wait", "--silent", "-D"])
                .arg(self.folder.join("data"));
            run(control.arg("--log").arg(self.folder.join("log")))
        };
        control().unwrap_or_else(|error| panic!("the throwaway PostgreSQL: {error:#}"));
    }

    /// Returns the loopback port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder with the server's unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Returns `postgresql://postgres@127.0.0.1:PORT/DATABASE`.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the path of the unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }

    fn client(&self, database: &str) -> Client {
        Client::connect(&self.url(database), NoTls).expect("the throwaway PostgreSQL answers")
    }
}

/// Returns the major version of the server that made this data folder.
fn version(data: &Path) -> anyhow::Result<u32> {
    Ok(std::fs::read_to_string(data.join("PG_VERSION"))?
        .trim()
        .parse()?)
}

/// A separate database for one test; dropping the value drops the database.
pub struct Database {
    name: String,
}

/// State of a whole database at one moment: the rows of each table as text, with `xmin`.
pub type Dump = BTreeMap<String, Vec<String>>;

impl Database {
    /// Creates a database with Agira's tables and the worker's.
    pub fn create() -> Self {
        Self::copy(TEMPLATE)
    }

    /// Creates a database with only Agira's tables.
    pub fn agira_only() -> Self {
        Self::copy(AGIRA_TEMPLATE)
    }

    /// Creates an empty database.
    pub fn empty() -> Self {
        Self::copy("template1")
    }

    /// Creates a database with Agira's tables and the worker's, whose collation is Turkish, in which the lower case of
    /// `I` is not `i`.
    ///
    /// # Panics
    /// If the server is older than PostgreSQL 15 or was built without ICU.
    pub fn turkish() -> Self {
        let options = "template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr' LOCALE 'C' ENCODING 'UTF8'";
        let database = Self::copy(options);
        database.run_file("agira.sql");
        database.install();
        database
    }

    /// Copies this database. Waits until nobody is connected to it.
    pub fn duplicate(&self) -> Self {
        let mut client = Cluster::shared().client("postgres");
        let busy = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1)";
        crate::wait::until(
            "the sessions of a database to end",
            crate::wait::SOON,
            || {
                let is_busy = client.query_one(busy, &[&self.name]);
                !is_busy.expect("PostgreSQL answers").get::<_, bool>(0)
            },
        );
        Self::copy(&self.name)
    }

    fn copy(template: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // CREATE DATABASE fails while another session copies the same template.
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let cluster = Cluster::shared();
        let name = format!("kit_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        // Before version 15, there is no other one.
        let strategy = match cluster.version {
            15.. => "STRATEGY file_copy",
            _ => "",
        };
        let _guard = crate::http::lock(&ONE_AT_A_TIME);
        cluster
            .client("postgres")
            .batch_execute(&format!(
                "CREATE DATABASE {name} TEMPLATE {template} {strategy}"
            ))
            .expect("a new database");
        Self { name }
    }

    /// Returns `postgresql://postgres@127.0.0.1:PORT/NAME`.
    pub fn url(&self) -> String {
        Cluster::shared().url(&self.name)
    }

    /// Returns the same address for the role of `examples/sql/role.sql`, which has only the privileges that
    /// agira-worker needs.
    pub fn worker_url(&self) -> String {
        self.url().replacen("postgres@", "agira_worker@", 1)
    }

    /// Opens a new connection.
    pub fn client(&self) -> Client {
        Cluster::shared().client(&self.name)
    }

    /// Runs a file of `sql/`.
    pub fn run_file(&self, name: &str) {
        let text = std::fs::read_to_string(sql(name)).expect("a file of sql/");
        self.client()
            .batch_execute(&text)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }

    /// Installs the worker's columns, tables and role, as the README says.
    pub fn install(&self) {
        self.run_file("worker.sql");
        let role = std::fs::read_to_string(role_sql()).expect("role.sql");
        self.client()
            .batch_execute(&role)
            .unwrap_or_else(|error| panic!("role.sql: {error:?}"));
    }

    /// Returns every row of every table as text with its `xmin`, without the columns and tables whose names start with
    /// `without` (an empty text omits none).
    pub fn dump(&self, without: &str) -> Dump {
        let mut client = self.client();
        let sql = dumping(&mut client, without);
        dumped(
            &client
                .query(&sql, &[])
                .expect("the tables of the catalogue"),
        )
    }

    /// Returns the statements that clients sent to this database since the last [`Self::reset_statements`], transaction
    /// control included, with their counts. PostgreSQL's own checks of deferred foreign keys, which it runs at COMMIT,
    /// do not count.
    pub fn statements(&self) -> Vec<(String, i64)> {
        self.client()
            .query(
                "SELECT query, calls FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
                 WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%'
                 AND query NOT LIKE 'SELECT $_ FROM ONLY %' ORDER BY query",
                &[],
            )
            .expect("pg_stat_statements")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect()
    }

    /// Resets the statement counts.
    pub fn reset_statements(&self) {
        let reset = "SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0)";
        self.client()
            .batch_execute(reset)
            .expect("pg_stat_statements");
    }
}

/// Returns the statement that reads a [`Dump`].
pub fn dumping(client: &mut Client, without: &str) -> String {
    let tables = client
        .query(
            "SELECT format($f$SELECT '%s', ARRAY(SELECT xmin::text || ' ' || ROW(%s)::text FROM %1$I ORDER BY 1)$f$,
                c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
             AND ($1 = '' OR NOT (starts_with(c.relname, $1) OR starts_with(a.attname, $1)))
             GROUP BY c.relname",
            &[&without],
        )
        .expect("the catalogue");
    tables
        .iter()
        .map(|row| row.get(0))
        .collect::<Vec<String>>()
        .join(" UNION ALL ")
}

/// Returns the result of a statement of [`dumping`].
pub fn dumped(rows: &[Row]) -> Dump {
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

impl Drop for Database {
    fn drop(&mut self) {
        // WITH (FORCE) exists since version 13.
        let drop = format!("DROP DATABASE IF EXISTS {}", self.name);
        let sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        // The server may already be shutting down; its folder is removed anyway.
        if let Ok(mut client) = Client::connect(&Cluster::shared().url("postgres"), NoTls) {
            let _ = client.query(sessions, &[&self.name]);
            let _ = client.batch_execute(&drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_is_its_own() {
        let (one, other) = (Database::create(), Database::create());
        one.client()
            .batch_execute("DELETE FROM django_content_type")
            .unwrap();
        assert_eq!(one.dump("")["django_content_type"].len(), 0);
        assert_eq!(other.dump("")["django_content_type"].len(), 4);
    }

    #[test]
    fn agira_sql_can_be_run_twice() {
        let database = Database::agira_only();
        let before = database.dump("");
        database.run_file("agira.sql");
        assert_eq!(database.dump(""), before);
    }

    #[test]
    fn statements_are_counted() {
        let database = Database::create();
        database.reset_statements();
        database
            .client()
            .query("SELECT count(*) FROM core_item", &[])
            .unwrap();
        let counted: Vec<_> = database
            .statements()
            .into_iter()
            .filter(|(query, _)| query.contains("core_item"))
            .collect();
        assert_eq!(counted, [("SELECT count(*) FROM core_item".to_owned(), 1)]);
    }
}
