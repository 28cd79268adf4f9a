//! Any bytes, through all readers and writers of the codec and those of `amq-protocol`. What the two may differ in is
//! written at the top of `oracle`.
#![no_main]

#[allow(dead_code, unused_imports, reason = "lurcher's own room, of which the oracle does not use all")]
#[path = "../../src/amqp/mod.rs"]
mod amqp;
#[allow(dead_code, reason = "the tests' own")]
#[path = "../../src/amqp/tests/convert.rs"]
mod convert;
#[path = "../../src/amqp/tests/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
