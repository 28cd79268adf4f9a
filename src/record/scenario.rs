//! The scenario as it was written. Uses no room.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The scenario as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioFacts {
    /// Path that was given.
    pub path: String,
    /// Its text, environment variables not filled in, `--set` applied.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
    /// The `--set` arguments.
    pub set: Vec<String>,
}

impl ScenarioFacts {
    /// Of the scenario at `path`, with the text that the arguments `set` made of it.
    pub fn of(path: &Path, text: String, set: Vec<String>) -> Self {
        let digest = sha2::Sha256::digest(text.as_bytes());
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path: path.display().to_string(), text, sha256, set }
    }
}
