//! A delivery as the ledger sees it.

use std::sync::Arc;

use super::Destinations;
use crate::client::{Death, Delivery};
use crate::ledger::Arrival;
use crate::ledger::fates::DeathEntry;
use crate::stamp::{Reading, STAMP_LEN, Stamp};

/// What the ledger needs to know of a delivery.
pub fn arrival(
    destinations: &dyn Destinations,
    subscriber: u32,
    (delivery, body): (&Delivery, &[u8]),
    run: u32,
    observed_us: u64,
) -> Arrival {
    let reading = match &delivery.stamp {
        Some(stamp) => Stamp::read(stamp, body, run),
        None if body.len() >= STAMP_LEN => Stamp::read_body(body, run),
        None => Reading::Foreign,
    };
    let entry = |death: &Death| {
        let from = destinations.named(&death.queue)?;
        Some(DeathEntry { from, reason: Arc::from(death.reason.as_str()), count: death.count })
    };
    // Nothing is allocated for a message that never was dead-lettered.
    let deaths = (!delivery.deaths.is_empty()).then(|| delivery.deaths.iter().filter_map(entry).collect::<Arc<[_]>>());
    Arrival {
        destination: destinations.of(subscriber, delivery.queue),
        reading,
        redelivered: delivery.redelivered,
        retried: false,
        observed_us,
        deaths: deaths.filter(|deaths| !deaths.is_empty()),
    }
}
