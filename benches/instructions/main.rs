//! Instructions that a message costs in user space, as callgrind counts them: the same on every run of one build.
//!
//! The wire client (fleet, ledger and histograms on) and the floor (a loop that sends the same bytes again and parses
//! in place, nothing else) speak to the same broker in memory, whose own instructions are not counted. What each takes
//! for 5,000 messages is taken off what it takes for 15,000, so that the start is not counted either.
//!
//! `cargo bench --bench instructions` prints the figures beside those in `benches/instructions/kept.json` and fails
//! where wire costs over 5 % more than what is kept; with `-- --keep` they are written there. Needs valgrind.

// What a bench prints is what it is for, and where it cannot go on it says why and ends.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used, clippy::unwrap_used)]

#[path = "../../tests/looped/mod.rs"]
mod looped;

mod floor;

use std::collections::BTreeMap;
use std::process::Command;

use looped::Looped;
use looped::pair::Pair;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/kept.json");
const FEW: u64 = 5_000;
const MANY: u64 = 15_000;
/// Another compiler, or another build of it, makes other instructions; a change of the code that costs this much shows.
const TOLERANCE: f64 = 1.05;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [run, who, messages, body_bytes] = arguments.as_slice()
        && run == "--run"
    {
        let (messages, body_bytes) = (messages.parse().expect("a number"), body_bytes.parse().expect("a number"));
        match who.as_str() {
            "wire" => wire(messages, body_bytes),
            _ => floor::run(messages, body_bytes),
        }
        return;
    }
    let keep = arguments.iter().any(|argument| argument == "--keep");
    let kept: BTreeMap<String, u64> = match std::fs::read_to_string(KEPT) {
        Ok(text) => serde_json::from_str(&text).expect("a map of counts"),
        Err(_) if keep => BTreeMap::new(),
        Err(error) => panic!("there is nothing to compare with: {KEPT}: {error}"),
    };
    println!("| client | body | instructions per message | kept | change |\n|---|---|---|---|---|");
    let mut counted = BTreeMap::new();
    let mut worse = false;
    for body_bytes in [24, 1_024] {
        for who in ["wire", "floor"] {
            let per_message = (count(who, MANY, body_bytes) - count(who, FEW, body_bytes)) / (MANY - FEW);
            let name = format!("{who} {body_bytes} B");
            let (before, change) = match kept.get(&name) {
                Some(before) => {
                    let ratio = per_message as f64 / *before as f64;
                    worse |= who == "wire" && ratio > TOLERANCE;
                    (before.to_string(), format!("{:+.1} %", (ratio - 1.0) * 100.0))
                }
                None => ("–".to_owned(), "–".to_owned()),
            };
            println!("| {who} | {body_bytes} B | {per_message} | {before} | {change} |");
            counted.insert(name, per_message);
        }
    }
    if keep {
        std::fs::write(KEPT, serde_json::to_string_pretty(&counted).expect("JSON") + "\n").expect("written");
    } else if worse {
        eprintln!("a message costs more instructions than what is kept; where that is meant, keep it: -- --keep");
        std::process::exit(1);
    }
}

/// One producer and one consumer as a run has them.
fn wire(messages: u64, body_bytes: u32) {
    // Time stands still while there is work, so that no timer goes off at another moment on another run.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let published = runtime.block_on(async {
        let pair = Pair::start_limited(&Looped::default(), body_bytes, messages).await;
        pair.begin();
        pair.finish().await
    });
    assert_eq!(published, messages);
}

/// Instructions of a run, but for those of the broker in memory.
fn count(who: &str, messages: u64, body_bytes: u32) -> u64 {
    let all = callgrind(&[], who, messages, body_bytes);
    // The broker's side is entered here and nowhere else.
    let brokers = ["--toggle-collect=*LoopedSocket*say*", "--toggle-collect=*LoopedSocket*hear*"];
    all - callgrind(&brokers, who, messages, body_bytes)
}

fn callgrind(options: &[&str], who: &str, messages: u64, body_bytes: u32) -> u64 {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(options)
        .arg(this)
        .args(["--run", who, &messages.to_string(), &body_bytes.to_string()])
        .output()
        .expect("valgrind; Debian's package valgrind has it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    collected.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count in {said}"))
}
