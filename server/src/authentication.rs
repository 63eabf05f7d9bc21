//! Who sent a request: the bearer token in its headers, looked up once and then remembered.
//!
//! Knows the two places where a token may stand. Deliberately remembers only accounts that exist,
//! in bounded memory; accounts are never deleted, so what it remembers stays true.

use ::http::{HeaderMap, header};
use quick_cache::sync::Cache;

use crate::{
    account::{AccountId, Token, TokenHash},
    store::{Store, StoreError},
};

/// Most accounts that are remembered.
const REMEMBERED: usize = 16 * 1024;
/// The subprotocol that carries a token for browsers, which cannot set `Authorization`.
pub(crate) const SUBPROTOCOL: &str = "bearer";

/// Why it is not known who asks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthenticationError {
    /// No token, or one that proves nothing.
    #[error("no valid bearer token")]
    Unproven,
    /// The database that knows the token failed.
    #[error("cannot look up the token")]
    Store(#[from] StoreError),
}

/// The authenticator of one relay.
pub(crate) struct Authentication {
    known: Cache<TokenHash, AccountId>,
}

impl Authentication {
    /// Remembers nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            known: Cache::new(REMEMBERED),
        }
    }

    /// The account of the token in `Authorization: Bearer TOKEN`, or for a WebSocket handshake in
    /// the subprotocols `bearer, TOKEN`.
    pub(crate) async fn authenticate(
        &self,
        store: &Store,
        headers: &HeaderMap,
    ) -> Result<AccountId, AuthenticationError> {
        let token = token_in(headers)
            .ok_or(AuthenticationError::Unproven)?
            .hash();
        if let Some(account) = self.known.get(&token) {
            return Ok(account);
        }
        let account = store
            .find_account(&token)
            .await?
            .ok_or(AuthenticationError::Unproven)?;
        self.known.insert(token, account.clone());
        Ok(account)
    }
}

fn token_in(headers: &HeaderMap) -> Option<Token> {
    let text = |name| headers.get(name)?.to_str().ok();
    if let Some(authorization) = text(header::AUTHORIZATION) {
        let (scheme, token) = authorization.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| Token::parse(token.trim()))?;
    }
    let (protocol, token) = text(header::SEC_WEBSOCKET_PROTOCOL)?.split_once(',')?;
    (protocol.trim() == SUBPROTOCOL).then(|| Token::parse(token.trim()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, value: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        assert_eq!(token_in(&headers).is_some(), expected, "{name}: {value}");
    }

    #[test]
    fn a_token_is_found_in_both_places_and_nowhere_else() {
        let token = Token::generate().unwrap().reveal();
        check("authorization", &format!("Bearer {token}"), true);
        check("authorization", &format!("bearer  {token} "), true);
        check("authorization", &format!("Basic {token}"), false);
        check("authorization", &token, false);
        check("authorization", "Bearer", false);
        check("sec-websocket-protocol", &format!("bearer, {token}"), true);
        check("sec-websocket-protocol", &format!("bearer,{token}"), true);
        check("sec-websocket-protocol", &format!("chat, {token}"), false);
        check(
            "sec-websocket-protocol",
            &format!("bearer, {token}, chat"),
            false,
        );
        check("cookie", &format!("bearer, {token}"), false);
    }
}
