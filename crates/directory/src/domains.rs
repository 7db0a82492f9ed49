//! Our domains, their other names, and what takes mail that nobody else does.

use stdx::Now;
use store::rusqlite::{Connection, Row};
use store::{Batch, StoreError};
use words::Address;

use crate::{maybe, moved, read_address};

/// A domain we take mail for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    pub name: words::Domain,
    /// Mail for this name is mail for that one.
    pub alias_of: Option<words::Domain>,
    pub catch_all: Option<Address>,
    /// Whether `bob+news@` is `bob@`.
    pub plus: bool,
    pub created: Now,
}

const COLUMNS: &str = "name, alias_of, catch_all, plus, created";

type Raw = (String, Option<String>, Option<String>, bool, i64);

fn raw(row: &Row<'_>) -> Result<Raw, store::rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

fn name(text: &str) -> Result<words::Domain, StoreError> {
    words::Domain::new(text).map_err(|e| StoreError::Broken(format!("the directory holds \"{text}\": {e}")))
}

fn cook((own, alias_of, catch_all, plus, created): Raw) -> Result<Domain, StoreError> {
    Ok(Domain {
        name: name(&own)?,
        alias_of: alias_of.as_deref().map(name).transpose()?,
        catch_all: catch_all.as_deref().map(read_address).transpose()?,
        plus,
        created: Now(created as u64),
    })
}

/// One domain, if it is ours.
pub fn domain(conn: &Connection, name: &words::Domain) -> Result<Option<Domain>, StoreError> {
    let mut find = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM domain WHERE name = ?1"))?;
    maybe(find.query_row([name.as_str()], raw))?.map(cook).transpose()
}

/// All our domains by name.
pub fn domains(conn: &Connection) -> Result<Vec<Domain>, StoreError> {
    let mut list = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM domain ORDER BY name"))?;
    let rows = list.query_map([], raw)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(cook).collect()
}

/// Takes mail for `name` from now on.
pub fn add_domain(batch: &mut Batch<'_>, name: &words::Domain, now: Now) -> Result<(), StoreError> {
    if name.is_literal() {
        return Err(StoreError::rule(format!("{name} is an address literal, not a domain name")));
    }
    let rows = batch
        .sql()
        .prepare_cached("INSERT INTO domain VALUES (?1, NULL, NULL, 1, ?2) ON CONFLICT DO NOTHING")?
        .execute((name.as_str(), now.ms() as i64))?;
    if rows == 0 {
        return Err(StoreError::rule(format!("the domain {name} is already here")));
    }
    moved(batch)
}

/// Makes `name` another name of `of` (which must not be an alias itself). Addresses, aliases
/// and catch-all of `name` itself are then not looked at.
pub fn alias_domain(
    batch: &mut Batch<'_>,
    name: &words::Domain,
    of: &words::Domain,
    now: Now,
) -> Result<(), StoreError> {
    let target = domain(batch.sql(), of)?.ok_or_else(|| unknown(of))?;
    if let Some(further) = target.alias_of {
        return Err(StoreError::rule(format!(
            "{of} is itself another name of {further}; make {name} another name of {further}"
        )));
    }
    let taken: bool = batch
        .sql()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM domain WHERE alias_of = ?1)")?
        .query_row([name.as_str()], |r| r.get(0))?;
    if taken || name == of {
        return Err(StoreError::rule(format!(
            "{name} has other names of its own and cannot become one; give those to {of} first"
        )));
    }
    batch
        .sql()
        .prepare_cached(
            "INSERT INTO domain VALUES (?1, ?2, NULL, 1, ?3) ON CONFLICT (name) DO UPDATE SET alias_of = ?2",
        )?
        .execute((name.as_str(), of.as_str(), now.ms() as i64))?;
    moved(batch)
}

/// Takes no more mail for `name`. Refused while accounts have addresses there.
pub fn remove_domain(batch: &mut Batch<'_>, name: &words::Domain) -> Result<(), StoreError> {
    let in_use: i64 = batch
        .sql()
        .prepare_cached("SELECT count(*) FROM address WHERE substr(key, instr(key, '@') + 1) = ?1")?
        .query_row([name.as_str()], |r| r.get(0))?;
    if in_use > 0 {
        return Err(StoreError::rule(format!(
            "{in_use} addresses of accounts are at {name}; remove or move them first"
        )));
    }
    let names: i64 = batch
        .sql()
        .prepare_cached("SELECT count(*) FROM domain WHERE alias_of = ?1")?
        .query_row([name.as_str()], |r| r.get(0))?;
    if names > 0 {
        return Err(StoreError::rule(format!(
            "{names} domains are other names of {name}; remove them first"
        )));
    }
    let rows = batch.sql().prepare_cached("DELETE FROM domain WHERE name = ?1")?.execute([name.as_str()])?;
    if rows == 0 {
        return Err(unknown(name));
    }
    batch
        .sql()
        .prepare_cached("DELETE FROM alias WHERE substr(key, instr(key, '@') + 1) = ?1")?
        .execute([name.as_str()])?;
    batch.sql().prepare_cached("DELETE FROM dkim_key WHERE domain = ?1")?.execute([name.as_str()])?;
    moved(batch)
}

/// Names the address that takes what nobody else at `name` does; `None` ends that.
pub fn set_catch_all(
    batch: &mut Batch<'_>,
    name: &words::Domain,
    to: Option<&Address>,
) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("UPDATE domain SET catch_all = ?2 WHERE name = ?1")?
        .execute((name.as_str(), to.map(|a| a.to_string())))?;
    if rows == 0 { Err(unknown(name)) } else { moved(batch) }
}

/// Whether `bob+news@name` is `bob@name`. On for a new domain.
pub fn set_plus(batch: &mut Batch<'_>, name: &words::Domain, plus: bool) -> Result<(), StoreError> {
    let rows = batch
        .sql()
        .prepare_cached("UPDATE domain SET plus = ?2 WHERE name = ?1")?
        .execute((name.as_str(), plus))?;
    if rows == 0 { Err(unknown(name)) } else { moved(batch) }
}

pub(crate) fn unknown(name: &words::Domain) -> StoreError {
    StoreError::rule(format!("there is no domain {name} here; add it with `postroad domain add {name}`"))
}
