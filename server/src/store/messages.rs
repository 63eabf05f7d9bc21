//! Messages: stored before their sender is answered, deleted when their recipient acked.

use std::{collections::HashMap, slice};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, FromRow};
use uuid::Uuid;

use super::{Room, Store, StoreError};
use crate::{
    account::AccountId,
    message::{Message, Sequence},
};

/// Most messages or acks that one statement is about, so that few statements are prepared.
const ROWS: usize = 16;

/// How long the texts of a page of messages may be together. Unit: characters. A session that does not
/// read holds a page until it is given up.
const PAGE_TEXT: i64 = 64 * 1024;

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
    /// The recipient has too many messages of this sender waiting.
    ShareFull,
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
        room: Room,
    ) -> Vec<Result<Message, NotStored>> {
        let together = self.store_together(&messages, room).await;
        let results = match together {
            Err(error) if error.is_refusal() && messages.len() > 1 => {
                let mut results = Vec::new();
                for message in messages.chunks(1) {
                    let alone = self.store_together(message, room).await;
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
        room: Room,
    ) -> Result<Vec<Result<Sequence, NotStored>>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("store_messages");
        let work = async {
            let mut transaction = database.begin().await?;
            let mut results = Vec::with_capacity(messages.len());
            for messages in messages.chunks(ROWS) {
                let stored = insert(&mut transaction, messages, room).await?;
                for (message, sequence) in messages.iter().zip(stored) {
                    results.push(match sequence {
                        Some(sequence) => Ok(sequence),
                        None if messages.len() > 1 => {
                            message.store_alone(&mut transaction, room).await?
                        }
                        None => Err(message.obstacle(&mut transaction, room).await?),
                    });
                }
            }
            transaction.commit().await?;
            Ok(results)
        };
        statement.run(work).await
    }

    /// The oldest messages for `recipient` after `after` that are not acked, at most `limit`, and no
    /// more than one whose texts together are longer than [`PAGE_TEXT`].
    ///
    /// Waits for as long as it takes until few others read.
    pub(crate) async fn pending_messages(
        &self,
        recipient: &AccountId,
        after: Sequence,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        // The semaphore is never closed; if it were, reads would merely have no limit.
        let _turn = self.reads.acquire().await;
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("pending_messages");
        let work = sqlx::query_as::<_, Row>(
            "select sequence, id, sender, body, attachment, sent_at from \
             (select page.*, sum(length(body)) over (order by sequence) as text, \
             row_number() over (order by sequence) as place from \
             (select sequence, id, sender, body, attachment, sent_at from messages \
             where recipient = $1 and sequence > $2 order by sequence limit $3) as page) as page \
             where place = 1 or text <= $4 order by sequence",
        )
        .bind(recipient.as_str())
        .bind(after)
        .bind(limit)
        .bind(PAGE_TEXT)
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
            for acks in acks.chunks(ROWS) {
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

/// Stores those messages that may be stored, at most [`ROWS`], in their order, and says which number
/// each has. An error leaves the transaction of no use.
async fn insert(
    transaction: &mut AnyConnection,
    messages: &[NewMessage],
    room: Room,
) -> Result<Vec<Option<Sequence>>, sqlx::Error> {
    // Nothing but placeholders and small numbers is put into the text.
    let mut insert = sqlx::query_as(AssertSqlSafe(insertion(messages.len())))
        .bind(room.of_recipient)
        .bind(room.of_sender);
    for message in messages {
        insert = insert
            .bind(message.id.to_string())
            .bind(message.recipient.as_str())
            .bind(message.sender.as_str())
            .bind(&message.body)
            .bind(message.attachment.map(|id| id.to_string()))
            .bind(message.sent_at);
    }
    let inserted: Vec<(String, Sequence)> = insert.fetch_all(&mut *transaction).await?;
    let inserted: HashMap<String, Sequence> = inserted.into_iter().collect();
    let mut sequences = Vec::with_capacity(messages.len());
    for message in messages {
        let sequence = inserted.get(&message.id.to_string()).copied();
        if sequence.is_some() {
            message.share_attachment(transaction).await?;
        }
        sequences.push(sequence);
    }
    Ok(sequences)
}

/// The statement that inserts those of so many messages that have a recipient, an attachment of their
/// sender's or none, and room among what waits for their recipient, with the others before them.
fn insertion(messages: usize) -> String {
    let row = |row: usize| {
        let first = 6 * row + 3;
        let [id, recipient, sender, body, attachment, sent_at] =
            [0, 1, 2, 3, 4, 5].map(|column| format!("${}", first + column));
        // A list of values gives PostgreSQL no other hint at the type of a placeholder.
        format!(
            "({row}, {id}, {recipient}, {sender}, {body}, {attachment}, cast({sent_at} as bigint))"
        )
    };
    let rows: Vec<_> = (0..messages).map(row).collect();
    format!(
        "with new (place, id, recipient, sender, body, attachment, sent_at) as (values {}) \
         insert into messages (id, recipient, sender, body, attachment, sent_at) \
         select id, recipient, sender, body, attachment, sent_at from \
         (select new.*, row_number() over (partition by recipient order by place) as nth, \
         row_number() over (partition by recipient, sender order by place) as nth_of_sender \
         from new) as new \
         where exists (select 1 from accounts where id = new.recipient) \
         and (attachment is null or exists \
         (select 1 from attachments where id = new.attachment and owner = new.sender)) \
         and exists (select 1 from (select count(*) as waiting, \
         count(*) filter (where sender = new.sender) as of_sender from \
         (select sender from messages where recipient = new.recipient limit $1) as pending) as counted \
         where nth + waiting <= $1 and nth_of_sender + of_sender <= $2) \
         order by place returning id, sequence",
        rows.join(", ")
    )
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
    /// Stores it if it may be stored, after it was not stored with others: one of those may have taken
    /// the last place before it was refused itself.
    async fn store_alone(
        &self,
        transaction: &mut AnyConnection,
        room: Room,
    ) -> Result<Result<Sequence, NotStored>, sqlx::Error> {
        let alone = insert(transaction, slice::from_ref(self), room).await?;
        match alone.into_iter().flatten().next() {
            Some(sequence) => Ok(Ok(sequence)),
            None => self.obstacle(transaction, room).await.map(Err),
        }
    }

    /// Lets its recipient fetch what is attached to it.
    async fn share_attachment(&self, transaction: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let Some(attachment) = self.attachment else {
            return Ok(());
        };
        sqlx::query(
            "insert into attachment_recipients (attachment, recipient) values ($1, $2) \
             on conflict do nothing",
        )
        .bind(attachment.to_string())
        .bind(self.recipient.as_str())
        .execute(transaction)
        .await?;
        Ok(())
    }

    /// Why it may not be stored. Accounts are never deleted, and an attachment that is does not return.
    async fn obstacle(
        &self,
        transaction: &mut AnyConnection,
        room: Room,
    ) -> Result<NotStored, sqlx::Error> {
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
            .fetch_optional(&mut *transaction)
            .await?;
        if recipient.is_none() {
            return Ok(NotStored::NoRecipient);
        }
        let of_sender: i64 = sqlx::query_scalar(
            "select count(*) from \
             (select 1 from messages where recipient = $1 and sender = $2 limit $3) as pending",
        )
        .bind(self.recipient.as_str())
        .bind(self.sender.as_str())
        .bind(room.of_sender)
        .fetch_one(transaction)
        .await?;
        Ok(if of_sender < room.of_sender {
            NotStored::Full
        } else {
            NotStored::ShareFull
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
