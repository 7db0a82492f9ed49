//! What a session hears from outside: changes of the open folder, and of others if it asked
//! (NOTIFY, RFC 5465).

use std::collections::{BTreeMap, VecDeque};

use ::imap::ask::{Answer, Folder as Listed, Notice, StatusItems, StatusRow};
use ::imap::command::{NotifyEvents, NotifyFolders, NotifySpec};
use drive::First;
use mailbox::{Folder, FolderId, folder};
use store::StoreError;
use store::rusqlite::Connection;
use tokio::sync::watch;

use super::select::Open;
use super::{Desk, Said, Who, folders, translate};
use crate::Site;

/// A session that wants to hear of folders it has not selected.
pub(crate) struct Watch {
    site: Site,
    who: Who,
    spec: NotifySpec,
    wake: watch::Receiver<u64>,
    /// What was last told of each folder: its name, and what a change of it would move.
    told: BTreeMap<FolderId, (Folder, u64)>,
    subscribed: Vec<String>,
    waiting: VecDeque<Notice>,
}

/// The next notice. Nothing is lost when it is dropped while it waits.
pub(super) async fn next(open: Option<&mut Open>, watch: Option<&mut Watch>) -> Notice {
    let selected = open.as_ref().map(|o| o.folder.id);
    let of_open = async {
        let Some(open) = open else { return std::future::pending().await };
        open.feed.changed().await;
        let newest = open.feed.newest();
        open.feed.caught_up(newest);
        if newest == u64::MAX { Notice::Gone } else { Notice::Changed }
    };
    let of_others = async {
        let Some(watch) = watch else { return std::future::pending().await };
        watch.next(selected).await
    };
    match drive::first(of_open, of_others).await {
        First::A(notice) | First::B(notice) => notice,
    }
}

impl Watch {
    async fn next(&mut self, selected: Option<FolderId>) -> Notice {
        loop {
            if let Some(notice) = self.waiting.pop_front() {
                return notice;
            }
            if self.wake.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Err(error) = self.look(selected) {
                tracing::warn!(%error, "a session could not be told of changes in its folders");
            }
        }
    }

    fn events(&self, folder: &str) -> NotifyEvents {
        let covers = |spec: &NotifyFolders| match spec {
            NotifyFolders::Selected | NotifyFolders::SelectedDelayed => false,
            NotifyFolders::Inboxes => folder == "INBOX",
            NotifyFolders::Personal => true,
            NotifyFolders::Subscribed => self.subscribed.iter().any(|s| s == folder),
            NotifyFolders::Subtree(roots) => roots
                .iter()
                .any(|root| folder == root || folder.strip_prefix(root).is_some_and(|r| r.starts_with('/'))),
            NotifyFolders::Mailboxes(names) => names.iter().any(|n| folder::canonical(n) == folder),
        };
        // RFC 5465 §3: the first group that names a folder counts.
        self.spec.groups.iter().find(|g| covers(&g.folders)).map(|g| g.events).unwrap_or_default()
    }

    /// Compares all folders with what was told of them.
    fn look(&mut self, selected: Option<FolderId>) -> Result<(), StoreError> {
        let account = self.who.account;
        let lists =
            |conn: &Connection| Ok((folder::subscriptions(conn, account)?, folder::list(conn, account)?));
        let (subscribed, all) = self.site.store().glance(lists)?;
        self.subscribed = subscribed;
        let mut now = BTreeMap::new();
        for found in all {
            let events = self.events(&found.name);
            let row = folders::status_row(&self.site, &found, StatusItems::default())?;
            let mark = if events.flag_change {
                row.highest_modseq
            } else {
                u64::from(row.uid_next) << 32 | (row.messages & 0xffff_ffff)
            };
            let messages = events.message_new || events.message_expunge || events.flag_change;
            match self.told.get(&found.id) {
                Some((old, _)) if old.name != found.name && events.mailbox_name => {
                    self.tell(&found, Some(old.name.clone()), false);
                }
                Some((_, before)) if *before != mark && selected != Some(found.id) && messages => {
                    self.waiting.push_back(Notice::Status(Box::new((found.name.clone(), row))));
                }
                None if events.mailbox_name => self.tell(&found, None, false),
                _ => {}
            }
            now.insert(found.id, (found, mark));
        }
        let gone: Vec<Folder> =
            self.told.iter().filter(|(id, _)| !now.contains_key(id)).map(|(_, (f, _))| f.clone()).collect();
        for folder in gone {
            if self.events(&folder.name).mailbox_name {
                self.tell(&folder, None, true);
            }
        }
        self.told = now;
        Ok(())
    }

    fn tell(&mut self, folder: &Folder, old_name: Option<String>, deleted: bool) {
        let listed = Listed {
            name: folder.name.clone(),
            exists: !deleted,
            selectable: !deleted,
            subscribed: self.subscribed.contains(&folder.name),
            may_have_children: true,
            special_use: translate::uses(&folder.special),
            mailbox_id: Some(folder.id.object_id()),
        };
        self.waiting.push_back(Notice::Folder { folder: Box::new(listed), old_name, deleted });
    }
}

impl Desk {
    pub(super) async fn set_notify(&mut self, spec: Option<Box<NotifySpec>>) -> Said {
        self.watch = None;
        let Some(spec) = spec else { return Ok(Answer::Done) };
        let who = self.who()?.clone();
        let selected = self.open.as_ref().map(|o| o.folder.id);
        let mut watch = Watch {
            site: self.site.clone(),
            wake: self.hub().watch_account(who.account),
            who,
            told: BTreeMap::new(),
            subscribed: Vec::new(),
            waiting: VecDeque::new(),
            spec: *spec,
        };
        watch.look(selected).map_err(translate::refusal)?;
        watch.waiting.clear();
        let rows = match watch.spec.status {
            true => watch.all(selected).map_err(translate::refusal)?,
            false => Vec::new(),
        };
        self.watch = Some(Box::new(watch));
        Ok(Answer::Noticing(rows))
    }
}

impl Watch {
    /// The counters of every folder that is watched, but the selected one.
    fn all(&self, selected: Option<FolderId>) -> Result<Vec<(String, StatusRow)>, StoreError> {
        let mut out = Vec::new();
        for (id, (folder, _)) in &self.told {
            let events = self.events(&folder.name);
            let messages = events.message_new || events.message_expunge || events.flag_change;
            if messages && selected != Some(*id) {
                let row = folders::status_row(&self.site, folder, StatusItems::default())?;
                out.push((folder.name.clone(), row));
            }
        }
        Ok(out)
    }
}
