//! What a message allocates, counted by the allocator itself.

// An allocator cannot be written without it.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::looped::Looped;
use super::looped::pair::Pair;

/// The system's allocator, which counts for each thread how often it is asked for memory.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no counter any more, and nobody who reads it.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: each call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn asked() -> u64 {
    ASKED.with(Cell::get)
}

#[test]
fn the_counter_counts() {
    let before = asked();
    let boxes: Vec<Box<u64>> = (0..100).map(Box::new).collect();
    assert_eq!(boxes.len(), 100);
    assert!(asked() - before >= 101, "{}", asked() - before);
}

/// Publish, confirm, deliver, ack: fleet, ledger, histograms and client together. The ledger takes two chunks for each
/// 4,096 messages and keeps a third, small one of them, which is all that asks for memory once the buffers have grown to their
/// size.
#[test]
fn a_message_allocates_nothing() {
    const WARM: u64 = 100_000;
    const MEASURED: u64 = 500_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for body_bytes in [24, 1_024] {
            let broker = Looped::default();
            let mut pair = Pair::start(&broker, body_bytes).await;
            pair.begin();
            pair.run_until(WARM).await;
            let (before, from) = (asked(), pair.consumed());
            pair.run_until(WARM + MEASURED).await;
            let (allocations, messages) = (asked() - before, pair.consumed() - from);
            let published = pair.stop().await;
            assert!(published >= WARM + MEASURED);
            println!("{allocations} allocations for {messages} messages of {body_bytes} bytes");
            assert!(
                allocations <= 3 * (messages / 4_096 + 2) + 10,
                "{allocations} allocations for {messages} messages"
            );
        }
    });
}
