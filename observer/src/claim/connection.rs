//! Connections to a target's metrics port: TCP, and TLS for `https`.
//!
//! It knows how to reach an origin and how to send one request at a time; what is asked and what
//! the answer means is `fetch`'s.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{resolve::resolve, trust};
use crate::blocking::Places;
use crate::netns::{EnterError, Entrance};

/// Most bytes of a response's header. Unit: bytes.
const MAX_HEAD: usize = 64 << 10;

/// Most headers of a response.
const MAX_HEADERS: usize = 100;

/// Most bytes that are buffered of a connection. Unit: bytes.
const MAX_BUFFER: usize = 128 << 10;

/// Network namespaces that are entered at once.
static ENTRANCES: Places = Places::new(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A URL that leads nowhere: no host, or a scheme that is not HTTP's.
    #[error("the URL has no host and port to connect to")]
    Unusable,
    /// The host's name has no address.
    #[error("the host's name cannot be resolved")]
    Resolve(#[source] io::Error),
    /// No address of it takes connections.
    #[error("cannot connect")]
    Tcp(#[source] io::Error),
    /// It is in a network namespace that cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// What came is no TLS.
    #[error("the answer is no TLS: write http:// in the URL, if that is what the port speaks")]
    NoTls(#[source] io::Error),
    /// The service's certificate is nobody's who is trusted.
    #[error(
        "the service's certificate is of no authority that is trusted: ca-file names a file with \
         the authority's certificate, or with the service's own"
    )]
    Untrusted(#[source] io::Error),
    /// TLS was asked for, and there is nothing to trust.
    #[error("no root certificates on this machine to check https against")]
    NoRoots(#[source] Option<rustls_native_certs::Error>),
    /// The file of certificate authorities is of no use.
    #[error("no certificate authority in the ca-file {}", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it; nothing if it holds no certificate.
        #[source]
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// The connection broke before it was used.
    #[error("the connection cannot be used")]
    Http(#[source] hyper::Error),
}

impl ConnectError {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Unusable => "url_unusable",
            Self::Resolve(_) => "resolve_failed",
            Self::Enter(_) => "netns_failed",
            Self::Tcp(_) | Self::Http(_) => "connect_failed",
            Self::Tls(_)
            | Self::NoTls(_)
            | Self::Untrusted(_)
            | Self::NoRoots(_)
            | Self::CaFile { .. } => "tls_failed",
        }
    }
}

/// Where a URL leads.
pub(super) struct Origin {
    host: Host<String>,
    port: u16,
    host_header: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The way to it, where it is in another network namespace.
    entrance: Option<Entrance>,
}

impl Origin {
    /// `ca_file` replaces this machine's certificate authorities for `https`.
    pub(super) fn new(url: &Url, ca_file: Option<&Path>) -> Result<Self, ConnectError> {
        let host = url.host().ok_or(ConnectError::Unusable)?.to_owned();
        let port = url.port_or_known_default().ok_or(ConnectError::Unusable)?;
        let host_header = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let tls = match (url.scheme(), ca_file) {
            ("http", None) => None,
            ("http", Some(path)) => {
                // It is of use for none of it, but a file that is not there is a mistake.
                trust::check(path)?;
                None
            }
            ("https", _) => Some((trust::connector(ca_file)?, server_name(&host)?)),
            _ => return Err(ConnectError::Unusable),
        };
        Ok(Self {
            host,
            port,
            host_header,
            tls,
            entrance: None,
        })
    }

    /// The same, inside another network namespace. The host's name is looked up outside.
    pub(super) fn behind(self, entrance: Option<Entrance>) -> Self {
        Self { entrance, ..self }
    }

    /// The `Host` header: the port only where it is not the scheme's own (RFC 9110, 7.2).
    pub(super) fn host_header(&self) -> &str {
        &self.host_header
    }

    /// Where it is now, address by address.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let addresses = match &self.host {
            Host::Ipv4(address) => [IpAddr::V4(*address)].into(),
            Host::Ipv6(address) => [IpAddr::V6(*address)].into(),
            Host::Domain(name) => resolve(name).await.map_err(ConnectError::Resolve)?,
        };
        let addresses = addresses.iter();
        Ok(addresses.map(|ip| (*ip, self.port).into()).collect())
    }

    /// Connects to the first of these addresses that takes connections.
    pub(super) async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<Connection, ConnectError> {
        let (stream, inside) = match &self.entrance {
            None => {
                let stream = TcpStream::connect(addresses).await;
                (stream.map_err(ConnectError::Tcp)?, None)
            }
            Some(entrance) => {
                let (stream, inode) = connect_inside(entrance, addresses).await?;
                (stream, Some(inode))
            }
        };
        // Without it, the few small writes of a request may wait for acknowledgements.
        stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
        let connection = match &self.tls {
            None => Connection::open(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Connection::open(stream.map_err(trust::failed)?).await
            }
        };
        Ok(Connection {
            inside,
            ..connection?
        })
    }

    /// Whether a connection still leads to where the network namespace's name does.
    pub(super) async fn is_of(&self, connection: &Connection) -> bool {
        let Some(entrance) = self.entrance.clone() else {
            return true;
        };
        let now = ENTRANCES.run(move || entrance.run(|| Ok(()))).await;
        now.is_ok_and(|((), inode)| connection.inside == Some(inode))
    }
}

/// Connects to the first of these addresses that takes connections inside a network namespace. A socket
/// is of the namespace in which it was made, wherever it is used.
async fn connect_inside(
    entrance: &Entrance,
    addresses: &[SocketAddr],
) -> Result<(TcpStream, u32), ConnectError> {
    let mut last = ConnectError::Tcp(io::ErrorKind::AddrNotAvailable.into());
    for &address in addresses {
        let entrance = entrance.clone();
        let open = move || match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let (socket, inode) = ENTRANCES.run(move || entrance.run(open)).await?;
        match socket.connect(address).await {
            Ok(stream) => return Ok((stream, inode)),
            Err(error) => last = ConnectError::Tcp(error),
        }
    }
    Err(last)
}

fn server_name(host: &Host<String>) -> Result<ServerName<'static>, ConnectError> {
    match host {
        Host::Domain(name) => {
            ServerName::try_from(name.clone()).map_err(|_| ConnectError::Unusable)
        }
        Host::Ipv4(address) => Ok(ServerName::from(std::net::IpAddr::V4(*address))),
        Host::Ipv6(address) => Ok(ServerName::from(std::net::IpAddr::V6(*address))),
    }
}

/// An HTTP/1 connection; dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// The inode of the network namespace that it was made in, where that is another one.
    inside: Option<u32>,
    /// Drives the connection, and ends with this struct.
    _driver: JoinSet<()>,
}

impl Connection {
    async fn open<S>(stream: S) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .max_header_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectError::Http)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What goes wrong on a connection comes out of the request or the body on it.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            inside: None,
            _driver: driver,
        })
    }

    /// Sends a request once the connection is free, and waits for the response's header.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}
