//! Splits a request that Weaviate does not answer although it is ready, until the one object that
//! it cannot handle is alone. The others come first.

use std::collections::VecDeque;

use uuid::Uuid;

use super::client::Weaviate;
use crate::core::failure::{FailureKind, ServiceError, is_one_reason};

/// Number of requests that may fail before the first answer. More of them are a failure of
/// Weaviate, so that a broken one costs few requests.
const FAILURES: usize = 32;
/// The weight of a request without an answer within the time limit, which costs far more time.
const TIMEOUT: usize = 4;

/// Something that a request names and that has the id of an object.
pub(super) trait Identified {
    /// Returns the id of the object.
    fn id(&self) -> Uuid;
}

impl Identified for Uuid {
    fn id(&self) -> Uuid {
        *self
    }
}

/// The results of [`Weaviate::in_parts`].
pub(super) struct Parts<R> {
    /// The result of each item; an inner error is the failure of one item. `None`: the time, or a
    /// signal, ended the requests before.
    pub(super) results: Vec<Option<Result<R, String>>>,
    /// The last error, if not every item has a result.
    pub(super) ended: Option<ServiceError>,
}

impl Weaviate {
    /// Calls `ask` with the items in batches, whose sizes `size` decides from the rest and a
    /// largest number. What failed comes again after all others, in smaller batches.
    ///
    /// # Errors
    /// Fails if Weaviate as a whole fails.
    pub(super) fn in_parts<I: Identified, R>(
        &mut self,
        items: &[I],
        most: usize,
        size: impl Fn(&Self, &[I], usize) -> usize,
        mut ask: impl FnMut(&mut Self, &[I]) -> Result<Vec<R>, ServiceError>,
    ) -> Result<Parts<R>, ServiceError> {
        let mut results: Vec<Option<Result<R, String>>> = items.iter().map(|_| None).collect();
        let mut parts = VecDeque::from([(0, items.len())]);
        let (mut most, mut answered, mut failures, mut ended) = (most, false, 0, None);
        while let Some((start, end)) = parts.pop_front() {
            let part = items.get(start..end).unwrap_or_default();
            if part.is_empty() {
                continue;
            }
            let count = size(self, part, most).clamp(1, part.len());
            let batch = part.get(..count).unwrap_or(part);
            if count < part.len() {
                parts.push_front((start + count, end));
            }
            let error = match ask(self, batch) {
                Ok(answers) => {
                    answered = true;
                    let places = results.iter_mut().skip(start);
                    places
                        .zip(answers)
                        .for_each(|(place, one)| *place = Some(Ok(one)));
                    continue;
                }
                Err(error) => error,
            };
            if !self.is_about_objects(&error, count) {
                if self.is_end_of_time(&error) {
                    ended = Some(error);
                    break;
                }
                return Err(error);
            }
            let is_known = batch.iter().all(|item| self.was_rejected(item.id()));
            if !is_known {
                failures += weight(&error);
            }
            // Without a status and an answer for any other object, nothing points at this one.
            let is_alone = error.status.is_none() && items.len() == 1;
            if !answered && !is_known && (failures >= FAILURES || is_alone) {
                return Err(error);
            }
            if count == 1 {
                let place = results.get_mut(start);
                place
                    .into_iter()
                    .for_each(|place| *place = Some(Err(error.message.clone())));
                continue;
            }
            let (length, message) = (smaller(&error, count), &error.message);
            log::info!(
                "Weaviate does not answer for {count} objects at once ({message}); asking for {length}"
            );
            if error.status == Some(413) {
                most = length;
            }
            let starts = (start..start + count).step_by(length);
            parts.extend(starts.map(|at| (at, (at + length).min(start + count))));
        }
        self.judged(items, results, ended)
    }

    /// Returns the results, unless they only show that Weaviate as a whole fails.
    fn judged<I: Identified, R>(
        &self,
        items: &[I],
        mut results: Vec<Option<Result<R, String>>>,
        ended: Option<ServiceError>,
    ) -> Result<Parts<R>, ServiceError> {
        let answered = results.iter().any(|one| matches!(one, Some(Ok(_))));
        if let Some(error) = ended {
            // The rest might have failed, too.
            for (item, result) in items.iter().zip(&mut results) {
                if !answered && !self.was_rejected(item.id()) {
                    *result = None;
                }
            }
            return match results.iter().any(Option::is_some) {
                true => Ok(Parts {
                    results,
                    ended: Some(error),
                }),
                false => Err(error),
            };
        }
        let failed = results
            .iter()
            .filter_map(|one| one.as_ref()?.as_ref().err());
        let reasons: Vec<&str> = failed.map(String::as_str).collect();
        let is_known = items.iter().any(|item| self.was_rejected(item.id()));
        match reasons.first() {
            Some(reason) if !answered && !is_known && is_one_reason(&reasons) => {
                Err(ServiceError::unavailable(*reason))
            }
            _ => Ok(Parts {
                results,
                ended: None,
            }),
        }
    }

    /// Returns true if a smaller request may succeed, or if a single object is to blame.
    fn is_about_objects(&mut self, error: &ServiceError, count: usize) -> bool {
        match error.kind {
            // A redirect says nothing about the object.
            FailureKind::Rejected => count > 1 || error.status >= Some(400),
            FailureKind::TooHeavy => self.is_ready(),
            FailureKind::Unavailable => {
                error.status.is_none_or(|status| status >= 500) && self.is_ready()
            }
            FailureKind::RateLimited(_)
            | FailureKind::Refused
            | FailureKind::Unknown
            | FailureKind::Interrupted
            | FailureKind::OutOfTime => false,
        }
    }

    /// Returns true if no more requests may follow, so that nobody knows whether Weaviate is ready.
    fn is_end_of_time(&self, error: &ServiceError) -> bool {
        match error.kind {
            FailureKind::Interrupted | FailureKind::OutOfTime => true,
            FailureKind::TooHeavy | FailureKind::Unavailable => self.is_out_of_time(),
            FailureKind::RateLimited(_)
            | FailureKind::Refused
            | FailureKind::Rejected
            | FailureKind::Unknown => false,
        }
    }
}

fn weight(error: &ServiceError) -> usize {
    match error.kind {
        FailureKind::TooHeavy => TIMEOUT,
        _ => 1,
    }
}

/// Returns the number of objects in the next requests. Each level of a search costs one more time
/// limit, but the requests that are answered cost little.
fn smaller(error: &ServiceError, count: usize) -> usize {
    match error.kind {
        FailureKind::TooHeavy => count.div_ceil(8),
        _ => count.div_ceil(2),
    }
}
