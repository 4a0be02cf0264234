//! The boundary that untrusted text passes: on its way in, and on its way to a terminal or a log.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::LazyLock;

use chrono::{DateTime, SecondsFormat, Utc};
use regex_lite::{Captures, Regex};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Returns true for characters that must be escaped on a terminal and in a log, by Unicode's
/// categories: controls (a line break could forge a log line, an escape sequence could control the
/// terminal), format characters (they reorder or hide text), line and paragraph separators,
/// private-use characters and noncharacters. The two joiners stay, because some scripts and emoji
/// need them.
fn is_unprintable(character: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse};
    let is_noncharacter =
        u32::from(character) & 0xfffe == 0xfffe || ('\u{fdd0}'..='\u{fdef}').contains(&character);
    match character {
        '\u{200c}' | '\u{200d}' => false,
        '\0'..='\u{7f}' => character.is_ascii_control(),
        _ => {
            is_noncharacter
                || matches!(
                    character.general_category(),
                    Control | Format | LineSeparator | ParagraphSeparator | PrivateUse
                )
        }
    }
}

/// Any escape of a JSON text; `lone` is a surrogate without its partner.
static JSON_ESCAPE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?sx) \\ (?: u[dD][89abAB][[:xdigit:]]{2} \\u[dD][c-fC-F][[:xdigit:]]{2}
                     | (?<lone> u[dD][89a-fA-F][[:xdigit:]]{2} )
                     | . )",
    )
});

/// Compiles a pattern that is a constant of the program.
#[expect(clippy::expect_used, reason = "tests compile every such pattern")]
pub fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

/// Removes NUL characters, which PostgreSQL cannot store. Everything else is content and stays.
pub fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "")
    } else {
        text
    }
}

/// Replaces bytes that are not UTF-8, and escapes of lone surrogates, with U+FFFD. Otherwise one
/// bad character of one issue would make a whole response unusable.
pub fn well_formed_json(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    // Nearly every response has no such escape, and is not searched with the pattern.
    if !text.contains(r"\ud") && !text.contains(r"\uD") {
        return text.into_owned();
    }
    let replaced =
        JSON_ESCAPE.replace_all(&text, |escape: &Captures<'_>| match escape.name("lone") {
            Some(_) => r"\ufffd".to_owned(),
            None => escape.get(0).map_or("", |whole| whole.as_str()).to_owned(),
        });
    replaced.into_owned()
}

/// Displays text on one line with unprintable characters escaped.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| match is_unprintable(character) {
                true => write!(out, "{}", character.escape_default()),
                false => out.write_char(character),
            })
    }
}

/// Escapes unprintable characters in JSON. They occur only in strings, so that the value stays the
/// same.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unprintable) {
        return Cow::Borrowed(json);
    }
    let escaped = json
        .chars()
        .map(|character| match is_unprintable(character) {
            true => {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units).iter();
                units.map(|unit| format!("\\u{unit:04x}")).collect()
            }
            false => character.to_string(),
        });
    Cow::Owned(escaped.collect())
}

/// Returns the first 300 characters of untrusted text, printable, as errors quote them.
pub fn quoted(text: &str) -> String {
    Printable(&shortened(text, 300)).to_string()
}

/// Returns the first 1,000 characters of untrusted text, printable, as reports and the database
/// keep errors.
pub fn recorded(text: &str) -> String {
    Printable(&shortened(text, 1000)).to_string()
}

/// Returns at most `limit` characters of a text, with an ellipsis if it was cut.
pub fn shortened(text: &str, limit: usize) -> String {
    let cut = text.char_indices().nth(limit);
    match cut.and_then(|(end, _)| text.get(..end)) {
        Some(beginning) => format!("{beginning}…"),
        None => text.to_owned(),
    }
}

/// Formats a time as RFC 3339 in UTC with whole seconds.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storable_text_has_no_nul_and_everything_else() {
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
    fn invisible_characters_are_escaped_and_joiners_stay() {
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

    #[test]
    fn every_character_of_unicode_is_judged_by_its_category() {
        let expected = regex::Regex::new(
            r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Noncharacter_Code_Point}--[\u{200c}\u{200d}]]$",
        );
        let expected = expected.unwrap();
        let wrong: Vec<char> = (char::MIN..=char::MAX)
            .filter(|one| is_unprintable(*one) != expected.is_match(&one.to_string()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[track_caller]
    fn check_json(json: &[u8], expected: &str) {
        let text: String = serde_json::from_str(&well_formed_json(json)).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_lone_surrogate_does_not_spoil_the_answer() {
        assert!(
            serde_json::from_str::<String>(r#""\ud800""#).is_err(),
            "the parser refuses lone surrogates"
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
    fn a_quote_is_short_and_printable() {
        assert_eq!(quoted("no\u{1b}[2J luck"), "no\\u{1b}[2J luck");
        assert_eq!(quoted(&"a".repeat(301)), format!("{}…", "a".repeat(300)));
    }

    /// Unicode's list of characters that are Bidi_Control (PropList.txt).
    #[test]
    fn bidirectional_controls_are_never_printed() {
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
    fn a_timestamp_has_whole_seconds() {
        let time = "2026-03-01T12:00:00.5+02:00".parse().unwrap();
        assert_eq!(timestamp(time), "2026-03-01T10:00:00Z");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }
}
