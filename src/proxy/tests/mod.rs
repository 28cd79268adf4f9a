//! Tests of the proxy: its pure parts, and its shell over loopback.

mod bed;
mod bytes;
mod frames;
mod identity;
mod model;
mod numbering;
mod sabotage;
mod shell;
