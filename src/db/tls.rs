//! TLS to PostgreSQL as libpq means it ("Database Connection Control Functions" and "SSL Support" in PostgreSQL's manual):
//! what DATABASE_URL says about it, and which connections are tried.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use percent_encoding::percent_decode_str;
use postgres::config::SslMode;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use zeroize::Zeroizing;

/// What DATABASE_URL says about TLS.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tls {
    mode: TlsMode,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum TlsMode {
    Disable,
    Allow,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What of a server's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verification {
    Nothing,
    Chain,
    ChainAndName,
}

impl Tls {
    /// Takes what is about TLS out of a connection string, since the database driver knows only a part of it.
    ///
    /// # Errors
    /// Names the parameter, never a value.
    pub fn split(url: &str) -> anyhow::Result<(Zeroizing<String>, Self)> {
        let mut tls = Self::default();
        let mut mode = None;
        // Its password is to be wiped: no larger one takes its place.
        let mut rest = Zeroizing::new(String::with_capacity(url.len()));
        let mut end = 0;
        for Parameter {
            range,
            name,
            mut value,
        } in parameters(url)
        {
            let mut file = || Some(std::mem::take(&mut *value)).filter(|value| !value.is_empty());
            match name {
                "sslmode" => {
                    mode = Some(TlsMode::named(&value).context(
                        "DATABASE_URL: sslmode is one of disable, allow, prefer, require, verify-ca, verify-full",
                    )?);
                }
                "sslrootcert" => tls.root = file(),
                "sslcert" => tls.certificate = file(),
                "sslkey" => tls.key = file(),
                _ => continue,
            }
            rest.extend(url.get(end..range.start));
            end = range.end;
        }
        rest.extend(url.get(end..));
        let system = tls.root.as_deref() == Some("system");
        tls.mode = mode.unwrap_or(if system {
            TlsMode::VerifyFull
        } else {
            TlsMode::default()
        });
        ensure!(
            !system || tls.mode == TlsMode::VerifyFull,
            "DATABASE_URL: sslrootcert=system needs sslmode=verify-full, since anybody can have a certificate of those"
        );
        ensure!(
            tls.certificate.is_some() == tls.key.is_some(),
            "DATABASE_URL: sslcert and sslkey are needed both, or none"
        );
        Ok((rest, tls))
    }

    /// Which connections are to be tried, the first one first.
    ///
    /// # Errors
    /// Names the parameter and the file that cannot serve.
    pub fn attempts(&self) -> anyhow::Result<Vec<(SslMode, ClientConfig)>> {
        let judged = match self.mode {
            TlsMode::VerifyFull => Verification::ChainAndName,
            TlsMode::VerifyCa => Verification::Chain,
            // For compatibility with old ones, says the manual.
            TlsMode::Require if self.root.is_some() => Verification::Chain,
            _ => Verification::Nothing,
        };
        let modes = match self.mode {
            TlsMode::Disable => &[SslMode::Disable][..],
            TlsMode::Allow => &[SslMode::Disable, SslMode::Require],
            TlsMode::Prefer => &[SslMode::Prefer, SslMode::Disable],
            _ => &[SslMode::Require],
        };
        let config = self.config(judged)?;
        Ok(modes.iter().map(|mode| (*mode, config.clone())).collect())
    }

    fn config(&self, judged: Verification) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = match judged {
            Verification::Nothing => None,
            _ => {
                let roots = Arc::new(roots(
                    self.root.as_deref().filter(|root| *root != "system"),
                )?);
                let built =
                    WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
                Some(built.context("setting up TLS failed")?)
            }
        };
        let verifier = Arc::new(Verifier {
            chain,
            judges_name: judged == Verification::ChainAndName,
            provider,
        });
        let builder = ClientConfig::builder_with_provider(verifier.provider.clone())
            .with_safe_default_protocol_versions()
            .context("setting up TLS failed")?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(builder.with_no_client_auth());
        };
        crate::secret::warn_if_world_readable("sslkey of DATABASE_URL", Path::new(key));
        let certificates = certificates("sslcert", certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
            unreadable("sslkey", key, error, "private key without a passphrase")
        })?;
        builder
            .with_client_auth_cert(certificates, private)
            .with_context(|| {
                format!("DATABASE_URL: {key}, which sslkey names, does not belong to {certificate}")
            })
    }
}

impl TlsMode {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

fn roots(file: Option<&str>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates("sslrootcert", file)? {
                roots.add(certificate).with_context(|| {
                    format!("DATABASE_URL: {file}, which sslrootcert names, holds a certificate that is none")
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                bail!(
                    "no root certificates are found on this machine, which DATABASE_URL's sslmode needs; install \
                     ca-certificates, or name a file by sslrootcert"
                );
            }
        }
    }
    Ok(roots)
}

fn certificates(name: &str, file: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(name, file, error, "certificates"))?;
    ensure!(
        !certificates.is_empty(),
        "DATABASE_URL: {file}, which {name} names, holds no certificates in PEM form"
    );
    Ok(certificates)
}

/// What is wrong with a file, without anything of its content.
fn unreadable(
    name: &str,
    file: &str,
    error: rustls::pki_types::pem::Error,
    what: &str,
) -> anyhow::Error {
    match error {
        rustls::pki_types::pem::Error::Io(error) => {
            anyhow::anyhow!("DATABASE_URL: cannot read {file}, which {name} names: {error}")
        }
        _ => {
            anyhow::anyhow!("DATABASE_URL: {file}, which {name} names, holds no {what} in PEM form")
        }
    }
}

/// rustls's own judgement, or less of it where `sslmode` says so. Signatures of the handshake are always checked.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    judges_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is judged last: everything else was found to be in order.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.judges_name => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// One parameter of a connection string, and which bytes of it go when it is taken out.
struct Parameter<'a> {
    range: Range<usize>,
    name: &'a str,
    value: Zeroizing<String>,
}

/// The parameters of either form of connection string, as far as they can be read; the driver names what cannot.
fn parameters(url: &str) -> Vec<Parameter<'_>> {
    let is_address = ["postgresql://", "postgres://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if is_address {
        of_address(url)
    } else {
        of_pairs(url)
    }
}

fn of_address(url: &str) -> Vec<Parameter<'_>> {
    // As the driver does: whatever is before an @ is user and password.
    let host = url.find('@').unwrap_or(0);
    let Some(query) = url
        .get(host..)
        .and_then(|rest| rest.find('?'))
        .map(|at| host + at + 1)
    else {
        return Vec::new();
    };
    let mut start = query;
    let parts = url
        .get(query..)
        .unwrap_or_default()
        .split_inclusive('&')
        .filter_map(|part| {
            let range = start..start + part.len();
            start = range.end;
            let (name, value) = part.trim_end_matches('&').split_once('=')?;
            let value = percent_decode_str(value)
                .decode_utf8()
                .map(Cow::into_owned)
                .map(Zeroizing::new)
                .ok()?;
            Some(Parameter { range, name, value })
        });
    parts.collect()
}

fn of_pairs(text: &str) -> Vec<Parameter<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let start = text.len() - rest.len();
        let after = after.trim_start();
        let (quoted, mut characters) = match after.strip_prefix('\'') {
            Some(inner) => (true, inner.chars()),
            None => (false, after.chars()),
        };
        let mut value = Zeroizing::new(String::with_capacity(after.len()));
        let closed = loop {
            let before = characters.as_str();
            match characters.next() {
                Some('\\') => value.extend(characters.next()),
                Some('\'') if quoted => break true,
                Some(character) if !quoted && character.is_whitespace() => {
                    characters = before.chars();
                    break true;
                }
                Some(character) => value.push(character),
                None => break !quoted,
            }
        };
        if !closed {
            break;
        }
        rest = characters.as_str().trim_start();
        found.push(Parameter {
            range: start..text.len() - rest.len(),
            name: name.trim_end(),
            value,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, rest: &str, mode: TlsMode, root: Option<&str>) {
        let (found, tls) = Tls::split(url).unwrap();
        assert_eq!(
            (found.as_str(), tls.mode, tls.root.as_deref()),
            (rest, mode, root)
        );
    }

    #[test]
    fn what_is_about_tls_is_taken_out_of_both_forms() {
        check(
            "postgresql://me:p@host/db",
            "postgresql://me:p@host/db",
            TlsMode::Prefer,
            None,
        );
        check(
            "postgresql://me:a?sslmode=x@host/db",
            "postgresql://me:a?sslmode=x@host/db",
            TlsMode::Prefer,
            None,
        );
        check(
            "postgresql://me@a:1,b:2/db?sslmode=verify-ca&application_name=x&sslrootcert=%2Fa%20b",
            "postgresql://me@a:1,b:2/db?application_name=x&",
            TlsMode::VerifyCa,
            Some("/a b"),
        );
        check(
            "postgresql://h/db?sslrootcert=system",
            "postgresql://h/db?",
            TlsMode::VerifyFull,
            Some("system"),
        );
        check(
            r"host=h sslmode = 'require' password='it\'s sslmode=disable' sslrootcert=/a\ b",
            r"host=h password='it\'s sslmode=disable' ",
            TlsMode::Require,
            Some("/a b"),
        );
        check(
            "host=h password='open sslmode=disable",
            "host=h password='open sslmode=disable",
            TlsMode::Prefer,
            None,
        );
    }

    #[test]
    fn what_the_driver_gets_it_can_read() {
        for url in [
            "postgresql://h/db?sslmode=allow&application_name=x&sslcert=a&sslkey=b",
            "host=h sslmode=allow user=me",
        ] {
            let rest = Tls::split(url).unwrap().0;
            rest.parse::<postgres::Config>()
                .unwrap_or_else(|error| panic!("{}: {error:?}", *rest));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named_without_a_value() {
        for (url, says) in [
            ("host=h sslmode=hunter2", "sslmode is one of"),
            (
                "host=h sslmode=require sslrootcert=system",
                "needs sslmode=verify-full",
            ),
            (
                "host=h sslkey=hunter2",
                "sslcert and sslkey are needed both",
            ),
        ] {
            let error = Tls::split(url).unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
