//! What a body holds: filled by the plan, so that the same message has the same bytes on every run.

use serde::{Deserialize, Serialize};

/// What a body holds after (or instead of) the stamp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyPlan {
    /// Zeros.
    Zeros,
    /// Random bytes.
    Random,
    /// Bytes that compress to about this share of their size.
    Compressible {
        /// Above 0 and up to 1.
        ratio: f64,
    },
    /// A text with `{{…}}` fields; the stamp travels in a header.
    Template {
        /// The text itself, so that a record explains itself.
        text: String,
    },
}
