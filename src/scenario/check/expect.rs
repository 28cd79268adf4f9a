//! `[expect]`: that something is written, and that a guarantee of effects has effects. `plan` reads the metrics and their bounds.

use toml::Value;

use crate::scenario::Scenario;
use crate::scenario::key::KeyPath;
use crate::scenario::problem::Problems;

pub(super) fn check(scenario: &Scenario, problems: &mut Problems) {
    for (metric, value) in scenario.expect.iter().flatten() {
        let key = KeyPath::default().key("expect").key(metric);
        if metric.trim().is_empty() {
            problems
                .value(&key, "the metric's name is empty")
                .help("write it like `lost = 0` or `\"end_to_end.p99\" = \"<= 250ms\"`");
            continue;
        }
        match value {
            Value::String(text) if text.trim().is_empty() => {
                problems
                    .value(&key, "the bound is empty")
                    .help("write a comparison, such as `\"<= 250ms\"` or `\">= 1900/s\"`");
            }
            Value::Float(number) if !number.is_finite() => {
                problems
                    .value(&key, format!("no measurement can equal {number}"))
                    .help("write a number or a comparison");
            }
            Value::String(text) if metric == "guarantee" && text == "effectively-once" => {
                check_effectively_once(&key, scenario, problems);
            }
            _ => {}
        }
    }
}

/// Of a fleet without `idempotency` nobody can say how often it applied what.
fn check_effectively_once(key: &KeyPath, scenario: &Scenario, problems: &mut Problems) {
    let help = "add `idempotency = { store = \"sqlite\" }` to each [[consumer]], or ask for `at-least-once`";
    if scenario.consumers.is_empty() {
        problems.value(key, "nobody consumes, so that no effect is ever applied").help(help);
        return;
    }
    let without = scenario.consumers.iter().enumerate().find(|(_, fleet)| fleet.idempotency.is_none());
    if let Some((index, fleet)) = without {
        problems
            .value(key, format!("the fleet `{}` has no store that says how often an effect was applied", fleet.name))
            .help(help)
            .see(format!("consumer[{index}].name"), "this fleet");
    }
}
