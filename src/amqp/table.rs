//! Tables and arrays as received, in place: nothing is copied, and an error shows when iteration reaches it.
//!
//! Field types are RabbitMQ's, which differ from the specification's where the two letters contradict each other (its
//! errata page: `s` is a 16-bit number, `l` and `L` both are signed, `x` are bytes). `U`, which the specification has for
//! signed 16-bit numbers and RabbitMQ does not read, is read here too.

use super::CodecError;
use super::reader::Reader;

/// Tables and arrays inside of one another, the outermost counted. A dead letter's own history takes three.
pub const TABLE_DEPTH_MAX: u8 = 32;

/// A table, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table<'a> {
    entries: &'a [u8],
    depth: u8,
}

/// An array, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    values: &'a [u8],
    depth: u8,
}

/// A value of a table or an array; the letter is its type on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`, and `U` of the specification
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l` and `L`
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: `value` / 10 ^ `scale`
    Decimal {
        /// Digits after the point.
        scale: u8,
        /// All digits.
        value: u32,
    },
    /// `S`: a text, or anything
    LongString(&'a [u8]),
    /// `x`
    Bytes(&'a [u8]),
    /// `A`
    Array(Array<'a>),
    /// `T`, in seconds since 1970
    Timestamp(u64),
    /// `F`
    Table(Table<'a>),
    /// `V`
    Void,
}

impl<'a> Table<'a> {
    /// The table that `bytes` are: four bytes with the length of its entries, and its entries.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`] where entries are missing, [`CodecError::Malformed`] where bytes follow them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut from = Reader::new(bytes, "a table");
        let table = Self::read(&mut from)?;
        from.end("bytes after a table")?;
        Ok(table)
    }

    /// The table of these entries, without a length before them: as the writers of entries append them.
    pub fn from_entries(entries: &'a [u8]) -> Self {
        Self { entries, depth: 1 }
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, CodecError> {
        from.long_text().map(Self::from_entries)
    }

    /// Its entries without the length before them.
    pub fn entries(&self) -> &'a [u8] {
        self.entries
    }

    /// Names and values in the order in which they came; an error is the last item. What is nested is checked when it is
    /// iterated itself.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`], and [`CodecError::Malformed`] for an unknown type and for a nesting deeper than
    /// [`TABLE_DEPTH_MAX`].
    pub fn iter(&self) -> impl Iterator<Item = Result<(&'a [u8], Value<'a>), CodecError>> + use<'a> {
        let mut from = Reader::new(self.entries, "a table");
        let depth = self.depth;
        until_error(move || {
            if from.rest().is_empty() {
                return Ok(None);
            }
            let name = from.short_text()?;
            Ok(Some((name, value(&mut from, depth)?)))
        })
    }

    /// The first value of this name; none too where the table is malformed before it.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.iter().map_while(Result::ok).find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// Walks all of it, what is nested too.
    ///
    /// # Errors
    ///
    /// The first error that iteration would meet.
    pub fn validate(&self) -> Result<(), CodecError> {
        self.iter().try_for_each(|entry| entry?.1.validate())
    }
}

impl<'a> Array<'a> {
    /// Its values in the order in which they came; an error is the last item.
    ///
    /// # Errors
    ///
    /// As [`Table::iter`].
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, CodecError>> + use<'a> {
        let mut from = Reader::new(self.values, "an array");
        let depth = self.depth;
        until_error(move || if from.rest().is_empty() { Ok(None) } else { value(&mut from, depth).map(Some) })
    }

    /// Walks all of it, what is nested too.
    ///
    /// # Errors
    ///
    /// The first error that iteration would meet.
    pub fn validate(&self) -> Result<(), CodecError> {
        self.iter().try_for_each(|value| value?.validate())
    }
}

impl<'a> Value<'a> {
    /// A whole number of any width.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(number) => Some(number.into()),
            Self::U8(number) => Some(number.into()),
            Self::I16(number) => Some(number.into()),
            Self::U16(number) => Some(number.into()),
            Self::I32(number) => Some(number.into()),
            Self::U32(number) => Some(number.into()),
            Self::I64(number) => Some(number),
            _ => None,
        }
    }

    /// A long string, or bytes: what a client's library makes of a text is its own choice.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::LongString(bytes) | Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The recursion ends at [`TABLE_DEPTH_MAX`].
    fn validate(&self) -> Result<(), CodecError> {
        match self {
            Self::Table(table) => table.validate(),
            Self::Array(array) => array.validate(),
            _ => Ok(()),
        }
    }
}

/// What `next` reads until there is no more, or until it fails, which it then has done for the last time.
fn until_error<T>(
    mut next: impl FnMut() -> Result<Option<T>, CodecError>,
) -> impl Iterator<Item = Result<T, CodecError>> {
    let mut has_failed = false;
    std::iter::from_fn(move || {
        if has_failed {
            return None;
        }
        let item = next().transpose();
        has_failed = matches!(item, Some(Err(_)));
        item
    })
}

/// A value after its type, in a table or an array at `depth`.
fn value<'a>(from: &mut Reader<'a>, depth: u8) -> Result<Value<'a>, CodecError> {
    Ok(match from.u8()? {
        b'S' => Value::LongString(from.long_text()?),
        b't' => Value::Bool(from.u8()? != 0),
        b'b' => Value::I8(from.u8()?.cast_signed()),
        b'B' => Value::U8(from.u8()?),
        b's' | b'U' => Value::I16(from.u16()?.cast_signed()),
        b'u' => Value::U16(from.u16()?),
        b'I' => Value::I32(from.u32()?.cast_signed()),
        b'i' => Value::U32(from.u32()?),
        b'l' | b'L' => Value::I64(from.u64()?.cast_signed()),
        b'f' => Value::F32(f32::from_bits(from.u32()?)),
        b'd' => Value::F64(f64::from_bits(from.u64()?)),
        b'D' => Value::Decimal { scale: from.u8()?, value: from.u32()? },
        b'T' => Value::Timestamp(from.u64()?),
        b'x' => Value::Bytes(from.long_text()?),
        b'V' => Value::Void,
        b'F' => Value::Table(Table { depth: deeper(depth)?, entries: from.long_text()? }),
        b'A' => Value::Array(Array { depth: deeper(depth)?, values: from.long_text()? }),
        _ => return Err(CodecError::Malformed { what: "a table's value of no known type" }),
    })
}

fn deeper(depth: u8) -> Result<u8, CodecError> {
    if depth < TABLE_DEPTH_MAX {
        Ok(depth + 1)
    } else {
        Err(CodecError::Malformed { what: "a table nested too deeply" })
    }
}
