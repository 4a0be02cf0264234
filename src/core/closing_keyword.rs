//! Closing keywords in the description of a pull request.
//!
//! GitHub's page "Linking a pull request to an issue" lists the keywords and the ways to name the
//! issue. GitHub reads the description as Markdown: it ignores comments, code and quotes. The table
//! of the tests names a source for each rule. GitHub ignores keywords in pull requests for another
//! branch than the default one; agira-worker counts them.

use std::sync::LazyLock;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use regex_lite::Regex;

use super::model::{Address, Repository, same_host};
use super::text::pattern;

static KEYWORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix) \b (?: close[sd]? | fix(?:e[sd])? | resolve[sd]? ) :? [\s\u{a0}\u{2000}-\u{200a}\u{202f}\u{3000}]+
          (?: (?<full>[\w.-]+/[\w.-]+)? \# | GH- | (?<url>https?://[^\s/]+/(?<name>[\w.-]+/[\w.-]+)/issues/) )
          (?<number>\d+) \b",
    )
});

/// Comments and tags. The text inside the tags with a name does not count.
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?isx) <!-- .*? (?: --> | \z )
          | < (?<end>/?) (?<name> code | pre | blockquote ) (?: [\s/] [^>]* )? > | <[^>]*>",
    )
});

/// A character that no keyword and no reference contains. It stands for whatever separates texts.
const SEPARATOR: char = '\u{0}';

/// Returns true if `description`, which is that of a pull request in repository `home`, has a
/// closing keyword for `issue`. `url` is the address of the pull request: an address on another
/// host is of another GitHub.
pub fn closes(description: &str, home: &Repository, url: &str, issue: &Address) -> bool {
    let text = plain_text(description);
    KEYWORD.captures_iter(&text).any(|captures| {
        // The pattern knows the letters of ASCII only.
        let Some(place) = captures.get(0) else {
            return false;
        };
        let (before, after) = (text.get(..place.start()), text.get(place.end()..));
        if before.is_some_and(|before| before.ends_with(char::is_alphanumeric))
            || after.is_some_and(|after| after.starts_with(char::is_alphanumeric))
        {
            return false;
        }
        if captures
            .name("url")
            .is_some_and(|named| !same_host(named.as_str(), url))
        {
            return false;
        }
        let named = captures.name("full").or_else(|| captures.name("name"));
        let same_repository = match named {
            Some(name) => name
                .as_str()
                .eq_ignore_ascii_case(issue.repository.as_str()),
            None => *home == issue.repository,
        };
        same_repository && captures["number"].parse() == Ok(issue.number)
    })
}

/// Names of the HTML tags around the current place whose text does not count. An empty line ends a
/// block of HTML, but no tag.
#[derive(Default)]
struct OpenTags(Vec<String>);

impl OpenTags {
    fn add_text(&self, part: &str, text: &mut String) {
        if self.0.is_empty() {
            text.push_str(part);
        }
    }

    /// Adds the texts of a piece of HTML, and follows its tags.
    fn add_html(&mut self, html: &str, text: &mut String) {
        let mut rest = 0;
        for tag in TAG.captures_iter(html) {
            let range = tag.get(0).map_or(rest..rest, |whole| whole.range());
            self.add_text(html.get(rest..range.start).unwrap_or_default(), text);
            text.push(SEPARATOR);
            rest = range.end;
            let Some(name) = tag.name("name") else {
                continue;
            };
            let name = name.as_str().to_ascii_lowercase();
            if tag.name("end").is_none_or(|end| end.is_empty()) {
                self.0.push(name);
            } else if let Some(start) = self.0.iter().rposition(|open| *open == name) {
                self.0.truncate(start);
            }
        }
        self.add_text(html.get(rest..).unwrap_or_default(), text);
    }
}

/// Returns the text of a Markdown document in which GitHub looks for references. GitHub looks at
/// each text between two tags on its own.
fn plain_text(markdown: &str) -> String {
    let (mut text, mut html) = (String::with_capacity(markdown.len()), String::new());
    // Number of quotes, code blocks and links around the current event. Their text does not count.
    let mut hidden = 0_usize;
    let mut tags = OpenTags::default();
    for event in Parser::new(markdown) {
        match &event {
            Event::Text(part) if hidden == 0 => tags.add_text(part, &mut text),
            Event::SoftBreak | Event::HardBreak if hidden == 0 => tags.add_text("\n", &mut text),
            Event::InlineHtml(part) if hidden == 0 => tags.add_html(part, &mut text),
            Event::Html(part) => html.push_str(part),
            Event::Start(Tag::BlockQuote(_) | Tag::CodeBlock(_) | Tag::Link { .. }) => hidden += 1,
            Event::End(TagEnd::BlockQuote(_) | TagEnd::CodeBlock | TagEnd::Link) => {
                hidden = hidden.saturating_sub(1);
            }
            Event::End(TagEnd::HtmlBlock) => {
                let block = std::mem::take(&mut html);
                if hidden == 0 {
                    tags.add_html(&block, &mut text);
                }
            }
            _ => {}
        }
        if !matches!(event, Event::Text(_) | Event::SoftBreak | Event::HardBreak) {
            text.push(SEPARATOR);
        }
    }
    text
}

#[cfg(test)]
mod tests;
