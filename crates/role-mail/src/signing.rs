//! DKIM signatures for what our users send.
//!
//! Keys are read from the directory once and kept until the directory changes. Begin with [`sign`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use directory::KeyState;
use mailauth::bodies::Hashes;
use mailauth::dkim::{Signer, sign_hashed, sign_message};
use mailauth::keys::{KeyError, SigningKey};
use stdx::Now;
use store::StoreError;
use store::rusqlite::Connection;
use words::Domain;

use crate::Site;
use crate::text::Text;

/// Domains whose keys are kept in memory, at most.
const DOMAINS_MAX: usize = 10_000;

/// Keys that were read, as of a version of the directory. Cheap to clone.
#[derive(Clone, Default)]
pub struct Signers(Arc<Mutex<Read>>);

#[derive(Default)]
struct Read {
    version: i64,
    by_domain: BTreeMap<Domain, Arc<Vec<Signer>>>,
}

impl Signers {
    fn read(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn kept(&self, version: i64, domain: &Domain) -> Option<Arc<Vec<Signer>>> {
        let mut read = self.read();
        if read.version != version || read.by_domain.len() >= DOMAINS_MAX {
            *read = Read { version, by_domain: BTreeMap::new() };
        }
        read.by_domain.get(domain).cloned()
    }
}

/// The signature fields for a message, each with its line ending; none if the domain in From has no
/// key that signs.
pub fn sign(site: &Site, text: &Text) -> Result<String, StoreError> {
    signed(site, text.header(), |signers, now| match text.hashes().and_then(Hashes::relaxed) {
        Some(hash) => sign_hashed(signers, text.header(), hash, now),
        None => sign_message(signers, text.header(), now),
    })
}

/// The same for a message of our own.
pub fn sign_own(site: &Site, text: &[u8]) -> Result<String, StoreError> {
    signed(site, text, |signers, now| sign_message(signers, text, now))
}

fn signed(
    site: &Site,
    text: &[u8],
    sign: impl FnOnce(&[Signer], Now) -> Result<String, KeyError>,
) -> Result<String, StoreError> {
    let head = message::Head::parse(text);
    let Ok(domain) = mailauth::dmarc::author(&head) else { return Ok(String::new()) };
    let signers = site.store().glance(|conn| signers(site.signers(), conn, &domain))?;
    if signers.is_empty() {
        return Ok(String::new());
    }
    let signed = sign(&signers, site.now());
    signed.map_err(|error| StoreError::Broken(format!("the DKIM key of {domain} does not sign: {error}")))
}

fn signers(kept: &Signers, conn: &Connection, domain: &Domain) -> Result<Arc<Vec<Signer>>, StoreError> {
    let version = directory::version(conn)?;
    if let Some(signers) = kept.kept(version, domain) {
        return Ok(signers);
    }
    let mut signers = Vec::new();
    for key in directory::dkim_keys(conn, domain)? {
        if key.state != KeyState::Signing {
            continue;
        }
        let signing = SigningKey::from_pem(key.private.reveal())
            .map_err(|error| StoreError::Broken(format!("the DKIM key of {domain}: {error}")))?;
        signers.push(Signer { domain: domain.clone(), selector: key.selector, key: signing });
    }
    let signers = Arc::new(signers);
    kept.read().by_domain.insert(domain.clone(), signers.clone());
    Ok(signers)
}
