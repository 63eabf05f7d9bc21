//! Messages: stored before their sender is answered, deleted when their recipient acked.

use sqlx::{Connection as _, FromRow};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    account::AccountId,
    message::{Message, Sequence},
};

/// A message that is to be stored.
pub(crate) struct NewMessage {
    pub(crate) id: Uuid,
    pub(crate) recipient: AccountId,
    pub(crate) sender: AccountId,
    pub(crate) body: String,
    pub(crate) attachment: Option<Uuid>,
    pub(crate) sent_at: i64,
}

/// What became of a message.
pub(crate) enum Stored {
    /// It is durable.
    Message(Message),
    /// No such account.
    NoRecipient,
    /// The sender has no such attachment.
    NoAttachment,
    /// The recipient has too many messages waiting.
    Full,
}

/// A message that an account has received.
pub(crate) struct Ack {
    pub(crate) recipient: AccountId,
    pub(crate) id: Uuid,
}

#[derive(FromRow)]
struct Row {
    sequence: Sequence,
    id: String,
    sender: String,
    body: String,
    attachment: Option<String>,
    sent_at: i64,
}

impl Store {
    /// Stores a message; when this returns [`Stored::Message`], it survives a power failure.
    pub(crate) async fn store_message(
        &self,
        message: NewMessage,
        pending_limit: i64,
    ) -> Result<Stored, StoreError> {
        let NewMessage {
            id,
            recipient,
            sender,
            body,
            attachment,
            sent_at,
        } = message;
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("store_message");
        let attachment_id = attachment.map(|id| id.to_string());
        let work = async {
            let mut transaction = database.begin().await?;
            if let Some(attachment) = &attachment_id {
                let owned: Option<i64> =
                    sqlx::query_scalar("select size from attachments where id = $1 and owner = $2")
                        .bind(attachment)
                        .bind(sender.as_str())
                        .fetch_optional(&mut *transaction)
                        .await?;
                if owned.is_none() {
                    return Ok(Err(Stored::NoAttachment));
                }
                sqlx::query(
                    "insert into attachment_recipients (attachment, recipient) values ($1, $2) \
                     on conflict do nothing",
                )
                .bind(attachment)
                .bind(recipient.as_str())
                .execute(&mut *transaction)
                .await?;
            }
            let sequence: Option<Sequence> = sqlx::query_scalar(
                "insert into messages (id, recipient, sender, body, attachment, sent_at) \
                 select $1, $2, $3, $4, $5, $6 where (select count(*) from \
                 (select 1 from messages where recipient = $2 limit $7) as pending) < $7 \
                 returning sequence",
            )
            .bind(id.to_string())
            .bind(recipient.as_str())
            .bind(sender.as_str())
            .bind(&body)
            .bind(&attachment_id)
            .bind(sent_at)
            .bind(pending_limit)
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(sequence) = sequence else {
                return Ok(Err(Stored::Full));
            };
            transaction.commit().await?;
            Ok(Ok(sequence))
        };
        let result = statement.run(work).await;
        if matches!(&result, Err(StoreError::Statement { source: sqlx::Error::Database(error), .. }) if error.is_foreign_key_violation())
        {
            return Ok(Stored::NoRecipient);
        }
        Ok(match result? {
            Ok(sequence) => Stored::Message(Message {
                sequence,
                id,
                recipient,
                sender,
                body,
                attachment,
                sent_at,
            }),
            Err(refusal) => refusal,
        })
    }

    /// The oldest messages for `recipient` after `after` that are not acked, at most `limit`.
    pub(crate) async fn pending_messages(
        &self,
        recipient: &AccountId,
        after: Sequence,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("pending_messages");
        let work = sqlx::query_as::<_, Row>(
            "select sequence, id, sender, body, attachment, sent_at from messages \
             where recipient = $1 and sequence > $2 order by sequence limit $3",
        )
        .bind(recipient.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(database);
        let rows = statement.run(work).await?;
        Ok(rows
            .into_iter()
            .map(|row| row.into_message(recipient))
            .collect())
    }

    /// Whether a message is still waiting for its ack.
    pub(crate) async fn is_pending(&self, sequence: Sequence) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("is_pending");
        let work = sqlx::query_scalar("select sequence from messages where sequence = $1")
            .bind(sequence)
            .fetch_optional(database);
        let found: Option<Sequence> = statement.run(work).await?;
        Ok(found.is_some())
    }

    /// Deletes the messages that were acked, all or none.
    pub(crate) async fn delete_acked(&self, acks: &[Ack]) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("delete_acked");
        let work = async {
            let mut transaction = database.begin().await?;
            for Ack { recipient, id } in acks {
                sqlx::query("delete from messages where id = $1 and recipient = $2")
                    .bind(id.to_string())
                    .bind(recipient.as_str())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        statement.run(work).await
    }
}

impl Row {
    fn into_message(self, recipient: &AccountId) -> Message {
        let Self {
            sequence,
            id,
            sender,
            body,
            attachment,
            sent_at,
        } = self;
        Message {
            sequence,
            // Only this module writes ids, and it writes UUIDs.
            id: id.parse().unwrap_or_default(),
            recipient: recipient.clone(),
            sender: AccountId::from_stored(sender),
            body,
            attachment: attachment.and_then(|id| id.parse().ok()),
            sent_at,
        }
    }
}
