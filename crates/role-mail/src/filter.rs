//! A mailbox owner's Sieve script at delivery.
//!
//! What it is: the active script of each account is run over the message before the commit, and
//! what it wants is made ready: bodies, spool entries, marks. What it is not: Sieve itself (the
//! `sieve` crate), or a judge. A script that fails, or takes too long, keeps the message.
//! Begin with [`file`], then [`Filed::place`].

use std::collections::BTreeMap;
use std::sync::Arc;

use ledger::Fact;
use mailbox::{Flags, New, Pen};
use message::dsn::{Action as Done, Fate, Notice, Original};
use sieve::{Action, Around, Facts, Fault, Library, Limits, Outcome, Place};
use stdx::{Now, Span};
use store::rusqlite::Connection;
use store::{Batch, BodyId, Sealed, Store, StoreError};
use words::{AccountId, Address, Enhanced, Envelope, Recipient};

use crate::reception::Draft;
use crate::tag::{self, Whose};
use crate::text::Share;
use crate::{Site, complaints};

/// Octets of the original's header that go back with a refusal.
const HEADER_OCTETS_MAX: usize = 64 << 10;

/// What one account's script wants, ready for the commit.
pub struct Filed {
    pub account: AccountId,
    keeps: Vec<Keep>,
    sends: Vec<Send>,
    marks: Vec<(Vec<u8>, u64)>,
    fact: Option<Fact>,
}

/// A copy for a folder.
struct Keep {
    /// `None` is INBOX.
    folder: Option<String>,
    special_use: Option<String>,
    create: bool,
    flags: Vec<String>,
    /// The place among the commit's bodies, and the size; nothing for the text all mailboxes share.
    body: Option<(usize, u64)>,
}

/// A message for elsewhere.
pub struct Send {
    pub body: usize,
    pub size: u64,
    pub envelope: Envelope,
    pub origin: spool::Origin,
    /// Only if this mark (of a vacation notice) does not stand yet, and for how long it then does.
    mark: Option<(Vec<u8>, u64)>,
}

/// The owner's folders and marks, as they are now.
struct Home {
    store: Store,
    account: AccountId,
    now: Now,
}

impl Around for Home {
    fn folder_exists(&self, name: &str) -> bool {
        let found = self.store.glance(|c| mailbox::folder::find(c, self.account, name));
        matches!(found, Ok(Some(_)))
    }
    fn special_use_exists(&self, folder: Option<&str>, special_use: &str) -> bool {
        let list = self.store.glance(|c| mailbox::folder::list(c, self.account)).unwrap_or_default();
        list.iter().any(|f| {
            folder.is_none_or(|name| mailbox::folder::canonical(name) == f.name)
                && f.special.split(' ').any(|s| s.eq_ignore_ascii_case(special_use))
        })
    }
    fn seen(&self, mark: &str) -> bool {
        let key = mark_key("duplicate", mark);
        self.store.glance(|c| directory::script_mark(c, self.account, &key, self.now)).unwrap_or(false)
    }
}

impl Library for Home {
    fn script(&self, global: bool, name: &str) -> Option<String> {
        if global {
            return None;
        }
        self.store.glance(|c| directory::script(c, self.account, name)).ok().flatten()
    }
}

/// Marks hold what people wrote; only their hash is kept.
fn mark_key(kind: &str, mark: &str) -> Vec<u8> {
    sasl::mark(b"sieve", &[kind.as_bytes(), mark.as_bytes()]).to_vec()
}

/// Runs the scripts of those accounts that have one. `top` is what stands above the text in the
/// mailboxes' copy. Bodies that are needed besides are added to `bodies`.
pub async fn file(
    site: &Site,
    draft: &Draft,
    (accounts, top): (&BTreeMap<AccountId, Address>, &str),
    bodies: &mut Vec<Sealed>,
) -> Result<Vec<Filed>, StoreError> {
    let mut out = Vec::new();
    let mut whole: Option<Arc<Vec<u8>>> = None;
    let mut share = Share::none(site.texts());
    for (&account, address) in accounts {
        let found = site.store().glance(|c| directory::active_script(c, account))?;
        let Some((name, text)) = found else { continue };
        let message = match &whole {
            Some(message) => message,
            None => {
                // A script may look at any octet, so a long text is read back for it.
                let text = draft.text.read_back(bodies, &mut share).await?;
                let text = text.ok_or_else(|| StoreError::Full("too many long texts for scripts".into()))?;
                let mut bytes = top.as_bytes().to_vec();
                bytes.extend_from_slice(&text);
                whole.insert(Arc::new(bytes))
            }
        };
        let own = site.store().glance(|c| directory::addresses_of(c, account))?;
        let run = Run {
            home: Home { store: site.store().clone(), account, now: site.now() },
            text,
            message: message.clone(),
            sender: draft.envelope.sender.as_ref().map_or(String::new(), ToString::to_string),
            recipient: address.to_string(),
            own: own.iter().map(ToString::to_string).collect(),
            host: site.settings().host_name.clone(),
            reply_id: site.message_id().to_string(),
        };
        // A script that breaks the interpreter is our fault; its owner's mail is kept.
        let outcome = tokio::task::spawn_blocking(move || run.run()).await.unwrap_or_else(|_| {
            let says = "this script broke the interpreter; please tell the operator".to_owned();
            kept(Fault { script: String::new(), place: Place::default(), says })
        });
        out.push(ready(site, draft, (account, address, &name), (outcome, message), bodies).await?);
    }
    Ok(out)
}

/// The message as it came, and why nothing else was done.
fn kept(trouble: Fault) -> Outcome {
    let keep = Action::Keep { flags: Vec::new(), implicit: true, version: 0 };
    Outcome { actions: vec![keep], trouble: Some(trouble), ..Outcome::default() }
}

/// What the interpreter needs, on its own thread.
struct Run {
    home: Home,
    text: String,
    message: Arc<Vec<u8>>,
    sender: String,
    recipient: String,
    own: Vec<String>,
    host: String,
    reply_id: String,
}

impl Run {
    fn run(self) -> Outcome {
        let limits = Limits::default();
        let script = match sieve::compile(&self.text, &self.home, &limits) {
            Ok(script) => script,
            // It had no fault when it was kept; a script it includes may have gone.
            Err(faults) => {
                return faults.into_iter().next().map_or_else(Outcome::default, kept);
            }
        };
        let environment = BTreeMap::from([
            ("host".to_owned(), self.host.clone()),
            ("domain".to_owned(), self.host.split_once('.').map_or("", |(_, d)| d).to_owned()),
        ]);
        let facts = Facts {
            message: &self.message,
            sender: Some(&self.sender),
            recipient: &self.recipient,
            authenticated: None,
            own: &self.own,
            delimiters: "+",
            zone_min: 0,
            environment: &environment,
            reply_id: &self.reply_id,
            around: &self.home,
        };
        sieve::evaluate(&script, &facts, self.home.now, &limits)
    }
}

async fn seal(site: &Site, bytes: &[u8], bodies: &mut Vec<Sealed>) -> Result<(usize, u64), StoreError> {
    let mut draft = site.store().draft();
    draft.write(bytes).await?;
    let sealed = draft.seal().await?;
    let size = sealed.len();
    bodies.push(sealed);
    Ok((bodies.len() - 1, size))
}

/// Bodies and envelopes for what a script wants.
async fn ready(
    site: &Site,
    draft: &Draft,
    (account, address, name): (AccountId, &Address, &str),
    (outcome, message): (Outcome, &Arc<Vec<u8>>),
    bodies: &mut Vec<Sealed>,
) -> Result<Filed, StoreError> {
    let fact = fact(site, draft, (address, name), &outcome);
    let marks = outcome.marks.iter().map(|m| (mark_key("duplicate", &m.name), m.seconds)).collect();
    let mut filed = Filed { account, keeps: Vec::new(), sends: Vec::new(), marks, fact };
    let mut versions: Vec<Option<(usize, u64)>> = vec![None];
    for text in &outcome.versions {
        versions.push(Some(seal(site, text, bodies).await?));
    }
    let text = |version: usize| {
        outcome.versions.get(version.wrapping_sub(1)).map_or(message.as_slice(), Vec::as_slice)
    };
    for action in &outcome.actions {
        match action {
            Action::Keep { flags, version, .. } => {
                let (flags, body) = (flags.clone(), versions[*version]);
                filed.keeps.push(Keep { folder: None, special_use: None, create: false, flags, body });
            }
            Action::FileInto { folder, flags, create, special_use, version } => filed.keeps.push(Keep {
                folder: Some(folder.clone()),
                special_use: special_use.clone(),
                create: *create,
                flags: flags.clone(),
                body: versions[*version],
            }),
            Action::Redirect { to, version } => {
                match redirected(site, draft, (address, to, text(*version)), bodies).await? {
                    Some(send) => filed.sends.push(send),
                    // It has been here before: a redirect that goes round in circles ends in INBOX.
                    None => filed.keeps.push(Keep {
                        folder: None,
                        special_use: None,
                        create: false,
                        flags: Vec::new(),
                        body: versions[*version],
                    }),
                }
            }
            Action::Discard => {}
            Action::Reject { reason, .. } => {
                filed.sends.extend(refused(site, draft, (address, reason), bodies).await?)
            }
            Action::Vacation(vacation) => {
                if let Ok(reply) = &vacation.reply
                    && let Ok(to) = Address::parse(&reply.to)
                {
                    let whose = Whose::Account(account);
                    let text = complaints::tagged(site, whose, draft.id, &reply.message).await?;
                    let (body, size) = seal(site, &text, bodies).await?;
                    let mark = Some((mark_key("vacation", &vacation.mark), vacation.seconds));
                    filed.sends.push(Send {
                        body,
                        size,
                        envelope: notice_to(to),
                        origin: spool::Origin::Notice,
                        mark,
                    });
                }
            }
        }
    }
    Ok(filed)
}

// RFC 5230 §5.1, RFC 3834 §3.3: automatic answers have the null reverse path.
fn notice_to(to: Address) -> Envelope {
    Envelope { recipients: vec![Recipient::new(to)], ..Envelope::default() }
}

async fn redirected(
    site: &Site,
    draft: &Draft,
    (of, to, text): (&Address, &str, &[u8]),
    bodies: &mut Vec<Sealed>,
) -> Result<Option<Send>, StoreError> {
    let head = message::Head::parse(draft.text.header());
    let Ok(target) = Address::parse(to) else { return Ok(None) };
    if message::manners::delivered_to(&head, &of.to_string()) {
        return Ok(None);
    }
    let mut copy = message::edit::fold("Delivered-To", &of.to_string());
    copy.push_str(&complaints::tags(site).await?.field(Whose::Message, draft.id));
    let mut copy = copy.into_bytes();
    copy.extend_from_slice(
        &message::edit::Changes::new().remove("Return-Path").remove(tag::FIELD).apply(text),
    );
    let (body, size) = seal(site, &copy, bodies).await?;
    let envelope = Envelope { recipients: vec![Recipient::new(target)], ..draft.envelope.clone() };
    Ok(Some(Send { body, size, envelope, origin: spool::Origin::Forwarded { of: of.clone() }, mark: None }))
}

// RFC 5429 §2: the sender is told in the words of the script.
async fn refused(
    site: &Site,
    draft: &Draft,
    (address, reason): (&Address, &str),
    bodies: &mut Vec<Sealed>,
) -> Result<Option<Send>, StoreError> {
    let Some(to) = draft.envelope.sender.clone() else { return Ok(None) };
    let host = site.settings().host_name.clone();
    let head = message::Head::parse(draft.text.header()).body_start().min(HEADER_OCTETS_MAX);
    let orcpt =
        draft.envelope.recipients.iter().find(|r| r.address == *address).and_then(|r| r.orcpt.clone());
    let notice = Notice {
        from: format!("postmaster@{host}"),
        message_id: format!("{}.refused@{host}", site.message_id()),
        host,
        to: to.clone(),
        at: site.now(),
        about: Some(draft.id),
        envid: draft.envelope.envid.clone(),
        arrived: Some(site.now()),
        fates: vec![Fate {
            recipient: address.clone(),
            orcpt,
            action: Done::Failed,
            status: Enhanced(5, 7, 1),
            remote: None,
            reply: None,
            says: format!("The recipient's own filter refused the message: {reason}"),
            last_attempt: None,
            until: None,
        }],
        original: Original::Header(draft.text.header()[..head].to_vec()),
    };
    let text = complaints::tagged(site, Whose::Message, draft.id, &notice.build()).await?;
    let (body, size) = seal(site, &text, bodies).await?;
    Ok(Some(Send { body, size, envelope: notice_to(to), origin: spool::Origin::Notice, mark: None }))
}

/// Worth telling: anything but a plain keep.
fn fact(site: &Site, draft: &Draft, (address, name): (&Address, &str), outcome: &Outcome) -> Option<Fact> {
    let words: Vec<String> = outcome
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Keep { implicit: true, .. } => None,
            Action::Keep { .. } => Some("keep".to_owned()),
            Action::FileInto { folder, .. } => Some(format!("fileinto {folder}")),
            Action::Redirect { to, .. } => Some(format!("redirect {to}")),
            Action::Discard => Some("discard".to_owned()),
            Action::Reject { .. } => Some("reject".to_owned()),
            Action::Vacation(v) => Some(match &v.reply {
                Ok(_) => "vacation".to_owned(),
                Err(why) => format!("no vacation notice: {why}"),
            }),
        })
        .collect();
    if words.is_empty() && outcome.trouble.is_none() {
        return None;
    }
    let kind = if outcome.trouble.is_some() { "sieve.failed" } else { "sieve.filed" };
    let mut fact = Fact::new(kind, site.now()).message(draft.id).about(address).with("script", name);
    fact = fact.with("actions", words.join("; "));
    if let Some(trouble) = &outcome.trouble {
        fact = fact.with("trouble", trouble.to_string());
    }
    Some(fact)
}

impl Filed {
    /// Into the folders, in the commit. `shared` is the text all mailboxes share.
    pub fn place(&self, batch: &mut Batch<'_>, pen: &Pen, shared: (BodyId, u64)) -> Result<(), StoreError> {
        for keep in &self.keeps {
            let (body, size) = keep.body.map_or(shared, |(at, size)| (batch.body(at), size));
            let mut new = New::arriving(body, size, pen.now);
            for flag in &keep.flags {
                match system_flag(flag) {
                    Some(system) => new.flags = new.flags.with(system),
                    None => new.keywords.push(flag.clone()),
                }
            }
            let into = folder(batch, self.account, keep, pen.now)?;
            mailbox::deliver(batch, pen, self.account, into.as_deref(), &new)?;
        }
        for (mark, seconds) in &self.marks {
            let ends = pen.now + Span::secs(*seconds);
            directory::set_script_mark(batch, self.account, mark, (pen.now, ends))?;
        }
        if let Some(fact) = &self.fact {
            ledger::note(batch, fact)?;
        }
        Ok(())
    }

    /// What is to be sent; a vacation notice whose mark stands is left out.
    pub fn sends(&self, batch: &mut Batch<'_>, now: Now) -> Result<Vec<&Send>, StoreError> {
        let mut out = Vec::new();
        for send in &self.sends {
            let fresh = match &send.mark {
                Some((mark, seconds)) => {
                    let ends = now + Span::secs(*seconds);
                    !directory::script_mark(batch.sql(), self.account, mark, now)?
                        && directory::set_script_mark(batch, self.account, mark, (now, ends))?
                }
                None => true,
            };
            if fresh {
                out.push(send);
            }
        }
        Ok(out)
    }
}

/// The folder a copy goes to: the one with the special use, the named one, made if that was wished
/// for; INBOX if it is not there (RFC 5228 §4.1 leaves that to us, and nothing may be lost).
fn folder(
    batch: &mut Batch<'_>,
    account: AccountId,
    keep: &Keep,
    now: Now,
) -> Result<Option<String>, StoreError> {
    let Some(name) = &keep.folder else { return Ok(None) };
    mailbox::folder::ensure(batch, account, now)?;
    let conn: &Connection = batch.sql();
    if let Some(special) = &keep.special_use
        && let Some(found) = mailbox::folder::special(conn, account, special)?
    {
        return Ok(Some(found.name));
    }
    if mailbox::folder::find(conn, account, name)?.is_some() {
        return Ok(Some(name.clone()));
    }
    if keep.create {
        let special = keep.special_use.as_deref().unwrap_or("");
        return match mailbox::folder::create(batch, account, name, special, now) {
            Ok(folder) => {
                mailbox::folder::subscribe(batch, account, &folder.name)?;
                Ok(Some(folder.name))
            }
            // A name no folder can have: into INBOX.
            Err(StoreError::Rule(_)) => Ok(None),
            Err(error) => Err(error),
        };
    }
    Ok(None)
}

fn system_flag(flag: &str) -> Option<Flags> {
    Some(match flag.to_ascii_lowercase().as_str() {
        "\\seen" => Flags::SEEN,
        "\\answered" => Flags::ANSWERED,
        "\\flagged" => Flags::FLAGGED,
        "\\deleted" => Flags::DELETED,
        "\\draft" => Flags::DRAFT,
        _ => return None,
    })
}
