//! Who this host is towards other hosts of ours: one key that stays, and a certificate for it.
//!
//! What it is: the pair that a mail host shows to its relay and a relay to its mail hosts; each
//! knows the other by the pin of its key. What it is not: a certificate for the public.

use std::io;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Pair;
use crate::authority::write_secret;

/// The files, and the pin by which others know us.
pub struct Identity {
    pub pair: Pair,
    pub pin: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// For servers that ask who we are.
    pub fn shown_by(self, roots: drive::Roots) -> drive::Roots {
        roots.with_identity(self.chain, self.key)
    }
}

/// Reads the identity in `folder`, or makes it.
pub fn ensure(folder: &Path, name: &str) -> io::Result<Identity> {
    let pair = Pair { chain: folder.join("host.pem"), key: folder.join("host.key") };
    if !pair.key.exists() || !pair.chain.exists() {
        std::fs::create_dir_all(folder)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(io::Error::other)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2049, 12, 31);
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        write_secret(&pair.key, &key.serialize_pem())?;
        std::fs::write(&pair.chain, certificate.pem())?;
    }
    let certificate = CertificateDer::from_pem_file(&pair.chain).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(io::Error::other)?;
    let pin = drive::tls::key_pin(&certificate)
        .ok_or_else(|| io::Error::other("the host's certificate cannot be read"))?;
    Ok(Identity { pair, pin, chain: vec![certificate], key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_stays_from_start_to_start() {
        let folder = std::env::temp_dir().join(format!("postroad-identity-{}", std::process::id()));
        let first = ensure(&folder, "mx.example.org").expect("is made").pin;
        let again = ensure(&folder, "mx.example.org").expect("is read").pin;
        std::fs::remove_dir_all(&folder).expect("is removed");
        assert_eq!(first, again);
        assert!(drive::tls::pinned(&first).is_some_and(|t| t.data.len() == 32), "{first}");
    }
}
