//! What somebody may have meant by a word that there is not.

/// Least likeness at which a word is offered for another, from 0 to 1.
const LIKE: f64 = 0.85;

/// What a word loses whose parts stand in another order.
const MOVED: f64 = 0.99;

/// The words that are most like another one, the best first, without repetition.
#[derive(Debug)]
pub(crate) struct Similar<'a> {
    word: &'a str,
    most: usize,
    found: Vec<(f64, String)>,
}

impl<'a> Similar<'a> {
    /// At most `most` words that are like `word`.
    pub(crate) fn new(word: &'a str, most: usize) -> Self {
        Self {
            word,
            most,
            found: Vec::new(),
        }
    }

    /// There is this word.
    pub(crate) fn note(&mut self, candidate: &str) {
        let likeness = likeness(self.word, candidate);
        if likeness < LIKE || self.found.iter().any(|(_, known)| known == candidate) {
            return;
        }
        let behind = self.found.partition_point(|(other, _)| *other >= likeness);
        if behind < self.most {
            self.found.insert(behind, (likeness, candidate.to_owned()));
            self.found.truncate(self.most);
        }
    }

    /// What was found.
    pub(crate) fn into_words(self) -> Vec<String> {
        self.found.into_iter().map(|(_, word)| word).collect()
    }
}

/// The word of `candidates` that is most like `word`.
pub(crate) fn closest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let mut similar = Similar::new(word, 1);
    candidates
        .into_iter()
        .for_each(|candidate| similar.note(candidate));
    similar.into_words().pop()
}

fn likeness(one: &str, other: &str) -> f64 {
    // `connections_active` is meant by `active_connections`, and `active-connections` too.
    let (one_sorted, other_sorted) = (in_order(one), in_order(other));
    let contained = match one.len() >= 6 && other.contains(one) {
        true => LIKE,
        false => 0.0,
    };
    strsim::jaro_winkler(one, other)
        .max(strsim::jaro_winkler(&one_sorted, &other_sorted) * MOVED)
        .max(contained)
}

/// The parts of a name in the order of the alphabet.
fn in_order(name: &str) -> String {
    let mut parts: Vec<_> = name.split(['_', '-', '.', ':']).collect();
    parts.sort_unstable();
    parts.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_words_come_first_and_others_not_at_all() {
        let mut similar = Similar::new("active_conections", 2);
        for word in [
            "go_goroutines",
            "connections_active",
            "active_connections",
            "active_connections",
            "inactive_connections",
            "process_cpu_seconds_total",
        ] {
            similar.note(word);
        }
        assert_eq!(
            similar.into_words(),
            ["active_connections", "connections_active"]
        );
    }

    #[test]
    fn a_key_with_another_dash_is_meant() {
        let keys = ["gauge", "gauge-url", "listen", "interval"];
        assert_eq!(closest("gauge_url", keys).as_deref(), Some("gauge-url"));
        assert_eq!(closest("intervall", keys).as_deref(), Some("interval"));
        assert_eq!(closest("frobnicate", keys), None);
    }
}
