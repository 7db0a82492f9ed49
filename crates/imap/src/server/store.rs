//! STORE, COPY, MOVE and EXPUNGE (RFC 9051 §6.4, RFC 7162 §3.1.3).

use super::Server;
use super::job::{Job, Tail};
use crate::ask::{Answer, Ask, Code, Refusal, StoreAsk};
use crate::command::{By, StoreSpec, Which};
use crate::set::UidSet;

const READ_ONLY: &str = "The folder is open for reading only; use SELECT to change it";

/// A STORE under way.
pub(super) struct Store {
    tag: String,
    by: By,
    silent: bool,
    conditional: bool,
}

impl Server {
    /// The UIDs a command means, or nothing after having answered it.
    fn meant(&mut self, tag: &str, by: By, which: &Which, changes: bool) -> Option<UidSet> {
        let open = self.folder.as_ref()?;
        if changes && open.read_only {
            let refusal = Refusal::new(Code::NoPerm, READ_ONLY);
            self.finish(Tail::refused(tag.to_owned(), &refusal).by(by));
            return None;
        }
        match open.resolve(by, which) {
            Ok(uids) => Some(uids),
            Err(why) => {
                self.bad(tag, why);
                None
            }
        }
    }

    pub(super) fn store(&mut self, tag: String, by: By, which: &Which, spec: StoreSpec) {
        let Some(uids) = self.meant(&tag, by, which, true) else { return };
        let StoreSpec { change, silent, flags, unchanged_since } = spec;
        // RFC 7162 §3.1: a conditional STORE switches CONDSTORE on.
        if unchanged_since.is_some() {
            self.use_condstore();
        }
        if uids.is_empty() {
            return self.finish(Tail::ok(tag, "Store completed").by(by));
        }
        let since = self.folder.as_ref().map_or(0, |f| f.modseq);
        // With CONDSTORE even a silent STORE tells the new mod-sequences.
        let rows = !silent || self.enabled.condstore;
        let ask = StoreAsk { uids, change, flags, unchanged_since, since, rows };
        let store = Store { tag, by, silent, conditional: unchanged_since.is_some() };
        self.ask(Ask::Store(Box::new(ask)), Job::Store(Box::new(store)));
    }

    pub(super) fn store_answered(&mut self, store: Store, answer: Answer) {
        let stored = match answer {
            Answer::Stored(stored) => stored,
            Answer::Refused(why) => return self.finish(Tail::refused(store.tag, &why).by(store.by)),
            _ => stdx::never!("an answer that fits no open question of STORE"),
        };
        self.learn_keywords(stored.keywords.as_ref());
        if let (Some(open), Some(modseq)) = (&mut self.folder, stored.modseq) {
            open.own.push(modseq);
        }
        for row in &stored.rows {
            let flags = !store.silent || row.elsewhere;
            if flags || self.enabled.condstore {
                self.tell_flags(row, store.by == By::Uid, flags);
            }
        }
        let tail = match &self.folder {
            Some(open) if !stored.modified.is_empty() => {
                let numbers = open.numbers(store.by, &stored.modified);
                Tail::ok(store.tag, "Some messages were changed by others meanwhile")
                    .with_code(format!("MODIFIED {numbers}"))
            }
            _ if store.conditional => Tail::ok(store.tag, "Conditional store completed"),
            _ => Tail::ok(store.tag, "Store completed"),
        };
        self.finish(tail.by(store.by));
    }

    pub(super) fn copy(&mut self, tag: String, by: By, which: &Which, (to, remove): (String, bool)) {
        let Some(uids) = self.meant(&tag, by, which, remove) else { return };
        if uids.is_empty() {
            return self.finish(Tail::ok(tag, "No messages to take"));
        }
        self.ask(Ask::Copy { uids, to, remove }, Job::Copy { tag, by, remove });
    }

    pub(super) fn copied(&mut self, tag: String, by: By, remove: bool, answer: Answer) {
        let (uid_validity, from, to) = match answer {
            Answer::Copied { uid_validity, from, to } => (uid_validity, from, to),
            Answer::Refused(why) => return self.refuse(tag, &why),
            _ => stdx::never!("an answer that fits no open question of COPY"),
        };
        let code = format!("COPYUID {uid_validity} {from} {to}");
        let mut tail = Tail::ok(tag, if remove { "Move completed" } else { "Copy completed" });
        tail.uids = by == By::Uid;
        if from.is_empty() {
            return self.finish(tail);
        }
        if remove {
            // RFC 6851 §4.3: COPYUID stands before the EXPUNGEs.
            self.line(&format!("* OK [{code}] Moved"));
            tail.modseq = self.enabled.condstore;
            return self.finish(tail);
        }
        self.finish(tail.with_code(code));
    }

    pub(super) fn expunge(&mut self, tag: String, which: Option<Which>) {
        let uids = match which {
            Some(which) => match self.meant(&tag, By::Uid, &which, true) {
                Some(uids) => Some(uids),
                None => return,
            },
            None if self.folder.as_ref().is_some_and(|f| f.read_only) => {
                return self.refuse(tag, &Refusal::new(Code::NoPerm, READ_ONLY));
            }
            None => None,
        };
        if uids.as_ref().is_some_and(UidSet::is_empty) {
            return self.finish(Tail::ok(tag, "Expunge completed"));
        }
        self.ask(Ask::Expunge { uids }, Job::Expunge { tag });
    }

    /// What was expunged comes with the news, as every other session hears it.
    pub(super) fn expunged(&mut self, tag: String, uids: &UidSet) {
        let mut tail = Tail::ok(tag, "Expunge completed");
        tail.modseq = self.enabled.condstore && !uids.is_empty();
        self.finish(tail);
    }
}
