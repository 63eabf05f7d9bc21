//! Accounts: an id, and the hash of the token that proves it.

use super::{Store, StoreError};
use crate::account::{AccountId, TokenHash};

impl Store {
    /// Creates an account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn create_account(
        &self,
        id: &AccountId,
        token: &TokenHash,
        created_at: i64,
    ) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("create_account");
        let work =
            sqlx::query("insert into accounts (id, token_hash, created_at) values ($1, $2, $3)")
                .bind(id.as_str())
                .bind(token.as_bytes().to_vec())
                .bind(created_at)
                .execute(database);
        statement.run(work).await?;
        Ok(())
    }

    /// The account whose token has this hash.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn find_account(
        &self,
        token: &TokenHash,
    ) -> Result<Option<AccountId>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("find_account");
        let work = sqlx::query_scalar("select id from accounts where token_hash = $1")
            .bind(token.as_bytes().to_vec())
            .fetch_optional(database);
        let id: Option<String> = statement.run(work).await?;
        Ok(id.map(AccountId::from_stored))
    }
}
