//! `tls_server_config`, as `rustls` has it.
//!
//! Names of versions, cipher suites and curves are Go's, since Prometheus' are. What `rustls` does not offer
//! (TLS 1.1, RSA key exchange, CBC) is an error, and not left out.

use std::{path::Path, sync::Arc};

use rustls::{
    NamedGroup, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use crate::file::{Tls, WebConfigError, beside, read};

/// What `tls` says, which stands in the file at `path`.
pub(crate) fn server_config(path: &Path, tls: &Tls) -> Result<Arc<ServerConfig>, WebConfigError> {
    let reader = Reader { path, tls };
    let provider = Arc::new(reader.provider()?);
    let failed = |source| WebConfigError::Tls {
        path: path.to_owned(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&reader.versions()?)
        .map_err(failed)?;
    let builder = match reader.client_authorities()? {
        None => builder.with_no_client_auth(),
        Some((authorities, is_required)) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            let verifier = match is_required {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| {
                reader.wrong("client_ca_file", &format!("no authority of use: {error}"))
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (certificates, key) = reader.identity()?;
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(failed)?;
    config.ignore_client_order = tls.prefer_server_cipher_suites.unwrap_or(true);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

struct Reader<'a> {
    path: &'a Path,
    tls: &'a Tls,
}

impl Reader<'_> {
    fn wrong(&self, setting: &str, expected: &str) -> WebConfigError {
        WebConfigError::Setting {
            path: self.path.to_owned(),
            setting: format!("tls_server_config.{setting}"),
            expected: expected.to_owned(),
        }
    }

    /// The text of a setting, or that of the file that it names in its place.
    fn pem(
        &self,
        setting: &str,
        text: Option<&String>,
        file: Option<&std::path::PathBuf>,
    ) -> Result<Option<String>, WebConfigError> {
        match (text, file) {
            (None, None) => Ok(None),
            (Some(text), None) => Ok(Some(text.clone())),
            (None, Some(file)) => read(&beside(self.path, file)).map(Some),
            (Some(_), Some(_)) => {
                Err(self.wrong(setting, &format!("either {setting} or {setting}_file")))
            }
        }
    }

    fn identity(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), WebConfigError> {
        let Tls {
            cert,
            cert_file,
            key,
            key_file,
            ..
        } = self.tls;
        let cert = self.pem("cert", cert.as_ref(), cert_file.as_ref())?;
        let cert = cert.ok_or_else(|| self.wrong("cert_file", "it is needed"))?;
        let key = self.pem("key", key.as_ref(), key_file.as_ref())?;
        let key = key.ok_or_else(|| self.wrong("key_file", "it is needed"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| self.wrong("key_file", &format!("a private key in PEM: {error}")))?;
        Ok((self.certificates("cert_file", &cert)?, key))
    }

    fn certificates(
        &self,
        setting: &str,
        text: &str,
    ) -> Result<Vec<CertificateDer<'static>>, WebConfigError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(self.wrong(setting, "certificates in PEM, and there is none")),
            Err(error) => Err(self.wrong(setting, &format!("certificates in PEM: {error}"))),
        }
    }

    /// Those whose clients are trusted, and whether each client has to be one; nothing where none is asked.
    fn client_authorities(&self) -> Result<Option<(RootCertStore, bool)>, WebConfigError> {
        let Tls {
            client_auth_type,
            client_ca,
            client_ca_file,
            ..
        } = self.tls;
        let authorities = self.pem("client_ca", client_ca.as_ref(), client_ca_file.as_ref())?;
        let is_required = match client_auth_type.as_deref() {
            None | Some("" | "NoClientCert") if authorities.is_none() => return Ok(None),
            None | Some("" | "NoClientCert") => {
                let expected = "RequireAndVerifyClientCert or VerifyClientCertIfGiven, since there is a \
                                client_ca_file";
                return Err(self.wrong("client_auth_type", expected));
            }
            Some("RequireAndVerifyClientCert") => true,
            Some("VerifyClientCertIfGiven") => false,
            Some(_) => {
                let expected = "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert; a \
                                certificate that nobody verifies is not asked for";
                return Err(self.wrong("client_auth_type", expected));
            }
        };
        let text = authorities
            .ok_or_else(|| self.wrong("client_ca_file", "it is needed to verify clients"))?;
        let mut store = RootCertStore::empty();
        for authority in self.certificates("client_ca_file", &text)? {
            store
                .add(authority)
                .map_err(|error| self.wrong("client_ca_file", &format!("an authority: {error}")))?;
        }
        Ok(Some((store, is_required)))
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, WebConfigError> {
        let number = |setting, version: &Option<String>, default| match version.as_deref() {
            None | Some("") => Ok(default),
            Some("TLS12") => Ok(2),
            Some("TLS13") => Ok(3),
            Some(_) => Err(self.wrong(setting, "TLS12 or TLS13")),
        };
        let least = number("min_version", &self.tls.min_version, 2)?;
        let most = number("max_version", &self.tls.max_version, 3)?;
        if least > most {
            return Err(self.wrong("max_version", "no less than min_version"));
        }
        let all = [(2, &TLS12), (3, &TLS13)];
        let allowed = all
            .into_iter()
            .filter(|(number, _)| (least..=most).contains(number));
        Ok(allowed.map(|(_, version)| version).collect())
    }

    /// What encrypts. Go lets no suite of TLS 1.3 be chosen, so those stay.
    fn provider(&self) -> Result<CryptoProvider, WebConfigError> {
        let mut provider = ring::default_provider();
        let Tls {
            cipher_suites,
            curve_preferences,
            ..
        } = self.tls;
        if !cipher_suites.is_empty() {
            let mut chosen = Vec::new();
            for name in cipher_suites {
                let mut suites = provider.cipher_suites.iter();
                let suite = suites.find(|suite| format!("{:?}", suite.suite()) == *name);
                chosen.push(*suite.ok_or_else(|| {
                    self.wrong("cipher_suites", &format!("one that is offered, not {name}"))
                })?);
            }
            let kept = provider.cipher_suites.iter();
            chosen.extend(kept.filter(|suite| suite.tls13().is_some()));
            provider.cipher_suites = chosen;
        }
        if !curve_preferences.is_empty() {
            let mut chosen = Vec::new();
            for name in curve_preferences {
                let group = match name.as_str() {
                    "CurveP256" => NamedGroup::secp256r1,
                    "CurveP384" => NamedGroup::secp384r1,
                    "X25519" => NamedGroup::X25519,
                    _ => {
                        let expected = "CurveP256, CurveP384 or X25519";
                        return Err(self.wrong("curve_preferences", expected));
                    }
                };
                let mut groups = provider.kx_groups.iter();
                chosen.extend(groups.find(|offered| offered.name() == group));
            }
            provider.kx_groups = chosen;
        }
        Ok(provider)
    }
}
