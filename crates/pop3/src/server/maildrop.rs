//! The TRANSACTION state: numbers, deletions, listings and texts.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Asked, Phase, SEND, Sending, Server};
use crate::ask::{Ask, Maildrop, TEXT_MAX};
use crate::command::Command;

/// Texts asked for in one question, at most.
const AHEAD_MAX: usize = 64;
/// A piece of a large message.
const PIECE: usize = 128 * 1024;

/// An open maildrop.
pub(crate) struct Open {
    maildrop: Maildrop,
    deleted: Vec<bool>,
    pub(crate) job: Option<Job>,
    /// Texts that were read ahead, by index, in order.
    ahead: VecDeque<(usize, Option<Bytes>)>,
    /// The indices of the open question.
    planned: Vec<usize>,
    /// The last text asked for by the client; a client that goes on with the next one will
    /// probably want them all.
    last: Option<usize>,
    stride: usize,
}

/// An answer of many lines that is being sent.
pub(crate) enum Job {
    Listing { uidl: bool, next: usize },
    Text(Sending),
}

impl Open {
    pub(crate) fn new(maildrop: Maildrop) -> Open {
        let deleted = vec![false; maildrop.entries.len()];
        Open {
            maildrop,
            deleted,
            job: None,
            ahead: VecDeque::new(),
            planned: Vec::new(),
            last: None,
            stride: 1,
        }
    }

    /// RFC 1939 §5 STAT: messages marked as deleted do not count.
    pub(crate) fn stat(&self) -> (usize, u64) {
        let left = self.maildrop.entries.iter().zip(&self.deleted).filter(|(_, gone)| !**gone);
        left.fold((0, 0), |(n, octets), (entry, _)| (n + 1, octets + entry.size))
    }

    /// The index of a message number that exists and is not deleted.
    fn index(&self, number: u32) -> Option<usize> {
        let index = (number as usize).checked_sub(1)?;
        self.deleted.get(index).is_some_and(|gone| !gone).then_some(index)
    }

    fn line(&self, index: usize, uidl: bool) -> String {
        let entry = &self.maildrop.entries[index];
        match (uidl, &entry.uidl) {
            (false, _) => format!("{} {}", index + 1, entry.size),
            (true, Some(kept)) => format!("{} {kept}", index + 1),
            (true, None) => format!("{} {:08x}{:08x}", index + 1, entry.uid, self.maildrop.validity),
        }
    }

    /// Which texts to ask for when `index` is wanted: it alone, or, for a client that takes one
    /// after the other, more and more of the following ones.
    fn plan(&mut self, index: usize) -> Vec<u32> {
        let follows =
            self.last.is_some_and(|last| (last + 1..index).all(|i| self.deleted[i]) && last < index);
        self.stride = if follows { (self.stride * 2).min(AHEAD_MAX) } else { 1 };
        self.planned.clear();
        let mut octets = 0;
        for i in index..self.maildrop.entries.len() {
            let size = self.maildrop.entries[i].size;
            octets += size;
            if size > TEXT_MAX || (octets > TEXT_MAX && i > index) || self.planned.len() >= self.stride {
                break;
            }
            if !self.deleted[i] {
                self.planned.push(i);
            }
        }
        self.planned.iter().map(|&i| self.maildrop.entries[i].uid).collect()
    }

    fn take_ahead(&mut self, index: usize) -> Option<Option<Bytes>> {
        while let Some((i, text)) = self.ahead.pop_front() {
            if i == index {
                return Some(text);
            }
        }
        None
    }
}

const GONE: &str = "That message has been removed by another session.";

impl Server {
    pub(crate) fn transaction(&mut self, command: Command<'_>) {
        let Phase::Transaction(open) = &mut self.phase else { return };
        match command {
            Command::Stat => {
                let (count, octets) = open.stat();
                self.ok(&format!("{count} {octets}"));
            }
            Command::List(None) => {
                let (count, octets) = open.stat();
                open.job = Some(Job::Listing { uidl: false, next: 0 });
                self.ok(&format!("{count} messages ({octets} octets)"));
            }
            Command::Uidl(None) => {
                open.job = Some(Job::Listing { uidl: true, next: 0 });
                self.ok("Unique ids follow.");
            }
            Command::List(Some(n)) => self.one(n, |open, i| Some(open.line(i, false))),
            Command::Uidl(Some(n)) => self.one(n, |open, i| Some(open.line(i, true))),
            Command::Retr(n) => self.one(n, |open, i| {
                open.job = Some(Sending::new(i, None).into());
                None
            }),
            Command::Top(n, lines) => self.one(n, |open, i| {
                open.job = Some(Sending::new(i, Some(lines)).into());
                None
            }),
            Command::Dele(n) => self.one(n, |open, i| {
                open.deleted[i] = true;
                Some(format!("Message {n} will be removed at QUIT."))
            }),
            Command::Noop => self.ok("Still here."),
            Command::Rset => {
                open.deleted.fill(false);
                let (count, octets) = open.stat();
                self.ok(&format!("{count} messages ({octets} octets)"));
            }
            _ => stdx::never!("a command of another state"),
        }
    }

    fn one(&mut self, number: u32, f: impl FnOnce(&mut Open, usize) -> Option<String>) {
        let Phase::Transaction(open) = &mut self.phase else { return };
        match open.index(number) {
            Some(index) => {
                if let Some(text) = f(open, index) {
                    self.ok(&text);
                }
            }
            None => self.err("There is no such message, or you have deleted it."),
        }
    }

    /// RFC 1939 §6: only QUIT removes what was deleted.
    pub(crate) fn quit(&mut self) {
        let Phase::Transaction(open) = &self.phase else { return };
        let gone = open.maildrop.entries.iter().zip(&open.deleted).filter(|(_, gone)| **gone);
        let delete: Vec<u32> = gone.map(|(entry, _)| entry.uid).collect();
        if delete.is_empty() {
            self.ok("Goodbye.");
            return self.close();
        }
        self.ask(Asked::Quit, Ask::Quit { delete });
    }

    /// Goes on with the running answer, by one portion.
    pub(crate) fn work(&mut self) {
        let Phase::Transaction(open) = &mut self.phase else { return };
        match open.job.take() {
            Some(Job::Listing { uidl, next }) => {
                let mut at = next;
                while at < open.deleted.len() && self.out.len() < SEND {
                    if !open.deleted[at] {
                        self.out.extend_from_slice(open.line(at, uidl).as_bytes());
                        self.out.extend_from_slice(b"\r\n");
                    }
                    at += 1;
                }
                if at < open.deleted.len() {
                    open.job = Some(Job::Listing { uidl, next: at });
                } else {
                    self.out.extend_from_slice(b".\r\n");
                }
            }
            Some(Job::Text(sending)) => self.send_text(sending),
            None => {}
        }
    }

    fn send_text(&mut self, mut sending: Sending) {
        let Phase::Transaction(open) = &mut self.phase else { return };
        let index = sending.index;
        let (uid, size) = (open.maildrop.entries[index].uid, open.maildrop.entries[index].size);
        if size > TEXT_MAX {
            let len = PIECE.min(usize::try_from(size - sending.offset()).unwrap_or(PIECE));
            let offset = sending.offset();
            open.job = Some(Job::Text(sending));
            return self.ask(Asked::Piece, Ask::Piece { uid, offset, len });
        }
        match open.take_ahead(index) {
            Some(Some(text)) => {
                open.last = Some(index);
                self.ok(&format!("{} octets", text.len()));
                sending.push(&text, &mut self.out);
                sending.finish(&mut self.out);
            }
            Some(None) => {
                open.last = Some(index);
                self.err(GONE);
            }
            None => {
                let uids = open.plan(index);
                open.job = Some(Job::Text(sending));
                self.ask(Asked::Texts, Ask::Texts { uids });
            }
        }
    }

    pub(crate) fn texts(&mut self, texts: Vec<Option<Bytes>>) {
        let Phase::Transaction(open) = &mut self.phase else { return };
        if texts.len() != open.planned.len() {
            stdx::never!("{} texts for {} that were asked for", texts.len(), open.planned.len());
        }
        open.ahead = open.planned.drain(..).zip(texts).collect();
    }

    pub(crate) fn piece(&mut self, piece: Option<Bytes>) {
        let Phase::Transaction(open) = &mut self.phase else { return };
        let Some(Job::Text(mut sending)) = open.job.take() else { return };
        let size = open.maildrop.entries[sending.index].size;
        let Some(piece) = piece.filter(|p| !p.is_empty()) else {
            if sending.offset() == 0 {
                return self.err(GONE);
            }
            // Half a text is out; only silence can tell the client that the rest is missing.
            return self.close();
        };
        open.last = None;
        if sending.offset() == 0 {
            self.out.extend_from_slice(format!("+OK {size} octets\r\n").as_bytes());
        }
        let enough = sending.push(&piece, &mut self.out);
        if enough || sending.offset() >= size {
            sending.finish(&mut self.out);
        } else {
            open.job = Some(Job::Text(sending));
        }
    }

    /// The store could not give the text.
    pub(crate) fn text_failed(&mut self) {
        let Phase::Transaction(open) = &mut self.phase else { return };
        let begun = matches!(&open.job, Some(Job::Text(sending)) if sending.offset() > 0);
        open.job = None;
        if begun {
            return self.close();
        }
        self.err("[SYS/TEMP] That message cannot be read right now; try again shortly.");
    }
}
