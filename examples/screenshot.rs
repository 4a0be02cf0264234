//! Draws a part of the output of `examples/demo.sh` as a terminal would show it, in light and in dark colors: the picture
//! at the top of README.md.
//!
//! Usage: `examples/demo.sh --picture`, which passes the whole text on stdin and stores the SVG from stdout.

use std::fmt::Write as _;
use std::io::Read as _;
use std::process::ExitCode;

/// Beginnings of the headlines of the two parts that the picture shows.
const BEFORE: &str = "== A small Agira";
const RUN: &str = "== The run itself";
/// Number of lines of the run that are shown, without its command.
const RUN_LINES: usize = 8;
/// Number of these lines that come from the end of the run.
const LAST_LINES: usize = 4;

/// Colors for light and for dark surroundings.
const STYLE: &str = "<style>
  rect { fill: #f6f8fa } text { fill: #1f2328 } .command { font-weight: bold } .note { fill: #59636e }
  .changed { fill: #116329 } .failed { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    rect { fill: #1e222a } text { fill: #d8dee9 } .command { fill: #ffffff } .note { fill: #8b949e }
    .changed { fill: #8fbf7f } .failed { fill: #ff7b72 }
  }
</style>";

/// Width of a letter in pixels.
const WIDTH: f64 = 7.2;
const HEIGHT: usize = 17;
const BORDER: usize = 14;

/// A line of the picture, with the class that gives it a color.
struct Line {
    class: &'static str,
    text: String,
}

impl Line {
    fn new(class: &'static str, text: &str) -> Self {
        let text = text.to_owned();
        Self { class, text }
    }

    fn of_run(line: &str) -> Self {
        let text = without_duration(line);
        let is_one_of = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
        let class = match () {
            () if is_one_of(&["ERROR", "failed", "exit code"]) => "failed",
            () if is_one_of(&["INFO", "  + "]) || text.contains(" → ") => "changed",
            () => "",
        };
        Self { class, text }
    }
}

fn main() -> ExitCode {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        eprintln!("cannot read the demo's output: {error}");
        return ExitCode::FAILURE;
    }
    let Some(lines) = shown(&text) else {
        eprintln!("the demo's output has no items below {BEFORE:?} and {RUN:?}, or no command");
        return ExitCode::FAILURE;
    };
    print!("{}", svg(&lines));
    ExitCode::SUCCESS
}

/// Returns the lines below a headline, up to the next one.
fn part<'a>(text: &'a str, headline: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| !line.starts_with(headline));
    let lines = lines.skip(1).take_while(|line| !line.starts_with("== "));
    lines.collect()
}

/// Returns the table of items, with its head.
fn items<'a>(part: &[&'a str]) -> Vec<&'a str> {
    let table = part
        .iter()
        .skip_while(|line| !line.split_whitespace().take(2).eq(["item", "title"]))
        .take_while(|line| !line.is_empty());
    table.copied().collect()
}

/// Returns the items before the run, the run, and the items after it; `None` if one of them is missing.
fn shown(text: &str) -> Option<Vec<Line>> {
    let run = part(text, RUN);
    let (before, after) = (items(&part(text, BEFORE)), items(&run));
    let command = run.iter().position(|line| line.starts_with("$ "))?;
    let output = run.get(command + 1..)?;
    // The demo shows the exit code after the output.
    let end = output
        .iter()
        .position(|line| line.starts_with("(exit code "))?;
    let output: Vec<&str> = output[..end]
        .iter()
        .filter(|line| !line.is_empty())
        .copied()
        .collect();
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let mut lines = vec![Line::new("note", "Before:")];
    lines.extend(before.iter().map(|line| Line::new("", line)));
    lines.push(Line::new("", ""));
    lines.push(Line::new("command", run[command]));
    let left_out = output.len().saturating_sub(RUN_LINES);
    let first = match left_out {
        0 => output.len(),
        _ => RUN_LINES - LAST_LINES,
    };
    lines.extend(output[..first].iter().map(|line| Line::of_run(line)));
    if left_out > 0 {
        lines.push(Line::new("note", &format!("... ({left_out} more lines)")));
        lines.extend(
            output[first + left_out..]
                .iter()
                .map(|line| Line::of_run(line)),
        );
    }
    lines.push(Line::new("", ""));
    lines.push(Line::new("note", "After:"));
    let is_same = |line: &&str| before.contains(line);
    lines.extend(after.iter().map(|line| match is_same(line) {
        true => Line::new("", line),
        false => Line::new("changed", line),
    }));
    Some(lines)
}

/// Replaces the duration of a run, which is never the same.
fn without_duration(line: &str) -> String {
    let is_duration = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let words = line.split(' ');
    let words = words.map(|word| if is_duration(word) { "0.4" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn svg(lines: &[Line]) -> String {
    let longest = lines
        .iter()
        .map(|line| line.text.chars().count())
        .max()
        .unwrap_or(0);
    let width = (longest as f64 * WIDTH).ceil() as usize + 2 * BORDER;
    let height = lines.len() * HEIGHT + 2 * BORDER;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"12\">\n\
         {STYLE}<rect width=\"100%\" height=\"100%\" rx=\"6\"/>\n"
    );
    for (place, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.text.is_empty())
    {
        let (class, line) = (line.class, &line.text);
        let y = BORDER + place * HEIGHT + HEIGHT * 3 / 4;
        let indent = line.chars().take_while(|letter| *letter == ' ').count();
        let x = BORDER as f64 + indent as f64 * WIDTH;
        let text = line.trim_start();
        // The text gets the intended width with any font.
        let length = text.chars().count() as f64 * WIDTH;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\" class=\"{class}\">{}</text>",
            escaped(text)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
