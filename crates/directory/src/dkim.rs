//! Keys our domains sign with.

use stdx::{Now, Secret};
use store::rusqlite::{Connection, Row};
use store::{Batch, StoreError};
use words::Domain;

use crate::domains::{domain, unknown};
use crate::moved;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    RsaSha256,
    /// RFC 8463.
    Ed25519Sha256,
}

impl Algorithm {
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Made; its public half is to be put into the DNS.
    Waiting,
    /// Mail is signed with it.
    Signing,
    /// No longer signs; its public half stays in the DNS while old mail is under way.
    Retired,
}

impl KeyState {
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Waiting => "waiting",
            KeyState::Signing => "signing",
            KeyState::Retired => "retired",
        }
    }
}

/// A signing key. The private half has no `Debug`, so this has none.
#[derive(Clone)]
pub struct DkimKey {
    pub selector: String,
    pub algorithm: Algorithm,
    /// PKCS#8 in PEM.
    pub private: Secret<String>,
    pub state: KeyState,
    pub created: Now,
}

fn read(row: &Row<'_>) -> Result<DkimKey, store::rusqlite::Error> {
    let algorithm = match row.get::<_, String>(1)?.as_str() {
        "ed25519-sha256" => Algorithm::Ed25519Sha256,
        _ => Algorithm::RsaSha256,
    };
    let state = match row.get::<_, String>(3)?.as_str() {
        "signing" => KeyState::Signing,
        "waiting" => KeyState::Waiting,
        _ => KeyState::Retired,
    };
    Ok(DkimKey {
        selector: row.get(0)?,
        algorithm,
        private: Secret::new(row.get(2)?),
        state,
        created: Now(row.get::<_, i64>(4)? as u64),
    })
}

/// The keys of a domain by selector.
pub fn dkim_keys(conn: &Connection, name: &Domain) -> Result<Vec<DkimKey>, StoreError> {
    let mut list = conn.prepare_cached(
        "SELECT selector, algorithm, private, state, created FROM dkim_key WHERE domain = ?1 ORDER BY selector",
    )?;
    let rows = list.query_map([name.as_str()], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keeps a new key. A selector is one label or more, as in the DNS (RFC 6376 §3.1).
pub fn add_dkim_key(batch: &mut Batch<'_>, name: &Domain, key: &DkimKey) -> Result<(), StoreError> {
    let conn = batch.sql();
    if domain(conn, name)?.is_none() {
        return Err(unknown(name));
    }
    if Domain::new(&key.selector).is_err() {
        return Err(StoreError::rule(format!("\"{}\" cannot be a selector", key.selector)));
    }
    let rows = conn
        .prepare_cached("INSERT INTO dkim_key VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING")?
        .execute((
            name.as_str(),
            &key.selector,
            key.algorithm.as_str(),
            key.private.reveal(),
            key.state.as_str(),
            key.created.ms() as i64,
        ))?;
    if rows == 0 {
        return Err(StoreError::rule(format!("{name} already has a key with the selector {}", key.selector)));
    }
    moved(batch)
}

pub fn set_dkim_state(
    batch: &mut Batch<'_>,
    name: &Domain,
    selector: &str,
    state: KeyState,
) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("UPDATE dkim_key SET state = ?3 WHERE domain = ?1 AND selector = ?2")?
        .execute((name.as_str(), selector, state.as_str()))?;
    if rows == 0 { Err(no_key(name, selector)) } else { moved(batch) }
}

pub fn remove_dkim_key(batch: &mut Batch<'_>, name: &Domain, selector: &str) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("DELETE FROM dkim_key WHERE domain = ?1 AND selector = ?2")?
        .execute((name.as_str(), selector))?;
    if rows == 0 { Err(no_key(name, selector)) } else { moved(batch) }
}

fn no_key(name: &Domain, selector: &str) -> StoreError {
    StoreError::rule(format!("{name} has no key with the selector {selector}"))
}
