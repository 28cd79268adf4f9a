//! What was observed at one time: incidents, and the broker's own figures.

use super::{BROKER, INCIDENTS, QUEUES, table};
use crate::record::Record;
use crate::report::OutputError;
use crate::report::figure::{plain, plain_or_empty};
use crate::report::words;

/// What happened to connections and channels, in order.
pub(in crate::report) fn incidents(record: &Record) -> Result<String, OutputError> {
    let rows = record.incidents.iter().map(|incident| {
        [
            plain(incident.at_us),
            incident.fleet.clone(),
            plain(u64::from(incident.member)),
            words::incident(incident.kind).to_owned(),
            incident.detail.clone(),
        ]
    });
    table(INCIDENTS, ["at_us", "fleet", "member", "kind", "detail"], rows)
}

/// Queues of the broker, each second.
pub(in crate::report) fn queues(record: &Record) -> Result<String, OutputError> {
    let rows = record
        .queue_samples
        .iter()
        .map(|sample| [plain(sample.at_us), sample.queue.clone(), plain(sample.ready), plain(sample.unacked)]);
    table(QUEUES, ["at_us", "queue", "ready", "unacked"], rows)
}

/// The broker as a whole, each second.
pub(in crate::report) fn broker(record: &Record) -> Result<String, OutputError> {
    let header = ["at_us", "cpu_cores", "memory_bytes", "publish_per_s", "deliver_per_s", "connections"];
    let rows = record.broker_samples.iter().map(|sample| {
        [
            plain(sample.at_us),
            plain_or_empty(sample.cpu_cores),
            plain_or_empty(sample.memory_bytes),
            plain_or_empty(sample.publish_per_s),
            plain_or_empty(sample.deliver_per_s),
            plain_or_empty(sample.connections),
        ]
    });
    table(BROKER, header, rows)
}
