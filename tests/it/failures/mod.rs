//! Whose failure it is when something fails for one mapping or one repository alone, and what becomes of it: rows of
//! section 5 of the design, by whole runs.

mod bad_input;
mod gone;
mod held;
mod hostile_text;
mod limits;
mod poison;
mod polls;
mod signals;
mod wire_faults;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use kit::http::Response;

/// A time at GitHub, so many seconds from now.
fn at(seconds: i64) -> String {
    let time: DateTime<Utc> = Utc::now() + Duration::seconds(seconds);
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn text(status: u16, body: &str) -> Response {
    Response {
        body: body.as_bytes().to_vec(),
        ..Response::empty(status)
    }
}
