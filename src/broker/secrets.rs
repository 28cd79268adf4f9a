//! Passwords and names from the system's randomness. Everything else that is random comes from the plan's seed; a
//! password must not be a function of a seed that anybody can read.

use rand::TryRng;
use rand::rngs::SysRng;

use super::error::BrokerError;
use crate::endpoint::Secret;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A text of letters and digits.
pub(super) fn text(length: usize) -> Result<String, BrokerError> {
    (0..length).map(|_| below(62).map(|i| char::from(ALPHABET[usize::from(i)]))).collect()
}

/// A password of 32 letters and digits: 190 bits.
pub(super) fn password() -> Result<Secret, BrokerError> {
    text(32).map(Secret::new)
}

/// A number below `limit`, all of them equally likely.
pub(super) fn below(limit: u16) -> Result<u16, BrokerError> {
    let fair = u32::MAX - u32::MAX % u32::from(limit);
    loop {
        let drawn = SysRng.try_next_u32().map_err(|error| BrokerError::System {
            action: "read the system's random numbers".to_owned(),
            source: std::io::Error::other(error.to_string()),
        })?;
        if drawn < fair {
            return Ok((drawn % u32::from(limit)) as u16);
        }
    }
}
