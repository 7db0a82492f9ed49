//! From the rows to what the pages show.

use std::collections::BTreeMap;

use statuspage::model::{
    Body, Component, DAYS, DayBar, Impact, Incident, Maintenance, Post, Site, Snapshot, System, Update,
};
use stdx::Now;
use store::StoreError;
use store::rusqlite::{Connection, Row};
use watch::State;
use watch::incident::Stage;
use watch::maintenance::{Window, phase};

/// Incidents and windows on the pages; older ones stay in the rows.
const INCIDENTS_MAX: i64 = 500;
/// A ping older than this is shown as none.
const PING_FRESH_MS: i64 = 5 * 60_000;

pub fn read(conn: &Connection, site: &Site, now: Now) -> Result<Snapshot, StoreError> {
    let components = components(conn, now)?;
    Ok(Snapshot {
        made: now.ms(),
        site: site.clone(),
        systems: systems(conn, &components, now)?,
        incidents: incidents(conn)?,
        maintenances: maintenances(conn, now)?,
        posts: posts(conn)?,
        redirects: conn
            .prepare_cached("SELECT old, new FROM redirect")?
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<Result<_, _>>()?,
        components,
    })
}

fn components(conn: &Connection, now: Now) -> Result<Vec<Component>, StoreError> {
    let first = watch::day::number(now).saturating_sub(DAYS as u64 - 1) as i64;
    let mut days: BTreeMap<String, BTreeMap<u64, DayBar>> = BTreeMap::new();
    let mut query = conn.prepare_cached("SELECT component, day, state, seconds FROM day WHERE day >= ?1")?;
    let rows = query.query_map([first], |r| {
        Ok((
            r.get::<_, String>(0)?,
            r.get::<_, i64>(1)? as u64,
            r.get::<_, String>(2)?,
            r.get::<_, i64>(3)? as u64,
        ))
    })?;
    for row in rows {
        let (component, day, state, seconds) = row?;
        let bar = days
            .entry(component)
            .or_default()
            .entry(day)
            .or_insert_with(|| DayBar { day, ..DayBar::default() });
        bar.seconds.insert(state, seconds);
    }
    let mut query = conn.prepare_cached(
        "SELECT id, name, about, state, since, checked, decides, note FROM component ORDER BY position, id",
    )?;
    let rows = query.query_map([], |r| {
        let id: String = r.get(0)?;
        Ok(Component {
            name: r.get(1)?,
            about: r.get(2)?,
            state: State::from_word(&r.get::<_, String>(3)?).unwrap_or_default(),
            since: r.get::<_, i64>(4)? as u64,
            checked: r.get::<_, i64>(5)? as u64,
            decides: r.get(6)?,
            note: r.get(7)?,
            days: Vec::new(),
            id,
        })
    })?;
    let mut out: Vec<Component> = rows.collect::<Result<_, _>>()?;
    for c in &mut out {
        c.days = days.remove(&c.id).unwrap_or_default().into_values().collect();
    }
    Ok(out)
}

fn systems(conn: &Connection, components: &[Component], now: Now) -> Result<Vec<System>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT code, country, place, role, word, component FROM system ORDER BY position, code",
    )?;
    let rows = query.query_map([], |r| {
        let system = System {
            code: r.get(0)?,
            country: r.get(1)?,
            place: r.get(2)?,
            role: r.get(3)?,
            word: r.get(4)?,
            ..System::default()
        };
        Ok((system, r.get::<_, String>(5)?))
    })?;
    let mut out = Vec::new();
    for row in rows {
        let (mut system, component) = row?;
        let state = components.iter().find(|c| c.id == component).map(|c| c.state);
        system.state = state.unwrap_or(State::NoData);
        if system.word.is_empty() {
            system.word = system.state.glance().to_owned();
        } else if state.is_none() && system.word == "OPERATIONAL" {
            system.state = State::Operational;
        }
        system.pings = pings(conn, &system.code, now)?;
        out.push(system);
    }
    Ok(out)
}

fn pings(conn: &Connection, code: &str, now: Now) -> Result<Vec<(String, Option<u64>)>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT point, look, ms, max(at) FROM probe WHERE component = ?1 AND at >= ?2 GROUP BY point ORDER BY point",
    )?;
    let rows = query.query_map((format!("ping.{code}"), now.ms() as i64 - PING_FRESH_MS), |r| {
        let good = matches!(r.get::<_, String>(1)?.as_str(), "good" | "slow");
        Ok((r.get(0)?, good.then_some(r.get::<_, i64>(2)? as u64)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Affected and not affected components of an incident or a window.
fn touched(conn: &Connection, kind: &str, owner: i64) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT component, affected FROM touched WHERE kind = ?1 AND owner = ?2 ORDER BY component",
    )?;
    let rows: Vec<(String, bool)> =
        query.query_map((kind, owner), |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    let (yes, no): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, affected)| *affected);
    let ids = |list: Vec<(String, bool)>| list.into_iter().map(|(id, _)| id).collect();
    Ok((ids(yes), ids(no)))
}

fn updates(conn: &Connection, kind: &str, owner: i64) -> Result<Vec<Update>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT id, at, stage, text, author FROM said WHERE kind = ?1 AND owner = ?2 ORDER BY at, id",
    )?;
    let rows = query.query_map((kind, owner), |r| {
        Ok(Update {
            id: r.get(0)?,
            at: r.get::<_, i64>(1)? as u64,
            stage: r.get::<_, Option<String>>(2)?.as_deref().and_then(Stage::from_key),
            text: r.get(3)?,
            author: r.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn incidents(conn: &Connection) -> Result<Vec<Incident>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT id, title, stage, impact, began, resolved, next_update, postmortem_due, postmortem_done, taken_over
         FROM incident WHERE public = 1 ORDER BY began DESC, id DESC LIMIT ?1",
    )?;
    let time = |r: &Row<'_>, n: usize| -> Result<Option<u64>, store::rusqlite::Error> {
        Ok(r.get::<_, Option<i64>>(n)?.map(|t| t as u64))
    };
    let rows = query.query_map([INCIDENTS_MAX], |r| {
        Ok(Incident {
            id: r.get(0)?,
            title: r.get(1)?,
            stage: Stage::from_key(&r.get::<_, String>(2)?).unwrap_or(Stage::Investigating),
            impact: impact(&r.get::<_, String>(3)?),
            affected: Vec::new(),
            not_affected: Vec::new(),
            began: r.get::<_, i64>(4)? as u64,
            resolved: time(r, 5)?,
            next_update: time(r, 6)?,
            etas: Vec::new(),
            postmortem_due: time(r, 7)?,
            postmortem_done: r.get(8)?,
            updates: Vec::new(),
            automatic: !r.get::<_, bool>(9)?,
        })
    })?;
    let mut out: Vec<Incident> = rows.collect::<Result<_, _>>()?;
    for i in &mut out {
        (i.affected, i.not_affected) = touched(conn, "incident", i.id)?;
        i.updates = updates(conn, "incident", i.id)?;
        i.etas = conn
            .prepare_cached("SELECT at, eta FROM eta WHERE incident = ?1 ORDER BY at")?
            .query_map([i.id], |r| Ok((r.get::<_, i64>(0)? as u64, r.get::<_, i64>(1)? as u64)))?
            .collect::<Result<_, _>>()?;
    }
    Ok(out)
}

pub(crate) fn impact(key: &str) -> Impact {
    [Impact::None, Impact::Minor, Impact::Major, Impact::Critical]
        .into_iter()
        .find(|i| i.key() == key)
        .unwrap_or_default()
}

/// A window's row as the judge wants it.
pub(crate) fn window(r: &Row<'_>, first: usize) -> Result<Window, store::rusqlite::Error> {
    let at =
        |n: usize| -> Result<Now, store::rusqlite::Error> { Ok(Now(r.get::<_, i64>(first + n)? as u64)) };
    let reminded: String = r.get(first + 4)?;
    Ok(Window {
        announced: at(0)?,
        from: at(1)?,
        to: at(2)?,
        done: r.get::<_, Option<i64>>(first + 3)?.map(|t| Now(t as u64)),
        reminded: reminded.split(' ').filter_map(|s| s.parse().ok()).map(stdx::Span).collect(),
    })
}

fn maintenances(conn: &Connection, now: Now) -> Result<Vec<Maintenance>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT announced, begins, ends, done, reminded, id, title, text, sequence, changed
         FROM maintenance ORDER BY begins, id",
    )?;
    let rows = query.query_map([], |r| {
        let window = window(r, 0)?;
        Ok(Maintenance {
            id: r.get(5)?,
            title: r.get(6)?,
            text: r.get(7)?,
            from: window.from.ms(),
            to: window.to.ms(),
            phase: phase(&window, now).decision,
            affected: Vec::new(),
            not_affected: Vec::new(),
            sequence: r.get(8)?,
            changed: r.get::<_, i64>(9)? as u64,
            updates: Vec::new(),
        })
    })?;
    let mut out: Vec<Maintenance> = rows.collect::<Result<_, _>>()?;
    for m in &mut out {
        (m.affected, m.not_affected) = touched(conn, "maintenance", m.id)?;
        m.updates = updates(conn, "maintenance", m.id)?;
    }
    Ok(out)
}

fn posts(conn: &Connection) -> Result<Vec<Post>, StoreError> {
    let mut labels: BTreeMap<i64, (Vec<String>, Vec<String>)> = BTreeMap::new();
    let mut query = conn.prepare_cached("SELECT post, kind, name FROM label ORDER BY post, kind, name")?;
    let rows =
        query.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?)))?;
    for row in rows {
        let (post, kind, name) = row?;
        let of = labels.entry(post).or_default();
        if kind == "category" { of.0.push(name) } else { of.1.push(name) }
    }
    let mut query = conn.prepare_cached(
        "SELECT id, path, title, at, author, html, text, series, number, note FROM post ORDER BY at DESC, id DESC",
    )?;
    let rows = query.query_map([], |r| {
        let text: String = r.get(6)?;
        let series: Option<String> = r.get(7)?;
        Ok(Post {
            id: r.get(0)?,
            path: r.get(1)?,
            title: r.get(2)?,
            at: r.get::<_, i64>(3)? as u64,
            author: r.get(4)?,
            text: if r.get(5)? { Body::Html(text) } else { Body::Markdown(text) },
            series: series.zip(r.get::<_, Option<u32>>(8)?),
            note: r.get(9)?,
            ..Post::default()
        })
    })?;
    let mut out: Vec<Post> = rows.collect::<Result<_, _>>()?;
    for p in &mut out {
        (p.categories, p.tags) = labels.remove(&p.id).unwrap_or_default();
        p.updates = updates(conn, "post", p.id)?;
    }
    Ok(out)
}
