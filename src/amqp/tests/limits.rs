//! Bounds that hold whatever a peer sends: the stack's, and the frame's.

use std::thread;

use amq_protocol::types::FieldTable;

use super::convert::encoded_table;
use super::oracle::check;
use super::strategies::nested;
use crate::amqp::*;

/// Much less than any thread of ours has.
const STACK_BYTES: usize = 256 << 10;

fn on_a_small_stack<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> T {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(task).unwrap().join().unwrap()
}

/// connection.start with this table, its length before it.
fn start(table: &[u8]) -> Vec<u8> {
    [&[0, 10, 0, 10, 0, 9], table, &[0; 8]].concat()
}

/// A table of one array, in which there are so many arrays inside of one another, as bytes.
fn arrays(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for level in (0..depth).rev() {
        bytes.push(b'A');
        bytes.extend_from_slice(&(level as u32 * 5).to_be_bytes());
    }
    let mut table = (bytes.len() as u32 + 1).to_be_bytes().to_vec();
    table.push(0);
    table.extend_from_slice(&bytes);
    table
}

fn is_too_deep<T>(result: &Result<T, CodecError>) -> bool {
    matches!(result, Err(CodecError::Malformed { what }) if what.contains("too deeply"))
}

#[test]
fn a_table_as_deep_as_allowed_is_read_and_one_deeper_is_not() {
    on_a_small_stack(|| {
        let (deepest, deeper) = (nested(TABLE_DEPTH_MAX.into()), nested(usize::from(TABLE_DEPTH_MAX) + 1));
        let (deepest_bytes, deeper_bytes) = (encoded_table(&deepest), encoded_table(&deeper));
        assert_eq!(Table::parse(&deepest_bytes).unwrap().validate(), Ok(()));
        assert!(is_too_deep(&Table::parse(&deeper_bytes).unwrap().validate()));
        assert!(Method::parse(&start(&deepest_bytes)).is_ok());
        assert!(is_too_deep(&Method::parse(&start(&deeper_bytes))));
        let mut out = Vec::new();
        put_entries(&mut out, &deepest).unwrap();
        assert_eq!(out, Table::parse(&deepest_bytes).unwrap().entries());
        assert_eq!(Table::parse(&arrays(31)).unwrap().validate(), Ok(()));
        assert!(is_too_deep(&Table::parse(&arrays(32)).unwrap().validate()));
    });
}

#[test]
fn a_table_of_a_hundred_thousand_levels_does_not_overflow_the_stack() {
    on_a_small_stack(|| {
        let table = arrays(100_000);
        assert!(is_too_deep(&Table::parse(&table).unwrap().validate()));
        assert!(is_too_deep(&Method::parse(&start(&table))));
        // With the rest of the message in order, only what is in the headers is refused.
        let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0];
        payload.extend_from_slice(&table);
        let header = ContentHeader::parse(&payload).unwrap();
        assert!(header.headers().is_some_and(|headers| is_too_deep(&headers.validate())));
    });
}

/// Every file that the fuzz target found worth keeping, held against the oracle again.
#[test]
fn the_corpus_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/codec");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 20, "{} files in {folder}", files.len());
    for file in files {
        check(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn a_body_is_split_even_where_the_limit_leaves_no_room() {
    for frame_max in 1..=8 {
        let mut out = Vec::new();
        put_body(&mut out, 1, b"ab", frame_max);
        assert_eq!(out.len(), 2 * 9);
    }
}

#[test]
fn an_empty_table_is_a_table() {
    let mut out = Vec::new();
    put_entries(&mut out, &FieldTable::default()).unwrap();
    assert!(out.is_empty());
    assert_eq!(Table::from_entries(&out).iter().count(), 0);
}
