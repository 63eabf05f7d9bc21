//! A `/metrics` page whose gauge says what the bench has opened: the claim, where a load has none.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};

/// A page that is served until the task ends.
pub(super) struct Claim {
    port: u16,
}

impl Claim {
    /// Serves a page whose gauge `active_connections` says `open`.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn serve(open: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let port = listener.local_addr().context("ask for the port")?.port();
        let body = format!("active_connections {open}\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = answer.clone();
                thread::spawn(move || respond(stream, &answer));
            }
        });
        Ok(Self { port })
    }

    /// Where it is, on loopback.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// Answers each request, until the client has left.
fn respond(stream: TcpStream, answer: &str) {
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    for line in BufReader::new(stream).lines() {
        // A request without a body ends with its first empty line.
        let is_request = line.as_ref().is_ok_and(String::is_empty);
        if line.is_err() || is_request && writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
