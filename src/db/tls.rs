//! TLS to PostgreSQL as libpq defines it ("Database Connection Control Functions" and "SSL Support"
//! in PostgreSQL's manual): its part of DATABASE_URL, and rustls accordingly.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use postgres::config::SslMode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

/// The part of DATABASE_URL about TLS.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tls {
    mode: TlsMode,
    /// The mode that the connection string names.
    given: Option<TlsMode>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    /// The server is not told its name (`sslsni=0`).
    hides_name: bool,
    /// Only TLS 1.3 is spoken.
    only_newest: bool,
    /// TLS 1.3 is not spoken.
    only_older: bool,
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
    /// Takes over one parameter; returns false if it is not about TLS. An error shows no value.
    pub fn take(&mut self, name: &str, value: String) -> anyhow::Result<bool> {
        let file = |value: String| Some(value).filter(|value| !value.is_empty());
        let version = |value: &str| match value {
            // Older versions than 1.2 are not spoken.
            "" | "TLSv1" | "TLSv1.1" | "TLSv1.2" => Ok(false),
            "TLSv1.3" => Ok(true),
            _ => bail!("DATABASE_URL: {name} must be TLSv1.2 or TLSv1.3"),
        };
        match name {
            "sslmode" => {
                self.given = Some(TlsMode::named(&value).context(
                    "DATABASE_URL: sslmode must be one of disable, prefer, require, verify-ca, verify-full",
                )?);
            }
            // Other libraries write this, and libpq takes it.
            "ssl" if value == "true" => self.given = Some(TlsMode::Require),
            "sslrootcert" => self.root = file(value),
            "sslcert" => self.certificate = file(value),
            "sslkey" => self.key = file(value),
            "sslsni" => self.hides_name = value == "0",
            "ssl_min_protocol_version" => self.only_newest = version(&value)?,
            "ssl_max_protocol_version" => self.only_older = !value.is_empty() && !version(&value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Chooses the mode, once all parameters were taken.
    pub fn complete(mut self) -> anyhow::Result<Self> {
        let is_system = self.root.as_deref() == Some("system");
        let default = if is_system {
            TlsMode::VerifyFull
        } else {
            TlsMode::Prefer
        };
        self.mode = self.given.unwrap_or(default);
        ensure!(
            !is_system || self.mode == TlsMode::VerifyFull,
            "DATABASE_URL: sslrootcert=system needs sslmode=verify-full, since anybody can get a certificate of those roots"
        );
        ensure!(
            self.certificate.is_some() == self.key.is_some(),
            "DATABASE_URL: sslcert and sslkey need each other"
        );
        ensure!(
            !(self.only_newest && self.only_older),
            "DATABASE_URL: ssl_min_protocol_version is newer than ssl_max_protocol_version"
        );
        Ok(self)
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
        let mut config = self.verifying()?;
        config.enable_sni = !self.hides_name;
        Ok(config)
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];
        static OLDER: [&SupportedProtocolVersion; 1] = [&TLS12];
        match (self.only_newest, self.only_older) {
            (true, _) => &NEWEST,
            (_, true) => &OLDER,
            _ => rustls::DEFAULT_VERSIONS,
        }
    }

    fn verifying(&self) -> anyhow::Result<ClientConfig> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions())
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
