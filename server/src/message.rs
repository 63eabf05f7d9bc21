//! A message, as it is stored and delivered.

use uuid::Uuid;

use crate::account::AccountId;

/// Order of storing: of two messages to one account the later one has the greater number.
pub(crate) type Sequence = i64;

/// A message on its way from one account to another.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Where it stands among all messages.
    pub(crate) sequence: Sequence,
    /// What its sender and its recipient know it by.
    pub(crate) id: Uuid,
    /// Who is to receive it.
    pub(crate) recipient: AccountId,
    /// Who sent it.
    pub(crate) sender: AccountId,
    /// The text.
    pub(crate) body: String,
    /// The attachment that its recipient may fetch.
    pub(crate) attachment: Option<Uuid>,
    /// When it was accepted. Unit: milliseconds since the Unix epoch.
    pub(crate) sent_at: i64,
}
