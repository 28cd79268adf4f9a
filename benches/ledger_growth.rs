//! How the ledger grows: what an event costs and how much memory it takes, from ten thousand messages to a hundred
//! million, with realistic disorder. Writes a Markdown table; sizes may be given as arguments.
//!
//! Each row is a process of its own, so that its peak of resident memory is its own too. Time is the processor's, so that
//! what else runs on the machine counts little, less what it takes to read that clock. The workload knows what became of
//! each message, and a row whose books come out otherwise is an error.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use lurcher::ledger::{
    Account, Arrival, Destination, Evidence, Foretold, Ledger, Order, RemovalEvidence, Routes, Seen, Settled,
};
use lurcher::stamp::{Reading, Stamp};
use rustix::time::{ClockId, clock_gettime};

/// Sizes, where no arguments name others.
const SIZES: [u64; 5] = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
const PUBLISHERS: [u16; 2] = [1, 256];
/// A size is repeated until so many messages have gone by; the middle one of the repetitions counts.
const AT_LEAST: u64 = 2_000_000;
const QUEUES: u64 = 4;
const SUBSCRIBERS: usize = 4;
/// Most messages in a call.
const BATCH: u64 = 256;
/// Calls of `published` that wait for their answers.
const DEPTH: usize = 16;
/// Blocks of different publishers whose deliveries are interleaved.
const INTERLEAVED: usize = 8;

/// At most so many nanoseconds for an event.
const EVENT_NS_MAX: f64 = 25.0;
/// At most so much resident memory for the largest size.
const PEAK_MIB_MAX: f64 = 512.0;
/// An event among ten million messages costs at most so many times one among ten thousand.
const GROWTH_MAX: f64 = 1.25;

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

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Consumed,
    /// 0.1 %: delivered twice.
    Duplicated,
    /// 0.05 %: never answered, consumed all the same.
    Recovered,
    /// 0.05 %: never answered, never seen.
    Missing,
    /// 0.05 %: never answered, sent again, delivered twice.
    SentAgain,
    /// About ten: confirmed, never seen.
    Lost,
}

/// A number without pattern, the same for the same input (SplitMix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn fate(messages: u64, publisher: u16, sequence: u64) -> Fate {
    let drawn = mix(u64::from(publisher) << 48 | sequence);
    if mix(drawn) % messages < 10 {
        return Fate::Lost;
    }
    match drawn % 2000 {
        0 => Fate::Recovered,
        1 => Fate::Missing,
        2 => Fate::SentAgain,
        3 | 4 => Fate::Duplicated,
        _ => Fate::Consumed,
    }
}

/// Messages that one call published.
#[derive(Clone, Copy)]
struct Block {
    publisher: u16,
    first: u64,
    count: u64,
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[derive(Clone, Copy, Default)]
struct Cost {
    time: Duration,
    calls: u64,
    events: u64,
}

impl Cost {
    fn of<R>(&mut self, events: usize, work: impl FnOnce() -> R) -> R {
        let begun = cpu_time();
        let made = work();
        self.time += cpu_time().saturating_sub(begun);
        self.calls += 1;
        self.events += events as u64;
        made
    }

    /// What a call takes that does nothing, in nanoseconds.
    fn of_nothing() -> f64 {
        let mut nothing = Self::default();
        (0..100_000).for_each(|_| nothing.of(1, || ()));
        nothing.time.as_nanos() as f64 / nothing.calls as f64
    }

    /// Nanoseconds for an event, where a call takes `nothing_ns` for nothing.
    fn ns(self, nothing_ns: f64) -> f64 {
        (self.time.as_nanos() as f64 - self.calls as f64 * nothing_ns) / self.events as f64
    }
}

fn arrival(publisher: u16, sequence: u64, attempt: u8, redelivered: bool) -> Arrival {
    let stamp = Stamp { run: 1, publisher, attempt, sequence, intended_us: 0, lag_us: 0 };
    let destination = (sequence % QUEUES) as u32;
    Arrival { destination, reading: Reading::Ours(stamp), redelivered, retried: false, observed_us: 0, deaths: None }
}

const EVENTS: [&str; 4] = ["publish", "confirm", "deliver", "consume"];

/// One run of the workload.
struct Drive {
    ledger: Ledger,
    messages: u64,
    /// Messages that each publisher still has to send, and its next sequence.
    left: Vec<(u64, u64)>,
    /// Confirms that come one block late, by publisher.
    late: Vec<Vec<(u64, Settled)>>,
    waiting: VecDeque<Block>,
    orders: Vec<Order>,
    turn: usize,
    random: u64,
    arrivals: Vec<Arrival>,
    /// Second attempts, which arrive after all that was sent before them.
    second: Vec<Arrival>,
    seen: Vec<Seen>,
    answers: Vec<(u64, Settled)>,
    again: Vec<u64>,
    costs: [Cost; 4],
}

impl Drive {
    fn new(messages: u64, publishers: u16) -> Self {
        let queue = |n| Destination { name: format!("q{n}"), kind: "classic", ..Destination::default() };
        let share = |publisher| {
            let more = publisher < messages % u64::from(publishers);
            (messages / u64::from(publishers) + u64::from(more), 0)
        };
        Self {
            ledger: Ledger::new(1, publishers.into(), (0..QUEUES).map(queue).collect(), Arc::new(InTurn)),
            messages,
            left: (0..u64::from(publishers)).map(share).collect(),
            late: vec![Vec::new(); publishers.into()],
            waiting: VecDeque::new(),
            orders: vec![Order::default(); SUBSCRIBERS],
            turn: 0,
            random: 0,
            arrivals: Vec::new(),
            second: Vec::new(),
            seen: Vec::new(),
            answers: Vec::new(),
            again: Vec::new(),
            costs: [Cost::default(); 4],
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random += 1;
        mix(self.random) % below
    }

    fn run(&mut self) {
        let together = INTERLEAVED.min(self.left.len());
        loop {
            let before = self.waiting.len();
            for publisher in 0..self.left.len() {
                self.publish(publisher);
                if self.waiting.len() >= DEPTH {
                    self.answer_and_deliver(together);
                }
            }
            if self.waiting.len() == before && self.left.iter().all(|(left, _)| *left == 0) {
                break;
            }
        }
        while !self.waiting.is_empty() {
            self.answer_and_deliver(together);
        }
        self.deliver(&[]);
        for publisher in 0..self.late.len() {
            let late = std::mem::take(&mut self.late[publisher]);
            self.costs[1].of(late.len(), || self.ledger.settled(publisher as u16, late));
        }
    }

    fn publish(&mut self, publisher: usize) {
        let (left, next) = self.left[publisher];
        let count = (self.random(BATCH) + 1).min(left);
        if count == 0 {
            return;
        }
        self.left[publisher] = (left - count, next + count);
        let publisher = publisher as u16;
        self.costs[0].of(count as usize, || self.ledger.published(publisher, count as usize, true));
        self.waiting.push_back(Block { publisher, first: next, count });
    }

    fn answer_and_deliver(&mut self, together: usize) {
        // Two blocks of one publisher are never interleaved: that would be disorder.
        let waiting = self.waiting.iter().take(together).map(|block| block.publisher).enumerate();
        let apart = waiting.take_while(|(n, it)| self.waiting.iter().take(*n).all(|block| block.publisher != *it));
        let count = apart.count();
        let blocks: Vec<Block> = self.waiting.drain(..count).collect();
        // A broker may deliver before it confirms.
        let answered_first = self.random(2) == 0;
        if answered_first {
            blocks.iter().for_each(|block| self.answer(block));
        }
        self.deliver(&blocks);
        if !answered_first {
            blocks.iter().for_each(|block| self.answer(block));
        }
    }

    /// Answers a block: shuffled, and every eighth one block late.
    fn answer(&mut self, block: &Block) {
        let publisher = block.publisher;
        self.answers.clear();
        self.again.clear();
        self.answers.append(&mut self.late[usize::from(publisher)]);
        for sequence in block.first..block.first + block.count {
            let fate = fate(self.messages, publisher, sequence);
            if matches!(fate, Fate::Recovered | Fate::Missing | Fate::SentAgain) {
                self.answers.push((sequence, Settled::Unconfirmed));
                if fate == Fate::SentAgain {
                    self.again.push(sequence);
                }
            } else if self.random(8) == 0 {
                self.late[usize::from(publisher)].push((sequence, Settled::Confirmed));
            } else {
                self.answers.push((sequence, Settled::Confirmed));
            }
        }
        for n in (1..self.answers.len()).rev() {
            let other = self.random(n as u64 + 1) as usize;
            self.answers.swap(n, other);
        }
        let answers = &self.answers;
        self.costs[1].of(answers.len(), || self.ledger.settled(publisher, answers.iter().copied()));
        for sequence in &self.again {
            self.costs[0].of(1, || self.ledger.published_again(publisher, *sequence));
            self.second.push(arrival(publisher, *sequence, 1, false));
        }
        let again = &self.again;
        let confirmed = again.iter().map(|sequence| (*sequence, Settled::Confirmed));
        self.costs[1].of(again.len(), || self.ledger.settled(publisher, confirmed));
    }

    /// Delivers blocks of several publishers, message by message in turn, and consumes what was delivered.
    fn deliver(&mut self, blocks: &[Block]) {
        let longest = blocks.iter().map(|block| block.count).max().unwrap_or(0);
        for n in 0..longest {
            for block in blocks.iter().filter(|block| n < block.count) {
                self.arrive(block.publisher, block.first + n);
            }
            if self.arrivals.len() as u64 + 2 * INTERLEAVED as u64 > BATCH {
                self.take();
            }
        }
        self.arrivals.append(&mut self.second);
        self.take();
    }

    fn arrive(&mut self, publisher: u16, sequence: u64) {
        let first = arrival(publisher, sequence, 0, false);
        match fate(self.messages, publisher, sequence) {
            Fate::Missing | Fate::Lost => {}
            Fate::Consumed | Fate::Recovered | Fate::SentAgain => self.arrivals.push(first),
            Fate::Duplicated => self.arrivals.extend([first, arrival(publisher, sequence, 0, true)]),
        }
    }

    fn take(&mut self) {
        self.turn = (self.turn + 1) % SUBSCRIBERS;
        self.seen.clear();
        let (arrivals, seen) = (&self.arrivals, &mut self.seen);
        let order = &mut self.orders[self.turn];
        self.costs[2].of(arrivals.len(), || self.ledger.delivered(order, arrivals, seen));
        let acked = arrivals.iter().map(|arrival| (arrival.destination, arrival.reading));
        self.costs[3].of(arrivals.len(), || self.ledger.consumed(acked));
        self.arrivals.clear();
    }

    /// Reconciles, and holds the books against what the workload did.
    fn account(&self) -> Result<(Account, Duration), Box<dyn Error>> {
        let removed = RemovalEvidence::Counted(BTreeMap::new());
        let begun = cpu_time();
        let account = self.ledger.account(&Evidence { foretold: &InTurn, removed, audited: true });
        let took = cpu_time().saturating_sub(begun);
        let mut fates = [0u64; 6];
        for (publisher, (_, sent)) in self.left.iter().enumerate() {
            for sequence in 0..*sent {
                fates[fate(self.messages, publisher as u16, sequence) as usize] += 1;
            }
        }
        let of = |fate: Fate| fates[fate as usize];
        let queued = |of: fn(&lurcher::ledger::QueueAccount) -> u64| account.queues.iter().map(of).sum::<u64>();
        let found = [
            ("consumed", queued(|q| q.consumed), self.messages - of(Fate::Lost) - of(Fate::Missing)),
            ("lost", queued(|q| q.lost), of(Fate::Lost)),
            ("possibly lost", queued(|q| q.possibly_lost), of(Fate::Missing)),
            ("recovered", queued(|q| q.recovered), of(Fate::Recovered)),
            ("redelivered", queued(|q| q.redelivered), of(Fate::Duplicated)),
            ("republished", queued(|q| q.republished), of(Fate::SentAgain)),
            ("misordered", queued(|q| q.misordered), 0),
            ("imbalance", account.queues.iter().map(|queue| queue.imbalance().unsigned_abs() as u64).sum(), 0),
        ];
        match found.iter().find(|(_, found, made)| found != made) {
            Some((word, found, made)) => Err(format!("{word}: the ledger says {found}, the workload {made}").into()),
            None => Ok((account, took)),
        }
    }
}

/// One row, as the process that measures it tells it.
struct Row {
    messages: u64,
    publishers: u16,
    /// Nanoseconds for an event of each kind, and for reconciling a message.
    ns: [f64; 5],
    /// Resident memory before the first message and at its largest, in MiB.
    resident_mib: [f64; 2],
}

fn status_mib(name: &str) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("the kernel does not tell")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

/// Measures one size, and tells it as numbers in a line.
fn measure(messages: u64, publishers: u16) -> Result<(), Box<dyn Error>> {
    let before = status_mib("VmRSS:")?;
    let nothing_ns = Cost::of_nothing();
    let mut runs = Vec::new();
    for _ in 0..AT_LEAST.div_ceil(messages) {
        let mut drive = Drive::new(messages, publishers);
        drive.run();
        let (_, reconciled) = drive.account()?;
        let [publish, confirm, deliver, consume] = drive.costs.map(|cost| cost.ns(nothing_ns));
        runs.push([publish, confirm, deliver, consume, reconciled.as_nanos() as f64 / messages as f64]);
    }
    runs.sort_by(|one, other| one[..4].iter().sum::<f64>().total_cmp(&other[..4].iter().sum()));
    let middle = runs[runs.len() / 2].map(|ns| ns.to_string()).join(" ");
    writeln!(std::io::stdout(), "{middle} {before} {}", status_mib("VmHWM:")?)?;
    Ok(())
}

fn row(messages: u64, publishers: u16) -> Result<Row, Box<dyn Error>> {
    let arguments = ["--one".to_owned(), messages.to_string(), publishers.to_string()];
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [publish, confirm, deliver, consume, reconcile, before, peak] = numbers[..] else {
        return Err(format!("not a row: {text}").into());
    };
    let ns = [publish, confirm, deliver, consume, reconcile];
    Ok(Row { messages, publishers, ns, resident_mib: [before, peak] })
}

impl Row {
    fn event_ns(&self) -> f64 {
        self.ns[..4].iter().sum::<f64>() / 4.0
    }
}

/// `met`, or by how much it was missed.
fn against(limit: f64, measured: f64, unit: &str) -> String {
    if measured <= limit { "met".to_owned() } else { format!("missed by {:.3}{unit}", measured - limit) }
}

fn table(sizes: &[u64]) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    writeln!(out, "Nanoseconds of processor time per event, and resident memory of the whole process in MiB.\n")?;
    writeln!(out, "| messages | publishers | {} | mean | reconcile | before | peak |", EVENTS.join(" | "))?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    let mut rows = Vec::new();
    for publishers in PUBLISHERS {
        for messages in sizes {
            let row = row(*messages, publishers)?;
            let [publish, confirm, deliver, consume, reconcile] = row.ns.map(|ns| format!("{ns:.1}"));
            let [before, peak] = row.resident_mib.map(|mib| format!("{mib:.1}"));
            writeln!(
                out,
                "| {messages} | {publishers} | {publish} | {confirm} | {deliver} | {consume} | {:.1} | {reconcile} | {before} | {peak} |",
                row.event_ns()
            )?;
            rows.push(row);
        }
    }
    writeln!(out)?;
    for row in &rows {
        let dearest = row.ns[..4].iter().zip(EVENTS).max_by(|one, other| one.0.total_cmp(other.0));
        let Some((ns, event)) = dearest else { continue };
        let Row { messages, publishers, .. } = row;
        let kept = against(EVENT_NS_MAX, *ns, " ns");
        writeln!(
            out,
            "- {messages} messages of {publishers}: dearest is {event}, {ns:.1} ns of {EVENT_NS_MAX}: {kept}"
        )?;
    }
    for publishers in PUBLISHERS {
        let of = |messages| rows.iter().find(|row| row.messages == messages && row.publishers == publishers);
        if let (Some(small), Some(large)) = (of(10_000), of(10_000_000)) {
            let ratio = large.event_ns() / small.event_ns();
            let kept = against(GROWTH_MAX, ratio, "");
            writeln!(out, "- {publishers} publishers, 10⁷ against 10⁴: {ratio:.2} of {GROWTH_MAX}: {kept}")?;
        }
        if let Some(largest) = of(100_000_000) {
            let peak = largest.resident_mib[1];
            let kept = against(PEAK_MIB_MAX, peak, " MiB");
            writeln!(out, "- {publishers} publishers, 10⁸ messages: {peak:.1} MiB of {PEAK_MIB_MAX}: {kept}")?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let done = match &arguments[..] {
        [one, messages, publishers] if one == "--one" => match (messages.parse(), publishers.parse()) {
            (Ok(messages), Ok(publishers)) => measure(messages, publishers),
            _ => Err("--one MESSAGES PUBLISHERS".into()),
        },
        [] => table(&SIZES),
        sizes => match sizes.iter().map(|size| size.parse()).collect::<Result<Vec<u64>, _>>() {
            Ok(sizes) => table(&sizes),
            Err(error) => Err(error.into()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", error.to_string().trim());
            ExitCode::FAILURE
        }
    }
}
