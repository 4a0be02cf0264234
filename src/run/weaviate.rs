//! Weaviate during one run: ready, without our class, or down. If Weaviate is down, the run goes
//! on; objects wait in the outboxes, and a later run delivers them.

use std::collections::HashMap;
use std::time::Instant;

use log::Level;
use serde_json::Value;
use uuid::Uuid;

use super::stop::{Budget, Stop};
use crate::core::agira_object::CLASS;
use crate::core::failure::{FailureKind, ServiceError, is_one_reason, weaviate_message};
use crate::core::pause::Pause;
use crate::core::text::timestamp;
use crate::db::{Access, Db};
use crate::report::{Report, StoppedBy};
use crate::weaviate::{ClassState, ObjectWrite, StoredObject, Weaviate};

/// Largest number of objects in one write. If Weaviate goes down, the results of earlier writes
/// count.
const OBJECTS_PER_CALL: usize = 200;

/// Scope of Weaviate's pauses in `worker_pause`.
pub const WEAVIATE: &str = "weaviate";

/// Result of each object that was sent: accepted, or rejected with a reason. An object without an
/// entry waits.
pub type WriteResults = HashMap<Uuid, Result<(), String>>;

/// State of Weaviate, as of its latest response in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Unknown,
    /// The class fits.
    Ready,
    /// Weaviate answers, but has no class of our name.
    ClassMissing,
    /// Weaviate does not answer, refuses us, demands a pause, or has a class that does not fit.
    Down,
}

/// Weaviate with its state.
pub struct Index {
    client: Weaviate,
    readiness: Readiness,
    budget: Budget,
    /// The last pause that Weaviate demanded, which may be over.
    pause: Option<Pause>,
    /// This run has not stored the pause so far.
    is_pause_new: bool,
}

impl Index {
    /// Wraps a client; nothing is sent yet.
    pub fn new(client: Weaviate, budget: Budget) -> Self {
        Self {
            client,
            readiness: Readiness::Unknown,
            budget,
            pause: None,
            is_pause_new: false,
        }
    }

    /// Reads the pause that a run, this one or another, has stored.
    pub fn read_pause(&mut self, db: &mut Db) -> anyhow::Result<()> {
        self.pause = db.pause(WEAVIATE)?;
        Ok(())
    }

    /// Stores a pause that Weaviate demanded since the last call, so that later runs respect it.
    pub fn store_pause(&mut self, db: &mut Db, access: Access) -> Result<(), Stop> {
        let is_new = std::mem::take(&mut self.is_pause_new) && access == Access::ReadWrite;
        match self.pause.as_ref().filter(|_| is_new) {
            Some(pause) => Ok(db.store_pause(pause)?),
            None => Ok(()),
        }
    }

    /// Lets Weaviate be asked until `deadline`.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.client.set_deadline(deadline);
    }

    /// Returns true if Weaviate failed in this run, or must not be asked any more.
    pub fn is_down(&self) -> bool {
        self.readiness == Readiness::Down || self.client.is_out_of_time()
    }

    /// Returns true if Weaviate has no class of our name.
    pub fn lacks_class(&self) -> bool {
        self.readiness == Readiness::ClassMissing
    }

    /// Returns the name of the class's vectorizer; `None` if this run did not read the class.
    pub fn vectorizer(&self) -> Option<&str> {
        self.client.vectorizer()
    }

    /// Returns the number of requests sent so far.
    pub fn requests(&self) -> u64 {
        self.client.requests()
    }

    /// Returns the reason why Weaviate, although it is ready, could not read this object.
    pub fn unreadable(&self, id: Uuid) -> Option<&str> {
        self.client.unreadable(id)
    }

    /// Remembers objects that Weaviate has rejected before, so that their next failure is their
    /// own, too, even if no other object is accepted.
    pub fn remember_rejected(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        self.client.remember_rejected(ids);
    }

    /// Returns true if Weaviate has rejected this object before. Such objects come last.
    pub fn was_rejected(&self, id: Uuid) -> bool {
        self.client.was_rejected(id)
    }

    /// Reads and checks the class once per run, before anything is written. Returns false if
    /// Weaviate must not be asked or cannot be used. A missing class is no obstacle, because a
    /// write creates it.
    pub fn check(&mut self, report: &mut Report) -> bool {
        let now = self.budget.now();
        if let Some(pause) = self.pause.as_ref().filter(|pause| pause.holds(now))
            && !self.is_down()
        {
            let (until, reason) = (timestamp(pause.until), &pause.reason);
            let reason = format!("Weaviate is not asked before {until}: {reason}");
            self.readiness = Readiness::Down;
            tell(report, Level::Warn, &reason);
            report.stop(StoppedBy::Weaviate, &reason);
        }
        if self.readiness == Readiness::Unknown {
            match self.client.class() {
                Ok(ClassState::Fits) => self.readiness = Readiness::Ready,
                Ok(ClassState::Missing) => self.readiness = Readiness::ClassMissing,
                Ok(ClassState::Unfit(problems)) => {
                    self.readiness = Readiness::Down;
                    let error = format!("Weaviate: {problems}");
                    tell(report, Level::Error, &error);
                    report.fail(&error);
                }
                Err(error) => self.fail(&error, report),
            }
        }
        !self.is_down()
    }

    /// Reads the state of each object, except for those that [`Index::unreadable`] explains; `None`
    /// if Weaviate cannot be asked.
    pub fn object_states(
        &mut self,
        ids: &[Uuid],
        report: &mut Report,
    ) -> Option<HashMap<Uuid, StoredObject>> {
        if !self.check(report) {
            return None;
        }
        if self.lacks_class() {
            let missing = ids.iter().map(|id| (*id, StoredObject::missing()));
            return Some(missing.collect());
        }
        let states = self.client.object_states(ids);
        let states = states.map_err(|error| self.fail(&error, report)).ok()?;
        if states.len() < ids.len() && self.client.is_out_of_time() {
            self.end(report);
        }
        Some(states)
    }

    /// Reads a whole object; `None` if it is missing or Weaviate cannot be asked.
    pub fn object(&mut self, id: Uuid, report: &mut Report) -> Option<Value> {
        if self.readiness != Readiness::Ready {
            return None;
        }
        let object = self.client.object(id);
        object.map_err(|error| self.fail(&error, report)).ok()?
    }

    /// Writes objects, and first creates the class if it is missing. Objects that were not sent
    /// because Weaviate went down have no result.
    pub fn write(&mut self, objects: &[ObjectWrite], report: &mut Report) -> WriteResults {
        let mut results = WriteResults::with_capacity(objects.len());
        if self.lacks_class() && !objects.is_empty() {
            self.create_class(report);
        }
        for batch in objects.chunks(OBJECTS_PER_CALL) {
            if self.readiness != Readiness::Ready {
                break;
            }
            let written = self.client.write(batch);
            let Ok(written) = written.map_err(|error| self.fail(&error, report)) else {
                break;
            };
            let is_complete = written.iter().all(Option::is_some);
            let ids = batch.iter().map(|write| write.object.key().uuid());
            let mut written: WriteResults = ids
                .zip(written)
                .filter_map(|(id, one)| Some((id, one?)))
                .collect();
            if let Some(reason) = self.take_failures(&mut written) {
                self.fail(&ServiceError::unavailable(reason), report);
            }
            results.extend(written);
            if !is_complete {
                self.end(report);
                break;
            }
        }
        results
    }

    /// Removes the results that are a failure of Weaviate, and returns its reason: if it has
    /// accepted no object of the call, those with words of its own, or all, if all failed for one
    /// reason. An object that it has rejected before fails for a reason of its own.
    fn take_failures(&self, written: &mut WriteResults) -> Option<String> {
        if written.values().any(Result::is_ok) {
            return None;
        }
        let reasons = written.values().filter_map(|result| result.as_ref().err());
        let of_all = is_one_reason(&reasons.map(String::as_str).collect::<Vec<_>>());
        let mut failure = None;
        written.retain(|id, result| match result {
            Err(reason) if !self.was_rejected(*id) && (of_all || is_of_weaviate(reason)) => {
                failure = Some(std::mem::take(reason));
                false
            }
            _ => true,
        });
        failure
    }

    /// Reports that the time, or a signal, ended the requests.
    fn end(&mut self, report: &mut Report) {
        match self.budget.interrupted() {
            Some(Stop::Later(by, reason)) => report.stop(by, &reason),
            _ => report.stop(StoppedBy::TimeBudget, ""),
        }
    }

    fn create_class(&mut self, report: &mut Report) {
        match self.client.create_class() {
            Ok(()) => {
                let text = format!("Weaviate had no class {CLASS}; created it");
                report.notice(Level::Info, &text);
                log::warn!(
                    "class {CLASS} has no vectorizer: hybrid and near_text searches fail in Weaviate (README, \"A vectorizer\")"
                );
                self.readiness = Readiness::Ready;
            }
            Err(error) => self.fail(&error, report),
        }
    }

    fn fail(&mut self, error: &ServiceError, report: &mut Report) {
        if error.kind != FailureKind::OutOfTime {
            self.readiness = Readiness::Down;
        }
        match error.kind {
            FailureKind::OutOfTime => report.stop(StoppedBy::TimeBudget, ""),
            FailureKind::Refused | FailureKind::Rejected => {
                let error = format!(
                    "Weaviate: {error}; check WEAVIATE_URL, WEAVIATE_API_KEY and the key's permissions"
                );
                tell(report, Level::Error, &error);
                report.fail(&error);
            }
            FailureKind::Interrupted => {
                if let Some(Stop::Later(by, _)) = self.budget.interrupted() {
                    report.stop(by, &error.message);
                }
            }
            FailureKind::RateLimited(wait) => {
                let (now, reason) = (self.budget.now(), &error.message);
                let pause = Pause::after_limit(WEAVIATE, None, wait, reason, now);
                let until = timestamp(pause.until);
                let error =
                    format!("Weaviate's limit is reached; no run asks it before {until}: {reason}");
                tell(report, Level::Warn, &error);
                report.stop(StoppedBy::Weaviate, &error);
                (self.pause, self.is_pause_new) = (Some(pause), true);
            }
            _ => {
                let error = format!("Weaviate: {error}");
                tell(report, Level::Warn, &error);
                report.stop(StoppedBy::Weaviate, &error);
            }
        }
    }
}

/// Logs why objects are not written for now.
fn tell(report: &Report, level: Level, reason: &str) {
    log::log!(report.level(level), "{reason}; objects have to wait");
}

fn is_of_weaviate(reason: &str) -> bool {
    weaviate_message(reason) == FailureKind::Unavailable
}
