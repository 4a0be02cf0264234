//! `--dry-run`: discovers, selects, observes and plans as a run does, and reports the plans. It
//! changes nothing anywhere.
//!
//! It does not foresee the effects of a run's deliveries, suspects, marks of plans, and limits
//! (design.md, "The pipeline").

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use log::Level;
use serde_json::Value;
use similar::TextDiff;

use super::claim::SLICE;
use super::discover;
use super::job::{Job, Scope};
use super::observe::{self, Dropped};
use super::plan::{self, Planned, PlannedMapping};
use super::state::Run;
use super::stop::Stop;
use crate::core::agira_object::CLASS;
use crate::core::failure::MappingErrorKind;
use crate::core::model::MappingId;
use crate::core::plan::Action;
use crate::core::records::Records;
use crate::db::{Claimed, Selection};
use crate::report::{Explanation, MappingReport, ObjectDiff, Outcome, Subject, schedule};

/// Mappings that a query of candidates reads besides the limit if repositories are hidden.
const HIDDEN_BATCH: usize = 1000;

/// Plans that are reported.
struct Preview {
    /// Each plan is explained, because `--mapping` names the mappings.
    explains: bool,
    /// Records as the plans of earlier slices leave them.
    carried: Records,
    /// Mappings that discovery would make due.
    marked: Vec<MappingId>,
}

/// Reports the plans of the mappings that a run would claim now, and of the rows that these plans
/// would insert.
pub fn run(run: &mut Run, job: &Job) -> Result<(), Stop> {
    run.announce_pauses(&job.filter)?;
    let marked = discover::changes(run, job)?;
    let (explains, carried) = (!job.filter.mappings.is_empty(), Records::default());
    let mut preview = Preview {
        explains,
        carried,
        marked,
    };
    let mut queue = VecDeque::new();
    let mut next = preview.select(run, job)?;
    run.progress.expect(next.len());
    loop {
        run.report.claimed += next.len() as u64;
        run.progress.claim(next.len());
        queue.extend(next);
        if queue.is_empty() {
            return Ok(());
        }
        if let Some(by) = run.budget.exhausted() {
            run.report.stop(by, "");
            for Claimed { mapping, item } in &queue {
                let entry = MappingReport::new(&Subject::new(mapping, item), Outcome::GivenBack);
                run.report.add(&entry);
            }
            return Ok(());
        }
        // Another run may have stored a pause since the last slice.
        run.refresh_pauses()?;
        let slice = queue.drain(..queue.len().min(SLICE)).collect();
        let mut observed = observe::slice(run, slice)?;
        preview.overlay(&mut observed.records);
        let planned = plan::slice(run, observed);
        next = preview.show(run, planned)?;
    }
}

impl Preview {
    /// Selects the mappings that a run would claim now. A named mapping gets a line instead of a
    /// plan if another run holds it, if it would be parked because its run died, or if the job
    /// takes no mapping whose run died.
    fn select(&self, run: &mut Run, job: &Job) -> Result<Vec<Claimed>, Stop> {
        let now = run.now();
        let mut selected = self.candidates(run, job, now)?;
        if job.filter.selection == Selection::Named {
            let max_attempts = run.policy.max_attempts;
            selected.retain(|claimed| {
                let mapping = &claimed.mapping;
                let until = mapping.claimed_until;
                let takes_suspects = job.scope == Scope::Everything;
                let is_held = until.is_some_and(|until| until >= now || !takes_suspects);
                let suspect = until.and_then(|_| claimed.parked_as_suspect(max_attempts));
                let result = match (is_held, suspect) {
                    (true, _) => Some((Outcome::GivenBack, schedule(mapping, now))),
                    (false, Some(reason)) => Some((Outcome::Failed, super::claim::parked(&reason))),
                    (false, None) => None,
                };
                if let Some((outcome, reason)) = &result {
                    let subject = Subject::new(mapping, &claimed.item);
                    let entry = MappingReport::new(&subject, *outcome).because(reason);
                    run.report.add(&entry);
                }
                result.is_none()
            });
        }
        Ok(selected)
    }

    /// Selects mappings without those of hidden repositories, which a run lets wait.
    fn candidates(
        &self,
        run: &mut Run,
        job: &Job,
        now: DateTime<Utc>,
    ) -> Result<Vec<Claimed>, Stop> {
        let mut filter = job.filter.clone();
        let has_hidden = filter.selection == Selection::Due && !run.hidden.is_empty();
        if !has_hidden {
            return Ok(run.db.select(&filter, job.limit, &self.marked, now)?);
        }
        let most = job.limit + HIDDEN_BATCH;
        loop {
            let selected = run.db.select(&filter, most, &self.marked, now)?;
            let (hidden, mut others): (Vec<_>, Vec<_>) =
                selected.into_iter().partition(|one| run.hidden.has(one));
            if hidden.is_empty() || others.len() >= job.limit {
                others.truncate(job.limit);
                return Ok(others);
            }
            let ids = hidden.iter().map(|one| one.mapping.id.0);
            filter.excluded.extend(ids);
        }
    }

    /// Applies the changes of earlier plans and the marks of discovery to records that were read.
    fn overlay(&self, records: &mut Records) {
        records.overlay(&self.carried);
        for row in &mut records.rows {
            row.is_scheduled |= self.marked.contains(&row.id);
        }
    }

    /// Adds the plans of a slice to the result; returns the rows that they would insert, as claimed
    /// by this run.
    fn show(&mut self, run: &mut Run, planned: Planned) -> Result<Vec<Claimed>, Stop> {
        if run.index.lacks_class() && self.carried.objects.is_empty() {
            let text =
                format!("Weaviate has no class {CLASS}: it would be created, without a vectorizer");
            run.report.notice(Level::Info, &text);
        }
        for Dropped {
            claimed,
            subject,
            error,
            ..
        } in &planned.rest.dropped
        {
            let Claimed { mapping, item } = claimed;
            let outcome = match error.kind {
                MappingErrorKind::Released | MappingErrorKind::Postponed => Outcome::GivenBack,
                _ => Outcome::Failed,
            };
            let explain = || Explanation::new(mapping, item, None, run.now());
            let explanation = self.explains.then(explain);
            run.report.add(&MappingReport {
                explanation: explanation.as_ref(),
                ..MappingReport::new(subject, outcome).because(&error.message)
            });
        }
        let mut inserted = Vec::new();
        let mut mappings = planned.mappings;
        for one in &mut mappings {
            if run.index.is_down() {
                one.plan.postpone_writes();
            }
            self.show_plan(run, one);
            inserted.extend(inserted_rows(one, &planned.records));
        }
        // The records of this slice include the changes of earlier slices.
        if !mappings.is_empty() {
            self.carried = planned.records;
        }
        planned.rest.stop.map_or(Ok(inserted), Err)
    }

    fn show_plan(&self, run: &mut Run, one: &PlannedMapping) {
        let (plan, subject) = (&one.plan, one.subject());
        let Claimed { mapping, item } = &one.claimed;
        let explanation = self.explains.then(|| {
            let diffs = text_diffs(run, one);
            Explanation::new(mapping, item, Some(&one.snapshot), run.now())
                .with_decision(&plan.notes, diffs)
        });
        for action in &plan.actions {
            subject.log(Level::Debug, format_args!("would: {action}"));
        }
        let outcome = match plan.actions.is_empty() {
            true => Outcome::Unchanged,
            false => Outcome::Planned,
        };
        run.report.weaviate.unchanged += plan.unchanged_objects() as u64;
        run.report.add(&MappingReport {
            explanation: explanation.as_ref(),
            ..MappingReport::new(&subject, outcome).with_plan(plan, &one.snapshot)
        });
    }
}

/// Returns the differences between the texts in Weaviate and the texts that would be written.
fn text_diffs(run: &mut Run, one: &PlannedMapping) -> Vec<ObjectDiff> {
    let mut diffs = Vec::new();
    for action in &one.plan.actions {
        let Action::Write { object, .. } = action else {
            continue;
        };
        let key = object.key();
        let stored = run.index.object(key.uuid(), &mut run.report);
        let stored = stored.unwrap_or(Value::Null);
        let old = stored["properties"]["text"].as_str().unwrap_or_default();
        let diff = TextDiff::from_lines(old, &object.text);
        let mut diff = diff.unified_diff();
        let diff = diff
            .context_radius(3)
            .missing_newline_hint(false)
            .to_string();
        diffs.push(ObjectDiff {
            object: key.to_string(),
            diff,
        });
    }
    diffs
}

/// Returns the rows that a plan inserts.
fn inserted_rows(one: &PlannedMapping, records: &Records) -> Vec<Claimed> {
    let rows = one.plan.actions.iter().filter_map(|action| match action {
        Action::InsertPullRequest { pull_request } => {
            records.row_with_github_id(pull_request.github_id)
        }
        _ => None,
    });
    let claimed = rows.map(|row| Claimed {
        mapping: row.to_mapping(),
        item: one.claimed.item.clone(),
    });
    claimed.collect()
}
