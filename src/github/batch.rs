//! Queries about many targets in few requests. Each target has an alias in the query, and a failure
//! of one target never affects the others.

use serde_json::{Map, Value, json};

use super::client::Github;
use super::queries;
use super::response::GithubError;
use super::schema::{GraphqlError, alias_answer};
use crate::core::failure::{FailureKind, MappingError, MappingErrorKind, ServiceError};
use crate::core::model::Repository;

/// How often a target that GitHub gave no answer about is asked about again in the run.
const REPEATS: usize = 2;

/// The value of one alias, or the error because of which it cannot be used.
pub(super) type AliasAnswer = Result<Value, GraphqlError>;

/// The latest reason why GitHub gave no answer about a target, and how often it gave none.
type Silence = (usize, Option<MappingError>);

/// The result of one request about a batch.
struct Answers<T: Target> {
    /// A part or an error for each target. A target has none if the failure came before its turn.
    parts: Vec<Option<Result<T::Part, MappingError>>>,
    /// The failure of GitHub as a whole, after which no request may follow.
    ended_by: Option<ServiceError>,
}

/// One issue, pull request or repository that a batched query asks about.
pub(super) trait Target {
    /// The part of the response that belongs to one target.
    type Part;

    /// Function that returns the document for a number of targets.
    const DOCUMENT: fn(usize) -> String;
    /// Prefix of the aliases in the document.
    const ALIAS: &'static str;
    /// Requests may grow after GitHub has answered a full one.
    const GROWS: bool;

    /// Returns the repository, whose owner determines the credentials.
    fn repository(&self) -> &Repository;

    /// Returns true if the target needs another request.
    fn is_open(&self) -> bool;

    /// Returns this target's variables besides owner and name, without their index.
    fn variables(&self) -> Vec<(&'static str, Value)>;

    /// Reads the part of this target, which may need further requests.
    fn read(&self, github: &mut Github, answer: AliasAnswer) -> Result<Self::Part, GithubError>;

    /// Records a part, or the target's failure.
    fn record(&mut self, part: Result<Self::Part, MappingError>);
}

impl Github {
    /// Sends requests until no target is open. The targets of one request have the same
    /// [`Github::batch_key`]. After each request, `progress` gets the number of targets that were
    /// recorded.
    pub(super) fn query_all<T: Target>(
        &mut self,
        targets: &mut [T],
        progress: &dyn Fn(usize),
    ) -> Result<(), ServiceError> {
        let mut silences: Vec<Silence> = vec![(0, None); targets.len()];
        let result = self.query_open(targets, &mut silences, progress);
        for (target, (_, error)) in targets.iter_mut().zip(silences) {
            if let Some(error) = error.filter(|_| target.is_open()) {
                target.record(Err(error));
            }
        }
        result
    }

    fn query_open<T: Target>(
        &mut self,
        targets: &mut [T],
        silences: &mut [Silence],
        progress: &dyn Fn(usize),
    ) -> Result<(), ServiceError> {
        loop {
            let key_of = |target: &T| self.batch_key(target.repository().owner());
            let mut open = targets
                .iter_mut()
                .zip(&mut *silences)
                .filter(|(target, _)| target.is_open())
                .peekable();
            let key = open.peek().map(|(first, _)| key_of(first));
            let (batch, silences): (Vec<&mut T>, Vec<&mut Silence>) = open
                .filter(|(target, _)| Some(key_of(target)) == key)
                .take(self.targets_per_request)
                .unzip();
            if batch.is_empty() {
                return Ok(());
            }
            let answers = GithubError::split(self.query_batch(&batch))?;
            let Answers { parts, ended_by } = answers.unwrap_or_else(|error| Answers {
                parts: batch.iter().map(|_| Some(Err(error.clone()))).collect(),
                ended_by: None,
            });
            let (mut count, mut repeats) = (0, false);
            for ((target, (tries, silence)), part) in batch.into_iter().zip(silences).zip(parts) {
                let Some(part) = part else { continue };
                *silence = part
                    .as_ref()
                    .err()
                    .filter(|error| is_silence(error))
                    .cloned();
                if silence.is_some() && *tries < REPEATS {
                    *tries += 1;
                    repeats = true;
                } else {
                    target.record(part);
                    count += 1;
                }
            }
            progress(count);
            if let Some(error) = ended_by {
                return Err(error);
            }
            if repeats {
                self.wait_for_retry();
            }
        }
    }

    /// Returns a part for each target, or no parts if a smaller request has to follow.
    fn query_batch<T: Target>(&mut self, batch: &[&mut T]) -> Result<Answers<T>, GithubError> {
        if let Some(first) = batch.first() {
            self.authorize_for(first.repository().owner())?;
        }
        match self.query_once(batch) {
            Ok(answers) => {
                if T::GROWS && batch.len() == self.targets_per_request {
                    self.grow_batch();
                }
                Ok(answers)
            }
            Err(error) => {
                self.handle_no_answer(batch.len(), error)?;
                Ok(Answers {
                    parts: Vec::new(),
                    ended_by: None,
                })
            }
        }
    }

    fn query_once<T: Target>(&mut self, batch: &[&mut T]) -> Result<Answers<T>, ServiceError> {
        let mut variables = Map::new();
        for (index, target) in batch.iter().enumerate() {
            let repository = target.repository();
            variables.insert(format!("o{index}"), repository.owner().into());
            variables.insert(format!("n{index}"), repository.name().into());
            for (name, value) in target.variables() {
                variables.insert(format!("{name}{index}"), value);
            }
        }
        let (mut data, errors) = self.query(&T::DOCUMENT(batch.len()), &variables.into())?;
        let (mut parts, mut ended_by) = (Vec::with_capacity(batch.len()), None);
        for (index, target) in batch.iter().enumerate() {
            let alias = format!("{}{index}", T::ALIAS);
            let answer = alias_answer(&mut data, &errors, &alias);
            match GithubError::split(target.read(self, answer)) {
                Ok(part) => parts.push(Some(part)),
                // A smaller request may succeed.
                Err(error) if is_no_answer(&error) => return Err(error),
                Err(error) => {
                    parts.push(None);
                    // Targets without further pages need no request, which could be sent no more.
                    let may_go_on = error.kind.is_unsent();
                    ended_by.get_or_insert(error);
                    if !may_go_on {
                        break;
                    }
                }
            }
        }
        Ok(Answers { parts, ended_by })
    }

    /// Handles a request about `count` targets that GitHub could not answer. Makes the requests of
    /// this run smaller if their size may be the reason. Otherwise returns the failure of a single
    /// target if GitHub still answers the lightest query, or else the failure of GitHub as a whole.
    fn handle_no_answer(&mut self, count: usize, error: ServiceError) -> Result<(), GithubError> {
        if !is_no_answer(&error) {
            return Err(error.into());
        }
        // Any failure but a request that is too heavy is GitHub's own, unless it answers another
        // query.
        let by_size = count > 1 && error.kind == FailureKind::TooHeavy;
        if !by_size && let Err(other) = self.query(queries::ALIVE, &json!({})) {
            return Err(if is_no_answer(&other) { error } else { other }.into());
        }
        let message = error.message;
        if count == 1 {
            return Err(MappingError::failed(format!("GitHub could not answer: {message}")).into());
        }
        let fewer = self.shrink_batch(count);
        log::info!(
            "GitHub could not answer for {count} targets at once ({message}); going on with {fewer}"
        );
        Ok(())
    }
}

fn is_silence(error: &MappingError) -> bool {
    error.kind == MappingErrorKind::Unanswered
}

fn is_no_answer(error: &ServiceError) -> bool {
    matches!(error.kind, FailureKind::TooHeavy | FailureKind::Unavailable)
}
