//! x
use std::time::Duration;
use url::Url;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub enum FetchError {}
impl FetchError {
    pub(super) fn name(&self) -> &'static str {
        "x"
    }
}
/// x
#[derive(Debug)]
pub struct Fetcher;
impl Fetcher {
    /// x
    pub fn new(_u: &Url, _l: Limits) -> Result<Self, FetchError> {
        Ok(Self)
    }
}
/// x
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// x
    pub deadline: Duration,
}
/// x
#[derive(Debug)]
pub struct Scrape;
/// x
#[derive(Debug)]
pub struct Stage;
