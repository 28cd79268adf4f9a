//! The command line: one file for each command.
//!
//! May use `run`, `selftest`, `scenario`, `plan`, `record`, `analysis`, `report`, `broker` and `endpoint`. The only room that prints.

mod check;
mod doctor;
mod prepare;
mod report;
mod run;
mod schema;
mod selftest;
mod which_broker;

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Loads a RabbitMQ broker, accounts for every single message, and says whether what was expected held.
#[derive(Debug, Parser)]
#[command(name = "lurcher", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    pass          every expectation held
  1    fail          an expectation did not hold
  2                  bad input: scenario, flag or file
  3    inconclusive  not enough evidence
  4    invalid       the measurement itself cannot be trusted
  5                  environment: no broker could be started or reached, or the record could not be written
  130                interrupted: the broker is removed, the partial record kept and marked";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios: start a broker, load it, account for every message, judge, and leave a record behind
    Run(run::Arguments),
    /// Check scenarios without running them; with --plan print the resolved plan
    Check(check::Arguments),
    /// Print the JSON Schema of a scenario, for editors
    Schema,
    /// Rebuild the tables, plots and the page of a record from its evidence
    Report(report::Arguments),
    /// Sabotage runs on purpose, and hold what was planned against what was found: whether this tool can be trusted
    Selftest(selftest::Arguments),
    /// Say what this machine lacks and the command that fixes it; remove what killed runs left behind
    Doctor(doctor::Arguments),
}

/// Exit code for bad input.
const BAD_INPUT: u8 = 2;
/// Exit code for an environment that does not allow the run.
const ENVIRONMENT: u8 = 5;

/// Runs the command that the arguments name; the exit code of the process.
pub fn main() -> ExitCode {
    let arguments = without_empty_variables(Cli::command()).get_matches();
    let arguments = Cli::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    let code = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema => schema::run(),
        Command::Report(arguments) => report::run(&arguments),
        Command::Selftest(arguments) => selftest::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    ExitCode::from(code)
}

/// `command` with the variables of the environment left out that are set and empty: as in a shell, they count as not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command.mut_subcommands(|command| {
        command.mut_args(|argument| match argument.get_env() {
            Some(name) if is_empty(name) => argument.env(Resettable::Reset),
            _ => argument,
        })
    })
}

/// Prints a line for a person, on standard error.
fn complain(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints what was asked for, on standard output. A reader that has gone, as `head` does, is no error.
fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// `error: ` and the whole chain of causes.
fn complain_of(error: &dyn std::error::Error) {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(because) = cause {
        let because_text = because.to_string();
        if !text.ends_with(&because_text) {
            text.push_str(": ");
            text.push_str(&because_text);
        }
        cause = because.source();
    }
    complain(text);
}

/// A runtime for a command that waits for something.
fn runtime() -> Result<tokio::runtime::Runtime, u8> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        complain(format_args!("error: could not start the runtime: {error}"));
        ENVIRONMENT
    })
}
