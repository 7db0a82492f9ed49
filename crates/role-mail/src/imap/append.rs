//! APPEND, MULTIAPPEND and REPLACE: messages stream into drafts and are committed together.

use ::imap::UidSet as TheirSet;
use ::imap::ask::{Answer, AppendMessage, Code, Refusal};
use mailbox::{New, UidSet, append, change};
use store::{BodyId, Draft, Intake, Sealed, StoreError};

use super::{Desk, Said, binary, folders, translate};

/// Messages of one command.
const MESSAGES_MAX: usize = 10_000;

/// Messages of a command that has not ended.
pub(crate) struct Appending {
    folder: String,
    draft: Option<Draft>,
    next: Option<Head>,
    done: Vec<(Head, Sealed)>,
}

/// What is known of a message besides its text.
struct Head {
    flags: mailbox::Flags,
    keywords: Vec<String>,
    internal: i64,
    zone: i16,
    /// It came as literal8 and may hold NULs.
    eight: bool,
}

impl Desk {
    pub(super) async fn append_message(&mut self, message: AppendMessage) -> Said {
        let (who, limit) = (self.who()?.clone(), self.site.settings().message_size_max.get());
        if message.size > limit {
            return Err(Refusal::new(
                Code::TooBig,
                format!("A message may have at most {limit} octets here"),
            ));
        }
        if let Intake::Full { .. } = self.store().intake() {
            return Err(Refusal::new(
                Code::Unavailable,
                "The mail disk is nearly full; the operator was told, try later",
            ));
        }
        if message.number == 0 || self.appending.is_none() {
            let name = message.folder.clone();
            let (size, replaces) = (message.size, message.replace.is_some());
            let check = move |conn: &store::rusqlite::Connection| {
                let found = folders::find(conn, &who, &name)?
                    .ok_or_else(|| StoreError::rule("[TRYCREATE] there is no folder of that name"))?
                    .need('i')?;
                let most = super::quota_of(conn, found.folder.account)?;
                let over = match most.bytes.filter(|_| !replaces) {
                    Some(most) => mailbox::folder::usage(conn, found.folder.account)?.1 + size > most,
                    None => false,
                };
                if over {
                    return Err(StoreError::rule(
                        "[OVERQUOTA] the mailbox is full; delete some messages or ask for more space",
                    ));
                }
                Ok(())
            };
            // A look that may lag is enough to let a message in, not to turn it away.
            if self.store().glance(&check).is_err() {
                self.store().read(check).await.map_err(translate::refusal)?;
            }
            let new = Appending { folder: message.folder, draft: None, next: None, done: Vec::new() };
            self.appending = Some(Box::new(new));
        }
        let now = self.site.now();
        let draft = self.store().draft();
        let appending = self.appending()?;
        if appending.done.len() >= MESSAGES_MAX {
            return Err(Refusal::new(Code::Limit, format!("One command may add {MESSAGES_MAX} messages")));
        }
        appending.draft = Some(draft);
        appending.next = Some(Head {
            flags: translate::flags(&message.flags),
            keywords: message.flags.keywords,
            internal: message.date.map_or(now.secs() as i64, |d| d.secs),
            zone: message.date.map_or(0, |d| d.zone),
            eight: message.eight,
        });
        Ok(Answer::Done)
    }

    fn appending(&mut self) -> Result<&mut Appending, Refusal> {
        let none = || Refusal::new(Code::ServerBug, "No message is being added");
        self.appending.as_deref_mut().ok_or_else(none)
    }

    pub(super) async fn append_bytes(&mut self, bytes: &[u8], last: bool) -> Said {
        let store = self.store().clone();
        let appending = self.appending()?;
        if let Some(draft) = &mut appending.draft {
            draft.write(bytes).await.map_err(translate::refusal)?;
        }
        if last && let (Some(draft), Some(head)) = (appending.draft.take(), appending.next.take()) {
            let mut sealed = draft.seal().await.map_err(translate::refusal)?;
            if head.eight && sealed.len() <= binary::LEN_MAX {
                let text = sealed.read_at(0, sealed.len() as usize).await.map_err(translate::refusal)?;
                if let Some(kept) = binary::storable(&text) {
                    let mut draft = store.draft();
                    draft.write(&kept).await.map_err(translate::refusal)?;
                    sealed = draft.seal().await.map_err(translate::refusal)?;
                }
            }
            appending.done.push((head, sealed));
        }
        Ok(Answer::Done)
    }

    pub(super) async fn append_commit(&mut self, replace: Option<u32>) -> Said {
        let Some(appending) = self.appending.take() else {
            return Err(Refusal::new(Code::ServerBug, "No message is being added"));
        };
        let (who, mut pen, name) = (self.who()?.clone(), self.pen(), appending.folder);
        let replaced = match replace {
            Some(uid) => Some((self.open()?.folder.clone(), UidSet::of([uid]))),
            None => None,
        };
        let (mut heads, mut bodies, mut summaries) = (Vec::new(), Vec::new(), Vec::new());
        for (head, sealed) in appending.done {
            heads.push((head, sealed.len()));
            summaries.push(sealed.small().map(mailbox::digest::packed));
            bodies.push(sealed);
        }
        let write = move |batch: &mut store::Batch<'_>| {
            let found = folders::find(batch.sql(), &who, &name)?
                .ok_or_else(|| StoreError::rule("[TRYCREATE] there is no folder of that name"))?
                .need('i')?;
            pen.quota = super::quota_of(batch.sql(), found.folder.account)?;
            if let Some((from, uid)) = &replaced {
                change::purge(batch, &pen, from, uid)?;
            }
            let mut items = Vec::with_capacity(heads.len());
            for (n, (head, size)) in heads.into_iter().enumerate() {
                let Head { flags, keywords, internal, zone, eight: _ } = head;
                items.push(New { body: batch.body(n), size, flags, keywords, internal, zone });
            }
            let ids: Vec<BodyId> = items.iter().map(|i| i.body).collect();
            Ok((append(batch, &pen, &found.folder, &items)?, ids))
        };
        let (done, ids) = self.store().commit(bodies, write).await.map_err(translate::refusal)?;
        for (id, summary) in ids.into_iter().zip(summaries) {
            if let Some((summary, says)) = summary {
                self.hub().digests().ready(id, summary, says);
            }
        }
        Ok(Answer::Appended { uid_validity: done.uidvalidity, uids: TheirSet::span(done.first, done.last) })
    }
}
