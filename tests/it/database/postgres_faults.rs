//! PostgreSQL fails in the middle of a run, or somebody is in the way (design, section 5). Each test names the fault and where
//! it happens, how the run ends, and that the next ones reach the state of a twin that nobody disturbed.
//!
//! A fault in PostgreSQL is raised by PostgreSQL itself: a proxy puts a statement that raises it in the place of the
//! program's, so that its transaction fails as with a real one.

mod simulated;
