//! What is known of attachments, and who may fetch them.

use sqlx::Connection as _;
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
    /// Takes note of an upload: until it is an attachment, nothing refers to its object.
    pub(crate) async fn begin_upload(&self, id: &Uuid, now: i64) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("begin_upload");
        let work = sqlx::query("insert into unreferenced_objects (id, since) values ($1, $2)")
            .bind(id.to_string())
            .bind(now)
            .execute(database);
        statement.run(work).await?;
        Ok(())
    }

    /// Makes an attachment of an upload; says whether it could, since one that took too long may be
    /// removed already.
    pub(crate) async fn create_attachment(&self, new: &Attachment) -> Result<bool, StoreError> {
        let Attachment {
            id,
            owner,
            size,
            sha256,
            created_at,
        } = new;
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("create_attachment");
        let work = async {
            let mut transaction = database.begin().await?;
            let created = sqlx::query(
                "insert into attachments (id, owner, size, sha256, created_at) \
                 select $1, $2, cast($3 as bigint), $4, cast($5 as bigint) where exists \
                 (select 1 from unreferenced_objects where id = $1 and since > 0)",
            )
            .bind(id.to_string())
            .bind(owner.as_str())
            // The limit on attachments is far below 2^63 bytes.
            .bind(i64::try_from(*size).unwrap_or(i64::MAX))
            .bind(sha256)
            .bind(created_at)
            .execute(&mut *transaction)
            .await?;
            if created.rows_affected() > 0 {
                sqlx::query("delete from unreferenced_objects where id = $1")
                    .bind(id.to_string())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            Ok(created.rows_affected() > 0)
        };
        statement.run(work).await
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
