//! `[load]` and `[expect]`: how much, and what must hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// The `[load]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Load before the measurement; accounted for like all else, but in no latency and no rate. Default none.
    pub warmup: Option<Span>,
    /// How long the measured load lasts. Default 30 s, or until `messages` are sent.
    pub duration: Option<Span>,
    /// Messages of all fleets together, warm-up included; divided among the fleets in proportion to their rates.
    pub messages: Option<u64>,
    /// End the load early when this holds.
    pub stop_when: Option<StopWhen>,
    /// How long consumers may take to empty their queues after the load. Default 60 s.
    pub drain: Option<Span>,
    /// Most that 99 of 100 sends may be late through the generator's own doing; more, and the run is invalid. Default 100 ms.
    pub max_lag: Option<Span>,
}

/// When to end the load early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopWhen {
    /// Every message was consumed, and none came, for this long.
    pub empty: Option<Span>,
    /// No message was confirmed or consumed for this long.
    pub idle: Option<Span>,
}

/// The `[expect]` table: any metric of the record against a bound, such as `"end_to_end.p99" = "<= 250ms"` or `lost = 0`;
/// beside them `guarantee` and `ordered`.
pub type Expectations = BTreeMap<String, toml::Value>;
