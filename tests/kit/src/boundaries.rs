//! The places where a run of the program can be disturbed: each statement and each request, before the service has it, and
//! after the service has dealt with it but before the program knows.
//!
//! One list counts over PostgreSQL, GitHub and Weaviate. It is found by letting a run pass, so that a new statement or
//! request is in it without anyone remembering.

use std::sync::{Arc, Mutex};

use crate::http::lock;

/// Which side of a statement or request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The service has not got it.
    Before,
    /// The service has dealt with it, and its answer is on the way.
    After,
}

/// A place that a run passes.
#[derive(Debug)]
pub struct Place<'a> {
    /// How many statements and requests came before it.
    pub index: usize,
    /// The beginning of the statement or request.
    pub what: &'a str,
    /// Which side of it.
    pub side: Side,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Pass,
    /// What is on the way is lost. PostgreSQL's connection is cut; a request stays without an answer.
    Lose,
    /// PostgreSQL raises an error with this SQLSTATE instead of carrying the statement out. Only before a statement.
    Raise(&'static str),
}

type Watcher = Box<dyn FnMut(&Place<'_>) -> Then + Send>;

/// The places of one world, and who watches them.
#[derive(Default)]
pub struct Boundaries {
    passed: Mutex<Vec<String>>,
    watcher: Mutex<Option<Watcher>>,
}

impl Boundaries {
    /// Nothing passed yet, nobody watching.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Everything that was begun since the start or the last [`Self::clear`], in order.
    pub fn passed(&self) -> Vec<String> {
        lock(&self.passed).clone()
    }

    /// Counts from here, and watches no more.
    pub fn clear(&self) {
        lock(&self.passed).clear();
        *lock(&self.watcher) = None;
    }

    /// From now on `watcher` decides what happens at each place. The run stands still while it does.
    pub fn watch(&self, watcher: impl FnMut(&Place<'_>) -> Then + Send + 'static) {
        *lock(&self.watcher) = Some(Box::new(watcher));
    }

    /// Something arrives; returns its index.
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

    /// It has been dealt with.
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
