//! The identity that each message carries: 24 bytes, first in the body, or in one header where the body is a template.
//!
//! May use `units` only. Small enough that runs with small messages compare with other tools; its last four bytes are a
//! CRC-32 over the stamp and the rest of the body, so that a message changed on its way is noticed.
//!
//! | bytes | field |
//! |---|---|
//! | 0–3 | run: tells this run's messages from all others |
//! | 4–5 | publisher |
//! | 6 | attempt, from 0; stays at 255 |
//! | 7–11 | sequence, from 0, of this publisher |
//! | 12–16 | intended send time, microseconds on the run's clock (12.7 days) |
//! | 17–19 | how much later it was sent: microseconds, 20 bits times 2 to the power of 4 bits |
//! | 20–23 | CRC-32 (IEEE) of bytes 0–19 and of the body after the stamp |
//!
//! All numbers are big-endian.

/// Length of an encoded stamp, in bytes.
pub const STAMP_LEN: usize = 24;

/// Header that holds the stamp where the body is a template.
pub const STAMP_HEADER: &str = "x-lurcher";

/// Largest sequence that a stamp can carry.
pub const MAX_SEQUENCE: u64 = (1 << 40) - 1;

const LAG_MANTISSA_BITS: u32 = 20;

/// Who sent a message, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The run that sent it.
    pub run: u32,
    /// The publisher that sent it.
    pub publisher: u16,
    /// 0 for the first time it was sent, 1 for the second; 255 for the 256th and all later ones.
    pub attempt: u8,
    /// Its number among the publisher's messages, at most [`MAX_SEQUENCE`].
    pub sequence: u64,
    /// When it should have been sent, in microseconds on the run's clock.
    pub intended_us: u64,
    /// How much later this attempt was sent, in microseconds; exact below 2^20, to one in 2^19 above.
    pub lag_us: u64,
}

/// What a body says of where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A message of this run, unchanged.
    Ours(Stamp),
    /// It names this run, but its checksum does not match: what it says cannot be trusted.
    Corrupt(Stamp),
    /// It carries no stamp, or another run's.
    Foreign,
}

impl Stamp {
    /// The stamp's bytes for a message whose body goes on with `rest`.
    pub fn encode(&self, rest: &[u8]) -> [u8; STAMP_LEN] {
        let mut bytes = [0; STAMP_LEN];
        bytes[0..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.publisher.to_be_bytes());
        bytes[6] = self.attempt;
        bytes[7..12].copy_from_slice(&self.sequence.to_be_bytes()[3..]);
        bytes[12..17].copy_from_slice(&self.intended_us.to_be_bytes()[3..]);
        bytes[17..20].copy_from_slice(&pack_lag(self.lag_us).to_be_bytes()[1..]);
        let checksum = checksum(&bytes[..20], rest);
        bytes[20..24].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// What `stamp`, followed by `rest` of the body, says to the run `run`.
    pub fn read(stamp: &[u8], rest: &[u8], run: u32) -> Reading {
        let Ok(bytes) = <&[u8; STAMP_LEN]>::try_from(stamp) else { return Reading::Foreign };
        let number = |range: std::ops::Range<usize>| bytes[range].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        if number(0..4) != u64::from(run) {
            return Reading::Foreign;
        }
        let stamp = Self {
            run,
            publisher: number(4..6) as u16,
            attempt: bytes[6],
            sequence: number(7..12),
            intended_us: number(12..17),
            lag_us: unpack_lag(number(17..20) as u32),
        };
        if number(20..24) == u64::from(checksum(&bytes[..20], rest)) {
            Reading::Ours(stamp)
        } else {
            Reading::Corrupt(stamp)
        }
    }

    /// What a body that begins with its stamp says to the run `run`.
    pub fn read_body(body: &[u8], run: u32) -> Reading {
        match body.split_at_checked(STAMP_LEN) {
            Some((stamp, rest)) => Self::read(stamp, rest, run),
            None => Reading::Foreign,
        }
    }
}

fn checksum(head: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(rest);
    hasher.finalize()
}

/// 4 bits of exponent, 20 bits of mantissa; saturates at 9.5 hours.
fn pack_lag(lag_us: u64) -> u32 {
    let bits = u64::BITS - lag_us.leading_zeros();
    let exponent = bits.saturating_sub(LAG_MANTISSA_BITS);
    if exponent > 15 {
        return (1 << 24) - 1;
    }
    exponent << LAG_MANTISSA_BITS | (lag_us >> exponent) as u32
}

fn unpack_lag(packed: u32) -> u64 {
    let mantissa = packed & ((1 << LAG_MANTISSA_BITS) - 1);
    u64::from(mantissa) << (packed >> LAG_MANTISSA_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        (any::<u32>(), any::<u16>(), any::<u8>(), 0..=MAX_SEQUENCE, 0..1u64 << 40, 0..1u64 << 20).prop_map(
            |(run, publisher, attempt, sequence, intended_us, lag_us)| Stamp {
                run,
                publisher,
                attempt,
                sequence,
                intended_us,
                lag_us,
            },
        )
    }

    fn body(stamp: &Stamp, rest: &[u8]) -> Vec<u8> {
        [&stamp.encode(rest), rest].concat()
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(stamp in any_stamp(), rest: Vec<u8>) {
            prop_assert_eq!(Stamp::read_body(&body(&stamp, &rest), stamp.run), Reading::Ours(stamp));
        }

        #[test]
        fn one_changed_bit_is_never_ours(stamp in any_stamp(), rest: Vec<u8>, at: prop::sample::Index) {
            let mut body = body(&stamp, &rest);
            let bit = at.index(body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(Stamp::read_body(&body, stamp.run), Reading::Ours(_)));
        }

        #[test]
        fn another_run_is_foreign(stamp in any_stamp(), other: u32) {
            prop_assume!(other != stamp.run);
            prop_assert_eq!(Stamp::read_body(&body(&stamp, &[]), other), Reading::Foreign);
        }

        #[test]
        fn a_cut_body_is_not_ours(stamp in any_stamp(), rest: Vec<u8>, at: prop::sample::Index) {
            let body = body(&stamp, &rest);
            let cut = &body[..at.index(body.len())];
            prop_assert!(!matches!(Stamp::read_body(cut, stamp.run), Reading::Ours(_)));
        }

        #[test]
        fn a_long_lag_keeps_its_size(lag_us in 0u64..34_000_000_000) {
            let read = unpack_lag(pack_lag(lag_us));
            prop_assert!(read <= lag_us && lag_us - read <= lag_us >> 19, "{} became {}", lag_us, read);
        }
    }

    #[test]
    fn the_format_is_fixed() {
        let stamp = Stamp { run: 1, publisher: 2, attempt: 3, sequence: 4, intended_us: 5, lag_us: 6 };
        let hex: String = stamp.encode(b"rest").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(&hex[..40], "0000000100020300000000040000000005000006");
    }
}
