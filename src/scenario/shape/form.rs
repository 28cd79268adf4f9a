//! Values that are written as a text with a meaning of its own, such as a rate or a duration, or else as a table.
//! Their serde types read them; here their errors are taken apart.

use std::fmt;

use serde::de::value::{StrDeserializer, UnitDeserializer};
use serde::de::{DeserializeOwned, Expected, Unexpected};
use toml::Value;

use crate::scenario::consumer::{Ack, StreamOffset, Work};
use crate::scenario::producer::{Body, Confirm, RatePlan, RoutingKey, Size};
use crate::units::{ByteSize, Rate, Span};

/// Why a value was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is of another type than this.
    Expected(String),
    /// Its own words.
    Said(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::Said(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Reason {}

impl serde::de::Error for Reason {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Said(text.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Expected(expected.to_string())
    }
}

/// How a type of the scenario is written.
pub(super) struct Form {
    /// Name of its JSON Schema.
    pub name: &'static str,
    /// What to put behind a bare number to give it a unit; empty where it has none.
    pub unit: &'static str,
    /// Reads its short form.
    pub text: fn(&str) -> Result<(), Reason>,
    /// Reads its long form.
    pub table: fn(&Value) -> Result<(), Reason>,
    /// What is expected, in words.
    pub expected: fn() -> String,
}

const fn form<T: DeserializeOwned>(name: &'static str, unit: &'static str) -> Form {
    Form { name, unit, text: text::<T>, table: table::<T>, expected: expected::<T> }
}

fn text<T: DeserializeOwned>(text: &str) -> Result<(), Reason> {
    T::deserialize(StrDeserializer::<Reason>::new(text)).map(drop)
}

fn table<T: DeserializeOwned>(value: &Value) -> Result<(), Reason> {
    value.clone().try_into::<T>().map(drop).map_err(|error| Reason::Said(error.message().to_owned()))
}

fn expected<T: DeserializeOwned>() -> String {
    // Nothing is written as a unit, so the answer is always what would have been right.
    match T::deserialize(UnitDeserializer::<Reason>::new()) {
        Err(Reason::Expected(what) | Reason::Said(what)) => what,
        Ok(_) => String::new(),
    }
}

/// Every type of the scenario that has a form of its own.
pub(super) const FORMS: [Form; 11] = [
    form::<Span>("Duration", "s"),
    form::<Rate>("Rate", "/s"),
    form::<ByteSize>("Size", " B"),
    form::<RatePlan>("RatePlan", "/s"),
    form::<Size>("MessageSize", " B"),
    form::<Work>("Work", "us"),
    form::<RoutingKey>("RoutingKey", ""),
    form::<Body>("Body", ""),
    form::<Confirm>("Confirm", ""),
    form::<Ack>("Ack", ""),
    form::<StreamOffset>("StreamOffset", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_in_the_schema_and_says_what_it_expects() {
        let schema = crate::scenario::json_schema();
        for form in FORMS {
            assert!(schema["$defs"][form.name].is_object(), "{} is no type of the schema", form.name);
            assert!((form.expected)().contains('"'), "{}: {}", form.name, (form.expected)());
        }
    }
}
