//! The one boundary that text of strangers passes: on its way in, and on its way to a terminal or a log.

use std::fmt;

/// Removes what PostgreSQL cannot store: the NUL character. Everything else is content and stays.
pub fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text }
}

/// Shows text on one line without anything that a terminal or a log must not get raw: control characters (a line
/// break would forge a log line, an escape sequence would drive the terminal) and the characters that reorder text.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_unprintable(character) {
                write!(out, "{}", character.escape_default())?;
            } else {
                write!(out, "{character}")?;
            }
        }
        Ok(())
    }
}

/// The same for JSON, where such characters can stand in strings only: there an escape means the character itself.
pub fn printable_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut line, character| {
        match is_unprintable(character) {
            // All of them are below 0x10000, where one escape is enough.
            true => line.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => line.push(character),
        }
        line
    })
}

fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// At most `limit` characters of a text, with a mark where it was cut.
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit).and_then(|(end, _)| text.get(..end)) {
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
        assert_eq!(Printable("a\u{1b}[31m\nb\u{202e}c ü").to_string(), "a\\u{1b}[31m\\nb\\u{202e}c ü");
    }

    /// Unicode's list of characters that are Bidi_Control (PropList.txt).
    #[test]
    fn no_control_of_the_direction_of_text_is_printed() {
        let controls = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter().chain('\u{202a}'..='\u{202e}');
        for control in controls.chain('\u{2066}'..='\u{2069}') {
            assert!(!Printable(&control.to_string()).to_string().contains(control), "{control:?}");
            assert!(!printable_json(&format!("\"{control}\"")).contains(control), "{control:?}");
        }
    }

    #[test]
    fn json_for_a_terminal_means_the_same() {
        let text = "a\u{9b}31m\u{202e}\u{7f} ü\u{1b}";
        let json = printable_json(&serde_json::json!({ "text": text }).to_string());
        assert_eq!(json, r#"{"text":"a\u009b31m\u202e\u007f ü\u001b"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["text"], text);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }
}
