//! Accounts and the addresses that are theirs.

use stdx::{Bytes, Now};
use store::rusqlite::{Connection, Row};
use store::{Batch, StoreError};
use words::{AccountId, Address};

use crate::domains::{domain, unknown};
use crate::{maybe, moved, read_address};

/// What an account may do at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// Takes mail, but nobody can log in (by a person's order, or by `guard`).
    Locked,
    /// Takes no mail and nobody can log in; what it holds is kept.
    Closed,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Locked => "locked",
            State::Closed => "closed",
        }
    }
    pub(crate) fn read(text: &str) -> State {
        match text {
            "open" => State::Open,
            "locked" => State::Locked,
            _ => State::Closed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// Its first address, as a key; also a login.
    pub login: String,
    /// For people: `Anna Berg`.
    pub name: String,
    /// `None` is no limit.
    pub quota: Option<Bytes>,
    pub state: State,
    pub created: Now,
}

/// An account to make.
#[derive(Clone, Debug)]
pub struct NewAccount<'a> {
    pub address: &'a Address,
    pub name: &'a str,
    pub quota: Option<Bytes>,
}

const COLUMNS: &str = "account.id, login, name, quota, state, created";

fn read(row: &Row<'_>) -> Result<Account, store::rusqlite::Error> {
    Ok(Account {
        id: AccountId(row.get(0)?),
        login: row.get(1)?,
        name: row.get(2)?,
        quota: row.get::<_, Option<i64>>(3)?.map(|n| Bytes(n as u64)),
        state: State::read(&row.get::<_, String>(4)?),
        created: Now(row.get::<_, i64>(5)? as u64),
    })
}

/// One account.
pub fn account(conn: &Connection, id: AccountId) -> Result<Option<Account>, StoreError> {
    let mut find = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM account WHERE id = ?1"))?;
    maybe(find.query_row([id.0], read))
}

/// The account that logs in as `login`: its login, or any address of its own (also under
/// another name of the domain). Upper case does not matter.
pub fn account_by_login(conn: &Connection, login: &str) -> Result<Option<Account>, StoreError> {
    let key = login.trim().to_lowercase();
    let mut find = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM account WHERE login = ?1"))?;
    if let Some(found) = maybe(find.query_row([&key], read))? {
        return Ok(Some(found));
    }
    let Ok(address) = Address::parse(&key) else { return Ok(None) };
    let Some((home, _)) = crate::resolve::home(conn, address.domain())? else { return Ok(None) };
    let key = format!("{}@{}", address.local().to_lowercase(), home);
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM address JOIN account ON account.id = address.account WHERE key = ?1"
    ))?;
    maybe(find.query_row([&key], read))
}

/// Up to `limit` accounts with ids above `after`.
pub fn accounts(conn: &Connection, after: AccountId, limit: usize) -> Result<Vec<Account>, StoreError> {
    let mut list =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM account WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let rows = list.query_map((after.0, limit as i64), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes an account with its first address. An account's number is never used again.
pub fn add_account(batch: &mut Batch<'_>, new: &NewAccount<'_>, now: Now) -> Result<AccountId, StoreError> {
    let key = new.address.key();
    let conn = batch.sql();
    let taken: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM account WHERE login = ?1)")?
        .query_row([&key], |r| r.get(0))?;
    if taken {
        return Err(StoreError::rule(format!("the account {key} is already here")));
    }
    conn.prepare_cached(
        "INSERT INTO account (login, name, quota, state, created) VALUES (?1, ?2, ?3, 'open', ?4)",
    )?
    .execute((&key, new.name, new.quota.map(|q| q.get() as i64), now.ms() as i64))?;
    let id = AccountId(conn.last_insert_rowid());
    add_address(batch, id, new.address)?;
    Ok(id)
}

/// Forgets the account, its addresses, credentials and permissions. Its mail is `mailbox`'s to
/// release in the same batch.
pub fn remove_account(batch: &mut Batch<'_>, id: AccountId) -> Result<(), StoreError> {
    let conn = batch.sql();
    for text in [
        "DELETE FROM address WHERE account = ?1",
        "DELETE FROM credential WHERE account = ?1",
        "DELETE FROM send_as WHERE account = ?1",
        "DELETE FROM script WHERE account = ?1",
        "DELETE FROM script_mark WHERE account = ?1",
    ] {
        conn.prepare_cached(text)?.execute([id.0])?;
    }
    let rows = conn.prepare_cached("DELETE FROM account WHERE id = ?1")?.execute([id.0])?;
    if rows == 0 { Err(nobody(id)) } else { moved(batch) }
}

/// The addresses of an account, by name.
pub fn addresses_of(conn: &Connection, id: AccountId) -> Result<Vec<Address>, StoreError> {
    let mut list = conn.prepare_cached("SELECT key FROM address WHERE account = ?1 ORDER BY key")?;
    let keys = list.query_map([id.0], |r| r.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    keys.iter().map(|k| read_key(k)).collect()
}

/// Keys hold the local part bare, so they are not parsed as wire text.
fn read_key(key: &str) -> Result<Address, StoreError> {
    let Some((local, name)) = key.rsplit_once('@') else { return read_address(key) };
    words::Domain::new(name)
        .and_then(|domain| Address::new(local, domain))
        .map_err(|e| StoreError::Broken(format!("the directory holds \"{key}\": {e}")))
}

/// One more address for the account, at one of our domains.
pub fn add_address(batch: &mut Batch<'_>, id: AccountId, address: &Address) -> Result<(), StoreError> {
    let conn = batch.sql();
    let ours = domain(conn, address.domain())?.ok_or_else(|| unknown(address.domain()))?;
    if let Some(of) = ours.alias_of {
        return Err(StoreError::rule(format!(
            "{} is another name of {of}; add the address there",
            address.domain()
        )));
    }
    if account(conn, id)?.is_none() {
        return Err(nobody(id));
    }
    let rows = conn
        .prepare_cached("INSERT INTO address VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((address.key(), id.0))?;
    if rows == 0 {
        return Err(StoreError::rule(format!("the address {address} already belongs to an account")));
    }
    moved(batch)
}

/// Takes an address from its account.
pub fn remove_address(batch: &mut Batch<'_>, address: &Address) -> Result<(), StoreError> {
    let rows = batch.sql().prepare_cached("DELETE FROM address WHERE key = ?1")?.execute([address.key()])?;
    if rows == 0 {
        return Err(StoreError::rule(format!("no account has the address {address}")));
    }
    moved(batch)
}

/// Limits what the account may hold; `None` is no limit.
pub fn set_quota(batch: &mut Batch<'_>, id: AccountId, quota: Option<Bytes>) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("UPDATE account SET quota = ?2 WHERE id = ?1")?
        .execute((id.0, quota.map(|q| q.get() as i64)))?;
    if rows == 0 { Err(nobody(id)) } else { moved(batch) }
}

pub fn set_state(batch: &mut Batch<'_>, id: AccountId, state: State) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("UPDATE account SET state = ?2 WHERE id = ?1")?
        .execute((id.0, state.as_str()))?;
    if rows == 0 { Err(nobody(id)) } else { moved(batch) }
}

pub fn set_name(batch: &mut Batch<'_>, id: AccountId, name: &str) -> Result<(), StoreError> {
    let rows =
        batch.sql().prepare_cached("UPDATE account SET name = ?2 WHERE id = ?1")?.execute((id.0, name))?;
    if rows == 0 { Err(nobody(id)) } else { moved(batch) }
}

pub(crate) fn nobody(id: AccountId) -> StoreError {
    StoreError::rule(format!("there is no account number {}", id.0))
}
