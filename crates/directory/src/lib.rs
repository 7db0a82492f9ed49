//! Domains, accounts, aliases, credentials, keys: what changes at run time.
//!
//! What it is: the tables behind "who is this address, who may log in, who may send as whom",
//! and the functions that read and write them. Writers take a [`store::Batch`]; readers take a
//! connection. Every write moves [`version`], so that a role can keep answers in memory.
//! What it is not: it checks no password (`sasl` and the roles do) and decides no policy.
//! Begin with [`resolve()`].

mod accounts;
mod aliases;
mod credentials;
mod dkim;
mod domains;
mod knobs;
mod resolve;
mod scripts;

pub use accounts::{
    Account, NewAccount, State, account, account_by_login, accounts, add_account, add_address, addresses_of,
    remove_account, remove_address, set_name, set_quota, set_state,
};
pub use aliases::{Alias, add_alias, aliases, remove_alias, targets_of};
pub use credentials::{
    Credential, CredentialId, Kind, NewCredential, Scope, Scopes, add_credential, any_password_without,
    credentials_of, remove_credential, set_password, used,
};
pub use dkim::{Algorithm, DkimKey, KeyState, add_dkim_key, dkim_keys, remove_dkim_key, set_dkim_state};
pub use domains::{
    Domain, add_domain, alias_domain, domain, domains, remove_domain, set_catch_all, set_plus,
};
pub use knobs::{knob, knobs, set_knob, version};
pub use resolve::{Resolved, Target, allow_send_as, forbid_send_as, may_send_as, resolve, send_as_of};
pub use scripts::{
    Changed, NoScript, SCRIPT_MAX, SCRIPTS_MAX, active_script, put_script, remove_script, rename_script,
    script, script_fits, script_mark, scripts, set_active_script, set_script_mark,
};
pub use words::{AccountId, Address};

use store::{Batch, Schema, StoreError};

/// The tables of this room.
pub const SCHEMA: Schema = Schema {
    room: "directory",
    steps: &[
        "
    CREATE TABLE domain (
        name TEXT PRIMARY KEY,
        alias_of TEXT,             -- mail for this name is mail for that one
        catch_all TEXT,            -- an address that takes what nobody else does
        plus INTEGER NOT NULL,     -- 1: what follows a + in the local part is a mark only
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE account (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        login TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        quota INTEGER,             -- bytes; null is no limit
        state TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE address (
        key TEXT PRIMARY KEY,
        account INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX address_account ON address(account);
    CREATE TABLE alias (
        key TEXT NOT NULL,
        target TEXT NOT NULL,
        PRIMARY KEY (key, target)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX alias_target ON alias(target);
    CREATE TABLE credential (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        account INTEGER NOT NULL,
        kind TEXT NOT NULL,        -- password, app
        label TEXT NOT NULL,
        hash TEXT NOT NULL,        -- argon2id, SCRAM keys, an old host's hash: as their formats write them
        scopes TEXT NOT NULL,      -- words with spaces between
        created INTEGER NOT NULL,
        used INTEGER,
        ends INTEGER
    ) STRICT;
    CREATE INDEX credential_account ON credential(account);
    CREATE TABLE dkim_key (
        domain TEXT NOT NULL,
        selector TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        private TEXT NOT NULL,     -- PKCS#8, PEM
        state TEXT NOT NULL,
        created INTEGER NOT NULL,
        PRIMARY KEY (domain, selector)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE send_as (
        account INTEGER NOT NULL,
        pattern TEXT NOT NULL,     -- an address key, or *@domain
        PRIMARY KEY (account, pattern)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE knob (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE directory_version (one INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;
    INSERT INTO directory_version VALUES (1, 1);
    ",
        "
    CREATE TABLE script (
        account INTEGER NOT NULL,
        name TEXT NOT NULL,
        text TEXT NOT NULL,
        active INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (account, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE script_mark (
        account INTEGER NOT NULL,
        mark BLOB NOT NULL,
        ends INTEGER NOT NULL,
        PRIMARY KEY (account, mark)
    ) STRICT, WITHOUT ROWID;
    ",
    ],
};

/// Tells every kept answer that it is old.
pub(crate) fn moved(batch: &mut Batch<'_>) -> Result<(), StoreError> {
    batch.settle();
    batch.sql().prepare_cached("UPDATE directory_version SET n = n + 1 WHERE one = 1")?.execute([])?;
    Ok(())
}

/// One row or none.
pub(crate) fn maybe<T>(result: Result<T, store::rusqlite::Error>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(store::rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A stored address; what we wrote ourselves parses.
pub(crate) fn read_address(text: &str) -> Result<Address, StoreError> {
    Address::parse(text).map_err(|e| StoreError::Broken(format!("the directory holds \"{text}\": {e}")))
}

#[cfg(test)]
pub(crate) mod tests;
