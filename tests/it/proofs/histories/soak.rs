//! Two hours compressed: overlapping processes of the built program, people and failing services, and nothing may be left
//! behind. `tests/soak.sh` starts it; `AGIRA_WORKER_SOAK` is how many runs, `AGIRA_WORKER_SEED` the seed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};

use fastrand::Rng;
use kit::github::TOKEN;

use super::agira::Databases;
use super::stage::{KEY, Stage};
use super::steps::History;

/// Processes at the same time.
const AT_ONCE: usize = 6;
/// After so many runs all are waited for, and the invariants are checked.
const OF_ONE_CHECK: u64 = 50;

/// A process that was started.
struct Run {
    child: Child,
    command: String,
    output: File,
    /// It was sent a signal.
    is_hit: bool,
}

impl Run {
    fn start(stage: &Stage<'_>, args: &[&str], folder: &Path) -> Self {
        let output = tempfile::tempfile().expect("a file without a name");
        let [out, err] = [(); 2].map(|()| output.try_clone().expect("another handle"));
        let mut command = stage.surroundings_without_pool().command(args);
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
        let pid = self.child.id().to_string();
        // It may have ended meanwhile.
        Command::new("kill")
            .args([signal, &pid])
            .output()
            .expect("kill");
        self.is_hit = true;
    }

    /// Waits for its end; how it ended.
    fn end(mut self) -> String {
        let status = self.child.wait().expect("a child");
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

/// What is left of the processes in PostgreSQL: connections and locks.
const LEFT: &str = "SELECT 'connection ' || a.state || ': ' || a.query FROM pg_stat_activity a
    WHERE a.usename = 'agira_worker' AND a.application_name = 'agira-worker'
    UNION ALL SELECT 'lock ' || l.mode || ' on ' || coalesce(l.relation::regclass::text, l.locktype) FROM pg_locks l
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid()";

fn check_nothing_is_left(stage: &mut Stage<'_>) {
    let mut left = Vec::new();
    // PostgreSQL learns of a killed client when it next reads from it.
    for _ in 0..10_000 {
        left = stage
            .databases
            .real
            .query(LEFT, &[])
            .iter()
            .map(|row| row.get::<_, String>(0))
            .collect();
        if left.is_empty() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("left in PostgreSQL: {left:#?}");
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
    let mut stage = Stage::new(&mut databases);
    let mut history = History::begin(&mut stage);
    let (mut living, mut ends) = (Vec::<Run>::new(), BTreeMap::<String, u64>::new());
    for number in 1..=runs {
        history.happen(random.u64(..));
        let mut args = history.args();
        match random.u32(0..8) {
            0 => args.push("--dry-run"),
            1 => args.extend(["--metrics-file", &metrics]),
            _ => {}
        }
        living.push(Run::start(history.stage, &args, folder.path()));
        if random.u32(0..5) == 0 {
            let index = random.usize(0..living.len());
            living[index].hit(["-KILL", "-KILL", "-TERM", "-INT"][random.usize(0..4)]);
        }
        let is_pause = number % OF_ONE_CHECK == 0 || number == runs;
        while living.len() >= AT_ONCE || (is_pause && !living.is_empty()) {
            *ends.entry(living.remove(0).end()).or_default() += 1;
        }
        if is_pause {
            check_nothing_is_left(history.stage);
            history.stage.check();
            history.stage.github.clear_log();
            history.stage.weaviate.clear_log();
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
