//! The command line. Doc comments here are the help text.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{Output, PushArgs, RetryArgs, StatusArgs, SyncArgs};
use crate::report::{EXIT_CODES, Format};
use crate::run::Job;

/// Keeps Agira's items, their GitHub issues and the Weaviate index in step.
///
/// It moves an item when its issue is closed, links pull requests, and fills Weaviate. One call
/// makes one bounded run; start it from cron.
///
/// Settings come from the environment: DATABASE_URL, GITHUB_TOKEN (or, for a GitHub App,
/// GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY_FILE), GITHUB_API_URL, WEAVIATE_URL, WEAVIATE_API_KEY.
/// Each secret can also be in a file that the variable with the suffix _FILE names.
#[derive(Debug, Parser)]
#[command(name = "agira-worker", version = env!("AGIRA_WORKER_VERSION"), max_term_width = 120)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", exit_codes()))]
#[command(disable_version_flag = true)]
pub struct Cli {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
    /// Allow plain http to other machines, which sends text and secrets unencrypted; for private
    /// networks only.
    #[arg(long, global = true, value_parser = clap::builder::BoolishValueParser::new(), env = "AGIRA_WORKER_ALLOW_HTTP", hide_env_values = true, hide_short_help = true, help_heading = "Time and network")]
    pub allow_http: bool,
    /// Options for the output.
    #[command(flatten)]
    pub output: Output,
    /// Print the version and the commit.
    #[arg(short = 'V', long, action = clap::ArgAction::Version, hide_short_help = true)]
    version: Option<bool>,
}

const EXAMPLES: &str = "\
Examples:
  agira-worker status --services      do all three services answer, and as whom?
  agira-worker sync --dry-run         what would a run do? It changes nothing
  agira-worker sync --quiet           the line for cron";

const SYNC_EXAMPLES: &str = "\
Examples:
  agira-worker sync --dry-run                what would a run do?
  agira-worker sync --mapping 42 --dry-run   why does this item not move?
  agira-worker sync --limit 2000             a first pass over many mappings";

const PUSH_EXAMPLES: &str = "\
Examples:
  agira-worker push-weaviate --dry-run       what waits for Weaviate?
  agira-worker push-weaviate --limit 1000    deliver it";

const STATUS_EXAMPLES: &str = "\
Examples:
  agira-worker status --services      do all three services answer, and as whom?
  agira-worker status --failed        what failed, and what to do?
  agira-worker status --mapping 42    everything about one mapping
  agira-worker status --check         exit code 4 if a person should look";

const RETRY_EXAMPLES: &str = "\
Examples:
  agira-worker retry-failed --dry-run        what would it do?
  agira-worker retry-failed --mapping 42     after the cause was fixed";

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Move items, link pull requests, fill Weaviate for due mappings.
    ///
    /// A mapping is due if it is new, if its issue or pull request changed, or if its retry has come.
    #[command(after_help = SYNC_EXAMPLES)]
    Sync(SyncArgs),
    /// Push to Weaviate what waits for it or was never pushed.
    ///
    /// It leaves items, links and retries to `sync`.
    #[command(after_help = PUSH_EXAMPLES)]
    PushWeaviate(PushArgs),
    /// Show totals, failures and the last runs; change nothing.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Run `sync` for failed mappings; do not wait for their backoff.
    ///
    /// Parked mappings are included. With --mapping, it accepts another issue at the address.
    #[command(after_help = RETRY_EXAMPLES)]
    RetryFailed(RetryArgs),
}

impl Command {
    /// Returns the job of the command, or the arguments of `status`, which makes no run.
    pub(crate) fn job(&self, format: Format) -> Result<Job, &StatusArgs> {
        match self {
            Self::Sync(args) => Ok(args.job(format)),
            Self::PushWeaviate(args) => Ok(args.job(format)),
            Self::RetryFailed(args) => Ok(args.job(format)),
            Self::Status(args) => Err(args),
        }
    }
}

/// Beginning of the names of all variables that stand for flags.
const PREFIX: &str = "AGIRA_WORKER_";
/// The variable of the build script, which Cargo also sets for what it runs.
const OF_THE_BUILD: &str = "AGIRA_WORKER_VERSION";

impl Cli {
    /// Reads the command line of this process and the variables that stand for flags. If it cannot
    /// be read, or asks for help, this prints a text and ends the process.
    pub fn read() -> Self {
        let mut command = without_empty_variables(Self::command());
        let line = with_negative_values(std::env::args_os());
        let matches = command.try_get_matches_from_mut(&line);
        let cli = matches.and_then(|mut matches| Self::from_arg_matches_mut(&mut matches));
        cli.unwrap_or_else(|error| with_variable(error, &command, &line).exit())
    }
}

/// Joins each flag with a word such as `-1` or `-5m` after it: no flag is called like that, so that
/// it is a value, about which the flag says what it takes.
fn with_negative_values(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_value = |word: &[u8]| matches!(word, [b'-', next, ..] if next.is_ascii_digit());
    let is_flag = |word: &[u8]| word.starts_with(b"--") && word != b"--" && !word.contains(&b'=');
    let mut line: Vec<OsString> = Vec::new();
    for word in words {
        match line.last_mut() {
            Some(flag) if is_value(word.as_encoded_bytes()) && is_flag(flag.as_encoded_bytes()) => {
                flag.push("=");
                flag.push(word);
            }
            _ => line.push(word),
        }
    }
    line
}

/// Removes the variables from the flags whose variable is empty: Compose's `${NAME:-}` sets an
/// empty one where none is meant.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let unset = |arg: Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        match value.is_some_and(|value| value.is_empty()) {
            true => arg.env(None::<&'static str>),
            false => arg,
        }
    };
    command
        .mut_args(unset)
        .mut_subcommands(|command| command.mut_args(unset))
}

/// Returns all flags, each with its variable if it has one.
fn flags(command: &clap::Command) -> impl Iterator<Item = (&Arg, Option<&str>)> {
    let commands = std::iter::once(command).chain(command.get_subcommands());
    let all = commands.flat_map(clap::Command::get_arguments);
    all.map(|arg| (arg, arg.get_env().and_then(OsStr::to_str)))
}

/// Names the variable in an error about a value that the command line does not have, and leaves out
/// advice that misleads.
fn with_variable(
    mut error: clap::Error,
    command: &clap::Command,
    line: &[OsString],
) -> clap::Error {
    if error.kind() == ErrorKind::ArgumentConflict {
        // The usage of one of the two would look like advice to leave out the other, such as --dry-run.
        error.remove(ContextKind::Usage);
    }
    let is_on_line = |arg: &Arg| {
        let flag = format!("--{}", arg.get_long().unwrap_or_default());
        let mut words = line.iter().filter_map(|word| word.to_str());
        words.any(|word| word.split('=').next() == Some(&flag))
    };
    let flags = flags(command).filter_map(|(arg, variable)| Some((arg, variable?)));
    let mut unread = flags.filter(|(arg, _)| !is_on_line(arg));
    if error.kind() == ErrorKind::InvalidUtf8 {
        let is_text =
            |variable: &str| std::env::var_os(variable).is_none_or(|v| v.to_str().is_some());
        return match unread.find(|(_, variable)| !is_text(variable)) {
            Some((_, variable)) => clap::Error::raw(
                ErrorKind::InvalidUtf8,
                format!("{variable} is not UTF-8 text; set it again\n"),
            ),
            None => error,
        };
    }
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && let Some(long) = flag
            .split(' ')
            .next()
            .and_then(|flag| flag.strip_prefix("--"))
        && let Some((_, variable)) = unread.find(|(arg, _)| arg.get_long() == Some(long))
    {
        let named = format!("{variable} ({flag})");
        error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    }
    error
}

/// Returns a warning about each of these variables that begins like ours and means nothing.
pub(crate) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let command = Cli::command();
    let ours = flags(&command).filter_map(|(_, variable)| variable);
    let ours: Vec<&str> = ours.chain(crate::config::VARIABLES).collect();
    let names: Vec<String> = names.filter(|name| name != OF_THE_BUILD).collect();
    let misspelled = misspelled(&names);
    let own_part = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let unknown = names.into_iter();
    let unknown = unknown.filter(|name| name.starts_with(PREFIX) && !ours.contains(&&**name));
    let warning = |name: String| {
        let part = own_part(&name);
        let flag = part.to_lowercase().replace('_', "-");
        if flags(&command).any(|(arg, _)| arg.get_long() == Some(&flag)) {
            return format!("{name} has no effect: there is only the flag --{flag}");
        }
        let distance = |one: &&&str| strsim::damerau_levenshtein(&own_part(one), &part);
        let nearest = ours.iter().min_by_key(distance).copied();
        let nearest = nearest.unwrap_or_default();
        format!(
            "{name} has no effect: agira-worker knows no such variable; the nearest one that it knows is {nearest}"
        )
    };
    unknown.map(warning).chain(misspelled).collect()
}

/// Returns a warning for each variable that is nearly one of those without our prefix. Other
/// programs have similar names, so it must be a slip of one or two letters, and the right one must
/// be missing.
fn misspelled(names: &[String]) -> Vec<String> {
    let known = crate::config::VARIABLES;
    let missing = known
        .iter()
        .filter(|right| names.iter().all(|name| name != *right));
    let pairs = missing.flat_map(|right| names.iter().map(move |name| (name, right)));
    let near = pairs.filter(|(name, right)| {
        !known.contains(&name.as_str()) && strsim::damerau_levenshtein(name, right) <= 2
    });
    near.map(|(name, right)| {
        format!("{name} has no effect, and {right} is not set: is that the one you mean?")
    })
    .collect()
}

/// Width to which the list of exit codes is wrapped.
const WIDTH: usize = 80;

fn exit_codes() -> String {
    let line = |(code, meaning): &(u8, &str)| {
        let options = textwrap::Options::new(WIDTH).subsequent_indent("      ");
        textwrap::fill(&format!("  {code:<3} {meaning}"), options)
    };
    let lines: Vec<String> = EXIT_CODES.iter().map(line).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(names: &[&str]) -> Vec<String> {
        unknown_variables(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_slip_in_a_name_without_our_prefix_is_named_if_the_right_one_is_missing() {
        for (name, right) in [
            ("GITHUB_TOKN", "GITHUB_TOKEN"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("WEAVIATE_ULR", "WEAVIATE_URL"),
        ] {
            let one = warnings(&[name]);
            assert_eq!(one.len(), 1, "{one:?}");
            let says = format!("{name} has no effect, and {right} is not set");
            assert!(one[0].starts_with(&says), "{one:?}");
            assert!(warnings(&[name, right]).is_empty(), "{name}");
        }
        assert!(warnings(&["GITHUB_ACTIONS", "GITHUB_SHA", "WEAVIATE_HOST", "URL"]).is_empty());
    }

    #[test]
    fn a_variable_that_is_not_known_is_named_with_the_nearest_one() {
        for (name, says) in [
            ("AGIRA_WORKER_TIME_BUGDET", "is AGIRA_WORKER_TIME_BUDGET"),
            ("AGIRA_WORKER_KEEP_STATE", "is AGIRA_WORKER_KEEP_STATUS"),
            ("AGIRA_WORKER_CLOSE_REASONS", "is AGIRA_WORKER_CLOSE_REASON"),
            ("AGIRA_WORKER_GITHUB_TOKEN", "is GITHUB_TOKEN"),
            ("AGIRA_WORKER_DATABASE_URL_FILE", "is DATABASE_URL_FILE"),
            ("AGIRA_WORKER_LIMIT", "there is only the flag --limit"),
        ] {
            let warnings = warnings(&[name]);
            assert_eq!(warnings.len(), 1, "{name}");
            assert!(
                warnings[0].starts_with(name) && warnings[0].ends_with(says),
                "{warnings:?}"
            );
        }
        let known = [
            "AGIRA_WORKER_TIME_BUDGET",
            "AGIRA_WORKER_ALLOW_HTTP",
            OF_THE_BUILD,
            "GITHUB_REF",
            "PATH",
        ];
        assert!(warnings(&known).is_empty());
    }
}
