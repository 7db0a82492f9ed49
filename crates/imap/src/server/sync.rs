//! Telling a session what others did: when, in which order, and in which words.
//!
//! News come from one place, [`Ask::Sync`]: asked at the end of a command, during IDLE and, after
//! NOTIFY, between commands. Expunges that may not be told yet stay in the view
//! ([`Open::withheld`]) until they may; sequence numbers change only when the client is told.

use super::fetch::Fetch;
use super::job::{Job, Tail};
use super::{Server, render};
use crate::ask::{Ask, Changes, FlagRow, Notice, StatusItems};
use crate::command::{By, FetchSpec, NotifyFolders, NotifySpec, Which};
use crate::flags::{Flags, Keywords, SYSTEM_NAMES, write_flags};
use crate::set::UidSet;
use crate::view::View;
use crate::wire::write;

/// The selected folder as this session knows it.
pub(super) struct Open {
    pub view: View,
    pub recent: UidSet,
    /// Gone, but not told yet.
    pub withheld: UidSet,
    /// Everything up to here was told.
    pub modseq: u64,
    pub read_only: bool,
    pub keywords: Keywords,
    pub more_keywords: bool,
    pub permanent: Flags,
    /// RFC 5182 `$`.
    pub saved: UidSet,
    /// Mod-sequences of our own changes since the last news: their results were told.
    pub own: Vec<u64>,
}

/// A NOTIFY that stands.
pub(super) struct Asked {
    pub spec: NotifySpec,
    /// Word for word, for a [`super::Parcel`].
    pub said: Vec<u8>,
    /// How the folder names in it were written.
    pub utf8: bool,
}

impl Open {
    /// The UIDs a command means.
    pub fn resolve(&self, by: By, which: &Which) -> Result<UidSet, &'static str> {
        let set = match which {
            Which::Saved => return Ok(self.saved.intersect(self.view.uids())),
            Which::Set(set) => set,
        };
        match by {
            By::Uid => Ok(set.resolve(self.view.last_uid()).intersect(self.view.uids())),
            By::Seq if set.greatest_typed().is_some_and(|n| n > self.view.count()) && !set.reaches_end() => {
                Err("There is no message with that number")
            }
            By::Seq => Ok(self.view.uids_at(&set.resolve(self.view.count()))),
        }
    }
    /// A set of UIDs in the numbers the client used.
    pub fn numbers(&self, by: By, uids: &UidSet) -> UidSet {
        if by == By::Uid { uids.clone() } else { self.view.seqs_of(uids) }
    }
}

impl Server {
    /// `* FLAGS` and `[PERMANENTFLAGS]`.
    pub(super) fn tell_keywords(&mut self) {
        let Some(open) = &self.folder else { return };
        let words: String = open.keywords.iter().filter(|k| !k.is_empty()).map(|k| format!(" {k}")).collect();
        let line = format!("* FLAGS ({}{words})", SYSTEM_NAMES.join(" "));
        let mut lasting = Vec::new();
        if !open.read_only {
            write_flags(&mut lasting, open.permanent, false, &[]);
        }
        let mut lasting = String::from_utf8_lossy(&lasting).into_owned();
        if !open.read_only {
            // mbsync reads a keyword of this name as an absent list; `\*` covers it.
            let named = |k: &&String| !k.is_empty() && !k.eq_ignore_ascii_case("NIL");
            lasting.extend(open.keywords.iter().filter(named).map(|k| format!(" {k}")));
            if open.more_keywords {
                lasting.push_str(" \\*");
            }
        }
        self.line(&line);
        let lasting = lasting.trim_start();
        self.line(&format!("* OK [PERMANENTFLAGS ({lasting})] These flags last"));
    }

    pub(super) fn learn_keywords(&mut self, keywords: Option<&Keywords>) {
        let (Some(open), Some(keywords)) = (&mut self.folder, keywords) else { return };
        if open.keywords != *keywords {
            open.keywords = keywords.clone();
            self.tell_keywords();
        }
    }

    /// One unsolicited FETCH: flags, with UID and mod-sequence where they belong.
    pub(super) fn tell_flags(&mut self, row: &FlagRow, uids: bool, flags: bool) {
        let (with_uid, with_modseq) = (uids || self.enabled.qresync, self.enabled.condstore);
        let Some(open) = &self.folder else { return };
        let Some(seq) = open.view.seq_of(row.uid) else { return };
        let out = &mut self.out;
        render::begin(out, seq);
        if with_uid {
            out.extend_from_slice(b"UID ");
            write::number(out, u64::from(row.uid));
            out.push(b' ');
        }
        if flags {
            out.extend_from_slice(b"FLAGS (");
            write_flags(out, row.flags, open.recent.contains(row.uid), &open.keywords);
            out.push(b')');
        }
        if with_modseq {
            out.extend_from_slice(if flags { b" MODSEQ (" } else { b"MODSEQ (" });
            write::number(out, row.modseq);
            out.push(b')');
        }
        out.extend_from_slice(b")\r\n");
    }

    /// Tells everything that may be told.
    pub(super) fn tell_changes(&mut self, changes: &Changes, expunges: bool, uids: bool) {
        self.learn_keywords(changes.keywords.as_ref());
        let Some(open) = &mut self.folder else { return };
        let own = std::mem::take(&mut open.own);
        for row in changes.flags.iter().filter(|r| !own.contains(&r.modseq)) {
            self.tell_flags(row, uids, true);
        }
        let Some(open) = &mut self.folder else { return };
        open.modseq = changes.highest_modseq.max(open.modseq);
        open.withheld = open.withheld.union(&changes.gone.intersect(open.view.uids()));
        if expunges && !open.withheld.is_empty() {
            let gone = std::mem::take(&mut open.withheld);
            open.saved = open.saved.minus(&gone);
            open.recent = open.recent.minus(&gone);
            let seqs = open.view.remove(&gone);
            self.tell_expunges(&gone, &seqs);
        }
        let Some(open) = &mut self.folder else { return };
        if open.view.add(&changes.new) {
            open.recent = open.recent.union(&changes.recent);
            let count = open.view.count();
            let recent = open.recent.len();
            self.line(&format!("* {count} EXISTS"));
            if !self.enabled.rev2 {
                self.line(&format!("* {recent} RECENT"));
            }
        }
    }

    /// RFC 7162 §3.2.10: VANISHED instead of EXPUNGE once QRESYNC is enabled. EXPUNGEs go from the
    /// last to the first, so that no number shifts another.
    fn tell_expunges(&mut self, gone: &UidSet, seqs: &UidSet) {
        if self.enabled.qresync {
            self.out.extend_from_slice(b"* VANISHED ");
            gone.write(&mut self.out);
            self.out.extend_from_slice(b"\r\n");
            return;
        }
        for &(first, last) in seqs.ranges().iter().rev() {
            for seq in (first..=last).rev() {
                self.out.extend_from_slice(b"* ");
                write::number(&mut self.out, u64::from(seq));
                self.out.extend_from_slice(b" EXPUNGE\r\n");
            }
        }
    }

    // --- IDLE (RFC 2177) and NOTIFY (RFC 5465) -----------------------------------------------

    pub(super) fn begin_idle(&mut self, tag: String) {
        self.line("+ idling");
        self.spoke = self.heard;
        self.dirty = self.folder.is_some();
        self.job = Job::Idle(tag);
    }

    pub(super) fn step_idle(&mut self) -> bool {
        if self.gone || self.stopping || self.bye.is_some() {
            self.job = Job::None;
            return true;
        }
        self.flush_notices();
        if self.dirty {
            let Job::Idle(tag) = std::mem::replace(&mut self.job, Job::None) else { return false };
            self.ask_news(Some(tag));
            return true;
        }
        let Some(line) = self.reader.line() else { return false };
        let Job::Idle(tag) = std::mem::replace(&mut self.job, Job::None) else { return false };
        match line {
            Ok(word) if word.trim_ascii().eq_ignore_ascii_case(b"DONE") => {
                self.finish(Tail::ok(tag, "Idle completed"))
            }
            _ => self.bad(&tag, "IDLE ends with DONE"),
        }
        true
    }

    fn ask_news(&mut self, idle: Option<String>) {
        self.dirty = false;
        match &self.folder {
            Some(open) => {
                let since = open.modseq;
                self.ask(Ask::Sync { since }, Job::News(idle));
            }
            None => self.resume_idle(idle),
        }
    }

    pub(super) fn resume_idle(&mut self, idle: Option<String>) {
        self.job = idle.map_or(Job::None, Job::Idle);
    }

    pub(super) fn told(&mut self, idle: Option<String>, changes: &Changes) {
        let group = self.selected_group();
        let delayed = group.as_ref().is_some_and(|(delayed, _)| *delayed);
        let fetch = group.and_then(|(_, fetch)| fetch);
        let top = self.folder.as_ref().map_or(0, |f| f.view.top());
        // RFC 5465 §6.1: SELECTED-DELAYED keeps expunges back until a command allows them.
        self.tell_changes(changes, idle.is_some() || !delayed, false);
        let Some(open) = &self.folder else { return };
        let new = changes.new.intersect(open.view.uids()).minus(&UidSet::span(1, top));
        match fetch.filter(|_| !new.is_empty()) {
            Some(spec) => {
                let tag = idle.unwrap_or_default();
                self.start_fetch(Fetch::new(tag, By::Seq, spec, new), true);
            }
            None => self.resume_idle(idle),
        }
    }

    /// What NOTIFY said about the selected folder: delayed or not, and what to fetch of new mail.
    fn selected_group(&self) -> Option<(bool, Option<FetchSpec>)> {
        let asked = self.notify.as_ref()?;
        asked.spec.groups.iter().find_map(|g| match g.folders {
            NotifyFolders::Selected => Some((false, g.fetch.as_deref().cloned())),
            NotifyFolders::SelectedDelayed => Some((true, g.fetch.as_deref().cloned())),
            _ => None,
        })
    }

    /// After NOTIFY with SELECTED, news are told between commands too.
    pub(super) fn wants_to_tell(&self) -> bool {
        self.dirty
            && self.folder.is_some()
            && self.reader.between_commands()
            && self.selected_group().is_some()
    }

    pub(super) fn tell(&mut self) -> bool {
        self.ask_news(None);
        true
    }

    pub(super) fn begin_notify(&mut self, tag: String, spec: Option<Box<NotifySpec>>) {
        let utf8 = self.utf8();
        self.notify =
            spec.as_deref().map(|spec| Box::new(Asked { spec: spec.clone(), said: Vec::new(), utf8 }));
        if self.selected_group().is_some() {
            self.use_condstore();
        }
        self.ask(Ask::Notify(spec), Job::Notify(tag));
    }

    /// RFC 5465 §3.1: the counters stand before the tagged line.
    pub(super) fn noticing(&mut self, tag: String, rows: Vec<(String, crate::ask::StatusRow)>) {
        self.tell_rows(rows);
        self.finish(Tail::ok(tag, "Notify completed"));
    }

    pub(super) fn tell_rows(&mut self, rows: Vec<(String, crate::ask::StatusRow)>) {
        self.notices = rows.into_iter().map(|row| Notice::Status(Box::new(row))).collect();
        self.flush_notices();
    }

    /// RFC 5465 §5: STATUS and LIST about other folders.
    pub(super) fn flush_notices(&mut self) {
        for notice in std::mem::take(&mut self.notices) {
            match notice {
                Notice::Status(status) => {
                    let items = StatusItems::MESSAGES
                        .with(StatusItems::UID_NEXT)
                        .with(StatusItems::UID_VALIDITY)
                        .with(StatusItems::UNSEEN);
                    // RFC 5465 §5.2: who asked for FlagChange gets the mod-sequence.
                    let flags = self.notify.iter().flat_map(|n| &n.spec.groups).any(|g| g.events.flag_change);
                    let counted = flags || self.enabled.condstore;
                    let more = if counted { StatusItems::HIGHEST_MODSEQ } else { StatusItems(0) };
                    self.tell_status(&status.0, &status.1, items.with(more));
                }
                Notice::Folder { folder, old_name, deleted } => {
                    self.tell_folder(&folder, old_name.as_deref(), deleted);
                }
                _ => {}
            }
        }
    }
}
