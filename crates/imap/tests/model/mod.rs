//! A mailbox in memory that answers the machine's questions: the model that tests compare with.

#![allow(dead_code)]

use imap::ask::*;
use imap::command::{SearchKey, Section, SectionKind};
use imap::{Answer, Ask, FlagNames, Flags, Refusal, UidSet};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub struct Message {
    pub uid: u32,
    pub flags: Flags,
    pub modseq: u64,
    pub date: DateTime,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Mailbox {
    pub uid_validity: u32,
    pub next: u32,
    pub modseq: u64,
    pub messages: Vec<Message>,
    pub gone: Vec<(u32, u64)>,
    pub added: BTreeMap<u32, u64>,
    pub keywords: Vec<String>,
    pub subscribed: bool,
    pub seen_recent: u32,
}

impl Mailbox {
    fn new(uid_validity: u32) -> Mailbox {
        Mailbox {
            uid_validity,
            next: 1,
            modseq: 1,
            messages: Vec::new(),
            gone: Vec::new(),
            added: BTreeMap::new(),
            keywords: Vec::new(),
            subscribed: false,
            seen_recent: 0,
        }
    }
    pub fn uids(&self) -> UidSet {
        self.messages.iter().map(|m| m.uid).collect()
    }
    fn flags(&mut self, names: &FlagNames) -> Flags {
        names.keywords.iter().fold(names.system, |flags, word| {
            let known = self.keywords.iter().position(|k| k.eq_ignore_ascii_case(word));
            let at = known.unwrap_or_else(|| {
                self.keywords.push(word.clone());
                self.keywords.len() - 1
            });
            flags.with(Flags::keyword(at).expect("the tests use few keywords"))
        })
    }
    fn add(&mut self, body: Vec<u8>, flags: Flags, date: DateTime) -> u32 {
        let uid = self.next;
        self.next += 1;
        self.added.insert(uid, self.modseq);
        self.messages.push(Message { uid, flags, modseq: self.modseq, date, body });
        uid
    }
    fn remove(&mut self, keep: impl Fn(&Message) -> bool) -> UidSet {
        let gone: UidSet = self.messages.iter().filter(|m| !keep(m)).map(|m| m.uid).collect();
        if !gone.is_empty() {
            self.modseq += 1;
            let modseq = self.modseq;
            self.gone.extend(gone.iter().map(|u| (u, modseq)));
            self.messages.retain(keep);
        }
        gone
    }
}

#[derive(Default)]
pub struct World {
    pub folders: BTreeMap<String, Mailbox>,
    made: u32,
}

impl World {
    pub fn new() -> World {
        let mut world = World::default();
        world.make("INBOX");
        world
    }
    pub fn make(&mut self, name: &str) {
        self.made += 1;
        self.folders.insert(name.into(), Mailbox::new(1000 + self.made));
    }
    pub fn deliver(&mut self, folder: &str, body: &str, flags: Flags) {
        let mailbox = self.folders.get_mut(folder).expect("the test made it");
        mailbox.modseq += 1;
        mailbox.add(body.as_bytes().to_vec(), flags, DateTime { secs: 1_767_225_600, zone: 0 });
    }
}

/// One session's desk.
pub struct Desk {
    pub world: Rc<RefCell<World>>,
    open: Option<String>,
    appending: Vec<(AppendMessage, Vec<u8>)>,
    /// Rows per page, so that paging is tested.
    pub page: usize,
    /// Contents longer than this come in pieces.
    pub inline: usize,
}

type Said = Result<Answer, Refusal>;

fn no(code: Code, why: &str) -> Refusal {
    Refusal::new(code, why)
}

impl Desk {
    pub fn new(world: Rc<RefCell<World>>) -> Desk {
        Desk { world, open: None, appending: Vec::new(), page: 3, inline: 40 }
    }

    pub fn answer(&mut self, ask: &Ask) -> Answer {
        self.say(ask).unwrap_or_else(Answer::Refused)
    }

    fn with<T>(&self, f: impl FnOnce(&mut Mailbox) -> T) -> Result<T, Refusal> {
        let name = self.open.clone().ok_or(no(Code::ClientBug, "no folder"))?;
        self.named(&name, f)
    }
    fn named<T>(&self, name: &str, f: impl FnOnce(&mut Mailbox) -> T) -> Result<T, Refusal> {
        let mut world = self.world.borrow_mut();
        world.folders.get_mut(name).map(f).ok_or(no(Code::NonExistent, "There is no such folder"))
    }

    fn say(&mut self, ask: &Ask) -> Said {
        Ok(match ask {
            Ask::Sasl(sasl::Question::Password { user, password, .. }) => {
                Answer::Sasl(match user == "joe" && password.reveal() == "pw" {
                    true => sasl::Answer::Granted,
                    false => sasl::Answer::Refused(sasl::Failure::Wrong),
                })
            }
            Ask::Sasl(sasl::Question::Unencrypted { .. }) => {
                Answer::Sasl(sasl::Answer::Refused(sasl::Failure::TooWeak))
            }
            Ask::Sasl(_) => Answer::Sasl(sasl::Answer::Refused(sasl::Failure::Wrong)),
            Ask::Enter => Answer::Welcome(Box::new(Welcome { user: "joe".into(), ..Welcome::default() })),
            Ask::Forget => {
                self.open = None;
                Answer::Done
            }
            Ask::AppendMessage(_) | Ask::AppendBytes { .. } | Ask::AppendCommit { .. } | Ask::AppendAbort => {
                self.append(ask)?
            }
            Ask::Select { folder, read_only } => self.select(folder, *read_only)?,
            Ask::Unselect => {
                self.open = None;
                Answer::Done
            }
            Ask::Folders => self.folders(),
            Ask::Create { folder, .. } => {
                if self.world.borrow().folders.contains_key(folder) {
                    return Err(no(Code::AlreadyExists, "It exists"));
                }
                self.world.borrow_mut().make(folder);
                Answer::Created { mailbox_id: None }
            }
            Ask::Delete { folder } => match self.world.borrow_mut().folders.remove(folder) {
                Some(_) => Answer::Done,
                None => return Err(no(Code::NonExistent, "There is no such folder")),
            },
            Ask::Rename { from, to } => {
                let mut world = self.world.borrow_mut();
                let moved =
                    world.folders.remove(from).ok_or(no(Code::NonExistent, "There is no such folder"))?;
                world.folders.insert(to.clone(), moved);
                Answer::Done
            }
            Ask::Subscribe { folder, on } => {
                self.named(folder, |m| m.subscribed = *on)?;
                Answer::Done
            }
            Ask::Status { folders, .. } => {
                let row = |m: &mut Mailbox| StatusRow {
                    messages: m.messages.len() as u64,
                    uid_next: m.next,
                    uid_validity: m.uid_validity,
                    unseen: m.messages.iter().filter(|m| !m.flags.has(Flags::SEEN)).count() as u64,
                    size: m.messages.iter().map(|m| m.body.len() as u64).sum(),
                    highest_modseq: m.modseq,
                    ..StatusRow::default()
                };
                Answer::Status(folders.iter().map(|f| self.named(f, row).ok()).collect())
            }
            other => self.say_of_selected(other)?,
        })
    }

    fn append(&mut self, ask: &Ask) -> Said {
        Ok(match ask {
            Ask::AppendMessage(message) => {
                self.named(&message.folder, |_| ())
                    .map_err(|_| no(Code::TryCreate, "There is no such folder"))?;
                self.appending.push((*message.clone(), Vec::new()));
                Answer::Done
            }
            Ask::AppendBytes { bytes, last } => {
                let (message, body) = self.appending.last_mut().expect("the machine announces messages");
                body.extend_from_slice(bytes);
                assert_eq!(*last, body.len() as u64 == message.size, "the last piece completes the message");
                Answer::Done
            }
            Ask::AppendCommit { replace } => self.commit(*replace)?,
            Ask::AppendAbort => {
                self.appending.clear();
                Answer::Done
            }
            _ => Answer::Done,
        })
    }

    fn say_of_selected(&mut self, ask: &Ask) -> Said {
        Ok(match ask {
            Ask::Sync { since } => Answer::Changes(Box::new(self.sync(*since)?)),
            Ask::Fetch(ask) => Answer::Page(self.fetch(ask)?),
            Ask::Body { body, offset, len } => self.with(|m| {
                let message =
                    &m.messages.iter().find(|m| i64::from(m.uid) == *body).expect("it was just fetched").body;
                let from = *offset as usize;
                Answer::Bytes(message[from..message.len().min(from + (*len).min(7))].to_vec().into())
            })?,
            Ask::Vanished { uids, since } => self.with(|m| {
                let gone = m.gone.iter().filter(|(u, at)| at > since && uids.contains(*u));
                Answer::Uids(UidSet::of(gone.map(|g| g.0).collect()))
            })?,
            Ask::Store(ask) => Answer::Stored(Box::new(self.store(ask)?)),
            Ask::Copy { uids, to, remove } => self.copy(uids, to, *remove)?,
            Ask::Expunge { uids } => {
                let doomed = |m: &Message| {
                    m.flags.has(Flags::DELETED) && uids.as_ref().is_none_or(|s| s.contains(m.uid))
                };
                Answer::Expunged { uids: self.with(|m| m.remove(|m| !doomed(m)))? }
            }
            Ask::Search(ask) => self.with(|m| {
                let words = m.keywords.clone();
                let found: Vec<&Message> = m.messages.iter().filter(|m| fits(m, &ask.key, &words)).collect();
                let modseq = found.iter().map(|m| m.modseq).max();
                Answer::Found(Found { uids: found.iter().map(|m| m.uid).collect(), modseq })
            })?,
            _ => Answer::Done,
        })
    }

    fn select(&mut self, folder: &str, read_only: bool) -> Said {
        self.open = None;
        let selected = self.named(folder, |m| {
            let recent: UidSet = m.uids().iter().filter(|u| *u > m.seen_recent).collect();
            if !read_only {
                m.seen_recent = m.next - 1;
            }
            Selected {
                read_only,
                mailbox_id: None,
                uid_validity: m.uid_validity,
                uid_next: m.next,
                highest_modseq: m.modseq,
                uids: m.uids(),
                recent,
                first_unseen: m.messages.iter().find(|m| !m.flags.has(Flags::SEEN)).map(|m| m.uid),
                keywords: m.keywords.clone().into(),
                more_keywords: true,
                permanent: Flags::SYSTEM,
            }
        })?;
        self.open = Some(folder.into());
        Ok(Answer::Selected(Box::new(selected)))
    }

    fn folders(&self) -> Answer {
        let world = self.world.borrow();
        let folder = |(name, m): (&String, &Mailbox)| Folder {
            name: name.clone(),
            exists: true,
            selectable: true,
            subscribed: m.subscribed,
            may_have_children: true,
            ..Folder::default()
        };
        Answer::Folders(world.folders.iter().map(folder).collect())
    }

    fn commit(&mut self, replace: Option<u32>) -> Said {
        let messages = std::mem::take(&mut self.appending);
        let name = messages.first().map(|m| m.0.folder.clone()).unwrap_or_default();
        let answer = self.named(&name, |m| {
            m.modseq += 1;
            let add = |(message, body): (AppendMessage, Vec<u8>)| {
                let flags = m.flags(&message.flags);
                m.add(body, flags, message.date.unwrap_or_default())
            };
            let uids = messages.into_iter().map(add).collect();
            Answer::Appended { uid_validity: m.uid_validity, uids }
        })?;
        if let Some(uid) = replace {
            self.with(|m| m.remove(|m| m.uid != uid))?;
        }
        Ok(answer)
    }

    fn sync(&self, since: u64) -> Result<Changes, Refusal> {
        self.with(|m| {
            let new = |uid: u32| m.added.get(&uid).is_some_and(|at| *at > since);
            let changed = |m: &&Message| m.modseq > since && !new(m.uid);
            let row = |m: &Message| FlagRow { uid: m.uid, flags: m.flags, modseq: m.modseq, elsewhere: true };
            Changes {
                highest_modseq: m.modseq,
                new: m.uids().iter().filter(|u| new(*u)).collect(),
                recent: UidSet::new(),
                gone: UidSet::of(m.gone.iter().filter(|g| g.1 > since).map(|g| g.0).collect()),
                flags: m.messages.iter().filter(changed).map(row).collect(),
                keywords: Some(m.keywords.clone().into()),
            }
        })
    }

    fn fetch(&self, ask: &FetchAsk) -> Result<Page, Refusal> {
        let (page, inline) = (self.page, self.inline);
        self.with(|m| {
            let wanted = |m: &&Message| {
                m.uid > ask.after
                    && ask.uids.contains(m.uid)
                    && ask.changed_since.is_none_or(|since| m.modseq > since)
            };
            let found: Vec<&Message> = m.messages.iter().filter(wanted).collect();
            let rows: Vec<Row> = found.iter().take(page).map(|m| row(m, ask, inline)).collect();
            Page { more: found.len() > rows.len(), rows, keywords: Some(m.keywords.clone().into()) }
        })
    }

    fn store(&self, ask: &StoreAsk) -> Result<Stored, Refusal> {
        self.with(|m| {
            let flags = m.flags(&ask.flags);
            let next = m.modseq + 1;
            let mut stored = Stored { keywords: Some(m.keywords.clone().into()), ..Stored::default() };
            for message in m.messages.iter_mut().filter(|m| ask.uids.contains(m.uid)) {
                if ask.unchanged_since.is_some_and(|since| message.modseq > since) {
                    stored.modified.insert(message.uid);
                    continue;
                }
                let elsewhere = message.modseq > ask.since;
                let new = match ask.change {
                    Change::Add => message.flags.with(flags),
                    Change::Remove => message.flags.without(flags),
                    Change::Replace => flags,
                };
                if new != message.flags {
                    message.flags = new;
                    message.modseq = next;
                    stored.modseq = Some(next);
                }
                if ask.rows || elsewhere {
                    stored.rows.push(FlagRow {
                        uid: message.uid,
                        flags: new,
                        modseq: message.modseq,
                        elsewhere,
                    });
                }
            }
            m.modseq = stored.modseq.unwrap_or(m.modseq);
            stored
        })
    }

    fn copy(&self, uids: &UidSet, to: &str, remove: bool) -> Said {
        self.named(to, |_| ()).map_err(|_| no(Code::TryCreate, "There is no such folder"))?;
        let (taken, words) = self.with(|m| {
            let taken: Vec<Message> = m.messages.iter().filter(|m| uids.contains(m.uid)).cloned().collect();
            (taken, m.keywords.clone())
        })?;
        let from: UidSet = taken.iter().map(|m| m.uid).collect();
        let (uid_validity, new) = self.named(to, |m| {
            m.modseq += 1;
            let add = |message: Message| {
                let system = Flags(message.flags.0 & Flags::SYSTEM.0);
                let has = |n: &usize| Flags::keyword(*n).is_some_and(|f| message.flags.has(f));
                let keywords = (0..words.len()).filter(has).map(|n| words[n].clone()).collect();
                let flags = m.flags(&FlagNames { system, keywords });
                m.add(message.body, flags, message.date)
            };
            let new: UidSet = taken.into_iter().map(add).collect();
            (m.uid_validity, new)
        })?;
        if remove {
            self.with(|m| m.remove(|m| !from.contains(m.uid)))?;
        }
        Ok(Answer::Copied { uid_validity, from, to: new })
    }
}

fn row(message: &Message, ask: &FetchAsk, inline: usize) -> Row {
    let mut row = Row {
        uid: message.uid,
        flags: message.flags,
        modseq: message.modseq,
        size: message.body.len() as u64,
        date: message.date,
        texts: None,
    };
    if ask.needs != Needs::default() {
        let parts = ask.sections.iter().map(|s| part(message, s, inline)).collect();
        row.texts =
            Some(Box::new(Texts { email_id: format!("M{}", message.uid), parts, ..Texts::default() }));
    }
    row
}

fn part(message: &Message, section: &Section, inline: usize) -> Part {
    let head = message.body.windows(4).position(|w| w == b"\r\n\r\n").map_or(message.body.len(), |n| n + 4);
    let (start, end) = match &section.kind {
        SectionKind::All | SectionKind::Binary if section.part.is_empty() => (0, message.body.len()),
        SectionKind::Header => (0, head),
        SectionKind::Text => (head, message.body.len()),
        SectionKind::Fields { names, not } => {
            return Part::Now(imap::fields::header_fields(&message.body[..head], names, *not).into());
        }
        SectionKind::BinarySize => return Part::Size(message.body.len() as u64),
        SectionKind::Binary => return Part::UnknownCte,
        _ => return Part::Nil,
    };
    let (from, len) = section.cut((end - start) as u64);
    let offset = start + from as usize;
    if len as usize > inline {
        return Part::Later { body: i64::from(message.uid), offset: offset as u64, len };
    }
    Part::Now(message.body[offset..offset + len as usize].to_vec().into())
}

fn fits(message: &Message, key: &SearchKey, words: &[String]) -> bool {
    let has_word = |word: &str| {
        let at = words.iter().position(|k| k.eq_ignore_ascii_case(word));
        at.and_then(Flags::keyword).is_some_and(|f| message.flags.has(f))
    };
    match key {
        SearchKey::All => true,
        SearchKey::And(keys) => keys.iter().all(|k| fits(message, k, words)),
        SearchKey::Or(a, b) => fits(message, a, words) || fits(message, b, words),
        SearchKey::Not(k) => !fits(message, k, words),
        SearchKey::Uids(set) => set.contains(message.uid),
        SearchKey::Has(flags) => message.flags.has(*flags),
        SearchKey::Lacks(flags) => message.flags.0 & flags.0 == 0,
        SearchKey::Keyword(word) => has_word(word),
        SearchKey::Unkeyword(word) => !has_word(word),
        SearchKey::Larger(n) => message.body.len() as u64 > *n,
        SearchKey::Smaller(n) => (message.body.len() as u64) < *n,
        SearchKey::ModSeq(n) => message.modseq >= *n,
        SearchKey::Text(text) | SearchKey::Body(text) => {
            String::from_utf8_lossy(&message.body).to_lowercase().contains(&text.to_lowercase())
        }
        other => panic!("the model does not know {other:?}"),
    }
}
