//! What leaves and enters a point besides probes: tries and sums into the store, parcels to and
//! from other hosts, messages to people.

use std::collections::BTreeMap;

use link::{Fact, OpenError, Parcel};
use ring::hmac;
use stdx::{Bytes, Now, Span};
use store::StoreError;
use watch::forecast::Fill;
use web::{Ask, Url};

use crate::Monitor;
use crate::alerts::{self, Notice, Open, Silence};
use crate::book::{Day, Last, Page, Written, unpack};
use crate::channel::{self, Channel, Message};
use crate::said::Host;

/// Parcels leave this often.
const TALK: Span = Span::secs(10);
/// Facts in one parcel, so that it stays far below the limit of octets.
const PARCEL_FACTS_MAX: usize = 1500;
/// How often the out-tray is looked at when nobody rings.
const TRAY: Span = Span::secs(5);
const TRAY_AT_ONCE: usize = 50;
/// Rows forgotten at a time.
const PURGE_STEP: i64 = 2000;

/// What became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Facts(usize),
    Again,
    Refused(OpenError),
}

impl Monitor {
    /// Takes up what stood in the store.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        let now = self.now();
        let (day, hour) = ((now.secs() / 86_400) as i64, (now.secs() / 3600) as i64);
        let (open, silences, days, hours, fills, tests) = self
            .store()
            .read(move |conn| {
                let mut query = conn.prepare("SELECT pattern, until, why FROM silence")?;
                let silences = query.query_map([], |r| {
                    Ok(Silence { pattern: r.get(0)?, until: Now(r.get::<_, i64>(1)? as u64), why: r.get(2)? })
                })?;
                let silences = silences.collect::<Result<Vec<_>, _>>()?;
                let mut query = conn.prepare(
                    "SELECT target, good, slow, failed, unsure, ms_sum, ms_max FROM day WHERE day = ?1",
                )?;
                let days = query.query_map([day], |r| Ok((r.get::<_, String>(0)?, sums(r, 1)?)))?;
                let days = days.collect::<Result<BTreeMap<_, _>, _>>()?;
                let mut query = conn.prepare("SELECT target, tries FROM hour WHERE hour = ?1")?;
                let hours =
                    query.query_map([hour], |r| Ok((r.get::<_, String>(0)?, r.get::<_, Vec<u8>>(1)?)))?;
                let hours = hours.collect::<Result<BTreeMap<_, _>, _>>()?;
                let mut query = conn.prepare("SELECT host, area, at, used, size FROM fill ORDER BY at")?;
                let fills = query.query_map([], |r| {
                    let fill = Fill {
                        at: Now(r.get::<_, i64>(2)? as u64),
                        used: Bytes(r.get::<_, i64>(3)? as u64),
                        size: Bytes(r.get::<_, i64>(4)? as u64),
                    };
                    Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, fill))
                })?;
                let fills = fills.collect::<Result<Vec<_>, _>>()?;
                Ok((alerts::load(conn)?, silences, days, hours, fills, tests(conn)?))
            })
            .await?;
        let settings = self.settings();
        let mut state = self.state();
        (state.alerts.open, state.alerts.silences, state.tests) = (open, silences, tests);
        for target in &settings.targets {
            let mut page = Page::new(target.clone(), now);
            let sums = days.get(&target.id).copied().unwrap_or_default();
            page.resume(day as u64, sums, hour as u64, hours.get(&target.id).cloned().unwrap_or_default());
            state.pages.insert(target.id.clone(), page);
        }
        for (host, area, fill) in fills {
            state.hosts.entry(host).or_insert_with(|| Host::new(now)).fill(&area, fill);
        }
        Ok(())
    }

    /// Writes down what is new: a few rows per probe.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let now = self.now();
        self.flushed(now);
        let (written, fills): (Vec<Written>, Vec<(String, String, Fill)>) = {
            let mut state = self.state();
            let written = state.pages.values_mut().filter_map(Page::write).collect();
            let hosts = state.hosts.iter();
            let fills = hosts.flat_map(|(name, host)| {
                host.forecasts(now).into_iter().map(|(area, fill, _, _)| (name.clone(), area, fill))
            });
            (written, fills.collect())
        };
        self.write(written).await?;
        let raw_for = self.settings().raw_for;
        self.store()
            .commit(Vec::new(), move |b| {
                let mut put = b.sql().prepare_cached("INSERT OR IGNORE INTO fill VALUES (?1, ?2, ?3, ?4, ?5)")?;
                for (host, area, fill) in &fills {
                    put.execute((host, area, fill.at.ms() as i64, fill.used.get() as i64, fill.size.get() as i64))?;
                }
                b.sql().execute("DELETE FROM fill WHERE at < ?1", [(now - Span::days(8)).ms() as i64])?;
                b.sql().execute(
                    "DELETE FROM hour WHERE (target, hour) IN (SELECT target, hour FROM hour WHERE hour < ?1 ORDER BY hour LIMIT ?2)",
                    (((now - raw_for).secs() / 3600) as i64, PURGE_STEP),
                )?;
                alerts::tidy(b, now)
            })
            .await
    }

    pub(crate) async fn write(&self, written: Vec<Written>) -> Result<(), StoreError> {
        if written.is_empty() {
            return Ok(());
        }
        self.store()
            .commit(Vec::new(), move |b| {
                let mut hour = b.sql().prepare_cached(
                    "INSERT INTO hour VALUES (?1, ?2, ?3) ON CONFLICT (target, hour) DO UPDATE SET tries = ?3",
                )?;
                let mut day = b.sql().prepare_cached(
                    "INSERT INTO day VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (target, day) DO UPDATE SET
                     good = ?3, slow = ?4, failed = ?5, unsure = ?6, ms_sum = ?7, ms_max = ?8",
                )?;
                for w in &written {
                    hour.execute((&w.target, w.hour as i64, &w.tries))?;
                    let s = &w.sums;
                    let n = |v: u64| v as i64;
                    day.execute((&w.target, n(w.day), n(s.good), n(s.slow), n(s.failed), n(s.unsure), n(s.ms_sum), n(s.ms_max)))?;
                }
                Ok(())
            })
            .await
    }

    /// The days of a probe, newest first, and the tries of its last hours.
    pub async fn history(&self, id: &str, days: usize) -> Result<History, StoreError> {
        self.flush().await?;
        let id = id.to_owned();
        self.store()
            .read(move |conn| {
                let mut query = conn.prepare(
                    "SELECT day, good, slow, failed, unsure, ms_sum, ms_max FROM day WHERE target = ?1 ORDER BY day DESC LIMIT ?2",
                )?;
                let rows = query.query_map((&id, days as i64), |r| Ok((r.get::<_, i64>(0)? as u64, sums(r, 1)?)))?;
                let days = rows.collect::<Result<Vec<_>, _>>()?;
                let mut query = conn.prepare("SELECT hour, tries FROM hour WHERE target = ?1 ORDER BY hour DESC LIMIT 2")?;
                let rows = query.query_map([&id], |r| Ok((r.get::<_, i64>(0)? as u64, r.get::<_, Vec<u8>>(1)?)))?;
                let mut tries = Vec::new();
                for row in rows {
                    let (hour, bytes) = row?;
                    tries.extend(unpack(hour, &bytes));
                }
                tries.sort_by_key(|(at, _, _)| *at);
                Ok(History { days, tries })
            })
            .await
    }

    /// Opens a parcel, once, and takes its facts.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn take(&self, bytes: &[u8]) -> Result<Taken, StoreError> {
        let (now, settings) = (self.now(), self.settings());
        let mut peers: Vec<link::Peer> = settings.peers.iter().map(|(p, _)| p.clone()).collect();
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
        let parcel = match link::open(bytes, &peers, now) {
            Ok(parcel) => parcel,
            Err(OpenError::Again { .. }) => return Ok(Taken::Again),
            Err(why) => return Ok(Taken::Refused(why)),
        };
        let (name, serial) = (parcel.from.clone(), parcel.serial as i64);
        let fresh = self
            .store()
            .commit(Vec::new(), move |b| {
                // Asked again inside the commit: two copies may be on their way at once.
                Ok(b.sql().execute(
                    "INSERT INTO peer VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET last = ?2, heard = ?3 WHERE last < ?2",
                    (&name, serial, now.ms() as i64),
                )? == 1)
            })
            .await?;
        if !fresh {
            return Ok(Taken::Again);
        }
        let count = parcel.facts.len();
        self.hear(&parcel.from, &parcel.facts);
        Ok(Taken::Facts(count))
    }

    /// Takes facts of a host.
    pub fn hear(&self, from: &str, facts: &[Fact]) {
        let (now, settings) = (self.now(), self.settings());
        let mut state = self.state();
        for fact in facts {
            match fact {
                Fact::Probe { at, probe, point, region, look, ms, says, .. } if *point != settings.point => {
                    let Some(page) = state.pages.get_mut(probe) else { continue };
                    // A clock that runs ahead must not outvote later tries.
                    let at = Now(*at).min(now);
                    let last = Last { at, look: *look, ms: *ms, says: says.clone(), topic: String::new() };
                    // Another point keeps its own hours and days.
                    let _ = page.note(point, region, last, false);
                }
                Fact::Probe { .. } => {}
                fact => {
                    state.hosts.entry(from.to_owned()).or_insert_with(|| Host::new(now)).take(fact, now);
                }
            }
        }
        if facts.iter().any(|f| matches!(f, Fact::Heartbeat { .. })) {
            let now_heard = state.hosts.entry(from.to_owned()).or_insert_with(|| Host::new(now));
            now_heard.heard = Some(now);
        }
    }

    pub(crate) async fn talk(self, stop: drive::Stop) {
        loop {
            let next = self.now() + TALK;
            let peers: Vec<(String, Url)> = {
                let settings = self.settings();
                settings.peers.iter().filter_map(|(p, url)| Some((p.name.clone(), url.clone()?))).collect()
            };
            for (name, url) in peers {
                if let Err(why) = self.tell(&name, url).await {
                    tracing::debug!(peer = %name, "a parcel was not taken: {why}");
                }
            }
            if drive::until_stop(&stop, self.kit().world.clock.sleep_until(next)).await.is_none() {
                return;
            }
        }
    }

    /// One parcel to a peer: that we live, and what we saw. What is not taken stays.
    pub async fn tell(&self, name: &str, url: Url) -> Result<(), String> {
        let now = self.now();
        let (facts, rest) = {
            let mut state = self.state();
            let began = state.began;
            let mut facts = vec![Fact::Heartbeat {
                at: now.ms(),
                version: env!("CARGO_PKG_VERSION").into(),
                started: began.ms(),
            }];
            let waiting = state.waiting.get_mut(name);
            let taken: Vec<Fact> = waiting
                .map(|w| std::iter::from_fn(|| w.pop()).take(PARCEL_FACTS_MAX).collect())
                .unwrap_or_default();
            facts.extend(taken.iter().cloned());
            (facts, taken)
        };
        // The time as serial number needs no memory and never goes back.
        let parcel = Parcel { from: self.settings().name.clone(), serial: now.ms(), at: now, facts };
        let sealed = link::seal(&parcel, &self.0.key);
        let url = Url { path: format!("{}link", url.path), ..url };
        let ask = Ask::post(url, "application/octet-stream", sealed);
        let failed = match web::fetch(&self.kit().world, &self.kit().roots, &ask).await {
            Ok(got) if got.is_success() => {
                self.state().answered.insert(name.to_owned(), now);
                return Ok(());
            }
            Ok(got) => format!("HTTP {}: {}", got.status, got.text().trim()),
            Err(why) => why.says,
        };
        // Back to the front; if too many came meanwhile, the oldest are lost.
        let mut state = self.state();
        if let Some(waiting) = state.waiting.get_mut(name) {
            let later: Vec<Fact> = std::iter::from_fn(|| waiting.pop()).collect();
            for fact in rest.into_iter().chain(later) {
                waiting.push(fact);
            }
        }
        Err(failed)
    }

    /// Hands messages to channels until the server stops.
    pub(crate) async fn carry(self, stop: drive::Stop) {
        loop {
            let next = self.now() + TRAY;
            if let Err(e) = self.carry_once().await {
                tracing::error!(error = %e, "the out-tray cannot be read");
            }
            let wait = drive::first(self.0.tray.notified(), self.kit().world.clock.sleep_until(next));
            if drive::until_stop(&stop, wait).await.is_none() {
                return;
            }
        }
    }

    /// One round of the out-tray. A channel that hangs holds up no other.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn carry_once(&self) -> Result<(), StoreError> {
        let now = self.now();
        let due = self.store().read(move |conn| alerts::due(conn, now, TRAY_AT_ONCE)).await?;
        let mut by_channel: BTreeMap<String, Vec<Notice>> = BTreeMap::new();
        for notice in due {
            by_channel.entry(notice.channel.clone()).or_default().push(notice);
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (name, notices) in by_channel {
            tasks.spawn(self.clone().carry_by(name, notices));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    async fn carry_by(self, name: String, notices: Vec<Notice>) {
        let settings = self.settings();
        let channel: Option<&Channel> = settings.channels.iter().find(|c| c.name == name);
        for notice in notices {
            let now = self.now();
            let message = Message {
                id: notice.id,
                title: notice.title.clone(),
                text: notice.text.clone(),
                ack: notice.ack.clone(),
                over: notice.over,
                now,
            };
            let well = match channel {
                Some(channel) => match channel::say(self.kit(), channel, &message).await {
                    Ok(()) => true,
                    Err(why) => {
                        tracing::warn!(channel = %name, tries = notice.tries, "an alert was not taken: {why}");
                        false
                    }
                },
                // The channel is gone from the configuration.
                None => true,
            };
            *self.state().notices.entry((name.clone(), well)).or_default() += 1;
            let now = self.now();
            let done = self.store().commit(Vec::new(), move |b| alerts::went(b, &notice, well, now)).await;
            if let Err(e) = done {
                tracing::error!(error = %e, "a message may be said twice");
            }
        }
    }

    /// Tries every channel with a message that a person is to answer (M32).
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn test_channels(&self) -> Result<usize, StoreError> {
        let (settings, now, monitor) = (self.settings(), self.now(), self.clone());
        let count = settings.channels.len();
        {
            let mut state = self.state();
            state.tests = settings.channels.iter().map(|c| (c.name.clone(), (now, None))).collect();
        }
        self.store()
            .commit(Vec::new(), move |b| {
                for c in &settings.channels {
                    let ack = monitor.ack_address(&format!("test.{}", c.name), Now(0));
                    let text = format!("This is the test of the channel {}. Nothing has happened.", c.name);
                    b.sql().execute(
                        "INSERT INTO notice (channel, title, text, ack, over, due, made) VALUES (?1, 'Test', ?2, ?3, 0, ?4, ?4)",
                        (&c.name, text, ack, now.ms() as i64),
                    )?;
                    b.sql().execute(
                        "INSERT INTO test VALUES (?1, ?2, NULL) ON CONFLICT (channel) DO UPDATE SET sent = ?2, acknowledged = NULL",
                        (&c.name, now.ms() as i64),
                    )?;
                }
                Ok(())
            })
            .await?;
        self.0.tray.notify_one();
        Ok(count)
    }

    /// The address where a person says "I have it"; empty if our pages have none.
    pub fn ack_address(&self, cause: &str, began: Now) -> String {
        let Some(url) = &self.settings().url else { return String::new() };
        let path = format!(
            "{}ack/{}/{}/{}",
            url.path,
            crate::probe::encoded(cause),
            began.ms(),
            self.proof(cause, began)
        );
        Url { path, ..url.clone() }.to_string()
    }

    pub(crate) fn proof(&self, cause: &str, began: Now) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.secret.reveal());
        let tag = hmac::sign(&key, format!("{} {cause}", began.ms()).as_bytes());
        tag.as_ref().iter().take(16).map(|b| format!("{b:02x}")).collect()
    }

    /// Someone has it. False: there is no such alert.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn acknowledge(&self, cause: &str, by: &str) -> Result<bool, StoreError> {
        let now = self.now();
        if let Some(channel) = cause.strip_prefix("test.") {
            let channel = channel.to_owned();
            if let Some((_, answered)) = self.state().tests.get_mut(&channel) {
                answered.get_or_insert(now);
            }
            let sql = "UPDATE test SET acknowledged = ?2 WHERE channel = ?1";
            let n = self
                .store()
                .commit(Vec::new(), move |b| Ok(b.sql().execute(sql, (&channel, now.ms() as i64))?));
            return Ok(n.await? == 1);
        }
        let Some(open) = self.state().alerts.acknowledge(cause, by, now) else { return Ok(false) };
        self.store().commit(Vec::new(), move |b| alerts::save(b, &[open])).await?;
        Ok(true)
    }

    /// Nobody is told of what fits the pattern until then. `None` ends the silence.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn silence(&self, pattern: &str, until: Option<Now>, why: &str) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            state.alerts.silences.retain(|s| s.pattern != pattern);
            if let Some(until) = until {
                state.alerts.silences.push(Silence { pattern: pattern.into(), until, why: why.into() });
            }
        }
        let (pattern, why) = (pattern.to_owned(), why.to_owned());
        self.store()
            .commit(Vec::new(), move |b| {
                b.sql().execute("DELETE FROM silence WHERE pattern = ?1", [&pattern])?;
                if let Some(until) = until {
                    b.sql().execute(
                        "INSERT INTO silence VALUES (?1, ?2, ?3)",
                        (&pattern, until.ms() as i64, &why),
                    )?;
                }
                Ok(())
            })
            .await
    }

    /// Alerts, the newest first.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn alerts(&self, limit: usize) -> Result<Vec<Open>, StoreError> {
        self.store().read(move |conn| alerts::recent(conn, limit)).await
    }
}

type Tests = BTreeMap<String, (Now, Option<Now>)>;

fn tests(conn: &store::rusqlite::Connection) -> Result<Tests, StoreError> {
    let mut query = conn.prepare("SELECT channel, sent, acknowledged FROM test")?;
    let rows = query.query_map([], |r| {
        let answered = r.get::<_, Option<i64>>(2)?.map(|t| Now(t as u64));
        Ok((r.get::<_, String>(0)?, (Now(r.get::<_, i64>(1)? as u64), answered)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A probe's past.
pub struct History {
    pub days: Vec<(u64, Day)>,
    pub tries: Vec<(Now, link::Look, u64)>,
}

fn sums(row: &store::rusqlite::Row<'_>, from: usize) -> Result<Day, store::rusqlite::Error> {
    let n = |i: usize| row.get::<_, i64>(from + i).map(|v| v as u64);
    Ok(Day { good: n(0)?, slow: n(1)?, failed: n(2)?, unsure: n(3)?, ms_sum: n(4)?, ms_max: n(5)? })
}
