//! SEARCH, SORT and THREAD: row by row where rows know, by the text index where texts must.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ::imap::ask::{Answer, Found, Order, Refusal, SearchAsk};
use ::imap::command::SearchKey;
use ::imap::search as judge;
use mailbox::text::{self, In};
use mailbox::{Flags, Hub, Row, UidSet, View, digest};
use message::Summary;
use stdx::Now;
use store::{BodyId, Store};

use super::{Desk, Said, fetch, translate};

/// Summaries read at a time, and rows looked at before others get their turn.
const TURN: usize = 2000;

/// One search over one view. Rows are named by their places in it.
struct Search<'d> {
    store: &'d Store,
    hub: &'d Hub,
    view: &'d View,
    keywords: &'d [String],
    now: Now,
}

type Places = Vec<u32>;
type Later<'a> = Pin<Box<dyn Future<Output = Result<Places, Refusal>> + Send + 'a>>;

impl Search<'_> {
    /// Those of `from` that the key fits, in their order.
    fn pick<'a>(&'a self, key: &'a SearchKey, from: Places) -> Later<'a> {
        Box::pin(async move {
            if from.is_empty() {
                return Ok(from);
            }
            match key {
                SearchKey::And(keys) => self.all_of(keys, from).await,
                SearchKey::Or(a, b) => {
                    let mut both = self.pick(a, from.clone()).await?;
                    let rest = minus(&from, &both);
                    both.extend(self.pick(b, rest).await?);
                    both.sort_unstable();
                    Ok(both)
                }
                SearchKey::Not(inner) => {
                    let fits = self.pick(inner, from.clone()).await?;
                    Ok(minus(&from, &fits))
                }
                key => match place_of(key) {
                    Some((place, needle)) => self.texts(&place, needle, from).await,
                    None if needs_summary(key) => self.summaries(key, from).await,
                    None => Ok(self.rows(key, from)),
                },
            }
        })
    }

    /// Cheap keys first: each leaves less for the next.
    async fn all_of(&self, keys: &[SearchKey], mut from: Places) -> Result<Places, Refusal> {
        let mut keys: Vec<&SearchKey> = keys.iter().collect();
        keys.sort_by_key(|k| cost(k));
        for key in keys {
            from = self.pick(key, from).await?;
        }
        Ok(from)
    }

    async fn texts(&self, place: &In, needle: &str, from: Places) -> Result<Places, Refusal> {
        let rows = self.view.rows();
        let mut within = UidSet::new();
        from.iter().for_each(|&at| within.push(rows[at as usize].uid));
        let found = text::find(self.store, self.hub, self.view, (place, needle), &within).await;
        let found = found.map_err(translate::refusal)?;
        Ok(found.into_iter().filter_map(|uid| self.view.at(uid)).map(|at| at as u32).collect())
    }

    async fn summaries(&self, key: &SearchKey, from: Places) -> Result<Places, Refusal> {
        let mut out = Vec::new();
        for turn in from.chunks(TURN) {
            let rows: Vec<Row> = turn.iter().map(|&at| self.view.rows()[at as usize]).collect();
            let facts = summaries(self.store, self.hub, &rows).await?;
            let SearchKey::ThreadId(id) = key else {
                let fits = |s: &Option<Summary>| s.as_ref().is_some_and(|s| fits_summary(key, s));
                out.extend(turn.iter().zip(&facts).filter(|(_, s)| fits(s)).map(|(&at, _)| at));
                continue;
            };
            let keys = facts.iter().map(|s| s.as_ref().map(|s| &s.keys));
            let roots = fetch::threads((self.store, self.hub), rows.iter().map(|r| r.body).zip(keys)).await;
            for ((&at, row), (root, summary)) in
                turn.iter().zip(&rows).zip(roots.map_err(translate::refusal)?.into_iter().zip(&facts))
            {
                if summary.is_some() && fetch::thread_id(root, row.body).eq_ignore_ascii_case(id) {
                    out.push(at);
                }
            }
        }
        Ok(out)
    }

    fn rows(&self, key: &SearchKey, mut from: Places) -> Places {
        let bit = |word: &str| {
            let at = self.keywords.iter().position(|k| k.eq_ignore_ascii_case(word));
            at.map_or(0, |n| 1u64 << (n as u32 + mailbox::flags::FIRST_BIT))
        };
        let word = match key {
            SearchKey::Keyword(word) | SearchKey::Unkeyword(word) => bit(word),
            _ => 0,
        };
        from.retain(|&at| fits_row(key, &self.view.rows()[at as usize], word, self.now));
        from
    }
}

fn minus(all: &[u32], less: &[u32]) -> Places {
    all.iter().copied().filter(|at| less.binary_search(at).is_err()).collect()
}

fn cost(key: &SearchKey) -> u32 {
    match key {
        SearchKey::And(keys) => keys.iter().map(cost).max().unwrap_or(0),
        SearchKey::Or(a, b) => cost(a).max(cost(b)),
        SearchKey::Not(inner) => cost(inner),
        key if place_of(key).is_some() => 2,
        key if needs_summary(key) => 1,
        _ => 0,
    }
}

fn place_of(key: &SearchKey) -> Option<(In, &str)> {
    Some(match key {
        SearchKey::From(text) => (In::From, text),
        SearchKey::To(text) => (In::To, text),
        SearchKey::Cc(text) => (In::Cc, text),
        SearchKey::Bcc(text) => (In::Bcc, text),
        SearchKey::Subject(text) => (In::Subject, text),
        SearchKey::Header { name, text } => (In::Header(name.clone()), text),
        SearchKey::Body(text) => (In::Body, text),
        SearchKey::Text(text) => (In::Text, text),
        _ => return None,
    })
}

fn needs_summary(key: &SearchKey) -> bool {
    use SearchKey::{SentBefore, SentOn, SentSince, ThreadId};
    matches!(key, SentBefore(_) | SentOn(_) | SentSince(_) | ThreadId(_))
}

fn fits_summary(key: &SearchKey, summary: &Summary) -> bool {
    let sent = |fits: &dyn Fn(i64) -> bool| summary.keys.sent.is_some_and(|d| fits(d.local_day()));
    match key {
        SearchKey::SentBefore(day) => sent(&|d| d < i64::from(*day)),
        SearchKey::SentOn(day) => sent(&|d| d == i64::from(*day)),
        SearchKey::SentSince(day) => sent(&|d| d >= i64::from(*day)),
        _ => false,
    }
}

fn fits_row(key: &SearchKey, row: &Row, word: u64, now: Now) -> bool {
    let day = || (row.internal + i64::from(row.zone) * 60).div_euclid(86_400);
    let saved = || i64::from(row.saved).div_euclid(86_400);
    let age = || now.secs() as i64 - row.internal;
    match key {
        SearchKey::All | SearchKey::SaveDateSupported => true,
        SearchKey::Uids(set) => set.contains(row.uid),
        SearchKey::Has(flags) => row.flags.has(Flags(flags.0 as u64)),
        SearchKey::Lacks(flags) => row.flags.0 & flags.0 as u64 == 0,
        SearchKey::Keyword(_) => word != 0 && row.flags.0 & word != 0,
        SearchKey::Unkeyword(_) => row.flags.0 & word == 0,
        SearchKey::Before(d) => day() < i64::from(*d),
        SearchKey::On(d) => day() == i64::from(*d),
        SearchKey::Since(d) => day() >= i64::from(*d),
        SearchKey::SavedBefore(d) => saved() < i64::from(*d),
        SearchKey::SavedOn(d) => saved() == i64::from(*d),
        SearchKey::SavedSince(d) => saved() >= i64::from(*d),
        SearchKey::Larger(n) => u64::from(row.size) > *n,
        SearchKey::Smaller(n) => u64::from(row.size) < *n,
        // RFC 5032 §3: at least so long ago; and not longer ago than that.
        SearchKey::Older(secs) => age() >= *secs as i64,
        SearchKey::Younger(secs) => age() < *secs as i64,
        SearchKey::ModSeq(least) => row.modseq >= *least,
        SearchKey::EmailId(id) => fetch::email_id(row.body).eq_ignore_ascii_case(id),
        _ => false,
    }
}

async fn summaries(store: &Store, hub: &Hub, rows: &[Row]) -> Result<Vec<Option<Summary>>, Refusal> {
    let bodies: Vec<BodyId> = rows.iter().map(|r| r.body).collect();
    let packed = digest::summaries(store, hub, &bodies).await.map_err(translate::refusal)?;
    Ok(packed.iter().map(|p| p.as_ref().and_then(|p| Summary::from_bytes(p))).collect())
}

impl Desk {
    pub(super) async fn search(&mut self, ask: SearchAsk) -> Said {
        let (store, hub, now) = (self.store().clone(), self.hub().clone(), self.site.now());
        let view = self.view().await?;
        let keywords =
            self.open()?.keywords_for(Flags(view.rows().iter().fold(0, |all, r| all | r.flags.0)))?;
        let search = Search { store: &store, hub: &hub, view: &view, keywords: &keywords, now };
        let all = (0..view.len() as u32).collect();
        let places = search.pick(&ask.key, all).await?;
        let rows: Vec<Row> = places.iter().map(|&at| view.rows()[at as usize]).collect();
        let modseq = if ask.modseq { rows.iter().map(|r| r.modseq).max() } else { None };
        match ask.order {
            Order::Uid => Ok(Answer::Found(Found { uids: rows.iter().map(|r| r.uid).collect(), modseq })),
            Order::Sort(keys) => {
                let facts = self.facts(&view, &rows).await?;
                Ok(Answer::Found(Found { uids: judge::sort(&facts, &keys), modseq }))
            }
            Order::Thread(by) => {
                let facts = self.facts(&view, &rows).await?;
                Ok(Answer::Threads(judge::thread(&facts, by)))
            }
        }
    }

    /// What SORT and THREAD compare.
    async fn facts(&self, _view: &Arc<View>, rows: &[Row]) -> Result<Vec<judge::Facts>, Refusal> {
        let mut out = Vec::with_capacity(rows.len());
        for turn in rows.chunks(TURN) {
            let found = summaries(self.store(), self.hub(), turn).await?;
            for (row, summary) in turn.iter().zip(found) {
                let keys = summary.map(|s| s.keys).unwrap_or_default();
                out.push(judge::Facts {
                    uid: row.uid,
                    arrival: row.internal,
                    size: u64::from(row.size),
                    sent: keys.sent.map_or(row.internal, |d| d.secs),
                    from: keys.from,
                    to: keys.to,
                    cc: keys.cc,
                    from_shown: keys.from_shown,
                    to_shown: keys.to_shown,
                    subject: keys.subject.text,
                    is_reply: keys.subject.is_reply,
                    message_id: keys.message_id,
                    references: keys.references,
                });
            }
            tokio::task::yield_now().await;
        }
        Ok(out)
    }
}
