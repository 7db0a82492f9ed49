//! Who an address is, and who may send as it.

use std::collections::BTreeSet;

use store::rusqlite::Connection;
use store::{Batch, StoreError};
use words::{AccountId, Address, Domain};

use crate::accounts::State;
use crate::{maybe, moved, read_address};

/// Longest chain of aliases followed.
const DEPTH_MAX: usize = 16;
/// Most ends of one address.
const ENDS_MAX: usize = 2000;

/// Where mail for one address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// To these; never empty.
    Local(Vec<Target>),
    /// The domain is ours, the user is not there: 550 5.1.1.
    NoSuchUser,
    /// The domain is not ours.
    NotOurs,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Mailbox(AccountId),
    Forward(Address),
}

/// The domain whose addresses count for `name`, and whether `+` marks are cut there.
pub(crate) fn home(conn: &Connection, name: &Domain) -> Result<Option<(String, bool)>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT coalesce(d.alias_of, d.name), coalesce(h.plus, d.plus)
         FROM domain d LEFT JOIN domain h ON h.name = d.alias_of WHERE d.name = ?1",
    )?;
    maybe(find.query_row([name.as_str()], |r| Ok((r.get(0)?, r.get(1)?))))
}

/// What stands directly behind a key.
enum Behind {
    Account(AccountId),
    Aliases(Vec<Address>),
    Nothing,
}

fn behind(conn: &Connection, key: &str) -> Result<Behind, StoreError> {
    let mut list = conn.prepare_cached("SELECT target FROM alias WHERE key = ?1 ORDER BY target")?;
    let texts = list.query_map([key], |r| r.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    if !texts.is_empty() {
        return Ok(Behind::Aliases(texts.iter().map(|t| read_address(t)).collect::<Result<_, _>>()?));
    }
    Ok(match mailbox_at(conn, key)? {
        Some(id) => Behind::Account(id),
        None => Behind::Nothing,
    })
}

/// The account whose own address this is, if it takes mail.
fn mailbox_at(conn: &Connection, key: &str) -> Result<Option<AccountId>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT account.id, state FROM address JOIN account ON account.id = address.account WHERE key = ?1",
    )?;
    let found = maybe(find.query_row([key], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?))))?;
    Ok(found.filter(|(_, state)| State::read(state) != State::Closed).map(|(id, _)| AccountId(id)))
}

/// The key at which something stands for this address: as written, else without its `+` mark,
/// else the catch-all of the domain.
fn find(conn: &Connection, address: &Address, home: &(String, bool)) -> Result<(String, Behind), StoreError> {
    let (name, plus) = home;
    let exact = format!("{}@{name}", address.local().to_lowercase());
    match behind(conn, &exact)? {
        Behind::Nothing => {}
        found => return Ok((exact, found)),
    }
    if *plus && address.detail().is_some() {
        let base = format!("{}@{name}", address.base_local().to_lowercase());
        match behind(conn, &base)? {
            Behind::Nothing => {}
            found => return Ok((base, found)),
        }
    }
    let mut catch_all = conn.prepare_cached("SELECT catch_all FROM domain WHERE name = ?1")?;
    let to = maybe(catch_all.query_row([name], |r| r.get::<_, Option<String>>(0)))?.flatten();
    Ok(match to {
        // The key is one nobody can write, so that a catch-all is followed once.
        Some(to) => (format!("*@{name}"), Behind::Aliases(vec![read_address(&to)?])),
        None => (exact, Behind::Nothing),
    })
}

/// Where mail for `address` goes: through other names of the domain, `+` marks, aliases (of
/// aliases), and the catch-all. Loops end where they began; a target that leads nowhere is left
/// out.
pub fn resolve(conn: &Connection, address: &Address) -> Result<Resolved, StoreError> {
    if home(conn, address.domain())?.is_none() {
        return Ok(Resolved::NotOurs);
    }
    let mut ends = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut now = vec![address.clone()];
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        for address in now.drain(..) {
            if ends.len() + next.len() >= ENDS_MAX {
                break;
            }
            step(conn, &address, &mut seen, (&mut ends, &mut next))?;
        }
        now = next;
        if now.is_empty() {
            break;
        }
    }
    Ok(if ends.is_empty() { Resolved::NoSuchUser } else { Resolved::Local(ends.into_iter().collect()) })
}

fn step(
    conn: &Connection,
    address: &Address,
    seen: &mut BTreeSet<String>,
    (ends, next): (&mut BTreeSet<Target>, &mut Vec<Address>),
) -> Result<(), StoreError> {
    let Some(home) = home(conn, address.domain())? else {
        ends.insert(Target::Forward(address.clone()));
        return Ok(());
    };
    let (key, found) = find(conn, address, &home)?;
    let again = !seen.insert(key.clone());
    match found {
        Behind::Account(id) => {
            ends.insert(Target::Mailbox(id));
        }
        // An alias that names its own address keeps a copy in the mailbox there.
        Behind::Aliases(_) if again => ends.extend(mailbox_at(conn, &key)?.map(Target::Mailbox)),
        Behind::Aliases(targets) => next.extend(targets),
        Behind::Nothing => {}
    }
    Ok(())
}

/// Whether the account may write `address` as its sender: its own addresses (under every name
/// of the domain, with any `+` mark), what [`allow_send_as`] gave it, and an alias that leads
/// to it alone.
pub fn may_send_as(conn: &Connection, id: AccountId, address: &Address) -> Result<bool, StoreError> {
    let mut allowed = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM send_as WHERE account = ?1 AND pattern IN (?2, ?3))")?;
    let anywhere = format!("*@{}", address.domain());
    if allowed.query_row((id.0, address.key(), anywhere), |r| r.get(0))? {
        return Ok(true);
    }
    let Some((name, plus)) = home(conn, address.domain())? else { return Ok(false) };
    let mut keys = vec![format!("{}@{name}", address.local().to_lowercase())];
    if plus && address.detail().is_some() {
        keys.push(format!("{}@{name}", address.base_local().to_lowercase()));
    }
    let mut owner = conn.prepare_cached("SELECT account FROM address WHERE key = ?1")?;
    for key in &keys {
        if let Some(of) = maybe(owner.query_row([key], |r| r.get::<_, i64>(0)))? {
            return Ok(of == id.0);
        }
    }
    for key in &keys {
        if let Behind::Aliases(_) = behind(conn, key)? {
            return Ok(resolve(conn, address)? == Resolved::Local(vec![Target::Mailbox(id)]));
        }
    }
    Ok(false)
}

/// Lets the account send as `pattern`: an address, or `*@domain`.
pub fn allow_send_as(batch: &mut Batch<'_>, id: AccountId, pattern: &str) -> Result<(), StoreError> {
    let pattern = read_pattern(pattern)?;
    if crate::account(batch.sql(), id)?.is_none() {
        return Err(crate::accounts::nobody(id));
    }
    batch
        .sql()
        .prepare_cached("INSERT INTO send_as VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((id.0, pattern))?;
    moved(batch)
}

pub fn forbid_send_as(batch: &mut Batch<'_>, id: AccountId, pattern: &str) -> Result<(), StoreError> {
    let pattern = read_pattern(pattern)?;
    let rows = batch
        .sql()
        .prepare_cached("DELETE FROM send_as WHERE account = ?1 AND pattern = ?2")?
        .execute((id.0, &pattern))?;
    if rows == 0 {
        return Err(StoreError::rule(format!("{pattern} was not given to the account {}", id.0)));
    }
    moved(batch)
}

/// What [`allow_send_as`] gave the account.
pub fn send_as_of(conn: &Connection, id: AccountId) -> Result<Vec<String>, StoreError> {
    let mut list = conn.prepare_cached("SELECT pattern FROM send_as WHERE account = ?1 ORDER BY pattern")?;
    let rows = list.query_map([id.0], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read_pattern(text: &str) -> Result<String, StoreError> {
    let read = match text.strip_prefix("*@") {
        Some(name) => Domain::new(name).map(|d| format!("*@{d}")),
        None => Address::parse(text).map(|a| a.key()),
    };
    read.map_err(|e| StoreError::rule(format!("\"{text}\" is neither an address nor *@domain: {e}")))
}
