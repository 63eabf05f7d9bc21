//! Starting the workspace's own binaries, with their output kept and their end certain.
//!
//! A process is stopped when the value is dropped, whatever became of the test, and with it what it has
//! started: each is in a process group of its own.

use std::env;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
pub use rustix::process::Signal;
use rustix::process::{
    Pid, Resource, Rlimit, getrlimit, kill_process, kill_process_group, setrlimit,
};

use crate::wait;

/// The workspace binary called `name`, beside the test executable.
///
/// # Errors
/// It is not built: `cargo build --workspace --bins` does it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = env::current_exe().context("find the test executable")?;
    let found = test
        .ancestors()
        // target/debug/deps/it-0123 → target/debug/NAME
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.with_context(|| format!("{name} is not built: cargo build --workspace --bins"))
}

/// Lets this process have as many descriptors as the system allows: each connection is one.
///
/// # Errors
/// The kernel refuses.
pub fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")
}

/// A process that was started, and what it has said.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// What a process has written on one of its outputs so far.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn read_all(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                // The pipe breaks when the process ends: there is nothing more to read.
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                lines
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        })
    }

    fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Process {
    /// Starts the workspace binary `name`.
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn spawn<I, A>(name: &str, arguments: I) -> Result<Self>
    where
        I: IntoIterator<Item = A>,
        A: AsRef<std::ffi::OsStr>,
    {
        Self::start(Command::new(binary(name)?).args(arguments))
    }

    /// Starts any command: for an environment, another user, another network namespace.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let program = PathBuf::from(command.get_program());
        let name = program
            .file_name()
            .map_or("process".into(), |name| name.to_string_lossy().into_owned());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            stdout.read_all(child.stdout.take().context("its stdout is a pipe")?),
            stderr.read_all(child.stderr.take().context("its stderr is a pipe")?),
        ];
        Ok(Self {
            name,
            child,
            status: None,
            stdout,
            stderr,
            readers,
        })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout: its data.
    pub fn stdout(&self) -> String {
        self.stdout.all().join("\n")
    }

    /// What it has written to stderr: its log.
    pub fn log(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// Waits for a line of its log that contains `text`, and returns that line.
    ///
    /// # Errors
    /// `bound` has passed or the process has ended first; the text has the whole log.
    pub async fn wait_for_log(&mut self, text: &str, bound: Duration) -> Result<String> {
        let what = format!("{} to log {text:?}", self.name);
        let found = wait::until(&what, bound, async || {
            // Its last words may still be on their way when it has ended.
            let ended = self.try_wait()?.is_some() && self.is_read_whole();
            let line = self
                .stderr
                .all()
                .into_iter()
                .find(|line| line.contains(text));
            ensure!(line.is_some() || ended, "not yet");
            Ok(line)
        })
        .await;
        found
            .and_then(|line| line.context("it ended first"))
            .with_context(|| format!("log of {}:\n{}", self.name, self.log()))
    }

    /// Waits until `url` answers 200.
    ///
    /// # Errors
    /// `bound` has passed or the process has ended first; the text has the whole log.
    pub async fn wait_for_url(&mut self, url: &str, bound: Duration) -> Result<()> {
        let what = format!("{} to answer {url}", self.name);
        let found = wait::until(&what, bound, async || {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            let answer = crate::http::get(url).await?;
            ensure!(answer.status == 200, "{}", answer.status);
            Ok(None)
        })
        .await;
        found
            .and_then(|ended| {
                ensure!(ended.is_none(), "it ended first");
                Ok(())
            })
            .with_context(|| format!("log of {}:\n{}", self.name, self.log()))
    }

    /// Waits until it has ended by itself, and its outputs are read whole.
    ///
    /// # Errors
    /// `bound` has passed.
    pub async fn wait_for_exit(&mut self, bound: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        let status = wait::until(&what, bound, async || {
            self.try_wait()?.context("it still runs")
        })
        .await?;
        // A child of its own may hold a pipe open: then what was read is what there is.
        let _ = wait::until("its outputs to end", Duration::from_secs(1), async || {
            self.is_read_whole().then_some(()).ok_or("still open")
        })
        .await;
        Ok(status)
    }

    /// Sends SIGTERM, and waits until it has ended.
    ///
    /// # Errors
    /// `bound` has passed.
    pub async fn terminate(&mut self, bound: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_for_exit(bound)
            .await
            .with_context(|| format!("log of {}:\n{}", self.name, self.log()))
    }

    /// Sends a signal; to a process that has ended, none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("send {signal:?} to {}", self.name))
    }

    fn is_read_whole(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    /// The exit status, if it has ended.
    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("wait for the process")?;
        }
        Ok(self.status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // These fail only where all of it has ended already. Its workers may have outlived it.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
