//! The record's words as they are written in `run.json`, for every output alike.

use crate::record::{Cause, Completeness, IncidentKind, ViolationClass};

/// What happened to a connection or a channel.
pub(super) fn incident(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::Disconnected => "disconnected",
        IncidentKind::Reconnected => "reconnected",
        IncidentKind::ReconnectFailed => "reconnect_failed",
        IncidentKind::ChannelClosed => "channel_closed",
        IncidentKind::Cancelled => "cancelled",
        IncidentKind::Blocked => "blocked",
        IncidentKind::Unblocked => "unblocked",
        IncidentKind::ConfirmTimeout => "confirm_timeout",
        IncidentKind::StoreFailed => "store_failed",
        IncidentKind::StoreRecovered => "store_recovered",
    }
}

/// A class of offending message.
pub(super) fn violation(class: ViolationClass) -> &'static str {
    match class {
        ViolationClass::Lost => "lost",
        ViolationClass::PossiblyLost => "possibly_lost",
        ViolationClass::Duplicate => "duplicate",
        ViolationClass::Phantom => "phantom",
        ViolationClass::Corrupt => "corrupt",
        ViolationClass::Misordered => "misordered",
        ViolationClass::Misrouted => "misrouted",
        ViolationClass::EffectRepeated => "effect_repeated",
        ViolationClass::EffectMissing => "effect_missing",
        ViolationClass::EffectUnknown => "effect_unknown",
        ViolationClass::Fate => "fate",
        ViolationClass::FollowUpMissing => "follow_up_missing",
        ViolationClass::FollowUpRepeated => "follow_up_repeated",
        ViolationClass::IdMissing => "id_missing",
        ViolationClass::IdCrossed => "id_crossed",
    }
}

/// Why a message offends.
pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Republished => "republished",
        Cause::Redelivered => "redelivered",
        Cause::Unflagged => "unflagged",
        Cause::Unroutable => "unroutable",
        Cause::OneOfMany => "one_of_many",
        Cause::NoStamp => "no_stamp",
        Cause::NeverSent => "never_sent",
    }
}

/// `text` on one line and without control characters: a name must not move a cursor, and XML has no way to write them.
/// A break between lines, or a tab, becomes a space.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| match c {
        '\n' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.replace("\r\n", "\n").chars().map(plain).collect()
}

/// The lines of `text`, each as [`printable`] makes it; none of them is empty.
pub(super) fn printable_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(printable).filter(|line| !line.trim().is_empty())
}

/// Whether the run came to its end, as a sentence; none: it did.
pub(super) fn incomplete(completeness: &Completeness) -> Option<String> {
    match completeness {
        Completeness::Complete => None,
        Completeness::Interrupted => {
            Some("The run was interrupted: the books are those up to the interruption.".to_owned())
        }
        Completeness::Aborted { reason } => Some(format!("The run could not go on: {reason}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_printed_without_its_control_characters() {
        assert_eq!(printable("no such host\nuse another\r\none\tor none"), "no such host use another one or none");
        assert_eq!(printable("a\u{1b}[2Jb\rc"), "a\u{fffd}[2Jb\u{fffd}c");
        let lines: Vec<_> = printable_lines("no such host\n\nuse \u{7}another").collect();
        assert_eq!(lines, ["no such host", "use \u{fffd}another"]);
    }

    #[test]
    fn words_are_those_of_the_record() {
        use IncidentKind::{
            Blocked, Cancelled, ChannelClosed, ConfirmTimeout, Disconnected, ReconnectFailed, Reconnected, StoreFailed,
            StoreRecovered, Unblocked,
        };
        let of_connections =
            [Blocked, Cancelled, ChannelClosed, ConfirmTimeout, Disconnected, ReconnectFailed, Reconnected, Unblocked];
        for kind in of_connections.into_iter().chain([StoreFailed, StoreRecovered]) {
            assert_eq!(serde_json::json!(kind), incident(kind));
        }
        use ViolationClass::{
            Corrupt, Duplicate, EffectMissing, EffectRepeated, EffectUnknown, Lost, Misordered, Misrouted, Phantom,
            PossiblyLost,
        };
        let of_messages = [Corrupt, Duplicate, Lost, Misordered, Misrouted, Phantom, PossiblyLost];
        for class in of_messages.into_iter().chain([EffectMissing, EffectRepeated, EffectUnknown]) {
            assert_eq!(serde_json::json!(class), violation(class));
        }
        use Cause::{NeverSent, NoStamp, OneOfMany, Redelivered, Republished, Unflagged, Unroutable};
        for why in [NeverSent, NoStamp, OneOfMany, Redelivered, Republished, Unflagged, Unroutable] {
            assert_eq!(serde_json::json!(why), cause(why));
        }
    }
}
