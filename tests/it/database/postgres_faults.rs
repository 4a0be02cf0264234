//! PostgreSQL fails during a run, or a statement conflicts with another session (design.md, "Failure model"). Each test
//! injects a fault at one place and checks how the run ends. The next runs must reach the state of an undisturbed twin.
//!
//! PostgreSQL raises each error itself: a proxy replaces a statement of the program by one that raises the error, so
//! the transaction fails as with a real error.

mod simulated;
