//! Draws the result of a run: plain data in, lines of text out.

use textwrap::core::display_width;

use super::display::{Block, Display, Group};
use super::entry::Row;
use super::terminal::{Screen, Tone};
use super::words::number;

/// Width from which title and changes of an item share a line.
const WIDE: usize = 110;
/// Largest widths of the columns. A longer title is cut; a longer text pushes the rest of its line.
const TITLE: usize = 32;
const SUBJECT: usize = 32;
const WHAT: usize = 28;
/// Smallest width of a column in which text is wrapped.
const LAST: usize = 24;

/// Items, and mappings of one cause, that a terminal shows. Files and pipes get all of them.
const SHOWN_BLOCKS: usize = 50;
const SHOWN_MEMBERS: usize = 20;

/// A line of the result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub tone: Option<Tone>,
    pub text: String,
}

/// Draws a result for a screen.
pub(super) fn draw(display: &Display, screen: &Screen) -> Vec<Line> {
    let mut canvas = Canvas {
        screen,
        columns: Columns::of(&display.blocks, screen),
        lines: Vec::new(),
    };
    let (blocks, members) = match screen.is_terminal {
        true => (SHOWN_BLOCKS, SHOWN_MEMBERS),
        false => (usize::MAX, usize::MAX),
    };
    for notice in &display.notices {
        canvas.wrapped(Some(Tone::Warning), notice);
    }
    for block in display.blocks.iter().take(blocks) {
        canvas.block(block);
    }
    canvas.rest(display.blocks.len(), blocks, "items change");
    for group in &display.failures {
        canvas.group(group, Tone::Alarm, members);
    }
    for group in &display.left {
        canvas.group(group, Tone::Warning, members);
    }
    if !canvas.lines.is_empty() {
        canvas.line(None, String::new());
    }
    canvas.wrapped(Some(Tone::Bold), &display.summary);
    if let Some(ending) = &display.ending {
        canvas.wrapped(Some(Tone::Alarm), ending);
    }
    canvas.lines
}

/// Widths of the columns of all blocks.
struct Columns {
    is_wide: bool,
    item: usize,
    title: usize,
    subject: usize,
    what: usize,
}

impl Columns {
    fn of(blocks: &[Block], screen: &Screen) -> Self {
        let rows = || blocks.iter().flat_map(|block| &block.rows);
        let widest = |widths: &mut dyn Iterator<Item = usize>, most: usize| {
            widths.filter(|width| *width <= most).max().unwrap_or(0)
        };
        let titles = blocks.iter().map(|block| display_width(&block.title));
        Self {
            is_wide: screen.width().is_none_or(|width| width >= WIDE),
            item: widest(&mut blocks.iter().map(|one| label(one.item).len()), WIDE),
            title: titles.max().unwrap_or(0).min(TITLE),
            subject: widest(&mut rows().map(|row| display_width(&row.subject)), SUBJECT),
            // A line without a reason needs no column.
            what: widest(
                &mut rows()
                    .filter(|row| !row.why.is_empty())
                    .map(|row| display_width(&row.what)),
                WHAT,
            ),
        }
    }
}

/// The lines so far.
struct Canvas<'a> {
    screen: &'a Screen,
    columns: Columns,
    lines: Vec<Line>,
}

impl Canvas<'_> {
    fn line(&mut self, tone: Option<Tone>, text: String) {
        let text = text.trim_end().to_owned();
        self.lines.push(Line { tone, text });
    }

    fn wrapped(&mut self, tone: Option<Tone>, text: &str) {
        for line in self.screen.wrap(text) {
            self.line(tone, line);
        }
    }

    fn block(&mut self, block: &Block) {
        let (item, title) = (label(block.item), self.columns.title);
        let (mut head, indent) = match self.columns.is_wide {
            true => {
                let item = padded(&item, self.columns.item);
                let title = padded(&cut(&block.title, title), title);
                let head = format!("{item}  {title}  ");
                let indent = " ".repeat(display_width(&head));
                (head, indent)
            }
            false => {
                let width = self.screen.width().unwrap_or(WIDE);
                let left = width.saturating_sub(item.len() + 2);
                let title = cut(&block.title, left);
                self.line(None, format!("{item}  {title}"));
                ("  ".to_owned(), "  ".to_owned())
            }
        };
        if block.rows.is_empty() && self.columns.is_wide {
            self.line(None, head.clone());
        }
        for row in &block.rows {
            self.row(&std::mem::replace(&mut head, indent.clone()), row);
        }
        for explained in &block.explained {
            explained
                .lines
                .iter()
                .for_each(|one| self.wrapped(None, one));
            let diff = explained.diff.iter();
            diff.for_each(|line| self.line(None, line.clone()));
        }
    }

    fn row(&mut self, head: &str, row: &Row) {
        let subject = padded(&row.subject, self.columns.subject);
        let head = format!("{head}{subject}  ");
        if row.why.is_empty() {
            return self.hanging(&head, &row.what);
        }
        let what = padded(&row.what, self.columns.what);
        self.hanging(&format!("{head}{what}  "), &row.why);
    }

    /// Adds a text that is wrapped within its own column, or deeper below if that is too narrow.
    fn hanging(&mut self, head: &str, text: &str) {
        let start = display_width(head);
        let Some(width) = self.screen.width() else {
            return self.line(None, format!("{head}{text}"));
        };
        if start + display_width(text) <= width {
            return self.line(None, format!("{head}{text}"));
        }
        if start + LAST > width {
            return self.wrapped(None, &format!("{head}{text}"));
        }
        let mut head = head.to_owned();
        for line in textwrap::wrap(text, width - start) {
            let next = std::mem::replace(&mut head, " ".repeat(start));
            self.line(None, format!("{next}{line}"));
        }
    }

    fn group(&mut self, group: &Group, tone: Tone, most: usize) {
        self.wrapped(Some(tone), &group.heading);
        let members = || group.members.iter().take(most);
        let width = |text: &str| display_width(text).min(TITLE);
        let item = members().map(|one| label(one.item).len()).max();
        let title = members().map(|one| width(&one.title)).max();
        let subject = members().map(|one| display_width(&one.reference)).max();
        for member in members() {
            let title = title.unwrap_or(0);
            let line = format!(
                "  {}  {}  {}  {}",
                padded(&label(member.item), item.unwrap_or(0)),
                padded(&cut(&member.title, title), title),
                padded(&member.reference, subject.unwrap_or(0).min(SUBJECT)),
                member.next
            );
            self.wrapped(None, line.trim_end());
        }
        self.rest(group.members.len(), most, "mappings");
    }

    /// Adds a line about what a terminal does not show.
    fn rest(&mut self, all: usize, most: usize, what: &str) {
        if all > most {
            let more = number((all - most) as u64);
            self.wrapped(
                None,
                &format!("  ... and {more} more {what}: `| cat` shows all of them"),
            );
        }
    }
}

fn label(item: i64) -> String {
    format!("item {item}")
}

/// Fills a text with spaces up to a width in columns.
fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(display_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Cuts a text to a width in columns, with an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 1);
    for character in text.chars() {
        used += display_width(character.encode_utf8(&mut [0; 4]));
        if used > width {
            break;
        }
        kept.push(character);
    }
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::display::Member;
    use super::*;

    fn screen(width: u16, is_terminal: bool) -> Screen {
        Screen::for_test((width > 0).then_some(width), is_terminal)
    }

    fn row(subject: &str, what: &str, why: &str) -> Row {
        Row {
            subject: subject.to_owned(),
            what: what.to_owned(),
            why: why.to_owned(),
            is_minor: false,
        }
    }

    /// Returns a result of that many items, with long and wide texts.
    fn display(items: i64) -> Display {
        let blocks = (1..=items).map(|item| Block {
            item,
            title: "壊れた title that is longer than its column, and more".to_owned(),
            rows: vec![
                row(
                    "acme/shop#12",
                    "Working → Testing",
                    "closed 2 h ago as completed",
                ),
                row(
                    "+ an-organization/with-a-long-name#123456",
                    "pull request linked",
                    "merged",
                ),
                row("+ Weaviate", "item, issue, pull request", ""),
                row(
                    "acme/shop#12",
                    "keeps its GitHub id: row 3 has 5000000001, which is a long text",
                    "",
                ),
            ],
            explained: Vec::new(),
        });
        let members = (1..=items).map(|item| Member {
            item,
            title: "壊れた".to_owned(),
            reference: "acme/shop#9".to_owned(),
            next: "parked".to_owned(),
        });
        Display {
            blocks: blocks.collect(),
            failures: vec![Group {
                heading: "3 failed: it was deleted on GitHub; delete the mapping, or correct its html_url".to_owned(),
                members: members.collect(),
            }],
            summary: "8 mappings synced".to_owned(),
            ..Display::default()
        }
    }

    fn lines(display: &Display, screen: &Screen) -> Vec<String> {
        let lines = draw(display, screen).into_iter();
        lines.map(|line| line.text).collect()
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        for width in [40, 60, 80, 109, 110, 200] {
            for line in lines(&display(3), &screen(width, false)) {
                assert!(display_width(&line) <= width.into(), "{width}: {line}");
            }
        }
    }

    #[test]
    fn columns_hold_where_they_fit() {
        for (width, is_wide) in [(80, false), (200, true), (0, true)] {
            let lines = lines(&display(2), &screen(width, false));
            let starts = lines
                .iter()
                .filter_map(|line| line.find("Working → Testing"));
            let starts: Vec<usize> = starts.collect();
            assert!(starts.len() == 2 && starts[0] == starts[1], "{lines:#?}");
            assert_eq!(lines[0].contains("Working"), is_wide, "{lines:#?}");
        }
    }

    #[test]
    fn a_terminal_gets_as_many_items_as_a_usual_run_has_and_a_file_gets_all() {
        let count = |lines: &[String]| lines.iter().filter(|one| one.starts_with("item ")).count();
        let (file, terminal) = (screen(80, false), screen(80, true));
        assert_eq!(count(&lines(&display(1000), &file)), 1000);
        let shown = lines(&display(1000), &terminal);
        assert_eq!(count(&shown), 50);
        for rest in [
            "  ... and 950 more items change: `| cat` shows all of them",
            "  ... and 980 more mappings: `| cat` shows all of them",
        ] {
            assert!(shown.iter().any(|line| line == rest), "{shown:#?}");
        }
    }

    #[test]
    fn a_title_is_cut_by_its_width() {
        assert_eq!(cut("壊れた", 6), "壊れた");
        assert_eq!(cut("壊れた", 5), "壊れ…");
        assert_eq!(cut("壊れた", 4), "壊…");
    }
}
