//! Close looks: when, around the reading of a claim, the kernel's counts are read at once again and again.
//!
//! What is likely can be no sharper than the counts are known at the service's lag before its claim. So
//! there, and there alone, they are read so often that about one connection comes between two looks.
//! Which lags those are is `check`'s to say; this says when that is, and what it may cost.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// Shortest time between two looks: a look costs some microseconds.
const LEAST: Duration = Duration::from_micros(250);
/// Most looks for one claim, where connections come fast and the lag is long.
const MOST: u32 = 512;
/// How much sooner than it was planned a claim may be read, and how much later.
const EARLY: Duration = Duration::from_millis(2);
const LATE: Duration = Duration::from_millis(6);

/// When to look for one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CloseLook {
    /// In order, and apart.
    spans: Vec<(Instant, Instant)>,
    beat: Duration,
}

impl CloseLook {
    /// At these lags before a claim that is to be read at `due` or as little later as it takes, where so
    /// many connections come in a second. With it, when the claim is to be read. Nothing where connections
    /// are few between two `samples`, or the lags are longer than `longest`.
    pub(super) fn plan(
        lags: &[RangeInclusive<Duration>],
        due: Instant,
        rate: f64,
        samples: Duration,
        longest: Duration,
    ) -> Option<(Self, Instant)> {
        let lags = lags.iter().filter(|lags| *lags.end() <= longest);
        let lead = EARLY + *lags.clone().map(RangeInclusive::end).max()?;
        let beat = Duration::try_from_secs_f64(1.0 / rate).ok()?.max(LEAST);
        if beat >= samples {
            return None;
        }
        let read = due + lead;
        let mut spans: Vec<_> = lags
            .map(|lags| (read - *lags.end() - EARLY, read - *lags.start() + LATE))
            .collect();
        spans.sort_unstable();
        spans.dedup_by(|later, earlier| {
            let is_one = later.0 <= earlier.1;
            if is_one {
                earlier.1 = earlier.1.max(later.1);
            }
            is_one
        });
        let whole: Duration = spans.iter().map(|(from, until)| *until - *from).sum();
        let beat = beat.max(whole / MOST);
        Some((Self { spans, beat }, read))
    }

    /// When to look next: now at the earliest; nothing where it is over.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let span = self.spans.iter().find(|(_, until)| now < *until)?;
        Some(span.0.max(now))
    }

    /// The same, after a look now.
    pub(super) fn after(&self, now: Instant) -> Option<Instant> {
        self.next(now + self.beat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn plan(
        lags: &[(u32, u32)],
        rate: f64,
        longest: u32,
    ) -> Option<(Vec<(u128, u128)>, CloseLook)> {
        let due = Instant::now();
        let lags: Vec<_> = lags
            .iter()
            .map(|(from, to)| MS * *from..=MS * *to)
            .collect();
        let (look, read) = CloseLook::plan(&lags, due, rate, MS * 100, MS * longest)?;
        let since = |at: Instant| (at - due).as_millis();
        let mut spans: Vec<_> = look
            .spans
            .iter()
            .map(|(from, to)| (since(*from), since(*to)))
            .collect();
        spans.push((since(read), since(read)));
        Some((spans, look))
    }

    #[test]
    fn looks_are_at_the_lags_before_the_claim() {
        // Read after 53 ms: 49 to 51 ms before that, and just then.
        let (spans, _) = plan(&[(49, 51), (0, 1)], 1_000.0, 100).unwrap();
        assert_eq!(spans, [(0, 10), (50, 59), (53, 53)]);
        let (spans, _) = plan(&[(9, 11), (0, 1)], 1_000.0, 100).unwrap();
        assert_eq!(spans, [(0, 19), (13, 13)]);
    }

    #[test]
    fn few_connections_and_long_lags_are_not_looked_at() {
        assert_eq!(plan(&[(0, 1)], 9.0, 100), None);
        assert_eq!(plan(&[(0, 1)], 0.0, 100), None);
        assert_eq!(plan(&[(0, 1_000)], 1_000.0, 100), None);
        let (spans, _) = plan(&[(400, 600), (0, 1)], 1_000.0, 100).unwrap();
        assert_eq!(spans.len(), 2);
    }

    #[test]
    fn looks_are_as_frequent_as_connections_and_no_more_than_a_number() {
        let count = |lags, rate| {
            let (_, look) = plan(lags, rate, 10_000).unwrap();
            let mut now = look.next(look.spans[0].0 - MS * 5);
            let mut count = 0;
            while let Some(at) = now {
                count += 1;
                now = look.after(at);
            }
            count
        };
        assert_eq!(count(&[(0, 2)], 1_000.0), 10);
        assert_eq!(count(&[(0, 2)], 100_000.0), 40);
        let many = count(&[(0, 9_000)], 100_000.0);
        assert!((500..=514).contains(&many), "{many}");
    }
}
