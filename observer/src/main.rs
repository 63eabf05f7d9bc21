//! `observer`: the command line. Reads arguments, runs the command, exits with its code.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks: stdout is data, stderr is talk"
)]

mod doctor_report;
mod list_sockets;
mod one_shot;
mod run;
mod top;

use std::{io, process::ExitCode};

use observer::args::{self, Command, ConfigCommand};

/// What the conventions for monitoring plugins call UNKNOWN.
const UNKNOWN: u8 = 3;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(usage) if usage.exit_code == 0 => {
            print!("{}", usage.text);
            return ExitCode::SUCCESS;
        }
        Err(usage) => {
            eprint!("{}", usage.text);
            return ExitCode::from(usage.exit_code);
        }
    };
    let failure_code = match command {
        Command::Check { .. } => UNKNOWN,
        _ => 1,
    };
    match execute(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failure_code)
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(sources) => {
            let config = sources.load()?;
            run::init_log(config.log);
            run::run(&config)?;
        }
        Command::Check {
            sources,
            output,
            verbose,
        } => {
            let config = sources.load()?;
            run::init_log(config.log);
            let verdict = one_shot::check(config)?;
            print!("{}", verdict.render(output, verbose)?);
            return Ok(ExitCode::from(verdict.exit_code()));
        }
        Command::Sockets {
            sources,
            query,
            output,
        } => {
            let config = sources.load()?;
            run::init_log(config.log);
            print!("{}", list_sockets::list(&config, query, output)?);
        }
        Command::Top { sources, url } => top::top(*sources, url)?,
        Command::Doctor { sources, output } => {
            let config = sources.load()?;
            let report = doctor_report::Report::new(&config)?;
            print!("{}", report.render(output)?);
            return Ok(ExitCode::from(report.exit_code()));
        }
        Command::Config(ConfigCommand::Check(sources)) => {
            let config = sources.load()?;
            println!("ok: {} target(s)", config.targets.len());
        }
        Command::Config(ConfigCommand::Default) => {
            print!("{}", observer::config::Config::default_text());
        }
        Command::Completions { shell } => args::write_completions(shell, &mut io::stdout())?,
        Command::Man { command } => args::write_man(&command, &mut io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}
