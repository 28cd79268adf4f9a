//! The AMQP 0-9-1 codec, in RabbitMQ's dialect: bytes in, frames out. It uses no other room.
//!
//! Pure: it owns no socket, no buffer and no clock. A reader keeps its own buffer and asks [`first_frame`] for the next
//! frame in it; what a frame holds is read in place ([`Method`], [`ContentHeader`], [`Table`]). A writer appends to a
//! `Vec<u8>`. Methods of the hot paths are coded here and allocate nothing; the rare ones go through `amq-protocol`,
//! after a walk over their arguments that bounds how deep its recursion can go.
//!
//! Whatever comes from a peer is answered with a frame or a [`CodecError`], never a panic. Memory is bounded by the frame:
//! nothing is allocated for a length that was only announced.

mod content;
mod entries;
mod error;
mod frame;
mod method;
mod properties;
mod rare;
mod reader;
mod table;
mod write;

pub use amq_protocol::protocol::AMQPClass;
pub use amq_protocol::types::FieldTable;

pub use content::ContentState;
pub use entries::{
    put_entries, put_entry_bool, put_entry_bytes, put_entry_f64, put_entry_i32, put_entry_i64, put_entry_long_string,
    put_entry_table, put_entry_timestamp,
};
pub use error::CodecError;
pub use frame::{FRAME_END, FRAME_MIN_SIZE, FRAME_OVERHEAD, Frame, FrameKind, PROTOCOL_HEADER, first_frame};
pub use method::{Deliver, GetOk, Method, Publish, Return, method_id};
pub use properties::{ContentHeader, PropertiesToWrite, put_properties};
pub use table::{Array, TABLE_DEPTH_MAX, Table, Value};
pub use write::{put_ack, put_body, put_get, put_header, put_heartbeat, put_method, put_nack, put_publish, put_reject};

/// Class of all methods and contents that move messages.
const CLASS_BASIC: u16 = 60;

#[cfg(test)]
mod tests;
