//! Writers of a table's entries. Each appends one entry without the table's length, and nothing where it fails.

use super::write::short_len;
use super::{CodecError, FieldTable, rare};

/// Name and type of an entry.
fn put_name(out: &mut Vec<u8>, name: &str, kind: u8) -> Result<(), CodecError> {
    let len = short_len(name, "an entry's name of more than 255 bytes")?;
    out.push(len);
    out.extend_from_slice(name.as_bytes());
    out.push(kind);
    Ok(())
}

fn put_fixed<const N: usize>(out: &mut Vec<u8>, name: &str, kind: u8, value: [u8; N]) -> Result<(), CodecError> {
    put_name(out, name, kind)?;
    out.extend_from_slice(&value);
    Ok(())
}

fn put_long(out: &mut Vec<u8>, name: &str, kind: u8, value: &[u8]) -> Result<(), CodecError> {
    let len = u32::try_from(value.len()).map_err(|_| CodecError::Malformed { what: "an entry of more than 4 GiB" })?;
    put_name(out, name, kind)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// Appends a long string (`S`): what most clients write for a text.
///
/// # Errors
///
/// [`CodecError::Malformed`] where the name has more than 255 bytes, or the value more than 4 GiB.
pub fn put_entry_long_string(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), CodecError> {
    put_long(out, name, b'S', value)
}

/// Appends bytes (`x`).
///
/// # Errors
///
/// As [`put_entry_long_string`].
pub fn put_entry_bytes(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), CodecError> {
    put_long(out, name, b'x', value)
}

/// Appends a table (`F`) of these entries, which have no length before them.
///
/// # Errors
///
/// As [`put_entry_long_string`]. The entries are not looked at.
pub fn put_entry_table(out: &mut Vec<u8>, name: &str, entries: &[u8]) -> Result<(), CodecError> {
    put_long(out, name, b'F', entries)
}

/// Appends a 64-bit number (`l`).
///
/// # Errors
///
/// [`CodecError::Malformed`] where the name has more than 255 bytes.
pub fn put_entry_i64(out: &mut Vec<u8>, name: &str, value: i64) -> Result<(), CodecError> {
    put_fixed(out, name, b'l', value.to_be_bytes())
}

/// Appends a 32-bit number (`I`).
///
/// # Errors
///
/// [`CodecError::Malformed`] where the name has more than 255 bytes.
pub fn put_entry_i32(out: &mut Vec<u8>, name: &str, value: i32) -> Result<(), CodecError> {
    put_fixed(out, name, b'I', value.to_be_bytes())
}

/// Appends a floating-point number (`d`).
///
/// # Errors
///
/// [`CodecError::Malformed`] where the name has more than 255 bytes.
pub fn put_entry_f64(out: &mut Vec<u8>, name: &str, value: f64) -> Result<(), CodecError> {
    put_fixed(out, name, b'd', value.to_be_bytes())
}

/// Appends a truth value (`t`).
///
/// # Errors
///
/// [`CodecError::Malformed`] where the name has more than 255 bytes.
pub fn put_entry_bool(out: &mut Vec<u8>, name: &str, value: bool) -> Result<(), CodecError> {
    put_fixed(out, name, b't', [u8::from(value)])
}

/// Appends a time (`T`) in seconds since 1970.
///
/// # Errors
///
/// [`CodecError::Malformed`] where the name has more than 255 bytes.
pub fn put_entry_timestamp(out: &mut Vec<u8>, name: &str, seconds: u64) -> Result<(), CodecError> {
    put_fixed(out, name, b'T', seconds.to_be_bytes())
}

/// Appends all entries of a table, through `amq-protocol`: for what is free in its form.
///
/// # Errors
///
/// [`CodecError::Malformed`] where the table cannot be written: nested deeper than
/// [`TABLE_DEPTH_MAX`](super::TABLE_DEPTH_MAX), or with a value of a type that is not for tables (a short string).
pub fn put_entries(out: &mut Vec<u8>, table: &FieldTable) -> Result<(), CodecError> {
    out.extend_from_slice(&rare::encode_entries(table)?);
    Ok(())
}
