//! What outcomes taught: a value that survives a restart row by row.
//!
//! A [`Lane`] is one egress towards one group: its mood, what each destination last said, how
//! many sessions it bears. Beside lanes stand MX hosts with the lists they have cited, relays,
//! refused sender domains, lists and pins. Times are milliseconds, because the state is stored.
//! Begin with [`State`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stdx::{Now, Span};

use crate::dossier::Dossier;
use crate::group::Banners;
use crate::preflight::Standing;
use crate::settings::Settings;

/// Destinations remembered per lane; the least telling goes first.
pub const MARKS_MAX: usize = 128;
/// Groups and hosts remembered; the least recently used of the quiet ones goes first.
pub const GROUPS_MAX: usize = 50_000;
/// Lists remembered, and lists that one host has cited: replies are free to name any.
pub const LISTS_MAX: usize = 1000;
pub const CITES_MAX: usize = 16;
/// Verbatim replies kept with a block.
pub const EVIDENCE_MAX: usize = 12;
/// Longest reply kept, in characters.
pub const REPLY_MAX: usize = 600;
/// A destination that changed its mind so often within [`FLAKY_FOR`] is no evidence.
pub const FLAKY_DROPS: u8 = 2;
pub const FLAKY_FOR: Span = Span::hours(2);

pub(crate) type Ms = u64;

/// Everything learned.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) relays: BTreeMap<String, Relay>,
    /// egress → sender domain → refusal.
    pub(crate) senders: BTreeMap<String, BTreeMap<String, Unverified>>,
    pub(crate) lists: BTreeMap<String, List>,
    pub(crate) preflights: BTreeMap<String, Standing>,
    pub(crate) dossiers: BTreeMap<String, Dossier>,
    pub(crate) colours: BTreeMap<String, crate::snds::Mood>,
    pub(crate) pins: Vec<Pin>,
    pub banners: Banners,
    pub(crate) dirty: BTreeSet<String>,
    pub(crate) alerts: BTreeMap<String, Ms>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Group {
    pub lanes: BTreeMap<String, Lane>,
    pub touched: Ms,
}

impl Group {
    /// Of the other egresses that are open here, the one that was used last, and when.
    pub fn beside(&self, egress: &str) -> Option<(&str, Ms)> {
        let open = self.lanes.iter().filter(|(n, l)| *n != egress && matches!(l.mood, Mood::Open));
        open.filter(|(_, l)| l.score.at > 0)
            .max_by_key(|(_, l)| l.score.at)
            .map(|(n, l)| (n.as_str(), l.score.at))
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lane {
    pub mood: Mood,
    pub marks: BTreeMap<String, Mark>,
    /// Marks older than this are void: the group came back since.
    pub void_before: Ms,
    /// Sessions it bears now; 0 for "not proven".
    pub slots: u16,
    pub paused_until: Ms,
    pub pauses: u8,
    pub day: u64,
    pub day_count: u32,
    pub day_cap: Option<u32>,
    pub score: Score,
    pub silent: u8,
    pub silent_at: Ms,
    #[serde(skip)]
    pub flying: u16,
    #[serde(skip)]
    pub flying_to: BTreeMap<String, u16>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) enum Mood {
    #[default]
    Open,
    Blocked(Block),
    Returning(Return),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Block {
    pub since: Ms,
    pub next_probe: Ms,
    pub probes: u32,
    pub false_returns: u8,
    pub evidence: Vec<Evidence>,
    /// When a relay last said that it is refused there; 0 if the block was felt here.
    #[serde(default)]
    pub afar: Ms,
}

impl Block {
    /// Whether it stands by the word of a relay, whose 250 then proves nothing.
    pub fn is_told(&self, now: Now) -> bool {
        self.afar > 0 && now.since(Now(self.afar)) < crate::afar::STANDS
    }
}

/// Shares of a return, in percent, after the confirming step 0.
pub(crate) const STEPS: [u8; 4] = [0, 10, 25, 50];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Return {
    pub since: Ms,
    pub step: u8,
    pub step_since: Ms,
    pub sent: u32,
    pub taken: u32,
    pub refused: BTreeSet<String>,
    /// The destination whose acceptance began the return.
    pub by: String,
    pub block: Block,
}

/// One verbatim refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub at: u64,
    pub domain: String,
    pub host: String,
    pub reply: String,
    pub rule: String,
}

/// What one destination domain last said on one lane.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub ok: Ms,
    pub refused: Ms,
    /// Start of the present run of refusals.
    pub first_refused: Ms,
    pub next_probe: Ms,
    pub refusals: u16,
    pub drops: u8,
    pub dropped_at: Ms,
    pub flaky_until: Ms,
    /// A private list or a tenant's own: says nothing about the group.
    pub own: bool,
    pub list: Option<String>,
    pub reply: String,
}

impl Mark {
    pub fn is_refused(&self) -> bool {
        self.refused > self.ok
    }
    pub fn is_flaky(&self, now: Now) -> bool {
        self.flaky_until > now.0 || (self.drops >= FLAKY_DROPS && now.since(Now(self.dropped_at)) < FLAKY_FOR)
    }
}

/// Successes and refusals that fade with a half-life of an hour; for show and for ties.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Score {
    pub good: f32,
    pub bad: f32,
    pub at: Ms,
}

impl Score {
    pub fn add(&mut self, good: f32, bad: f32, now: Now) {
        let hours = now.since(Now(self.at)).0 as f32 / 3_600_000.0;
        let fade = if self.at == 0 { 0.0 } else { 0.5f32.powf(hours) };
        *self = Score { good: self.good * fade + good, bad: self.bad * fade + bad, at: now.0 };
    }
    /// 0 to 1; a lane nothing is known of stands at one half.
    pub fn value(&self) -> f32 {
        (self.good + 1.0) / (self.good + self.bad + 2.0)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Host {
    /// List → when this host last cited it.
    pub cites: BTreeMap<String, Ms>,
    /// Per egress: which domains behind it refused since it last accepted.
    pub lanes: BTreeMap<String, HostLane>,
    pub touched: Ms,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct HostLane {
    pub refused: BTreeMap<String, Ms>,
    pub ok: Ms,
    pub next_probe: Ms,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Relay {
    pub failures: u32,
    pub out_until: Ms,
    pub reply: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Unverified {
    pub since: Ms,
    pub until: Ms,
    pub reply: String,
}

/// One block list as we know it, per egress.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct List {
    pub egresses: BTreeMap<String, Listing>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// The monitor's last word, if it can ask the list.
    pub listed: Option<bool>,
    pub said_at: Ms,
    pub cleared_at: Ms,
    /// When the list, proved alive, last did not name us, or named the whole world.
    #[serde(default)]
    pub denied_at: Ms,
    /// Host → when it cited the list against this egress.
    pub cited_by: BTreeMap<String, Ms>,
}

/// A hand override.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub scope: PinScope,
    pub egress: String,
    pub until: Option<u64>,
    pub by: String,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinScope {
    Group(String),
    Domain(String),
    Host(String),
}

impl State {
    pub fn new() -> State {
        State::default()
    }

    pub(crate) fn lane(&self, group: &str, egress: &str) -> Option<&Lane> {
        self.groups.get(group)?.lanes.get(egress)
    }

    /// The order that keeps a group's mail from going back to an egress: a pin to the egress that
    /// carried it last in its place.
    pub(crate) fn keep_away(&self, group: &str, egress: &str) -> String {
        self.groups.get(group).and_then(|g| g.beside(egress)).map_or_else(
            || format!("nothing to undo: no egress but {egress} has carried mail of {group}"),
            |(other, _)| format!("postroad route pin group:{group} {other}"),
        )
    }

    pub(crate) fn lane_mut(&mut self, group: &str, egress: &str, now: Now) -> &mut Lane {
        if !self.groups.contains_key(group) && self.groups.len() >= GROUPS_MAX {
            self.forget_one_group();
        }
        let entry = self.groups.entry(group.to_owned()).or_default();
        entry.touched = now.0;
        entry.lanes.entry(egress.to_owned()).or_default()
    }

    fn forget_one_group(&mut self) {
        let quiet = |g: &Group| g.lanes.values().all(|l| matches!(l.mood, Mood::Open) && l.flying == 0);
        let oldest = self.groups.iter().filter(|(_, g)| quiet(g)).min_by_key(|(_, g)| g.touched);
        if let Some(name) = oldest.map(|(n, _)| n.clone()) {
            self.groups.remove(&name);
            self.dirty.insert(format!("g/{name}"));
        }
    }

    /// Makes room for a list that is not known yet: the one of which nothing was heard for longest goes.
    pub(crate) fn room_for_list(&mut self, list: &str) {
        if self.lists.contains_key(list) || self.lists.len() < LISTS_MAX {
            return;
        }
        let heard = |known: &List| {
            let of = |l: &Listing| l.cited_by.values().copied().max().unwrap_or(0).max(l.said_at);
            known.egresses.values().map(of).max()
        };
        let oldest = self.lists.iter().min_by_key(|(_, known)| heard(known)).map(|(name, _)| name.clone());
        if let Some(name) = oldest {
            self.lists.remove(&name);
            self.dirty.insert(format!("l/{name}"));
        }
    }

    pub(crate) fn host_mut(&mut self, host: &str, now: Now) -> &mut Host {
        if !self.hosts.contains_key(host) && self.hosts.len() >= GROUPS_MAX {
            let oldest = self.hosts.iter().min_by_key(|(_, h)| h.touched).map(|(n, _)| n.clone());
            if let Some(name) = oldest {
                self.hosts.remove(&name);
                self.dirty.insert(format!("h/{name}"));
            }
        }
        let entry = self.hosts.entry(host.to_owned()).or_default();
        entry.touched = now.0;
        entry
    }

    /// The pin that holds for this destination now, the narrowest first.
    pub fn pin_for(&self, group: &str, domain: &str, hosts: &[String], now: Now) -> Option<&Pin> {
        let live = |p: &&Pin| p.until.is_none_or(|u| u > now.0);
        let rank = |p: &Pin| match &p.scope {
            PinScope::Domain(d) if d == domain => Some(0),
            PinScope::Host(h) if hosts.iter().any(|x| x == h) => Some(1),
            PinScope::Group(g) if g == group => Some(2),
            _ => None,
        };
        self.pins
            .iter()
            .filter(live)
            .filter_map(|p| rank(p).map(|r| (r, p)))
            .min_by_key(|(r, _)| *r)
            .map(|(_, p)| p)
    }

    /// Sets or replaces a pin of the same scope.
    pub fn pin(&mut self, pin: Pin) {
        self.pins.retain(|p| p.scope != pin.scope);
        self.pins.push(pin);
        self.dirty.insert("pins".into());
    }

    /// Takes a pin away, if there was one.
    pub fn unpin(&mut self, scope: &PinScope) -> Option<Pin> {
        let at = self.pins.iter().position(|p| p.scope == *scope)?;
        self.dirty.insert("pins".into());
        Some(self.pins.remove(at))
    }

    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Forgets what was learned about a group on one egress: the undo of a move.
    pub fn reopen(&mut self, group: &str, egress: &str, now: Now) -> bool {
        let Some(lane) = self.groups.get_mut(group).and_then(|g| g.lanes.get_mut(egress)) else {
            return false;
        };
        lane.mood = Mood::Open;
        lane.void_before = now.0;
        self.dirty.insert(format!("g/{group}"));
        true
    }

    /// Whether an alert of this key is due (first time, or again after `every`); notes that it
    /// was raised.
    pub fn alert_due(&mut self, key: &str, every: Span, now: Now) -> bool {
        let due = self.alerts.get(key).is_none_or(|at| now.since(Now(*at)) >= every);
        if due {
            self.alerts.retain(|_, at| now.since(Now(*at)) < Span::days(7));
            self.alerts.insert(key.to_owned(), now.0);
        }
        due
    }

    /// Whether [`State::take_changes`] would find something.
    pub fn has_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Rows that changed since the last call, `None` for a row that is to be deleted.
    pub fn take_changes(&mut self) -> Vec<(String, Option<String>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|key| (key.clone(), self.row(&key))).collect()
    }

    fn row(&self, key: &str) -> Option<String> {
        let (kind, name) = key.split_once('/').unwrap_or((key, ""));
        match kind {
            "g" => self.groups.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "h" => self.hosts.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "r" => self.relays.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "s" => self.senders.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "l" => self.lists.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "p" => self.preflights.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "d" => self.dossiers.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "c" => self.colours.get(name).and_then(|v| serde_json::to_string(v).ok()),
            "b" => self.banners.get(name).cloned(),
            _ => serde_json::to_string(&self.pins).ok(),
        }
    }

    /// From the rows of [`State::take_changes`]; rows that no longer read are left out and named.
    pub fn restore(rows: impl IntoIterator<Item = (String, String)>) -> (State, Vec<String>) {
        let (mut state, mut lost) = (State::default(), Vec::new());
        for (key, row) in rows {
            let (kind, name) = key.split_once('/').unwrap_or((&key, ""));
            let name = name.to_owned();
            let ok = match kind {
                "g" => serde_json::from_str(&row).map(|v| drop(state.groups.insert(name, v))),
                "h" => serde_json::from_str(&row).map(|v| drop(state.hosts.insert(name, v))),
                "r" => serde_json::from_str(&row).map(|v| drop(state.relays.insert(name, v))),
                "s" => serde_json::from_str(&row).map(|v| drop(state.senders.insert(name, v))),
                "l" => serde_json::from_str(&row).map(|v| drop(state.lists.insert(name, v))),
                "p" => serde_json::from_str(&row).map(|v| drop(state.preflights.insert(name, v))),
                "d" => serde_json::from_str(&row).map(|v| drop(state.dossiers.insert(name, v))),
                "c" => serde_json::from_str(&row).map(|v| drop(state.colours.insert(name, v))),
                "b" => {
                    state.banners.insert(name, row);
                    Ok(())
                }
                _ => serde_json::from_str(&row).map(|v| state.pins = v),
            };
            if ok.is_err() {
                lost.push(key);
            }
        }
        (state, lost)
    }

    /// A greeting taught something about this host (see [`crate::learn_banner`]).
    pub fn note_banner(&mut self, host: &str) {
        self.dirty.insert(format!("b/{host}"));
    }

    /// How many groups are known.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }
}

impl Lane {
    pub fn mark_mut(&mut self, domain: &str) -> &mut Mark {
        if !self.marks.contains_key(domain) && self.marks.len() >= MARKS_MAX {
            let least = self.marks.iter().min_by_key(|(_, m)| (m.is_refused(), m.ok.max(m.refused)));
            if let Some(name) = least.map(|(n, _)| n.clone()) {
                self.marks.remove(&name);
            }
        }
        self.marks.entry(domain.to_owned()).or_default()
    }

    pub fn slots_now(&self, settings: &Settings) -> u16 {
        if self.slots == 0 { settings.slots_first } else { self.slots }
    }

    /// Whether this refusal mark still holds.
    pub fn holds(&self, mark: &Mark) -> bool {
        mark.is_refused() && mark.refused > self.void_before
    }
}

/// Cuts a reply to what is kept.
pub(crate) fn cut(reply: &str) -> String {
    reply.chars().take(REPLY_MAX).collect()
}
