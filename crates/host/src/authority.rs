//! A certificate authority of one's own, for a host that has none yet and for `up`.
//!
//! The authority lives in a folder as `ca.pem` and `ca.key` and stays the same from start to
//! start, so that a mail program that was told to trust it goes on working; the server's own
//! certificate is made anew each time.

use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use stdx::Now;

use crate::Pair;

/// The files of an authority and of the certificate it has just signed.
#[derive(Clone, Debug)]
pub struct Authority {
    pub ca: PathBuf,
    pub pair: Pair,
}

/// Makes or reads the authority in `folder` and signs a certificate for `names` (DNS names and
/// IP addresses).
pub fn ensure(folder: &Path, names: &[String], now: Now) -> io::Result<Authority> {
    std::fs::create_dir_all(folder)?;
    let (ca, ca_key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let key = match std::fs::read_to_string(&ca_key) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(io::Error::other)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(io::Error::other)?;
            write_secret(&ca_key, &key.serialize_pem())?;
            key
        }
        Err(e) => return Err(e),
    };
    let params = authority_params();
    if !ca.exists() {
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        std::fs::write(&ca, certificate.pem())?;
    }
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().map_err(io::Error::other)?;
    let leaf = leaf_params(names, now).map_err(io::Error::other)?;
    let leaf = leaf.signed_by(&leaf_key, &issuer).map_err(io::Error::other)?;
    let pair = Pair { chain: folder.join("server.pem"), key: folder.join("server.key") };
    write_secret(&pair.key, &leaf_key.serialize_pem())?;
    std::fs::write(&pair.chain, leaf.pem())?;
    Ok(Authority { ca, pair })
}

// The same parameters every time: the authority's certificate is not read back, only its key is.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Postroad local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

fn leaf_params(names: &[String], now: Now) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = name(names.first().map_or("localhost", String::as_str));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // Some programs refuse certificates that live longer than 825 days.
    let (begin, end) = (now - stdx::Span::days(2), now + stdx::Span::days(800));
    let (begin, end) = (begin.civil(), end.civil());
    params.not_before = date_time_ymd(begin.year as i32, begin.month as u8, begin.day as u8);
    params.not_after = date_time_ymd(end.year as i32, end.month as u8, end.day as u8);
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

pub(crate) fn write_secret(file: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut out =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    out.write_all(text.as_bytes())
}
