//! Rates, sizes, durations and percentiles: parsed from what a person writes, printed the same way; and random draws.
//!
//! May use no other room. Every type here parses from and serialises to one string, so that a scenario,
//! a plan and a report write a quantity alike.

pub mod draw;
mod duration;
mod percentile;
mod rate;
mod size;

pub use duration::{Span, micros};
pub use percentile::Percentile;
pub use rate::Rate;
pub use size::ByteSize;

/// Why a quantity could not be read. The text fits the sentence "`rate`: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}; write it like {example}")]
pub struct ParseUnitError {
    /// What was written.
    pub text: String,
    /// The kind of quantity that was expected, such as "rate".
    pub what: &'static str,
    /// One correct way to write it.
    pub example: &'static str,
}

/// Serde and JSON Schema for a type that is written as one string.
macro_rules! written_as_string {
    ($type:ty, $name:literal, $description:literal, $examples:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($description)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    "examples": $examples,
                })
            }
        }
    };
}
pub(crate) use written_as_string;
