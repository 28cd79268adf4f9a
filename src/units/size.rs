//! Numbers of bytes, written like `1 KiB` or `512 B`.

use std::fmt;
use std::str::FromStr;

use super::{ParseUnitError, written_as_string};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error =
            || ParseUnitError { text: text.to_owned(), what: "size", example: "\"1 KiB\", \"512 B\" or \"1.5 MB\"" };
        let trimmed = text.trim();
        // A bare number is refused: nobody can tell whether its writer meant bytes or kilobytes.
        if !trimmed.ends_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(error());
        }
        trimmed.parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| error())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit that divides it, so that what is printed reads back exactly.
        let (name, unit) =
            UNITS.into_iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)).unwrap_or(("B", 1));
        write!(f, "{} {name}", self.0 / unit)
    }
}

written_as_string!(ByteSize, "Size", "a size such as \"1 KiB\" or \"512 B\"", ["1 KiB", "512 B"]);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in
            [("1 KiB", 1024), ("512 B", 512), ("1.5 MB", 1_500_000), ("64KiB", 65_536), ("128 MiB", 128 << 20)]
        {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in ["", "big", "12", "-1 KiB", "1 KiX"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(bytes in 0u64..(1 << 50)) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>(), Ok(ByteSize(bytes)));
        }
    }
}
