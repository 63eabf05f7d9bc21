//! Messages: stored before their sender is answered, deleted when their recipient acked.

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, FromRow};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    account::AccountId,
    message::{Message, Sequence},
};

/// Most acks that one statement deletes, so that few statements are prepared.
const ACKS: usize = 16;

/// A message that is to be stored.
pub(crate) struct NewMessage {
    pub(crate) id: Uuid,
    pub(crate) recipient: AccountId,
    pub(crate) sender: AccountId,
    pub(crate) body: String,
    pub(crate) attachment: Option<Uuid>,
    pub(crate) sent_at: i64,
}

/// Why a message is not stored.
#[derive(Clone, Debug)]
pub(crate) enum NotStored {
    /// No such account.
    NoRecipient,
    /// The sender has no such attachment.
    NoAttachment,
    /// The recipient has too many messages waiting.
    Full,
    /// The database takes no such text, whatever else is tried.
    Unfit,
    /// The database failed.
    Failed(StoreError),
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
    /// Stores messages in one transaction, and says of each what became of it: those that it returns
    /// survive a power failure.
    ///
    /// One that the database refuses takes no other with it: each is then stored by itself.
    pub(crate) async fn store_messages(
        &self,
        messages: Vec<NewMessage>,
        pending_limit: i64,
    ) -> Vec<Result<Message, NotStored>> {
        let together = self.store_together(&messages, pending_limit).await;
        let results = match together {
            Err(error) if error.is_refusal() && messages.len() > 1 => {
                let mut results = Vec::new();
                for message in messages.chunks(1) {
                    let alone = self.store_together(message, pending_limit).await;
                    results.extend(spread(alone, 1));
                }
                results
            }
            together => spread(together, messages.len()),
        };
        let numbered = messages.into_iter().zip(results);
        numbered
            .map(|(message, result)| Ok(message.stored_as(result?)))
            .collect()
    }

    /// Stores all that can be stored, or none if the database fails or refuses one.
    async fn store_together(
        &self,
        messages: &[NewMessage],
        pending_limit: i64,
    ) -> Result<Vec<Result<Sequence, NotStored>>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("store_messages");
        let work = async {
            let mut transaction = database.begin().await?;
            let mut results = Vec::with_capacity(messages.len());
            for message in messages {
                results.push(message.store(&mut transaction, pending_limit).await?);
            }
            transaction.commit().await?;
            Ok(results)
        };
        statement.run(work).await
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
            for acks in acks.chunks(ACKS) {
                // Nothing but placeholders is put into the text.
                let mut delete = sqlx::query(AssertSqlSafe(deletion(acks.len())));
                for Ack { recipient, id } in acks {
                    delete = delete.bind(id.to_string()).bind(recipient.as_str());
                }
                delete.execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        statement.run(work).await
    }
}

/// The statement that deletes so many acked messages: each is its recipient's to ack.
fn deletion(acks: usize) -> String {
    let condition =
        |ack: usize| format!("(id = ${} and recipient = ${})", 2 * ack + 1, 2 * ack + 2);
    let conditions: Vec<_> = (0..acks).map(condition).collect();
    format!("delete from messages where {}", conditions.join(" or "))
}

/// What became of each of `count` messages that were stored together or not at all.
fn spread(
    together: Result<Vec<Result<Sequence, NotStored>>, StoreError>,
    count: usize,
) -> Vec<Result<Sequence, NotStored>> {
    together.unwrap_or_else(|error| {
        let failure = if error.is_refusal() {
            NotStored::Unfit
        } else {
            NotStored::Failed(error)
        };
        vec![Err(failure); count]
    })
}

impl NewMessage {
    /// Stores it if it may be stored. An error leaves the transaction of no use.
    async fn store(
        &self,
        transaction: &mut AnyConnection,
        pending_limit: i64,
    ) -> Result<Result<Sequence, NotStored>, sqlx::Error> {
        let attachment = self.attachment.map(|id| id.to_string());
        let sequence: Option<Sequence> = sqlx::query_scalar(
            "insert into messages (id, recipient, sender, body, attachment, sent_at) \
             select $1, $2, $3, $4, $5, $6 \
             where exists (select 1 from accounts where id = $2) \
             and ($5 is null or exists (select 1 from attachments where id = $5 and owner = $3)) \
             and (select count(*) from \
             (select 1 from messages where recipient = $2 limit $7) as pending) < $7 \
             returning sequence",
        )
        .bind(self.id.to_string())
        .bind(self.recipient.as_str())
        .bind(self.sender.as_str())
        .bind(&self.body)
        .bind(&attachment)
        .bind(self.sent_at)
        .bind(pending_limit)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(sequence) = sequence else {
            return self.obstacle(transaction).await.map(Err);
        };
        if let Some(attachment) = &attachment {
            sqlx::query(
                "insert into attachment_recipients (attachment, recipient) values ($1, $2) \
                 on conflict do nothing",
            )
            .bind(attachment)
            .bind(self.recipient.as_str())
            .execute(&mut *transaction)
            .await?;
        }
        Ok(Ok(sequence))
    }

    /// Why it may not be stored. Neither accounts nor attachments are ever deleted.
    async fn obstacle(&self, transaction: &mut AnyConnection) -> Result<NotStored, sqlx::Error> {
        if let Some(attachment) = self.attachment {
            let owned: Option<i64> =
                sqlx::query_scalar("select size from attachments where id = $1 and owner = $2")
                    .bind(attachment.to_string())
                    .bind(self.sender.as_str())
                    .fetch_optional(&mut *transaction)
                    .await?;
            if owned.is_none() {
                return Ok(NotStored::NoAttachment);
            }
        }
        let recipient: Option<String> = sqlx::query_scalar("select id from accounts where id = $1")
            .bind(self.recipient.as_str())
            .fetch_optional(transaction)
            .await?;
        Ok(match recipient {
            None => NotStored::NoRecipient,
            Some(_) => NotStored::Full,
        })
    }

    fn stored_as(self, sequence: Sequence) -> Message {
        let Self {
            id,
            recipient,
            sender,
            body,
            attachment,
            sent_at,
        } = self;
        Message {
            sequence,
            id,
            recipient,
            sender,
            body,
            attachment,
            sent_at,
        }
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
