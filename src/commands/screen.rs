//! Text for a person, as wide and as coloured as the place where it is read allows.

use std::io::IsTerminal;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::report::{print_line, say};
use crate::core::text::Printable;

/// The narrowest width that is cared about, in columns.
const NARROWEST: u16 = 20;
/// With less room for its last column a table becomes a list of names and values.
const LAST_COLUMN: u16 = 12;

/// The place where a result is read.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// In columns; `None`: a file or another program, where a line is as long as it is.
    width: Option<u16>,
    coloured: bool,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Bold,
    /// Somebody may have to do something.
    Warning,
    /// Something is broken.
    Alarm,
}

impl Screen {
    /// Standard output. Where it is no terminal, COLUMNS counts if it is exported.
    pub fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let size = terminal_size::terminal_size_of(std::io::stdout())
            .map(|(terminal_size::Width(width), _)| width);
        let wanted = || std::env::var_os("COLUMNS")?.to_str()?.parse().ok();
        let width = size
            .or_else(wanted)
            .filter(|width| *width > 0)
            .map(|width| width.max(NARROWEST));
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let can = is_set("TERM") && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self {
            width,
            coloured: terminal && can && !is_set("NO_COLOR"),
        }
    }

    /// One line on stdout, whatever text it quotes, in a colour if there are any here.
    pub fn say(&self, tone: Option<Tone>, line: &str) {
        let Some(tone) = tone.filter(|_| self.coloured) else {
            return say(line);
        };
        let code = match tone {
            Tone::Bold => 1,
            Tone::Warning => 33,
            Tone::Alarm => 31,
        };
        print_line(&format!("\u{1b}[{code}m{}\u{1b}[0m", Printable(line)));
    }

    /// The lines of a text, those after the first one indented deeper.
    pub fn wrapped(&self, text: &str) -> Vec<String> {
        let Some(width) = self.width else {
            return vec![text.to_owned()];
        };
        let words = text.trim_start_matches(' ');
        let indent = " ".repeat(text.len() - words.len());
        let taken = u16::try_from(indent.len() + 4).unwrap_or(u16::MAX);
        let mut table = bare(Some(width.saturating_sub(taken).max(LAST_COLUMN)));
        table.add_row([Printable(words).to_string()]);
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 0));
        }
        let indented = lines(&table).into_iter().enumerate();
        indented
            .map(|(place, line)| match place {
                0 => format!("{indent}{line}"),
                _ => format!("{indent}    {line}"),
            })
            .collect()
    }

    /// A name and a number, the numbers below each other.
    pub fn count(&self, name: &str, count: i64) -> String {
        let room = usize::from(self.width.unwrap_or(25))
            .saturating_sub(17)
            .min(8);
        format!("{name:<16} {count:>room$}")
    }

    /// The lines of a table; columns whose name starts with `#` hold numbers.
    pub fn table(&self, names: &[&str], rows: &[Vec<String>]) -> Vec<String> {
        let mut table = bare(self.width.map(|width| width - 2));
        table.add_row(names.iter().map(|name| name.trim_start_matches('#')));
        table.add_rows(
            rows.iter()
                .map(|row| row.iter().map(|cell| Printable(cell).to_string())),
        );
        let before_last: u16 = table
            .column_max_content_widths()
            .iter()
            .rev()
            .skip(1)
            .map(|width| width + 2)
            .sum();
        if self
            .width
            .is_some_and(|width| width < before_last.saturating_add(2 + LAST_COLUMN))
        {
            return rows
                .iter()
                .flat_map(|row| self.listed(names, row))
                .collect();
        }
        for (place, name) in names.iter().enumerate() {
            if let Some(column) = table.column_mut(place).filter(|_| name.starts_with('#')) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if let Some(column) = table.column_mut(place) {
                column.set_padding((0, 2));
            }
        }
        lines(&table)
            .iter()
            .map(|line| format!("  {line}"))
            .collect()
    }

    fn listed(&self, names: &[&str], row: &[String]) -> Vec<String> {
        let shown = names.iter().zip(row).filter(|(_, value)| !value.is_empty());
        let cells = shown.enumerate().flat_map(|(place, (name, value))| {
            let indent = if place == 0 { "  " } else { "    " };
            self.wrapped(&format!(
                "{indent}{}: {value}",
                name.trim_start_matches('#')
            ))
        });
        cells.collect()
    }
}

fn bare(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(match width {
            Some(_) => ContentArrangement::Dynamic,
            None => ContentArrangement::Disabled,
        });
    if let Some(width) = width {
        table.set_width(width);
    }
    table
}

fn lines(table: &Table) -> Vec<String> {
    table
        .to_string()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}
