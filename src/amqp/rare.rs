//! Methods and tables that go through `amq-protocol`: for what is rare, and free in its form.
//!
//! That crate reads and writes tables by recursion without a limit, and tells little of why it refuses. So the arguments
//! are walked first, by their layout: what is cut off, too long or nested too deeply never reaches it, and all that is
//! left for it to refuse is text that is not UTF-8. What it builds is bounded by the frame, if not small: a value of one
//! byte in an array takes 32 in memory.
//!
//! What it writes is walked in the same way, afterwards: such a table is the caller's own, and so is how deep it nests.

use amq_protocol::frame::{GenError, WriteContext};
use amq_protocol::protocol::{AMQPClass, gen_class, parse_class};
use amq_protocol::types::FieldTable;
use amq_protocol::types::generation::gen_field_table;

use super::method::method_id;
use super::reader::Reader;
use super::table::Table;
use super::{CLASS_BASIC, CodecError};

/// The form of an argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// 8 bits, or up to eight truth values.
    Octet,
    Short,
    Long,
    ShortText,
    LongText,
    Table,
}

/// Arguments of a method; none where there is no such method, or it is coded elsewhere.
pub(super) fn layout(class: u16, method: u16) -> Option<&'static [Form]> {
    use Form::{Long, LongText, Octet, Short, ShortText, Table};
    Some(match class {
        // connection
        10 => match method {
            10 => &[Octet, Octet, Table, LongText, LongText],
            11 => &[Table, ShortText, LongText, ShortText],
            20 | 21 => &[LongText],
            30 | 31 => &[Short, Long, Short],
            40 => &[ShortText, ShortText, Octet],
            41 | 60 => &[ShortText],
            50 => &[Short, ShortText, Short, Short],
            70 => &[LongText, ShortText],
            51 | 61 | 71 => &[],
            _ => return None,
        },
        // channel
        20 => match method {
            10 => &[ShortText],
            11 => &[LongText],
            20 | 21 => &[Octet],
            40 => &[Short, ShortText, Short, Short],
            41 => &[],
            _ => return None,
        },
        // access: long gone, but still known
        30 => match method {
            10 => &[ShortText, Octet],
            11 => &[Short],
            _ => return None,
        },
        // exchange
        40 => match method {
            10 => &[Short, ShortText, ShortText, Octet, Table],
            20 => &[Short, ShortText, Octet],
            30 | 40 => &[Short, ShortText, ShortText, ShortText, Octet, Table],
            11 | 21 | 31 | 51 => &[],
            _ => return None,
        },
        // queue
        50 => match method {
            10 => &[Short, ShortText, Octet, Table],
            11 => &[ShortText, Long, Long],
            20 => &[Short, ShortText, ShortText, ShortText, Octet, Table],
            30 | 40 => &[Short, ShortText, Octet],
            31 | 41 => &[Long],
            50 => &[Short, ShortText, ShortText, ShortText, Table],
            21 | 51 => &[],
            _ => return None,
        },
        CLASS_BASIC => match method {
            10 => &[Long, Short, Octet],
            20 => &[Short, ShortText, ShortText, Octet, Table],
            21 | 31 => &[ShortText],
            30 => &[ShortText, Octet],
            70 => &[Short, ShortText, Octet],
            100 | 110 => &[Octet],
            11 | 111 => &[],
            _ => return None,
        },
        // confirm
        85 => match method {
            10 => &[Octet],
            11 => &[],
            _ => return None,
        },
        // tx
        90 => match method {
            10 | 11 | 20 | 21 | 30 | 31 => &[],
            _ => return None,
        },
        _ => return None,
    })
}

fn walk(arguments: &[u8], layout: &[Form]) -> Result<(), CodecError> {
    let mut from = Reader::new(arguments, "a method");
    for form in layout {
        match form {
            Form::Octet => from.take(1)?,
            Form::Short => from.take(2)?,
            Form::Long => from.take(4)?,
            Form::ShortText => from.short_text()?,
            Form::LongText => from.long_text()?,
            Form::Table => {
                let table = Table::read(&mut from)?;
                table.validate()?;
                table.entries()
            }
        };
    }
    from.end("bytes after a method's arguments")
}

/// Reads a method frame's payload, which begins with `class` and `method`.
pub(super) fn decode(payload: &[u8], class: u16, method: u16) -> Result<AMQPClass, CodecError> {
    let layout = layout(class, method).ok_or(CodecError::UnknownMethod { class, method })?;
    walk(payload.get(4..).unwrap_or_default(), layout)?;
    let refused =
        CodecError::Malformed { what: "a method that amq-protocol refuses, such as for text that is not UTF-8" };
    match parse_class(payload) {
        Ok(([], class)) => Ok(class),
        Ok(_) | Err(_) => Err(refused),
    }
}

/// A method frame's payload.
pub(super) fn encode(method: &AMQPClass) -> Result<Vec<u8>, CodecError> {
    let payload = written(gen_class(method)(WriteContext::from(Vec::new())))?;
    // What no reader would take shows to the same walk: a nesting that is too deep, a short string in a table.
    if let Some(layout) = method_id(&payload).and_then(|(class, method)| layout(class, method)) {
        walk(payload.get(4..).unwrap_or_default(), layout)?;
    }
    Ok(payload)
}

/// Entries of a table, without its length.
pub(super) fn encode_entries(table: &FieldTable) -> Result<Vec<u8>, CodecError> {
    let mut bytes = written(gen_field_table(table)(WriteContext::from(Vec::new())))?;
    Table::parse(&bytes)?.validate()?;
    bytes.drain(..4);
    Ok(bytes)
}

fn written(result: Result<WriteContext<Vec<u8>>, GenError>) -> Result<Vec<u8>, CodecError> {
    // Writing to memory does not fail.
    let context = result.map_err(|_| CodecError::Malformed { what: "what amq-protocol refuses to write" })?;
    Ok(context.into_inner().0)
}
