//! `[[producer]]`: fleets that publish.

use serde::{Deserialize, Serialize};

use super::either::{text_or_table, text_or_table_schema};
use super::topology::Arguments;
use crate::units::{ByteSize, Rate, Span};

/// One `[[producer]]`: a fleet of identical producers.
///
/// The fleet has `count × connections × channels` publishers; each is a channel with a sequence of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Producer {
    /// Name of the fleet.
    pub name: String,
    /// Members. Default 1.
    pub count: Option<u32>,
    /// Connections of each member. Default 1.
    pub connections: Option<u32>,
    /// Channels on each connection. Default 1.
    pub channels: Option<u32>,
    /// Exchange to publish to. Default `""`, the default exchange, whose routing key is a queue's name.
    pub exchange: Option<String>,
    /// Routing key of the messages.
    pub routing_key: Option<RoutingKey>,
    /// Offered load of the whole fleet. Default `max`: as fast as the confirms allow.
    pub rate: Option<RatePlan>,
    /// Each member starts at a random time within this span, drawn from the seed. Default: at once.
    pub random_start: Option<Span>,
    /// Size of the body. Default 1 KiB; not with a template.
    pub size: Option<Size>,
    /// What the body holds. Default `random`.
    pub body: Option<Body>,
    /// Delivery mode 2. Default true.
    pub persistent: Option<bool>,
    /// Have unroutable messages returned. Default false.
    pub mandatory: Option<bool>,
    /// Publisher confirms: `"off"`, or `{ window, timeout }`. Default `{ window = 192, timeout = "10s" }`.
    pub confirm: Option<Confirm>,
    /// What to do with a message whose confirm never came. Default `abandon`.
    pub on_unconfirmed: Option<Again>,
    /// What to do with a message that the broker nacked. Default `abandon`.
    pub on_nacked: Option<Again>,
    /// How long an outbox waits before it publishes a message again that was not confirmed, or nacked: longer with each
    /// attempt at it, and what comes behind it waits as well. Default: not at all.
    pub backoff: Option<OutboxBackoff>,
    /// Messages of the whole fleet, warm-up included. Default: no limit but the load's.
    pub messages: Option<u64>,
    /// Properties of the messages.
    pub properties: Option<Properties>,
    /// Client that speaks to the broker. Default `wire`.
    pub client: Option<ClientKind>,
    /// Fleet of consumers that publish these messages: each one of its members publishes one, and waits for the confirm,
    /// for each message that it works off, before it settles that. The message has the correlation id of the one that
    /// caused it, and that one's message id in the header `causation-id`, unless `properties` say otherwise. Default: the
    /// fleet has members of its own.
    pub follows: Option<String>,
}

/// Client library that speaks to the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// A client of lurcher's own, made for load: it costs so little that the broker is measured, and not the client.
    #[default]
    Wire,
    /// The `lapin` crate: what a common client library does.
    Lapin,
}

/// How long an outbox waits before it publishes a message again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutboxBackoff {
    /// Before the second attempt.
    pub first: Span,
    /// What each wait is times the one before. Default 2.
    pub factor: Option<f64>,
    /// The longest.
    pub max: Span,
}

/// What to do with a message that was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Again {
    /// Publish it again, as a further attempt of the same message.
    Republish,
    /// Leave it.
    Abandon,
}

/// Routing key: one, or a choice. A pattern such as `orders.{1..100}` takes its keys in turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingKey {
    /// One key, or a pattern whose keys are taken in turn.
    Fixed(String),
    /// Drawn from the seed for each message.
    Choice(Vec<WeightedKey>),
}

/// The long form of a routing key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingKeyTable {
    /// Keys with weights, drawn from the seed for each message.
    pub choice: Vec<WeightedKey>,
}

/// One choice of a routing key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedKey {
    /// The routing key.
    pub key: String,
    /// How often it is drawn, relative to the others. Default 1.
    pub weight: Option<f64>,
    /// Headers beside the fleet's own, for headers exchanges.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub headers: Arguments,
}

text_or_table!(
    RoutingKey, "a routing key such as \"order.created\", or { choice = [{ key, weight }, …] }",
    text: |text| Ok(RoutingKey::Fixed(text.to_owned())),
    table RoutingKeyTable: |table| Ok(RoutingKey::Choice(table.choice))
);
text_or_table_schema!(RoutingKey, "RoutingKey", "one key, or a pattern such as `orders.{1..100}`", RoutingKeyTable);

/// Offered load over time, of the whole fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RatePlan {
    /// Closed loop: as fast as the confirms allow.
    Max,
    /// The same all the time.
    Constant(Rate),
    /// From step to step; the last one stays.
    Steps(Vec<RateStep>),
    /// In a straight line from one rate to another, which then stays.
    Ramp(RateRamp),
    /// Steps, over and over.
    Cycle(Vec<RateStep>),
}

/// The long forms of a rate: exactly one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateTable {
    /// From step to step; the last one stays.
    pub steps: Option<Vec<RateStep>>,
    /// In a straight line from one rate to another, which then stays.
    pub ramp: Option<RateRamp>,
    /// Steps, over and over.
    pub cycle: Option<Vec<RateStep>>,
}

/// One step of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateStep {
    /// Offered load during the step.
    pub rate: Rate,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub lasting: Span,
}

/// A rate that changes in a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateRamp {
    /// Offered load at the beginning.
    pub from: Rate,
    /// Offered load at the end.
    pub to: Rate,
    /// How long the change takes.
    #[serde(rename = "for")]
    pub lasting: Span,
}

text_or_table!(
    RatePlan, "\"max\", a rate such as \"2000/s\", or one of { steps }, { ramp } and { cycle }",
    text: |text| match text {
        "max" => Ok(RatePlan::Max),
        _ => text.parse().map(RatePlan::Constant).map_err(|error: crate::units::ParseUnitError| error.to_string()),
    },
    table RateTable: |table| match (table.steps, table.ramp, table.cycle) {
        (Some(steps), None, None) => Ok(RatePlan::Steps(steps)),
        (None, Some(ramp), None) => Ok(RatePlan::Ramp(ramp)),
        (None, None, Some(cycle)) => Ok(RatePlan::Cycle(cycle)),
        _ => Err("exactly one of `steps`, `ramp` and `cycle` belongs here".to_owned()),
    }
);
text_or_table_schema!(RatePlan, "RatePlan", "`max`, or a rate such as `2000/s`", RateTable);

/// Size of a body in bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// The same for each message.
    Fixed(ByteSize),
    /// Drawn from the seed for each message, each size in the range as likely as the other.
    Range(SizeRange),
    /// Drawn from the seed for each message.
    Choice(Vec<WeightedSize>),
}

/// The long forms of a size: `min` and `max`, or `choice`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeTable {
    /// Smallest size, in the range.
    pub min: Option<ByteSize>,
    /// Largest size, in the range.
    pub max: Option<ByteSize>,
    /// Sizes with weights.
    pub choice: Option<Vec<WeightedSize>>,
}

/// A range of sizes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeRange {
    /// Smallest size.
    pub min: ByteSize,
    /// Largest size.
    pub max: ByteSize,
}

/// One choice of a size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedSize {
    /// The size.
    pub size: ByteSize,
    /// How often it is drawn, relative to the others. Default 1.
    pub weight: Option<f64>,
}

text_or_table!(
    Size, "a size such as \"1 KiB\", { min, max } or { choice = [{ size, weight }, …] }",
    text: |text| text.parse().map(Size::Fixed).map_err(|error: crate::units::ParseUnitError| error.to_string()),
    table SizeTable: |table| match (table.min, table.max, table.choice) {
        (Some(min), Some(max), None) => Ok(Size::Range(SizeRange { min, max })),
        (None, None, Some(choice)) => Ok(Size::Choice(choice)),
        _ => Err("either `min` and `max`, or `choice` belongs here".to_owned()),
    }
);
text_or_table_schema!(Size, "MessageSize", "a size such as `1 KiB`", SizeTable);

/// What a body holds after the stamp.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Zeros: compresses to nothing.
    Zeros,
    /// Random bytes: does not compress.
    Random,
    /// Bytes that compress to about this share of their size, above 0 and up to 1.
    Compressible(f64),
    /// A text file in which `{{seq}}`, `{{uuid}}` and other fields are filled in; the stamp travels in a header.
    Template(String),
}

/// The long forms of a body: exactly one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyTable {
    /// Share of its size that the body compresses to, above 0 and up to 1.
    pub compressible: Option<f64>,
    /// Path of a template, relative to the scenario.
    pub template: Option<String>,
}

text_or_table!(
    Body, "\"zeros\", \"random\", { compressible = 0.5 } or { template = \"event.json\" }",
    text: |text| match text {
        "zeros" => Ok(Body::Zeros),
        "random" => Ok(Body::Random),
        _ => Err(format!("`{text}` is not a body; write \"zeros\", \"random\", {{ compressible = 0.5 }} or {{ template = \"event.json\" }}")),
    },
    table BodyTable: |table| match (table.compressible, table.template) {
        (Some(ratio), None) => Ok(Body::Compressible(ratio)),
        (None, Some(path)) => Ok(Body::Template(path)),
        _ => Err("exactly one of `compressible` and `template` belongs here".to_owned()),
    }
);
text_or_table_schema!(Body, "Body", "`zeros` or `random`", BodyTable);

/// Publisher confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// Published and forgotten.
    Off,
    /// At most `window` messages wait for their confirm.
    Window(ConfirmWindow),
}

/// A window of messages that wait for their confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmWindow {
    /// Most unconfirmed messages of one publisher, 1 to 65,535. Default 192.
    pub window: Option<u32>,
    /// After this long without a confirm a message is unconfirmed and its connection given up. Default 10 s.
    pub timeout: Option<Span>,
}

text_or_table!(
    Confirm, "\"off\" or { window = 192, timeout = \"10s\" }",
    text: |text| match text {
        "off" => Ok(Confirm::Off),
        _ => Err(format!("`{text}` is not a way to confirm; write \"off\" or {{ window = 192, timeout = \"10s\" }}")),
    },
    table ConfirmWindow: |table| Ok(Confirm::Window(table))
);
text_or_table_schema!(Confirm, "Confirm", "`off`", ConfirmWindow);

/// Properties of the messages. `{{seq}}`, `{{uuid}}`, `{{producer}}` and `{{now}}` are filled in for each message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Properties {
    /// Priority, 0 to 255: one, or a list taken in turn.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "Option<OneOrMany>")]
    pub priority: Option<Vec<u8>>,
    /// How long each message may wait in a queue (`expiration`).
    pub expiration: Option<Span>,
    /// `content-type`.
    pub content_type: Option<String>,
    /// `content-encoding`.
    pub content_encoding: Option<String>,
    /// `message-id`.
    pub message_id: Option<String>,
    /// `correlation-id`.
    pub correlation_id: Option<String>,
    /// `reply-to`.
    pub reply_to: Option<String>,
    /// `type`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `app-id`.
    pub app_id: Option<String>,
    /// Headers.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub headers: Arguments,
}

/// A number, or a list of them.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrMany {
    One(u8),
    Many(Vec<u8>),
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    struct Either;
    impl<'de> serde::de::Visitor<'de> for Either {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a priority from 0 to 255, or a list of them")
        }
        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Vec<u8>, E> {
            let one = u8::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self));
            one.map(|one| vec![one])
        }
        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Vec<u8>, E> {
            let one =
                u8::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self));
            one.map(|one| vec![one])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Vec<u8>, A::Error> {
            Deserialize::deserialize(serde::de::value::SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(Either).map(Some)
}
