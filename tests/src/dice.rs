//! Dice: numbers at random whose sequence is their seed's for good, so that a run can be repeated.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// `SplitMix64`, whose sequence is the same everywhere.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// One of the first `sides` numbers.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }

    /// Cuts bytes into segments: single bytes, short ones and long ones.
    pub fn cut<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut segments = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let longest = *self.pick(&[1, 40, 4_000]);
            let (segment, behind) = rest.split_at(rest.len().min(1 + self.roll(longest) as usize));
            segments.push(segment);
            rest = behind;
        }
        segments
    }
}

/// The seed to begin with: `PLUMBLINE_SEED`, or the time.
///
/// # Panics
/// The variable holds no number.
#[must_use]
pub fn first_seed() -> u64 {
    let given = env::var("PLUMBLINE_SEED").ok();
    given.map_or_else(
        || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(0, |now| now.as_secs())
        },
        |text| text.parse().expect("PLUMBLINE_SEED is a number"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_sequence() {
        let rolls = |seed| {
            let mut dice = Dice::seeded(seed);
            [dice.roll(1_000), dice.roll(1_000), dice.roll(1_000)]
        };
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }

    #[test]
    fn segments_are_the_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut dice = Dice::seeded(1);
        for _ in 0..20 {
            let segments = dice.cut(&bytes);
            assert_eq!(segments.concat(), bytes);
            assert!(segments.iter().all(|segment| !segment.is_empty()));
        }
    }
}
