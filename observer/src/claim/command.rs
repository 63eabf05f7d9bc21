//! A command whose output is the claim, within hard limits: whatever it does, it ends, nothing that it
//! started is left, and it costs no more memory than the limits say.
//!
//! No shell is asked, the environment is empty, and stdin is nothing. What the output says was true at
//! some moment between its start and its end. How its processes are ended is `warden`'s.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::try_join;
use rustix::process::{getegid, geteuid};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{timeout, timeout_at};

use super::exposition::Format;
use super::fetch::Scrape;
use super::hints::printable;
use super::user::{Ids, User, UserError};
use super::warden;
use crate::blocking::Places;
use crate::netns::{Doorkeeper, EnterError, Entrance};

/// Most that a command may write. Unit: bytes.
pub const MAX_OUTPUT: usize = 1 << 20;

/// How much of what it says on stderr is kept. Unit: bytes.
const MAX_TALK: usize = 4096;

/// How long the processes of a command may take to end when they are told to.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Commands that are started at once.
static STARTS: Places = Places::new(2);

/// Commands that are waited for at once.
static ENDS: Places = Places::new(4);

/// A command as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, by its whole path.
    pub program: String,
    /// What it is given.
    pub arguments: Vec<String>,
    /// As whom it is run.
    pub user: Option<User>,
}

/// Why a command gives no page.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Root runs nobody's commands as root.
    #[error("the observer is root: say by claim-user as whom the command is run, such as nobody")]
    NoUser,
    /// The user is root.
    #[error(
        "a command is not run as root: let claim-user be another user, who may do what the command does"
    )]
    Root,
    /// Another user, and no right to become it.
    #[error("only root can run a command as another user, and claim-user is {user}")]
    OtherUser {
        /// The user.
        user: String,
    },
    /// No such user.
    #[error("claim-user is of no use")]
    User(#[from] UserError),
    /// There can be no process, or not as this user.
    #[error("cannot start a process for the command")]
    Start(#[source] io::Error),
    /// Its network namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// Its output cannot be read.
    #[error("the command's output cannot be read")]
    Read(#[source] io::Error),
    /// It has not ended when the time was up.
    #[error("the command had not ended after {after:?}, and was ended (scrape-timeout)")]
    Deadline {
        /// The time that it had.
        after: Duration,
    },
    /// It writes without end.
    #[error("the command wrote more than {MAX_OUTPUT} bytes, and was ended")]
    TooLarge,
    /// It says itself that it has failed.
    #[error("the command ended with exit status {status}{}", told(said))]
    Failed {
        /// Its exit status; 128 more than the signal that ended it.
        status: i32,
        /// The first line of its stderr, bounded and escaped; empty if there is none.
        said: String,
    },
}

fn told(said: &str) -> String {
    match said {
        "" => " and said nothing on stderr".to_owned(),
        said => format!(": {said}"),
    }
}

impl CommandError {
    /// A stable name for the label `reason`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoUser | Self::Root | Self::OtherUser { .. } | Self::User(_) => "command_user",
            Self::Start(_) => "command_not_started",
            Self::Enter(_) => "netns_failed",
            Self::Read(_) => "command_unreadable",
            Self::Deadline { .. } => "deadline_exceeded",
            Self::TooLarge => "body_too_large",
            Self::Failed { .. } => "command_failed",
        }
    }
}

impl Command {
    /// As whom it is run, where that is another user than the observer.
    ///
    /// # Errors
    /// When it cannot be run as this user, or the user is not known.
    fn ids(&self) -> Result<Option<Ids>, CommandError> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let Some(user) = &self.user else {
            return match uid {
                0 => Err(CommandError::NoUser),
                _ => Ok(None),
            };
        };
        let ids = user.ids()?;
        match uid {
            _ if ids.uid == 0 => Err(CommandError::Root),
            0 => Ok(Some(ids)),
            _ if ids == (Ids { uid, gid }) => Ok(None),
            _ => Err(CommandError::OtherUser {
                user: user.to_string(),
            }),
        }
    }

    /// Whether it can be run as the user that is configured; does not run it.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&self) -> Result<(), CommandError> {
        self.ids().map(drop)
    }
}

/// Where a command is run, and who starts it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The network namespace, if it is another one.
    pub entrance: Option<Entrance>,
    /// Who may become another user; without one, the calling thread.
    pub doorkeeper: Option<Doorkeeper>,
}

/// Runs a command each time that its claim is asked for.
pub(super) struct Runner {
    command: Command,
    ids: Option<Ids>,
    surroundings: Surroundings,
    deadline: Duration,
}

impl Runner {
    pub(super) fn new(
        command: Command,
        surroundings: Surroundings,
        deadline: Duration,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            ids: command.ids()?,
            command,
            surroundings,
            deadline,
        })
    }

    /// The program, for people.
    pub(super) fn shown(&self) -> String {
        printable(&self.command.program)
    }

    /// Runs it once.
    pub(super) async fn run(&self) -> Result<Scrape, CommandError> {
        let started = Instant::now();
        let after = self.deadline;
        let too_slow = |_| CommandError::Deadline { after };
        let running = timeout(after, self.start()).await.map_err(too_slow)?;
        let mut running = running?;
        let written = timeout_at((started + after).into(), running.read()).await;
        let (body, talk) = match written.map_err(too_slow).flatten() {
            Ok(written) => written,
            Err(error) => {
                drop(running.control.take());
                running.end().await;
                return Err(error);
            }
        };
        // Both pipes are closed: it has ended.
        let finished = Instant::now();
        match running.end().await.and_then(|status| status.code()) {
            Some(0) => Ok(Scrape {
                body,
                format: Format::Text,
                started,
                finished,
            }),
            status => Err(CommandError::Failed {
                status: status.unwrap_or(-1),
                said: first_line(&talk),
            }),
        }
    }

    async fn start(&self) -> Result<Running, CommandError> {
        let mut process = self.process();
        let Surroundings {
            entrance,
            doorkeeper,
        } = self.surroundings.clone();
        let child = STARTS.run(move || match (entrance, doorkeeper) {
            (Some(entrance), _) => {
                let (child, _) = entrance.run(move || Ok(process.spawn()))?;
                child.map_err(CommandError::Start)
            }
            (None, Some(doorkeeper)) => {
                let child = doorkeeper.run(move || process.spawn());
                child.flatten().map_err(CommandError::Start)
            }
            (None, None) => process.spawn().map_err(CommandError::Start),
        });
        Running::of(child.await?).map_err(CommandError::Read)
    }

    /// The warden of the command.
    fn process(&self) -> std::process::Command {
        // The program that runs, also where another was installed in its place meanwhile.
        let mut process = std::process::Command::new("/proc/self/exe");
        process
            .arg0(warden::NAME)
            .arg(&self.command.program)
            .args(&self.command.arguments)
            .env_clear()
            .current_dir("/")
            // What a terminal sends to the observer is not for it: it ends with the observer.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(Ids { uid, gid }) = self.ids {
            // Of root's other groups none is left.
            process.uid(uid).gid(gid);
        }
        process
    }
}

/// A command that runs. When its `control` is dropped, all of its processes are ended.
struct Running {
    control: Option<ChildStdin>,
    child: Child,
    stdout: Receiver,
    stderr: Receiver,
}

impl Running {
    fn of(mut child: Child) -> io::Result<Self> {
        let receiver = |pipe: Option<OwnedFd>| {
            let pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
            Receiver::from_owned_fd(pipe)
        };
        Ok(Self {
            control: child.stdin.take(),
            stdout: receiver(child.stdout.take().map(OwnedFd::from))?,
            stderr: receiver(child.stderr.take().map(OwnedFd::from))?,
            child,
        })
    }

    /// What it writes to stdout, and the beginning of what it writes to stderr, until both are closed.
    async fn read(&mut self) -> Result<(Vec<u8>, Vec<u8>), CommandError> {
        let output = async {
            let (output, is_whole) = drain(&self.stdout, MAX_OUTPUT, true).await?;
            match is_whole {
                true => Ok(output),
                false => Err(CommandError::TooLarge),
            }
        };
        let talk = async { Ok(drain(&self.stderr, MAX_TALK, false).await?.0) };
        try_join(output, talk).await
    }

    /// Waits until it has ended, but not for ever; how it did.
    async fn end(self) -> Option<ExitStatus> {
        let Self {
            control, mut child, ..
        } = self;
        let ended = timeout(ENDS_WITHIN, ENDS.run(move || child.wait())).await;
        drop(control);
        ended.ok()?.ok()
    }
}

/// The first `limit` bytes of a pipe, and whether there were no more; read to its end unless it is to stop
/// there.
async fn drain(
    pipe: &Receiver,
    limit: usize,
    stops: bool,
) -> Result<(Vec<u8>, bool), CommandError> {
    let (mut kept, mut is_whole) = (Vec::new(), true);
    let mut buffer = [0; 8192];
    loop {
        pipe.readable().await.map_err(CommandError::Read)?;
        let read = match pipe.try_read(&mut buffer) {
            Ok(0) => return Ok((kept, is_whole)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(CommandError::Read(error)),
        };
        let room = (limit - kept.len()).min(read);
        kept.extend_from_slice(&buffer[..room]);
        is_whole &= room == read;
        if stops && !is_whole {
            return Ok((kept, false));
        }
    }
}

/// The first line that says something, bounded and escaped.
fn first_line(talk: &[u8]) -> String {
    let mut lines = talk.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    printable(&String::from_utf8_lossy(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_says_of_its_failure_is_one_printable_line() {
        assert_eq!(
            first_line(b"\n  no \x1b[31mroute\r\nsecond\n"),
            r"no \x1b[31mroute"
        );
        assert_eq!(first_line(b""), "");
        assert!(first_line(&[b'x'; MAX_TALK]).len() < 200);
        let said = |said: &str| {
            let said = said.to_owned();
            CommandError::Failed { status: 3, said }.to_string()
        };
        assert_eq!(
            said("no route"),
            "the command ended with exit status 3: no route"
        );
        assert!(said("").ends_with("exit status 3 and said nothing on stderr"));
    }

    #[test]
    fn a_command_is_run_as_another_user_than_root_and_by_root_alone() {
        let as_user = |user: Option<&str>| {
            let command = Command {
                program: "/bin/true".to_owned(),
                arguments: Vec::new(),
                user: user.map(|user| user.parse().unwrap()),
            };
            command.check().map_err(|error| error.to_string())
        };
        let error = as_user(Some("0:7")).unwrap_err();
        assert!(error.contains("is not run as root"), "{error}");
        let (none, other) = (as_user(None), as_user(Some("77777:77777")));
        if geteuid().is_root() {
            assert!(none.unwrap_err().contains("claim-user"));
            assert_eq!(other, Ok(()));
        } else {
            assert_eq!(none, Ok(()));
            assert!(other.unwrap_err().contains("only root"));
        }
    }
}
