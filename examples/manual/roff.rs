//! Turns sections of a Markdown document into sections of a man page.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Returns everything from the first second-level heading on, as roff.
pub fn sections(document: &str) -> String {
    let start = document.find("\n## ").unwrap_or(document.len());
    let mut page = Page::default();
    for event in Parser::new_ext(&document[start..], Options::ENABLE_TABLES) {
        page.add(event);
    }
    page.roff
}

/// Returns the section with this heading, as roff.
pub fn section(document: &str, heading: &str) -> String {
    let is_wanted = |part: &&str| part.lines().next() == Some(heading);
    let part = document.split("\n## ").find(is_wanted);
    sections(&format!("\n## {}\n", part.unwrap_or_default()))
}

/// Returns the page with each exit code as a tag beside its meaning, so that long lines are indented.
pub fn with_tags(page: &str) -> String {
    let lines = page.split('\n').map(|line| {
        let code = line
            .strip_prefix("  ")
            .and_then(|rest| rest.split_once(' '));
        match code {
            Some((code, meaning)) if code.parse::<u8>().is_ok() => {
                format!(".TP 6\n{code}\n{}", meaning.trim_start())
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A page that grows with each event of the Markdown.
#[derive(Default)]
struct Page {
    roff: String,
    /// Text of the heading, paragraph or cell that is being read.
    text: String,
    /// Macro before the next paragraph, if it is the first one of a section or list item.
    first: Option<&'static str>,
    heads: Vec<String>,
    cells: Vec<String>,
}

impl Page {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.text.push_str(&escaped(&text)),
            Event::Code(code) => self.text.push_str(&format!("\\fB{}\\fR", escaped(&code))),
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Item => self.first = Some(".IP \\(bu 2\n"),
            Tag::Strong => self.text.push_str("\\fB"),
            Tag::Emphasis => self.text.push_str("\\fI"),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(HeadingLevel::H2) => {
                let name = self.take().to_uppercase();
                self.roff.push_str(&format!(".SH \"{name}\"\n"));
                self.first = Some("");
            }
            TagEnd::Heading(_) => {
                let name = self.take();
                self.roff.push_str(&format!(".SS \"{name}\"\n"));
                self.first = Some("");
            }
            TagEnd::Paragraph => self.paragraph(),
            // The items of a dense list have no paragraphs.
            TagEnd::Item if !self.text.is_empty() => self.paragraph(),
            TagEnd::CodeBlock => {
                let lines = self.take();
                self.roff
                    .push_str(&format!(".PP\n.RS 4\n.nf\n{lines}\n.fi\n.RE\n"));
            }
            TagEnd::TableCell => {
                let cell = self.take();
                self.cells.push(cell);
            }
            TagEnd::TableHead => self.heads = std::mem::take(&mut self.cells),
            TagEnd::TableRow => self.row(),
            TagEnd::Strong | TagEnd::Emphasis => self.text.push_str("\\fR"),
            _ => {}
        }
    }

    fn paragraph(&mut self) {
        let text = self.take();
        self.roff.push_str(self.first.take().unwrap_or(".PP\n"));
        self.roff.push_str(&format!("{text}\n"));
    }

    /// Writes the first cell as a tag, and the others below it, with their heads if there are several.
    fn row(&mut self) {
        self.first = None;
        let cells = std::mem::take(&mut self.cells);
        let Some((tag, others)) = cells.split_first() else {
            return;
        };
        let named = others.iter().zip(self.heads.iter().skip(1));
        let lines = named.map(|(cell, head)| match others.len() {
            1 => cell.clone(),
            _ => format!("{head}: {cell}"),
        });
        let lines: Vec<String> = lines.collect();
        let lines = lines.join("\n.br\n");
        self.roff.push_str(&format!(".TP\n{tag}\n{lines}\n"));
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.text).trim_end().to_owned()
    }
}

/// Escapes what roff would take for a request, an escape or a typographic sign.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let text = text.replace('\'', "\\(aq").replace('"', "\\(dq");
    let lines = text.split('\n').map(|line| match line.starts_with('.') {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
