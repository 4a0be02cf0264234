//! Closing keywords in the text of a pull request.
//!
//! GitHub's page "Linking a pull request to an issue" lists the keywords and the three ways to name
//! the issue. GitHub ignores keywords in pull requests for another branch than the default one;
//! agira-worker counts them.

use std::sync::LazyLock;

use regex::Regex;

use super::model::{Address, Repository};
use super::text::pattern;

static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix) \b (?: close[sd]? | fix(?:e[sd])? | resolve[sd]? ) :? \s+
          (?: (?<full>[\w.-]+/[\w.-]+)? \# | https?://[^\s/]+/(?<url>[\w.-]+/[\w.-]+)/issues/ ) (?<number>\d+) \b",
    )
});

/// Returns true if `text`, which is part of a pull request in repository `home`, has a closing
/// keyword for `issue`.
pub fn closes(text: &str, home: &Repository, issue: &Address) -> bool {
    PATTERN.captures_iter(text).any(|captures| {
        let named = captures.name("full").or_else(|| captures.name("url"));
        let same_repository = match named {
            Some(name) => name
                .as_str()
                .eq_ignore_ascii_case(issue.repository.as_str()),
            None => *home == issue.repository,
        };
        same_repository && captures["number"].parse() == Ok(issue.number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue() -> Address {
        Address {
            repository: Repository::parse("acme/shop").unwrap(),
            number: 12,
        }
    }

    #[track_caller]
    fn check(text: &str, home: &str, expected: bool) {
        assert_eq!(
            closes(text, &Repository::parse(home).unwrap(), &issue()),
            expected,
            "{text:?} in {home}"
        );
    }

    #[test]
    fn every_keyword_counts_in_any_case_and_with_a_colon() {
        for keyword in [
            "close", "closes", "closed", "fix", "fixes", "fixed", "resolve", "resolves", "resolved",
        ] {
            check(&format!("text\n{keyword} #12."), "acme/shop", true);
            check(
                &format!("{}: #12", keyword.to_uppercase()),
                "acme/shop",
                true,
            );
        }
    }

    #[test]
    fn the_issue_can_be_named_in_three_ways() {
        check("fixes ACME/shop#12", "acme/other", true);
        check(
            "fixes https://github.com/acme/shop/issues/12",
            "acme/other",
            true,
        );
        check("fixes #12", "acme/other", false);
        check("fixes acme/other#12", "acme/shop", false);
    }

    #[test]
    fn a_mention_is_not_a_keyword() {
        for text in [
            "see #12",
            "fixes #123",
            "fixes #1",
            "prefixes #12",
            "fixes 12",
            "fixes#12",
            "fixing #12",
            "",
        ] {
            check(text, "acme/shop", false);
        }
    }

    #[test]
    fn one_keyword_counts_for_one_issue() {
        check("closes #11, #12", "acme/shop", false);
        check("closes #11, closes #12", "acme/shop", true);
    }
}
