//! A list on the screen: which of its entries are shown, in which order, and which is selected.
//!
//! An entry is known by its key: it stays selected wherever a new order puts it.

/// Longest filter. Unit: characters.
const LONGEST: usize = 64;

/// What the keys have made of a list.
#[derive(Debug, Default, Clone)]
pub(super) struct List<O> {
    /// Only entries that contain this are shown.
    pub(super) filter: String,
    /// What they are sorted by.
    pub(super) order: O,
    selected: Option<String>,
}

/// An order that a key changes.
pub(super) trait Order: Copy + Default {
    /// The next one; after the last comes the first.
    fn next(self) -> Self;
    /// What it sorts by.
    fn name(self) -> &'static str;
}

impl<O: Order> List<O> {
    /// Where the selected entry is among the keys that are shown; the first one where it is gone.
    pub(super) fn position(&self, shown: &[&str]) -> Option<usize> {
        let selected = self.selected.as_deref();
        let found = shown.iter().position(|key| Some(*key) == selected);
        found.or((!shown.is_empty()).then_some(0))
    }

    /// Selects the entry so many further down, or the last one.
    pub(super) fn step(&mut self, shown: &[&str], by: isize) {
        let Some(position) = self.position(shown) else {
            return;
        };
        let position = position.saturating_add_signed(by).min(shown.len() - 1);
        self.selected = Some(shown[position].to_owned());
    }

    /// Sorts by something else.
    pub(super) fn turn(&mut self) {
        self.order = self.order.next();
    }

    /// Adds to the filter what was typed.
    pub(super) fn type_in(&mut self, typed: char) {
        if !typed.is_control() && self.filter.chars().count() < LONGEST {
            self.filter.push(typed);
        }
    }

    /// Whether an entry of these texts is shown: one of them contains the filter, in any case.
    pub(super) fn lets_pass(&self, texts: &[&str]) -> bool {
        let filter = self.filter.to_lowercase();
        let contains = |text: &&str| text.to_lowercase().contains(&filter);
        self.filter.is_empty() || texts.iter().any(contains)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Order for () {
        fn next(self) -> Self {}
        fn name(self) -> &'static str {
            "nothing"
        }
    }

    #[test]
    fn a_selection_stays_with_its_entry() {
        let mut list = List::<()>::default();
        assert_eq!(list.position(&[]), None);
        list.step(&[], 1);
        assert_eq!(list.position(&["a", "b", "c"]), Some(0));
        list.step(&["a", "b", "c"], 1);
        assert_eq!(list.position(&["b", "c", "a"]), Some(0));
        list.step(&["b", "c", "a"], 10);
        assert_eq!(list.position(&["b", "c", "a"]), Some(2));
        assert_eq!(list.position(&["b", "c"]), Some(0));
        list.step(&["b", "c"], isize::MIN);
        assert_eq!(list.position(&["b", "c"]), Some(0));
    }

    #[test]
    fn a_filter_is_bounded_and_knows_no_case() {
        let mut list = List::<()>::default();
        assert!(list.lets_pass(&["anything"]));
        for typed in ['O', '\u{1b}', 'v'] {
            list.type_in(typed);
        }
        assert!(list.lets_pass(&["name", "over"]) && !list.lets_pass(&["agree"]));
        for _ in 0..1_000 {
            list.type_in('ü');
        }
        assert_eq!(list.filter.chars().count(), LONGEST);
    }
}
