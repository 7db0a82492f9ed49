//! Credits after an outage: from the incident's own rows, by the provider's rules; kept so that a
//! second run changes nothing.

use stdx::Now;
use store::StoreError;
use store::rusqlite::Connection;
use watch::credits::{Credit, Outage, Rule, Service, judge};

use crate::Board;

impl Board {
    /// Sets the price list, replacing the old one.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn set_services(&self, services: Vec<Service>) -> Result<(), StoreError> {
        self.store()
            .commit(Vec::new(), move |b| {
                b.sql().execute("DELETE FROM service", [])?;
                let mut put =
                    b.sql().prepare_cached("INSERT OR REPLACE INTO service VALUES (?1, ?2, ?3, ?4)")?;
                for s in &services {
                    put.execute((&s.client, &s.server, &s.currency, s.monthly as i64))?;
                }
                Ok(())
            })
            .await
    }

    /// Credits of one incident on one server by one rule. What was credited before stays as it was.
    ///
    /// # Errors
    /// If the incident is not over, or trouble with the store.
    pub async fn credit(&self, incident: i64, server: String, rule: Rule) -> Result<Vec<Credit>, StoreError> {
        self.store()
            .commit(Vec::new(), move |b| {
                let outage = outage(b.sql(), incident, server)?;
                let services = services(b.sql())?;
                for verdict in judge(&services, &[outage], &rule) {
                    let c = verdict.decision;
                    b.sql()
                        .prepare_cached(
                            "INSERT INTO credit VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                        )?
                        .execute((c.incident, &c.client, &c.server, &c.currency, c.amount as i64))?;
                }
                credits(b.sql(), incident)
            })
            .await
    }
}

fn outage(conn: &Connection, incident: i64, server: String) -> Result<Outage, StoreError> {
    let row: Option<(i64, Option<i64>)> = conn
        .prepare_cached("SELECT began, resolved FROM incident WHERE id = ?1")?
        .query_map([incident], |r| Ok((r.get(0)?, r.get(1)?)))?
        .next()
        .transpose()?;
    match row {
        None => Err(StoreError::Rule(format!("there is no incident {incident}"))),
        Some((_, None)) => Err(StoreError::Rule(format!(
            "incident {incident} is not over yet: credit it when its end is known"
        ))),
        Some((from, Some(to))) => Ok(Outage { incident, server, from: Now(from as u64), to: Now(to as u64) }),
    }
}

fn services(conn: &Connection) -> Result<Vec<Service>, StoreError> {
    let mut query =
        conn.prepare_cached("SELECT client, server, currency, monthly FROM service ORDER BY client, server")?;
    let rows = query.query_map([], |r| {
        Ok(Service {
            client: r.get(0)?,
            server: r.get(1)?,
            currency: r.get(2)?,
            monthly: r.get::<_, i64>(3)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn credits(conn: &Connection, incident: i64) -> Result<Vec<Credit>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT client, server, currency, amount FROM credit WHERE incident = ?1 ORDER BY client, server",
    )?;
    let rows = query.query_map([incident], |r| {
        Ok(Credit {
            incident,
            client: r.get(0)?,
            server: r.get(1)?,
            currency: r.get(2)?,
            amount: r.get::<_, i64>(3)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
