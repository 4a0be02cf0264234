//! Draws a part of the output of `examples/demo.sh` as a terminal would show it: the picture at the top of README.md.
//!
//! Usage: `examples/demo.sh --picture`, which passes the whole text on stdin and stores the SVG from stdout.

use std::fmt::Write as _;
use std::io::Read as _;
use std::process::ExitCode;

/// Beginning of the line that starts the part.
const FIRST: &str = "== The run itself";
/// Beginning of the line after the part.
const NEXT: &str = "== Is everything all right?";

/// Width of a letter in pixels.
const WIDTH: f64 = 7.2;
const HEIGHT: usize = 17;
const BORDER: usize = 14;

fn main() -> ExitCode {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        eprintln!("cannot read the demo's output: {error}");
        return ExitCode::FAILURE;
    }
    let lines: Vec<String> = shown(&text).map(without_time).collect();
    if lines.is_empty() {
        eprintln!("there is no line that starts with {FIRST:?} in the demo's output");
        return ExitCode::FAILURE;
    }
    print!("{}", svg(&lines));
    ExitCode::SUCCESS
}

/// Returns the part, from the first command after its headline.
fn shown(text: &str) -> impl Iterator<Item = &str> {
    let part = text
        .lines()
        .skip_while(|line| !line.starts_with(FIRST))
        .take_while(|line| !line.starts_with(NEXT));
    let part: Vec<&str> = part.skip_while(|line| !line.starts_with('$')).collect();
    let length = part
        .iter()
        .rposition(|line| !line.is_empty())
        .map_or(0, |last| last + 1);
    part.into_iter().take(length)
}

/// Removes the time of a log line, which differs in every run.
fn without_time(line: &str) -> String {
    let stamped = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(' '))
        .and_then(|(_, rest)| rest.split_once(']'));
    stamped.map_or_else(
        || line.to_owned(),
        |(level, rest)| format!("{level:<5}{rest}"),
    )
}

fn svg(lines: &[String]) -> String {
    let longest = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let width = (longest as f64 * WIDTH).ceil() as usize + 2 * BORDER;
    let height = lines.len() * HEIGHT + 2 * BORDER;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"12\" fill=\"#d8dee9\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1e222a\"/>\n"
    );
    for (place, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        let y = BORDER + place * HEIGHT + HEIGHT * 3 / 4;
        let indent = line.chars().take_while(|letter| *letter == ' ').count();
        let x = BORDER as f64 + indent as f64 * WIDTH;
        let text = line.trim_start();
        // The text gets the intended width with any font.
        let length = text.chars().count() as f64 * WIDTH;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\"{}>{}</text>",
            color(text),
            escaped(text)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn color(line: &str) -> &'static str {
    match line {
        _ if line.starts_with("$ ") => " fill=\"#ffffff\" font-weight=\"bold\"",
        _ if line.starts_with("ERROR") => " fill=\"#ff7b72\"",
        _ if line.starts_with("INFO") => " fill=\"#8fbf7f\"",
        _ if line.starts_with("item ") => " fill=\"#8b949e\"",
        _ => "",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
