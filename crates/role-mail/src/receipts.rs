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
/// Most keys remembered that are older than an hour; beyond, the oldest go first.
const KEYS_MAX: i64 = 200_000;
/// So long every key is remembered, however many there are: who sends 500 messages a second and confirms none (a
/// client that sends its QUIT along with the last dot) shortens nobody's memory below that.
const SURELY: Span = Span::hours(1);
/// But never more than this, some 100 MB.
const KEYS_LIMIT: i64 = 2_000_000;
/// Keys forgotten in one commit.
const PURGE_STEP: i64 = 50_000;
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
    purge_beyond(batch, now, (KEYS_MAX, KEYS_LIMIT))
}

fn purge_beyond(batch: &mut Batch<'_>, now: Now, (most, limit): (i64, i64)) -> Result<(), StoreError> {
    let conn = batch.sql();
    let before = |span: Span| now.ms().saturating_sub(span.as_ms()) as i64;
    let mut forget = conn.prepare_cached(
        "DELETE FROM receipt WHERE key IN (SELECT key FROM receipt WHERE at < ?1 ORDER BY at LIMIT ?2)",
    )?;
    forget.execute((before(KEEPS), PURGE_STEP))?;
    let count: i64 = conn.prepare_cached("SELECT count(*) FROM receipt")?.query_row([], |r| r.get(0))?;
    if count > most {
        forget.execute((before(SURELY), (count - most).min(PURGE_STEP)))?;
    }
    if count > limit {
        forget.execute((i64::MAX, (count - limit).min(PURGE_STEP)))?;
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

    #[tokio::test]
    async fn too_many_are_forgotten_oldest_first_but_none_within_the_hour() {
        let store = Store::in_memory(Settings::default(), &[SCHEMA]).expect("a store");
        let start = Now::from_secs(1_000_000);
        let k = |n: u8| key(&format!("ip 192.0.2.{n}"), &envelope("b@x.example"), None, (4, [n; 32]));
        for n in 0..20 {
            enter_once(&store, k(n), u64::from(n), start + Span::mins(10 * u64::from(n)), vec![]).await;
        }
        let purge = async |minutes: u64, bounds: (i64, i64)| {
            let now = start + Span::mins(minutes);
            store.commit(Vec::new(), move |b| purge_beyond(b, now, bounds)).await.expect("purges");
            let left = store.read(|c| {
                let mut all = c.prepare("SELECT message FROM receipt ORDER BY message")?;
                let rows = all.query_map([], |r| r.get::<_, i64>(0))?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            });
            left.await.expect("reads")
        };
        // At minute 195, messages 14 and later (minute 140 on) are younger than an hour.
        assert_eq!(purge(195, (12, 1000)).await, (8..20).collect::<Vec<i64>>());
        assert_eq!(purge(195, (3, 1000)).await, (14..20).collect::<Vec<i64>>());
        assert_eq!(purge(195, (3, 4)).await, (16..20).collect::<Vec<i64>>());
        assert_eq!(purge(24 * 60 + 175, (3, 1000)).await, (18..20).collect::<Vec<i64>>());
    }

    /// Two peers send, lose replies, confirm, wait and crash in any order. What must come of each sending is told by a
    /// model that knows nothing of tables: it repeats the peer's own last unconfirmed sending of the very same, or is new.
    #[tokio::test]
    async fn in_any_order_of_two_peers_only_ones_own_unconfirmed_sending_is_repeated() {
        use std::collections::BTreeMap;
        let (mut repeats, mut news, mut crashes) = (0, 0, 0);
        for seed in 0..60 {
            let mut dice = stdx::Dice::new(seed);
            let mut store = Store::in_memory(Settings::default(), &[SCHEMA]).expect("a store");
            let mut receipts = Receipts::default();
            let mut now = Now::from_secs(1_000_000);
            // By what was sent: the message's id and when. What is confirmed is gone, once a commit carried that.
            let mut open: BTreeMap<Key, (u64, Now)> = BTreeMap::new();
            let mut session: BTreeMap<u64, Key> = BTreeMap::new();
            let mut next = 0;
            for _ in 0..80 {
                let peer = dice.below(2);
                match dice.below(10) {
                    0..=4 => {
                        let (who, to) = (format!("ip 192.0.2.{peer}"), ["b@x.example", "c@x.example"]);
                        let to = to[dice.below(2) as usize];
                        let header = [Some("<1@a>"), Some("<2@a>")][dice.below(2) as usize];
                        let k = key(&who, &envelope(to), header, (4, [dice.below(2) as u8; 32]));
                        next += 1;
                        let confirmed = receipts.take();
                        for done in &confirmed {
                            open.remove(done);
                        }
                        let want = open.get(&k).filter(|(_, at)| now.since(*at) <= KEEPS).map(|(id, _)| *id);
                        let found = enter_once(&store, k, next, now, confirmed).await;
                        assert_eq!(found, want, "seed {seed}, sending {next}");
                        match want {
                            Some(_) => repeats += 1,
                            None => {
                                news += 1;
                                open.insert(k, (next, now));
                            }
                        }
                        session.insert(peer, k);
                    }
                    // A further command of this peer.
                    5 | 6 => session.remove(&peer).into_iter().for_each(|k| receipts.confirm(k)),
                    7 => now += Span::mins(dice.below(40)),
                    8 if dice.below(4) == 0 => now += Span::hours(23),
                    8 => {
                        let at = now;
                        store.commit(Vec::new(), move |b| purge(b, at)).await.expect("purges");
                    }
                    // What was acknowledged stays; a confirmation that no commit carried is not known any more.
                    _ => {
                        store = store.power_cut().expect("opens again");
                        (receipts, crashes) = (Receipts::default(), crashes + 1);
                        session.clear();
                    }
                }
            }
        }
        assert!(
            repeats > 200 && news > 1000 && crashes > 300,
            "{repeats} repeats, {news} new, {crashes} crashes"
        );
    }
}
