//! Halves a request that Weaviate does not answer although it is ready, until the one object that it
//! cannot handle is alone. The others go on.

use super::client::Weaviate;
use crate::core::failure::{FailureKind, ServiceError, is_one_reason};

/// Number of objects that may fail alone before the first answer. More of them are a failure of
/// Weaviate, so that a broken one costs few requests.
const LONE_FAILURES: usize = 8;
/// The weight of an object without an answer within the time limit, which costs far more time.
const LONE_TIMEOUT: usize = 4;

impl Weaviate {
    /// Calls `ask` with the items in batches, whose sizes `size` decides from the rest and a largest
    /// number. The results have the order of the items; an inner error is the failure of one item.
    ///
    /// # Errors
    /// Fails if Weaviate as a whole fails.
    pub(super) fn in_parts<I, R>(
        &mut self,
        items: &[I],
        most: usize,
        size: impl Fn(&Self, &[I], usize) -> usize,
        mut ask: impl FnMut(&mut Self, &[I]) -> Result<Vec<R>, ServiceError>,
    ) -> Result<Vec<Result<R, String>>, ServiceError> {
        let mut results: Vec<Result<R, String>> = Vec::with_capacity(items.len());
        let (mut ends, mut most) = (vec![items.len()], most);
        let (mut answered, mut lone) = (false, 0);
        while let Some(end) = ends.last().copied() {
            let start = results.len();
            let part = items.get(start..end).unwrap_or_default();
            if part.is_empty() {
                ends.pop();
                continue;
            }
            let count = size(self, part, most).clamp(1, part.len());
            let batch = part.get(..count).unwrap_or(part);
            let error = match ask(self, batch) {
                Ok(part) => {
                    answered = true;
                    results.extend(part.into_iter().map(Ok));
                    continue;
                }
                Err(error) => error,
            };
            if !self.is_about_objects(&error, count) {
                return Err(error);
            }
            if count > 1 {
                let (half, message) = (count.div_ceil(2), &error.message);
                log::info!(
                    "Weaviate does not answer for {count} objects at once ({message}); asking for fewer"
                );
                if error.kind == FailureKind::TooHeavy || error.status == Some(413) {
                    most = half;
                }
                ends.push(start + half);
                continue;
            }
            lone += match error.kind {
                FailureKind::TooHeavy => LONE_TIMEOUT,
                _ => 1,
            };
            // Without a status and an answer for any other object, nothing points at this one.
            if !answered && (error.status.is_none() && items.len() == 1 || lone >= LONE_FAILURES) {
                return Err(error);
            }
            results.push(Err(error.message));
        }
        let reasons: Vec<&str> = results
            .iter()
            .filter_map(|result| result.as_ref().err().map(String::as_str))
            .collect();
        match reasons.first() {
            Some(reason) if reasons.len() == items.len() && is_one_reason(&reasons) => {
                Err(ServiceError::unavailable(*reason))
            }
            _ => Ok(results),
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
            | FailureKind::Interrupted
            | FailureKind::OutOfTime => false,
        }
    }
}
