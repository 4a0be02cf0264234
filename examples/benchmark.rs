//! What runs cost: requests, statements, bytes, time and memory over the number of mappings.
//!
//! Usage: `cargo build --release && cargo run --release --example benchmark [MAPPINGS]...`
//!
//! Everything runs on loopback against the kit's services, so times are those of the program and of PostgreSQL; counts hold
//! anywhere.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kit::agira;
use kit::github::{Github, TOKEN};
use kit::postgres_server::Database;
use kit::weaviate::Weaviate;

fn main() {
    let given: Vec<i32> = std::env::args().skip(1).map(|size| size.parse().expect("a number of mappings")).collect();
    let sizes = if given.is_empty() { vec![200, 1000] } else { given };
    println!("| mappings | run | GitHub requests | Weaviate requests | SQL statements | KB received | ms | peak MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for size in sizes {
        let services = Services::with(size);
        let limit = size.to_string();
        services.measure("all closed, never synced", &["sync", "--limit", &limit]);
        services.measure("nothing due", &["sync"]);
        services.measure("everything rechecked", &["sync", "--recheck-now", "--limit", &limit]);
    }
}

struct Services {
    size: i32,
    database: Database,
    github: Github,
    weaviate: Weaviate,
}

impl Services {
    /// That many closed issues of ten repositories, each with its item.
    fn with(size: i32) -> Self {
        let services =
            Self { size, database: Database::create(), github: Github::start(), weaviate: Weaviate::start() };
        let mut client = services.database.client();
        let projects = (0..10).map(|index| agira::project(&mut client, "Project", "acme", &format!("repo-{index}")));
        let projects: Vec<i64> = projects.collect();
        for number in 1..=size {
            let repository = format!("acme/repo-{}", number % 10);
            let key = format!("{repository}#{number}");
            let github_id = services.github.issue(&key, |issue| issue.body = "A line of text.\n".repeat(60));
            services.github.close(&key, "2026-03-01T10:00:00Z");
            let item = agira::item(&mut client, projects[(number % 10) as usize], "Working");
            agira::issue(&mut client, item, github_id, &repository, number, "open");
        }
        client.batch_execute("ANALYZE").expect("statistics");
        services
    }

    fn measure(&self, name: &str, args: &[&str]) {
        self.github.clear_log();
        self.weaviate.clear_log();
        self.database.reset_statements();
        let start = Instant::now();
        let child = Command::new(program())
            .args(args)
            .args(["--quiet", "--time-budget", "1h"])
            .env("DATABASE_URL", self.database.url())
            .env("GITHUB_API_URL", self.github.url())
            .env("GITHUB_TOKEN", TOKEN)
            .env("WEAVIATE_URL", self.weaviate.url())
            .stdout(Stdio::null())
            .spawn()
            .expect("agira-worker starts: run cargo build --release first");
        let peak = peak_kilobytes(child);
        let elapsed = start.elapsed();
        let exchanges = [self.github.requests(), self.weaviate.requests()];
        let bytes: usize = exchanges.iter().flatten().map(|exchange| exchange.sent_bytes).sum();
        let statements: i64 = self.database.statements().iter().map(|(_, calls)| calls).sum();
        println!(
            "| {} | {name} | {} | {} | {statements} | {} | {} | {} |",
            self.size,
            exchanges[0].len(),
            exchanges[1].len(),
            bytes / 1024,
            elapsed.as_millis(),
            peak / 1024
        );
    }
}

/// The release binary beside this example.
fn program() -> PathBuf {
    let example = std::env::current_exe().expect("the path of this example");
    example.parent().and_then(|folder| folder.parent()).expect("target/release").join("agira-worker")
}

/// Waits for the end and returns the high-water mark of the resident memory, as Linux keeps it while the process lives.
fn peak_kilobytes(mut child: Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("the state of the child").is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = kilobytes.unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}
