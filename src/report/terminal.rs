//! Text for a person, with the width and the colors of the terminal.

use std::io::{ErrorKind, IsTerminal, Write as _};
use std::sync::OnceLock;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::core::text::Printable;

/// Smallest width to which text is wrapped, in columns.
const MIN_WIDTH: u16 = 40;

/// Width and colors of standard output.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    pub(super) is_terminal: bool,
    /// Width in columns; `None` for a file or another program, for which no line is wrapped.
    width: Option<u16>,
    has_color: bool,
}

/// Meaning of a color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Bold,
    /// A person may have to act.
    Warning,
    /// Something is broken.
    Alarm,
}

/// Returns true if the environment names a terminal that can do more than lines, as TERM=dumb
/// does not.
pub fn is_capable() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Returns true if a terminal should show colors.
pub fn has_color() -> bool {
    is_capable() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Screen {
    /// Describes standard output. Where it is not a terminal, an exported COLUMNS gives the width.
    pub fn of_stdout() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let size = terminal_size::terminal_size_of(std::io::stdout())
            .map(|(terminal_size::Width(width), _)| width);
        let exported = || std::env::var_os("COLUMNS")?.to_str()?.parse().ok();
        let width = size.or_else(exported).filter(|width| *width > 0);
        Self {
            is_terminal,
            width: width.map(|width| width.max(MIN_WIDTH)),
            has_color: is_terminal && has_color(),
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(width: Option<u16>, is_terminal: bool) -> Self {
        Self {
            is_terminal,
            width,
            has_color: false,
        }
    }

    /// Returns the width in columns; `None` for a file or another program.
    pub(super) fn width(&self) -> Option<usize> {
        self.width.map(usize::from)
    }

    /// Prints one line on stdout, in the color of `tone` if the terminal has colors.
    pub fn print(&self, tone: Option<Tone>, line: &str) {
        let Some(tone) = tone.filter(|_| self.has_color) else {
            return print(line);
        };
        let code = match tone {
            Tone::Bold => 1,
            Tone::Warning => 33,
            Tone::Alarm => 31,
        };
        print_raw(&format!("\u{1b}[{code}m{}\u{1b}[0m", Printable(line)));
    }

    /// Wraps a text; the lines after the first one are indented by four more columns.
    pub fn wrap(&self, text: &str) -> Vec<String> {
        let unindented = text.trim_start_matches(' ');
        let indent = " ".repeat(text.len() - unindented.len());
        let unindented = Printable(unindented).to_string();
        let Some(width) = self.width else {
            return vec![format!("{indent}{unindented}")];
        };
        let deeper = format!("{indent}    ");
        let options = textwrap::Options::new(width.into())
            .initial_indent(&indent)
            .subsequent_indent(&deeper)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        textwrap::wrap(&unindented, options)
            .into_iter()
            .map(String::from)
            .collect()
    }

    /// Prints a text, wrapped.
    pub fn print_wrapped(&self, tone: Option<Tone>, text: &str) {
        self.wrap(text)
            .iter()
            .for_each(|line| self.print(tone, line));
    }

    /// Prints a table; columns whose name starts with `#` hold numbers.
    pub fn print_table(&self, names: &[&str], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width - 2);
        }
        table.add_row(names.iter().map(|name| name.trim_start_matches('#')));
        for row in rows {
            table.add_row(row.iter().map(|cell| Printable(cell).to_string()));
        }
        for (column, name) in table.column_iter_mut().zip(names) {
            column.set_padding((0, 2));
            if name.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            print_raw(&format!("  {}", line.trim_end()));
        }
    }
}

/// Prints one line on stdout; control characters of untrusted text are escaped.
pub fn print(line: &str) {
    print_raw(&Printable(line).to_string());
}

/// The first error of a write to stdout.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Prints one line as it is. A reader that went away (`| head -1`) is not our error.
pub(super) fn print_raw(line: &str) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}")
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error);
    }
}

/// Returns true if stdout did not take a part of the result, for example on a full disk, and logs
/// the reason.
pub fn is_result_lost() -> bool {
    let lost = LOST.get();
    if let Some(error) = lost {
        log::error!("the result could not be written to stdout: {error}");
    }
    lost.is_some()
}
