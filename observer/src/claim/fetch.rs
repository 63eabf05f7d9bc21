//! One HTTP GET of an exposition, within hard limits: whatever a target does, it ends, and it
//! costs no more memory than the limits say.
//!
//! `hyper`'s HTTP/1 connection is used directly. A client with a pool, such as `reqwest`, hides
//! what is needed here: whether a connection was reused, what a header may cost, and the moment
//! before the first byte. Redirects are reported, not followed; proxies of the environment are not
//! used, for a claim is read where the configuration says. It knows no metric.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use url::Url;

use super::access::{Access, Authorization, SecretError};
use super::body::{BodyError, Sink};
use super::connection::{ConnectError, Connection, Origin};
use super::exposition::Format;
use super::head::{check_status, format, is_gzip};
use super::selection::Expected;
use crate::blocking::Places;
use crate::netns::Entrance;

const AGENT: &str = concat!("plumbline-observer/", env!("CARGO_PKG_VERSION"));

/// Secrets that are read at once.
static FILES: Places = Places::new(4);

/// What a scrape may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From connecting to the last byte.
    pub deadline: Duration,
    /// Of the body, on the wire and again after decompression. Unit: bytes.
    pub body: usize,
}

impl Default for Limits {
    /// 5 s; 16 MiB, as VictoriaMetrics has it: some 200,000 series.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            body: 16 << 20,
        }
    }
}

/// Scrapes one URL, over one connection that it keeps while the target does.
pub struct Fetcher {
    url: Url,
    origin: Origin,
    authorization: Option<Authorization>,
    limits: Limits,
    expected: Expected,
    idle: Option<Connection>,
}

/// A complete exposition.
#[derive(Debug)]
pub struct Scrape {
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// What the target says that it is.
    pub format: Format,
    /// Before connecting, and so before the first byte of the request.
    pub started: Instant,
    /// After the last byte of the body.
    pub finished: Instant,
}

/// How far a scrape came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the secret that the target wants, where it wants one.
    Secret,
    /// Looking up the host's name.
    Resolve,
    /// Connecting, the TLS handshake.
    Connect,
    /// The request, up to the end of the response's header.
    Head,
    /// The response's body.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "reading the secret",
            Self::Resolve => "looking up the host's name",
            Self::Connect => "connecting",
            Self::Head => "waiting for the answer",
            Self::Body => "reading the body",
        })
    }
}

/// Why there is no exposition.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The secret that the target wants cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Not complete when the time was up.
    #[error("not complete after {after:?}: it was still {stage}")]
    Deadline {
        /// The time that it had.
        after: Duration,
        /// What it was doing.
        stage: Stage,
    },
    /// The connection broke, or what came over it is no HTTP.
    #[error(
        "the answer broke off while {stage}{}",
        match stage { Stage::Head => " (if the port speaks TLS, write https:// in the URL)", _ => "" }
    )]
    Broken {
        /// What was being read.
        stage: Stage,
        /// What `hyper` says.
        #[source]
        source: hyper::Error,
    },
    /// What came is no HTTP/1 response, or a header beyond all limits.
    #[error(
        "the answer is not HTTP that can be read (if the port speaks TLS, write https:// in the URL)"
    )]
    Malformed(#[source] hyper::Error),
    /// A redirect, which is not followed: it would be another claimant.
    #[error("status {} redirects to \"{location}\": configure that URL if it is the right one", status.as_u16())]
    Redirect {
        /// 3xx.
        status: StatusCode,
        /// The `Location`, bounded and escaped.
        location: String,
    },
    /// Any other status than 200.
    #[error(
        "status {}, not 200{}", status.as_u16(),
        match status.as_u16() { 400 => ": a port that speaks TLS answers so to http://", _ => "" }
    )]
    Status {
        /// What it answered.
        status: StatusCode,
    },
    /// A web page.
    #[error("the answer is an HTML page: is this the right URL?")]
    Html,
    /// A coding that was not asked for.
    #[error("content encoding \"{encoding}\", and only gzip was accepted")]
    Encoding {
        /// The `Content-Encoding`, bounded and escaped.
        encoding: String,
    },
    /// The body is too large, or cannot be unpacked.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A body without a length that stops in the middle of a line.
    #[error("the body stops in the middle of a line: the target closed the connection too early")]
    CutOff,
}

impl FetchError {
    /// A stable name for the label `reason`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.name(),
            Self::Secret(_) => "secret_unreadable",
            Self::Deadline { .. } => "deadline_exceeded",
            Self::Broken { .. } | Self::CutOff => "connection_lost",
            Self::Malformed(_) => "http_malformed",
            Self::Redirect { .. } => "http_redirect",
            Self::Status { .. } => "http_status",
            Self::Html => "html_page",
            Self::Encoding { .. } => "unknown_encoding",
            Self::Body(BodyError::TooLarge { .. }) => "body_too_large",
            Self::Body(BodyError::Gzip(_)) => "gzip_malformed",
            Self::Body(BodyError::Refused(_)) => "body_refused",
        }
    }

    fn of_hyper(stage: Stage, source: hyper::Error) -> Self {
        if source.is_parse() {
            Self::Malformed(source)
        } else {
            Self::Broken { stage, source }
        }
    }
}

impl Fetcher {
    /// A fetcher of `url`, which must be `http` or `https`.
    ///
    /// # Errors
    /// When the URL is of no use, or is `https` and there is no certificate authority to trust.
    pub fn new(url: &Url, access: &Access, limits: Limits) -> Result<Self, FetchError> {
        Ok(Self {
            url: url.clone(),
            origin: Origin::new(url, access.ca_file.as_deref())?,
            authorization: access.authorization.clone(),
            limits,
            expected: Expected::Exposition,
            idle: None,
        })
    }

    /// The same, for pages that are something else than an exposition.
    #[must_use]
    pub fn expecting(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    /// The same, through another network namespace.
    #[must_use]
    pub fn behind(self, entrance: Option<Entrance>) -> Self {
        let origin = self.origin.behind(entrance);
        Self { origin, ..self }
    }

    /// What is scraped.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Scrapes once.
    ///
    /// # Errors
    /// When no complete exposition came within the limits; the connection is then given up.
    pub async fn fetch(&mut self) -> Result<Scrape, FetchError> {
        let started = Instant::now();
        let mut body = Vec::new();
        let format = self.fetch_into(&mut body).await?;
        Ok(Scrape {
            body,
            format,
            started,
            finished: Instant::now(),
        })
    }

    /// Fetches once, and hands the body on as it comes, unpacked. What it is handed to may refuse
    /// it, and then ends the exchange.
    ///
    /// # Errors
    /// When nothing complete came within the limits, or it was refused.
    pub(super) async fn fetch_into(
        &mut self,
        reader: impl Write + Send,
    ) -> Result<Format, FetchError> {
        let mut stage = Stage::Secret;
        let after = self.limits.deadline;
        let exchange = tokio::time::timeout(after, self.exchange(reader, &mut stage)).await;
        exchange.map_err(|_| FetchError::Deadline { after, stage })?
    }

    async fn exchange(
        &mut self,
        reader: impl Write + Send,
        stage: &mut Stage,
    ) -> Result<Format, FetchError> {
        let request = self.request().await?;
        let (response, connection) = self.ask(request, stage).await?;
        *stage = Stage::Body;
        let format = self.read(response, reader).await?;
        // Only a connection whose exchange went well is used again.
        self.idle = Some(connection);
        Ok(format)
    }

    /// Sends the request, over the idle connection if there is one.
    ///
    /// The target may close an idle connection at any moment, also just now: that is no failure
    /// of the target, and the request goes out again on a fresh one, once.
    async fn ask(
        &mut self,
        request: Request<Empty<Bytes>>,
        stage: &mut Stage,
    ) -> Result<(Response<Incoming>, Connection), FetchError> {
        if let Some(mut connection) = self.idle.take()
            && self.origin.is_of(&connection).await
        {
            *stage = Stage::Head;
            match connection.send(request.clone()).await {
                Ok(response) => return Ok((response, connection)),
                Err(error) if error.is_parse() => return Err(FetchError::Malformed(error)),
                Err(_) => {}
            }
        }
        *stage = Stage::Resolve;
        let addresses = self.origin.resolve().await?;
        *stage = Stage::Connect;
        let mut connection = self.origin.connect(&addresses).await?;
        *stage = Stage::Head;
        match connection.send(request).await {
            Ok(response) => Ok((response, connection)),
            Err(error) => Err(FetchError::of_hyper(Stage::Head, error)),
        }
    }

    async fn request(&self) -> Result<Request<Empty<Bytes>>, FetchError> {
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut request = Request::get(path)
            .header(HOST, self.origin.host_header())
            .header(ACCEPT, self.expected.accepted())
            .header(ACCEPT_ENCODING, "gzip")
            .header(USER_AGENT, AGENT)
            .body(Empty::new())
            .expect("a parsed URL's path and host are valid in HTTP");
        if let Some(authorization) = self.authorization.clone() {
            // The file may be on a disk that is slow.
            let header = FILES.run(move || authorization.read_header()).await?;
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        Ok(request)
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        reader: impl Write + Send,
    ) -> Result<Format, FetchError> {
        let (head, mut body) = response.into_parts();
        check_status(head.status, &head.headers, self.expected)?;
        let format = match self.expected {
            Expected::Exposition => format(&head.headers)?,
            Expected::Json | Expected::Text | Expected::Answer => Format::Text,
        };
        let is_gzip = is_gzip(&head.headers)?;
        let length = body.size_hint().exact();
        let is_delimited = length.is_some() || head.headers.contains_key(TRANSFER_ENCODING);

        let mut sink = Sink::new(is_gzip, length, self.limits.body, reader)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| FetchError::of_hyper(Stage::Body, error))?;
            if let Some(data) = frame.data_ref() {
                sink.write(data)?;
            }
        }
        let last = sink.finish()?;
        // Where only the end of the connection ends the body, a service that dies has sent a
        // shorter one. OpenMetrics and JSON say where they end; text at least ends its last line.
        let is_json = matches!(self.expected, Expected::Json | Expected::Answer);
        let has_end = is_json || format == Format::OpenMetrics;
        let is_cut_off = !is_delimited && !has_end && last != Some(b'\n');
        if is_cut_off {
            Err(FetchError::CutOff)
        } else {
            Ok(format)
        }
    }
}
