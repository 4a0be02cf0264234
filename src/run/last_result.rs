//! The result of a run that another thread ends.

use std::path::PathBuf;

use super::job::Job;
use super::stop::Budget;
use crate::report::{LastWord, Progress, Report, metrics};

/// Prepares the result of a run that another thread ends.
pub struct LastResult {
    last_word: LastWord,
    progress: Progress,
    /// File for the metrics, unless the run is a dry run.
    pub metrics_file: Option<PathBuf>,
}

impl LastResult {
    /// Returns the result of a job.
    pub fn new(job: &Job, last_word: LastWord, progress: Progress) -> Self {
        let metrics_file = job.metrics_file.clone().filter(|_| !job.dry_run);
        Self {
            last_word,
            progress,
            metrics_file,
        }
    }

    /// Makes the report as it is now the result if another thread ends the process.
    pub fn prepare(&self, report: &mut Report, budget: Option<&Budget>) {
        let (mut report, budget) = (report.snapshot(), budget.cloned());
        let (metrics_file, progress) = (self.metrics_file.clone(), self.progress.clone());
        let is_on_terminal = report.is_on_terminal;
        self.last_word.prepare(is_on_terminal, move |ending| {
            report.end(ending);
            report.finished_at = budget.map(|budget| budget.now());
            let code = report.exit_code();
            progress.clear_soon();
            report.print_result();
            if let Some(path) = metrics_file {
                metrics::write(&path, &mut report, None);
            }
            code
        });
    }
}
