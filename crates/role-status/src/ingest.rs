//! Facts from other hosts: parcels over `link`, taken once each.

use link::{Fact, Look, OpenError, Peer};
use stdx::Now;
use store::{Batch, StoreError};

use crate::Board;

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Facts(usize),
    /// It had come before; nothing changed.
    Again,
    Refused(OpenError),
}

impl Board {
    /// Opens a parcel and keeps its facts, in one commit with its number.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn take(&self, bytes: Vec<u8>) -> Result<Taken, StoreError> {
        let now = self.now();
        let mut peers: Vec<Peer> = self.settings().peers.clone();
        let last = self
            .store()
            .read(|conn| {
                let mut query = conn.prepare_cached("SELECT name, last FROM peer")?;
                let rows =
                    query.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)? as u64)))?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            })
            .await?;
        for peer in &mut peers {
            peer.last = last.iter().find(|(n, _)| *n == peer.name).map_or(0, |(_, l)| *l);
        }
        let parcel = match link::open(&bytes, &peers, now) {
            Ok(parcel) => parcel,
            Err(OpenError::Again { .. }) => return Ok(Taken::Again),
            Err(e) => return Ok(Taken::Refused(e)),
        };
        let count = parcel.facts.len();
        let taken = self
            .store()
            .commit(Vec::new(), move |b| {
                // Asked again inside the commit: two copies may be on their way at once.
                let n = b.sql().execute(
                    "INSERT INTO peer VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET last = ?2, heard = ?3 WHERE last < ?2",
                    (&parcel.from, parcel.serial as i64, now.ms() as i64),
                )?;
                if n == 0 {
                    return Ok(Taken::Again);
                }
                for fact in &parcel.facts {
                    keep(b, fact, now)?;
                }
                Ok(Taken::Facts(count))
            })
            .await?;
        Ok(taken)
    }

    /// Facts from within (the monitor role on the same machine, tests of a farm).
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn tell(&self, facts: Vec<Fact>) -> Result<(), StoreError> {
        let now = self.now();
        self.store()
            .commit(Vec::new(), move |b| {
                for fact in &facts {
                    keep(b, fact, now)?;
                }
                Ok(())
            })
            .await
    }
}

pub(crate) fn keep(batch: &Batch<'_>, fact: &Fact, now: Now) -> Result<(), StoreError> {
    let row = match fact {
        Fact::Probe { at, probe, component, point, region, look, ms, says } => {
            (*at, probe.clone(), component.clone(), point.clone(), region.clone(), *look, *ms, says.clone())
        }
        // The mail host's own word on a destination group is a try of that component.
        Fact::Route { at, egress, group, state, evidence, .. } => {
            let look = match state.as_str() {
                "open" => Look::Good,
                "closed" => Look::Failed,
                _ => Look::Slow,
            };
            let says = format!("{egress}: {state} {}", evidence.join("; "));
            (
                *at,
                format!("route.{group}"),
                format!("to.{group}"),
                egress.clone(),
                String::new(),
                look,
                0,
                says,
            )
        }
        Fact::Queue { at, group, oldest_s, count } => {
            let look = if *oldest_s > 1800 {
                Look::Failed
            } else if *oldest_s > 300 {
                Look::Slow
            } else {
                Look::Good
            };
            let says = format!("{count} messages wait, the oldest for {oldest_s} s");
            (
                *at,
                format!("queue.{group}"),
                "sending".to_owned(),
                "mail host".to_owned(),
                String::new(),
                look,
                0,
                says,
            )
        }
        _ => return Ok(()),
    };
    let (at, probe, component, point, region, look, ms, says) = row;
    // A clock that runs ahead must not outvote later tries.
    let at = at.min(now.ms());
    batch
        .sql()
        .prepare_cached("INSERT INTO probe (at, probe, component, point, region, look, ms, says) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute((at as i64, &probe, &component, &point, &region, look_key(look), ms as i64, &says))?;
    Ok(())
}

pub(crate) const fn look_key(look: Look) -> &'static str {
    match look {
        Look::Good => "good",
        Look::Slow => "slow",
        Look::Failed => "failed",
        Look::Unsure => "unsure",
    }
}
