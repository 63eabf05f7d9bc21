//! Accounts and the tokens that prove them.
//!
//! Knows what an id and a token look like. Deliberately does no I/O; a token exists in clear only
//! while it is being made or checked, and neither type prints it.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Who sends and receives: a UUID in text form. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AccountId(Arc<str>);

impl AccountId {
    /// A new id, unlike any other.
    #[must_use]
    pub(crate) fn generate() -> Self {
        Self(Uuid::new_v4().to_string().into())
    }

    /// An id that the store returned.
    #[must_use]
    pub(crate) fn from_stored(id: String) -> Self {
        Self(id.into())
    }

    /// An id that a client wrote: `None` unless it is a UUID in canonical form.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?.to_string();
        (id == text).then(|| Self(id.into()))
    }

    /// The id as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A bearer token in clear: 64 hexadecimal digits, 256 random bits.
pub(crate) struct Token(String);

impl Token {
    /// A new token.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    /// A token that a client showed: `None` unless it could be one.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_token =
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_token.then(|| Self(text.to_owned()))
    }

    /// What is stored of it.
    #[must_use]
    pub(crate) fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(&self.0).into())
    }

    /// The token itself, for the one answer that shows it.
    #[must_use]
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

/// SHA-256 of a token. The token has 256 random bits, so no salt or stretching is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    /// The 32 bytes.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_its_form_alone() {
        let token = Token::generate().unwrap();
        let hash = token.hash();
        let text = token.reveal();
        assert!(Token::parse(&text).unwrap().hash() == hash);
        for wrong in [
            "",
            "x",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}0"),
        ] {
            assert!(Token::parse(wrong).is_none() || wrong == text, "{wrong}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = AccountId::generate();
        assert_eq!(AccountId::parse(id.as_str()), Some(id.clone()));
        assert_eq!(AccountId::parse(&id.as_str().to_uppercase()), None);
        assert_eq!(AccountId::parse("../x"), None);
    }
}
