//! `lurcher check`: is the scenario right, and what would be run?

use clap::Args;

use super::prepare::{Scenarios, prepare};

/// Arguments of `lurcher check`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scenarios: Scenarios,
    /// Print the resolved plan as JSON: the same scenario and seed give the same bytes
    #[arg(long)]
    plan: bool,
}

/// Checks; the exit code.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let Some(prepared) = prepare(&arguments.scenarios) else { return super::BAD_INPUT };
    for (path, scenario) in arguments.scenarios.paths.iter().zip(&prepared) {
        if !arguments.plan {
            super::say(format_args!("{}: good", path.display()));
            continue;
        }
        match serde_json::to_string_pretty(&*scenario.plan) {
            Ok(plan) => super::say(plan),
            Err(error) => {
                super::complain_of(&error);
                return super::ENVIRONMENT;
            }
        }
    }
    0
}
