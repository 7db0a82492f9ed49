//! One SMTP or submission session's transaction: what both desks do alike.
//!
//! What it is: the facts of the session (peer, name, TLS), the message under way, looking up
//! recipients, and the trace fields. What it is not: a rule; [`accept`] judges. Begin with
//! [`Reception`].

use std::sync::Arc;

use accept::{Fill, Pass, Rcpt, Room, Whose};
use directory::{Resolved, Target};
use ledger::Fact;
use message::edit::Trace;
use smtp::{Answer, Question};
use stdx::{Now, TlsFacts};
use store::{Intake, StoreError};
use words::{AccountId, Address, Envelope, MessageId, Reason, Reasons, Recipient, Reply, Verdict};

use crate::receipts::Key;
use crate::text::{Purpose, Refused, Text};
use crate::{Arrival, Settings, Site, srs};

/// Where mail for one accepted recipient goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Here(Vec<Target>),
    Outside,
}

/// A message under way.
pub struct Draft {
    pub id: MessageId,
    pub envelope: Envelope,
    /// One for each recipient of the envelope.
    pub ways: Vec<Way>,
    pub text: Text,
    pub reasons: Reasons,
    /// A mailbox among those it goes to has a quota.
    pub measured: bool,
}

impl Draft {
    /// A fact about everybody in the envelope.
    pub fn about(&self, fact: Fact) -> Fact {
        let recipients = self.envelope.recipients.iter().map(|r| &r.address);
        self.envelope.sender.iter().chain(recipients).fold(fact, Fact::about)
    }
}

/// Questions that each desk answers in its own way.
pub enum Own {
    Opened(Option<TlsFacts>),
    Mail(Envelope),
    Rcpt(Recipient),
    Commit(Vec<u8>),
    Sasl(sasl::Question),
}

/// A session, as both desks see it.
pub struct Reception {
    pub site: Site,
    pub settings: Arc<Settings>,
    pub arrival: Arrival,
    pub helo: Box<str>,
    pub esmtp: bool,
    pub tls: Option<Box<TlsFacts>>,
    pub draft: Option<Box<Draft>>,
    /// The last message saved, until a further command confirms it.
    saved: Option<(MessageId, Key)>,
}

impl Reception {
    pub fn new(site: Site, arrival: Arrival) -> Reception {
        let settings = site.settings();
        Reception {
            site,
            settings,
            arrival,
            helo: "".into(),
            esmtp: false,
            tls: None,
            draft: None,
            saved: None,
        }
    }

    /// A fact of this session.
    pub fn fact(&self, kind: &'static str) -> Fact {
        Fact::new(kind, self.site.now())
            .session(self.arrival.id)
            .with("peer", self.arrival.peer.ip().to_string())
            .with("helo", &*self.helo)
    }

    /// Says no, and leaves the reasons in the ledger with the next commit.
    pub fn refuse(&self, fact: Fact, reply: Reply, reasons: &Reasons) -> Answer {
        self.site.aside(fact.with("reply", reply.to_string()).because(reasons));
        Answer::Reply(reply)
    }

    /// Answers what both desks answer alike; hands back what is theirs.
    pub async fn usual(&mut self, ask: Question) -> Result<Answer, Own> {
        match ask {
            Question::Tls(facts) => {
                self.tls = Some(Box::new(facts));
                self.draft = None;
            }
            Question::Name { name, esmtp } => {
                self.helo = name.into();
                self.esmtp = esmtp;
                self.draft = None;
            }
            Question::Data => {}
            Question::Body(piece) => return Ok(self.body(piece).await),
            Question::Reset => self.draft = None,
            Question::Confirmed(id) => self.confirmed(id),
            Question::Opened { tls } => return Err(Own::Opened(tls)),
            Question::Mail(envelope) => return Err(Own::Mail(envelope)),
            Question::Rcpt(recipient) => return Err(Own::Rcpt(recipient)),
            Question::Commit(last) => return Err(Own::Commit(last)),
            Question::Sasl(question) => return Err(Own::Sasl(question)),
        }
        Ok(Answer::Yes)
    }

    /// Begins a message whose sender is welcome; else refuses it, with a fact that is made then.
    pub fn begin(
        &mut self,
        envelope: Envelope,
        verdict: Verdict<Pass>,
        purpose: Purpose,
        fact: impl FnOnce(&Reception) -> Fact,
    ) -> Answer {
        let Verdict { decision, reasons } = verdict;
        match decision {
            Pass::Yes => {
                let text = Text::new(self.site.texts(), purpose);
                let (id, ways) = (self.site.message_id(), Vec::new());
                self.draft = Some(Box::new(Draft { id, envelope, ways, text, reasons, measured: false }));
                Answer::Yes
            }
            Pass::No(reply) => {
                let fact = envelope.sender.iter().fold(fact(self), Fact::about);
                self.refuse(fact, reply, &reasons)
            }
        }
    }

    /// Looks a recipient up and judges it.
    pub fn recipient(&mut self, recipient: Recipient, may_relay: bool) -> Answer {
        let (now, is_notice) =
            (self.site.now(), self.draft.as_ref().is_some_and(|d| d.envelope.sender.is_none()));
        // RFC 1870 §6.1: what the client says of the size counts before the text comes.
        let size = self.draft.as_ref().and_then(|d| d.envelope.size).unwrap_or(0);
        let found = self.site.store().glance(|conn| {
            if is_notice && let Some(back) = way_back(conn, &recipient.address, now)? {
                return Ok(back);
            }
            look_up(conn, &recipient.address, &self.settings.host_name, size)
        });
        let (way, facts) = match found {
            Ok(found) => found,
            Err(error) => return out_of_order(&error),
        };
        let Found { whose, fill, closed, measured } = facts;
        let rcpt = Rcpt { recipient: &recipient.address, whose, may_relay, fill, closed };
        let Verdict { decision, reasons } = accept::judge_rcpt(&rcpt);
        match decision {
            Pass::Yes => {
                if let Some(draft) = &mut self.draft {
                    draft.envelope.recipients.push(recipient);
                    draft.ways.push(way);
                    draft.measured |= measured;
                }
                Answer::Yes
            }
            Pass::No(reply) => {
                let mut fact = self.fact("smtp.recipient_refused").about(&recipient.address);
                if let Some(sender) = self.draft.as_ref().and_then(|d| d.envelope.sender.as_ref()) {
                    fact = fact.about(sender);
                }
                self.refuse(fact, reply, &reasons)
            }
        }
    }

    /// Takes a piece of the text.
    pub async fn body(&mut self, piece: Vec<u8>) -> Answer {
        let Some(draft) = &mut self.draft else { return nothing_open() };
        let refused = match draft.text.push(self.site.store(), piece).await {
            Ok(()) => return Answer::Yes,
            Err(refused) => refused,
        };
        self.draft = None;
        match refused {
            Refused::TooMuch => too_much(),
            Refused::Store(error) => out_of_order(&error),
        }
    }

    /// Takes the last piece and hands out the whole.
    pub async fn whole(&mut self, last: Vec<u8>) -> Result<Box<Draft>, Answer> {
        match self.body(last).await {
            Answer::Yes => {
                let mut draft = self.draft.take().ok_or_else(nothing_open)?;
                draft.text.end();
                Ok(draft)
            }
            no => Err(no),
        }
    }

    /// Refuses a text that proved larger than was said, if no recipient's mailbox has room for it. Where
    /// one has, it is kept for all: SMTP knows one answer, and nobody's mail is lost for another's quota.
    pub fn crowded(&self, draft: &Draft, fact: impl FnOnce(&Reception) -> Fact) -> Option<Answer> {
        let size = draft.text.len();
        if !draft.measured || size <= draft.envelope.size.unwrap_or(0) {
            return None;
        }
        let mut first = None;
        for recipient in &draft.envelope.recipients {
            let to = &recipient.address;
            let found = self.site.store().glance(|conn| look_up(conn, to, &self.settings.host_name, size));
            let Found { whose, fill, closed, .. } = match found {
                Ok((_, found)) => found,
                Err(error) => return Some(out_of_order(&error)),
            };
            if whose != Whose::Ours || fill == Fill::Room {
                return None;
            }
            let rcpt = Rcpt { recipient: to, whose, may_relay: true, fill, closed };
            first.get_or_insert_with(|| accept::judge_rcpt(&rcpt));
        }
        match first? {
            Verdict { decision: Pass::No(reply), reasons } => {
                Some(self.refuse(draft.about(fact(self)).with("bytes", size), reply, &reasons))
            }
            Verdict { decision: Pass::Yes, .. } => None,
        }
    }

    pub fn saved(&mut self, id: MessageId, key: Key) -> Answer {
        self.saved = Some((id, key));
        Answer::Saved(id)
    }

    pub fn confirmed(&mut self, id: MessageId) {
        if let Some((saved, key)) = self.saved.take()
            && saved == id
        {
            self.site.receipts().confirm(key);
        }
    }

    /// The Received field of this session for a message.
    pub fn received(&self, draft: &Draft, reverse: Option<&str>, logged_in: bool) -> String {
        let with = self.with(draft.envelope.smtputf8, logged_in);
        let recipient = match &draft.envelope.recipients[..] {
            [one] => Some(&one.address),
            _ => None,
        };
        Trace {
            helo: &self.helo,
            reverse,
            ip: self.arrival.peer.ip().to_canonical(),
            by: &self.settings.host_name,
            with: &with,
            tls: self.tls.as_ref().map(|t| (t.version.as_str(), t.cipher.as_str())),
            id: &draft.id.to_string(),
            recipient,
            at: self.site.now(),
        }
        .field()
    }

    // RFC 3848, RFC 6531 §4.3.
    fn with(&self, utf8: bool, logged_in: bool) -> String {
        let base = match (utf8, self.esmtp) {
            (true, _) => "UTF8SMTP",
            (false, true) => "ESMTP",
            (false, false) => "SMTP",
        };
        let s = if self.tls.is_some() { "S" } else { "" };
        let a = if logged_in { "A" } else { "" };
        format!("{base}{s}{a}")
    }
}

/// Whether there is room for new mail.
pub fn room(site: &Site) -> Room {
    match site.store().intake() {
        Intake::Open => Room::Free,
        Intake::Full { free, reserve } => Room::Full { free, reserve },
    }
}

fn too_much() -> Answer {
    Answer::Reply(Reply::new(452, (4, 3, 1), "Too much mail is under way here; please try again later"))
}

fn nothing_open() -> Answer {
    Answer::Reply(Reply::new(451, (4, 3, 0), "The message is not known any more; please send it again"))
}

/// A store that does not answer, in words for the sender.
pub fn out_of_order(error: &StoreError) -> Answer {
    tracing::error!(%error, "mail is put off");
    Answer::Reply(match error {
        StoreError::Full(_) => Reply::new(452, (4, 3, 1), "The mail disk is full; please try again later"),
        _ => Reply::new(451, (4, 3, 0), "Mail cannot be kept right now; please try again later"),
    })
}

struct Found {
    whose: Whose,
    fill: Fill,
    closed: bool,
    /// A mailbox behind it has a quota.
    measured: bool,
}

impl Found {
    const OPEN: Found = Found { whose: Whose::Ours, fill: Fill::Room, closed: false, measured: false };
}

type Conn = store::rusqlite::Connection;

/// A bounce of mail that we forwarded goes on to who wrote it.
fn way_back(conn: &Conn, to: &Address, now: Now) -> Result<Option<(Way, Found)>, StoreError> {
    if !srs::looks_like(to.local()) || directory::resolve(conn, to)? == Resolved::NotOurs {
        return Ok(None);
    }
    let Some(writer) = srs::key(conn)?.and_then(|key| srs::original(&key, to.local(), now)) else {
        return Ok(None);
    };
    Ok(Some((Way::Here(vec![Target::Forward(writer)]), Found::OPEN)))
}

/// `size` octets want to be kept; 0 if that is not known yet.
fn look_up(conn: &Conn, to: &Address, host: &str, size: u64) -> Result<(Way, Found), StoreError> {
    let targets = match directory::resolve(conn, to)? {
        Resolved::Local(targets) => targets,
        other => match postmaster(conn, to, host, &other)? {
            Some(targets) => targets,
            None => {
                let whose = if other == Resolved::NotOurs { Whose::NotOurs } else { Whose::NoSuchUser };
                return Ok((Way::Outside, Found { whose, ..Found::OPEN }));
            }
        },
    };
    let (mut over, mut never, mut closed, mut measured) = (0, 0, 0, false);
    for target in &targets {
        if let Target::Mailbox(id) = target {
            let Some(account) = directory::account(conn, *id)? else { continue };
            if account.state == directory::State::Closed {
                closed += 1;
            } else if let Some(quota) = account.quota {
                let (_, bytes) = mailbox::folder::usage(conn, *id)?;
                over += usize::from(bytes.saturating_add(size.max(1)) > quota.get());
                never += usize::from(size > quota.get());
                measured = true;
            }
        }
    }
    let all = targets.len();
    let fill = match over > 0 && over + closed == all {
        true if never == over => Fill::TooLarge,
        true => Fill::Full,
        false => Fill::Room,
    };
    Ok((Way::Here(targets), Found { closed: closed == all, fill, measured, ..Found::OPEN }))
}

/// RFC 5321 §4.5.1: postmaster of every domain of ours is a person. Who has no such address gets it
/// in the account named by the knob `postmaster`, or in the first account there is.
fn postmaster(
    conn: &Conn,
    to: &Address,
    host: &str,
    found: &Resolved,
) -> Result<Option<Vec<Target>>, StoreError> {
    let ours = *found == Resolved::NoSuchUser || to.domain().as_str() == host;
    if !ours || !to.local().eq_ignore_ascii_case("postmaster") {
        return Ok(None);
    }
    if let Some(named) = directory::knob(conn, "postmaster")?.and_then(|text| Address::parse(&text).ok())
        && let Resolved::Local(targets) = directory::resolve(conn, &named)?
    {
        return Ok(Some(targets));
    }
    let first: Option<AccountId> = directory::accounts(conn, AccountId(0), 1)?.first().map(|a| a.id);
    Ok(first.map(|id| vec![Target::Mailbox(id)]))
}

/// Reasons for a message that nothing spoke against.
pub fn no_objection() -> Reasons {
    Reasons::one(Reason::new("mail.welcome", "nothing speaks against it"))
}
