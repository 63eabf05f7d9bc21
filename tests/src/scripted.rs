//! A TCP server that says exactly what a test tells it to, one write a segment.
//!
//! Both ends of each connection are in the test's hands. A write is waited for at the other end
//! before the next one, so that the kernel cannot put two of them into one segment.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What loopback takes longer for has gone wrong.
const BOUND: Duration = Duration::from_secs(10);

/// The head of the answer that makes a WebSocket.
pub const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
    connection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// An interim answer, behind which another one comes.
pub const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </s.css>\r\n\r\n";
/// An answer after which the connection is kept alive.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// A ping without payload.
pub const PING: &[u8] = b"\x89\x00";
/// A close frame with the code 1000.
pub const CLOSE: &[u8] = b"\x88\x02\x03\xe8";

/// A frame as a server sends it: final, unmasked, its length in the shortest form.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The server: it listens, and accepts when it is told to.
#[derive(Debug)]
pub struct Scripted {
    listener: Option<TcpListener>,
    address: SocketAddr,
}

/// Both ends of a connection.
#[derive(Debug)]
pub struct Pair {
    /// The client's end.
    pub client: TcpStream,
    /// The server's end.
    pub server: TcpStream,
}

impl Scripted {
    /// Listens on `address`, with room for `backlog` connections that nobody accepts.
    ///
    /// # Errors
    /// The kernel refuses the address.
    pub fn listen(address: SocketAddr, backlog: u32) -> Result<Self> {
        let socket = Self::socket(address)?;
        socket.set_reuseaddr(true).context("set SO_REUSEADDR")?;
        Self::on(socket, address, backlog)
    }

    /// As [`Self::listen`], where others of its kind may listen as well (SO_REUSEPORT).
    ///
    /// # Errors
    /// The kernel refuses the address.
    pub fn share(address: SocketAddr, backlog: u32) -> Result<Self> {
        let socket = Self::socket(address)?;
        socket.set_reuseport(true).context("set SO_REUSEPORT")?;
        Self::on(socket, address, backlog)
    }

    fn socket(address: SocketAddr) -> Result<TcpSocket> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        socket.context("make a socket")
    }

    fn on(socket: TcpSocket, address: SocketAddr, backlog: u32) -> Result<Self> {
        let what = || format!("listen on {address}");
        socket.bind(address).with_context(what)?;
        let listener = socket.listen(backlog).with_context(what)?;
        let address = listener.local_addr().context("ask for the port")?;
        Ok(Self {
            listener: Some(listener),
            address,
        })
    }

    /// Listens no longer; what was accepted stays.
    ///
    /// # Errors
    /// It did not listen.
    pub fn close(&mut self) -> Result<()> {
        let listener = self.listener.take();
        listener.map(drop).context("it did not listen")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects without accepting.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(&self) -> Result<TcpStream> {
        let client = TcpStream::connect(self.address).await.context("connect")?;
        client.set_nodelay(true).context("set TCP_NODELAY")?;
        Ok(client)
    }

    /// Accepts the connection that has waited longest.
    ///
    /// # Errors
    /// The kernel refuses, or there is none within ten seconds.
    pub async fn accept(&self) -> Result<TcpStream> {
        let listener = self.listener.as_ref().context("it does not listen")?;
        let accepted = tokio::time::timeout(BOUND, listener.accept()).await;
        let (server, _) = accepted
            .context("nobody has connected")?
            .context("accept")?;
        server.set_nodelay(true).context("set TCP_NODELAY")?;
        Ok(server)
    }

    /// Connects and accepts: both ends of a new connection.
    ///
    /// # Errors
    /// The kernel refuses, or somebody else has connected.
    pub async fn pair(&self) -> Result<Pair> {
        let client = self.connect().await?;
        let server = self.accept().await?;
        let ours = client.local_addr().context("ask for an address")?;
        let theirs = server.peer_addr().context("ask for an address")?;
        ensure!(ours == theirs, "{theirs} was accepted instead of {ours}");
        Ok(Pair { client, server })
    }

    /// So many of them, one after the other.
    ///
    /// # Errors
    /// As of [`Self::pair`].
    pub async fn pairs(&self, count: usize) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push(self.pair().await?);
        }
        Ok(pairs)
    }

    /// As [`Self::pair`], and the server has sent `segments`.
    ///
    /// # Errors
    /// As of [`Self::pair`] and [`Pair::send`].
    pub async fn pair_that_got(&self, segments: &[&[u8]]) -> Result<Pair> {
        let mut pair = self.pair().await?;
        pair.send(segments).await?;
        Ok(pair)
    }
}

impl Pair {
    /// The server sends each of these in a segment of its own.
    ///
    /// # Errors
    /// They do not arrive within ten seconds.
    pub async fn send(&mut self, segments: &[&[u8]]) -> Result<()> {
        for segment in segments {
            let (client, server) = (&mut self.client, &mut self.server);
            let mut arrived = vec![0; segment.len()];
            // Both at once: what is larger than the socket buffers needs a reader.
            let both = async {
                tokio::try_join!(server.write_all(segment), client.read_exact(&mut arrived))
            };
            tokio::time::timeout(BOUND, both)
                .await
                .context("a segment did not arrive")?
                .context("send a segment")?;
            ensure!(arrived == *segment, "other bytes arrived than were sent");
        }
        Ok(())
    }

    /// The client sends `bytes`, and the server reads them.
    ///
    /// # Errors
    /// They do not arrive within ten seconds.
    pub async fn ask(&mut self, bytes: &[u8]) -> Result<()> {
        let (client, server) = (&mut self.client, &mut self.server);
        let mut arrived = vec![0; bytes.len()];
        let both =
            async { tokio::try_join!(client.write_all(bytes), server.read_exact(&mut arrived)) };
        tokio::time::timeout(BOUND, both)
            .await
            .context("a request did not arrive")?
            .context("send a request")?;
        Ok(())
    }
}

/// Closes an end with a RST.
///
/// # Errors
/// The socket has ended already.
pub fn reset(end: TcpStream) -> Result<()> {
    SockRef::from(&end)
        .set_linger(Some(Duration::ZERO))
        .context("set linger to 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_shortest_length() {
        assert_eq!(frame(9, b""), PING);
        assert_eq!(frame(8, b"\x03\xe8"), CLOSE);
        assert_eq!(frame(1, &[7; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(
            frame(2, &[7; 65_536])[..10],
            [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[tokio::test]
    async fn segments_arrive_as_they_were_sent() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = Scripted::listen(any, 8).expect("listen");
        let large = frame(2, &[1; 1_000_000]);
        let mut pair = server
            .pair_that_got(&[UPGRADE, PING, &large])
            .await
            .expect("a pair");
        pair.ask(b"GET / HTTP/1.1\r\n\r\n").await.expect("ask");
        reset(pair.server).expect("reset");
        let error = pair.client.read_u8().await.expect_err("it was reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
