//! Descriptions of pull requests with the answer that GitHub gives, each with the source of the
//! rule.

use super::*;

const DOCS: &str = "docs.github.com, Linking a pull request to an issue, Using keywords in issues and pull requests";
const AGENTS: &str = "measured: rjmurillo/ai-agents#3827";
const SYMPY: &str = "measured: wiki of sympy/sympy, Issue PR Autoclosing syntax";
const MARKDOWN: &str = "docs.github.com, and kurone-kito/idd-skill#706 and #725: code and quotes";
const LINKS: &str = "measured: bobmatnyc/trusty-tools#5408 (a link closes by chance only)";
const HTML: &str = "GitHub Flavored Markdown, HTML blocks: what they contain is text as well";
const TAGS: &str = "HTML tags for code and quotes hide what Markdown for code and quotes hides";
const PREFIX: &str = "docs.github.com, Autolinked references and URLs (GH-26)";
const WORDS: &str = "measured: knative/serving#614";
const COLON: &str = "docs.github.com (Closes: #10); measured: eclipse-openj9/openj9#180";
const NEGATED: &str = "measured: isaacs/github#1871";
const COMMENT_LINK: &str = "measured: isaacs/github#1731";

/// The pull request is in acme/shop, and the issue is acme/shop#12.
const TEXTS: &[(&str, bool, &str)] = &[
    ("close #12", true, DOCS),
    ("closes #12", true, DOCS),
    ("closed #12", true, DOCS),
    ("fix #12", true, DOCS),
    ("fixes #12", true, DOCS),
    ("fixed #12", true, DOCS),
    ("resolve #12", true, DOCS),
    ("resolves #12", true, DOCS),
    ("resolved #12", true, DOCS),
    ("FIXES #12", true, DOCS),
    (
        "Fixes\u{a0}#12",
        true,
        "a space that does not break is a space",
    ),
    ("préfix #12", false, "a keyword is a whole word"),
    ("éclose #12", false, "a keyword is a whole word"),
    ("close #12é", false, "a number is a whole word"),
    ("Fixes: #12", true, COLON),
    ("CLOSES: #12", true, COLON),
    ("fixes acme/shop#12", true, DOCS),
    ("fixes ACME/Shop#12", true, DOCS),
    ("fixes acme/other#12", false, DOCS),
    ("closes #11, closes #12", true, DOCS),
    ("closes #11, #12", false, DOCS),
    ("fixes #11 and #12", false, SYMPY),
    (
        "Resolves #11, resolves #12, resolves acme/other#13",
        true,
        DOCS,
    ),
    (
        "Fixes https://github.com/acme/shop/issues/12",
        true,
        COMMENT_LINK,
    ),
    (
        "Fixes https://github.com/acme/shop/issues/12#issuecomment-1",
        true,
        COMMENT_LINK,
    ),
    (
        "Fixes https://ghe.example/acme/shop/issues/12",
        false,
        "another GitHub has other issues",
    ),
    (
        "Fixes https://github.com.evil.example/acme/shop/issues/12",
        false,
        "another host",
    ),
    ("fixes GH-12", true, PREFIX),
    ("Fixes gh-12.", true, PREFIX),
    ("This PR fixes #12 (yes, anywhere).", true, SYMPY),
    ("This does not fix #12", true, NEGATED),
    ("- [ ] closes #12\n- another", true, DOCS),
    ("# Fixes #12\n\nText", true, DOCS),
    ("Text\r\n\r\nFixes #12\r\n", true, DOCS),
    ("**Fixes #12**", true, DOCS),
    (
        "<details>\n<summary>More</summary>\nfixes #12\n</details>",
        true,
        HTML,
    ),
    ("fixes #123", false, "another number"),
    ("fixes 12", false, SYMPY),
    ("fixes- #12", false, SYMPY),
    ("fixx #12", false, SYMPY),
    ("prefixes #12", false, SYMPY),
    ("fixing #12", false, DOCS),
    ("Fixes issue #12", false, WORDS),
    ("see #12", false, DOCS),
    ("", false, "no text"),
    ("<!-- fixes #12 -->", false, AGENTS),
    (
        "<!--\nWrite fixes #1 or closes #12\n\nhere\n-->\nText",
        false,
        AGENTS,
    ),
    ("Text <!-- fixes #12 --> text", false, AGENTS),
    (
        "<!-- never closed\n\nfixes #12",
        false,
        "refined-github/refined-github#2075",
    ),
    ("`fixes #12`", false, AGENTS),
    ("Closes `#12`", false, MARKDOWN),
    ("``a ` fixes #12``", false, MARKDOWN),
    ("```\nfixes #12\n```", false, AGENTS),
    ("~~~text\nfixes #12\n~~~", false, AGENTS),
    ("```\nfixes #12", false, MARKDOWN),
    ("Text\n\n    fixes #12\n", false, MARKDOWN),
    ("> fixes #12", false, AGENTS),
    ("> quoted\nfixes #12", false, MARKDOWN),
    ("> - in a list\n>   fixes #12\n\nText", false, MARKDOWN),
    ("> quoted\n\nfixes #12", true, MARKDOWN),
    ("<pre>\nfixes #12\n</pre>", false, HTML),
    ("Text <code>fixes #12</code>", false, TAGS),
    ("Text <CODE class=\"x\">fixes\n#12</CODE>", false, TAGS),
    ("<code>a</code> fixes #12", true, TAGS),
    ("a </code> fixes #12", true, TAGS),
    ("<codex>fixes #12</codex>", true, TAGS),
    ("<blockquote>\n\nfixes #12\n\n</blockquote>", false, TAGS),
    (
        "<blockquote>\n\n<code>a</code>\n\nfixes #12\n\n</blockquote>",
        false,
        TAGS,
    ),
    (
        "<blockquote>\n\nText\n\n</blockquote>\n\nfixes #12",
        true,
        TAGS,
    ),
    (
        "Fixes [#12](https://github.com/acme/shop/issues/12)",
        false,
        LINKS,
    ),
    ("[fixes #12](https://example.org)", false, LINKS),
];

#[track_caller]
fn check(text: &str, home: &str, url: &str, expected: bool, source: &str) {
    let issue = Address {
        repository: Repository::parse("acme/shop").unwrap(),
        number: 12,
    };
    let home = Repository::parse(home).unwrap();
    assert_eq!(
        closes(text, &home, url, &issue),
        expected,
        "{text:?} in {home} ({source})"
    );
}

#[test]
fn keywords_count_where_github_counts_them() {
    for (text, expected, source) in TEXTS {
        check(
            text,
            "acme/shop",
            "https://github.com/acme/shop/pull/3",
            *expected,
            source,
        );
    }
}

#[test]
fn a_bare_number_is_of_the_pull_requests_own_repository() {
    let url = "https://github.com/acme/other/pull/3";
    check("fixes #12", "acme/other", url, false, DOCS);
    check("fixes GH-12", "acme/other", url, false, DOCS);
    check("fixes acme/shop#12", "acme/other", url, true, DOCS);
    let address = "fixes https://github.com/acme/shop/issues/12";
    check(address, "acme/other", url, true, DOCS);
}

#[test]
fn an_address_on_this_githubs_own_host_counts() {
    let (text, url) = (
        "fixes https://GHE.example/acme/shop/issues/12",
        "https://ghe.example/acme/shop/pull/3",
    );
    check(text, "acme/shop", url, true, DOCS);
    let other = "fixes https://github.com/acme/shop/issues/12";
    check(other, "acme/shop", url, false, DOCS);
}
