//! The command line: which command, and the configuration that flags, environment and file give
//! together.
//!
//! Two steps. [`parse`] does no I/O beyond the environment; [`Sources::load`] reads the file, asks
//! for the addresses of hosts and puts flags over environment over file. What the commands do is not known here.

mod files;
mod help;
mod pages;
#[cfg(test)]
mod reference;

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use url::Url;

pub use self::files::Files;
use self::help::{CHECK_HELP, DISCOVER_HELP, EXAMPLES, RECIPES_HELP, SOCKETS_HELP, TOP_HELP};
use self::pages::pages_of;
pub use self::pages::{Pages, Refresher};
use crate::claim::FetchError;
use crate::config::{
    Config, ConfigError, Discovery, DiscoverySettings, HttpUrl, KernelSettings, Level, List,
    LogSettings, Place, Settings, TargetSettings, Text, WebSettings,
};
use crate::discover::Only;
use crate::sockets::Query;

/// Largest configuration file that is read. Unit: bytes. 256 targets need some 100 KiB.
const MAX_FILE: u64 = 4 << 20;

/// Checks what a service's connection gauge claims against what the kernel counts.
///
/// Every setting is a flag, an environment variable (OBSERVER_…) or a key of the file: flags win
/// over the environment, the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "observer", version, after_help = EXAMPLES)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the targets and publish what was seen, until stopped
    #[command(after_help = EXAMPLES)]
    Run(Box<Sources>),
    /// Check once, print one line and exit with the verdict
    #[command(after_help = CHECK_HELP)]
    Check {
        /// Which targets.
        #[command(flatten)]
        sources: Box<Sources>,
        /// How the verdict is printed
        #[arg(long, value_enum, default_value = "table", env = "OBSERVER_OUTPUT")]
        output: Output,
        /// Print what was compared with what, and the rule that decided
        #[arg(long, short)]
        verbose: bool,
    },
    /// List the open sockets of the targets: peer, age, class, state
    #[command(after_help = SOCKETS_HELP)]
    Sockets {
        /// Which targets.
        #[command(flatten)]
        sources: Box<Sources>,
        /// Which of their sockets.
        #[command(flatten)]
        query: Query,
        /// How the list is printed
        #[arg(long, value_enum, default_value = "table", env = "OBSERVER_OUTPUT")]
        output: Output,
    },
    /// Show the targets on the terminal, live: verdicts, trends, suspects, sockets
    #[command(after_help = TOP_HELP)]
    Top {
        /// Which targets.
        #[command(flatten)]
        sources: Box<Sources>,
        /// Status page of an observer to ask, instead of measuring
        /// [default: the one at --web.listen-address, where no target is given]
        #[arg(long, value_name = "URL", env = "OBSERVER_URL")]
        #[arg(conflicts_with_all = ["config", "TargetSettings"])]
        url: Option<Text<HttpUrl>>,
    },
    /// Say what this host lets the observer see, and how to mend what is missing
    Doctor {
        /// Which targets.
        #[command(flatten)]
        sources: Box<Sources>,
        /// How the report is printed
        #[arg(long, value_enum, default_value = "table", env = "OBSERVER_OUTPUT")]
        output: Output,
    },
    /// Find what listens here and the gauges that agree with it, and print a configuration
    #[command(after_help = DISCOVER_HELP)]
    Discover {
        /// Which listeners: :PORT, or pid:NUMBER for those of a process in its network namespace
        only: Option<Only>,
        /// A page of metrics to read, in place of asking every listener for one
        #[arg(long, value_name = "URL")]
        page: Vec<Text<HttpUrl>>,
        /// How it is printed
        #[arg(long, value_enum, default_value = "table", env = "OBSERVER_OUTPUT")]
        output: Output,
    },
    /// Print what to write for a service that many have, and what its gauge really counts
    #[command(after_help = RECIPES_HELP)]
    Recipes {
        /// Which recipe; without it a table of all
        name: Option<String>,
        /// How it is printed
        #[arg(long, value_enum, default_value = "table", env = "OBSERVER_OUTPUT")]
        output: Output,
    },
    /// Check a configuration, or print the default one
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page of observer or of one of its commands
    Man {
        /// The command, such as run or "config check"
        command: Vec<String>,
    },
}

/// What is to be done with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration as run would, and say what is wrong with it
    Check(Box<Sources>),
    /// Print a commented file with every setting at its default
    Default,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people and monitoring plugins.
    Table,
    /// For programs.
    Json,
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct Sources {
    /// Configuration file (TOML); observer config default prints one
    #[arg(long, value_name = "FILE", env = "OBSERVER_CONFIG")]
    pub config: Option<PathBuf>,
    /// The single target of the command line.
    #[command(flatten)]
    pub target: TargetSettings,
    /// `--web.…`.
    #[command(flatten)]
    pub web: WebSettings,
    /// `--kernel.…`.
    #[command(flatten)]
    pub kernel: KernelSettings,
    /// `--log.…`.
    #[command(flatten)]
    pub log: LogSettings,
    /// The single discovery of the command line.
    #[command(flatten)]
    pub discovery: DiscoverySettings,
}

/// Why the command line cannot be followed, or what it asks to be shown instead.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Usage {
    /// The message, or the help or version that was asked for.
    pub text: String,
    /// 0 for help and version; else 2, and 3 for `check`, whose 2 is a verdict.
    pub exit_code: u8,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{} is larger than {MAX_FILE} bytes: is it a configuration?", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// A list of targets does not answer.
    #[error("cannot ask {url} for its list of targets")]
    Page {
        /// Which.
        url: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// No runtime to ask pages in.
    #[error("cannot ask for lists of targets")]
    Runtime(#[source] io::Error),
    /// What was said is no configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads the command line, the program's name first, and the environment.
///
/// # Errors
/// [`Usage`], whose text goes to stdout where its exit code is 0, and else to stderr.
pub fn parse<A>(arguments: impl IntoIterator<Item = A>) -> Result<Command, Usage>
where
    A: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let is_check = arguments.get(1).is_some_and(|argument| argument == "check");
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(cli.command),
        Err(error) => Err(Usage {
            text: error.render().to_string(),
            exit_code: match error.exit_code() {
                0 => 0,
                _ if is_check => 3,
                _ => 2,
            },
        }),
    }
}

/// Completions for `shell`.
#[must_use]
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "observer", &mut script);
    String::from_utf8(script).expect("a script is text")
}

/// The manual page of `command`, a path such as `["config", "check"]`; of `observer` itself if it
/// is empty.
///
/// # Errors
/// With [`io::ErrorKind::NotFound`] when there is no such command.
pub fn man(command: &[String]) -> io::Result<String> {
    let mut page = Cli::command();
    page.build();
    for name in command {
        let Some(found) = page.find_subcommand(name) else {
            let message = format!("observer has no command {:?}", command.join(" "));
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        };
        page = found.clone();
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

impl Sources {
    /// The observer to ask: at `url`, or where no target is given, at the web address.
    #[must_use]
    pub fn observer(&self, url: Option<Text<HttpUrl>>) -> Option<Url> {
        if let Some(Text(HttpUrl(url))) = url {
            return Some(url);
        }
        let has_target = self.config.is_some()
            || self.target != TargetSettings::default()
            || self.discovery != DiscoverySettings::default();
        (!has_target).then(|| self.web.clone().into_web().url())
    }

    /// Reads the file, if one is named, and puts the command line and environment over it. Pages that are
    /// lists of targets are asked for them, and it waits until they have answered.
    ///
    /// # Errors
    /// When a file cannot be read, a page does not answer, or all together are no configuration: see
    /// [`LoadError`].
    pub fn load(self) -> Result<Config, LoadError> {
        self.load_at(Level::Info)
    }

    /// The same, with the lists that pages had when they last answered: nobody is asked.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(self, pages: &Pages) -> Result<Config, LoadError> {
        Ok(self.settings(pages, false)?.into_config(&addresses)?)
    }

    /// The same, with another level of what is logged unless told otherwise.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_at(self, level: Level) -> Result<Config, LoadError> {
        let mut settings = self.settings(&Pages::default(), true)?;
        settings.log.level.get_or_insert(level);
        Ok(settings.into_config(&addresses)?)
    }

    /// The same, where there need not be a target.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_any(self) -> Result<Config, LoadError> {
        Ok(self
            .settings(&Pages::default(), true)?
            .into_config_of_host(&addresses)?)
    }

    fn settings(self, pages: &Pages, ask: bool) -> Result<Settings, LoadError> {
        let Self {
            config,
            target,
            web,
            kernel,
            log,
            discovery,
        } = self;
        let mut settings = match &config {
            Some(path) => Settings::from_toml(&path.display().to_string(), &files::read(path)?)?,
            None => Settings::default(),
        };
        if target != TargetSettings::default() {
            if !settings.targets.is_empty() {
                let file = config.unwrap_or_default().display().to_string();
                return Err(ConfigError::TargetTwice {
                    file,
                    settings: target.keys(),
                }
                .into());
            }
            settings.targets.push((Place::CommandLine, target));
        }
        settings.web = web.or(settings.web);
        settings.kernel = kernel.or(settings.kernel);
        settings.log = log.or(settings.log);
        if discovery != DiscoverySettings::default() {
            settings.discovery.push((Place::CommandLine, discovery));
        }
        let discovery = settings.discoveries()?;
        if ask {
            pages.ask_all(pages_of(&discovery))?;
        }
        for list in lists(&discovery, pages)? {
            settings.targets.extend(list.targets(&files::is_of_host)?);
        }
        Ok(settings)
    }
}

/// What all lists say, in the order of the configuration; of pages, what they said when they last answered.
fn lists(discovery: &[Discovery], pages: &Pages) -> Result<Vec<List>, LoadError> {
    let mut lists = Vec::new();
    for discovery in discovery {
        match discovery {
            Discovery::Files(pattern) => lists.extend(files::lists_of(pattern)?),
            Discovery::Page(page) => lists.extend(pages.list(page)),
        }
    }
    Ok(lists)
}

/// The addresses of a host, as the system's resolver has them.
fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, Counts, LogFormat};

    const TARGET: &[&str] = &["--listen", ":3000", "--gauge-url", "http://h/metrics"];

    fn parse_line(command: &[&str], flags: &[&str]) -> Result<Command, Usage> {
        parse([&["observer"], command, flags].concat())
    }

    fn load(flags: &[&str]) -> Result<Config, LoadError> {
        match parse_line(&["run"], flags).unwrap() {
            Command::Run(sources) => sources.load(),
            other => panic!("{other:?}"),
        }
    }

    /// A file in a directory that lives as long as the test.
    fn file(text: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("observer.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (directory, path)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_run_is_an_environment_variable_too() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        for flag in run.get_arguments() {
            let name = flag
                .get_long()
                .unwrap()
                .to_uppercase()
                .replace(['.', '-'], "_");
            assert_eq!(
                flag.get_env().unwrap().to_str().unwrap(),
                format!("OBSERVER_{name}")
            );
            assert!(flag.get_help().is_some(), "{name} has no help");
        }
    }

    #[test]
    fn one_target_needs_no_file() {
        let config = load(TARGET).unwrap();
        let [target] = &config.targets[..] else {
            panic!("{config:?}")
        };
        assert_eq!(
            (target.name.as_str(), &*target.claim.to_string()),
            ("port-3000", "active_connections")
        );
        let all = [
            "--listen",
            "127.0.0.1:443",
            "--gauge-url",
            "http://h/1",
            "--gauge-url",
            "https://h/2",
            "--gauge",
            "g{x=\"y z\"}",
            "--counts",
            "accepted",
            "--interval",
            "1s",
            "--settle",
            "100ms",
            "--confirm",
            "3",
            "--netns",
            "pid:1",
            "--connections-url",
            "http://h/c",
            "--name",
            "n",
            "--scrape-timeout",
            "500ms",
            "--web.listen-address",
            ":0",
            "--kernel.backend",
            "sock-diag",
            "--kernel.cgroup",
            "/c",
            "--kernel.max-sockets",
            "9",
            "--log.level",
            "debug",
            "--log.format",
            "json",
        ];
        let config = load(&all).unwrap();
        let target = &config.targets[0];
        assert_eq!(
            (target.gauge_url.len(), target.counts),
            (2, Counts::Accepted)
        );
        assert_eq!(target.claim.to_string(), "g{x=\"y z\"}");
        assert_eq!(
            (config.kernel.backend, config.kernel.max_sockets),
            (Backend::SockDiag, 9)
        );
        assert_eq!(
            (config.log.level, config.log.format),
            (Level::Debug, LogFormat::Json)
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let (_directory, path) = file("[log]\nlevel = \"warn\"\nformat = \"json\"\n");
        let config =
            load(&[TARGET, &["--config", &path, "--log.level", "trace"]].concat()).unwrap();
        assert_eq!(
            (config.log.level, config.log.format),
            (Level::Trace, LogFormat::Json)
        );
    }

    #[test]
    fn a_level_that_is_said_wins_over_that_of_the_command() {
        let level = |flags: &[&str]| match parse_line(&["check"], flags).unwrap() {
            Command::Check { sources, .. } => sources.load_at(Level::Warn).unwrap().log.level,
            other => panic!("{other:?}"),
        };
        assert_eq!(level(TARGET), Level::Warn);
        assert_eq!(
            level(&[TARGET, &["--log.level", "info"]].concat()),
            Level::Info
        );
        let (_directory, path) = file("[log]\nlevel = \"debug\"\n");
        assert_eq!(
            level(&[TARGET, &["--config", &path]].concat()),
            Level::Debug
        );
    }

    #[test]
    fn what_is_asked_of_the_host_needs_no_target() {
        let any = |flags: &[&str]| match parse_line(&["doctor"], flags).unwrap() {
            Command::Doctor { sources, .. } => sources.load_any(),
            other => panic!("{other:?}"),
        };
        assert_eq!(any(&[]).unwrap().targets, []);
        assert_eq!(any(TARGET).unwrap().targets.len(), 1);
        assert!(any(&["--listen", ":1"]).is_err());
    }

    #[test]
    fn a_target_stands_in_one_place_only() {
        let (_directory, path) = file("[[target]]\nlisten = \":1\"\ngauge-url = [\"http://h/\"]\n");
        assert_eq!(load(&["--config", &path]).unwrap().targets.len(), 1);
        let error = load(&["--config", &path, "--interval", "1s", "--name", "n"]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("has targets of its own") && error.contains("(name, interval)"),
            "{error}"
        );
    }

    #[test]
    fn a_configuration_that_cannot_be_had_says_why() {
        let error = |flags: &[&str]| load(flags).unwrap_err().to_string();
        assert!(error(&[]).starts_with("no target: give --listen"));
        assert!(
            error(&["--listen", ":1"]).starts_with("command line: the target has no gauge-url")
        );
        assert_eq!(error(&["--config", "/no/file"]), "cannot read /no/file");
        let (_directory, path) = file("[log]\nlevel = 1\n");
        assert!(error(&["--config", &path]).starts_with(&format!("{path}:2:9: ")));
        assert_eq!(
            error(&["--config", "/dev/zero"]),
            "/dev/zero is larger than 4194304 bytes: is it a configuration?"
        );
        let (directory, _) = file("");
        let directory = directory.path().to_str().unwrap();
        assert_eq!(
            error(&["--config", directory]),
            format!("cannot read {directory}")
        );
    }

    #[test]
    fn wrong_usage_of_check_is_no_verdict() {
        let exit_code = |arguments: &[&str]| parse_line(arguments, &[]).unwrap_err().exit_code;
        assert_eq!(exit_code(&["check", "--nonsense"]), 3);
        assert_eq!(exit_code(&["check", "--listen", "x"]), 3);
        assert_eq!(exit_code(&["run", "--nonsense"]), 2);
        assert_eq!(exit_code(&["nonsense"]), 2);
        assert_eq!(exit_code(&[]), 2);
        assert_eq!(exit_code(&["check", "--help"]), 0);
        assert_eq!(exit_code(&["--version"]), 0);
    }

    #[test]
    fn a_bad_value_says_what_is_expected() {
        let text = |flags: &[&str]| parse_line(&["run"], flags).unwrap_err().text;
        assert!(text(&["--listen", "[::1]3000"]).contains("expected :PORT or ADDRESS:PORT"));
        assert!(text(&["--gauge", "g{x=~\"(\"}"]).contains("unclosed group"));
        assert!(text(&["--interval", "5"]).contains("such as 100ms, 5s or 1m30s"));
        assert!(text(&["--kernel.max-sockets", "0"]).contains("from 1 to 4194304"));
        assert!(text(&["--counts", "tcp"]).contains("websocket, established, accepted"));
    }

    #[test]
    fn help_shows_examples_and_exit_codes() {
        let help = |command: &str| parse_line(&[command], &["--help"]).unwrap_err().text;
        assert!(help("run").contains("observer run --listen :3000 --gauge-url"));
        assert!(help("check").contains("3  blind, or wrong usage"));
        assert!(help("check").contains("--output"));
    }

    #[test]
    fn top_measures_its_targets_or_asks_an_observer() {
        let observer = |flags: &[&str]| match parse_line(&["top"], flags).unwrap() {
            Command::Top { sources, url } => sources.observer(url).map(String::from),
            other => panic!("{other:?}"),
        };
        assert_eq!(observer(&[]).unwrap(), "http://127.0.0.1:10090/");
        assert_eq!(
            observer(&["--web.listen-address", ":7"]).unwrap(),
            "http://[::]:7/"
        );
        assert_eq!(observer(&["--url", "http://h:1"]).unwrap(), "http://h:1/");
        assert_eq!(observer(&["--listen", ":1"]), None);
        assert_eq!(observer(&["--config", "f"]), None);
        for both in [["--listen", ":1"], ["--config", "f"]] {
            let flags = [&["--url", "http://h"], &both[..]].concat();
            let usage = parse_line(&["top"], &flags).unwrap_err();
            assert!(usage.text.contains("cannot be used with"), "{}", usage.text);
        }
        let bad = parse_line(&["top"], &["--url", "ftp://h"]).unwrap_err();
        assert!(bad.text.contains("ftp"), "{}", bad.text);
    }

    #[test]
    fn completions_and_manual_pages_know_every_command() {
        for shell in Shell::value_variants() {
            assert!(completions(*shell).contains("completions"), "{shell}");
        }
        let man = |command: &[&str]| {
            let command: Vec<_> = command.iter().map(ToString::to_string).collect();
            super::man(&command)
        };
        assert!(man(&[]).unwrap().contains("observer\\-config(1)"));
        assert!(man(&["run"]).unwrap().contains("\\-\\-gauge\\-url"));
        assert!(man(&["top"]).unwrap().contains("\\-\\-url"));
        assert!(man(&["config", "check"]).unwrap().contains("\\-\\-config"));
        assert_eq!(
            man(&["nonsense"]).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
