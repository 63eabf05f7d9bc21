//! Prints what `doctor` found.

use std::fmt::Write as _;

use anyhow::Context as _;
use observer::{
    args::Output,
    config::Config,
    doctor::{self, Line, Status},
};

use crate::run;

/// What was found.
pub(crate) struct Report(Vec<Line>);

impl Report {
    /// Examines the host and the targets.
    ///
    /// # Errors
    /// When the runtime cannot be started.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        run::block_on(async { Ok(Self(doctor::examine(config).await)) })
    }

    /// 1 if something does not work, else 0.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::from(self.0.iter().any(|line| line.status == Status::Fail))
    }

    /// Lines for people, or JSON.
    ///
    /// # Errors
    /// When JSON cannot be written.
    pub(crate) fn render(&self, output: Output) -> anyhow::Result<String> {
        if output == Output::Json {
            return Ok(serde_json::to_string_pretty(&self.0).context("write JSON")? + "\n");
        }
        let mut text = String::new();
        for line in &self.0 {
            let status = match line.status {
                Status::Ok => "ok",
                Status::Warn => "warn",
                Status::Fail => "FAIL",
            };
            let _ = writeln!(text, "{status:<5} {:<14} {}", line.check, line.finding);
            if let Some(fix) = &line.fix {
                let _ = writeln!(text, "{:<20} hint: {fix}", "");
            }
        }
        Ok(text)
    }
}
