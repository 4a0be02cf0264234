//! The number of targets that share a request. It adapts to what GitHub can answer in time.

/// Size of the requests of one sort.
#[derive(Debug)]
pub(super) struct BatchSize {
    next: usize,
    /// Largest number that this run still tries.
    most: usize,
    /// Largest number of a run in which GitHub answers everything.
    limit: usize,
}

impl BatchSize {
    pub const fn new(first: usize, limit: usize) -> Self {
        Self {
            next: first,
            most: limit,
            limit,
        }
    }

    /// Returns the number of targets in the next request.
    pub fn next(&self) -> usize {
        self.next
    }

    /// Doubles the size after GitHub has answered for `count` targets, if that was a full request.
    pub fn grow(&mut self, count: usize) {
        if count == self.next {
            self.next = (self.next * 2).min(self.most);
        }
    }

    /// Lets requests grow again, after a single target turned out to be the reason why GitHub could
    /// not answer.
    pub fn allow_growth(&mut self) {
        self.most = self.limit;
    }

    /// Halves the size until [`Self::allow_growth`], after GitHub could not answer for `count`
    /// targets.
    pub fn shrink(&mut self, count: usize, reason: &str) {
        self.most = count.div_ceil(2);
        self.next = self.most;
        log::info!(
            "GitHub could not answer for {count} targets at once ({reason}); going on with {}",
            self.next
        );
    }
}
