//! Whom `https` trusts: certificate authorities, and a service's own certificate where a file names it.
//!
//! A certificate that signs itself is often marked as an authority's, as OpenSSL does by default, and
//! is then refused as that of a service. Whoever names it in a file means it all the same.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::connection::ConnectError;

/// Trusts authorities, and besides them the certificates of the file themselves.
#[derive(Debug)]
struct Named {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

/// How `https` connects. `ca_file` replaces this machine's certificate authorities.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, ConnectError> {
    let (roots, certificates) = match ca_file {
        Some(path) => roots_in(path)?,
        None => (roots_of_machine()?, Vec::new()),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
    let trusted = Arc::new(Named {
        authorities: authorities
            .build()
            .expect("there are roots, and no revocations"),
        certificates,
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Whether the file has a certificate authority.
pub(super) fn check(ca_file: &Path) -> Result<(), ConnectError> {
    roots_in(ca_file).map(drop)
}

/// What it means that a handshake failed.
pub(super) fn failed(error: io::Error) -> ConnectError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidMessage(_)) => ConnectError::NoTls(error),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            ConnectError::Untrusted(error)
        }
        Some(tls) if is_of_authority(tls) => ConnectError::Untrusted(error),
        _ => ConnectError::Tls(error),
    }
}

fn roots_in(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), ConnectError> {
    let failed = |source| ConnectError::CaFile {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(Some(error)))?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|error| failed(Some(error)))?;
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if trusted == 0 {
        Err(failed(None))
    } else {
        Ok((roots, certificates))
    }
}

/// What this machine trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` say where, as for OpenSSL.
fn roots_of_machine() -> Result<RootCertStore, ConnectError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        return Err(ConnectError::NoRoots(found.errors.into_iter().next()));
    }
    Ok(roots)
}

/// Whether a certificate is refused because it is an authority's. Its dates were looked at before.
fn is_of_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else {
        return false;
    };
    other.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(error) if is_of_authority(&error) && self.certificates.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
