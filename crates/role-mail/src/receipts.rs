//! Receipts: which messages were taken whose 250 may have been lost on the way.
//!
//! What it is: for each message taken, a key of who sent it (the peer's address, or the account),
//! the envelope, the Message-ID and the content. While no further command has come behind the 250,
//! the client cannot be known to have read it; if it sends the very same again, it is answered with
//! the first one's id and nothing is stored twice. A further command confirms, and the key goes.
//! What it is not: a filter for mail that looks alike. Another peer, another recipient, one octet
//! more, or a confirmed first message, and it is a new message.
//! Begin with [`key`], then [`Receipts`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use stdx::{Now, Span};
use store::{Batch, Schema, StoreError};
use words::{Envelope, MessageId};

/// The table of this room.
pub const SCHEMA: Schema = Schema {
    room: "receipts",
    steps: &["
    CREATE TABLE receipt (
        key BLOB PRIMARY KEY,
        message INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    "],
};

/// How long a message without confirmation is remembered.
const KEEPS: Span = Span::hours(24);
/// Most keys remembered; beyond, the oldest go first.
const KEYS_MAX: i64 = 200_000;
/// Most confirmations that wait for a commit to carry them.
const WAITING_MAX: usize = 100_000;

/// What makes two sendings the same.
pub type Key = [u8; 16];

/// Who sent it: `ip 192.0.2.1`, `account 7`; and the text's length and SHA-256.
pub fn key(who: &str, envelope: &Envelope, header: Option<&str>, text: (u64, [u8; 32])) -> Key {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(who.as_bytes());
    part(envelope.sender.as_ref().map(|a| a.to_string()).unwrap_or_default().as_bytes());
    part(&(envelope.recipients.len() as u64).to_le_bytes());
    for recipient in &envelope.recipients {
        part(recipient.address.to_string().as_bytes());
    }
    part(header.unwrap_or("").as_bytes());
    part(&text.0.to_le_bytes());
    part(&text.1);
    let digest = hash.finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

/// Confirmations on their way into the store. Cheap to clone.
#[derive(Clone, Default)]
pub struct Receipts(Arc<Mutex<Vec<Key>>>);

impl Receipts {
    fn waiting(&self) -> MutexGuard<'_, Vec<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A further command came: the sender knows that we have it. The next commit carries this.
    pub fn confirm(&self, key: Key) {
        let mut waiting = self.waiting();
        if waiting.len() < WAITING_MAX {
            waiting.push(key);
        }
    }
    /// Takes what waits; give it to [`settle`], and back to [`Receipts::put_back`] if that commit
    /// fails.
    pub fn take(&self) -> Vec<Key> {
        std::mem::take(&mut *self.waiting())
    }
    pub fn put_back(&self, keys: Vec<Key>) {
        for key in keys {
            self.confirm(key);
        }
    }
}

/// Forgets confirmed keys.
pub fn settle(batch: &mut Batch<'_>, confirmed: &[Key]) -> Result<(), StoreError> {
    if confirmed.is_empty() {
        return Ok(());
    }
    let mut forget = batch.sql().prepare_cached("DELETE FROM receipt WHERE key = ?1")?;
    for key in confirmed {
        forget.execute([&key[..]])?;
    }
    Ok(())
}

/// Notes that this message is taken, or tells which one it repeats.
pub fn enter(
    batch: &mut Batch<'_>,
    key: &Key,
    id: MessageId,
    now: Now,
) -> Result<Option<MessageId>, StoreError> {
    let conn = batch.sql();
    let oldest = now.ms().saturating_sub(KEEPS.as_ms()) as i64;
    let mut find = conn.prepare_cached("SELECT message FROM receipt WHERE key = ?1 AND at >= ?2")?;
    let mut rows = find.query((&key[..], oldest))?;
    if let Some(row) = rows.next()? {
        return Ok(Some(MessageId(row.get::<_, i64>(0)? as u64)));
    }
    conn.prepare_cached(
        "INSERT OR FAIL INTO receipt VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET message = ?2, at = ?3",
    )?
    .execute((&key[..], id.0 as i64, now.ms() as i64))?;
    Ok(None)
}

/// Forgets what is too old or too much.
pub fn purge(batch: &mut Batch<'_>, now: Now) -> Result<(), StoreError> {
    let conn = batch.sql();
    let oldest = now.ms().saturating_sub(KEEPS.as_ms()) as i64;
    conn.prepare_cached("DELETE FROM receipt WHERE at < ?1")?.execute([oldest])?;
    let count: i64 = conn.prepare_cached("SELECT count(*) FROM receipt")?.query_row([], |r| r.get(0))?;
    if count > KEYS_MAX {
        conn.prepare_cached(
            "DELETE FROM receipt WHERE at <= (SELECT at FROM receipt ORDER BY at LIMIT 1 OFFSET ?1)",
        )?
        .execute([count - KEYS_MAX])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Settings, Store};
    use words::{Address, Recipient};

    fn envelope(to: &str) -> Envelope {
        Envelope {
            sender: Some(Address::parse("a@a.example").expect("valid")),
            recipients: vec![Recipient::new(Address::parse(to).expect("valid"))],
            ..Envelope::default()
        }
    }

    async fn enter_once(store: &Store, key: Key, id: u64, now: Now, confirmed: Vec<Key>) -> Option<u64> {
        let entered = store
            .commit(Vec::new(), move |batch| {
                settle(batch, &confirmed)?;
                enter(batch, &key, MessageId(id), now)
            })
            .await;
        entered.expect("stored").map(|m| m.0)
    }

    #[test]
    fn only_the_very_same_sending_has_the_same_key() {
        let one = key("ip 192.0.2.1", &envelope("b@x.example"), Some("<1@a>"), (4, [7; 32]));
        assert_eq!(one, key("ip 192.0.2.1", &envelope("b@x.example"), Some("<1@a>"), (4, [7; 32])));
        for other in [
            key("ip 192.0.2.2", &envelope("b@x.example"), Some("<1@a>"), (4, [7; 32])),
            key("ip 192.0.2.1", &envelope("c@x.example"), Some("<1@a>"), (4, [7; 32])),
            key("ip 192.0.2.1", &envelope("b@x.example"), Some("<2@a>"), (4, [7; 32])),
            key("ip 192.0.2.1", &envelope("b@x.example"), Some("<1@a>"), (4, [8; 32])),
            key("ip 192.0.2.1", &envelope("b@x.example"), None, (4, [7; 32])),
        ] {
            assert_ne!(one, other);
        }
    }

    #[tokio::test]
    async fn a_repeat_is_known_until_it_is_confirmed_or_a_day_old() {
        let store = Store::in_memory(Settings::default(), &[SCHEMA]).expect("a store");
        let k = key("ip 192.0.2.1", &envelope("b@x.example"), Some("<1@a>"), (4, [7; 32]));
        let start = Now::from_secs(1_000_000);
        assert_eq!(enter_once(&store, k, 1, start, vec![]).await, None);
        assert_eq!(enter_once(&store, k, 2, start + Span::hours(2), vec![]).await, Some(1));
        assert_eq!(enter_once(&store, k, 3, start + Span::hours(25), vec![]).await, None);
        assert_eq!(enter_once(&store, k, 4, start + Span::hours(26), vec![]).await, Some(3));
        assert_eq!(enter_once(&store, k, 5, start + Span::hours(26), vec![k]).await, None);
    }
}
