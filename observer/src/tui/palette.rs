//! Colours: the terminal's own 16, on its own background, and only beside a word that says the same.

use std::env;

use ratatui::style::{Color, Modifier, Style};

/// Whether there are colours at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Palette {
    has_colour: bool,
}

impl Palette {
    /// None where `NO_COLOR` is set, or the terminal has none.
    pub(super) fn of_environment() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        Self::of(&variable("NO_COLOR"), &variable("TERM"))
    }

    pub(super) fn of(no_color: &str, term: &str) -> Self {
        let is_monochrome = term.ends_with("-m")
            || term.ends_with("-mono")
            || ["vt100", "vt102", "vt220", "dumb"].contains(&term);
        Self {
            has_colour: no_color.is_empty() && !is_monochrome,
        }
    }

    /// How a verdict looks.
    pub(super) fn verdict(self, verdict: &str) -> Style {
        // Neither yellow, which is lost on white, nor blue, which is lost on black.
        match verdict {
            "agree" => self.colour(Color::Green),
            "over" | "under" => self.colour(Color::Red).add_modifier(Modifier::BOLD),
            "unsettled" => self.colour(Color::Magenta),
            _ => Style::new().add_modifier(Modifier::BOLD),
        }
    }

    /// How something that must not be missed looks.
    pub(super) fn alarm(self) -> Style {
        self.colour(Color::Red)
            .add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// How a heading looks.
    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// How what is selected looks; a marker stands beside it as well.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}

/// A sign for a verdict, for where there is no colour and for who does not read the word.
pub(super) fn symbol(verdict: &str) -> char {
    match verdict {
        "agree" => '=',
        "over" => '▲',
        "under" => '▼',
        "unsettled" => '~',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_colour_where_none_is_wanted_or_can_be() {
        let has_colour = |no_color, term| Palette::of(no_color, term).has_colour;
        assert!(has_colour("", "xterm-256color"));
        assert!(has_colour("", "linux"));
        assert!(!has_colour("1", "xterm-256color"));
        assert!(!has_colour("", "vt100"));
        assert!(!has_colour("", "xterm-mono"));
    }

    #[test]
    fn without_colour_no_style_has_one() {
        let palette = Palette::of("1", "");
        for verdict in ["agree", "over", "under", "unsettled", "blind"] {
            assert_eq!(palette.verdict(verdict).fg, None, "{verdict}");
        }
        assert_eq!(palette.alarm().fg, None);
    }
}
