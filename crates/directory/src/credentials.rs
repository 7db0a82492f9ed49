//! What an account logs in with: its password's hashes, and passwords for single programs.

use stdx::{Now, Secret};
use store::rusqlite::{Connection, Row};
use store::{Batch, StoreError};
use words::AccountId;

use crate::moved;

/// A use is written down again after this long only; a login a minute must not cost a write each.
const USED_EVERY_MS: u64 = 3_600_000;
/// Most credentials of one account.
const CREDENTIALS_MAX: i64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(pub i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The account's password. It may have several hashes (argon2id for comparing, SCRAM keys).
    Password,
    /// A password for one program, with scopes of its own.
    App,
}

/// One thing a credential opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scope {
    Imap = 1,
    Pop3 = 2,
    Submission = 4,
    Sieve = 8,
    Web = 16,
}

impl Scope {
    pub const ALL: [Scope; 5] = [Scope::Imap, Scope::Pop3, Scope::Submission, Scope::Sieve, Scope::Web];
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Imap => "imap",
            Scope::Pop3 => "pop3",
            Scope::Submission => "submission",
            Scope::Sieve => "sieve",
            Scope::Web => "web",
        }
    }
}

/// What a credential opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    pub const NONE: Scopes = Scopes(0);
    pub const ALL: Scopes = Scopes(31);
    pub fn with(self, scope: Scope) -> Scopes {
        Scopes(self.0 | scope as u8)
    }
    pub fn opens(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }
    /// From words with spaces or commas between: `imap submission`, or `all`.
    pub fn parse(text: &str) -> Result<Scopes, StoreError> {
        let mut out = Scopes::NONE;
        for word in text.split([' ', ',']).filter(|w| !w.is_empty()) {
            out = match Scope::ALL.into_iter().find(|s| s.as_str() == word) {
                Some(scope) => out.with(scope),
                None if word == "all" => Scopes::ALL,
                None => {
                    return Err(StoreError::rule(format!(
                        "\"{word}\" is no scope; write imap, pop3, submission, sieve, web, or all"
                    )));
                }
            };
        }
        Ok(out)
    }
}

impl std::fmt::Display for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> = Scope::ALL.into_iter().filter(|s| self.opens(*s)).map(Scope::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

/// A stored credential. The hash has no `Debug`, so this has none.
#[derive(Clone)]
pub struct Credential {
    pub id: CredentialId,
    pub account: AccountId,
    pub kind: Kind,
    /// For people: `Anna's phone`.
    pub label: String,
    /// As its format writes it: `$argon2id$…`, `SCRAM-SHA-256$…`, `{SSHA512}…`.
    pub hash: Secret<String>,
    pub scopes: Scopes,
    pub created: Now,
    /// Last use, to the hour.
    pub used: Option<Now>,
    pub ends: Option<Now>,
}

/// A credential to add.
pub struct NewCredential<'a> {
    pub kind: Kind,
    pub label: &'a str,
    pub hash: &'a Secret<String>,
    pub scopes: Scopes,
    pub ends: Option<Now>,
}

fn read(row: &Row<'_>) -> Result<Credential, store::rusqlite::Error> {
    let at = |n: Option<i64>| n.map(|n| Now(n as u64));
    Ok(Credential {
        id: CredentialId(row.get(0)?),
        account: AccountId(row.get(1)?),
        kind: if row.get::<_, String>(2)? == "app" { Kind::App } else { Kind::Password },
        label: row.get(3)?,
        hash: Secret::new(row.get(4)?),
        scopes: Scopes::parse(&row.get::<_, String>(5)?).unwrap_or(Scopes::NONE),
        created: Now(row.get::<_, i64>(6)? as u64),
        used: at(row.get(7)?),
        ends: at(row.get(8)?),
    })
}

/// Everything the account can log in with, oldest first; the caller passes over what has ended.
pub fn credentials_of(conn: &Connection, id: AccountId) -> Result<Vec<Credential>, StoreError> {
    let mut list = conn.prepare_cached(
        "SELECT id, account, kind, label, hash, scopes, created, used, ends
         FROM credential WHERE account = ?1 ORDER BY id",
    )?;
    let rows = list.query_map([id.0], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether some open account has a password, but none stored in a form that begins with `form`.
pub fn any_password_without(conn: &Connection, form: &str) -> Result<bool, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM account a WHERE state = 'open'
            AND EXISTS (SELECT 1 FROM credential c WHERE c.account = a.id AND kind = 'password')
            AND NOT EXISTS (SELECT 1 FROM credential c WHERE c.account = a.id AND kind = 'password'
                AND substr(hash, 1, length(?1)) = ?1))",
    )?;
    Ok(find.query_row([form], |r| r.get(0))?)
}

pub fn add_credential(
    batch: &mut Batch<'_>,
    account: AccountId,
    new: &NewCredential<'_>,
    now: Now,
) -> Result<CredentialId, StoreError> {
    let conn = batch.sql();
    if crate::account(conn, account)?.is_none() {
        return Err(crate::accounts::nobody(account));
    }
    let held: i64 = conn
        .prepare_cached("SELECT count(*) FROM credential WHERE account = ?1")?
        .query_row([account.0], |r| r.get(0))?;
    if held >= CREDENTIALS_MAX {
        return Err(StoreError::rule(format!(
            "the account already has {CREDENTIALS_MAX} passwords, the most there can be; remove one"
        )));
    }
    let kind = if new.kind == Kind::App { "app" } else { "password" };
    let ends = new.ends.map(|n| n.ms() as i64);
    conn.prepare_cached(
        "INSERT INTO credential (account, kind, label, hash, scopes, created, ends)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        account.0,
        kind,
        new.label,
        new.hash.reveal(),
        new.scopes.to_string(),
        now.ms() as i64,
        ends,
    ))?;
    let id = CredentialId(conn.last_insert_rowid());
    moved(batch)?;
    Ok(id)
}

/// Replaces all hashes of the account's own password; passwords for programs stay.
pub fn set_password(
    batch: &mut Batch<'_>,
    account: AccountId,
    hashes: &[Secret<String>],
    now: Now,
) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("DELETE FROM credential WHERE account = ?1 AND kind = 'password'")?
        .execute([account.0])?;
    for hash in hashes {
        let new = NewCredential { kind: Kind::Password, label: "", hash, scopes: Scopes::ALL, ends: None };
        add_credential(batch, account, &new, now)?;
    }
    moved(batch)
}

pub fn remove_credential(
    batch: &mut Batch<'_>,
    account: AccountId,
    id: CredentialId,
) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("DELETE FROM credential WHERE id = ?1 AND account = ?2")?
        .execute((id.0, account.0))?;
    if rows == 0 {
        return Err(StoreError::rule(format!("the account has no password number {}", id.0)));
    }
    moved(batch)
}

/// Whether a use now is worth writing down with [`used`]: once an hour is enough.
impl Credential {
    pub fn use_is_news(&self, now: Now) -> bool {
        self.used.is_none_or(|last| now.since(last).as_ms() >= USED_EVERY_MS)
    }
}

/// Writes down that a credential was used. Does not move the version: no answer changes.
pub fn used(batch: &mut Batch<'_>, id: CredentialId, now: Now) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("UPDATE credential SET used = ?2 WHERE id = ?1")?
        .execute((id.0, now.ms() as i64))?;
    Ok(())
}
