//! The places at which a run of the program can be disturbed: before the service gets a statement or request, and after
//! the service has handled it but before the program gets the response.
//!
//! One list counts PostgreSQL, GitHub and Weaviate together. An undisturbed run records it, so it always includes new
//! statements and requests.

use std::sync::{Arc, Mutex};

use crate::http::lock;

/// Side of a statement or request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The service has not received it.
    Before,
    /// The service has handled it, and its response is on the way.
    After,
}

/// A place that a run passes.
#[derive(Debug)]
pub struct Place<'a> {
    /// Number of statements and requests before it.
    pub index: usize,
    /// Beginning of the statement or request.
    pub what: &'a str,
    /// Side of the statement or request.
    pub side: Side,
}

/// Action at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Pass,
    /// The message is lost: PostgreSQL's connection is cut, or a request gets no response.
    Lose,
    /// PostgreSQL keeps the connection and says nothing any more. A request gets no response.
    Silence,
    /// PostgreSQL raises an error with this SQLSTATE instead of executing the statement. This is only possible before a
    /// statement.
    Raise(&'static str),
}

type Watcher = Box<dyn FnMut(&Place<'_>) -> Then + Send>;

/// Places of one world, with their watcher.
#[derive(Default)]
pub struct Boundaries {
    passed: Mutex<Vec<String>>,
    /// Requests without a response, whose connections stay open.
    silenced: Mutex<Vec<Box<dyn Send>>>,
    watcher: Mutex<Option<Watcher>>,
}

impl Boundaries {
    /// Creates boundaries without places and without a watcher.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns everything that began since the start or the last [`Self::clear`], in order.
    pub fn passed(&self) -> Vec<String> {
        lock(&self.passed).clone()
    }

    /// Resets the count, and removes the watcher. Requests without a response are dropped.
    pub fn clear(&self) {
        lock(&self.silenced).clear();
        lock(&self.passed).clear();
        *lock(&self.watcher) = None;
    }

    /// Makes `watcher` decide what happens at each place from now on. The run waits for its decision.
    pub fn watch(&self, watcher: impl FnMut(&Place<'_>) -> Then + Send + 'static) {
        *lock(&self.watcher) = Some(Box::new(watcher));
    }

    /// Keeps the connection of a request open.
    pub(crate) fn silence(&self, request: impl Send + 'static) {
        lock(&self.silenced).push(Box::new(request));
    }

    /// Records an arrival; returns its index.
    pub(crate) fn before(&self, what: &str) -> (usize, Then) {
        let index = {
            let mut passed = lock(&self.passed);
            passed.push(what.to_owned());
            passed.len() - 1
        };
        (
            index,
            self.ask(&Place {
                index,
                what,
                side: Side::Before,
            }),
        )
    }

    /// Records that the service has handled it.
    pub(crate) fn after(&self, index: usize, what: &str) -> Then {
        self.ask(&Place {
            index,
            what,
            side: Side::After,
        })
    }

    fn ask(&self, place: &Place<'_>) -> Then {
        lock(&self.watcher)
            .as_mut()
            .map_or(Then::Pass, |watcher| watcher(place))
    }
}
