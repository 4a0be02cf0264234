//! Liveness (design.md, "Invariants", L1 to L5): nothing sick stops, starves or blinds the rest. The model is the
//! simulator of TigerBeetle: first, sicknesses of all kinds come and go in a world that is larger than the limit of a
//! run; then everything is healed except what is sick for good, and the others must be served within a bound; at last,
//! everything is healed, and everything must come level without a person.
//!
//! `AGIRA_WORKER_LIVES` is the number of worlds, and `AGIRA_WORKER_SEED` the seed of the first one.

mod invariants;
mod life;
mod sickness;

use super::histories::Kind;
use life::Life;

/// A real Weaviate cannot be slow or sick when a world wants it to.
mod simulated {
    use super::*;

    #[test]
    fn whatever_is_sick_holds_up_nobody_else() {
        let kind = Kind {
            variable: "AGIRA_WORKER_LIVES",
            count: 40,
            // Most of the time, they wait for silent services and held rows.
            at_once: 12,
            steps: 4..=10,
            play: |world, seed, steps| Life::play(world, seed, steps),
        };
        kind.check_all();
    }
}
