//! The one boundary that text of strangers passes: on its way in, and on its way to a terminal or a log.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What a terminal or a log must not get raw, by Unicode's categories: controls (a line break would forge a log line, an
/// escape sequence would drive the terminal), what formats (and reorders or hides) text, line and paragraph separators,
/// and what has no agreed meaning. The two joiners stay: words of some scripts, and emoji, are not the same without.
#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that every test here compiles"
)]
static UNPRINTABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Noncharacter_Code_Point}--[\u{200c}\u{200d}]]")
        .expect("a valid pattern")
});

/// Each escape of a JSON text; a surrogate that has no partner is `lone`.
#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that every test here compiles"
)]
static JSON_ESCAPE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?sx) \\ (?: u[dD][89abAB][[:xdigit:]]{2} \\u[dD][c-fC-F][[:xdigit:]]{2}
                     | (?<lone> u[dD][89a-fA-F][[:xdigit:]]{2} )
                     | . )",
    )
    .expect("a valid pattern")
});

/// Removes what PostgreSQL cannot store: the NUL character. Everything else is content and stays.
pub fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "")
    } else {
        text
    }
}

/// JSON of a service without what no text can hold, bytes that are not UTF-8 and escapes of half a character: each becomes
/// U+FFFD, Unicode's sign for such. A parser would refuse the whole answer, and with it everybody else's text.
pub fn well_formed_json(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let replaced =
        JSON_ESCAPE.replace_all(&text, |escape: &Captures<'_>| match escape.name("lone") {
            Some(_) => r"\ufffd".to_owned(),
            None => escape.get(0).map_or("", |whole| whole.as_str()).to_owned(),
        });
    replaced.into_owned()
}

/// Shows text on one line, with an escape in the place of each character that a terminal or a log must not get raw.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut end = 0;
        for found in UNPRINTABLE.find_iter(self.0) {
            out.write_str(self.0.get(end..found.start()).unwrap_or_default())?;
            write!(out, "{}", found.as_str().escape_default())?;
            end = found.end();
        }
        out.write_str(self.0.get(end..).unwrap_or_default())
    }
}

/// The same for JSON, where such characters can stand in strings only: there an escape means the character itself.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    UNPRINTABLE.replace_all(json, |found: &Captures<'_>| {
        let character = found.get(0).map_or("", |whole| whole.as_str());
        character
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect::<String>()
    })
}

/// What somebody else said, as errors quote it: its beginning, printable.
pub fn quoted(text: &str) -> String {
    /// Longest part of a text that is quoted, in characters.
    const QUOTED: usize = 300;
    Printable(&shortened(text, QUOTED)).to_string()
}

/// At most `limit` characters of a text, with a mark where it was cut.
pub fn shortened(text: &str, limit: usize) -> String {
    match text
        .char_indices()
        .nth(limit)
        .and_then(|(end, _)| text.get(..end))
    {
        Some(beginning) => format!("{beginning}…"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_goes_and_everything_else_stays() {
        assert_eq!(storable("a\0b\u{1b}[31m\n".to_owned()), "ab\u{1b}[31m\n");
    }

    #[test]
    fn a_terminal_gets_no_control_character() {
        assert_eq!(
            Printable("a\u{1b}[31m\nb\u{202e}c ü").to_string(),
            "a\\u{1b}[31m\\nb\\u{202e}c ü"
        );
    }

    #[test]
    fn what_hides_is_shown_and_what_joins_stays() {
        // A soft hyphen, letters of the tag block, private use, a noncharacter.
        assert_eq!(
            Printable("a\u{ad}b\u{e0041}\u{e000}\u{ffff}").to_string(),
            "a\\u{ad}b\\u{e0041}\\u{e000}\\u{ffff}"
        );
        for text in [
            "\u{1f468}\u{200d}\u{1f469}\u{fe0f}",
            "\u{646}\u{200c}\u{647}",
            "e\u{301} \u{fffd} \\n",
        ] {
            assert_eq!(Printable(text).to_string(), text);
        }
    }

    #[track_caller]
    fn check_json(json: &[u8], expected: &str) {
        let text: String = serde_json::from_str(&well_formed_json(json)).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn half_a_character_costs_nobody_the_answer() {
        assert!(
            serde_json::from_str::<String>(r#""\ud800""#).is_err(),
            "why it is needed"
        );
        check_json(br#""a\ud800b""#, "a\u{fffd}b");
        check_json(
            br#""\uDFFF\ud83d\uDE00\ud83d""#,
            "\u{fffd}\u{1f600}\u{fffd}",
        );
        check_json(br#""\ud800\ud800\udc00\n""#, "\u{fffd}\u{10000}\n");
        check_json(br#""\\ud800 \\\ud800""#, "\\ud800 \\\u{fffd}");
        check_json(b"\"\xff\xed\xa0\x80\"", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_somebody_said_is_quoted_from_its_beginning_and_printable() {
        assert_eq!(quoted("no\u{1b}[2J luck"), "no\\u{1b}[2J luck");
        assert_eq!(quoted(&"a".repeat(301)), format!("{}…", "a".repeat(300)));
    }

    /// Unicode's list of characters that are Bidi_Control (PropList.txt).
    #[test]
    fn no_control_of_the_direction_of_text_is_printed() {
        let controls = ['\u{61c}', '\u{200e}', '\u{200f}']
            .into_iter()
            .chain('\u{202a}'..='\u{202e}');
        for control in controls.chain('\u{2066}'..='\u{2069}') {
            assert!(
                !Printable(&control.to_string())
                    .to_string()
                    .contains(control),
                "{control:?}"
            );
            assert!(
                !printable_json(&format!("\"{control}\"")).contains(control),
                "{control:?}"
            );
        }
    }

    #[test]
    fn json_for_a_terminal_means_the_same() {
        let text = "a\u{9b}31m\u{202e}\u{7f} ü\u{1b}\u{e0041}";
        let json = serde_json::json!({ "text": text }).to_string();
        let json = printable_json(&json);
        assert_eq!(
            json,
            r#"{"text":"a\u009b31m\u202e\u007f ü\u001b\udb40\udc41"}"#
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap()["text"],
            text
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }
}
