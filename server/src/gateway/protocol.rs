//! The frames of the gateway, as JSON text.
//!
//! Pure: turns frames into text and text into frames. Knows no socket.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::Message;

/// What the server sends.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Down<'a> {
    Message {
        id: Uuid,
        from: &'a str,
        body: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        attachment: Option<Uuid>,
        sent_at: String,
    },
    Acked {
        id: Uuid,
    },
}

/// What a client sends.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Up {
    /// The client has the message and need not be sent it again.
    Ack {
        /// The message.
        id: Uuid,
        /// Whether the client wants to be told once the message is gone from the database.
        #[serde(default)]
        confirm: bool,
    },
}

/// The frame that delivers a message.
pub(super) fn encode_message(message: &Message) -> String {
    let sent_at = u64::try_from(message.sent_at).unwrap_or(0);
    let sent_at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(sent_at);
    encode(&Down::Message {
        id: message.id,
        from: message.sender.as_str(),
        body: &message.body,
        attachment: message.attachment,
        sent_at: humantime::format_rfc3339_millis(sent_at).to_string(),
    })
}

/// The frame that confirms an ack.
pub(super) fn encode_acked(id: Uuid) -> String {
    encode(&Down::Acked { id })
}

fn encode(frame: &Down<'_>) -> String {
    serde_json::to_string(frame).expect("strings and ids always serialise")
}

/// What a client sent; `None` if it is none of the frames above.
pub(super) fn parse(text: &str) -> Option<Up> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::AccountId;

    #[test]
    fn a_message_is_written_as_documented() {
        let id: Uuid = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let message = Message {
            sequence: 1,
            id,
            recipient: AccountId::generate(),
            sender: AccountId::from_stored("me".to_owned()),
            body: "a \"b\"\n".to_owned(),
            attachment: None,
            sent_at: 1_500,
        };
        assert_eq!(
            encode_message(&message),
            r#"{"type":"message","id":"01890a5d-ac96-774b-bcce-b302099a8057","from":"me","body":"a \"b\"\n","sent_at":"1970-01-01T00:00:01.500Z"}"#
        );
        assert_eq!(
            encode_acked(id),
            r#"{"type":"acked","id":"01890a5d-ac96-774b-bcce-b302099a8057"}"#
        );
    }

    #[test]
    fn only_acks_are_understood() {
        let check =
            |text: &str, expected: bool| assert_eq!(parse(text).is_some(), expected, "{text}");
        check(
            r#"{"type":"ack","id":"01890a5d-ac96-774b-bcce-b302099a8057"}"#,
            true,
        );
        check(
            r#"{"type":"ack","id":"01890a5d-ac96-774b-bcce-b302099a8057","confirm":true}"#,
            true,
        );
        check(r#"{"type":"ack","id":"1"}"#, false);
        check(r#"{"type":"ack"}"#, false);
        check(r#"{"type":"message"}"#, false);
        check("[]", false);
        check("", false);
        check(&"[".repeat(100_000), false);
    }
}
