//! `server`: the command line.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use sd_notify::NotifyState;
use server::{
    Server,
    config::{Config, Given},
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// A message relay over WebSocket, with its metrics on a port of their own.
///
/// Each setting is a flag, an environment variable or a key of the file, in this order.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// TOML file of settings; its keys are the flags' names
    #[arg(long, env = "SERVER_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// What to log, such as `info` or `server=debug`
    #[arg(long = "log.level", env = "SERVER_LOG_LEVEL", default_value = "info")]
    log_level: EnvFilter,
    /// How to log
    #[arg(
        long = "log.format",
        env = "SERVER_LOG_FORMAT",
        default_value = "logfmt"
    )]
    log_format: LogFormat,
    /// Print the manual page, in roff, and exit
    #[arg(long)]
    man: bool,
    #[command(flatten)]
    given: Given,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is done in place of serving.
#[derive(Subcommand)]
enum Command {
    /// Check the settings, or print the default ones
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read the settings as the server would, and say what is wrong with them
    Check,
    /// Print a file of every setting with its default
    Default,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// One line of `key=value` per event
    Logfmt,
    /// One JSON object per event
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.man {
        return write_man();
    }
    let log = tracing_subscriber::registry().with(arguments.log_level);
    match arguments.log_format {
        LogFormat::Logfmt => {
            let lines = tracing_logfmt::builder().with_target(false).layer();
            log.with(lines.with_writer(std::io::stderr)).init();
        }
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::layer().json();
            log.with(lines.with_writer(std::io::stderr)).init();
        }
    }
    let Arguments {
        given,
        config,
        command,
        ..
    } = arguments;
    let done = match command {
        None => run(given, config),
        Some(Command::Config(ConfigCommand::Check)) => check(given, config),
        Some(Command::Config(ConfigCommand::Default)) => print_default(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write_man() -> ExitCode {
    // Packages install it under this name: `server` would be anybody's.
    let page = clap_mangen::Man::new(Arguments::command().name("plumbline-server")).section("8");
    match page.render(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough and left, as `head` does, is no error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The settings of the command line, the environment and the file.
fn resolve(given: Given, file: Option<PathBuf>) -> anyhow::Result<Config> {
    let file = file.map(Given::read).transpose()?.unwrap_or_default();
    Ok(given.over(file))
}

fn check(given: Given, file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = resolve(given, file)?;
    server::check(&config)?;
    server::guard(&config)?;
    say("ok\n")
}

fn print_default() -> anyhow::Result<()> {
    let config = Given::default().over(Given::default());
    say(&config.commented().context("cannot write the defaults")?)
}

/// Writes to stdout; a reader that has seen enough and left, as `head` does, is no error.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}

fn run(given: Given, file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = resolve(given, file)?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut stop = std::pin::pin!(stop_signal(interrupt, terminate));
        let server = tokio::select! {
            started = Server::start(config) => started?,
            () = &mut stop => {
                tracing::info!("stopped before the start was complete");
                return Ok(());
            }
        };
        tracing::info!(
            public_address = %server.public_address(),
            management_address = %server.management_address(),
            "listening"
        );
        let status = format!(
            "clients on {}, metrics on {}",
            server.public_address(),
            server.management_address()
        );
        tell_supervisor(&[NotifyState::Ready, NotifyState::Status(&status)]);
        Ok(server.run(stop).await?)
    })
}

/// Ready at the first signal; the second one ends the process on the spot.
async fn stop_signal(mut interrupt: Signal, mut terminate: Signal) {
    let mut received = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    received().await;
    let status = NotifyState::Status("closing the sessions");
    tell_supervisor(&[NotifyState::Stopping, status]);
    tokio::spawn(async move {
        received().await;
        tracing::warn!("second signal: stopping at once");
        std::process::exit(1);
    });
}

/// Tells whoever named a socket in `NOTIFY_SOCKET`, as systemd does for `Type=notify`; else nobody.
fn tell_supervisor(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the supervisor; hint: see NOTIFY_SOCKET");
    }
}

/// A connection is a descriptor: the soft limit of 1,024 that most shells give is too few.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
