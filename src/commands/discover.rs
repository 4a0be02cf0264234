//! Discovery (design, section 3, step 2): what changed at GitHub since the cursors becomes due.

use super::context::{Context, Stop};

/// To be written.
pub fn discover(_ctx: &mut Context) -> Result<(), Stop> {
    Ok(())
}
