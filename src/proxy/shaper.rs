//! What goes out on one stream, and when: latency, bandwidth, slices, stalls and silence. Uses no room. Pure.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::disturbance::{Way, What};
use super::draw::{self, Lane};
use super::rule::Rules;

/// Bytes that wait for the receiver before no more is read.
const QUEUE_BYTES: usize = 256 << 10;
/// The same where they wait for a latency too: what is under way on a long line.
const QUEUE_BYTES_DELAYED: usize = 16 << 20;
/// Pieces that are written at once.
const PIECES_MAX: usize = 32;
/// A limited bandwidth is written in steps of this share of a second, and makes up for timers that are late by twice
/// it.
const STEP: Duration = Duration::from_millis(10);

/// What can be done now.
#[derive(Debug)]
pub(super) enum Due<'a> {
    /// Write these.
    Bytes(Vec<IoSlice<'a>>),
    /// The stream ends.
    End,
    /// Nothing before then.
    At(Instant),
    /// Nothing before something changes.
    Nothing,
}

/// Bytes that came together; none where the stream ended.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    arrived: Instant,
    /// Rules that delay it, and by how much: what a rule held back flows on when it ends.
    delays: Vec<(u64, Duration)>,
}

/// What goes out on one stream.
#[derive(Debug)]
pub(super) struct Shaper {
    way: Way,
    seed: u64,
    queue: VecDeque<Chunk>,
    bytes: usize,
    /// Chunks in it that a rule delays, or did.
    delayed: usize,
    has_ended: bool,
    draws: u64,
    /// Before then nothing is written, where bandwidth or slices are limited.
    free_at: Option<Instant>,
    has_lost: bool,
}

/// Limits that are in force.
#[derive(Debug, Default)]
struct Limits {
    is_stalled: bool,
    is_silent: bool,
    delays: bool,
    bytes_per_s: Option<u64>,
    slice: Option<(usize, Duration)>,
}

impl Shaper {
    pub fn new(way: Way, seed: u64) -> Self {
        let queue = VecDeque::new();
        Self { way, seed, queue, bytes: 0, delayed: 0, has_ended: false, draws: 0, free_at: None, has_lost: false }
    }

    fn limits(&self, rules: &Rules) -> Limits {
        let mut limits = Limits::default();
        for rule in rules.iter() {
            match *rule.what() {
                What::Stall { direction } if direction.covers(self.way) => limits.is_stalled = true,
                What::Silence { direction } if direction.covers(self.way) => limits.is_silent = true,
                What::Latency { direction, .. } if direction.covers(self.way) => limits.delays = true,
                What::Bandwidth { direction, bytes_per_s } if direction.covers(self.way) => {
                    limits.is_stalled |= bytes_per_s == 0;
                    limits.bytes_per_s = limits.bytes_per_s.into_iter().chain([bytes_per_s]).min();
                }
                What::Slice { direction, bytes, pause } if direction.covers(self.way) => {
                    let (least, longest) = limits.slice.unwrap_or((usize::MAX, Duration::ZERO));
                    limits.slice = Some((least.min(bytes.max(1)), longest.max(pause)));
                }
                _ => {}
            }
        }
        limits
    }

    /// Bytes come.
    pub fn push(&mut self, bytes: Bytes, now: Instant, rules: &Rules) {
        self.bytes += bytes.len();
        self.enqueue(bytes, now, rules);
    }

    /// The stream ends after what came.
    pub fn end(&mut self, now: Instant, rules: &Rules) {
        if !self.has_ended {
            self.has_ended = true;
            self.enqueue(Bytes::new(), now, rules);
        }
    }

    fn enqueue(&mut self, bytes: Bytes, now: Instant, rules: &Rules) {
        let mut delays = Vec::new();
        for rule in rules.iter() {
            if let What::Latency { direction, delay, jitter } = *rule.what()
                && direction.covers(self.way)
            {
                self.draws += 1;
                let drawn = jitter.mul_f64(draw::unit(self.seed, Lane::Jitter, self.draws));
                delays.push((rule.id, delay.saturating_add(drawn)));
            }
        }
        self.delayed += usize::from(!delays.is_empty());
        self.queue.push_back(Chunk { bytes, arrived: now, delays });
    }

    fn pop(&mut self) {
        if self.queue.pop_front().is_some_and(|chunk| !chunk.delays.is_empty()) {
            self.delayed -= 1;
        }
    }

    /// Whether more may be read.
    pub fn accepts(&self, rules: &Rules) -> bool {
        let limits = self.limits(rules);
        let most = if limits.delays { QUEUE_BYTES_DELAYED } else { QUEUE_BYTES };
        !self.has_ended && !limits.is_stalled && self.bytes < most
    }

    /// Throws away what waits, where the stream is silent; true where something was lost by it.
    pub fn lose(&mut self, rules: &Rules) -> bool {
        if self.queue.is_empty() || !self.limits(rules).is_silent {
            return false;
        }
        self.queue.clear();
        self.delayed = 0;
        self.bytes = 0;
        self.has_lost = true;
        true
    }

    /// Whether something was lost, and the stream is silent no more.
    pub fn is_broken(&self, rules: &Rules) -> bool {
        self.has_lost && !self.limits(rules).is_silent
    }

    /// Whether something is held back, or a loss is to be made up for.
    pub fn holds(&self) -> bool {
        self.has_lost || self.delayed > 0
    }

    fn due_at(chunk: &Chunk, rules: &Rules) -> Instant {
        let at_work = chunk.delays.iter().filter(|(rule, _)| rules.contains(*rule));
        let delay: Duration = at_work.map(|(_, delay)| *delay).sum();
        chunk.arrived.checked_add(delay).unwrap_or(chunk.arrived)
    }

    /// What can be done now.
    pub fn due(&self, now: Instant, rules: &Rules) -> Due<'_> {
        let limits = self.limits(rules);
        let Some(first) = self.queue.front().filter(|_| !limits.is_stalled) else { return Due::Nothing };
        let is_paced = limits.bytes_per_s.is_some() || limits.slice.is_some();
        let paced_at = self.free_at.filter(|_| is_paced).unwrap_or(now);
        let at = paced_at.max(Self::due_at(first, rules));
        if at > now {
            return Due::At(at);
        }
        if first.bytes.is_empty() {
            return Due::End;
        }
        let step =
            |rate: u64| usize::try_from(rate.saturating_mul(STEP.as_millis() as u64) / 1_000).unwrap_or(usize::MAX);
        let of_bandwidth = limits.bytes_per_s.map_or(usize::MAX, |rate| step(rate).max(1));
        let mut left = of_bandwidth.min(limits.slice.map_or(usize::MAX, |(bytes, _)| bytes));
        let mut pieces = Vec::new();
        for chunk in self.queue.iter().take(PIECES_MAX) {
            if left == 0 || chunk.bytes.is_empty() || Self::due_at(chunk, rules) > now {
                break;
            }
            let piece = &chunk.bytes[..chunk.bytes.len().min(left)];
            left -= piece.len();
            pieces.push(IoSlice::new(piece));
        }
        Due::Bytes(pieces)
    }

    /// So many bytes were written.
    pub fn wrote(&mut self, bytes: usize, now: Instant, rules: &Rules) {
        self.bytes -= bytes.min(self.bytes);
        let mut left = bytes;
        while let Some(first) = self.queue.front_mut().filter(|_| left > 0) {
            let taken = left.min(first.bytes.len());
            first.bytes.advance(taken);
            left -= taken;
            if !first.bytes.is_empty() || taken == 0 {
                break;
            }
            self.pop();
        }
        let limits = self.limits(rules);
        let of_rate = limits
            .bytes_per_s
            .filter(|rate| *rate > 0)
            .map_or(Duration::ZERO, |rate| Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / rate));
        let of_slice = limits.slice.map_or(Duration::ZERO, |(_, pause)| pause);
        let earliest = now.checked_sub(STEP * 2).unwrap_or(now);
        let from = if of_slice > of_rate { now } else { self.free_at.unwrap_or(now).max(earliest) };
        self.free_at = from.checked_add(of_rate.max(of_slice));
    }

    /// The end was passed on.
    pub fn ended(&mut self) {
        self.pop();
    }

    /// Whether the stream ended and all of it was passed on.
    pub fn is_done(&self) -> bool {
        self.has_ended && self.queue.is_empty() && !self.has_lost
    }
}
