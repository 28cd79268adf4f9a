//! The ids that a message carries for whoever follows what leads to what.

use super::MoreProperties;

/// The header with the id of the message that caused this one. AMQP has no property for it.
pub const CAUSATION_HEADER: &str = "causation-id";

/// Ids of a message, as it came. An empty one counts as none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// `message-id`: its own.
    pub message: Option<String>,
    /// `correlation-id`: of all that began with the same message.
    pub correlation: Option<String>,
    /// [`CAUSATION_HEADER`]: of the message that caused it.
    pub causation: Option<String>,
}

impl Ids {
    /// From the properties and the header as they were read.
    pub(super) fn read(message: Option<&[u8]>, correlation: Option<&[u8]>, causation: Option<&[u8]>) -> Self {
        let text = |bytes: Option<&[u8]>| {
            bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        Self { message: text(message), correlation: text(correlation), causation: text(causation) }
    }

    /// Gives the same ids to a message that is published again.
    pub fn keep(&self, properties: &mut MoreProperties) {
        properties.message_id.clone_from(&self.message);
        properties.correlation_id.clone_from(&self.correlation);
        if let Some(causation) = &self.causation {
            properties.headers.insert(CAUSATION_HEADER.to_owned(), causation.as_str().into());
        }
    }

    /// Gives a message that this one causes its correlation id, and this one's id as that of its cause; what it has of its
    /// own stays.
    pub fn lead_to(&self, properties: &mut MoreProperties) {
        if properties.correlation_id.is_none() {
            properties.correlation_id.clone_from(&self.correlation);
        }
        if let Some(message) = &self.message {
            properties.headers.entry(CAUSATION_HEADER.to_owned()).or_insert_with(|| message.as_str().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_has_the_correlation_and_names_its_cause() {
        let ids = Ids::read(Some(b"m1"), Some(b"c1"), Some(b""));
        assert_eq!(ids.causation, None, "empty is none");
        let mut next = MoreProperties { message_id: Some("m2".to_owned()), ..MoreProperties::default() };
        ids.lead_to(&mut next);
        assert_eq!((next.message_id.as_deref(), next.correlation_id.as_deref()), (Some("m2"), Some("c1")));
        assert_eq!(next.headers[CAUSATION_HEADER], "m1");
        let mut own = MoreProperties { correlation_id: Some("mine".to_owned()), ..MoreProperties::default() };
        ids.lead_to(&mut own);
        assert_eq!(own.correlation_id.as_deref(), Some("mine"));
        let mut again = MoreProperties::default();
        Ids { causation: Some("m0".to_owned()), ..ids }.keep(&mut again);
        assert_eq!((again.message_id.as_deref(), again.correlation_id.as_deref()), (Some("m1"), Some("c1")));
        assert_eq!(again.headers[CAUSATION_HEADER], "m0");
    }
}
