//! Text of others, as it may be printed: what a service, the kernel or another observer says reaches a
//! terminal without control characters, so that it neither moves the cursor nor says what the
//! observer did not say.
//!
//! It is asked where text leaves the process, by whatever writes to stdout or stderr.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

/// The text with its control characters escaped, as JSON has it, so that JSON stays what it is. Those
/// that turn the direction of writing are among them: after one, other text is shown than is there.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut printed = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_control(character) {
            let _ = write!(printed, "\\u{:04x}", u32::from(character));
        } else {
            printed.push(character);
        }
    }
    Cow::Owned(printed)
}

/// Control characters of both sets, and those of Unicode's bidirectional algorithm (UAX #9).
#[must_use]
pub fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The same of lines that were laid out here: their ends and tabs are the observer's own.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let is_layout = |character| matches!(character, '\n' | '\t');
    if !text.contains(|character| is_control(character) && !is_layout(character)) {
        return Cow::Borrowed(text);
    }
    let parts = text.split_inclusive(is_layout);
    let print = |part: &str| match part.char_indices().next_back() {
        Some((at, last)) if is_layout(last) => format!("{}{last}", printable(&part[..at])),
        _ => printable(part).into_owned(),
    };
    parts.map(print).collect()
}

/// Writes what is printable of each line that is written to it, as whole lines are.
#[derive(Debug)]
pub struct Printer<W>(pub W);

impl<W: Write> Write for Printer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(printable_lines(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_are_seen_and_not_obeyed() {
        for (text, printed) in [
            ("plain, und Ümlaut", "plain, und Ümlaut"),
            ("\u{1b}[2J", "\\u001b[2J"),
            // The same in one character.
            ("\u{9b}2J", "\\u009b2J"),
            ("a\rb\tc\n", "a\\u000db\\u0009c\\u000a"),
            ("\u{202e}evil", "\\u202eevil"),
            ("\u{7f}", "\\u007f"),
        ] {
            assert_eq!(printable(text), printed);
        }
        assert_eq!(printable_lines("a\t\u{1b}b\n"), "a\t\\u001bb\n");
    }

    proptest! {
        #[test]
        fn nothing_but_ends_of_lines_is_left(text: String) {
            prop_assert!(!printable(&text).contains(is_control));
            let lines = printable_lines(&text);
            prop_assert!(!lines.contains(|c| is_control(c) && c != '\n' && c != '\t'));
            prop_assert_eq!(lines.matches('\n').count(), text.matches('\n').count());
            let mut written = Vec::new();
            Printer(&mut written).write_all(text.as_bytes()).unwrap();
            prop_assert_eq!(written, lines.as_bytes());
        }
    }
}
