//! Queries about many targets in few requests. Each target has an alias in the query, and a failure
//! of one target never affects the others.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::client::Github;
use super::extras::Asked;
use super::queries::{self, ListBelow};
use super::response::GithubError;
use super::schema::{Below, GraphqlError, alias_answer};
use super::sizes::BatchSize;
use crate::core::failure::{
    CANNOT_ANSWER, FailureKind, MappingError, MappingErrorKind, ServiceError,
};
use crate::core::model::Repository;

/// Number of further requests of a run about a target that GitHub gave no answer about.
const REPEATS: usize = 2;

/// The value of one alias, or the error because of which it cannot be used.
pub(super) type AliasAnswer = Result<Value, GraphqlError>;

/// The requests in which GitHub gave no answer about one target.
#[derive(Debug, Clone, Default)]
struct Silence {
    /// Number of requests without an answer.
    count: usize,
    /// The latest reason.
    error: Option<MappingError>,
    /// GitHub gave up at a part of the target.
    by_part: bool,
    /// Number of the last request about it that GitHub failed as a whole.
    failed_in: usize,
}

impl Silence {
    /// Returns true if the next request asks for the facts of this target alone.
    fn is_alone(&self) -> bool {
        self.by_part && self.count >= REPEATS
    }

    /// Takes up the result of a request; returns true if another one has to follow.
    fn holds<T>(&mut self, part: &Result<T, Failure>) -> bool {
        let Some(failure) = part.as_ref().err().filter(|one| is_silence(&one.error)) else {
            self.error = None;
            return false;
        };
        let may_repeat = self.count < REPEATS;
        self.count += 1;
        self.by_part = failure.by_part;
        self.error = Some(failure.error.clone());
        may_repeat
    }
}

/// The result of one request about a batch.
struct Answers<T: Target> {
    /// A part or an error for each target; empty if GitHub failed the request as a whole. A target
    /// has none if the failure came before its turn.
    parts: Vec<Option<Result<T::Part, Failure>>>,
    /// The failure of GitHub as a whole, after which no request may follow.
    ended_by: Option<ServiceError>,
}

/// The failure of one target.
#[derive(Debug, Clone)]
struct Failure {
    error: MappingError,
    /// GitHub gave up at a part of the target.
    by_part: bool,
}

/// One issue, pull request or repository that a batched query asks about.
pub(super) trait Target: Sized {
    /// The part of the response that belongs to one target.
    type Part;
    /// Node of the lists that the part may lack.
    type Node: DeserializeOwned;

    /// Prefix of the aliases in the document.
    const ALIAS: &'static str;
    /// The lists that a part may lack.
    const LIST: ListBelow;
    /// A part counts without the rest of a list that there is no time for.
    const LISTS_MAY_END: bool;

    /// Returns the document for these targets.
    fn document(batch: &[&mut Self]) -> String;

    /// Returns the size of the requests.
    fn size(github: &mut Github) -> &mut BatchSize;

    /// Returns the lists that a part lacks.
    fn lists(part: &mut Self::Part) -> Vec<&mut Below<Self::Node>>;

    /// Returns the switches that leave out what GitHub may not be able to answer.
    fn switches(&self) -> &'static [&'static str];

    /// Returns the place among the targets of one request.
    fn rank(&self) -> u8 {
        0
    }

    /// Returns the repository, whose owner determines the credentials.
    fn repository(&self) -> &Repository;

    /// Returns true if the target needs another request.
    fn is_open(&self) -> bool;

    /// Returns this target's variables besides owner and name, without their index.
    fn variables(&self) -> Vec<(&'static str, Value)>;

    /// Reads the part of this target, which may need further requests.
    fn read(
        &self,
        github: &mut Github,
        answer: AliasAnswer,
        asked: Asked,
    ) -> Result<Self::Part, GithubError>;

    /// Records a part, or the target's failure.
    fn record(&mut self, part: Result<Self::Part, MappingError>);
}

impl Github {
    /// Sends requests until no target is open, except for those of installations that reached their
    /// limits. The targets of one request have the same [`Github::batch_key`]. After each request,
    /// `progress` gets the number of targets that were recorded.
    pub(super) fn query_all<T: Target>(
        &mut self,
        targets: &mut [T],
        progress: &dyn Fn(usize),
    ) -> Result<(), ServiceError> {
        let mut silences = vec![Silence::default(); targets.len()];
        let result = self
            .query_open(targets, &mut silences, progress)
            .map_err(|error| self.explained(error));
        let last = silences.iter().map(|silence| silence.failed_in).max();
        let last = last.filter(|last| *last > 0);
        let end = result.as_ref().err();
        let end = end.filter(|error| error.kind == FailureKind::OutOfTime);
        for (target, silence) in targets.iter_mut().zip(silences) {
            let is_last = Some(silence.failed_in) == last;
            // If the others come first in the next run, that run gets further.
            let postponed = end.filter(|_| is_last).map(|end| {
                let reason = format!("{}, after GitHub failed at it and others", end.message);
                MappingError::postponed(reason)
            });
            if let Some(error) = silence.error.or(postponed).filter(|_| target.is_open()) {
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
        let mut request = 0;
        loop {
            request += 1;
            let size = T::size(self).next();
            let key_of = |target: &T| self.batch_key(target.repository().owner());
            let mut open = targets
                .iter_mut()
                .zip(&mut *silences)
                .filter(|(target, _)| {
                    target.is_open() && !self.leaves_out(target.repository().owner())
                })
                .peekable();
            let Some((first, silence)) = open.peek() else {
                return Ok(());
            };
            let (key, is_alone) = (key_of(first), silence.is_alone());
            let (size, asked) = match is_alone {
                true => (1, Asked::Facts),
                false => (size, Asked::Everything),
            };
            let mut batch: Vec<(&mut T, &mut Silence)> = open
                .filter(|(target, silence)| key_of(target) == key && silence.is_alone() == is_alone)
                .take(size)
                .collect();
            batch.sort_by_key(|(target, _)| target.rank());
            let (batch, mut silences): (Vec<&mut T>, Vec<&mut Silence>) = batch.into_iter().unzip();
            // A limit that is met here is the App's own.
            let owner = batch.first().map(|first| first.repository().owner());
            let authorized = owner.map_or(Ok(()), |owner| self.authorize_for(owner));
            let answers = match GithubError::split(authorized)? {
                Ok(()) => GithubError::split(self.query_batch(&batch, asked)),
                Err(error) => Ok(Err(error)),
            };
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => {
                    self.take_up_limit(&key, error)?;
                    continue;
                }
            };
            let Answers { parts, ended_by } = answers.unwrap_or_else(|error| {
                let failed = |_| {
                    Some(Err(Failure {
                        error: error.clone(),
                        by_part: false,
                    }))
                };
                Answers {
                    parts: batch.iter().map(failed).collect(),
                    ended_by: None,
                }
            });
            if parts.is_empty() {
                silences.iter_mut().for_each(|one| one.failed_in = request);
            }
            let asked_about = batch.into_iter().zip(silences);
            let (count, repeats) = record(asked_about, parts, asked);
            progress(count);
            if let Some(error) = ended_by {
                self.take_up_limit(&key, error)?;
                continue;
            }
            if repeats {
                self.wait_for_retry();
            }
        }
    }

    /// Returns a part for each target, or no parts if a smaller request has to follow. A single
    /// target that GitHub cannot answer about is asked about again without its extras.
    fn query_batch<T: Target>(
        &mut self,
        batch: &[&mut T],
        asked: Asked,
    ) -> Result<Answers<T>, GithubError> {
        let error = match self.batch_once(batch, asked) {
            Ok(answers) => {
                let is_partial = answers.parts.iter().any(Option::is_none);
                if is_partial && answers.ended_by.is_none() {
                    T::size(self).shrink(batch.len(), "resource limits exceeded");
                } else {
                    T::size(self).grow(batch.len());
                }
                return Ok(answers);
            }
            Err(error) if !is_no_answer(&error) => return Err(error.into()),
            Err(error) => error,
        };
        match self.query_less(batch, asked, error) {
            Err(GithubError::Service(error)) if error.kind.is_unsent() => Ok(Answers {
                parts: Vec::new(),
                ended_by: Some(error),
            }),
            answers => answers,
        }
    }

    /// Goes on after a request that GitHub did not answer.
    fn query_less<T: Target>(
        &mut self,
        batch: &[&mut T],
        asked: Asked,
        error: ServiceError,
    ) -> Result<Answers<T>, GithubError> {
        if batch.len() > 1 {
            let reason = self.why_smaller(error)?;
            T::size(self).shrink(batch.len(), &reason);
            return Ok(Answers {
                parts: Vec::new(),
                ended_by: None,
            });
        }
        // This target explains why larger requests failed.
        T::size(self).allow_growth();
        let has_switches = batch.iter().any(|target| !target.switches().is_empty());
        if asked == Asked::Everything && has_switches {
            match self.batch_once(batch, Asked::Facts) {
                Err(error) if is_no_answer(&error) => {}
                answers => return Ok(answers?),
            }
        }
        let message = self.only_this_fails(error)?;
        Err(MappingError::failed(format!("{CANNOT_ANSWER}: {message}")).into())
    }

    fn batch_once<T: Target>(
        &mut self,
        batch: &[&mut T],
        asked: Asked,
    ) -> Result<Answers<T>, ServiceError> {
        let mut variables = Map::new();
        for (index, target) in batch.iter().enumerate() {
            if asked == Asked::Facts {
                let switches = target.switches().iter();
                variables.extend(switches.map(|name| ((*name).to_owned(), false.into())));
            }
            let repository = target.repository();
            variables.insert(format!("o{index}"), repository.owner().into());
            variables.insert(format!("n{index}"), repository.name().into());
            for (name, value) in target.variables() {
                variables.insert(format!("{name}{index}"), value);
            }
        }
        let (mut data, errors) = self.query(&T::document(batch), &variables.into())?;
        let mut answers = self.read(batch, asked, |alias| {
            alias_answer(&mut data, &errors, alias)
        });
        self.add_lists(&mut answers, asked);
        answers.ended_by = self.reached.take().or(answers.ended_by);
        Ok(answers)
    }

    /// Reads the parts of a batch.
    fn read<T: Target>(
        &mut self,
        batch: &[&mut T],
        asked: Asked,
        mut answer: impl FnMut(&str) -> AliasAnswer,
    ) -> Answers<T> {
        let (mut parts, mut ended_by) = (Vec::with_capacity(batch.len()), None);
        for (index, target) in batch.iter().enumerate() {
            let answer = answer(&format!("{}{index}", T::ALIAS));
            let is_left = |error: &GraphqlError| error.is_too_heavy() || self.reached.is_some();
            if answer.as_ref().is_err_and(is_left) {
                // A smaller request, or a later run, asks again.
                parts.push(None);
                continue;
            }
            let mut failed = |error, by_part| parts.push(Some(Err(Failure { error, by_part })));
            match target.read(self, answer, asked) {
                Ok(part) => parts.push(Some(Ok(part))),
                Err(GithubError::Target(error)) => failed(error, false),
                Err(GithubError::Part(error)) => failed(error, true),
                Err(GithubError::Service(error)) => {
                    parts.push(None);
                    // Targets without further pages need no request, which could be sent no more.
                    let may_go_on = error.kind.is_unsent() || self.reached.is_some();
                    ended_by.get_or_insert(error);
                    if !may_go_on {
                        break;
                    }
                }
            }
        }
        Answers { parts, ended_by }
    }

    /// Asks for the lists that parts lack, all at once. A part without them is left to a later
    /// request.
    fn add_lists<T: Target>(&mut self, answers: &mut Answers<T>, asked: Asked) {
        let parts = answers.parts.iter_mut().flatten();
        let parts = parts.filter_map(|part| part.as_mut().ok());
        let mut lists: Vec<&mut Below<T::Node>> = parts.flat_map(T::lists).collect();
        if lists.is_empty() {
            return;
        }
        let result = match &answers.ended_by {
            Some(error) => Err(error.clone()),
            None => self.read_lists(T::LIST, &mut lists),
        };
        let Err(error) = result else { return };
        if T::LISTS_MAY_END && error.kind == FailureKind::OutOfTime {
            // What has more than a run has time for would never be recorded.
            let begun = lists.into_iter().filter(|one| !one.is_read);
            begun
                .filter(|one| asked == Asked::Facts || one.list.is_some())
                .for_each(|one| one.end(Some(error.message.clone())));
        }
        for part in &mut answers.parts {
            let is_open = |lists: Vec<&mut Below<T::Node>>| lists.iter().any(|one| !one.is_read);
            let read = part.as_mut().and_then(|part| part.as_mut().ok());
            if read.is_some_and(|part| is_open(T::lists(part))) {
                *part = None;
                answers.ended_by.get_or_insert_with(|| error.clone());
            }
        }
    }

    /// Returns the reason why a request has to be smaller. Fails if size is not the reason and
    /// GitHub answers nothing else either.
    pub(super) fn why_smaller(&mut self, error: ServiceError) -> Result<String, ServiceError> {
        match error.kind {
            FailureKind::TooHeavy => Ok(error.message),
            // Any other failure is GitHub's own, unless it answers another query.
            _ => self.only_this_fails(error),
        }
    }

    /// Returns the message of a request that GitHub could not answer, if it still answers the
    /// lightest query. Otherwise, or if the failure is another one, returns the failure of GitHub
    /// as a whole.
    pub(super) fn only_this_fails(&mut self, error: ServiceError) -> Result<String, ServiceError> {
        if !is_no_answer(&error) {
            return Err(error);
        }
        match self.query(queries::ALIVE, &json!({})) {
            Ok(_) => Ok(error.message),
            Err(other) if is_no_answer(&other) => Err(error),
            Err(other) => Err(other),
        }
    }
}

/// Records the parts that need no repetition. Returns their number, and true if others have to be
/// asked about again.
fn record<'a, T: Target + 'a>(
    asked_about: impl Iterator<Item = (&'a mut T, &'a mut Silence)>,
    parts: Vec<Option<Result<T::Part, Failure>>>,
    asked: Asked,
) -> (usize, bool) {
    let (mut count, mut repeats) = (0, false);
    for ((target, silence), part) in asked_about.zip(parts) {
        let Some(part) = part else { continue };
        if asked == Asked::Everything && silence.holds(&part) {
            repeats = true;
        } else {
            target.record(part.map_err(|failure| failure.error));
            count += 1;
        }
    }
    (count, repeats)
}

fn is_silence(error: &MappingError) -> bool {
    error.kind == MappingErrorKind::Unanswered
}

fn is_no_answer(error: &ServiceError) -> bool {
    matches!(error.kind, FailureKind::TooHeavy | FailureKind::Unavailable)
}
