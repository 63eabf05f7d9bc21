//! The fetcher and the claimant against real sockets, whose other end does what it likes.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use super::*;

/// Longer than any test takes in which the deadline is not the point.
const AMPLE: Duration = Duration::from_secs(30);

/// For targets that would keep a scrape waiting for ever.
const BRIEF: Duration = Duration::from_millis(300);

const LIMIT: usize = 1 << 20;

const FRESH: Freshness = Freshness {
    age: Duration::from_secs(5),
    ahead: Duration::from_secs(1),
};

/// A server on loopback; it ends with this value.
struct Server {
    url: Url,
    /// How many connections it took.
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Does to each connection what `behave` says, given its number from 0.
    async fn start<B, F>(behave: B) -> Self
    where
        B: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut behaviours = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                behaviours.spawn(behave(counter.fetch_add(1, Ordering::Relaxed), stream));
            }
        });
        Self {
            url: url.parse().unwrap(),
            connections,
            _tasks: tasks,
        }
    }

    /// Gives `answer` to each request, over connections that it keeps.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                while !read_request(&mut stream).await.is_empty() {
                    let _ = stream.write_all(&answer).await;
                }
            }
        })
        .await
    }

    /// Gives `answer` to one request and then closes the connection, as after `Connection: close`.
    async fn closing_after(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |_, mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
            }
        })
        .await
    }

    fn fetcher(&self, deadline: Duration) -> Fetcher {
        Fetcher::new(
            &self.url,
            &Access::default(),
            Limits {
                deadline,
                body: LIMIT,
            },
        )
        .unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The header of the next request; empty at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(request).unwrap()
}

fn ok(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The body, or the name of the reason why there is none.
async fn fetch(server: &Server, deadline: Duration) -> Result<String, &'static str> {
    let began = Instant::now();
    let result = server.fetcher(deadline).fetch().await;
    assert!(
        began.elapsed() < deadline + Duration::from_secs(5),
        "the deadline did not hold"
    );
    match result {
        Ok(scrape) => {
            assert!(scrape.body.len() <= LIMIT);
            assert!(began <= scrape.started && scrape.started <= scrape.finished);
            Ok(String::from_utf8(scrape.body).unwrap())
        }
        Err(error) => Err(error.name()),
    }
}

/// What comes of one answer, after which the connection is kept open and then closed.
async fn check(answer: impl Into<Vec<u8>>, expected: Result<&str, &str>) {
    let answer = answer.into();
    let shown = answer[..answer.len().min(200)].escape_ascii().to_string();
    let result = fetch(&Server::closing_after(answer).await, AMPLE).await;
    assert_eq!(result.as_deref().map_err(|name| *name), expected, "{shown}");
}

#[tokio::test]
async fn an_exposition_comes_whole_however_it_is_framed() {
    check(ok("content-type: text/plain\r\n", "g 1\n"), Ok("g 1\n")).await;
    check(ok("", "g 1\n"), Ok("g 1\n")).await;
    check(ok("", ""), Ok("")).await;
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ng \r\n2;x=y\r\n1\n\r\n0\r\n\r\n",
        Ok("g 1\n"),
    )
    .await;
    check("HTTP/1.0 200 OK\r\n\r\ng 1\n", Ok("g 1\n")).await;
    check(
        "HTTP/1.1 200\r\nconnection: close\r\n\r\ng 1\n",
        Ok("g 1\n"),
    )
    .await;
}

#[tokio::test]
async fn the_content_type_decides_the_format() {
    for (content_type, expected) in [
        ("", Some(Format::Text)),
        ("text/plain; version=0.0.4", Some(Format::Text)),
        ("application/octet-stream", Some(Format::Text)),
        (
            "Application/OpenMetrics-Text ;version=1.0.0; charset=utf-8",
            Some(Format::OpenMetrics),
        ),
        ("text/html; charset=utf-8", None),
        ("application/xhtml+xml", None),
    ] {
        let header = match content_type {
            "" => String::new(),
            value => format!("content-type: {value}\r\n"),
        };
        let server = Server::answering(ok(&header, "g 1\n")).await;
        let scrape = server.fetcher(AMPLE).fetch().await;
        assert_eq!(
            scrape.as_ref().ok().map(|scrape| scrape.format),
            expected,
            "{content_type}"
        );
        if let Err(error) = scrape {
            assert_eq!(error.name(), "html_page");
        }
    }
}

#[tokio::test]
async fn the_request_is_that_of_a_scraper() {
    let (sender, mut requests) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_request(&mut stream).await).await.unwrap();
            let _ = stream.write_all(&ok("", "g 1\n")).await;
        }
    })
    .await;
    let mut url = server.url.clone();
    url.set_path("/a b/metrics");
    url.set_query(Some("x=y&z"));
    url.set_fragment(Some("fragment"));
    Fetcher::new(&url, &Access::default(), Limits::default())
        .unwrap()
        .fetch()
        .await
        .unwrap();
    let request = requests.recv().await.unwrap();
    assert!(
        request.starts_with("GET /a%20b/metrics?x=y&z HTTP/1.1\r\n"),
        "{request}"
    );
    let host = format!("host: 127.0.0.1:{}\r\n", url.port().unwrap());
    let agent = format!(
        "user-agent: plumbline-observer/{}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    for header in [
        &host,
        &agent,
        "accept-encoding: gzip\r\n",
        "accept: application/openmetrics",
    ] {
        assert!(request.contains(header), "{header:?} in {request}");
    }
}

#[tokio::test]
async fn gzip_is_unpacked_and_nothing_else_is() {
    let gzipped = |body: &[u8]| ok("content-encoding: gzip\r\n", body);
    check(gzipped(&gzip(b"g 1\n")), Ok("g 1\n")).await;
    check(
        ok("content-encoding: X-GZIP\r\n", gzip(b"g 1\n")),
        Ok("g 1\n"),
    )
    .await;
    check(
        gzipped(&[gzip(b"g 1\n"), gzip(b"h 2\n")].concat()),
        Ok("g 1\nh 2\n"),
    )
    .await;
    check(ok("content-encoding: identity\r\n", "g 1\n"), Ok("g 1\n")).await;
    let packed = gzip(b"g 1\n");
    check(gzipped(&packed[..packed.len() - 1]), Err("gzip_malformed")).await;
    check(gzipped(&packed[..5]), Err("gzip_malformed")).await;
    check(gzipped(b"g 1\n"), Err("gzip_malformed")).await;
    check(
        gzipped(&[&packed[..], b"rest"].concat()),
        Err("gzip_malformed"),
    )
    .await;
    for coding in [
        "br",
        "zstd",
        "gzip, gzip",
        "gzip\r\ncontent-encoding: gzip",
        "\x1b[1m",
    ] {
        let answer = ok(&format!("content-encoding: {coding}\r\n"), "g 1\n");
        let result = fetch(&Server::closing_after(answer).await, AMPLE).await;
        assert!(
            matches!(result, Err("unknown_encoding" | "http_malformed")),
            "{coding}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_gzip_bomb_stops_at_the_limit() {
    let bomb = gzip(&vec![b'\n'; 16 * LIMIT]);
    assert!(bomb.len() < LIMIT / 8);
    check(
        ok("content-encoding: gzip\r\n", bomb),
        Err("body_too_large"),
    )
    .await;
    let exact = gzip(&vec![b'\n'; LIMIT]);
    check(
        ok("content-encoding: gzip\r\n", exact),
        Ok("\n".repeat(LIMIT).as_str()),
    )
    .await;
    let above = gzip(&vec![b'\n'; LIMIT + 1]);
    check(
        ok("content-encoding: gzip\r\n", above),
        Err("body_too_large"),
    )
    .await;
}

#[tokio::test]
async fn a_body_stops_at_the_limit_however_it_is_framed() {
    let endless = |head: &'static str, piece: Vec<u8>| {
        Server::start(move |_, mut stream| {
            let piece = piece.clone();
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(&piece).await.is_ok() {}
            }
        })
    };
    let server = endless("HTTP/1.1 200 OK\r\n\r\n", b"g 1\n".repeat(1000)).await;
    assert_eq!(fetch(&server, AMPLE).await, Err("body_too_large"));
    let chunk = [&b"fa0\r\n"[..], &b"g 1\n".repeat(1000), b"\r\n"].concat();
    let server = endless(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        chunk,
    )
    .await;
    assert_eq!(fetch(&server, AMPLE).await, Err("body_too_large"));
    // Empty gzip members for ever: the limit on the wire ends it.
    let server = endless(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
        gzip(b""),
    )
    .await;
    assert_eq!(fetch(&server, AMPLE).await, Err("body_too_large"));
    // Announced and never sent: refused at once.
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999\r\n\r\n";
    check(head, Err("body_too_large")).await;
    check(ok("", vec![b'\n'; LIMIT + 1]), Err("body_too_large")).await;
    check(ok("", vec![b'\n'; LIMIT]), Ok("\n".repeat(LIMIT).as_str())).await;
}

#[tokio::test]
async fn a_target_that_never_answers_is_given_up() {
    let server = Server::start(|_, stream| async move {
        let _stream = stream;
        std::future::pending().await
    })
    .await;
    let error = server.fetcher(BRIEF).fetch().await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Deadline {
                stage: Stage::Head,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_target_that_answers_byte_by_byte_is_given_up() {
    let dribble = |answer: &'static [u8]| {
        Server::start(move |_, mut stream| async move {
            read_request(&mut stream).await;
            for byte in answer {
                let _ = stream.write_u8(*byte).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let server = dribble(b"HTTP/1.1 200 OK\r\nx-slow: abcdefghijklmnopqrstuvwxyz\r\n\r\n").await;
    let error = server.fetcher(BRIEF).fetch().await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Deadline {
                stage: Stage::Head,
                ..
            }
        ),
        "{error}"
    );
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await;
        while stream.write_u8(b'\n').await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let error = server.fetcher(BRIEF).fetch().await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Deadline {
                stage: Stage::Body,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    check("", Err("connection_lost")).await;
    check("HTTP/1.1 200 OK\r\ncontent-le", Err("connection_lost")).await;
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ng 1\n",
        Err("connection_lost"),
    )
    .await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ng 1\n\r\n";
    check(chunked, Err("connection_lost")).await;
    // g 100, of which the last digits are lost, is not g 1.
    check("HTTP/1.0 200 OK\r\n\r\ng 1", Err("connection_lost")).await;
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ng 1\n").await;
        // Closing with a linger time of 0 sends RST.
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(fetch(&server, AMPLE).await, Err("connection_lost"));
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    check("220 mail.example ESMTP\r\n", Err("http_malformed")).await;
    check("\x16\x03\x01\0\x01\x01\r\n\r\n", Err("http_malformed")).await;
    check(
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        Err("http_malformed"),
    )
    .await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for garbage in [
        "garbage\r\ng 1\n\r\n",
        "-4\r\ng 1\n\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let result = fetch(
            &Server::closing_after(format!("{chunked}{garbage}")).await,
            AMPLE,
        )
        .await;
        assert!(
            matches!(result, Err("connection_lost" | "http_malformed")),
            "{garbage}: {result:?}"
        );
    }
}

#[tokio::test]
async fn headers_have_limits() {
    let many = "x: y\r\n".repeat(1000);
    check(ok(&many, "g 1\n"), Err("http_malformed")).await;
    let large = format!("x: {}\r\n", "y".repeat(1 << 20));
    check(ok(&large, "g 1\n"), Err("http_malformed")).await;
    let fair = format!("x: {}\r\n", "y".repeat(16 << 10));
    check(ok(&fair, "g 1\n"), Ok("g 1\n")).await;
}

#[tokio::test]
async fn a_redirect_is_reported_and_not_followed() {
    let elsewhere = Server::answering(ok("", "g 1\n")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}\r\n", elsewhere.url);
        let answer = format!("HTTP/1.1 {status} Moved\r\n{location}content-length: 0\r\n\r\n");
        let server = Server::answering(answer).await;
        let error = server.fetcher(AMPLE).fetch().await.unwrap_err();
        assert_eq!(error.name(), "http_redirect");
        assert!(
            error.to_string().contains(elsewhere.url.as_str()),
            "{error}"
        );
    }
    assert_eq!(elsewhere.connections(), 0);
    let long = format!(
        "HTTP/1.1 302 x\r\nlocation: /{}\r\n\r\n",
        "\u{fc}".repeat(5000)
    );
    let error = Server::answering(long)
        .await
        .fetcher(AMPLE)
        .fetch()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 500 && text.is_ascii(), "{text}");
}

#[tokio::test]
async fn only_200_is_an_exposition() {
    for status in [201, 204, 206, 304, 400, 401, 403, 404, 429, 500, 503, 101] {
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        let error = Server::answering(answer)
            .await
            .fetcher(AMPLE)
            .fetch()
            .await
            .unwrap_err();
        assert_eq!(error.name(), "http_status", "{status}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn scrapes_of_one_target_share_a_connection() {
    let server = Server::answering(ok("", "g 1\n")).await;
    let mut fetcher = server.fetcher(AMPLE);
    for _ in 0..10 {
        fetcher.fetch().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_target_closed_meanwhile_is_no_failure() {
    // Each connection answers once, reads a second request and closes without a byte.
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(&ok("", "g 1\n")).await;
        read_request(&mut stream).await;
    })
    .await;
    let mut fetcher = server.fetcher(AMPLE);
    for scrapes in 1..=5 {
        fetcher.fetch().await.unwrap();
        assert_eq!(server.connections(), scrapes);
    }
    let server = Server::closing_after(ok("connection: close\r\n", "g 1\n")).await;
    let mut fetcher = server.fetcher(AMPLE);
    for _ in 0..5 {
        fetcher.fetch().await.unwrap();
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_request_goes_out_twice_at_most() {
    let server = Server::start(|connection, mut stream| async move {
        read_request(&mut stream).await;
        if connection == 0 {
            let _ = stream.write_all(&ok("", "g 1\n")).await;
            read_request(&mut stream).await;
        }
    })
    .await;
    let mut fetcher = server.fetcher(AMPLE);
    fetcher.fetch().await.unwrap();
    let error = fetcher.fetch().await.unwrap_err();
    assert_eq!((error.name(), server.connections()), ("connection_lost", 2));
}

#[tokio::test]
async fn after_every_failure_the_next_scrape_starts_afresh() {
    let server = Server::start(|connection, mut stream| async move {
        read_request(&mut stream).await;
        let answer = match connection {
            0 => b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\ng 1\n".to_vec(),
            1 => b"HTTP/1.1 500 x\r\ncontent-length: 4\r\n\r\ng 1\n".to_vec(),
            2 => ok("", vec![b'\n'; LIMIT + 1]),
            3 => ok("content-encoding: gzip\r\n", "g 1\n"),
            _ => ok("", "g 2\n"),
        };
        let _ = stream.write_all(&answer).await;
    })
    .await;
    let mut fetcher = server.fetcher(AMPLE);
    for name in [
        "connection_lost",
        "http_status",
        "body_too_large",
        "gzip_malformed",
    ] {
        assert_eq!(fetcher.fetch().await.unwrap_err().name(), name);
    }
    assert_eq!(fetcher.fetch().await.unwrap().body, b"g 2\n");
}

#[tokio::test]
async fn a_port_without_a_listener_is_a_failed_connection() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}/metrics").parse().unwrap();
    let error = Fetcher::new(&url, &Access::default(), Limits::default())
        .unwrap()
        .fetch()
        .await
        .unwrap_err();
    assert_eq!(error.name(), "connect_failed");
}

#[tokio::test]
async fn https_to_a_plain_port_is_a_failed_handshake() {
    let server = Server::answering(ok("", "g 1\n")).await;
    let url = server
        .url
        .as_str()
        .replace("http:", "https:")
        .parse()
        .unwrap();
    let limits = Limits {
        deadline: BRIEF,
        body: LIMIT,
    };
    let error = match Fetcher::new(&url, &Access::default(), limits) {
        Ok(mut fetcher) => fetcher.fetch().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        matches!(error.name(), "tls_failed" | "deadline_exceeded"),
        "{error}"
    );
}

#[tokio::test]
async fn secrets_are_sent_as_they_are_in_their_files_now() {
    let (sender, mut requests) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            loop {
                let request = read_request(&mut stream).await;
                if request.is_empty() {
                    break;
                }
                sender.send(request).await.unwrap();
                let _ = stream.write_all(&ok("", "g 1\n")).await;
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let limits = Limits {
        deadline: AMPLE,
        body: LIMIT,
    };
    let bearer = Authorization::Bearer {
        token_file: path.clone(),
    };
    let basic = Authorization::Basic {
        username: "Aladdin".into(),
        password_file: path.clone(),
    };
    for (authorization, secret, expected) in [
        (&bearer, "abc\n", "authorization: Bearer abc\r\n"),
        (&bearer, " d-e.f ", "authorization: Bearer d-e.f\r\n"),
        // The example of RFC 7617.
        (
            &basic,
            "open sesame\r\n",
            "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n",
        ),
    ] {
        std::fs::write(&path, secret).unwrap();
        let access = Access {
            authorization: Some(authorization.clone()),
            ca_file: None,
        };
        Fetcher::new(&server.url, &access, limits)
            .unwrap()
            .fetch()
            .await
            .unwrap();
        let request = requests.recv().await.unwrap();
        assert!(request.contains(expected), "{request}");
    }
    let access = Access {
        authorization: Some(bearer),
        ca_file: None,
    };
    let mut fetcher = Fetcher::new(&server.url, &access, limits).unwrap();
    for secret in ["", " \n", "a\r\nx-header: b", "a\0b", &"a".repeat(10_000)] {
        std::fs::write(&path, secret).unwrap();
        assert_eq!(
            fetcher.fetch().await.unwrap_err().name(),
            "secret_unreadable"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let error = fetcher.fetch().await.unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read a secret from /"),
        "{error}"
    );
    std::fs::write(&path, "again").unwrap();
    fetcher.fetch().await.unwrap();
    assert!(requests.recv().await.unwrap().contains("Bearer again\r\n"));
}

/// A server with a certificate of its own for `localhost`, as `make` has it, and the file of it.
async fn self_signed(
    make: impl FnOnce(&mut rcgen::CertificateParams),
) -> (Server, tempfile::TempDir, std::path::PathBuf) {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    make(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = Server::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut request = [0; 4096];
            while matches!(stream.read(&mut request).await, Ok(length) if length > 0) {
                let _ = stream.write_all(&ok("", "g 1\n")).await;
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let pem = BASE64_STANDARD.encode(cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
    std::fs::write(&path, pem).unwrap();
    (server, directory, path)
}

#[tokio::test]
async fn https_trusts_the_authorities_of_its_file_and_no_others() {
    let (server, _directory, path) = self_signed(|_| {}).await;
    let port = server.url.port().unwrap();
    let limits = Limits {
        deadline: AMPLE,
        body: LIMIT,
    };
    let trusting = Access {
        authorization: None,
        ca_file: Some(path.clone()),
    };

    let url = format!("https://localhost:{port}/metrics").parse().unwrap();
    let mut fetcher = Fetcher::new(&url, &trusting, limits).unwrap();
    for _ in 0..3 {
        assert_eq!(fetcher.fetch().await.unwrap().body, b"g 1\n");
    }
    assert_eq!(server.connections(), 1, "a TLS connection is kept, too");

    // The certificate is not for this address.
    let other = format!("https://127.0.0.1:{port}/metrics").parse().unwrap();
    let error = Fetcher::new(&other, &trusting, limits)
        .unwrap()
        .fetch()
        .await
        .unwrap_err();
    assert_eq!(error.name(), "tls_failed");

    // This machine does not trust it, whether or not it trusts anything.
    let error = match Fetcher::new(&url, &Access::default(), limits) {
        Ok(mut fetcher) => fetcher.fetch().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.name(), "tls_failed");

    for text in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Fetcher::new(&url, &trusting, limits).err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with("no certificate authority in the ca-file /"),
            "{error}"
        );
    }
}

fn series(expression: &str) -> Selection {
    Selection::Series(Expression::parse(expression).unwrap())
}

fn claimant(servers: &[&Server], selector: &str) -> Claimant {
    let urls: Vec<_> = servers.iter().map(|server| server.url.clone()).collect();
    Claimant::new(&urls, &Access::default(), series(selector), AMPLE, FRESH).unwrap()
}

#[tokio::test]
async fn the_claims_of_several_urls_are_added_up() {
    let one = Server::answering(ok("", "g{w=\"1\"} 2\ng{w=\"2\"} 3\n")).await;
    let two = Server::answering(ok("", "g{w=\"1\"} -1\n")).await;
    let before = Instant::now();
    let reading = claimant(&[&one, &two], "g").read().await;
    assert!(before <= reading.started && reading.started <= reading.finished);
    let Outcome::Claimed(claim) = reading.outcome else {
        panic!("{:?}", reading.outcome)
    };
    assert_eq!((claim.value, claim.series), (4.0, 3));
}

#[tokio::test]
async fn one_url_without_a_claim_leaves_no_claim() {
    let well = Server::answering(ok("", "g 1\n")).await;
    let dead = Server::closing_after("").await;
    let bare = Server::answering(ok("", "h 1\n")).await;
    let broken = Server::answering(ok("", "g 1\nh\x1b[31m\n")).await;
    for (servers, is_up, name) in [
        ([&well, &dead], false, "connection_lost"),
        ([&dead, &well], false, "connection_lost"),
        ([&well, &bare], true, "gauge_missing"),
        ([&bare, &dead], false, "connection_lost"),
        ([&well, &broken], false, "exposition_malformed"),
    ] {
        let outcome = claimant(&servers, "g").read().await.outcome;
        assert_eq!(outcome.is_up(), is_up, "{outcome:?}");
        let (Outcome::Down(failure) | Outcome::Missing(failure)) = outcome else {
            panic!("a claim without {name}");
        };
        assert_eq!(failure.reason.name(), name);
        let sentence = failure.to_string();
        assert!(sentence.starts_with("http://127.0.0.1:"), "{sentence}");
        assert!(
            sentence.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{sentence:?}"
        );
    }
}

#[tokio::test]
async fn a_sentence_names_the_url_without_its_secrets() {
    let url = "http://user:secret@127.0.0.1:1/metrics?token=secret"
        .parse()
        .unwrap();
    let reading = Claimant::new(&[url], &Access::default(), series("g"), AMPLE, FRESH)
        .unwrap()
        .read()
        .await;
    let Outcome::Down(failure) = reading.outcome else {
        panic!("{:?}", reading.outcome)
    };
    let sentence = failure.to_string();
    assert!(
        sentence.starts_with("http://127.0.0.1:1/metrics cannot be scraped: "),
        "{sentence}"
    );
    assert!(!sentence.contains("secret"), "{sentence}");
}

#[tokio::test]
async fn a_claim_is_found_among_a_million_samples_and_behind_a_line_of_10_mb() {
    let mut exposition = b"h 1\n".repeat(1_000_000);
    exposition.extend(b"i{x=\"");
    exposition.extend(b"y".repeat(10_000_000));
    exposition.extend(b"\"} 1\ng 7\n");
    let server = Server::answering(ok("", exposition)).await;
    let outcome = claimant(&[&server], "g").read().await.outcome;
    assert!(
        matches!(
            outcome,
            Outcome::Claimed(Claim {
                value: 7.0,
                series: 1,
                ..
            })
        ),
        "{outcome:?}"
    );
}

/// The page of a gauge with a time stamp so far from now. Unit: ms.
async fn stamped(ago: i64) -> Reading {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let at = i64::try_from(now.as_millis()).unwrap() - ago;
    let server = Server::answering(ok("", format!("g 3 {at}\nh 4\n"))).await;
    claimant(&[&server], "g").read().await
}

#[tokio::test]
async fn a_claim_with_a_fresh_time_stamp_was_true_then() {
    let before = Instant::now();
    let reading = stamped(3_000).await;
    assert!(matches!(&reading.outcome, Outcome::Claimed(claim) if claim.value == 3.0));
    let age = before.duration_since(reading.finished);
    assert!(
        (Duration::from_millis(2_900)..=Duration::from_millis(3_001)).contains(&age),
        "{age:?}"
    );
    assert!(reading.finished - reading.started <= Duration::from_millis(3));

    // Of now, for a page that is made when it is asked for.
    let reading = stamped(0).await;
    assert!(matches!(reading.outcome, Outcome::Claimed(_)));
    assert!(reading.started + Duration::from_millis(500) > before);

    // A clock that is a little ahead.
    let reading = stamped(-500).await;
    assert!(matches!(reading.outcome, Outcome::Claimed(_)));
    assert!(reading.started <= reading.finished && reading.finished <= Instant::now());

    for (ago, said) in [
        (5_500, "old, and fresh is"),
        (-1_500, "ahead of this host's clock"),
    ] {
        let Outcome::Missing(failure) = stamped(ago).await.outcome else {
            panic!("a claim of {ago} ms ago")
        };
        assert_eq!(failure.reason.name(), "gauge_timestamped");
        assert!(failure.to_string().contains(said), "{failure}");
    }
}

#[tokio::test]
async fn a_sum_of_old_and_new_was_true_between_both() {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let at = now.as_millis() - 3_000;
    let server = Server::answering(ok("", format!("g 3 {at}\nh 4\n"))).await;
    let before = Instant::now();
    let reading = claimant(&[&server], "g + h").read().await;
    assert!(before.duration_since(reading.started) > Duration::from_millis(2_900));
    assert!(reading.finished > before);
    assert!(reading.took < Duration::from_millis(2_900));
}

#[tokio::test]
async fn a_page_of_another_form_is_read_as_it_is_configured() {
    let read = async |answer: &[u8], selection: Selection| {
        let server = Server::closing_after(answer).await;
        let urls = [server.url.clone()];
        let claimant = Claimant::new(&urls, &Access::default(), selection, AMPLE, FRESH);
        match claimant.unwrap().read().await.outcome {
            Outcome::Claimed(claim) => Ok(claim.value),
            Outcome::Down(failure) | Outcome::Missing(failure) => Err(failure.reason.name()),
        }
    };
    let json = || Selection::Nodes("$.open".parse().unwrap());
    let text = || Selection::Match("^open: ([0-9]+)".parse().unwrap());
    let page = ok("content-type: application/json\r\n", "{\"open\": 7}");
    assert_eq!(read(&page, json()).await, Ok(7.0));
    assert_eq!(
        read(&page, series("open")).await,
        Err("exposition_malformed")
    );
    // A document says where it ends, a text does not.
    assert_eq!(
        read(b"HTTP/1.0 200 OK\r\n\r\n{\"open\": 7}", json()).await,
        Ok(7.0)
    );
    assert_eq!(
        read(b"HTTP/1.0 200 OK\r\n\r\n{\"open\": 7", json()).await,
        Err("json_malformed")
    );
    assert_eq!(
        read(b"HTTP/1.0 200 OK\r\n\r\nopen: 7", text()).await,
        Err("connection_lost")
    );
    let page = ok("content-type: text/html\r\n", "<pre>\nopen: 7\n</pre>\n");
    assert_eq!(read(&page, text()).await, Ok(7.0));
    assert_eq!(read(&page, series("open")).await, Err("html_page"));
}

/// What Prometheus answers about one page of the job `a`, scraped so many seconds before `at`. Unit of
/// both: seconds, `at` since 1970.
fn answer_of(at: f64, ago: f64) -> String {
    let sample = |part: &str, value: f64| {
        format!(
            r#"{{"metric":{{"plumbline":"{part}","job":"a","instance":"h"}},"value":[{at},"{value}"]}}"#
        )
    };
    let then = at - ago;
    let samples = [
        sample("claim", 7.0),
        sample("earliest 0", then),
        sample("latest 0", then),
        sample("took", 0.25),
        sample("up", 1.0),
    ];
    let result = samples.join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
}

const JSON: &str = "content-type: application/json\r\n";

async fn queried(answer: impl Into<Vec<u8>>) -> Reading {
    let server = Server::closing_after(answer).await;
    let query = Selection::Query("g{job=\"a\"}".parse().unwrap());
    let freshness = Freshness {
        age: MAX_AGE_OF_SAMPLE,
        ..FRESH
    };
    let claimant = Claimant::new(
        std::slice::from_ref(&server.url),
        &Access::default(),
        query,
        BRIEF,
        freshness,
    );
    claimant.unwrap().read().await
}

fn seconds_now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis() as f64 / 1000.0
}

#[tokio::test]
async fn a_sample_of_prometheus_was_true_while_its_page_was_scraped() {
    let before = Instant::now();
    let reading = queried(ok(JSON, answer_of(seconds_now(), 14.0))).await;
    let Outcome::Claimed(claim) = &reading.outcome else {
        panic!("{:?}", reading.outcome)
    };
    assert_eq!(claim.value, 7.0);
    assert!(reading.sampled().is_some());
    let ago = |moment| before.duration_since(moment).as_secs_f64();
    assert!((13.9..14.1).contains(&ago(reading.started)), "{reading:?}");
    assert!((13.5..13.8).contains(&ago(reading.finished)), "{reading:?}");

    // Its clock is half a second behind: by either clock it was true within what is left.
    let reading = queried(ok(JSON, answer_of(seconds_now() - 0.5, 14.0))).await;
    let window = reading.finished - reading.started;
    assert!((0.74..0.9).contains(&window.as_secs_f64()), "{window:?}");

    let Outcome::Missing(failure) = queried(ok(JSON, answer_of(seconds_now(), 80.0)))
        .await
        .outcome
    else {
        panic!("a claim of 80 s ago")
    };
    assert!(failure.to_string().contains("is 80"), "{failure}");
}

#[tokio::test]
async fn what_prometheus_refuses_and_what_is_none_of_its_answers_is_told() {
    let said = async |answer: Vec<u8>| match queried(answer).await.outcome {
        Outcome::Claimed(claim) => panic!("{claim:?}"),
        Outcome::Down(failure) | Outcome::Missing(failure) => {
            (failure.reason.name(), failure.to_string())
        }
    };
    let refusal = r#"{"status":"error","errorType":"bad_data","error":"no such thing"}"#;
    let refused = format!(
        "HTTP/1.1 400 Bad Request\r\n{JSON}content-length: {}\r\n\r\n{refusal}",
        refusal.len()
    );
    let (name, sentence) = said(refused.into()).await;
    assert_eq!(name, "query_failed");
    assert!(sentence.contains("/metrics/api/v1/query"), "{sentence}");
    assert!(sentence.ends_with("bad_data: no such thing"), "{sentence}");

    let proxy = "HTTP/1.1 503 Away\r\ncontent-type: text/html\r\ncontent-length: 1\r\n\r\n.";
    assert_eq!(said(proxy.into()).await.0, "http_status");
    assert_eq!(said(ok(JSON, "[7]")).await.0, "json_malformed");
    assert_eq!(
        said(ok(JSON, "x".repeat(2 << 20))).await.0,
        "body_too_large"
    );
    assert_eq!(
        said(ok(JSON, vec![b'['; 1 << 20])).await.0,
        "json_malformed"
    );
    let slow = format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 9\r\n\r\n[");
    let server = Server::start(move |_, mut stream| {
        let slow = slow.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(slow.as_bytes()).await;
            std::future::pending().await
        }
    })
    .await;
    let query = Selection::Query("g{job=\"a\"}".parse().unwrap());
    let claimant = Claimant::new(
        std::slice::from_ref(&server.url),
        &Access::default(),
        query,
        BRIEF,
        FRESH,
    );
    let Outcome::Down(failure) = claimant.unwrap().read().await.outcome else {
        panic!("a claim of half an answer")
    };
    assert_eq!(failure.reason.name(), "deadline_exceeded");
}

/// Why `https://localhost` cannot be had with this file.
async fn refusal(server: &Server, ca_file: Option<&std::path::Path>) -> Option<String> {
    let url = format!("https://localhost:{}/metrics", server.url.port().unwrap());
    let access = Access {
        authorization: None,
        ca_file: ca_file.map(Into::into),
    };
    let limits = Limits {
        deadline: AMPLE,
        body: LIMIT,
    };
    let fetched = match Fetcher::new(&url.parse().unwrap(), &access, limits) {
        Ok(mut fetcher) => fetcher.fetch().await.map(drop),
        Err(error) => Err(error),
    };
    fetched.err().map(|error| Chain(&error).to_string())
}

#[tokio::test]
async fn a_certificate_that_the_file_names_itself_is_trusted() {
    let as_openssl_does = |params: &mut rcgen::CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    let (server, _directory, path) = self_signed(as_openssl_does).await;
    assert_eq!(refusal(&server, Some(&path)).await, None);

    // By another's file it is not, and the remedy is said.
    let (_, _other_directory, other) = self_signed(as_openssl_does).await;
    let error = refusal(&server, Some(&other)).await.unwrap();
    assert!(error.contains("ca-file names a file with"), "{error}");

    // Nor for another name, nor when it has expired.
    let (elsewhere, _directory, path) = self_signed(|params| {
        as_openssl_does(params);
        params.subject_alt_names = vec![rcgen::SanType::DnsName("elsewhere".try_into().unwrap())];
    })
    .await;
    let error = refusal(&elsewhere, Some(&path)).await.unwrap();
    assert!(error.contains("TLS handshake failed"), "{error}");
    let (expired, _directory, path) = self_signed(|params| {
        as_openssl_does(params);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    })
    .await;
    let error = refusal(&expired, Some(&path)).await.unwrap();
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn the_other_scheme_is_named_where_it_is_meant() {
    // As HTTP servers answer what is no HTTP.
    let plain = Server::start(|_, mut stream| async move {
        let mut request = [0; 4096];
        while matches!(stream.read(&mut request).await, Ok(length) if length > 0) {
            let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(refusal.as_bytes()).await;
        }
    })
    .await;
    let (_, _directory, path) = self_signed(|_| {}).await;
    let error = refusal(&plain, Some(&path)).await.unwrap();
    assert!(error.contains("write http:// in the URL"), "{error}");

    let (secure, _directory, path) = self_signed(|_| {}).await;
    let error = secure.fetcher(AMPLE).fetch().await.unwrap_err().to_string();
    assert!(error.contains("write https:// in the URL"), "{error}");
    let error = plain.fetcher(AMPLE).fetch().await.unwrap_err().to_string();
    assert!(
        error.contains("a port that speaks TLS answers so"),
        "{error}"
    );

    // A file that is not there is a mistake with http, too.
    std::fs::remove_file(&path).unwrap();
    let access = Access {
        authorization: None,
        ca_file: Some(path),
    };
    let error = Fetcher::new(&plain.url, &access, Limits::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("in the ca-file /"), "{error}");
}
