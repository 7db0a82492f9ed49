//! Which thread a message belongs to, for THREADID.
//!
//! What it is: a thread is named by its first message, by the hash of that message's identifier. References
//! names the first message itself; a reply with In-Reply-To alone names its parent, and the parent's thread,
//! if the account holds the parent, is taken from its row. Replies have a row each, written with their summary:
//! so the name never changes, whatever comes or goes later (RFC 8474 §5.2).
//! What it is not: the THREAD command, which sorts by RFC 5256 alone. Begin with [`roots`].

use message::summary::Keys;
use rusqlite::{Connection, OptionalExtension, params};
use store::{Batch, BodyId, Store, StoreError};

use crate::{Hub, digest};

/// How far back a parent is looked for, in runs of 65,536 bodies: four million messages.
const RUNS_BACK: i64 = 64;

/// What a message says of its thread, in hashes of identifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Says {
    own: Option<u64>,
    /// The first message it refers to.
    first: Option<u64>,
    /// It refers to no other, so that this may be its parent only.
    alone: bool,
}

impl Says {
    pub fn of(keys: &Keys) -> Says {
        Says {
            own: keys.message_id.as_ref().map(|id| fnv(id.as_bytes())),
            first: keys.references.first().map(|id| fnv(id.as_bytes())),
            alone: keys.references.len() == 1,
        }
    }

    /// The first message as far as this one knows; nothing for one without any identifier.
    pub fn root(self) -> Option<u64> {
        self.first.or(self.own)
    }
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The threads' first messages, in the order asked for.
///
/// # Errors
/// Trouble with the store.
pub async fn roots(
    store: &Store,
    hub: &Hub,
    messages: &[(BodyId, Says)],
) -> Result<Vec<Option<u64>>, StoreError> {
    let mut out: Vec<Option<u64>> = messages.iter().map(|(_, says)| says.root()).collect();
    let replies: Vec<usize> = (0..messages.len()).filter(|n| messages[*n].1.first.is_some()).collect();
    if replies.is_empty() {
        return Ok(out);
    }
    let missing = store.glance(|conn| written(conn, (&replies, messages), &mut out))?;
    if missing.is_empty() {
        return Ok(out);
    }
    // They came a moment ago, or with an earlier version that wrote no rows.
    digest::tend(store, hub).await?;
    let messages = messages.to_vec();
    let late = store.read(move |conn| {
        let mut late: Vec<Option<u64>> = vec![None; messages.len()];
        for n in written(conn, (&missing, &messages), &mut late)? {
            late[n] = resolved(conn, messages[n].0, messages[n].1)?;
        }
        Ok(late)
    });
    for (root, late) in out.iter_mut().zip(late.await?) {
        *root = late.or(*root);
    }
    Ok(out)
}

/// Fills in what has a row; says which have none.
fn written(
    conn: &Connection,
    (wanted, messages): (&[usize], &[(BodyId, Says)]),
    out: &mut [Option<u64>],
) -> Result<Vec<usize>, StoreError> {
    let mut read = conn.prepare_cached("SELECT root FROM mb_thread WHERE body = ?1")?;
    let mut missing = Vec::new();
    for &n in wanted {
        match read.query_row([messages[n].0.0], |r| r.get::<_, i64>(0)).optional()? {
            Some(root) => out[n] = Some(root as u64),
            None => missing.push(n),
        }
    }
    Ok(missing)
}

/// Where a message belongs, with its parent's help.
fn resolved(conn: &Connection, body: BodyId, says: Says) -> Result<Option<u64>, StoreError> {
    let (Some(first), true) = (says.first, says.alone) else { return Ok(says.root()) };
    // Only a parent in a mailbox of the same account counts: nobody learns what others got.
    let mut read = conn.prepare_cached(
        "WITH RECURSIVE run(n) AS (SELECT max(0, (?2 >> 16) - ?3) UNION ALL
             SELECT n + 1 FROM run WHERE n < (SELECT max(body) >> 16 FROM mb_thread))
         SELECT t.root FROM run CROSS JOIN mb_thread t ON t.body >> 16 = run.n AND t.id = ?1 WHERE EXISTS (
             SELECT 1 FROM mb_message ours JOIN mb_folder o ON o.id = ours.folder
             JOIN mb_message theirs ON theirs.body = t.body JOIN mb_folder h ON h.id = theirs.folder
             WHERE ours.body = ?2 AND h.account = o.account)
         ORDER BY t.body LIMIT 1",
    )?;
    let root: Option<i64> =
        read.query_row(params![first as i64, body.0, RUNS_BACK], |r| r.get(0)).optional()?;
    Ok(Some(root.map_or(first, |root| root as u64)))
}

/// Writes the row of a reply, if its body still lives and has none.
pub(crate) fn enter(batch: &Batch<'_>, body: BodyId, says: Says) -> Result<(), StoreError> {
    if says.first.is_none() {
        return Ok(());
    }
    let Some(root) = resolved(batch.sql(), body, says)? else { return Ok(()) };
    batch
        .sql()
        .prepare_cached(
            "INSERT OR IGNORE INTO mb_thread (body, id, root)
             SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM mb_message WHERE body = ?1)",
        )?
        .execute(params![body.0, says.own.map(|id| id as i64), root as i64])?;
    Ok(())
}

/// The row goes with its body.
pub(crate) fn forget(batch: &Batch<'_>, body: BodyId) -> Result<(), StoreError> {
    batch.sql().prepare_cached("DELETE FROM mb_thread WHERE body = ?1")?.execute([body.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::Summary;

    #[test]
    fn a_thread_is_named_by_its_first_message() {
        let of = |text: &str| Says::of(&Summary::of(text.as_bytes()).keys).root();
        let root = of("Message-ID: <a@x>\r\n\r\n");
        assert!(root.is_some());
        assert_eq!(of("Message-ID: <b@x>\r\nReferences: <a@x>\r\n\r\n"), root);
        assert_eq!(of("Message-ID: <c@x>\r\nReferences: <a@x> <b@x>\r\n\r\n"), root);
        assert_eq!(of("Subject: none\r\n\r\n"), None);
    }
}
