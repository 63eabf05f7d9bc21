//! `observer`: the command line. Reads arguments, runs the command, exits with its code.
#![expect(
    clippy::print_stderr,
    reason = "a command line talks: stdout is data, stderr is talk"
)]

mod doctor_report;
mod list_recipes;
mod list_sockets;
mod one_shot;
mod run;
mod show_discovery;
mod top;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;

use observer::{
    args::{self, Command, ConfigCommand, Output, Pages},
    claim,
    config::Level,
    printable::printable_lines,
};

/// What the conventions for monitoring plugins call UNKNOWN.
const UNKNOWN: u8 = 3;

fn main() -> ExitCode {
    if let Some(code) = observer::claim::guard_if_asked(std::env::args_os()) {
        return code;
    }
    let command = match args::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(usage) if usage.exit_code == 0 => {
            return finish(say(&usage.text).map(|()| ExitCode::SUCCESS), 1);
        }
        Err(usage) => {
            eprint!("{}", printable_lines(&usage.text));
            return ExitCode::from(usage.exit_code);
        }
    };
    let Command::Check { output, .. } = command else {
        return finish(execute(command), 1);
    };
    match (execute(command), output) {
        (Err(error), Output::Table) => {
            // What runs plugins reads stdout only, one line of it. A `|` would end the text.
            let text = format!("{error:#}").replace('|', "/");
            let line = text.lines().next().unwrap_or_default();
            let told = say(&format!("OBSERVER UNKNOWN - {line}\n"));
            finish(told.map(|()| ExitCode::from(UNKNOWN)), UNKNOWN)
        }
        (outcome, _) => finish(outcome, UNKNOWN),
    }
}

fn finish(outcome: anyhow::Result<ExitCode>, failure_code: u8) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", printable_lines(&format!("{error:#}")));
            ExitCode::from(failure_code)
        }
    }
}

/// Writes data to stdout. A reader that has seen enough and left, as `head` does, is no error.
fn say(text: &str) -> anyhow::Result<()> {
    let text = printable_lines(text);
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(sources) => {
            run::run(*sources)?;
        }
        Command::Check {
            sources,
            output,
            verbose,
        } => {
            // One line is what is asked for: what goes on besides is for those who want to know why.
            let level = if verbose { Level::Info } else { Level::Warn };
            let config = sources.load_at(level)?;
            run::init_log(config.log);
            let verdict = one_shot::check(config)?;
            say(&verdict.render(output, verbose)?)?;
            return Ok(ExitCode::from(verdict.exit_code()));
        }
        Command::Sockets {
            sources,
            query,
            output,
        } => {
            let config = sources.load()?;
            run::init_log(config.log);
            say(&list_sockets::list(&config, query, output)?)?;
        }
        Command::Top { sources, url } => top::top(*sources, url)?,
        Command::Doctor { sources, output } => {
            let config = sources.load_any()?;
            let report = doctor_report::Report::new(&config)?;
            say(&report.render(output)?)?;
            return Ok(ExitCode::from(report.exit_code()));
        }
        Command::Discover { only, page, output } => {
            say(&show_discovery::show(only, page, output)?)?;
        }
        Command::Recipes { name, output } => {
            say(&list_recipes::list(name.as_deref(), output)?)?;
        }
        Command::Config(ConfigCommand::Check(sources)) => {
            let config = sources.load_with(&Pages::default())?;
            run::guard(&config)?;
            for target in &config.targets {
                let command = target.claim_command.as_ref();
                let checked = command.map_or(Ok(()), claim::Command::check);
                checked.with_context(|| format!("target {}", target.name))?;
            }
            say(&format!("ok: {} target(s)\n", config.targets.len()))?;
        }
        Command::Config(ConfigCommand::Default) => {
            say(observer::config::Config::default_text())?;
        }
        Command::Completions { shell } => say(&args::completions(shell))?,
        Command::Man { command } => say(&args::man(&command)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
