//! Waiting: for a predicate, within a bound, never for a length of time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a predicate is asked.
const BEAT: Duration = Duration::from_millis(20);

/// Names how many times slower than a machine of its own this one is: a number, in an emulated guest.
pub const SLOWNESS_VARIABLE: &str = "PLUMBLINE_SLOWNESS";

/// How many times longer everything may take here: 1, unless the environment says more.
#[must_use]
pub fn slowness() -> u32 {
    let said = std::env::var(SLOWNESS_VARIABLE).ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// Asks `probe` until it answers `Ok`, and returns what it answered. The bound is for a machine of
/// its own: a slow one has more.
///
/// # Errors
/// `bound` has passed; the text has the probe's last refusal.
pub async fn until<T, E, F>(what: &str, bound: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T, E>,
    E: Debug,
{
    let started = Instant::now();
    let bound = bound * slowness();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(refusal) if started.elapsed() >= bound => {
                bail!("waited {bound:?} for {what}; last seen: {refusal:?}")
            }
            Err(_) => tokio::time::sleep(BEAT).await,
        }
    }
}

/// Asks `probe` until it answers exactly `expected`.
///
/// # Errors
/// `bound` has passed; the text has the last value, or why there was none.
pub async fn until_equal<T, F>(what: &str, bound: Duration, expected: T, mut probe: F) -> Result<()>
where
    T: PartialEq + Debug,
    F: AsyncFnMut() -> Result<T>,
{
    until(what, bound, async || match probe().await {
        Ok(value) if value == expected => Ok(()),
        Ok(value) => Err(format!("{value:?}, expected {expected:?}")),
        Err(error) => Err(format!("{error:#}")),
    })
    .await
}
