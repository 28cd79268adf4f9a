//! What the hot path takes from the heap: nothing per message, once it runs.
//!
//! A test binary of its own, since its allocator counts. It counts per thread, so that tests that run at the same time
//! do not count each other's.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use lurcher::latency::{IntervalHistograms, Recorder, Sample};
use lurcher::ledger::{
    Arrival, Destination, Evidence, Foretold, Ledger, Order, RemovalEvidence, Routes, Seen, Settled,
};
use lurcher::stamp::{Reading, STAMP_LEN, Stamp};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The system's allocator, and a count of what is asked of it.
struct Counting;

/// Sizes that are told apart; all others are counted together as size 0.
const SIZES: usize = 64;

thread_local! {
    /// Allocations of this thread by size; a growing or shrinking one counts as one of its new size.
    static BY_SIZE: [Cell<(usize, u64)>; SIZES] = const { [const { Cell::new((0, 0)) }; SIZES] };
}

fn count(size: usize) {
    // A thread that ends frees its own locals with an allocator that still counts: that is nobody's message.
    let _ = BY_SIZE.try_with(|by_size| {
        let known = by_size.iter().find(|cell| cell.get().0 == size || cell.get() == (0, 0));
        let cell = known.unwrap_or(&by_size[SIZES - 1]);
        let kept = if known.is_some() { size } else { 0 };
        cell.set((kept, cell.get().1 + 1));
    });
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(old, layout, size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

/// Allocations by size in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Allocations(BTreeMap<usize, u64>);

impl Allocations {
    fn now() -> [(usize, u64); SIZES] {
        BY_SIZE.with(|by_size| std::array::from_fn(|place| by_size[place].get()))
    }

    /// Adds what `work` allocates on this thread.
    fn of<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let before = Self::now();
        let made = work();
        let after = Self::now();
        for ((_, before), (size, after)) in
            before.into_iter().zip(after).filter(|((_, before), (_, after))| before < after)
        {
            *self.0.entry(size).or_default() += after - before;
        }
        made
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

#[test]
fn the_counter_counts() {
    let mut counted = Allocations::default();
    counted.of(|| (0..1000u64).map(Box::new).for_each(|boxed| drop(std::hint::black_box(boxed))));
    assert_eq!(counted.0, BTreeMap::from([(8, 1000)]));
    let mut grown = Allocations::default();
    let mut list = grown.of(|| Vec::<u32>::with_capacity(1));
    grown.of(|| list.extend([1, 2, 3, 4, 5]));
    assert_eq!(grown.0.keys().copied().collect::<Vec<_>>(), [4, 20], "a list that grows is counted");
    let mut zeroed = Allocations::default();
    zeroed.of(|| drop(std::hint::black_box(vec![0u8; 777])));
    assert_eq!(zeroed.0, BTreeMap::from([(777, 1)]));
    let mut none = Allocations::default();
    none.of(|| std::hint::black_box([0u8; 512]).iter().map(|byte| u64::from(*byte)).sum::<u64>());
    assert_eq!(none.total(), 0, "what is on the stack is none");
}

#[test]
fn threads_do_not_count_each_other() {
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let (end, ended) = std::sync::mpsc::channel::<u64>();
    let other = std::thread::spawn(move || {
        let mut counted = Allocations::default();
        begun.recv().expect("a word");
        counted.of(|| (0..100u64).map(Box::new).for_each(|boxed| drop(std::hint::black_box(boxed))));
        end.send(counted.total()).expect("a listener");
    });
    let mut mine = Allocations::default();
    // The channel's own allocations are this thread's; a hundred boxes of the other one are not.
    let theirs = mine.of(|| {
        begin.send(()).expect("a listener");
        ended.recv().expect("a count")
    });
    other.join().expect("the other thread");
    assert_eq!(theirs, 100);
    assert!(mine.total() < 20, "{mine:?}");
}

/// More sizes than are told apart are counted all the same.
#[test]
fn no_allocation_is_forgotten() {
    let mut counted = Allocations::default();
    counted.of(|| (1..=1000).for_each(|size| drop(std::hint::black_box(Vec::<u8>::with_capacity(size)))));
    assert_eq!(counted.total(), 1000);
}

const MESSAGES: u64 = 1_000_000;
/// Before the counting begins: lists have their lengths, and all that is taken once is taken.
const BEFORE: u64 = 50_000;
const PUBLISHERS: u16 = 4;
const QUEUES: u64 = 4;
/// Messages of a publisher that the ledger keeps together.
const CHUNK: u64 = 4096;

struct InTurn;

impl Routes for InTurn {
    fn destinations(&self, _publisher: u16, sequence: u64) -> &[u32] {
        [&[0], &[1], &[2], &[3]][(sequence % QUEUES) as usize]
    }
}

impl Foretold for InTurn {
    fn planned(&self, _publisher: u16) -> Option<u64> {
        None
    }
    fn intended_us(&self, _publisher: u16, _sequence: u64) -> Option<u64> {
        None
    }
    fn publisher_name(&self, publisher: u16) -> String {
        publisher.to_string()
    }
}

/// Allocations of each step of a message's way.
#[derive(Debug, Default)]
struct Steps {
    published: Allocations,
    settled: Allocations,
    delivered: Allocations,
    consumed: Allocations,
    measured: Allocations,
}

/// Messages through ledger and latency, in batches of 1 to 256 as a fleet hands them over.
struct Drive {
    ledger: Ledger,
    recorder: Recorder,
    interval: IntervalHistograms,
    orders: Vec<Order>,
    arrivals: Vec<Arrival>,
    seen: Vec<Seen>,
    next: [u64; PUBLISHERS as usize],
    batches: u64,
    steps: Steps,
}

impl Drive {
    fn new() -> Self {
        let queue = |n| Destination { name: format!("q{n}"), kind: "quorum", ..Destination::default() };
        let destinations = (0..QUEUES).map(queue).collect();
        Self {
            ledger: Ledger::new(1, PUBLISHERS.into(), destinations, Arc::new(InTurn)),
            recorder: Recorder::default(),
            interval: IntervalHistograms::default(),
            orders: vec![Order::default(); 3],
            arrivals: Vec::with_capacity(256),
            seen: Vec::with_capacity(256),
            next: [0; PUBLISHERS as usize],
            batches: 0,
            steps: Steps::default(),
        }
    }

    /// Lets `messages` go their whole way.
    fn run(&mut self, messages: u64) {
        let mut left = messages;
        while left > 0 {
            // 101 and 256 have no divisor in common: every length comes up.
            let count = (self.batches * 101 % 256 + 1).min(left);
            self.batch(count);
            left -= count;
            self.batches += 1;
        }
    }

    fn batch(&mut self, count: u64) {
        let publisher = (self.batches % u64::from(PUBLISHERS)) as u16;
        let first = std::mem::replace(&mut self.next[usize::from(publisher)], 0);
        self.next[usize::from(publisher)] = first + count;
        let Self { ledger, steps, .. } = self;
        steps.published.of(|| ledger.published(publisher, count as usize, true));
        let confirms = (first..first + count).rev().map(|sequence| (sequence, Settled::Confirmed));
        steps.settled.of(|| ledger.settled(publisher, confirms));
        self.arrivals.clear();
        self.arrivals.extend((first..first + count).map(|sequence| arrival(publisher, sequence)));
        self.seen.clear();
        let order = &mut self.orders[(self.batches % 3) as usize];
        let (arrivals, seen) = (&self.arrivals, &mut self.seen);
        steps.delivered.of(|| ledger.delivered(order, arrivals, seen));
        steps.consumed.of(|| ledger.consumed(arrivals.iter().map(|arrival| (arrival.destination, arrival.reading))));
        let samples = arrivals.iter().map(|arrival| Sample { us: arrival.observed_us, measured: true });
        steps.measured.of(|| self.recorder.record(samples));
        if self.batches.is_multiple_of(100) {
            self.steps.measured.of(|| self.recorder.take_interval(&mut self.interval));
        }
    }
}

fn arrival(publisher: u16, sequence: u64) -> Arrival {
    let stamp = Stamp { run: 1, publisher, attempt: 0, sequence, intended_us: sequence, lag_us: 0 };
    Arrival {
        destination: (sequence % QUEUES) as u32,
        reading: Reading::Ours(stamp),
        redelivered: false,
        retried: false,
        observed_us: 100 + sequence % 100_000,
        deaths: None,
    }
}

#[test]
fn ledger_and_latency_allocate_once_per_thousands_of_messages() {
    let mut drive = Drive::new();
    drive.run(BEFORE);
    drive.steps = Steps::default();
    drive.run(MESSAGES);
    let steps = std::mem::take(&mut drive.steps);
    let total = [&steps.published, &steps.settled, &steps.delivered, &steps.consumed, &steps.measured]
        .map(Allocations::total)
        .into_iter()
        .sum::<u64>();
    let per_message = total as f64 / MESSAGES as f64;
    println!("{total} allocations for {MESSAGES} messages, {per_message} each: {steps:#?}");

    // For each chunk of messages: where each stands, as it is begun; the bits of its copies, as the first of them is
    // delivered; of these, when they were delivered first, as the last is consumed. A publisher's list of chunks grows a few times, and each has a chunk under way at both ends.
    let chunks = MESSAGES / CHUNK + 2 * u64::from(PUBLISHERS);
    assert!(steps.published.total() <= chunks + 8 * u64::from(PUBLISHERS), "{:?}", steps.published);
    assert!(steps.delivered.total() <= chunks, "{:?}", steps.delivered);
    assert!(steps.consumed.total() <= chunks, "{:?}", steps.consumed);
    assert_eq!((steps.settled.total(), steps.measured.total()), (0, 0));
    assert!(per_message < 0.001, "{per_message} allocations per message");

    // All of it went the whole way: what did nothing would allocate nothing either.
    let removed = RemovalEvidence::Counted(BTreeMap::new());
    let account = drive.ledger.account(&Evidence { foretold: &InTurn, removed, audited: true });
    let consumed: u64 = account.queues.iter().map(|queue| queue.consumed).sum();
    assert_eq!((consumed, account.violations_total), (BEFORE + MESSAGES, 0));
    assert_eq!(drive.recorder.measured().len(), BEFORE + MESSAGES);
}

#[test]
fn a_stamp_is_written_and_read_without_the_heap() {
    let mut counted = Allocations::default();
    let rest = [0x5a; 232];
    let mut body = vec![0; STAMP_LEN + rest.len()];
    counted.of(|| {
        for sequence in 0..1000 {
            let Reading::Ours(stamp) = arrival(0, sequence).reading else { unreachable!("made so") };
            body[..STAMP_LEN].copy_from_slice(&stamp.encode(&rest));
            body[STAMP_LEN..].copy_from_slice(&rest);
            assert_eq!(Stamp::read_body(&body, 1), Reading::Ours(stamp));
        }
    });
    assert_eq!(counted.total(), 0, "{counted:?}");
}
