//! TLS to PostgreSQL as libpq defines it ("Database Connection Control Functions" and "SSL Support"
//! in PostgreSQL's manual): reads its part of DATABASE_URL and sets up rustls accordingly.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use percent_encoding::percent_decode_str;
use postgres::config::SslMode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use secrecy::SecretString;

/// The part of DATABASE_URL about TLS.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tls {
    mode: TlsMode,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// libpq's `sslmode`, without `allow`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum TlsMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    /// Takes the parameters about TLS out of a connection string, because the driver supports only
    /// some of them. An error names the parameter and shows no value.
    pub fn split(url: &str) -> anyhow::Result<(SecretString, Self)> {
        let mut tls = Self::default();
        let mut mode = None;
        let mut kept = Vec::new();
        let mut end = 0;
        // Only values about TLS are decoded, so that no copy of the password is made.
        let (parameters, decode) = parameters(url);
        for (range, name, value) in parameters {
            let file = || Some(decode(value)).filter(|value| !value.is_empty());
            match name {
                "sslmode" => {
                    mode = Some(TlsMode::named(&decode(value)).context(
                        "DATABASE_URL: sslmode must be one of disable, prefer, require, verify-ca, verify-full",
                    )?);
                }
                "sslrootcert" => tls.root = file(),
                "sslcert" => tls.certificate = file(),
                "sslkey" => tls.key = file(),
                _ => continue,
            }
            kept.extend(url.get(end..range.start));
            end = range.end;
        }
        kept.extend(url.get(end..));
        let is_system = tls.root.as_deref() == Some("system");
        let default = if is_system {
            TlsMode::VerifyFull
        } else {
            TlsMode::Prefer
        };
        tls.mode = mode.unwrap_or(default);
        ensure!(
            !is_system || tls.mode == TlsMode::VerifyFull,
            "DATABASE_URL: sslrootcert=system needs sslmode=verify-full, since anybody can get a certificate of those roots"
        );
        ensure!(
            tls.certificate.is_some() == tls.key.is_some(),
            "DATABASE_URL: sslcert and sslkey need each other"
        );
        // The text may have a password: `concat` allocates once, so that no copy of it stays in
        // memory.
        Ok((kept.concat().into(), tls))
    }

    /// Returns the driver's mode, which does not verify anything.
    pub fn mode(&self) -> SslMode {
        match self.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        }
    }

    /// Returns rustls' configuration. An error names the parameter and the file that cannot be
    /// used.
    pub fn config(&self) -> anyhow::Result<ClientConfig> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .context("setting up TLS failed")?;
        let builder = if self.mode == TlsMode::VerifyFull {
            builder.with_root_certificates(self.roots()?)
        } else {
            // As in libpq, `require` verifies like `verify-ca` if there is a file (PostgreSQL's
            // manual).
            let verifies_chain = self.mode == TlsMode::VerifyCa
                || self.mode == TlsMode::Require && self.root.is_some();
            let roots = verifies_chain.then(|| self.roots()).transpose()?;
            let verifier = Arc::new(Verifier { roots, algorithms });
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        };
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

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = self.root.as_deref().filter(|root| *root != "system") {
            for certificate in certificates("sslrootcert", file)? {
                roots.add(certificate).with_context(|| {
                    format!("DATABASE_URL: {file}, which sslrootcert names, holds an invalid certificate")
                })?;
            }
            return Ok(roots);
        }
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            bail!(
                "this machine has no root certificates, which DATABASE_URL's sslmode needs; install ca-certificates, or \
                 name a file with sslrootcert"
            );
        }
        Ok(roots)
    }
}

impl TlsMode {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
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

/// Returns an error about a file that shows nothing of its content.
fn unreadable(
    name: &str,
    file: &str,
    error: rustls::pki_types::pem::Error,
    content: &str,
) -> anyhow::Error {
    let reason = match error {
        rustls::pki_types::pem::Error::Io(error) => format!("cannot be read: {error}"),
        _ => format!("holds no {content} in PEM form"),
    };
    anyhow::anyhow!("DATABASE_URL: {file}, which {name} names, {reason}")
}

/// Verification that ignores the server's name. It verifies the certificate's chain only if it has
/// roots, and always the signatures of the handshake.
#[derive(Debug)]
struct Verifier {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// One parameter of a connection string: its place in the string, its name, and its encoded value.
type Parameter<'a> = (Range<usize>, &'a str, &'a str);

/// Returns the parameters of either form of connection string, up to the first one that cannot be
/// read, and the function that decodes their values. The driver later reports a parameter that
/// cannot be read.
fn parameters(url: &str) -> (Vec<Parameter<'_>>, fn(&str) -> String) {
    let schemes = ["postgresql://", "postgres://"];
    match schemes.iter().any(|scheme| url.starts_with(scheme)) {
        true => (in_address(url), percent_decoded),
        false => (in_pairs(url), unescaped),
    }
}

fn in_address(url: &str) -> Vec<Parameter<'_>> {
    // Like the driver, takes everything before an @ for user and password.
    let host = url.find('@').unwrap_or(0);
    let query = url.get(host..).and_then(|rest| rest.split_once('?'));
    let query = query.map(|(_, query)| query).unwrap_or_default();
    let mut start = url.len() - query.len();
    let parts = query.split_inclusive('&').filter_map(|part| {
        let range = start..start + part.len();
        start = range.end;
        let (name, value) = part.trim_end_matches('&').split_once('=')?;
        Some((range, name, value))
    });
    parts.collect()
}

fn percent_decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// Parses `name = value` pairs, whose values may be in single quotes; a backslash escapes the next
/// character.
fn in_pairs(text: &str) -> Vec<Parameter<'_>> {
    let mut parameters = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let start = text.len() - rest.len();
        let after = after.trim_start();
        let quoted = after.strip_prefix('\'');
        let value = quoted.unwrap_or(after);
        let mut is_escaped = false;
        let end = value.find(|character: char| {
            let ends = match quoted {
                Some(_) => character == '\'',
                None => character.is_whitespace(),
            };
            let is_end = ends && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            is_end
        });
        if quoted.is_some() && end.is_none() {
            break;
        }
        let (value, after) = value.split_at(end.unwrap_or(value.len()));
        rest = after.strip_prefix('\'').unwrap_or(after).trim_start();
        parameters.push((start..text.len() - rest.len(), name.trim_end(), value));
    }
    parameters
}

fn unescaped(value: &str) -> String {
    let mut characters = value.chars();
    let next = || match characters.next() {
        Some('\\') => characters.next(),
        next => next,
    };
    std::iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[track_caller]
    fn check(url: &str, rest: &str, mode: TlsMode, root: Option<&str>) {
        let (rest_of_url, tls) = Tls::split(url).unwrap();
        assert_eq!(
            (rest_of_url.expose_secret(), tls.mode, tls.root.as_deref()),
            (rest, mode, root)
        );
    }

    #[test]
    fn tls_parameters_are_taken_out_of_both_forms() {
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
    fn the_driver_can_read_the_rest() {
        for url in [
            "postgresql://h/db?sslmode=require&application_name=x&sslcert=a&sslkey=b",
            "host=h sslmode=require user=me",
        ] {
            let rest = Tls::split(url).unwrap().0;
            rest.expose_secret()
                .parse::<postgres::Config>()
                .unwrap_or_else(|error| panic!("{}: {error:?}", rest.expose_secret()));
        }
    }

    #[test]
    fn a_bad_parameter_is_named_without_its_value() {
        for (url, expected) in [
            ("host=h sslmode=hunter2", "sslmode must be one of"),
            ("host=h sslmode=allow", "sslmode must be one of disable,"),
            (
                "host=h sslmode=require sslrootcert=system",
                "needs sslmode=verify-full",
            ),
            (
                "host=h sslkey=hunter2",
                "sslcert and sslkey need each other",
            ),
        ] {
            let error = Tls::split(url).unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
