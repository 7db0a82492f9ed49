//! TLS on either side of a session: handshake, facts, and whom we trust.
//!
//! What it is: [`Tls`] in a session's wires says which side we are; a server's certificate comes
//! from a [`TlsServer`] for each connection (so that new certificates need no restart); a client
//! says what it wants to be sure of with [`Trust`]. What it is not: files, or policy about when
//! TLS is needed.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ring::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{Acceptor, ParsedCertificate};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use stdx::TlsFacts;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};
use world::{Stream, Tlsa};

/// What TLS a session may start.
#[derive(Clone)]
pub enum Tls {
    None,
    /// `implicit`: the handshake comes before the greeting.
    Server {
        certificates: Arc<dyn TlsServer>,
        implicit: bool,
    },
    Client {
        tls: Arc<ClientTls>,
        implicit: bool,
    },
}

impl Tls {
    pub(crate) fn is_implicit(&self) -> bool {
        matches!(self, Tls::Server { implicit: true, .. } | Tls::Client { implicit: true, .. })
    }
}

/// A server's configuration for one connection.
#[derive(Clone)]
pub struct TlsPick {
    pub config: Arc<ServerConfig>,
    /// See [`endpoint_hash`], of the certificate in `config`.
    pub endpoint: Option<Vec<u8>>,
}

/// Chooses a certificate by the name the client asked for (lower case).
pub trait TlsServer: Send + Sync {
    fn pick(&self, sni: Option<&str>) -> Result<TlsPick, String>;
}

/// The certificate authorities a client may trust.
pub struct Roots {
    provider: Arc<CryptoProvider>,
    store: Arc<RootCertStore>,
    identity: Option<Arc<Identity>>,
}

/// Who we are towards servers that want to know: shown only where we know whom we talk to.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Roots {
    /// Believes nobody.
    pub fn none() -> Roots {
        Roots::new(RootCertStore::empty())
    }
    pub fn new(store: RootCertStore) -> Roots {
        Roots { provider: Arc::new(provider::default_provider()), store: Arc::new(store), identity: None }
    }
    /// With a certificate of our own for servers that ask for one.
    pub fn with_identity(self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Roots {
        Roots { identity: Some(Arc::new(Identity { chain, key })), ..self }
    }
}

/// What a client must be sure of before it goes on.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Any certificate will do (RFC 7435); [`TlsFacts::verified`] tells whether it would have
    /// passed for the server name.
    Any,
    /// The chain must lead to one of the roots, for one of these names (MTA-STS, relays).
    Names(Vec<String>),
    /// RFC 7672: one of these TLSA records must match; the names are for DANE-TA.
    Dane { tlsa: Vec<Tlsa>, names: Vec<String> },
}

/// A client's side.
pub struct ClientTls {
    pub roots: Arc<Roots>,
    /// Sent as SNI: the host we meant to reach.
    pub name: String,
    pub trust: Trust,
    /// What the handshake found wrong with the server's certificate, whether that ended it or not.
    pub doubt: Arc<OnceLock<Doubt>>,
}

impl ClientTls {
    pub fn new(roots: Arc<Roots>, name: impl Into<String>, trust: Trust) -> ClientTls {
        ClientTls { roots, name: name.into(), trust, doubt: Arc::default() }
    }
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has expired, or does not hold yet.
    Expired,
    /// It is for other names.
    Name,
    /// No authority we believe stands behind it.
    Untrusted,
    /// No TLSA record names it.
    Tlsa,
    Other,
}

impl Doubt {
    fn of(error: &rustls::Error) -> Doubt {
        use rustls::CertificateError as E;
        let rustls::Error::InvalidCertificate(error) = error else { return Doubt::Other };
        match error {
            E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
                Doubt::Expired
            }
            E::NotValidForName | E::NotValidForNameContext { .. } => Doubt::Name,
            E::UnknownIssuer | E::Revoked | E::BadSignature => Doubt::Untrusted,
            _ => Doubt::Other,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::Expired => "its certificate has expired or does not hold yet",
            Doubt::Name => "its certificate is for other names",
            Doubt::Untrusted => "its certificate comes from no authority this host believes",
            Doubt::Tlsa => "no TLSA record names its certificate",
            Doubt::Other => "its certificate cannot be used",
        })
    }
}

type Shaken = (Box<dyn Stream>, TlsFacts);

pub(crate) async fn handshake(tls: Tls, stream: Box<dyn Stream>) -> Result<Shaken, String> {
    match tls {
        Tls::None => Err("the machine wants TLS, but this listener has none".into()),
        Tls::Server { certificates, .. } => serve(&*certificates, stream).await,
        Tls::Client { tls, .. } => client_handshake(&tls, stream).await,
    }
}

/// The implicit server handshake alone, for streams that no machine drives (HTTP). A plain
/// listener's connection comes back as it is; `None`: the handshake failed or took too long.
pub async fn accept(connection: world::Connection, wires: &crate::Wires) -> Option<world::Connection> {
    let Tls::Server { certificates, implicit: true } = &wires.tls else { return Some(connection) };
    let world::Connection { stream, local, peer } = connection;
    let handshake = Box::pin(serve(&**certificates, stream));
    match crate::session::within(&*wires.clock, wires.limits.handshake, handshake).await {
        Some(Ok((stream, _))) => Some(world::Connection { stream, local, peer }),
        _ => {
            crate::Meter::add(&wires.meter.tls_failures, 1);
            None
        }
    }
}

async fn serve(certificates: &dyn TlsServer, stream: Box<dyn Stream>) -> Result<Shaken, String> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(|e| e.to_string())?;
    let sni = start.client_hello().server_name().map(str::to_ascii_lowercase);
    let pick = certificates.pick(sni.as_deref())?;
    let stream = start.into_stream(pick.config).await.map_err(|e| e.to_string())?;
    let connection = stream.get_ref().1;
    let mut facts = facts(connection);
    facts.sni = sni;
    facts.endpoint = pick.endpoint;
    // The handshake has proved that the client holds the key of the certificate it showed.
    facts.client_names =
        connection.peer_certificates().and_then(|c| c.first()).and_then(key_pin).into_iter().collect();
    facts.exporter =
        exporter(connection, |out| connection.export_keying_material(out, EXPORTER, Some(b"")).ok());
    Ok((Box::new(stream), facts))
}

/// A client's handshake alone, for those who speak no machine's protocol (HTTPS fetches, probes).
pub async fn client_handshake(
    tls: &ClientTls,
    stream: Box<dyn Stream>,
) -> Result<(Box<dyn Stream>, TlsFacts), String> {
    let sni = server_name(&tls.name)?;
    let verifier = Arc::new(Verifier {
        roots: tls.roots.clone(),
        name: tls.name.clone(),
        trust: tls.trust.clone(),
        verified: AtomicBool::new(false),
        doubt: tls.doubt.clone(),
    });
    let builder = ClientConfig::builder_with_provider(tls.roots.provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    let config = match tls.roots.identity.as_ref().filter(|_| !matches!(tls.trust, Trust::Any)) {
        Some(us) => builder
            .with_client_auth_cert(us.chain.clone(), us.key.clone_key())
            .map_err(|e| format!("our own certificate cannot be used: {e}"))?,
        None => builder.with_no_client_auth(),
    };
    let stream =
        TlsConnector::from(Arc::new(config)).connect(sni, stream).await.map_err(|e| e.to_string())?;
    let connection = stream.get_ref().1;
    let mut facts = facts(connection);
    facts.sni = Some(tls.name.clone());
    facts.endpoint = connection.peer_certificates().and_then(|chain| chain.first()).map(|c| endpoint_hash(c));
    facts.exporter =
        exporter(connection, |out| connection.export_keying_material(out, EXPORTER, Some(b"")).ok());
    facts.verified = verifier.verified.load(Ordering::Relaxed);
    facts.chain = connection.peer_certificates().unwrap_or_default().iter().map(|c| c.to_vec()).collect();
    Ok((Box::new(stream), facts))
}

/// RFC 9266 §2.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

// RFC 9266 §4.2: below TLS 1.3 the value is only unique with further conditions; we give none.
fn exporter<D>(
    connection: &rustls::ConnectionCommon<D>,
    export: impl FnOnce([u8; 32]) -> Option<[u8; 32]>,
) -> Option<Vec<u8>> {
    let is_13 = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    if is_13 { export([0; 32]).map(Vec::from) } else { None }
}

fn facts<D>(connection: &rustls::ConnectionCommon<D>) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".into(),
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2".into(),
        other => format!("{other:?}"),
    };
    let cipher = connection.negotiated_cipher_suite().map(|suite| {
        // rustls names TLS 1.3 suites TLS13_AES_…; the registry's name is TLS_AES_….
        format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
    });
    TlsFacts { version, cipher: cipher.unwrap_or_default(), ..TlsFacts::default() }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("\"{name}\" is no name TLS can ask for"))
}

/// RFC 5929 §4.1: the hash of the certificate by the hash of its own signature, at least SHA-256.
pub fn endpoint_hash(der: &[u8]) -> Vec<u8> {
    let algorithm = match signature_oid(der).unwrap_or_default() {
        // sha384WithRSAEncryption, ecdsa-with-SHA384
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => {
            &digest::SHA384
        }
        // sha512WithRSAEncryption, ecdsa-with-SHA512
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => {
            &digest::SHA512
        }
        _ => &digest::SHA256,
    };
    digest::digest(algorithm, der).as_ref().to_vec()
}

/// `Certificate ::= SEQUENCE { tbs SEQUENCE, algorithm SEQUENCE { OID, … }, … }`: that OID.
fn signature_oid(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = der_value(der, 0x30)?;
    let (_, rest) = der_value(certificate, 0x30)?;
    let (algorithm, _) = der_value(rest, 0x30)?;
    der_value(algorithm, 0x06).map(|(oid, _)| oid)
}

/// A DER value with this tag at the front, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(len) } else { None }
}

/// Decides about a server's certificate as [`Trust`] says.
struct Verifier {
    roots: Arc<Roots>,
    name: String,
    trust: Trust,
    verified: AtomicBool,
    doubt: Arc<OnceLock<Doubt>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

struct Shown<'a> {
    leaf: &'a CertificateDer<'a>,
    rest: &'a [CertificateDer<'a>],
    ocsp: &'a [u8],
    now: UnixTime,
}

impl Verifier {
    fn chain_passes(
        &self,
        roots: &Arc<RootCertStore>,
        shown: &Shown<'_>,
        name: &str,
    ) -> Result<(), rustls::Error> {
        let refused = |e: String| rustls::Error::General(e);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), self.roots.provider.clone())
                .build()
                .map_err(|e| refused(e.to_string()))?;
        let name = server_name(name).map_err(refused)?;
        verifier.verify_server_cert(shown.leaf, shown.rest, &name, shown.ocsp, shown.now).map(|_| ())
    }

    fn any_name_passes(
        &self,
        roots: &Arc<RootCertStore>,
        shown: &Shown<'_>,
        names: &[String],
    ) -> Result<(), rustls::Error> {
        let mut last = rustls::Error::General("no name to verify".into());
        for name in names {
            match self.chain_passes(roots, shown, name) {
                Ok(()) => return Ok(()),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    // RFC 7672 §3.1: usage 3 binds the leaf alone (no name, no dates), usage 2 a certificate above
    // it, usages 0 and 1 are not for SMTP. With records, but none usable, TLS is still wanted and
    // the peer stays unverified.
    fn dane(&self, shown: &Shown<'_>, tlsa: &[Tlsa], names: &[String]) -> Result<bool, rustls::Error> {
        let usable = |t: &&Tlsa| matches!(t.usage, 2 | 3) && t.selector <= 1 && t.matching <= 2;
        let mut any = false;
        for record in tlsa.iter().filter(usable) {
            any = true;
            if record.usage == 3 && tlsa_matches(record, shown.leaf) {
                return Ok(true);
            }
            if record.usage == 2
                && let Some(anchor) = shown.rest.iter().chain([shown.leaf]).find(|c| tlsa_matches(record, c))
            {
                let mut store = RootCertStore::empty();
                if store.add(anchor.clone().into_owned()).is_ok()
                    && self.any_name_passes(&Arc::new(store), shown, names).is_ok()
                {
                    return Ok(true);
                }
            }
        }
        if any {
            return Err(rustls::Error::General(
                "no TLSA record matches the server's certificate (DANE)".into(),
            ));
        }
        Ok(false)
    }
}

/// The name of a key: `sha256:` and the hash of its public half, in hexadecimal. It stays the same
/// when a certificate is made anew for the same key.
pub fn key_pin(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let hash = digest::digest(&digest::SHA256, &parsed.subject_public_key_info());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Some(format!("sha256:{hex}"))
}

/// The TLSA record (DANE-EE, key, SHA-256) that says the same as a [`key_pin`].
pub fn pinned(pin: &str) -> Option<Tlsa> {
    let hex = pin.strip_prefix("sha256:").filter(|h| h.len() == 64 && h.is_ascii())?;
    let octet = |n: usize| u8::from_str_radix(hex.get(n * 2..n * 2 + 2)?, 16).ok();
    Some(Tlsa { usage: 3, selector: 1, matching: 1, data: (0..32).map(octet).collect::<Option<Vec<u8>>>()? })
}

/// Whether a TLSA record names this certificate (RFC 6698 §2.1).
pub fn tlsa_matches(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let spki;
    let selected: &[u8] = match record.selector {
        0 => certificate,
        1 => match ParsedCertificate::try_from(certificate) {
            Ok(parsed) => {
                spki = parsed.subject_public_key_info();
                &spki
            }
            Err(_) => return false,
        },
        _ => return false,
    };
    match record.matching {
        0 => selected == record.data,
        1 => digest::digest(&digest::SHA256, selected).as_ref() == record.data,
        2 => digest::digest(&digest::SHA512, selected).as_ref() == record.data,
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Shown { leaf, rest, ocsp, now };
        let found = match &self.trust {
            Trust::Any => self.chain_passes(&self.roots.store, &shown, &self.name).map(|()| true),
            Trust::Names(names) => self.any_name_passes(&self.roots.store, &shown, names).map(|()| true),
            Trust::Dane { tlsa, names } => self.dane(&shown, tlsa, names),
        };
        if let Err(why) = &found {
            let dane = matches!(self.trust, Trust::Dane { .. });
            // The first look is the one that counts; nobody looks twice in one handshake.
            let _ = self.doubt.set(if dane { Doubt::Tlsa } else { Doubt::of(why) });
        }
        let verified = match (&self.trust, found) {
            (Trust::Any, found) => found.is_ok(),
            (_, found) => found?,
        };
        self.verified.store(verified, Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.roots.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.roots.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.provider.signature_verification_algorithms.supported_schemes()
    }
}
