//! Who may hand mail to this relay: mail hosts of ours, known by their keys, and smart-host
//! customers, known by a password or their addresses; what each may send, and what it sent.
//!
//! Begin with [`Customer`] and [`by_name`].

use std::net::IpAddr;

use accept::Quota;
use serde::{Deserialize, Serialize};
use stdx::{Now, Secret, Span, network};
use store::rusqlite::{Connection, OptionalExtension, Row, params};
use store::{Batch, Schema, StoreError};
use words::MessageId;

/// Customers of one relay.
const CUSTOMERS_MAX: i64 = 10_000;
/// A message whose 250 was lost on its way is known again for so long.
const RECEIPTS: Span = Span::days(1);

/// The tables of this room.
pub const SCHEMA: Schema = Schema {
    room: "relay",
    steps: &[
        "
    CREATE TABLE customer (
        name TEXT PRIMARY KEY,
        hash TEXT,                 -- of the password
        row TEXT NOT NULL          -- JSON of the rest
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE customer_use (
        customer TEXT NOT NULL,
        hour INTEGER NOT NULL,     -- hours since 1970
        messages INTEGER NOT NULL,
        recipients INTEGER NOT NULL,
        PRIMARY KEY (customer, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE relay_receipt (
        key BLOB PRIMARY KEY,
        message INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    ",
        crate::outcomes::TABLE,
    ],
};

/// An amount of money: `30.00 USD`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub cents: u64,
    pub currency: String,
}

impl Price {
    /// Reads `30.00 USD` or `USD 30`.
    pub fn parse(text: &str) -> Result<Price, String> {
        let wrong = || format!("\"{text}\" is no price: write it as \"30.00 USD\".");
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if let [currency, amount] = words[..]
            && currency.chars().all(|c| c.is_ascii_alphabetic())
        {
            words = vec![amount, currency];
        }
        let [amount, currency] = words[..] else { return Err(wrong()) };
        let (whole, part) = amount.split_once('.').unwrap_or((amount, "00"));
        let digits = |t: &str| !t.is_empty() && t.len() <= 9 && t.bytes().all(|b| b.is_ascii_digit());
        let letters = currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_alphabetic());
        if !digits(whole) || !digits(part) || part.len() != 2 || !letters {
            return Err(wrong());
        }
        let number = |t: &str| t.parse::<u64>().map_err(|_| wrong());
        Ok(Price { cents: number(whole)? * 100 + number(part)?, currency: currency.to_ascii_uppercase() })
    }
}

impl std::fmt::Display for Price {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02} {}", self.cents / 100, self.cents % 100, self.currency)
    }
}

/// Somebody who may hand mail to us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    #[serde(skip)]
    pub name: String,
    /// Networks whose hosts need no password: address and bits.
    pub networks: Vec<(IpAddr, u8)>,
    /// The pin of a mail host's key.
    pub pin: Option<String>,
    pub hour_max: Option<u64>,
    pub day_max: Option<u64>,
    pub stopped: Option<String>,
    pub prices: Vec<Price>,
    pub since: u64,
    #[serde(default)]
    pub ended: Option<u64>,
}

impl Customer {
    pub fn quota(&self) -> Quota {
        Quota { hour_max: self.hour_max, day_max: self.day_max }
    }
}

fn read(row: &Row<'_>) -> Result<(String, String), store::rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?))
}

fn customer((name, row): (String, String)) -> Result<Customer, StoreError> {
    let read: Customer = serde_json::from_str(&row)
        .map_err(|e| StoreError::Broken(format!("the row of customer {name} does not read: {e}")))?;
    Ok(Customer { name, ..read })
}

pub fn by_name(conn: &Connection, name: &str) -> Result<Option<Customer>, StoreError> {
    let mut found = conn.prepare_cached("SELECT name, row FROM customer WHERE name = ?1")?;
    found.query_row([name], read).optional()?.map(customer).transpose()
}

pub fn all(conn: &Connection) -> Result<Vec<Customer>, StoreError> {
    let mut found = conn.prepare_cached("SELECT name, row FROM customer ORDER BY name")?;
    let rows = found.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(customer).collect()
}

/// The stored password of a customer that has one.
pub fn hash_of(conn: &Connection, name: &str) -> Result<Option<Secret<String>>, StoreError> {
    let mut found = conn.prepare_cached("SELECT hash FROM customer WHERE name = ?1")?;
    let hash: Option<Option<String>> = found.query_row([name], |r| r.get(0)).optional()?;
    Ok(hash.flatten().map(Secret::new))
}

/// Whoever shows this key, or comes from this address.
pub fn by_face(conn: &Connection, pins: &[String], ip: IpAddr) -> Result<Option<Customer>, StoreError> {
    let all = all(conn)?;
    let pinned = all.iter().find(|c| c.ended.is_none() && c.pin.as_ref().is_some_and(|p| pins.contains(p)));
    let here = || {
        all.iter().find(|c| {
            c.ended.is_none() && c.networks.iter().any(|(net, bits)| network::holds(*net, *bits, ip))
        })
    };
    Ok(pinned.or_else(here).cloned())
}

/// Makes a customer, with the hash of its password if it has one.
pub fn add(batch: &mut Batch<'_>, new: &Customer, hash: Option<&str>) -> Result<(), StoreError> {
    if by_name(batch.sql(), &new.name)?.is_some_and(|c| c.ended.is_none()) {
        return Err(StoreError::rule(format!("there is a customer {} already", new.name)));
    }
    let count: i64 = batch.sql().query_row("SELECT count(*) FROM customer", [], |r| r.get(0))?;
    if count >= CUSTOMERS_MAX {
        return Err(StoreError::rule(format!("a relay has {CUSTOMERS_MAX} customers at most")));
    }
    put(batch, new)?;
    batch
        .sql()
        .prepare_cached("UPDATE customer SET hash = ?2 WHERE name = ?1")?
        .execute(params![new.name, hash])?;
    Ok(())
}

/// Changes what is known of a customer; its password stays.
pub fn put(batch: &mut Batch<'_>, customer: &Customer) -> Result<(), StoreError> {
    let row = serde_json::to_string(customer).map_err(|e| StoreError::Broken(e.to_string()))?;
    let sql = "INSERT INTO customer (name, row) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET row = ?2";
    batch.sql().prepare_cached(sql)?.execute(params![customer.name, row])?;
    Ok(())
}

/// A new password.
pub fn set_hash(batch: &mut Batch<'_>, name: &str, hash: &str) -> Result<(), StoreError> {
    batch
        .sql()
        .prepare_cached("UPDATE customer SET hash = ?2 WHERE name = ?1")?
        .execute(params![name, hash])?;
    Ok(())
}

/// Messages and recipients between two hours, the second not counted.
pub fn used(conn: &Connection, name: &str, hours: std::ops::Range<u64>) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT coalesce(sum(messages), 0), coalesce(sum(recipients), 0) FROM customer_use
               WHERE customer = ?1 AND hour >= ?2 AND hour < ?3";
    let mut found = conn.prepare_cached(sql)?;
    let row = |r: &Row<'_>| Ok((r.get::<_, i64>(0)? as u64, r.get::<_, i64>(1)? as u64));
    Ok(found.query_row(params![name, hours.start as i64, hours.end as i64], row)?)
}

/// Recipients of this hour, and of this day (UTC).
pub fn used_now(conn: &Connection, name: &str, now: Now) -> Result<(u64, u64), StoreError> {
    let hour = now.secs() / 3600;
    let day = hour - hour % 24;
    Ok((used(conn, name, hour..hour + 1)?.1, used(conn, name, day..day + 24)?.1))
}

/// Counts what was taken.
pub fn count(batch: &mut Batch<'_>, name: &str, recipients: usize, now: Now) -> Result<(), StoreError> {
    let sql = "INSERT INTO customer_use VALUES (?1, ?2, 1, ?3) ON CONFLICT (customer, hour)
               DO UPDATE SET messages = messages + 1, recipients = recipients + ?3";
    let hour = (now.secs() / 3600) as i64;
    batch.sql().prepare_cached(sql)?.execute(params![name, hour, recipients as i64])?;
    Ok(())
}

/// Whether this very message came before and its 250 may not have arrived: its first id.
pub fn enter_receipt(
    batch: &mut Batch<'_>,
    key: &[u8],
    message: MessageId,
    now: Now,
) -> Result<Option<MessageId>, StoreError> {
    let old = (now - RECEIPTS).0 as i64;
    batch.sql().prepare_cached("DELETE FROM relay_receipt WHERE at < ?1")?.execute([old])?;
    let mut found = batch.sql().prepare_cached("SELECT message FROM relay_receipt WHERE key = ?1")?;
    let first: Option<i64> = found.query_row([key], |r| r.get(0)).optional()?;
    drop(found);
    if let Some(first) = first {
        return Ok(Some(MessageId(first as u64)));
    }
    let sql = "INSERT INTO relay_receipt VALUES (?1, ?2, ?3)";
    batch.sql().prepare_cached(sql)?.execute(params![key, message.0 as i64, now.0 as i64])?;
    Ok(None)
}

/// The sender has read our 250: the same message again would be another one.
pub fn settle(batch: &mut Batch<'_>, key: &[u8]) -> Result<(), StoreError> {
    batch.sql().prepare_cached("DELETE FROM relay_receipt WHERE key = ?1")?.execute([key])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_and_shown_to_the_cent() {
        for (text, want) in
            [("30.00 USD", "30.00 USD"), ("36 cad", "36.00 CAD"), ("ZMW 165.00", "165.00 ZMW")]
        {
            assert_eq!(Price::parse(text).map(|p| p.to_string()).as_deref(), Ok(want));
        }
        for wrong in ["30", "USD", "30.5 USD", "-3.00 USD", "30.00 DOLLARS", "1e9 USD", ""] {
            assert!(Price::parse(wrong).is_err(), "{wrong}");
        }
    }
}
