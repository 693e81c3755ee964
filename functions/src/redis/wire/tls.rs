//! TLS to a server: whom to trust, and who we are.
//!
//! Takes the `tls` param. Gives a connector. Always holds: without `insecure` the server's certificate and name are
//! checked, against `caFile` alone where there is one, else against what the machine trusts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::ParamError;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// How TLS is spoken with a server (`rediss://`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// A PEM file of the authorities to trust; without it, those that the machine trusts.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// A PEM file with the client's certificate, where the server asks for one.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// A PEM file with the key of `certFile`.
    #[serde(default)]
    pub key_file: Option<String>,
    /// Whether to talk to whoever answers, without checking the certificate: whoever stands between can read and change everything.
    #[serde(default)]
    pub insecure: bool,
    /// The name that the certificate must have; the url's host unless said.
    #[serde(default)]
    pub server_name: Option<String>,
}

impl Tls {
    /// Checks what one field says against the others.
    ///
    /// # Errors
    /// Two fields that only make sense together, or not together.
    pub(crate) fn check(&self) -> Result<(), ParamError> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(ParamError::new("tls", "`certFile` and `keyFile` only work together"));
        }
        if self.insecure && self.ca_file.is_some() {
            return Err(ParamError::new("tls.insecure", "with `insecure`, nothing is checked against `caFile`")
                .with_help("leave one of the two out"));
        }
        Ok(())
    }

    /// The name to ask for and to check.
    ///
    /// # Errors
    /// It is no host's name.
    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, Failure> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::config(format!("`{name}` is no name that a certificate could have")))
    }

    /// Reads the files and makes a connector.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else.
    pub(crate) async fn connector(&self) -> Result<TlsConnector, Failure> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::internal("TLS cannot be set up").caused_by(&error))?;
        let config = if self.insecure {
            config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            config.with_root_certificates(self.roots().await?)
        };
        let config = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => {
                let chain = certificates("certFile", cert).await?;
                let secret = PrivateKeyDer::from_pem_slice(&file("keyFile", key).await?).map_err(|error| {
                    Failure::config(format!("`{key}` holds no key in PEM"))
                        .caused_by(&error)
                        .with_help("name the file of the private key of `tls.certFile` in `tls.keyFile`")
                })?;
                config.with_client_auth_cert(chain, secret).map_err(|error| {
                    Failure::config(format!("`{key}` does not fit `{cert}`")).caused_by(&error).with_help(
                        "`tls.keyFile` has to be the key that the certificate in `tls.certFile` was made for",
                    )
                })?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn roots(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.ca_file else {
            let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
                .await
                .map_err(|error| Failure::internal("the machine's authorities cannot be read").caused_by(&error))?;
            roots.add_parsable_certificates(native.certs);
            if roots.is_empty() {
                return Err(Failure::config("this machine trusts no authority at all")
                    .with_help("install `ca-certificates`, or name the server's authority in `tls.caFile`"));
            }
            return Ok(roots);
        };
        for certificate in certificates("caFile", path).await? {
            roots.add(certificate).map_err(|error| {
                Failure::config(format!("`{path}` holds a certificate that cannot be used")).caused_by(&error)
            })?;
        }
        Ok(roots)
    }
}

/// The failure of a server that wants to know who we are, and does not; nothing where an error is another one.
pub(crate) fn wants_certificate(error: &io::Error, server: &str) -> Option<Failure> {
    let Error::AlertReceived(alert) = error.get_ref()?.downcast_ref::<Error>()? else { return None };
    let (message, help) = match alert {
        AlertDescription::CertificateRequired => (
            format!("`{server}` asks for a client's certificate"),
            "give `tls.certFile` and `tls.keyFile`: a certificate that the server's authority has signed, and its key",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => (
            format!("`{server}` does not take the client's certificate"),
            "give one in `tls.certFile` that the server's authority has signed and that is valid now, and its key in `tls.keyFile`",
        ),
        _ => return None,
    };
    Some(Failure::unauthorized(message).caused_by(error).with_help(help))
}

async fn file(param: &str, path: &str) -> Result<Vec<u8>, Failure> {
    tokio::fs::read(Path::new(path)).await.map_err(|error| {
        Failure::from_io(error, format!("reading `{path}`"))
            .with_help(format!("it is named in `tls.{param}`: write the path of a PEM file that can be read here"))
    })
}

async fn certificates(param: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let none = || {
        Failure::config(format!("`{path}` holds no certificate in PEM"))
            .with_help(format!("name a file with `-----BEGIN CERTIFICATE-----` in `tls.{param}`"))
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&file(param, path).await?)
        .collect::<Result<_, _>>()
        .map_err(|error| none().caused_by(&error))?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

/// Takes any certificate; the signatures over the handshake are still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
