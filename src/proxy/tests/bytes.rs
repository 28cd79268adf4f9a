//! What goes out when: latency, bandwidth, slices, stalls and silence, on a clock of the test's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::proxy::disturbance::{Direction, Disturbance, Way, What};
use crate::proxy::rule::{Rule, Rules};
use crate::proxy::shaper::{Due, Shaper};

const SECOND: Duration = Duration::from_secs(1);

fn rules(whats: &[What]) -> Rules {
    let rule = |(id, what): (usize, &What)| Arc::new(Rule::new(id as u64, Disturbance::of_all(what.clone())));
    Rules::new(whats.iter().enumerate().map(rule).collect())
}

fn shaper() -> Shaper {
    Shaper::new(Way::ToClient, 3)
}

/// Writes all that is due until `until`: when, and what.
fn written(shaper: &mut Shaper, from: Instant, until: Instant, rules: &Rules) -> Vec<(Duration, Vec<u8>)> {
    let (mut now, mut written) = (from, Vec::new());
    loop {
        match shaper.due(now, rules) {
            Due::Bytes(pieces) => {
                let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
                shaper.wrote(bytes.len(), now, rules);
                written.push((now - from, bytes));
            }
            Due::At(at) if at <= until => now = at,
            Due::At(_) | Due::Nothing => return written,
            Due::End => {
                shaper.ended();
                written.push((now - from, b"end".to_vec()));
            }
        }
    }
}

#[test]
fn a_latency_delays_and_keeps_the_order() {
    let jitter = SECOND;
    let rules = rules(&[What::Latency { direction: Direction::ToClient, delay: SECOND, jitter }]);
    let (mut shaper, now) = (shaper(), Instant::now());
    for n in 0..50 {
        shaper.push(Bytes::from(vec![n]), now + SECOND / 100 * u32::from(n), &rules);
    }
    shaper.end(now, &rules);
    let written = written(&mut shaper, now, now + 10 * SECOND, &rules);
    let bytes: Vec<u8> = written.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(bytes, (0..50).chain(*b"end").collect::<Vec<u8>>());
    assert!(written.iter().all(|(at, _)| (SECOND..3 * SECOND).contains(at)), "{written:?}");
    let gaps: std::collections::BTreeSet<_> = written.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.len() > 3, "the jitter differs from read to read: {gaps:?}");
    assert!(shaper.is_done());
}

#[test]
fn what_a_latency_held_flows_on_when_it_ends() {
    let latency = |delay| What::Latency { direction: Direction::Both, delay, jitter: Duration::ZERO };
    let both = rules(&[latency(SECOND), latency(2 * SECOND)]);
    let (mut shaper, now) = (shaper(), Instant::now());
    shaper.push(Bytes::from_static(b"a"), now, &both);
    assert!(matches!(shaper.due(now, &both), Due::At(at) if at == now + 3 * SECOND));
    assert!(matches!(shaper.due(now, &rules(&[latency(SECOND)])), Due::At(at) if at == now + SECOND));
    assert!(matches!(shaper.due(now, &rules(&[])), Due::Bytes(_)));
}

#[test]
fn a_bandwidth_is_kept() {
    let (rate, seconds) = (1_000, 5);
    let rules = rules(&[What::Bandwidth { direction: Direction::ToClient, bytes_per_s: rate }]);
    let (mut shaper, now) = (shaper(), Instant::now());
    shaper.push(Bytes::from(vec![0; 100_000]), now, &rules);
    let written = written(&mut shaper, now, now + seconds * SECOND, &rules);
    let bytes: usize = written.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!((4_950..=5_050).contains(&bytes), "{bytes} bytes in {seconds} seconds");
    let lowest = rules_of_two(rate);
    assert!(matches!(shaper.due(now + 60 * SECOND, &lowest), Due::Bytes(pieces) if pieces[0].len() == 5));
}

/// The lower of two limits counts: a step is a hundredth of a second.
fn rules_of_two(rate: u64) -> Rules {
    let of = |bytes_per_s| What::Bandwidth { direction: Direction::ToClient, bytes_per_s };
    rules(&[of(rate), of(rate / 2)])
}

#[test]
fn a_slice_is_never_larger_and_waits_for_the_next() {
    let rules = rules(&[What::Slice { direction: Direction::ToClient, bytes: 3, pause: SECOND }]);
    let (mut shaper, now) = (shaper(), Instant::now());
    shaper.push(Bytes::from_static(b"abcd"), now, &rules);
    shaper.push(Bytes::from_static(b"efgh"), now, &rules);
    let written = written(&mut shaper, now, now + 10 * SECOND, &rules);
    let expected = [(0, "abc"), (1, "def"), (2, "gh")];
    assert_eq!(written, expected.map(|(at, text)| (SECOND * at, text.as_bytes().to_vec())));
}

#[test]
fn a_stall_neither_reads_nor_writes_and_goes_on() {
    let stall = rules(&[What::Stall { direction: Direction::ToClient }]);
    let other = rules(&[What::Stall { direction: Direction::ToBroker }]);
    let (mut shaper, now) = (shaper(), Instant::now());
    shaper.push(Bytes::from_static(b"a"), now, &stall);
    assert!(matches!(shaper.due(now, &stall), Due::Nothing));
    assert!(!shaper.accepts(&stall));
    assert!(shaper.accepts(&other));
    assert!(matches!(shaper.due(now, &other), Due::Bytes(_)));
    assert!(!shaper.lose(&stall), "a stall loses nothing");
}

#[test]
fn silence_loses_what_came_and_breaks_the_stream_when_it_ends() {
    let silence = rules(&[What::Silence { direction: Direction::Both }]);
    let none = rules(&[]);
    let (mut shaper, now) = (shaper(), Instant::now());
    assert!(!shaper.lose(&silence), "nothing came");
    assert!(!shaper.is_broken(&none));
    shaper.push(Bytes::from_static(b"a"), now, &silence);
    assert!(!shaper.lose(&none));
    assert!(shaper.lose(&silence));
    assert!(matches!(shaper.due(now, &silence), Due::Nothing));
    assert!(shaper.accepts(&silence), "it goes on reading");
    assert_eq!((shaper.is_broken(&silence), shaper.is_broken(&none)), (false, true));
}

#[test]
fn what_waits_is_bounded() {
    let (mut slow, mut far, now) = (shaper(), shaper(), Instant::now());
    let none = rules(&[]);
    let latency = rules(&[What::Latency { direction: Direction::Both, delay: SECOND, jitter: Duration::ZERO }]);
    let pushed = |shaper: &mut Shaper, rules: &Rules| {
        (0..1_000)
            .take_while(|_| {
                let accepts = shaper.accepts(rules);
                if accepts {
                    shaper.push(Bytes::from(vec![0; 65_536]), now, rules);
                }
                accepts
            })
            .count()
    };
    let (slow, far) = (pushed(&mut slow, &none), pushed(&mut far, &latency));
    assert!(slow < far && far < 1_000, "{slow} {far}");
}
