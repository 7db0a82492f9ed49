//! SELECT and EXAMINE, with quick resynchronisation (RFC 9051 §6.3.2, RFC 7162 §3.2.5).

use super::Server;
use super::job::{Job, Tail};
use super::sync::Open;
use crate::ask::{Answer, Ask, FetchAsk, FlagRow, Needs, Selected};
use crate::command::SelectParams;
use crate::set::UidSet;
use crate::view::View;
use std::sync::Arc;

/// A SELECT under way.
pub(super) struct Select {
    tag: String,
    folder: String,
    params: SelectParams,
    stage: Stage,
}

enum Stage {
    Folder,
    /// With the UIDs that news may be about.
    Vanished(UidSet),
    Flags(FetchAsk),
}

impl Server {
    pub(super) fn select(&mut self, tag: String, folder: String, read_only: bool, params: SelectParams) {
        if params.resync.is_some() && !self.enabled.qresync {
            return self.bad(&tag, "QRESYNC needs ENABLE QRESYNC first");
        }
        self.enabled.condstore |= params.condstore;
        // RFC 7162 §3.2.11: what follows is about the new folder.
        if self.folder.take().is_some() {
            self.line("* OK [CLOSED] The former folder is closed");
        }
        (self.dirty, self.gone) = (false, false);
        let ask = Ask::Select { folder: folder.clone(), read_only };
        self.ask(ask, Job::Select(Box::new(Select { tag, folder, params, stage: Stage::Folder })));
    }

    pub(super) fn select_answered(&mut self, mut select: Box<Select>, answer: Answer) {
        match (&mut select.stage, answer) {
            (Stage::Folder, Answer::Selected(selected)) => self.selected(select, *selected),
            (Stage::Vanished(known), Answer::Uids(uids)) => {
                let shown = self.folder.as_ref().map(|f| f.view.uids().clone()).unwrap_or_default();
                self.tell_vanished_earlier(&uids.minus(&shown));
                // RFC 7162 §3.2.5: a client that names what it knows hears of that only.
                let told = shown.intersect(known);
                self.ask_flags(select, told);
            }
            (Stage::Flags(ask), Answer::Page(page)) => {
                let after = page.rows.last().map_or(u32::MAX, |r| r.uid);
                for r in &page.rows {
                    let row = FlagRow { uid: r.uid, flags: r.flags, modseq: r.modseq, elsewhere: true };
                    self.tell_flags(&row, true, true);
                }
                if !page.more {
                    return self.select_end(*select);
                }
                ask.after = after;
                let ask = Ask::Fetch(ask.clone());
                self.ask(ask, Job::Select(select));
            }
            (Stage::Folder, Answer::Refused(why)) => self.refuse(select.tag, &why),
            // The folder is open; what could not be told now is told as any other news.
            (_, Answer::Refused(_)) => self.select_end(*select),
            _ => stdx::never!("an answer that fits no open question of SELECT"),
        }
    }

    fn selected(&mut self, mut select: Box<Select>, selected: Selected) {
        let folder = Open {
            view: View::new(selected.uids, selected.uid_next.saturating_sub(1)),
            recent: selected.recent,
            withheld: UidSet::new(),
            modseq: selected.highest_modseq,
            read_only: selected.read_only,
            keywords: selected.keywords,
            more_keywords: selected.more_keywords,
            permanent: selected.permanent,
            saved: UidSet::new(),
            own: Vec::new(),
        };
        let (count, recent) = (folder.view.count(), folder.recent.len());
        let unseen = selected.first_unseen.and_then(|uid| folder.view.seq_of(uid));
        self.folder = Some(Box::new(folder));
        self.tell_keywords();
        self.line(&format!("* {count} EXISTS"));
        if !self.enabled.rev2 {
            self.line(&format!("* {recent} RECENT"));
            if let Some(seq) = unseen {
                self.line(&format!("* OK [UNSEEN {seq}] The first message nobody has read"));
            }
        }
        self.line(&format!("* OK [UIDVALIDITY {}] UIDs are valid", selected.uid_validity));
        self.line(&format!("* OK [UIDNEXT {}] The next UID", selected.uid_next));
        self.line(&format!("* OK [HIGHESTMODSEQ {}] Changes are counted", selected.highest_modseq));
        if let Some(id) = &selected.mailbox_id {
            self.line(&format!("* OK [MAILBOXID ({id})] The folder's lasting name"));
        }
        if self.enabled.rev2 {
            self.out.extend_from_slice(b"* LIST () \"/\" ");
            crate::wire::write::folder(&mut self.out, &select.folder, true);
            self.out.extend_from_slice(b"\r\n");
        }
        let behind = |r: &crate::command::Resync| {
            r.uid_validity == selected.uid_validity && r.modseq < selected.highest_modseq
        };
        match select.params.resync.clone().filter(behind) {
            None => self.select_end(*select),
            Some(resync) => {
                let known = match &resync.known {
                    Some(set) => set.resolve(selected.uid_next.saturating_sub(1)),
                    None => UidSet::span(1, selected.uid_next.saturating_sub(1)),
                };
                let known = known.intersect(&UidSet::span(1, selected.uid_next.saturating_sub(1)));
                select.stage = Stage::Vanished(known.clone());
                let ask = Ask::Vanished { uids: Arc::new(known), since: resync.modseq };
                self.ask(ask, Job::Select(select));
            }
        }
    }

    fn ask_flags(&mut self, mut select: Box<Select>, uids: UidSet) {
        let Some(resync) = select.params.resync.as_ref().filter(|_| !uids.is_empty()) else {
            return self.select_end(*select);
        };
        let ask = FetchAsk {
            uids: Arc::new(uids),
            after: 0,
            needs: Needs::default(),
            sections: Arc::new([]),
            changed_since: Some(resync.modseq),
        };
        select.stage = Stage::Flags(ask.clone());
        self.ask(Ask::Fetch(ask), Job::Select(select));
    }

    fn select_end(&mut self, select: Select) {
        let read_only = self.folder.as_ref().is_some_and(|f| f.read_only);
        let code = if read_only { "READ-ONLY" } else { "READ-WRITE" };
        self.conclude(Tail::ok(select.tag, "Select completed").with_code(code.into()));
    }

    pub(super) fn close_folder(&mut self, tag: String) {
        match &self.folder {
            // RFC 9051 §6.4.1: a folder opened by EXAMINE is closed without expunging.
            Some(open) if !open.read_only => {
                self.ask(Ask::Expunge { uids: None }, Job::CloseExpunge(tag));
            }
            _ => self.ask(Ask::Unselect, Job::Unselect(tag)),
        }
    }

    pub(super) fn unselected(&mut self, tag: String) {
        self.folder = None;
        (self.dirty, self.gone) = (false, false);
        self.conclude(Tail::ok(tag, "The folder is closed"));
    }
}
