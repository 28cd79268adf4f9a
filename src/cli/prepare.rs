//! From a path to a plan, with every problem shown at its line.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::plan::{self, Plan};
use crate::record::ScenarioFacts;
use crate::scenario::{self, Scenario};

/// Scenarios, and what is changed in them.
#[derive(Debug, Args)]
pub(super) struct Scenarios {
    /// Scenario files
    #[arg(required = true, value_name = "SCENARIO")]
    pub(super) paths: Vec<PathBuf>,
    /// Change a value of the scenario, such as `producer.checkout.rate=500/s` or `load.duration=5s`; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) sets: Vec<String>,
}

/// A scenario that can be run.
pub(super) struct Prepared {
    pub(super) scenario: Scenario,
    pub(super) facts: ScenarioFacts,
    pub(super) plan: Arc<Plan>,
}

/// Loads and resolves all scenarios; none where any is wrong, after complaining about each.
pub(super) fn prepare(scenarios: &Scenarios) -> Option<Vec<Prepared>> {
    let prepared: Vec<_> = scenarios.paths.iter().map(|path| prepare_one(path, &scenarios.sets)).collect();
    prepared.into_iter().collect()
}

fn prepare_one(path: &Path, sets: &[String]) -> Option<Prepared> {
    let colored = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let loaded = match scenario::load(path, sets, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            super::complain(diagnostics.render(colored));
            return None;
        }
    };
    // A template stands beside the scenario that names it.
    let folder = path.parent().unwrap_or(Path::new(""));
    let resolved = plan::resolve(&loaded.scenario, &|name| std::fs::read_to_string(folder.join(name)));
    let plan = match resolved {
        Ok(plan) => plan,
        Err(errors) => {
            for error in errors {
                let diagnostic = loaded.source.diagnose(&error.key, &error.message, error.help.as_deref());
                super::complain(diagnostic.render(colored));
            }
            return None;
        }
    };
    let facts = ScenarioFacts::of(&loaded.source.path, loaded.source.text, loaded.source.sets);
    Some(Prepared { scenario: loaded.scenario, facts, plan: Arc::new(plan) })
}
