//! Measures of mail: what arrived, when, through which egress, and what did not.

use std::collections::{BTreeMap, BTreeSet};

use stdx::{Now, Span};

use super::Value;
use super::look::Look;

pub fn refused(look: &Look<'_>) -> usize {
    look.handed().filter(|(h, l)| h.refused.is_some() && !look.is_bulk(l)).count()
}

type Copy<'r> = (&'r str, &'r str);

/// The first copy of each recipient.
fn firsts<'r>(look: &Look<'r>) -> BTreeMap<Copy<'r>, Now> {
    let mut first = BTreeMap::new();
    for a in look.arrivals() {
        let Some(token) = a.token.as_deref() else { continue };
        first.entry((token, a.rcpt.as_str())).or_insert(a.at);
    }
    first
}

pub fn delivered(look: &Look<'_>) -> usize {
    firsts(look).len()
}

pub fn doubled(look: &Look<'_>) -> usize {
    look.arrivals().count() - firsts(look).len()
}

pub fn lost(look: &Look<'_>) -> usize {
    let first: BTreeSet<Copy<'_>> = look
        .record
        .arrivals
        .iter()
        .filter_map(|a| a.token.as_deref().map(|t| (t, a.rcpt.as_str())))
        .collect();
    let told: BTreeSet<Copy<'_>> = look
        .record
        .notices
        .iter()
        .filter_map(|n| n.token.as_deref().map(|t| (t, n)))
        .flat_map(|(t, n)| n.failed.iter().map(move |r| (t, r.as_str())))
        .collect();
    let queued: BTreeSet<&str> = look.record.queued.iter().map(String::as_str).collect();
    look.accepted()
        .filter(|(t, r, _)| !first.contains(&(*t, *r)) && !told.contains(&(*t, *r)) && !queued.contains(r))
        .count()
}

pub fn dsns_per_message(look: &Look<'_>) -> usize {
    let mut per: BTreeMap<&str, usize> = BTreeMap::new();
    look.failures().filter_map(|n| n.token.as_deref()).for_each(|t| *per.entry(t).or_default() += 1);
    per.values().copied().max().unwrap_or(0)
}

/// Times from acceptance to notices, sorted.
pub fn noticed_after(look: &Look<'_>, failed: bool) -> Vec<Span> {
    let mut accepted = BTreeMap::new();
    look.handed().for_each(|(h, l)| {
        if let Some(at) = h.accepted {
            accepted.insert(l.token.as_str(), at);
        }
    });
    let notices: Vec<_> = if failed { look.failures().collect() } else { look.delays().collect() };
    let after = notices.iter().filter_map(|n| Some(n.at.since(*accepted.get(n.token.as_deref()?)?)));
    let mut all: Vec<Span> = after.collect();
    all.sort();
    all
}

/// How many egresses' replies the poorest notice quotes.
pub fn replies_quoted(look: &Look<'_>) -> Option<usize> {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut said: BTreeSet<(&str, String)> = BTreeSet::new();
    for r in &look.record.refusals {
        said.insert((r.egress.as_str(), plain(&r.reply)));
    }
    look.failures()
        .map(|notice| {
            let text = plain(&notice.text);
            let quoted: BTreeSet<&str> =
                said.iter().filter(|(_, r)| text.contains(r.as_str())).map(|(e, _)| *e).collect();
            quoted.len()
        })
        .min()
}

pub fn delay(look: &Look<'_>, percent: usize) -> Value {
    let first = firsts(look);
    let mut all: Vec<Span> = look
        .accepted()
        .filter_map(|(t, r, at)| first.get(&(t, r)).map(|arrived| arrived.since(at)))
        .collect();
    if all.is_empty() {
        return Value::Nothing;
    }
    all.sort();
    Value::Span(all[((all.len() * percent).div_ceil(100)).clamp(1, all.len()) - 1])
}

pub fn before_move(look: &Look<'_>) -> usize {
    let moved = look.moved_at().unwrap_or(Now(u64::MAX));
    look.refusals().filter(|r| r.at <= moved).count()
}

pub fn per_domain(look: &Look<'_>) -> usize {
    let mut per: BTreeMap<(&str, &str, usize), usize> = BTreeMap::new();
    for r in look.refusals() {
        let domain = r.rcpt.rsplit_once('@').map_or("", |(_, d)| d);
        *per.entry((r.egress.as_str(), domain, r.peer)).or_default() += 1;
    }
    per.values().copied().max().unwrap_or(0)
}

/// Deliveries through the egresses asked for, of all in that time and place.
pub fn share(look: &Look<'_>) -> Value {
    let everywhere = crate::scene::Filter { egress: Vec::new(), ..look.filter.clone() };
    let mut wide = Look::new(look.scene, look.record, &everywhere);
    (wide.from, wide.until) = (look.from, look.until);
    match wide.arrivals().count() {
        0 => Value::Nothing,
        all => Value::Share(look.arrivals().count() as f64 / all as f64),
    }
}

pub fn moved(look: &Look<'_>) -> usize {
    let first = look.scene.egresses.first().map_or("", |e| e.name.as_str());
    look.arrivals().filter(|a| a.egress != first).count()
}
