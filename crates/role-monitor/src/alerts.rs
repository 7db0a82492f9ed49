//! From findings to messages: one alert per cause, reminders with back-off, escalation, silence
//! windows, acknowledgement. [`watch::alert`] judges; here its verdicts become rows.

use std::collections::BTreeMap;

use stdx::{Now, Span};
use store::rusqlite::Connection;
use store::{Batch, StoreError};
use watch::alert::{self, Alert, Tell};
use watch::cause::Cause;

use crate::channel::Channel;

/// Alerts that are open at the same time; what is above waits until one has ended.
const OPEN_MAX: usize = 200;
/// A cause that comes back within this time is the same alert.
const BACK_WITHIN: Span = Span::mins(5);
/// Alerts that are over are kept so long.
const KEPT: Span = Span::days(365);
/// A message that cannot be handed on is dropped after this time.
const DROPPED_AFTER: Span = Span::hours(12);

/// An alert with what is to be said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    pub alert: Alert,
    pub by: String,
    pub says: Vec<String>,
    /// Gone since, but not long enough to be over.
    pub gone: Option<Now>,
}

/// A window in which nobody is told of what fits its pattern (`ports.*`, `*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub pattern: String,
    pub until: Now,
    pub why: String,
}

impl Silence {
    pub fn covers(&self, cause: &str, now: Now) -> bool {
        if now >= self.until {
            return false;
        }
        match self.pattern.split_once('*') {
            Some((front, back)) => {
                cause.len() >= front.len() + back.len() && cause.starts_with(front) && cause.ends_with(back)
            }
            None => cause == self.pattern,
        }
    }
}

/// What is to be said on which channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    pub cause: String,
    pub began: Now,
    pub level: u32,
    pub public: bool,
    pub over: bool,
    pub title: String,
    pub text: String,
}

/// The desk of alerts: all that are open.
#[derive(Default)]
pub struct Alerts {
    pub open: BTreeMap<String, Open>,
    pub silences: Vec<Silence>,
    pub rule: alert::Rule,
    /// Causes that do not stand long enough yet, and since when they do.
    pub pending: BTreeMap<String, Now>,
}

impl Alerts {
    /// Takes the causes that stand now; returns what is to be said and the alerts that changed.
    pub fn step(&mut self, causes: &[Cause], now: Now) -> (Vec<Say>, Vec<Open>) {
        self.silences.retain(|s| s.until > now);
        self.begin(causes, now);
        let (mut says, mut changed, mut over) = (Vec::new(), Vec::new(), Vec::new());
        for (name, open) in &mut self.open {
            let stands = causes.iter().find(|c| c.name == *name);
            match stands {
                Some(cause) => {
                    open.gone = None;
                    open.says.clone_from(&cause.says);
                }
                None => {
                    let gone = *open.gone.get_or_insert(now);
                    if now.since(gone) >= BACK_WITHIN {
                        open.alert.ended = Some(gone);
                    }
                }
            }
            let silent = self.silences.iter().any(|s| s.covers(name, now));
            let tell = alert::judge(&open.alert, &self.rule, silent, now).decision;
            // Nothing new is said of what may be over already.
            if open.gone.is_none() || tell == Tell::Over {
                says.extend(told(open, tell, now));
            }
            if open.alert.ended.is_some() {
                over.push(name.clone());
            }
            changed.push(open.clone());
        }
        for name in over {
            self.open.remove(&name);
        }
        (says, changed)
    }

    fn begin(&mut self, causes: &[Cause], now: Now) {
        self.pending.retain(|name, _| causes.iter().any(|c| c.name == *name));
        for cause in causes {
            let since = *self.pending.entry(cause.name.clone()).or_insert(now);
            if now.since(since) < cause.hold {
                continue;
            }
            if self.open.contains_key(&cause.name) || self.open.len() >= OPEN_MAX {
                continue;
            }
            let alert = Alert {
                cause: cause.name.clone(),
                began: now,
                told: None,
                times: 0,
                acknowledged: None,
                ended: None,
                level: 0,
            };
            let open = Open { alert, by: String::new(), says: cause.says.clone(), gone: None };
            self.open.insert(cause.name.clone(), open);
        }
    }

    /// Someone has it. False if there is no such alert.
    pub fn acknowledge(&mut self, cause: &str, by: &str, now: Now) -> Option<Open> {
        let open = self.open.get_mut(cause)?;
        open.alert.acknowledged.get_or_insert(now);
        by.clone_into(&mut open.by);
        Some(open.clone())
    }
}

fn told(open: &mut Open, tell: Tell, now: Now) -> Option<Say> {
    let first = open.says.first().cloned().unwrap_or_default();
    let say = |level, public, over, title: String| Say {
        cause: open.alert.cause.clone(),
        began: open.alert.began,
        level,
        public,
        over,
        title,
        text: open.says.join("\n"),
    };
    let say = match tell {
        Tell::Nothing => return None,
        Tell::Over => say(open.alert.level.clamp(1, 2), false, true, format!("Over: {first}")),
        Tell::Contacts(level) if open.alert.times == 0 => say(level, false, false, first),
        Tell::Contacts(level) => {
            let since = now.since(open.alert.began);
            say(level, false, false, format!("For {since}: {first}"))
        }
        Tell::Public => say(2, true, false, format!("Nobody answers; told in public: {first}")),
    };
    open.alert.told = Some(now);
    open.alert.times += 1;
    open.alert.level = match tell {
        Tell::Public => 3,
        Tell::Contacts(level) => open.alert.level.max(level),
        _ => open.alert.level,
    };
    Some(say)
}

/// Writes alerts down.
pub fn save(batch: &Batch<'_>, all: &[Open]) -> Result<(), StoreError> {
    let mut put = batch.sql().prepare_cached(
        "INSERT INTO alert VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (cause, began) DO UPDATE SET told = ?3, times = ?4, acknowledged = ?5, by = ?6, ended = ?7, level = ?8, says = ?9",
    )?;
    let ms = |at: Option<Now>| at.map(|t| t.ms() as i64);
    for open in all {
        let a = &open.alert;
        put.execute((
            &a.cause,
            a.began.ms() as i64,
            ms(a.told),
            a.times,
            ms(a.acknowledged),
            &open.by,
            ms(a.ended),
            a.level,
            open.says.join("\n"),
        ))?;
    }
    Ok(())
}

/// Alerts that were open when we stopped.
pub fn load(conn: &Connection) -> Result<BTreeMap<String, Open>, StoreError> {
    list(conn, "WHERE ended IS NULL", OPEN_MAX)
        .map(|all| all.into_iter().map(|o| (o.alert.cause.clone(), o)).collect())
}

/// The newest alerts, over or not.
pub fn recent(conn: &Connection, limit: usize) -> Result<Vec<Open>, StoreError> {
    list(conn, "", limit)
}

fn list(conn: &Connection, which: &str, limit: usize) -> Result<Vec<Open>, StoreError> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT cause, began, told, times, acknowledged, by, ended, level, says FROM alert {which} ORDER BY began DESC LIMIT ?1"
    ))?;
    let rows = query.query_map([limit as i64], |r| {
        let at = |n: usize| r.get::<_, Option<i64>>(n).map(|t| t.map(|t| Now(t as u64)));
        let alert = Alert {
            cause: r.get(0)?,
            began: Now(r.get::<_, i64>(1)? as u64),
            told: at(2)?,
            times: r.get(3)?,
            acknowledged: at(4)?,
            ended: at(6)?,
            level: r.get(7)?,
        };
        let says: String = r.get(8)?;
        Ok(Open { alert, by: r.get(5)?, says: says.lines().map(str::to_owned).collect(), gone: None })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts what is to be said into the out-tray, one row per channel. `ack` makes the address where
/// people say "I have it".
pub fn post(
    batch: &Batch<'_>,
    says: &[Say],
    channels: &[Channel],
    ack: &dyn Fn(&Say) -> String,
    now: Now,
) -> Result<(), StoreError> {
    let mut put = batch.sql().prepare_cached(
        "INSERT INTO notice (channel, title, text, ack, over, due, made) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?;
    for say in says {
        let address = if say.over { String::new() } else { ack(say) };
        for channel in channels.iter().filter(|c| c.level <= say.level) {
            put.execute((&channel.name, &say.title, &say.text, &address, say.over, now.ms() as i64))?;
        }
    }
    Ok(())
}

/// A message that waits to be handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub id: i64,
    pub channel: String,
    pub title: String,
    pub text: String,
    pub ack: String,
    pub over: bool,
    pub tries: u32,
}

pub fn due(conn: &Connection, now: Now, limit: usize) -> Result<Vec<Notice>, StoreError> {
    let mut query = conn.prepare_cached(
        "SELECT id, channel, title, text, ack, over, tries FROM notice WHERE due <= ?1 ORDER BY id LIMIT ?2",
    )?;
    let rows = query.query_map((now.ms() as i64, limit as i64), |r| {
        Ok(Notice {
            id: r.get(0)?,
            channel: r.get(1)?,
            title: r.get(2)?,
            text: r.get(3)?,
            ack: r.get(4)?,
            over: r.get(5)?,
            tries: r.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How a message went: gone, or to be tried again, later and later.
pub fn went(batch: &Batch<'_>, notice: &Notice, well: bool, now: Now) -> Result<(), StoreError> {
    if well {
        batch.sql().prepare_cached("DELETE FROM notice WHERE id = ?1")?.execute([notice.id])?;
        return Ok(());
    }
    let wait = Span::secs(15 << notice.tries.min(6));
    batch
        .sql()
        .prepare_cached("UPDATE notice SET tries = tries + 1, due = ?2 WHERE id = ?1")?
        .execute((notice.id, (now + wait).ms() as i64))?;
    Ok(())
}

pub fn tidy(batch: &Batch<'_>, now: Now) -> Result<(), StoreError> {
    batch.sql().execute("DELETE FROM notice WHERE made < ?1", [(now - DROPPED_AFTER).ms() as i64])?;
    batch.sql().execute("DELETE FROM alert WHERE ended < ?1", [(now - KEPT).ms() as i64])?;
    batch.sql().execute("DELETE FROM silence WHERE until < ?1", [now.ms() as i64])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(name: &str) -> Cause {
        Cause { name: name.into(), since: Now(0), hold: Span::ZERO, says: vec![format!("{name} is red")] }
    }

    fn at(mins: u64) -> Now {
        Now::from_secs(mins * 60)
    }

    #[test]
    fn a_cause_is_told_once_reminded_escalated_and_ended() {
        let mut alerts = Alerts::default();
        let mut heard = Vec::new();
        for minute in 0..60 {
            for say in alerts.step(&[cause("disk")], at(minute)).0 {
                heard.push((minute, say.level, say.public));
            }
        }
        assert_eq!(heard[..3], [(0, 1, false), (15, 2, false), (30, 2, true)]);
        assert!(heard.len() <= 4, "{heard:?}");
        let says: Vec<Say> = (60..70).flat_map(|m| alerts.step(&[], at(m)).0).collect();
        assert!(says.len() == 1 && says[0].over, "{says:?}");
        assert!(alerts.open.is_empty());
    }

    #[test]
    fn who_has_it_is_not_reminded_and_what_flaps_is_one_alert() {
        let mut alerts = Alerts::default();
        assert_eq!(alerts.step(&[cause("x")], at(0)).0.len(), 1);
        assert!(alerts.acknowledge("x", "Ann", at(1)).is_some_and(|o| o.by == "Ann"));
        assert!(alerts.acknowledge("y", "Ann", at(1)).is_none());
        for minute in 1..200 {
            let stands = minute % 3 != 0;
            let causes: Vec<Cause> = stands.then(|| cause("x")).into_iter().collect();
            assert_eq!(alerts.step(&causes, at(minute)).0, [], "minute {minute}");
        }
    }

    #[test]
    fn nobody_is_told_in_a_silence_window_that_fits() {
        let silence = Silence { pattern: "ports.*".into(), until: at(10), why: "work".into() };
        assert!(silence.covers("ports.mx", at(1)) && !silence.covers("receiving.mx", at(1)));
        assert!(!silence.covers("ports.mx", at(10)));
        let mut alerts = Alerts { silences: vec![silence], ..Alerts::default() };
        assert_eq!(alerts.step(&[cause("ports.mx")], at(1)).0, []);
        assert_eq!(
            alerts.step(&[cause("ports.mx")], at(10)).0.len(),
            1,
            "it still stands when the window ends"
        );
    }
}
