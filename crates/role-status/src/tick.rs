//! Every few seconds: judge components, count their days, judge incidents and windows, publish.

use std::collections::BTreeMap;

use stdx::Now;
use store::rusqlite::Connection;
use store::{Batch, StoreError};
use watch::agree::{Agreed, Outcome, Seen};
use watch::incident::{Act, Open, Standing, Standings};
use watch::state::State;
use words::{Reason, Verdict};

use crate::board::Settings;
use crate::{Board, postmortem, say, snapshot, subscribe};

/// Raw tries forgotten per tick, so that no tick takes long.
const PURGE_STEP: i64 = 5_000;

impl Board {
    /// Ticks until the server stops.
    pub async fn run(self, stop: drive::Stop) {
        loop {
            let next = self.now() + self.settings().tick;
            if let Err(e) = self.tick().await {
                tracing::error!(error = %e, "a tick of the status site failed; the next one tries again");
            }
            if drive::until_stop(&stop, self.world().clock.sleep_until(next)).await.is_none() {
                return;
            }
        }
    }

    /// One tick.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn tick(&self) -> Result<(), StoreError> {
        self.tick_with(Vec::new()).await
    }

    /// Facts and the tick that judges them, in one commit.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn tick_with(&self, facts: Vec<link::Fact>) -> Result<(), StoreError> {
        let (now, settings) = (self.now(), self.settings());
        let changed = self
            .store()
            .commit(Vec::new(), move |b| {
                for fact in &facts {
                    crate::ingest::keep(b, fact, now)?;
                }
                let states = components(b, &settings, now)?;
                let acted = incidents(b, &settings, now)?;
                let windows = windows(b, now)?;
                postmortem::remind(b, settings.incidents.postmortem_in, now)?;
                upkeep(b, &settings, now)?;
                Ok(states || acted || windows)
            })
            .await?;
        let stale = now.since(Now(self.files().now().snapshot.made)) >= stdx::Span::secs(30);
        if changed || stale {
            self.publish_live().await?;
        }
        Ok(())
    }
}

struct Row {
    id: String,
    state: State,
    since: Now,
    counted: Now,
}

/// Judges each component from its probes. True if a state changed.
fn components(batch: &mut Batch<'_>, settings: &Settings, now: Now) -> Result<bool, StoreError> {
    let rows: Vec<Row> = {
        let mut query = batch.sql().prepare_cached("SELECT id, state, since, counted FROM component")?;
        let rows = query.query_map([], |r| {
            Ok(Row {
                id: r.get(0)?,
                state: State::from_word(&r.get::<_, String>(1)?).unwrap_or_default(),
                since: Now(r.get::<_, i64>(2)? as u64),
                counted: Now(r.get::<_, i64>(3)? as u64),
            })
        })?;
        rows.collect::<Result<_, _>>()?
    };
    let muted = muted(batch.sql(), now)?;
    let mut changed = false;
    for row in rows {
        let seen = seen(batch.sql(), &row.id, settings, now)?;
        let checked = seen.values().flatten().map(|s| s.at).max();
        let judged = judged(&seen, settings, now);
        let mut verdict = state(&judged);
        if verdict.decision != State::Operational && muted.contains(&row.id) {
            let reason = Reason::new("component.maintenance", "planned work on it is under way");
            verdict = Verdict::new(State::Maintenance, verdict.reasons.and(reason));
        }
        count_days(batch, &row, now)?;
        let fresh = verdict.decision != row.state;
        changed |= fresh;
        // An outage began with its first failed try, not when enough agreed.
        let began = since(&verdict, &judged, &seen).unwrap_or(now).max(row.since);
        let note =
            if verdict.decision.is_trouble() { verdict.reasons.first().says.clone() } else { String::new() };
        batch
            .sql()
            .prepare_cached(
                "UPDATE component SET state = ?2, since = ?3, checked = coalesce(?4, checked), counted = ?5, note = ?6 WHERE id = ?1",
            )?
            .execute((
                &row.id,
                verdict.decision.key(),
                (if fresh { began } else { row.since }).ms() as i64,
                checked.map(|c| c.ms() as i64),
                now.ms() as i64,
                &note,
            ))?;
        if fresh {
            audit(
                batch,
                now,
                &format!("{}: {} → {}", row.id, row.state.key(), verdict.decision.key()),
                &verdict,
            )?;
        }
    }
    Ok(changed)
}

fn audit<D>(batch: &Batch<'_>, now: Now, what: &str, verdict: &Verdict<D>) -> Result<(), StoreError> {
    let why: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
    batch.sql().prepare_cached("INSERT INTO audit (at, what, why) VALUES (?1, ?2, ?3)")?.execute((
        now.ms() as i64,
        what,
        why.join("; "),
    ))?;
    Ok(())
}

/// The tries of each probe of a component within the window of judgement.
fn seen(
    conn: &Connection,
    component: &str,
    settings: &Settings,
    now: Now,
) -> Result<BTreeMap<String, Vec<Seen>>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT probe, at, point, region, look, ms, says FROM probe WHERE component = ?1 AND at >= ?2 ORDER BY at",
    )?;
    let window = settings.agree.window.max(settings.agree.fresh);
    let rows = query.query_map((component, (now - window).ms() as i64), |r| {
        let (look, ms, says): (String, i64, String) = (r.get(4)?, r.get(5)?, r.get(6)?);
        let outcome = match look.as_str() {
            "good" | "slow" => Outcome::Good { ms: ms as u64 },
            "failed" => Outcome::Failed { cause: says },
            _ => Outcome::Unsure,
        };
        let seen = Seen { at: Now(r.get::<_, i64>(1)? as u64), point: r.get(2)?, region: r.get(3)?, outcome };
        Ok((r.get::<_, String>(0)?, seen, look == "slow"))
    })?;
    let mut out: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for row in rows {
        let (probe, seen, slow) = row?;
        // A slow try is good for "down", and kept apart for "degraded".
        if slow {
            out.entry(format!("{probe} (slow)"))
                .or_default()
                .push(Seen { outcome: Outcome::Failed { cause: "slow".into() }, ..seen.clone() });
        }
        out.entry(probe).or_default().push(seen);
    }
    Ok(out)
}

type Judged<'p> = BTreeMap<&'p str, Verdict<Agreed>>;

fn judged<'p>(seen: &'p BTreeMap<String, Vec<Seen>>, settings: &Settings, now: Now) -> Judged<'p> {
    seen.iter()
        .map(|(probe, tries)| (probe.as_str(), watch::agree::judge(tries, &settings.agree, now)))
        .collect()
}

/// The worst that any of a component's probes says.
fn state(judged: &Judged<'_>) -> Verdict<State> {
    let mut worst: Option<Verdict<State>> = None;
    for (probe, found) in judged {
        let slow = probe.ends_with(" (slow)");
        let state = match &found.decision {
            Agreed::Good => State::Operational,
            Agreed::Down { .. } if slow => State::Degraded,
            Agreed::Down { .. } => State::MajorOutage,
            Agreed::DegradedFor { .. } => State::Degraded,
            Agreed::NoData if slow => continue,
            Agreed::NoData => State::NoData,
        };
        if worst.as_ref().is_none_or(|w| state > w.decision) {
            let probe = Reason::new("component.probe", format!("the probe is {probe}"));
            worst = Some(Verdict::new(state, found.reasons.clone().and(probe)));
        }
    }
    worst.unwrap_or_else(|| {
        Verdict::new(State::NoData, Reason::new("component.unseen", "no probe has looked lately"))
    })
}

/// When the state began. `None`: now.
fn since(verdict: &Verdict<State>, judged: &Judged<'_>, seen: &BTreeMap<String, Vec<Seen>>) -> Option<Now> {
    if verdict.decision.is_trouble() {
        let begun = judged.values().filter_map(|found| match &found.decision {
            Agreed::Down { since } | Agreed::DegradedFor { since, .. } => Some(*since),
            _ => None,
        });
        return begun.min();
    }
    if verdict.decision != State::Operational {
        return None;
    }
    // Back again: with the first good try after the last failed one.
    let all = || seen.values().flatten();
    let last_bad = all().filter(|s| matches!(s.outcome, Outcome::Failed { .. })).map(|s| s.at).max()?;
    all().filter(|s| s.at > last_bad).map(|s| s.at).min()
}

fn count_days(batch: &Batch<'_>, row: &Row, now: Now) -> Result<(), StoreError> {
    if row.counted == Now(0) {
        return Ok(());
    }
    let mut put = batch.sql().prepare_cached(
        "INSERT INTO day VALUES (?1, ?2, ?3, ?4) ON CONFLICT (component, day, state) DO UPDATE SET seconds = seconds + ?4",
    )?;
    for (day, seconds) in watch::day::spread(row.counted, now) {
        put.execute((&row.id, day as i64, row.state.key(), seconds as i64))?;
    }
    Ok(())
}

/// Components under planned work now.
fn muted(conn: &Connection, now: Now) -> Result<Vec<String>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT m.announced, m.begins, m.ends, m.done, m.reminded, t.component FROM maintenance m
         JOIN touched t ON t.kind = 'maintenance' AND t.owner = m.id AND t.affected = 1 WHERE m.begins <= ?1 AND m.done IS NULL",
    )?;
    let rows =
        query.query_map([now.ms() as i64], |r| Ok((snapshot::window(r, 0)?, r.get::<_, String>(5)?)))?;
    let mut out = Vec::new();
    for row in rows {
        let (window, component) = row?;
        if watch::maintenance::mutes(&window, now) {
            out.push(component);
        }
    }
    Ok(out)
}

fn standings(conn: &Connection) -> Result<Standings, StoreError> {
    let mut query =
        conn.prepare_cached("SELECT id, name, state, since, decides, cause, note FROM component")?;
    let rows = query.query_map([], |r| {
        let note: String = r.get(6)?;
        let standing = Standing {
            name: r.get(1)?,
            state: State::from_word(&r.get::<_, String>(2)?).unwrap_or_default(),
            since: Now(r.get::<_, i64>(3)? as u64),
            decides: r.get(4)?,
            cause: r.get(5)?,
            facts: if note.is_empty() { Vec::new() } else { vec![note] },
        };
        Ok((r.get::<_, String>(0)?, standing))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn open(conn: &Connection) -> Result<Vec<Open>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT id, began, public, taken_over, quiet_since FROM incident
         WHERE stage IN ('investigating', 'identified', 'monitoring') AND cause != 'hand' ORDER BY id",
    )?;
    let rows = query.query_map([], |r| {
        Ok(Open {
            id: r.get(0)?,
            affected: Vec::new(),
            began: Now(r.get::<_, i64>(1)? as u64),
            public: r.get(2)?,
            taken_over: r.get(3)?,
            quiet_since: r.get::<_, Option<i64>>(4)?.map(|t| Now(t as u64)),
        })
    })?;
    let mut out: Vec<Open> = rows.collect::<Result<_, _>>()?;
    for o in &mut out {
        o.affected = conn
            .prepare_cached(
                "SELECT component FROM touched WHERE kind = 'incident' AND owner = ?1 AND affected = 1",
            )?
            .query_map([o.id], |r| r.get(0))?
            .collect::<Result<_, _>>()?;
    }
    Ok(out)
}

/// True if anything was done.
fn incidents(batch: &mut Batch<'_>, settings: &Settings, now: Now) -> Result<bool, StoreError> {
    let standings = standings(batch.sql())?;
    let acts = watch::incident::judge(&open(batch.sql())?, &standings, &settings.incidents, now);
    for verdict in &acts {
        act(batch, &verdict.decision, (&standings, settings), now)?;
        audit(batch, now, &describe(&verdict.decision), verdict)?;
    }
    // A draft may have to be published in the tick that made it.
    let second = watch::incident::judge(&open(batch.sql())?, &standings, &settings.incidents, now);
    for verdict in second.iter().filter(|v| matches!(v.decision, Act::Publish { .. })) {
        act(batch, &verdict.decision, (&standings, settings), now)?;
        audit(batch, now, &describe(&verdict.decision), verdict)?;
    }
    Ok(!acts.is_empty())
}

fn describe(act: &Act) -> String {
    match act {
        Act::Begin { title, .. } => format!("incident drafted: {title}"),
        Act::Widen { id, affected, .. } => format!("incident {id} widened to {}", affected.join(", ")),
        Act::Publish { id } => format!("incident {id} published; undo: resolve it or say a word of your own"),
        Act::Quiet { id, since } => format!("incident {id} quiet since {since:?}"),
        Act::Resolve { id, .. } => format!("incident {id} resolved"),
    }
}

fn act(
    batch: &mut Batch<'_>,
    act: &Act,
    (standings, settings): (&Standings, &Settings),
    now: Now,
) -> Result<(), StoreError> {
    use watch::incident::Stage;
    match act {
        Act::Begin { title, text, affected, began, cause } => {
            let worst = State::worst(affected.iter().filter_map(|id| standings.get(id)).map(|s| s.state));
            batch.sql().execute(
                "INSERT INTO incident (title, stage, impact, cause, began, public, taken_over) VALUES (?1, 'investigating', ?2, ?3, ?4, 0, 0)",
                (title, statuspage::api::impact(worst).key(), cause, began.ms() as i64),
            )?;
            let id = batch.sql().last_insert_rowid();
            let well: Vec<String> = standings
                .iter()
                .filter(|(_, s)| s.decides && s.state == State::Operational)
                .map(|(id, _)| id.clone())
                .collect();
            say::touch(batch, ("incident", id), affected, &well)?;
            say::say(batch, ("incident", id), now, (Some(Stage::Investigating), text, ""))
        }
        Act::Widen { id, affected, text } => {
            say::touch(batch, ("incident", *id), affected, &[])?;
            say::say(batch, ("incident", *id), now, (None, text, ""))?;
            subscribe::tell_incident(batch, *id, text, now)
        }
        Act::Publish { id } => {
            let n =
                batch.sql().execute("UPDATE incident SET public = 1 WHERE id = ?1 AND public = 0", [id])?;
            if n == 1 {
                let text: String = batch.sql().query_row(
                    "SELECT coalesce((SELECT text FROM said WHERE kind = 'incident' AND owner = ?1 ORDER BY at DESC, id DESC LIMIT 1), '')",
                    [id],
                    |r| r.get(0),
                )?;
                subscribe::tell_incident(batch, *id, &text, now)?;
            }
            Ok(())
        }
        Act::Quiet { id, since } => {
            batch.sql().execute(
                "UPDATE incident SET quiet_since = ?2 WHERE id = ?1",
                (id, since.map(|t| t.ms() as i64)),
            )?;
            Ok(())
        }
        Act::Resolve { id, text, .. } => {
            batch.sql().execute(
                "UPDATE incident SET stage = 'resolved', resolved = coalesce(quiet_since, ?2), next_update = NULL,
                   postmortem_due = CASE WHEN public = 1 AND impact IN ('major', 'critical') THEN ?3 ELSE NULL END WHERE id = ?1",
                (id, now.ms() as i64, (now + settings.incidents.postmortem_in).ms() as i64),
            )?;
            say::say(batch, ("incident", *id), now, (Some(Stage::Resolved), text, ""))?;
            subscribe::tell_incident(batch, *id, text, now)
        }
    }
}

/// Reminders of windows; true if a phase changed since the last page.
fn windows(batch: &mut Batch<'_>, now: Now) -> Result<bool, StoreError> {
    let rows: Vec<(watch::maintenance::Window, i64, String)> = {
        let mut query = batch.sql().prepare_cached(
            "SELECT announced, begins, ends, done, reminded, id, title FROM maintenance WHERE done IS NULL",
        )?;
        let rows = query.query_map([], |r| Ok((snapshot::window(r, 0)?, r.get(5)?, r.get(6)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    let mut changed = false;
    for (mut window, id, title) in rows {
        let recent = |at: Now| now >= at && now.since(at) < stdx::Span::secs(30);
        changed |= recent(window.from) || recent(window.to);
        if let Some(span) = watch::maintenance::reminder(&window, now) {
            window.reminded.push(span);
            let list: Vec<String> = window.reminded.iter().map(|s| s.as_ms().to_string()).collect();
            batch
                .sql()
                .execute("UPDATE maintenance SET reminded = ?2 WHERE id = ?1", (id, list.join(" ")))?;
            let text =
                format!("In {span}: {} to {}.", watch::zones::utc(window.from), watch::zones::utc(window.to));
            subscribe::tell_all(batch, "maintenance", &format!("Reminder: {title}"), &text, now)?;
        }
    }
    Ok(changed)
}

fn upkeep(batch: &mut Batch<'_>, settings: &Settings, now: Now) -> Result<(), StoreError> {
    batch.sql().execute(
        "DELETE FROM probe WHERE id IN (SELECT id FROM probe WHERE at < ?1 ORDER BY id LIMIT ?2)",
        ((now - settings.raw_for).ms() as i64, PURGE_STEP),
    )?;
    batch.sql().execute(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 ORDER BY id LIMIT ?2)",
        ((now - stdx::Span::days(400)).ms() as i64, PURGE_STEP),
    )?;
    subscribe::forget(batch, now)
}
