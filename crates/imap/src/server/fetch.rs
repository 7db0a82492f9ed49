//! FETCH: pages of rows, \Seen set along the way, big contents in pieces. Memory stays within one
//! page whatever is asked for.

use super::Server;
use super::job::{Job, Tail};
use super::render::{self, Stop, Style};
use crate::ask::{Answer, Ask, Change, Code, FetchAsk, FlagRow, Needs, Page, Refusal, StoreAsk};
use crate::command::{By, FetchItem, FetchSpec, Partial, Which};
use crate::flags::{FlagNames, Flags};
use crate::set::UidSet;
use bytes::Bytes;
use std::sync::Arc;

/// Octets of a big content asked for at a time.
const PIECE: usize = 256 * 1024;

/// A FETCH under way.
pub(super) struct Fetch {
    tag: String,
    by: By,
    items: Vec<FetchItem>,
    ask: FetchAsk,
    /// How many messages should answer.
    want: u64,
    told: u64,
    mark: bool,
    vanished: bool,
    stage: Stage,
    page: Page,
    /// Row and item of the page that come next.
    at: (usize, usize),
    /// UIDs of this page that became \Seen by it.
    marked: UidSet,
    unknown_cte: bool,
}

enum Stage {
    Vanished,
    Page,
    Mark,
    Body { body: i64, offset: u64, left: u64 },
}

impl Fetch {
    pub fn new(tag: String, by: By, spec: FetchSpec, uids: UidSet) -> Fetch {
        let FetchSpec { mut items, sections, changed_since, vanished, partial: _, marks_seen } = spec;
        // RFC 9051 §6.4.9: UID FETCH always answers with the UID.
        if by == By::Uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        // RFC 7162 §3.1.4.1: CHANGEDSINCE asks for MODSEQ too.
        if changed_since.is_some() && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        let needs = needs(&items);
        let want = if changed_since.is_some() { 0 } else { uids.len() };
        let ask =
            FetchAsk { uids: Arc::new(uids), after: 0, needs, sections: sections.into(), changed_since };
        Fetch {
            tag,
            by,
            items,
            ask,
            want,
            told: 0,
            mark: marks_seen,
            vanished,
            stage: Stage::Page,
            page: Page::default(),
            at: (0, 0),
            marked: UidSet::new(),
            unknown_cte: false,
        }
    }
}

fn needs(items: &[FetchItem]) -> Needs {
    items.iter().fold(Needs::default(), |needs, item| {
        needs.with(match item {
            FetchItem::InternalDate => Needs::DATE,
            FetchItem::Size => Needs::SIZE,
            FetchItem::Envelope => Needs::ENVELOPE,
            FetchItem::Body => Needs::BODY,
            FetchItem::BodyStructure => Needs::BODY_STRUCTURE,
            FetchItem::SaveDate => Needs::SAVE_DATE,
            FetchItem::Preview { lazy: false } => Needs::PREVIEW,
            FetchItem::Preview { lazy: true } => Needs::PREVIEW.with(Needs::PREVIEW_LAZY),
            FetchItem::EmailId => Needs::EMAIL_ID,
            FetchItem::ThreadId => Needs::THREAD_ID,
            FetchItem::Section { .. } => Needs::SECTIONS,
            FetchItem::Uid | FetchItem::Flags | FetchItem::ModSeq => Needs::default(),
        })
    })
}

/// The members at these positions (RFC 9394).
pub(super) fn slice(uids: &UidSet, partial: Partial) -> UidSet {
    let count = uids.len();
    let (first, last) = (u64::from(partial.first), u64::from(partial.last));
    let (first, last) = match partial.from_end {
        false => (first, last.min(count)),
        true if first > count => return UidSet::new(),
        true => (count.saturating_sub(last) + 1, count + 1 - first),
    };
    let (mut at, mut out) = (1u64, UidSet::new());
    for &(low, high) in uids.ranges() {
        let size = u64::from(high - low) + 1;
        let (from, to) = (first.max(at), last.min(at + size - 1));
        if from <= to {
            out.push(low + (from - at) as u32, low + (to - at) as u32);
        }
        at += size;
    }
    out
}

impl Server {
    pub(super) fn fetch(&mut self, tag: String, by: By, which: &Which, spec: FetchSpec) {
        // RFC 7162 §3.1: asking for mod-sequences switches CONDSTORE on.
        if spec.changed_since.is_some() || spec.items.contains(&FetchItem::ModSeq) {
            self.use_condstore();
        }
        if spec.vanished && !self.enabled.qresync {
            return self.bad(&tag, "VANISHED needs ENABLE QRESYNC first");
        }
        let Some(open) = &self.folder else { return };
        let mut uids = match open.resolve(by, which) {
            Ok(uids) => uids,
            Err(why) => return self.bad(&tag, why),
        };
        if let Some(partial) = spec.partial {
            uids = slice(&uids, partial);
        }
        let typed = match which {
            Which::Set(set) if spec.vanished => set.resolve(open.view.top()),
            _ => UidSet::new(),
        };
        let since = spec.changed_since.unwrap_or(0);
        let mut fetch = Fetch::new(tag, by, spec, uids);
        fetch.mark &= !open.read_only;
        if fetch.vanished {
            fetch.stage = Stage::Vanished;
            let ask = Ask::Vanished { uids: Arc::new(typed), since };
            return self.ask(ask, Job::Fetch(Box::new(fetch)));
        }
        self.start_fetch(fetch, false);
    }

    /// `news`: not a command of the client, but told by itself (NOTIFY).
    pub(super) fn start_fetch(&mut self, mut fetch: Fetch, news: bool) {
        fetch.mark &= !news;
        if fetch.ask.uids.is_empty() {
            return self.fetch_end(fetch, news);
        }
        fetch.stage = Stage::Page;
        let ask = Ask::Fetch(fetch.ask.clone());
        self.ask(ask, fetch_job(Box::new(fetch), news));
    }

    pub(super) fn fetch_answered(&mut self, mut fetch: Box<Fetch>, answer: Answer) {
        match (&fetch.stage, answer) {
            (Stage::Vanished, Answer::Uids(uids)) => {
                self.tell_vanished_earlier(&uids);
                self.start_fetch(*fetch, false);
            }
            (Stage::Page, Answer::Page(page)) => self.fetch_page(fetch, page, false),
            (Stage::Mark, Answer::Stored(stored)) => {
                self.learn_keywords(stored.keywords.as_ref());
                if let (Some(open), Some(modseq)) = (&mut self.folder, stored.modseq) {
                    open.own.push(modseq);
                }
                merge(&mut fetch, &stored.rows);
                self.fetch_rows(fetch, false);
            }
            // Without the right to mark it, a message can be read all the same.
            (Stage::Mark, Answer::Refused(_)) => self.fetch_rows(fetch, false),
            (Stage::Body { .. }, Answer::Bytes(bytes)) => self.fetch_bytes(fetch, &bytes, false),
            // Amid a literal nothing can be said any more.
            (Stage::Body { .. }, Answer::Refused(_)) => self.hang_up(),
            // RFC 9051 §7.5.1: a FETCH by number keeps expunges back, refused or not.
            (_, Answer::Refused(why)) => {
                self.finish(Tail::refused(std::mem::take(&mut fetch.tag), &why).by(fetch.by))
            }
            _ => stdx::never!("an answer that fits no open question of FETCH"),
        }
    }

    /// RFC 7162 §3.2.10.1.
    pub(super) fn tell_vanished_earlier(&mut self, uids: &UidSet) {
        if !uids.is_empty() {
            self.out.extend_from_slice(b"* VANISHED (EARLIER) ");
            uids.write(&mut self.out);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn fetch_page(&mut self, mut fetch: Box<Fetch>, page: Page, news: bool) {
        self.learn_keywords(page.keywords.as_ref());
        fetch.page = page;
        fetch.at = (0, 0);
        fetch.marked = UidSet::new();
        if fetch.mark {
            let unseen = |r: &&crate::ask::Row| !r.flags.has(Flags::SEEN);
            let uids: UidSet = fetch.page.rows.iter().filter(unseen).map(|r| r.uid).collect();
            if let (Some(open), false) = (&self.folder, uids.is_empty()) {
                let flags = FlagNames { system: Flags::SEEN, keywords: Vec::new() };
                let since = open.modseq;
                let store =
                    StoreAsk { uids, change: Change::Add, flags, unchanged_since: None, since, rows: true };
                fetch.stage = Stage::Mark;
                return self.ask(Ask::Store(Box::new(store)), fetch_job(fetch, news));
            }
        }
        self.fetch_rows(fetch, news);
    }

    /// Writes rows until the page ends or a big content stands in the way.
    fn fetch_rows(&mut self, mut fetch: Box<Fetch>, news: bool) {
        let (utf8, condstore) = (self.utf8(), self.enabled.condstore);
        let Some(open) = &self.folder else { return self.hang_up() };
        let mut rows = std::mem::take(&mut fetch.page.rows);
        let (mut at, from) = fetch.at;
        let mut from = Some(from).filter(|_| matches!(fetch.stage, Stage::Body { .. }));
        while let Some(row) = rows.get_mut(at) {
            let Some(seq) = open.view.seq_of(row.uid) else {
                at += 1;
                continue;
            };
            let style = Style {
                items: &fetch.items,
                keywords: &open.keywords,
                recent: !open.recent.is_empty() && open.recent.contains(row.uid),
                utf8,
                marked: fetch.marked.contains(row.uid),
                condstore,
            };
            let item = from.take().unwrap_or_else(|| {
                render::begin(&mut self.out, seq);
                0
            });
            match render::items(&mut self.out, row, &style, item, &mut fetch.unknown_cte) {
                Stop::End => {
                    fetch.told += 1;
                    at += 1;
                }
                Stop::Body { item, body, offset, len } => {
                    fetch.page.rows = rows;
                    fetch.at = (at, item + 1);
                    fetch.stage = Stage::Body { body, offset, left: len };
                    return self.ask_piece(fetch, news);
                }
            }
        }
        let last = rows.last().map(|r| r.uid);
        fetch.stage = Stage::Page;
        match last.filter(|_| fetch.page.more) {
            Some(last) => {
                fetch.ask.after = last;
                let ask = Ask::Fetch(fetch.ask.clone());
                self.ask(ask, fetch_job(fetch, news));
            }
            None => self.fetch_end(*fetch, news),
        }
    }

    fn ask_piece(&mut self, fetch: Box<Fetch>, news: bool) {
        let Stage::Body { body, offset, left } = fetch.stage else { return };
        let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        self.ask(Ask::Body { body, offset, len }, fetch_job(fetch, news));
    }

    pub(super) fn fetch_bytes(&mut self, mut fetch: Box<Fetch>, bytes: &Bytes, news: bool) {
        let Stage::Body { body, offset, left } = fetch.stage else { return self.hang_up() };
        let got = (bytes.len() as u64).min(left);
        if got == 0 {
            // The content is shorter than was said: the literal cannot be completed.
            return self.hang_up();
        }
        self.out.extend_from_slice(&bytes[..got as usize]);
        fetch.stage = Stage::Body { body, offset: offset + got, left: left - got };
        if left > got { self.ask_piece(fetch, news) } else { self.fetch_rows(fetch, news) }
    }

    pub(super) fn fetch_end(&mut self, fetch: Fetch, news: bool) {
        if news {
            return self.resume_idle(Some(fetch.tag).filter(|t| !t.is_empty()));
        }
        let tail = if fetch.unknown_cte {
            let why =
                "Some of these parts have a transfer encoding that cannot be undone; fetch them with BODY[]";
            Tail::refused(fetch.tag, &Refusal::new(Code::UnknownCte, why))
        } else if fetch.by == By::Seq && fetch.told < fetch.want {
            // RFC 2180 §4.1.2: the client should learn that some of what it asked for is gone.
            Tail::ok(fetch.tag, "Some of these messages were expunged by another session")
                .with_code(Code::ExpungeIssued.name().into())
        } else {
            Tail::ok(fetch.tag, "Fetch completed")
        };
        self.finish(tail.by(fetch.by));
    }
}

fn fetch_job(fetch: Box<Fetch>, news: bool) -> Job {
    if news { Job::NewsFetch(fetch) } else { Job::Fetch(fetch) }
}

/// Takes over what STORE made of the flags.
fn merge(fetch: &mut Fetch, stored: &[FlagRow]) {
    for change in stored {
        if let Ok(at) = fetch.page.rows.binary_search_by_key(&change.uid, |r| r.uid) {
            let row = &mut fetch.page.rows[at];
            (row.flags, row.modseq) = (change.flags, change.modseq);
            fetch.marked.insert(change.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_ranges_count_from_either_end() {
        let uids = UidSet::of(vec![2, 3, 4, 10, 11, 20]);
        for (from_end, first, last, want) in [
            (false, 1, 2, "2:3"),
            (false, 3, 5, "4,10:11"),
            (false, 6, 100, "20"),
            (false, 7, 9, ""),
            (true, 1, 2, "11,20"),
            (true, 4, 100, "2:4"),
            (true, 7, 9, ""),
        ] {
            assert_eq!(slice(&uids, Partial { from_end, first, last }).to_string(), want);
        }
    }
}
