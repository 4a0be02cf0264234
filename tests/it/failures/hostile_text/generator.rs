//! Repeatable random hostile text.

use fastrand::Rng;

/// Attacks on terminals, logs, databases, query languages and parsers.
const PIECES: &[&str] = &[
    "\u{1b}]0;pwned\u{7}",
    "\u{1b}[2J\u{1b}[1;1H",
    "\u{1b}]8;;http://evil.example\u{1b}\\click\u{1b}]8;;\u{1b}\\",
    "\u{1b}P$q\u{1b}\\",
    "\u{9b}31m",
    "\u{9d}0;pwned\u{9c}",
    "\r\n",
    "\n[2026-03-01T10:00:00Z ERROR] mapping=1 item=1 acme/shop#1: FORGED",
    "\n{\"level\":\"error\",\"message\":\"FORGED\"}",
    "\rFORGED",
    "\u{b}\u{c}\u{85}",
    "\u{2028}FORGED\u{2029}",
    "\u{8}\u{8}\u{8}",
    "\u{202e}drowssap\u{202c}",
    "\u{2066}\u{2067}\u{2068}\u{2069}",
    "\u{61c}\u{200e}\u{200f}",
    "\u{200b}\u{2060}\u{feff}\u{ad}",
    "\u{e0041}\u{e007f}",
    "\u{e000}\u{f8ff}\u{10fffd}",
    "\u{fffe}\u{ffff}\u{10ffff}",
    "\u{fff9}\u{fffa}\u{fffb}",
    "\u{0}",
    "\\u0000",
    "\\ud800",
    "\u{fffd}",
    "\u{d7ff}\u{e000}",
    "'); DROP TABLE core_item; --",
    "$1 $$ $body$ \\. \\N",
    "E'\\\\'",
    "\"}}) { repository(owner: \"x\") { id } } #",
    "#\\\"\"\"",
    "{{7*7}} ${7*7} {0} %s %n",
    "<script>alert(1)</script><!-- -->",
    "]]>&lt;&#0;",
    "\"},{\"type\":\"FORGED",
    "null",
    "fixes acme/shop#1",
    "State: open\n\n",
    "\n\n\nLabels: FORGED",
    "agira_worker_run_exit_code{command=\"sync\"} 0\n",
    "=HYPERLINK(\"http://evil.example\")",
    "../../../../etc/passwd",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{fe0f}",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "\u{646}\u{200c}\u{647}",
    "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "\u{130}\u{131}\u{df}\u{1e9e}",
    "\t \u{a0}\u{3000}",
    "\\",
    "\"",
];

/// Returns random text of at most `most` characters.
pub fn text(rng: &mut Rng, most: usize) -> String {
    let mut text = String::new();
    for _ in 0..rng.usize(0..8) {
        match rng.u8(0..10) {
            0 => text.extend((0..rng.usize(0..20)).map(|_| rng.char(..))),
            1 => text.extend((0..rng.usize(0..20)).map(|_| rng.char('\u{0}'..'\u{ff}'))),
            _ => text.push_str(PIECES[rng.usize(..PIECES.len())]),
        }
    }
    text.chars().take(most).collect()
}

/// Returns the same, sometimes with a line of a megabyte.
pub fn long_text(rng: &mut Rng) -> String {
    let mut text = text(rng, usize::MAX);
    if rng.u16(..4000) == 0 {
        let piece = PIECES[rng.usize(..PIECES.len())];
        text.push_str(&"0123456789abcdef".repeat(1 << 16));
        text.push_str(piece);
    }
    text
}

/// Returns a few random texts, or none.
pub fn texts(rng: &mut Rng) -> Vec<String> {
    (0..rng.usize(0..4))
        .map(|_| text(rng, usize::MAX))
        .collect()
}
