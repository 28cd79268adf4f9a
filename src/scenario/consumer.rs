//! `[[consumer]]`: fleets that consume.

use serde::{Deserialize, Serialize};

use super::either::{text_or_table, text_or_table_schema};
use super::failing::{FailRule, OneOrMany, one_or_many};
use super::idempotency::Idempotency;
use super::producer::ClientKind;
use crate::units::Span;

/// One `[[consumer]]`: a fleet of identical consumers.
///
/// The fleet has `count × connections × channels` subscribers; each is a channel with one subscription
/// to each of its queues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Name of the fleet.
    pub name: String,
    /// Queue to consume from; a pattern such as `orders.{1..100}` spreads the fleet over its queues.
    pub queue: String,
    /// Members. Default 1.
    pub count: Option<u32>,
    /// Connections of each member. Default 1.
    pub connections: Option<u32>,
    /// Channels on each connection. Default 1.
    pub channels: Option<u32>,
    /// Most messages that the broker sends ahead of their acks; 0 is no limit. Default 100.
    pub prefetch: Option<u16>,
    /// What the prefetch counts. Default `consumer`.
    pub prefetch_scope: Option<PrefetchScope>,
    /// How messages are settled: `"auto"`, or `{ batch }`. Default one manual ack for each.
    pub ack: Option<Ack>,
    /// Ask for messages one by one (`basic.get`), this often where the queue is empty. Default: subscribe.
    pub poll: Option<Span>,
    /// Simulated work for each message. Default none.
    pub work: Option<Work>,
    /// What the consumers fail on purpose: one rule, or a list of them. Default: nothing.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "Option<OneOrMany>")]
    pub fail: Option<Vec<FailRule>>,
    /// Priority of the consumer (`x-priority`). Default 0.
    pub priority: Option<i32>,
    /// Where in a stream to begin. Default `first`.
    pub offset: Option<StreamOffset>,
    /// How long after the start of the load to subscribe. Default: before it.
    pub start_delay: Option<Span>,
    /// Client that speaks to the broker. Default `wire`.
    pub client: Option<ClientKind>,
    /// Apply an effect for each message, and keep it from being applied twice. Default: no effects.
    pub idempotency: Option<Idempotency>,
}

/// What a prefetch counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PrefetchScope {
    /// Each consumer for itself.
    Consumer,
    /// All consumers of the channel together (`global`); quorum queues and streams refuse it.
    Channel,
}

/// How messages are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// The broker takes a message as settled once it is sent.
    Auto,
    /// The consumer acks after its work.
    Manual(ManualAck),
}

/// The consumer acks after its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManualAck {
    /// `manual`, where it is written out.
    pub mode: Option<AckMode>,
    /// Messages settled with one ack (`multiple`). Default 1.
    pub batch: Option<u32>,
}

/// Whether the consumer or the broker settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// The broker, on sending.
    Auto,
    /// The consumer, after its work.
    Manual,
}

text_or_table!(
    Ack, "\"auto\", \"manual\" or { mode = \"manual\", batch = 10 }",
    text: |text| match text {
        "auto" => Ok(Ack::Auto),
        "manual" => Ok(Ack::Manual(ManualAck { mode: None, batch: None })),
        _ => Err(format!("`{text}` is not a way to ack; write \"auto\", \"manual\" or {{ mode = \"manual\", batch = 10 }}")),
    },
    table ManualAck: |table| match table {
        ManualAck { mode: Some(AckMode::Auto), batch: None } => Ok(Ack::Auto),
        ManualAck { mode: Some(AckMode::Auto), batch: Some(_) } => {
            Err("`batch` needs manual acks: with mode \"auto\" there is no ack to batch".to_owned())
        }
        manual => Ok(Ack::Manual(manual)),
    }
);
text_or_table_schema!(Ack, "Ack", "`auto` or `manual`", ManualAck);

/// Simulated work for each message; the consumer sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The same for each message.
    Fixed(Span),
    /// Drawn from the seed, each length in the range as likely as the other.
    Uniform(UniformWork),
    /// Drawn from the seed, exponentially distributed.
    Exponential(ExponentialWork),
    /// Drawn from the seed, log-normally distributed: mostly short, with a long tail.
    LogNormal(LogNormalWork),
}

/// The long forms of work: exactly one of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkTable {
    /// Each length in the range as likely as the other.
    pub uniform: Option<UniformWork>,
    /// Exponentially distributed.
    pub exponential: Option<ExponentialWork>,
    /// Log-normally distributed.
    pub lognormal: Option<LogNormalWork>,
}

/// Each length in the range as likely as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniformWork {
    /// Shortest.
    pub min: Span,
    /// Longest.
    pub max: Span,
}

/// Exponentially distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExponentialWork {
    /// Mean.
    pub mean: Span,
}

/// Log-normally distributed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogNormalWork {
    /// Median.
    pub median: Span,
    /// Standard deviation of the logarithm; 0.5 is moderate, 1 has a long tail.
    pub sigma: f64,
}

text_or_table!(
    Work, "a duration such as \"200us\", or one of { uniform }, { exponential } and { lognormal }",
    text: |text| text.parse().map(Work::Fixed).map_err(|error: crate::units::ParseUnitError| error.to_string()),
    table WorkTable: |table| match (table.uniform, table.exponential, table.lognormal) {
        (Some(uniform), None, None) => Ok(Work::Uniform(uniform)),
        (None, Some(exponential), None) => Ok(Work::Exponential(exponential)),
        (None, None, Some(lognormal)) => Ok(Work::LogNormal(lognormal)),
        _ => Err("exactly one of `uniform`, `exponential` and `lognormal` belongs here".to_owned()),
    }
);
text_or_table_schema!(Work, "Work", "a duration such as `200us`", WorkTable);

/// Where in a stream to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamOffset {
    /// The oldest message that is kept.
    First,
    /// The last chunk that was written.
    Last,
    /// What is written from now on.
    Next,
    /// This offset.
    At(u64),
    /// Messages of about this long ago.
    Ago(Span),
}

/// The long forms of an offset: exactly one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOffsetTable {
    /// This offset.
    pub at: Option<u64>,
    /// Messages of about this long ago.
    pub ago: Option<Span>,
}

text_or_table!(
    StreamOffset, "\"first\", \"last\", \"next\", { at = 1000 } or { ago = \"1h\" }",
    text: |text| match text {
        "first" => Ok(StreamOffset::First),
        "last" => Ok(StreamOffset::Last),
        "next" => Ok(StreamOffset::Next),
        _ => Err(format!("`{text}` is not an offset; write \"first\", \"last\", \"next\", {{ at = 1000 }} or {{ ago = \"1h\" }}")),
    },
    table StreamOffsetTable: |table| match (table.at, table.ago) {
        (Some(at), None) => Ok(StreamOffset::At(at)),
        (None, Some(ago)) => Ok(StreamOffset::Ago(ago)),
        _ => Err("exactly one of `at` and `ago` belongs here".to_owned()),
    }
);
text_or_table_schema!(StreamOffset, "StreamOffset", "`first`, `last` or `next`", StreamOffsetTable);
