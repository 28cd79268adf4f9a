//! What a body holds: filled by the plan, so that the same message has the same bytes on every run.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::draw::{self, Lane};
use super::fields::Fields;
pub use super::fields::Moment;
use super::fleet::{ProducerFleet, Publisher};

/// Bytes that the stamp takes at the start of a body that is no template; the smallest body there is.
pub const STAMP_BYTES: u32 = 24;

/// Random bytes that bodies are cut from: few enough to stay in a processor's cache, and so many that a compressor with
/// a window of 32 KiB, such as gzip, does not see them twice in one body.
const BLOCK_BYTES: usize = 256 * 1024;

/// A compressible body repeats one stretch of random bytes and one of zeros, together this long.
const STRETCH_BYTES: usize = 4096;

/// What gzip adds for its own header and code tables, which would weigh in a small body: so many random bytes less.
const COMPRESSOR_OVERHEAD_BYTES: usize = 80;

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

/// The same for every plan: which part of it a message gets is drawn from the publisher's seed.
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..BLOCK_BYTES as u64 / 8).flat_map(|place| draw::bits(0, Lane::Body, place).to_le_bytes()).collect()
});

/// Makes the bodies of one fleet.
#[derive(Debug, Clone)]
pub struct BodyMaker {
    fleet: String,
    filling: Filling,
}

#[derive(Debug, Clone)]
enum Filling {
    Zeros,
    Random,
    Compressible(f64),
    Template(Fields),
}

impl BodyMaker {
    /// For the messages of `fleet`.
    pub fn new(fleet: &ProducerFleet) -> Self {
        let filling = match &fleet.body {
            BodyPlan::Zeros => Filling::Zeros,
            BodyPlan::Random => Filling::Random,
            BodyPlan::Compressible { ratio } => Filling::Compressible(*ratio),
            // A resolved plan holds no text that does not parse.
            BodyPlan::Template { text } => {
                Filling::Template(Fields::parse(text).unwrap_or_else(|_| Fields::literal(text)))
            }
        };
        Self { fleet: fleet.name.clone(), filling }
    }

    /// Whether the body is a filled-in text, which leaves the stamp to a header.
    pub fn is_template(&self) -> bool {
        matches!(self.filling, Filling::Template(_))
    }

    /// Appends the body of message `seq` of `publisher` to `out`: the bytes after the stamp of a body of `size` bytes,
    /// or the whole of a template, whatever `size` is.
    pub fn append(&self, publisher: &Publisher, seq: u64, size: u32, moment: &Moment, out: &mut Vec<u8>) {
        let bytes = size.saturating_sub(STAMP_BYTES) as usize;
        match &self.filling {
            Filling::Zeros => out.resize(out.len() + bytes, 0),
            Filling::Random => append_random(publisher.seed, seq, bytes, out),
            Filling::Compressible(ratio) => append_compressible(publisher.seed, seq, bytes, *ratio, out),
            Filling::Template(text) => text.fill_into(&self.fleet, publisher, seq, moment, out),
        }
    }
}

/// Cuts `bytes` out of the block where the seed and the sequence say; more than the block holds, in several pieces.
fn append_random(seed: u64, seq: u64, bytes: usize, out: &mut Vec<u8>) {
    let mut left = bytes;
    let mut at = draw::bits(seed, Lane::Body, seq);
    while left > 0 {
        let piece = left.min(BLOCK_BYTES / 2);
        let offset = draw::below(at, Lane::Body, seq, (BLOCK_BYTES - piece) as u64 + 1) as usize;
        out.extend_from_slice(&BLOCK[offset..offset + piece]);
        left -= piece;
        at = at.wrapping_add(1);
    }
}

fn append_compressible(seed: u64, seq: u64, bytes: usize, ratio: f64, out: &mut Vec<u8>) {
    let end = out.len() + bytes;
    let mut stretch = 0;
    let mut spared = if ratio < 1.0 { COMPRESSOR_OVERHEAD_BYTES } else { 0 };
    while out.len() < end {
        let length = (end - out.len()).min(STRETCH_BYTES);
        let random = ((length as f64 * ratio).round() as usize).min(length).saturating_sub(spared);
        spared = 0;
        append_random(seed.wrapping_add(stretch), seq, random, out);
        out.resize(out.len() + length - random, 0);
        stretch += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::plan::fleet::{PropertiesPlan, SizePlan};
    use crate::plan::{Again, ClientKind};
    use proptest::prelude::*;

    fn maker(body: BodyPlan) -> BodyMaker {
        BodyMaker::new(&ProducerFleet {
            name: "checkout".to_owned(),
            client: ClientKind::Lapin,
            exchange: String::new(),
            routes: Vec::new(),
            routes_drawn: false,
            rate: None,
            size: SizePlan::Fixed(1024),
            body,
            persistent: true,
            mandatory: false,
            confirm: None,
            on_unconfirmed: Again::Abandon,
            on_nacked: Again::Abandon,
            backoff: None,
            follows: None,
            properties: PropertiesPlan::default(),
            publishers: Vec::new(),
        })
    }

    fn body(plan: BodyPlan, seed: u64, seq: u64, size: u32) -> Vec<u8> {
        let publisher = Publisher { id: 0, member: 0, connection: 0, place: 0, seed, start_us: 0, messages: None };
        let mut out = vec![0xaa; STAMP_BYTES as usize];
        maker(plan).append(&publisher, seq, size, &Moment::default(), &mut out);
        out
    }

    fn gzipped(bytes: &[u8]) -> usize {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory").len()
    }

    #[test]
    fn the_stamp_has_its_room() {
        assert_eq!(STAMP_BYTES as usize, crate::stamp::STAMP_LEN);
    }

    #[test]
    fn bodies_are_fixed_for_ever() {
        // A change here changes every message: records of the same scenario and seed would no longer compare.
        assert_eq!(crc32fast::hash(&body(BodyPlan::Random, 42, 7, 1024)), 2_925_776_620);
    }

    #[test]
    fn a_body_compresses_to_its_ratio() {
        for size in [4096, 65_536] {
            for ratio in [0.1, 0.25, 0.5, 0.75, 1.0] {
                let written = body(BodyPlan::Compressible { ratio }, 5, 3, size);
                let got = gzipped(&written) as f64 / f64::from(size);
                assert!((got - ratio).abs() <= 0.1 * ratio, "{size} bytes at {ratio} became {got:.4}");
            }
            assert!(gzipped(&body(BodyPlan::Random, 5, 3, size)) >= size as usize);
            assert!(gzipped(&body(BodyPlan::Zeros, 5, 3, size)) < size as usize / 40);
        }
    }

    #[test]
    fn messages_differ() {
        let bodies: std::collections::BTreeSet<_> = (0..1000).map(|seq| body(BodyPlan::Random, 9, seq, 64)).collect();
        assert!(bodies.len() > 990, "only {} of 1000 differ", bodies.len());
        assert_ne!(body(BodyPlan::Random, 9, 1, 64), body(BodyPlan::Random, 10, 1, 64));
    }

    #[test]
    fn a_template_is_its_own_length() {
        let plan = BodyPlan::Template { text: "{\"n\":{{seq}}}".to_owned() };
        assert!(maker(plan.clone()).is_template());
        assert_eq!(&body(plan, 1, 12, 0)[STAMP_BYTES as usize..], b"{\"n\":12}");
    }

    proptest! {
        #[test]
        fn a_body_has_its_size_and_stays_the_same(
            seed: u64, seq: u64, size in 0u32..700_000,
            plan in prop::sample::select(vec![
                BodyPlan::Zeros, BodyPlan::Random, BodyPlan::Compressible { ratio: 0.3 },
            ]),
        ) {
            let first = body(plan.clone(), seed, seq, size);
            prop_assert_eq!(first.len(), size.max(STAMP_BYTES) as usize);
            prop_assert_eq!(first, body(plan, seed, seq, size));
        }
    }
}
