//! What goes: messages and attachments that are too old, and objects that no attachment refers to.
//!
//! Knows ages and batches. Deliberately does not know how old is too old, and touches no object: it says
//! which are to be removed, and is told which have been.

use sqlx::Connection as _;
use uuid::Uuid;

use super::{Store, StoreError};

/// Most rows that one transaction removes: others wait for it.
pub(crate) const BATCH: u64 = 256;

/// The same, as the database has it.
const LIMIT: i64 = BATCH as i64;

/// The mark of an object that nobody will refer to any more, in the place of its time.
const DOOMED: i64 = 0;

impl Store {
    /// Removes messages that were sent before that time, the oldest first, at most [`BATCH`]; says how
    /// many. Unit: milliseconds since the Unix epoch.
    pub(crate) async fn expire_messages(&self, before: i64) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("expire_messages");
        let work = sqlx::query(
            "delete from messages where sequence in (select sequence from messages \
             where id < $1 and sent_at < $2 order by id limit $3)",
        )
        .bind(first_id(before))
        .bind(before)
        .bind(LIMIT)
        .execute(database);
        Ok(statement.run(work).await?.rows_affected())
    }

    /// Removes attachments that were made before that time and that no message refers to which waits, at
    /// most [`BATCH`]; says how many. Their objects are doomed.
    pub(crate) async fn expire_attachments(&self, before: i64) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("expire_attachments");
        let work = async {
            let mut transaction = database.begin().await?;
            sqlx::query(
                "insert into unreferenced_objects (id, since) \
                 select id, cast($1 as bigint) from attachments where id < $2 and created_at < $3 \
                 and not exists (select 1 from messages where attachment = attachments.id) \
                 order by id limit $4",
            )
            .bind(DOOMED)
            .bind(first_id(before))
            .bind(before)
            .bind(LIMIT)
            .execute(&mut *transaction)
            .await?;
            sqlx::query(
                "delete from attachment_recipients where attachment in \
                 (select id from unreferenced_objects where since = $1)",
            )
            .bind(DOOMED)
            .execute(&mut *transaction)
            .await?;
            let removed = sqlx::query(
                "delete from attachments where id in \
                 (select id from unreferenced_objects where since = $1)",
            )
            .bind(DOOMED)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(removed.rows_affected())
        };
        statement.run(work).await
    }

    /// Dooms the objects of uploads that began before that time and are not complete: they never will
    /// be. Returns doomed objects, at most [`BATCH`].
    pub(crate) async fn doom_objects(&self, before: i64) -> Result<Vec<Uuid>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("doom_objects");
        let work = async {
            let mut transaction = database.begin().await?;
            sqlx::query(
                "update unreferenced_objects set since = $1 where since > $1 and since < $2",
            )
            .bind(DOOMED)
            .bind(before)
            .execute(&mut *transaction)
            .await?;
            let doomed: Vec<String> = sqlx::query_scalar(
                "select id from unreferenced_objects where since = $1 order by id limit $2",
            )
            .bind(DOOMED)
            .bind(LIMIT)
            .fetch_all(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(doomed)
        };
        let doomed = statement.run(work).await?;
        // Only this crate writes ids, and it writes UUIDs.
        Ok(doomed.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Forgets an object that is gone.
    pub(crate) async fn forget_object(&self, id: &Uuid) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("forget_object");
        let work = sqlx::query("delete from unreferenced_objects where id = $1")
            .bind(id.to_string())
            .execute(database);
        statement.run(work).await?;
        Ok(())
    }
}

/// The least id that can be made at that time: ids begin with it, so that an index by id is one by age.
fn first_id(time: i64) -> String {
    let time = u128::try_from(time).unwrap_or(0);
    Uuid::from_u128(time << 80).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::now;

    #[test]
    fn an_id_is_beyond_the_first_of_its_time_and_below_that_of_the_next() {
        let before = now();
        let id = Uuid::now_v7().to_string();
        let after = now() + 1;
        assert!(first_id(before) <= id && id < first_id(after), "{id}");
        assert!(first_id(-1) <= first_id(0));
    }
}
