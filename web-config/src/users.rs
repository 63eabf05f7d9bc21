//! `basic_auth_users`: who may ask, by the bcrypt hash of a password (RFC 7617).
//!
//! A comparison takes tens of milliseconds, by design. A password that was right is remembered by a digest,
//! so that a scraper costs that once; how many are compared at once is bounded, and a name that is not known
//! takes as long as a wrong password.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Most passwords that are remembered to be right.
const MAX_REMEMBERED: usize = 64;
/// Passwords that are compared at once.
const AT_ONCE: usize = 2;
/// Longest name and password together. Unit: bytes.
const MAX_CREDENTIALS: usize = 1024;
/// Of nobody's password, at the cost that Prometheus' documentation has.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuiPmqh6SiNqk9xXoGcPBrHYqRLVo9Yfm";

/// Who may ask.
#[derive(Debug)]
pub(crate) struct Users {
    hashes: BTreeMap<String, String>,
    right: Mutex<BTreeSet<[u8; 32]>>,
    comparing: Arc<Semaphore>,
}

impl Users {
    /// Those with these hashes; where there are none, everybody may ask.
    ///
    /// # Errors
    /// The name of one whose hash is none of bcrypt.
    pub(crate) fn new(hashes: BTreeMap<String, String>) -> Result<Self, String> {
        let is_hash = |hash: &str| hash.parse::<bcrypt::HashParts>().is_ok();
        if let Some((name, _)) = hashes.iter().find(|(_, hash)| !is_hash(hash)) {
            return Err(name.clone());
        }
        Ok(Self {
            hashes,
            right: Mutex::default(),
            comparing: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Whether whoever sends these headers may ask.
    pub(crate) async fn may_ask(&self, headers: &HeaderMap) -> bool {
        if self.hashes.is_empty() {
            return true;
        }
        let Some((name, password)) = credentials(headers) else {
            return false;
        };
        let known = self.hashes.get(&name);
        let hash = known.map_or(NOBODY, String::as_str).to_owned();
        let digest = digest(&name, &hash, &password);
        let right = || self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right().contains(&digest) {
            return true;
        }
        // Whoever is left waiting may have gone: the comparison is made for nobody then, once.
        let Ok(place) = Arc::clone(&self.comparing).acquire_owned().await else {
            return false;
        };
        let compared = spawn_blocking(move || {
            let _place = place;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        let is_right = compared.await.unwrap_or(false) && known.is_some();
        if is_right {
            let mut right = right();
            if right.len() >= MAX_REMEMBERED {
                right.clear();
            }
            right.insert(digest);
        }
        is_right
    }
}

/// Name and password of an `Authorization: Basic`.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MAX_CREDENTIALS * 4 / 3 {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Each part with its length before it, so that no two lists of parts are alike.
fn digest(name: &str, hash: &str, password: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [name, hash, password] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn basic(text: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(text)))
    }

    fn users() -> Users {
        // The least cost that there is.
        let hash = bcrypt::hash("right", 4).unwrap();
        Users::new(BTreeMap::from([("alice".to_owned(), hash)])).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_name_lets_ask() {
        let users = users();
        for _ in 0..2 {
            assert!(users.may_ask(&basic("alice:right")).await);
            for wrong in ["alice:wrong", "bob:right", "alice:", "alice", ":right", ""] {
                assert!(!users.may_ask(&basic(wrong)).await, "{wrong}");
            }
        }
        for wrong in ["Bearer x", "Basic", "Basic !!!", "Basic YWxpY2U6"] {
            assert!(!users.may_ask(&headers(wrong)).await, "{wrong}");
        }
        assert!(!users.may_ask(&HeaderMap::new()).await);
        assert_eq!(users.right.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn without_users_everybody_may_ask() {
        let users = Users::new(BTreeMap::new()).unwrap();
        assert!(users.may_ask(&HeaderMap::new()).await);
    }

    #[test]
    fn a_password_that_is_not_hashed_is_refused() {
        let plain = BTreeMap::from([("alice".to_owned(), "secret".to_owned())]);
        assert_eq!(Users::new(plain).unwrap_err(), "alice");
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
    }
}
