//! Failures by whole runs: of one mapping or repository alone, of the network, of the input, and by signals
//! (design.md, "Failure model").

mod bad_input;
mod gone;
mod held;
mod hostile_text;
mod limits;
mod looks;
mod poison;
mod policies;
mod polls;
mod sick_edge;
mod sick_github;
mod sick_process;
mod sick_repositories;
mod sick_weaviate;
mod signals;
mod silence;
mod together;
mod turned_off;
mod wire_faults;
