//! `lurcher schema`: the JSON Schema of a scenario.

/// Prints it; the exit code.
pub(super) fn run() -> u8 {
    super::say(format_args!("{:#}", crate::scenario::json_schema()));
    0
}
