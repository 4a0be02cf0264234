//! Events in the middle of a run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kit::http::lock;
use kit::postgres_pool::PostgresPool;

/// The event; returns false if the run is dead from then on.
pub type Act = Box<dyn FnOnce() -> bool + Send>;

/// The request of a run before which the event happens.
#[derive(Default)]
pub struct Moment {
    left: AtomicUsize,
    act: Mutex<Option<Act>>,
    dead: AtomicBool,
}

impl Moment {
    pub fn set(&self, requests: usize, act: Act) {
        self.left.store(requests, Ordering::SeqCst);
        *lock(&self.act) = Some(act);
    }

    /// Ends the run. An event that has not happened yet happens now. Returns true if the run was dead.
    pub fn end(&self) -> bool {
        let late = lock(&self.act).take();
        let was_dead = self.dead.swap(false, Ordering::SeqCst);
        if let Some(act) = late {
            act();
        }
        was_dead
    }

    /// Plays the event if its request has come; returns true if the run is still alive.
    pub fn pass(&self) -> bool {
        if self.dead.load(Ordering::SeqCst) {
            return false;
        }
        let act = {
            let mut act = lock(&self.act);
            match act.is_some() && self.left.fetch_sub(1, Ordering::SeqCst) <= 1 {
                true => act.take(),
                false => None,
            }
        };
        let lives = act.is_none_or(|act| act());
        self.dead.store(!lives, Ordering::SeqCst);
        lives
    }
}

/// Kills the run: cuts its connection, and ignores its later requests.
pub fn dies(pool: Arc<PostgresPool>, url: String) -> Act {
    Box::new(move || {
        pool.kill(&url, "agira-worker");
        false
    })
}

/// Ends the session of the run as PostgreSQL does in a restart; the run goes on.
pub fn loses_its_session(pool: Arc<PostgresPool>, url: String) -> Act {
    Box::new(move || {
        pool.cut(&url, "agira-worker");
        true
    })
}
