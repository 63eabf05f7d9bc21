//! Who may connect and ask, as the file has it now.

use std::{
    fmt::Write as _,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    file::{File, WebConfigError},
    stream::Stream,
    tls::server_config,
    users::Users,
};

/// Longest time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What a file allows.
struct Rules {
    tls: Option<Arc<ServerConfig>>,
    users: Users,
    headers: HeaderMap,
}

/// What tells a file from itself before it was written: inode, size, seconds and nanoseconds.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The rules in force, and the files that they were read of.
struct Current {
    rules: Arc<Rules>,
    files: Vec<(PathBuf, Stamp)>,
    looked: Instant,
}

/// Guards a port by a `web.config.file`. Clones guard the same.
#[derive(Clone)]
pub struct Guard(Arc<Guarded>);

struct Guarded {
    path: PathBuf,
    current: Mutex<Current>,
}

impl Guard {
    /// Reads the file, and the keys that it names.
    ///
    /// # Errors
    /// When one cannot be read, or is not what it has to be.
    pub fn open(path: &Path) -> Result<Self, WebConfigError> {
        let (rules, files) = read(path)?;
        Ok(Self(Arc::new(Guarded {
            path: path.to_owned(),
            current: Mutex::new(Current {
                rules: Arc::new(rules),
                files,
                looked: Instant::now(),
            }),
        })))
    }

    /// Whether clients have to speak TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.rules().tls.is_some()
    }

    /// Makes a connection of a stream: where the file has keys, by a TLS handshake.
    ///
    /// # Errors
    /// When the handshake fails, or takes too long.
    pub async fn accept<S>(&self, stream: S) -> io::Result<Stream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(tls) = self.rules().tls.clone() else {
            return Ok(Stream::Plain(stream));
        };
        let shaken = timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream)).await;
        let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// The same routes, for those who may ask; with the headers that the file adds to every answer.
    pub fn protect(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), answer))
    }

    /// Those of the files as they are now; where these are wrong, the last that were not.
    fn rules(&self) -> Arc<Rules> {
        let mut current = self
            .0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() < LOOK {
            return Arc::clone(&current.rules);
        }
        current.looked = Instant::now();
        let stamps = current.files.iter().map(|(path, _)| stamped(path.clone()));
        let files: Vec<_> = stamps.collect();
        if files != current.files {
            current.files = files;
            let path = self.0.path.display();
            match read(&self.0.path) {
                Ok((rules, files)) => {
                    tracing::info!(%path, "the web configuration was read again");
                    (current.rules, current.files) = (Arc::new(rules), files);
                }
                Err(error) => {
                    let error = told(&error);
                    tracing::error!(
                        error,
                        "the new web configuration is refused, and the old one stays"
                    );
                }
            }
        }
        Arc::clone(&current.rules)
    }
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let _ = write!(text, ": {cause}");
    }
    text
}

fn stamped(path: PathBuf) -> (PathBuf, Stamp) {
    let stamp = path.metadata().ok();
    let stamp = stamp.map(|of| (of.ino(), of.size(), of.mtime(), of.mtime_nsec()));
    (path, stamp)
}

/// The rules of a file, and the files that they were read of, as they were before they were read.
fn read(path: &Path) -> Result<(Rules, Vec<(PathBuf, Stamp)>), WebConfigError> {
    let mut files = vec![stamped(path.to_owned())];
    let file = File::read(path)?;
    files.extend(file.others(path).into_iter().map(stamped));
    let wrong = |setting: String, expected: &str| WebConfigError::Setting {
        path: path.to_owned(),
        setting,
        expected: expected.to_owned(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &file.http_server_config.headers {
        let setting = || format!("http_server_config.headers.{name}");
        let name: HeaderName = name
            .parse()
            .map_err(|_| wrong(setting(), "the name of a header"))?;
        let value: HeaderValue = value
            .parse()
            .map_err(|_| wrong(setting(), "the value of a header"))?;
        headers.insert(name, value);
    }
    let tls = file.tls_server_config.as_ref();
    let tls = tls.map(|tls| server_config(path, tls)).transpose()?;
    let users = Users::new(file.basic_auth_users).map_err(|name| {
        let expected = "a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it";
        wrong(format!("basic_auth_users.{name}"), expected)
    })?;
    let rules = Rules {
        tls,
        users,
        headers,
    };
    Ok((rules, files))
}

async fn answer(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let rules = guard.rules();
    let mut response = match rules.users.may_ask(request.headers()).await {
        true => next.run(request).await,
        false => {
            let wants = [(WWW_AUTHENTICATE, "Basic")];
            (StatusCode::UNAUTHORIZED, wants, "Unauthorized\n").into_response()
        }
    };
    for (name, value) in &rules.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use std::fs;

    use axum::{body::Body, routing::get};
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    };
    use tempfile::TempDir;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    use tokio_rustls::TlsConnector;
    use tower::ServiceExt as _;

    use super::*;

    struct Scene(TempDir);

    impl Scene {
        /// With a key and a certificate for `localhost`; returns the latter as well.
        fn new() -> (Self, String) {
            let scene = Self(tempfile::tempdir().unwrap());
            let certificate = scene.new_key();
            (scene, certificate)
        }

        fn new_key(&self) -> String {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            self.write("key.pem", &signing_key.serialize_pem());
            self.write("cert.pem", &cert.pem());
            cert.pem()
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let file = self.0.path().join(name);
            fs::write(&file, text).unwrap();
            file
        }

        fn open(&self, text: &str) -> Result<Guard, String> {
            Guard::open(&self.write("web.yml", text)).map_err(|error| told(&error))
        }
    }

    const KEYS: &str = "tls_server_config: {cert_file: cert.pem, key_file: key.pem";

    async fn status(guard: &Guard) -> StatusCode {
        let router = guard.protect(Router::new().route("/", get(async || "hello")));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        response.status()
    }

    /// What a client hears that trusts this certificate.
    async fn hello(guard: &Guard, certificate: &str) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut trusted = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        trusted.add(certificate).unwrap();
        let client = ClientConfig::builder()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let serve = async {
            let (stream, _) = listener.accept().await?;
            let mut stream = guard.accept(stream).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await
        };
        let ask = async {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            let connector = TlsConnector::from(Arc::new(client));
            let mut stream = connector.connect(name, stream).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok(text)
        };
        tokio::join!(serve, ask).1
    }

    #[tokio::test]
    async fn a_certificate_that_is_replaced_is_that_of_the_next_connection() {
        let (scene, first) = Scene::new();
        let guard = scene.open(&format!("{KEYS}}}")).unwrap();
        assert!(guard.is_encrypted());
        assert_eq!(hello(&guard, &first).await.unwrap(), "hello");
        let second = scene.new_key();
        look_again(&guard);
        assert_eq!(hello(&guard, &second).await.unwrap(), "hello");
        assert!(hello(&guard, &first).await.is_err(), "the old one is gone");

        scene.write("cert.pem", "nothing");
        look_again(&guard);
        assert_eq!(hello(&guard, &second).await.unwrap(), "hello", "it stays");
    }

    /// As if a second had passed.
    fn look_again(guard: &Guard) {
        let mut current = guard.0.current.lock().unwrap();
        current.looked = current.looked.checked_sub(LOOK).unwrap();
    }

    #[tokio::test]
    async fn an_empty_file_guards_nothing_and_users_guard_everything() {
        let (scene, _) = Scene::new();
        let guard = scene.open("").unwrap();
        assert!(!guard.is_encrypted());
        assert_eq!(status(&guard).await, StatusCode::OK);
        let hash = bcrypt::hash("secret", 4).unwrap();
        let guard = scene.open(&format!("basic_auth_users: {{alice: '{hash}'}}"));
        assert_eq!(status(&guard.unwrap()).await, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn headers_are_those_of_every_answer() {
        let (scene, _) = Scene::new();
        let headers = "http_server_config: {http2: true, headers: {X-Frame-Options: deny}}";
        let guard = scene.open(headers).unwrap();
        let router = guard.protect(Router::new());
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.headers()["x-frame-options"], "deny");
    }

    #[test]
    fn all_of_tls_that_rustls_offers_can_be_said() {
        let (scene, _) = Scene::new();
        for more in [
            "min_version: TLS13",
            "max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
            "curve_preferences: [X25519, CurveP256], prefer_server_cipher_suites: false",
            "client_auth_type: RequireAndVerifyClientCert, client_ca_file: cert.pem",
            "client_auth_type: VerifyClientCertIfGiven, client_ca_file: cert.pem",
            "client_auth_type: NoClientCert",
        ] {
            let opened = scene.open(&format!("{KEYS}, {more}}}"));
            opened.unwrap_or_else(|error| panic!("{more}: {error}"));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_setting_and_what_is_expected() {
        let (scene, _) = Scene::new();
        for (text, said) in [
            ("tls_server_config: {}", "cert_file: it is needed"),
            (
                "tls_server_config: {cert_file: cert.pem}",
                "key_file: it is needed",
            ),
            (
                "tls_server_config: {cert_file: none.pem, key_file: key.pem}",
                "cannot read",
            ),
            (
                "tls_server_config: {cert_file: key.pem, key_file: key.pem}",
                "there is none",
            ),
            (
                "tls_server_config: {cert_file: cert.pem, key_file: cert.pem}",
                "a private key",
            ),
            (
                "tls_server_config: {cert: x, cert_file: cert.pem, key_file: key.pem}",
                "either cert or",
            ),
            ("tls_server_confg: {}", "tls_server_confg"),
            (
                "basic_auth_users: {alice: secret}",
                "basic_auth_users.alice: a bcrypt hash",
            ),
            (
                "http_server_config: {headers: {'a b': c}}",
                "the name of a header",
            ),
            ("[]", "web.yml: "),
        ] {
            let error = scene.open(text).err().unwrap_or_default();
            assert!(error.contains(said), "{text}: {error}");
            assert!(error.contains(scene.0.path().to_str().unwrap()), "{error}");
        }
        for (more, said) in [
            ("min_version: TLS10", "TLS12 or TLS13"),
            ("min_version: TLS13, max_version: TLS12", "no less than"),
            (
                "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]",
                "one that is offered",
            ),
            (
                "curve_preferences: [CurveP224]",
                "CurveP256, CurveP384 or X25519",
            ),
            ("client_auth_type: RequestClientCert", "nobody verifies"),
            (
                "client_auth_type: RequireAndVerifyClientCert",
                "needed to verify",
            ),
            (
                "client_ca_file: cert.pem",
                "since there is a client_ca_file",
            ),
            ("client_allowed_sans: [x]", "client_allowed_sans"),
        ] {
            let error = scene.open(&format!("{KEYS}, {more}}}")).err();
            let error = error.unwrap_or_default();
            assert!(error.contains(said), "{more}: {error}");
        }
    }
}
