//! `[expect]`: that something is written. `plan` reads the metrics and their bounds.

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
            _ => {}
        }
    }
}
