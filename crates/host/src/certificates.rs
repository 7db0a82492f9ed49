//! The certificates this host shows, chosen by the name a client asks for, and exchanged while
//! sessions go on; and the authorities it trusts as a client.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use drive::tls::endpoint_hash;
use drive::{Roots, TlsPick, TlsServer};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use stdx::Now;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Sessions that may be resumed, kept at most.
const RESUMABLE_MAX: usize = 4096;

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// What is wrong with a certificate's files.
#[derive(Clone, Debug)]
pub struct CertificateError {
    pub file: PathBuf,
    pub why: String,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}
impl std::error::Error for CertificateError {}

/// One loaded certificate.
#[derive(Clone)]
struct Loaded {
    pick: TlsPick,
    names: Vec<String>,
    expires: Now,
}

/// All certificates of this host. The first pair is shown to those who ask for no name or one we
/// do not have.
pub struct Certificates {
    set: RwLock<Arc<Set>>,
    /// Whether clients are asked for a certificate of theirs.
    asks: bool,
}

struct Set {
    by_name: BTreeMap<String, usize>,
    all: Vec<Loaded>,
}

impl Certificates {
    pub fn load(pairs: &[Pair]) -> Result<Certificates, CertificateError> {
        Ok(Certificates { set: RwLock::new(Arc::new(read_set(pairs, false)?)), asks: false })
    }

    /// As [`Certificates::load`], and clients are asked who they are. They need not say; whose key
    /// it is that they prove to hold, the desk decides ([`drive::tls::key_pin`]).
    pub fn asking(pairs: &[Pair]) -> Result<Certificates, CertificateError> {
        Ok(Certificates { set: RwLock::new(Arc::new(read_set(pairs, true)?)), asks: true })
    }

    /// Reads the files again. Sessions that stand keep theirs; if anything is wrong, all stays.
    pub fn reload(&self, pairs: &[Pair]) -> Result<(), CertificateError> {
        let set = Arc::new(read_set(pairs, self.asks)?);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(())
    }

    /// Names and expiry of each, for `doctor` and the monitor.
    pub fn list(&self) -> Vec<(Vec<String>, Now)> {
        self.set().all.iter().map(|one| (one.names.clone(), one.expires)).collect()
    }

    fn set(&self) -> Arc<Set> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TlsServer for Certificates {
    fn pick(&self, sni: Option<&str>) -> Result<TlsPick, String> {
        let set = self.set();
        let index = sni.and_then(|name| {
            let wildcard =
                || name.split_once('.').and_then(|(_, parent)| set.by_name.get(&format!("*.{parent}")));
            set.by_name.get(name).or_else(wildcard)
        });
        let loaded = set.all.get(index.copied().unwrap_or(0));
        loaded.map(|one| one.pick.clone()).ok_or_else(|| "this host has no certificate yet".to_owned())
    }
}

fn read_set(pairs: &[Pair], asks: bool) -> Result<Set, CertificateError> {
    let sessions = ServerSessionMemoryCache::new(RESUMABLE_MAX);
    let mut set = Set { by_name: BTreeMap::new(), all: Vec::new() };
    for pair in pairs {
        let loaded = read_pair(pair, sessions.clone(), asks)?;
        for name in &loaded.names {
            set.by_name.entry(name.clone()).or_insert(set.all.len());
        }
        set.all.push(loaded);
    }
    Ok(set)
}

fn read_pair(
    pair: &Pair,
    sessions: Arc<ServerSessionMemoryCache>,
    asks: bool,
) -> Result<Loaded, CertificateError> {
    let wrong = |file: &Path, why: String| CertificateError { file: file.to_owned(), why };
    let chain = read_chain(&pair.chain)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|e| {
        wrong(&pair.key, format!("no private key can be read from it ({e}); it should be PEM"))
    })?;
    let leaf = chain.first().ok_or_else(|| wrong(&pair.chain, "it holds no certificate".into()))?;
    let (names, expires) = names_and_expiry(leaf)
        .ok_or_else(|| wrong(&pair.chain, "its first certificate cannot be read".into()))?;
    let endpoint = Some(endpoint_hash(leaf));
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&pair.chain, e.to_string()))?;
    let builder = match asks {
        true => builder.with_client_cert_verifier(Arc::new(AnyKey::new())),
        false => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|e| wrong(&pair.key, format!("key and certificate do not fit together: {e}")))?;
    config.session_storage = sessions;
    Ok(Loaded { pick: TlsPick { config: Arc::new(config), endpoint }, names, expires })
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>()).map_err(|e| {
        CertificateError {
            file: file.to_owned(),
            why: format!("no certificates can be read from it ({e}); it should be PEM"),
        }
    })
}

fn names_and_expiry(der: &[u8]) -> Option<(Vec<String>, Now)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let expires = Now::from_secs(u64::try_from(certificate.validity().not_after.timestamp()).ok()?);
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    Some((names, expires))
}

/// The authorities a client trusts: the system's bundle and these files besides.
pub fn roots(more: &[PathBuf]) -> Result<Roots, CertificateError> {
    const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
    let mut store = RootCertStore::empty();
    if let Ok(chain) = read_chain(Path::new(SYSTEM)) {
        store.add_parsable_certificates(chain);
    }
    for file in more {
        store.add_parsable_certificates(read_chain(file)?);
    }
    Ok(Roots::new(store))
}

/// Takes any certificate of a client, if the client proves that it holds the key.
#[derive(Debug)]
struct AnyKey(rustls::crypto::WebPkiSupportedAlgorithms);

impl AnyKey {
    fn new() -> AnyKey {
        AnyKey(rustls::crypto::ring::default_provider().signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signed, &self.0)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signed, &self.0)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
