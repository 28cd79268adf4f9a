//! Texts with fields such as `{{seq}}` or `{{uuid}}`: parsed once, filled in for each message.
//!
//! What a field becomes is a function of the publisher, the sequence and the moment, so that a message that is sent
//! again is the same message.

use std::io::Write as _;
use std::ops::RangeInclusive;

use super::draw::{self, Lane};
use super::fleet::Publisher;

/// The fields there are, as an error lists them.
const KNOWN: &str = "{{seq}}, {{uuid}}, {{producer}}, {{fleet}}, {{now}}, {{random 16}} (letters and digits) and {{random 1..100}} (a whole number)";

/// Most characters of one `{{random N}}`.
const MAX_LETTERS: u32 = 65_536;

/// What of a message is not the same whenever it is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock of the intended send, in microseconds since 1970.
    pub unix_us: u64,
    /// Which of its ids it has: 0 for the first, another one where it is published once more under a new one.
    pub ids: u64,
}

/// Why a text with fields could not be read. Fits the sentence "`producer[0].body.template`: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// No such field.
    #[error("`{{{{{name}}}}}` is not a field; there are {KNOWN}")]
    Unknown {
        /// What stands between the braces.
        name: String,
    },
    /// The braces are never closed.
    #[error("`{{{{` is never closed by `}}}}`, near `{near}`")]
    Unclosed {
        /// The text from there.
        near: String,
    },
}

/// A text with fields, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Seq,
    Uuid,
    Producer,
    Fleet,
    Now,
    Letters(u32),
    Number(RangeInclusive<u64>),
}

impl Fields {
    /// Reads `text`; everything outside `{{…}}` stays as it is.
    ///
    /// # Errors
    /// A field that does not exist, or braces that are never closed.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after
                .split_once("}}")
                .ok_or_else(|| FieldError::Unclosed { near: after.chars().take(20).collect() })?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(field(name.trim()).ok_or_else(|| FieldError::Unknown { name: name.to_owned() })?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// `text` with its braces taken as they are.
    pub(super) fn literal(text: &str) -> Self {
        Self { pieces: vec![Piece::Text(text.to_owned())] }
    }

    /// Whether the text holds no field, and is the same for every message.
    pub fn is_constant(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The text of message `seq` of `publisher`, whose fleet is called `fleet`.
    pub fn fill(&self, fleet: &str, publisher: &Publisher, seq: u64, moment: &Moment) -> String {
        let mut bytes = Vec::new();
        self.fill_into(fleet, publisher, seq, moment, &mut bytes);
        // Every piece is text, so nothing is ever replaced.
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Appends what [`Self::fill`] returns.
    pub fn fill_into(&self, fleet: &str, publisher: &Publisher, seq: u64, moment: &Moment, out: &mut Vec<u8>) {
        for (place, piece) in self.pieces.iter().enumerate() {
            // Two random fields of one text draw apart.
            let seed = || draw::bits(publisher.seed.wrapping_add(place as u64), Lane::Body, seq);
            // Writing to a vector cannot fail.
            let _ = match piece {
                Piece::Text(text) => out.write_all(text.as_bytes()),
                Piece::Seq => write!(out, "{seq}"),
                Piece::Uuid => write!(out, "{}", uuid(publisher.seed.wrapping_add(moment.ids), seq)),
                Piece::Producer => write!(out, "{}", publisher.id),
                Piece::Fleet => out.write_all(fleet.as_bytes()),
                Piece::Now => write!(out, "{:.6}", timestamp(moment)),
                Piece::Letters(count) => {
                    letters(seed(), *count, out);
                    Ok(())
                }
                Piece::Number(range) => {
                    let width = (range.end() - range.start()).saturating_add(1);
                    write!(out, "{}", range.start() + draw::below(seed(), Lane::Body, seq, width))
                }
            };
        }
    }
}

fn field(name: &str) -> Option<Piece> {
    match name {
        "seq" => return Some(Piece::Seq),
        "uuid" => return Some(Piece::Uuid),
        "producer" => return Some(Piece::Producer),
        "fleet" => return Some(Piece::Fleet),
        "now" => return Some(Piece::Now),
        _ => {}
    }
    let amount = name.strip_prefix("random ")?.trim();
    if let Some((low, high)) = amount.split_once("..") {
        let (low, high) = (low.parse().ok()?, high.parse().ok()?);
        return (low <= high).then_some(Piece::Number(low..=high));
    }
    amount.parse().ok().filter(|count| (1..=MAX_LETTERS).contains(count)).map(Piece::Letters)
}

fn timestamp(moment: &Moment) -> jiff::Timestamp {
    i64::try_from(moment.unix_us)
        .ok()
        .and_then(|us| jiff::Timestamp::from_microsecond(us).ok())
        .unwrap_or(jiff::Timestamp::MAX)
}

/// A UUID in the form of version 4 (RFC 9562, section 5.4), the same whenever the message is asked for.
fn uuid(seed: u64, seq: u64) -> String {
    let high = draw::bits(seed, Lane::Uuid, seq);
    let low = draw::bits(high, Lane::Uuid, seq);
    let version = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let variant = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        version >> 32,
        (version >> 16) & 0xffff,
        version & 0xffff,
        variant >> 48,
        variant & 0xffff_ffff_ffff
    )
}

fn letters(seed: u64, count: u32, out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    out.extend((0..u64::from(count)).map(|place| ALPHABET[draw::below(seed, Lane::Body, place, 62) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher() -> Publisher {
        Publisher { id: 7, member: 0, connection: 0, place: 0, seed: 99, start_us: 0, messages: None }
    }

    const NOON: Moment = Moment { unix_us: 1_700_000_000_000_250, ids: 0 };

    fn filled(text: &str, seq: u64) -> String {
        Fields::parse(text).expect("a text").fill("checkout", &publisher(), seq, &NOON)
    }

    #[test]
    fn fields_are_filled_in() {
        assert_eq!(filled("{{fleet}}-{{producer}}-{{ seq }}", 5), "checkout-7-5");
        assert_eq!(filled("{\"at\":\"{{now}}\"}", 5), "{\"at\":\"2023-11-14T22:13:20.000250Z\"}");
        assert_eq!(filled("{\"a\":{\"b\":1}}", 5), "{\"a\":{\"b\":1}}");
    }

    #[test]
    fn a_uuid_has_its_form_and_stays_the_messages() {
        let uuid = filled("{{uuid}}", 5);
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        assert_eq!(filled("{{uuid}} {{uuid}}", 5), format!("{uuid} {uuid}"));
        assert_ne!(filled("{{uuid}}", 6), uuid);
        let again = Moment { ids: 1, ..NOON };
        assert_ne!(Fields::parse("{{uuid}}").expect("a text").fill("checkout", &publisher(), 5, &again), uuid);
    }

    #[test]
    fn random_fields_draw_apart_and_in_range() {
        let text = filled("{{random 20}} {{random 20}}", 1);
        let (left, right) = text.split_once(' ').expect("two words");
        assert_eq!((left.len(), right.len()), (20, 20));
        assert_ne!(left, right);
        for seq in 0..500 {
            let number: u64 = filled("{{random 3..5}}", seq).parse().expect("a number");
            assert!((3..=5).contains(&number), "{number}");
        }
        assert!(filled("{{random 0..18446744073709551615}}", 1).parse::<u64>().is_ok());
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in ["{{sequence}}", "{{}}", "{{random}}", "{{random 0}}", "{{random 5..3}}", "{{random x}}"] {
            assert!(matches!(Fields::parse(text), Err(FieldError::Unknown { .. })), "{text} was accepted");
        }
        assert!(matches!(Fields::parse("a {{seq"), Err(FieldError::Unclosed { .. })));
    }

    #[test]
    fn a_text_without_fields_is_constant() {
        assert!(Fields::parse("application/json").is_ok_and(|fields| fields.is_constant()));
        assert!(Fields::parse("{{fleet}}").is_ok_and(|fields| !fields.is_constant()));
    }
}
