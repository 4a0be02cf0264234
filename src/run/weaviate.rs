//! Weaviate during one run: ready, without our class, or down. If Weaviate is down, the run goes
//! on; objects wait in the outboxes, and a later run delivers them.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::anyhow;
use serde_json::Value;
use uuid::Uuid;

use super::stop::Stop;
use crate::core::agira_object::CLASS;
use crate::core::failure::{FailureKind, ServiceError};
use crate::report::{Report, StoppedBy};
use crate::signal::Signals;
use crate::weaviate::{ClassState, ObjectWrite, StoredObject, Weaviate};

/// Largest number of objects in one write. If Weaviate goes down, the results of earlier writes
/// count.
const OBJECTS_PER_CALL: usize = 200;

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
    /// Weaviate does not answer or refuses us.
    Down,
}

/// Weaviate with its state.
pub struct Index {
    client: Weaviate,
    readiness: Readiness,
    signals: Signals,
}

impl Index {
    /// Wraps a client; nothing is sent yet.
    pub fn new(client: Weaviate, signals: Signals) -> Self {
        Self {
            client,
            readiness: Readiness::Unknown,
            signals,
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

    /// Returns the number of requests sent so far.
    pub fn requests(&self) -> u64 {
        self.client.requests()
    }

    /// Reads and checks the class once per run. Returns false if Weaviate is down. A missing class
    /// is no obstacle, because a write creates it.
    pub fn check(&mut self, report: &mut Report) -> Result<bool, Stop> {
        if self.readiness == Readiness::Unknown {
            match self.client.class() {
                Ok(ClassState::Fits) => self.readiness = Readiness::Ready,
                Ok(ClassState::Missing) => self.readiness = Readiness::ClassMissing,
                Ok(ClassState::Unfit(problems)) => {
                    return Err(Stop::Fatal(anyhow!("Weaviate: {problems}")));
                }
                Err(error) => self.fail(&error, report),
            }
        }
        Ok(!self.is_down())
    }

    /// Reads the state of each object; `None` if Weaviate cannot be asked.
    pub fn object_states(
        &mut self,
        ids: &[Uuid],
        report: &mut Report,
    ) -> Result<Option<HashMap<Uuid, StoredObject>>, Stop> {
        if !self.check(report)? {
            return Ok(None);
        }
        if self.lacks_class() {
            let missing = ids.iter().map(|id| (*id, StoredObject::missing()));
            return Ok(Some(missing.collect()));
        }
        let states = self.client.object_states(ids);
        Ok(states.map_err(|error| self.fail(&error, report)).ok())
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
            if let Ok(written) = written.map_err(|error| self.fail(&error, report)) {
                let ids = batch.iter().map(|write| write.object.key().uuid());
                results.extend(ids.zip(written));
            }
        }
        results
    }

    fn create_class(&mut self, report: &mut Report) {
        match self.client.create_class() {
            Ok(()) => {
                log::info!("Weaviate had no class {CLASS}; created it");
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
                log::error!("{error}; objects wait in the outboxes");
                report.fail(&error);
            }
            FailureKind::Interrupted => {
                if let Some(signal) = self.signals.caught() {
                    report.stop(StoppedBy::Signal(signal), &error.message);
                }
            }
            _ => {
                let error = format!("Weaviate: {error}");
                log::warn!("{error}; objects wait in the outboxes");
                report.stop(StoppedBy::Weaviate, &error);
            }
        }
    }
}
