//! Repeatable random hostile text. It is stored verbatim as content, is one printable line for people and logs, and
//! causes failures only of its own mapping.

mod generator;
mod pieces;
mod runs;

/// Characters that no terminal may receive, defined independently of the program: the ranges of Unicode 16's categories
/// Cc, Cf (except the two joiners), Zl, Zp and Co, and its noncharacters.
fn is_unprintable(character: char) -> bool {
    let code = u32::from(character);
    matches!(code,
        0..=0x1f | 0x7f..=0x9f | 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2 | 0x180e | 0x200b
        | 0x200e..=0x200f | 0x2028..=0x202e | 0x2060..=0x2064 | 0x2066..=0x206f | 0xe000..=0xf8ff | 0xfdd0..=0xfdef | 0xfeff
        | 0xfff9..=0xfffb | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0001
        | 0xe0020..=0xe007f | 0xf0000..=0xffffd | 0x100000..=0x10fffd)
        || code & 0xfffe == 0xfffe
}

/// Checks that every line is printable.
#[track_caller]
fn check_printable(output: &str) {
    for line in output.lines() {
        let at = line
            .char_indices()
            .find(|(_, character)| is_unprintable(*character));
        assert_eq!(
            at,
            None,
            "{:?}",
            line.chars().take(2000).collect::<String>()
        );
    }
}

/// Checks that every line starts like a log line of the program, so that no line is forged.
#[track_caller]
fn check_log(output: &str) {
    check_printable(output);
    let begin =
        regex::Regex::new(r"^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (ERROR|WARN |INFO |DEBUG|TRACE)\] ")
            .unwrap();
    for line in output.lines() {
        assert!(begin.is_match(line), "no log line: {line:?}");
    }
}

/// Checks that every line is one printable JSON object.
#[track_caller]
fn check_json(output: &str) {
    check_printable(output);
    for line in output.lines() {
        let value = serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(value.is_object(), "{line:?}");
    }
}
