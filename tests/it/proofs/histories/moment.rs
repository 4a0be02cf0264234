//! What happens in the middle of a run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kit::http::lock;
use kit::postgres_pool::PostgresPool;

/// What happens; `false`: the run is dead from then on.
pub type Act = Box<dyn FnOnce() -> bool + Send>;

/// Before which request of a run something happens.
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

    /// The run has ended; what was to happen and did not, happens now. Whether the run was dead.
    pub fn end(&self) -> bool {
        let late = lock(&self.act).take();
        let was_dead = self.dead.swap(false, Ordering::SeqCst);
        if let Some(act) = late {
            act();
        }
        was_dead
    }

    /// Before a request: whether the run still lives.
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

/// The run dies: its connection is cut, and nothing that it sends is heard any more.
pub fn dies(pool: Arc<PostgresPool>, url: String) -> Act {
    Box::new(move || {
        pool.cut(&url, "agira-worker");
        false
    })
}
