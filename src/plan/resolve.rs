//! From scenario to plan.

use super::Plan;
use crate::scenario::Scenario;

/// Why a scenario cannot become a plan: the key that is at fault, what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct PlanError {
    /// Path of the key, such as `producer[0].confirm.window` or `expect."end_to_end.p99"`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// Resolves `scenario`, whose files (templates) are read by `read_file`.
///
/// # Errors
/// All that is wrong with it, at least one.
pub fn resolve(
    scenario: &Scenario,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Plan, Vec<PlanError>> {
    let _ = (scenario, read_file);
    Err(Vec::new())
}
