//! What is known of attachments, and who may fetch them.

use uuid::Uuid;

use super::{Store, StoreError};
use crate::account::AccountId;

/// An attachment whose bytes are in S3.
pub(crate) struct Attachment {
    pub(crate) id: Uuid,
    pub(crate) owner: AccountId,
    /// Unit: bytes.
    pub(crate) size: u64,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
    /// Unit: milliseconds since the Unix epoch.
    pub(crate) created_at: i64,
}

impl Store {
    /// Remembers an attachment.
    pub(crate) async fn create_attachment(&self, new: &Attachment) -> Result<(), StoreError> {
        let Attachment {
            id,
            owner,
            size,
            sha256,
            created_at,
        } = new;
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("create_attachment");
        let work = sqlx::query(
            "insert into attachments (id, owner, size, sha256, created_at) \
             values ($1, $2, $3, $4, $5)",
        )
        .bind(id.to_string())
        .bind(owner.as_str())
        // The limit on attachments is far below 2^63 bytes.
        .bind(i64::try_from(*size).unwrap_or(i64::MAX))
        .bind(sha256)
        .bind(created_at)
        .execute(database);
        statement.run(work).await?;
        Ok(())
    }

    /// Whether `account` may fetch the attachment: it is its owner or was sent it.
    pub(crate) async fn may_fetch(
        &self,
        id: &Uuid,
        account: &AccountId,
    ) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("may_fetch");
        let work = sqlx::query_scalar(
            "select id from attachments where id = $1 and owner = $2 union \
             select attachment from attachment_recipients where attachment = $1 and recipient = $2",
        )
        .bind(id.to_string())
        .bind(account.as_str())
        .fetch_optional(database);
        let found: Option<String> = statement.run(work).await?;
        Ok(found.is_some())
    }
}
