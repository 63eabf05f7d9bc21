//! The file that says every default: each setting with its manual, commented out.
//!
//! Knows how a file reads well. Deliberately knows no setting: they tell their own name, manual and value.

use std::fmt::Write as _;

use super::Config;

/// The longest line of a manual.
const WIDTH: usize = 96;

/// A setting, as it tells of itself.
pub(super) struct Setting {
    /// Its field, whose underscores are hyphens in a file.
    pub(super) field: &'static str,
    pub(super) manual: &'static str,
    pub(super) value: toml::Value,
}

impl Config {
    /// A file of these settings, each commented out.
    ///
    /// # Errors
    /// When a number is larger than TOML has room for.
    pub fn commented(&self) -> Result<String, toml::ser::Error> {
        let mut text = String::from(
            "# Configuration of the server. Every setting stands here with its default.\n\
             # Flags and the environment (SERVER_...) win over this file; unknown keys are errors.\n\
             # Check it with: server config check --config FILE\n",
        );
        for setting in self.settings()? {
            let Setting {
                field,
                manual,
                value,
            } = setting;
            let name = field.replace('_', "-");
            // The value stands below it; an empty one does not say what it means.
            let manual = match value.as_str() {
                Some("") => manual,
                _ => manual.split(" [default:").next().unwrap_or_default(),
            };
            text.push('\n');
            wrap(&mut text, manual.trim());
            // Writing to a String cannot fail.
            let _ = match value {
                toml::Value::Table(_) => writeln!(text, "# [{name}]\n# NAME = [0.1, 1.0]"),
                value => writeln!(text, "# {name} = {value}"),
            };
        }
        Ok(text)
    }
}

/// Writes a text as comments, a line for so many characters.
fn wrap(text: &mut String, manual: &str) {
    let mut length = 0;
    for word in manual.split_whitespace() {
        let word_length = word.chars().count() + 1;
        if length > 0 && length + word_length > WIDTH {
            text.push('\n');
            length = 0;
        }
        text.push_str(if length == 0 { "# " } else { " " });
        text.push_str(word);
        length += word_length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    #[test]
    fn the_default_file_is_all_defaults() {
        let default = Given::default().over(Given::default());
        let file = default.commented().unwrap();
        let settings = file.lines().filter_map(|line| line.strip_prefix("# "));
        // A line of a manual has no such shape.
        let settings: Vec<&str> = settings
            .filter(|line| {
                let name = line.split_once(" = ").map(|(name, _)| name);
                name.is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            })
            .collect();
        let given: Given = toml::from_str(&settings.join("\n")).unwrap();
        let said = given.over(Given::default());
        assert_eq!(format!("{said:?}"), format!("{default:?}"));
        // Each but the buckets, which are a table.
        assert_eq!(settings.len() + 1, default.settings().unwrap().len());
        assert!(
            file.lines().all(|line| line.chars().count() <= WIDTH + 2),
            "{file}"
        );
        let unchanged: Given = toml::from_str(&file).unwrap();
        assert_eq!(
            format!("{:?}", unchanged.over(Given::default())),
            format!("{default:?}")
        );
    }
}
