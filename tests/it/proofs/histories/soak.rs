//! Overlapping processes of the built program, with people and failing services. They must reach the final state of the
//! twin and leave nothing behind. `tests/soak.sh` starts this test; `AGIRA_WORKER_SOAK` is the number of runs, and
//! `AGIRA_WORKER_SEED` the seed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;

use fastrand::Rng;
use kit::github::TOKEN;
use kit::wait;

use super::agira::Databases;
use super::steps::History;
use super::world::{HistoryWorld, KEY};

/// Number of processes at the same time.
const AT_ONCE: usize = 6;
/// Number of runs after which the test waits for all processes and checks the invariants.
const OF_ONE_CHECK: u64 = 50;

/// A process that was started.
struct Run {
    child: Child,
    command: String,
    output: File,
    /// True if the process received a signal.
    is_hit: bool,
}

impl Run {
    fn start(world: &HistoryWorld<'_>, args: &[&str], folder: &Path) -> Self {
        let output = tempfile::tempfile().expect("a file without a name");
        let [out, err] = [(); 2].map(|()| output.try_clone().expect("another handle"));
        let mut command = world.surroundings_without_pool().command(args);
        command
            .current_dir(folder)
            .env("TMPDIR", folder)
            .stdout(out)
            .stderr(err);
        let child = command.spawn().expect("the program starts");
        Self {
            child,
            command: args.join(" "),
            output,
            is_hit: false,
        }
    }

    fn hit(&mut self, signal: &str) {
        // The process may have ended already.
        wait::signal(self.child.id(), signal);
        self.is_hit = true;
    }

    /// Waits for the end of the process; returns its exit status.
    fn end(mut self) -> String {
        let status = wait::end(&mut self.child, wait::RUN);
        self.output.rewind().expect("a file");
        let mut said = String::new();
        self.output.read_to_string(&mut said).expect("UTF-8");
        assert!(
            [TOKEN, KEY].iter().all(|secret| !said.contains(secret)),
            "invariant 12: {}",
            self.command
        );
        let is_expected = match (status.code(), status.signal()) {
            (Some(0 | 1 | 3 | 75), _) => true,
            (Some(130 | 143), _) | (None, Some(9 | 2 | 15)) => self.is_hit,
            _ => false,
        };
        assert!(is_expected, "{}: {status}\n{said}", self.command);
        status.to_string()
    }
}

/// Query for the connections and locks that the processes left in PostgreSQL.
const LEFT: &str = "SELECT 'connection ' || a.state || ': ' || a.query FROM pg_stat_activity a
    WHERE a.usename = 'agira_worker' AND a.application_name = 'agira-worker'
    UNION ALL SELECT 'lock ' || l.mode || ' on ' || coalesce(l.relation::regclass::text, l.locktype) FROM pg_locks l
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid()";

fn check_nothing_is_left(world: &mut HistoryWorld<'_>) {
    // PostgreSQL notices that a client was killed when it next reads from the connection.
    wait::until_ok(wait::SOON, || {
        let left = world.databases.real.query(LEFT, &[]);
        let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("left in PostgreSQL: {left:#?}")),
        }
    });
}

#[test]
#[ignore = "tests/soak.sh"]
fn overlapping_processes_end_as_their_undisturbed_twin() {
    super::logger::init();
    let (seed, runs) = (
        super::number("AGIRA_WORKER_SEED", 1),
        super::number("AGIRA_WORKER_SOAK", 2000),
    );
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = folder
        .path()
        .join("agira-worker.prom")
        .display()
        .to_string();
    let mut random = Rng::with_seed(seed);
    let mut databases = Databases::create();
    let mut world = HistoryWorld::new(&mut databases);
    let mut history = History::begin(&mut world);
    let (mut living, mut ends) = (Vec::<Run>::new(), BTreeMap::<String, u64>::new());
    for number in 1..=runs {
        history.happen(random.u64(..));
        let mut args = history.args();
        match random.u32(0..8) {
            0 => args.push("--dry-run"),
            1 => args.extend(["--metrics-file", &metrics]),
            _ => {}
        }
        living.push(Run::start(history.world, &args, folder.path()));
        if random.u32(0..5) == 0 {
            let index = random.usize(0..living.len());
            living[index].hit(["KILL", "KILL", "TERM", "INT"][random.usize(0..4)]);
        }
        let is_pause = number % OF_ONE_CHECK == 0 || number == runs;
        while living.len() >= AT_ONCE || (is_pause && !living.is_empty()) {
            *ends.entry(living.remove(0).end()).or_default() += 1;
        }
        if is_pause {
            check_nothing_is_left(history.world);
            history.world.check();
            history.world.github.clear_log();
            history.world.weaviate.clear_log();
        }
    }
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|file| file.unwrap().path())
        .collect();
    assert!(
        files
            .iter()
            .all(|file| file.display().to_string() == metrics),
        "files are left: {files:?}"
    );
    println!("{runs} runs, seed {seed}: {ends:?}; {}", history.sum());
    history.end();
}
