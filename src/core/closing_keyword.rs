//! Closing keywords in the description of a pull request.
//!
//! GitHub's page "Linking a pull request to an issue" lists the keywords and the ways to name the
//! issue. GitHub reads the description as Markdown: it ignores comments, code and quotes. The table
//! of the tests names a source for each rule. GitHub ignores keywords in pull requests for another
//! branch than the default one; agira-worker counts them.

use std::sync::LazyLock;

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use regex::Regex;

use super::model::{Address, Repository, same_host};
use super::text::pattern;

static KEYWORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix) \b (?: close[sd]? | fix(?:e[sd])? | resolve[sd]? ) :? \s+
          (?: (?<full>[\w.-]+/[\w.-]+)? \# | GH- | (?<url>https?://[^\s/]+/(?<name>[\w.-]+/[\w.-]+)/issues/) )
          (?<number>\d+) \b",
    )
});

/// Parts of an HTML block in which GitHub does not look for references, and all other tags.
static NO_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?isx) <!-- .*? (?: --> | \z ) | <pre\b .*? (?: </pre> | \z ) | <code\b .*? (?: </code> | \z )
          | <blockquote\b .*? (?: </blockquote> | \z ) | <[^>]*>",
    )
});

/// A character that no keyword and no reference contains. It stands for whatever separates texts.
const SEPARATOR: char = '\u{0}';

/// Returns true if `description`, which is that of a pull request in repository `home`, has a
/// closing keyword for `issue`. `url` is the address of the pull request: an address on another
/// host is of another GitHub.
pub fn closes(description: &str, home: &Repository, url: &str, issue: &Address) -> bool {
    KEYWORD
        .captures_iter(&plain_text(description))
        .any(|captures| {
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

/// Returns the text of a Markdown document in which GitHub looks for references. GitHub looks at
/// each text between two tags on its own.
fn plain_text(markdown: &str) -> String {
    let (mut text, mut html) = (String::with_capacity(markdown.len()), String::new());
    // Number of quotes, code blocks and links around the current event. Their text does not count.
    let mut hidden = 0_usize;
    for event in Parser::new(markdown) {
        match &event {
            Event::Text(part) if hidden == 0 => text.push_str(part),
            Event::SoftBreak | Event::HardBreak if hidden == 0 => text.push('\n'),
            Event::Html(part) => html.push_str(part),
            Event::Start(Tag::BlockQuote(_) | Tag::CodeBlock(_) | Tag::Link { .. }) => hidden += 1,
            Event::End(TagEnd::BlockQuote(_) | TagEnd::CodeBlock | TagEnd::Link) => {
                hidden = hidden.saturating_sub(1);
            }
            Event::End(TagEnd::HtmlBlock) => {
                let block = std::mem::take(&mut html);
                if hidden == 0 {
                    text.push_str(&NO_TEXT.replace_all(&block, "\0"));
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
