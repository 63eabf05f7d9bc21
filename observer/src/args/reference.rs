//! docs/CONFIGURATION.md, held against the flags: the one definition of every setting.

use std::fmt::Write as _;

use clap::CommandFactory as _;

use super::Cli;

#[test]
fn configuration_md_is_the_settings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
    let page = std::fs::read_to_string(path).expect("docs/CONFIGURATION.md");
    let (_, section) = page
        .split_once("<!-- observer -->\n")
        .expect("the observer's section");
    let (section, _) = section
        .split_once("<!-- /observer -->")
        .expect("the section's end");
    let expected = settings();
    assert_eq!(
        section, expected,
        "write this into docs/CONFIGURATION.md:\n{expected}"
    );
}

/// A table for each part of the file.
fn settings() -> String {
    let command = Cli::command();
    let run = command.find_subcommand("run").expect("observer run");
    let mut parts = [
        ("[[target]]", String::new()),
        ("[web]", String::new()),
        ("[kernel]", String::new()),
        ("[log]", String::new()),
        ("[[discovery]]", String::new()),
    ];
    for argument in run.get_arguments() {
        let flag = argument.get_long().expect("every setting is a flag");
        let (part, key) = match flag.split_once('.') {
            Some(("discovery", key)) => ("[[discovery]]".to_owned(), key),
            Some((part, key)) => (format!("[{part}]"), key),
            // The file cannot name itself.
            None if flag == "config" => continue,
            None => ("[[target]]".to_owned(), flag),
        };
        let (_, rows) = parts
            .iter_mut()
            .find(|(name, _)| *name == part)
            .unwrap_or_else(|| panic!("no part {part}"));
        let help = argument.get_help().expect("every setting has help");
        let help = help.to_string().replace('\n', " ").replace('|', "\\|");
        let mut meaning = help;
        let values = argument.get_possible_values();
        if !values.is_empty() {
            let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
            let _ = write!(meaning, ". One of {}", names.join(", "));
        }
        let variable = argument.get_env().expect("every setting is a variable");
        let variable = variable.to_string_lossy();
        let _ = writeln!(rows, "| `{key}` | `--{flag}` | `{variable}` | {meaning} |");
    }
    let mut text = String::new();
    for (name, rows) in parts {
        let _ = write!(
            text,
            "\n### `{name}`\n\n| key | flag | variable | meaning |\n|---|---|---|---|\n{rows}"
        );
    }
    text + "\n"
}
