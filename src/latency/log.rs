//! The interval log: one line per second, fleet and latency, in the format of HdrHistogram's own tools.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// Writes an interval log (HdrHistogram log format 1.3, V2 compressed). Values are microseconds.
pub struct IntervalLog<W: io::Write> {
    out: W,
    serializer: V2DeflateSerializer,
}

impl<W: io::Write> IntervalLog<W> {
    /// Writes the head of the log. `begun` is the wall-clock time at which the run's clock was 0.
    ///
    /// # Errors
    /// What the writer says.
    pub fn begin(mut out: W, begun: SystemTime) -> io::Result<Self> {
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("Values are in microseconds; tags are LATENCY.FLEET, and warm-up.LATENCY.FLEET before the measured load.")
            .with_start_time(begun)
            .with_base_time(begun)
            .begin_log_with(&mut out, &mut serializer)?;
        Ok(Self { out, serializer })
    }

    /// Writes one interval of a latency of a fleet; an empty one is left out, as is the custom of the format.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(
        &mut self,
        latency: &str,
        fleet: &str,
        (start, length): (Duration, Duration),
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        if histogram.is_empty() {
            return Ok(());
        }
        // The format's separators cannot stand in a tag.
        let clean = |c: char| if c == ',' || c.is_whitespace() { '_' } else { c };
        let tag: String = format!("{latency}.{fleet}").chars().map(clean).collect();
        // The crate's writer borrows its output for as long as it lives; one without a head continues a log.
        IntervalLogWriterBuilder::new()
            .begin_log_with(&mut self.out, &mut self.serializer)?
            .write_histogram(histogram, start, length, Tag::new(&tag))
            .map_err(|error| io::Error::other(error.to_string()))
    }

    /// Hands back the writer, flushed.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut histogram = crate::latency::histogram();
        (1..=1000).for_each(|us| histogram.saturating_record(us * 100));
        let mut log = IntervalLog::begin(Vec::new(), SystemTime::UNIX_EPOCH).unwrap();
        let second = |n| (Duration::from_secs(n), Duration::from_secs(1));
        log.write("end_to_end", "my fleet", second(1), &histogram).unwrap();
        log.write("end_to_end", "my fleet", second(2), &crate::latency::histogram()).unwrap();
        let text = log.finish().unwrap();
        let read: Vec<_> = IntervalLogIterator::new(&text)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].tag().map(|tag| tag.as_str().to_owned()), Some("end_to_end.my_fleet".to_owned()));
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(read[0].encoded_histogram()).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(back, histogram);
    }
}
