//! One session at the relay's door: who is it, may it send, and one durable commit for its message.
//!
//! What it is: the desk of an SMTP machine for customers. A mail host of ours shows the key it is
//! known by; others log in under TLS or come from an address of theirs. What they call themselves
//! in EHLO does not matter. What it is not: a filter; the text goes on as it came. Begin with
//! [`serve`].

use accept::{Pass, Use, judge_customer};
use drive::{Desk, Wires};
use ledger::Fact;
use message::Head;
use message::edit::Trace;
use message::manners;
use sasl::{Failure, password};
use sha2::{Digest, Sha256};
use smtp::server::Settings as Door;
use smtp::{Answer, BareNewlines, Limits, Question, Server};
use spool::{New, Origin};
use stdx::{Secret, Span, TlsFacts};
use store::{Draft, StoreError};
use words::{Domain, Envelope, MessageId, Reason, Reasons, Recipient, Reply, SessionId, Verdict};
use world::Connection;

use crate::Relay;
use crate::customers::{self, Customer};
use crate::outcomes;

/// Received fields after which a message goes round in circles.
const HOPS_MAX: usize = 50;
/// Recipients of one message.
const RECIPIENTS_MAX: usize = 1_000;
/// Octets of a header that are looked at.
const HEADER_MAX: usize = 256 << 10;
/// A wrong password costs so much time.
const WRONG: Span = Span::secs(3);
/// Room kept before a text for our own field.
const FRONT: u64 = 4 << 10;

/// Serves one connection to its end.
pub async fn serve(relay: Relay, connection: Connection, wires: Wires, starttls: bool) {
    let session = relay.session_id();
    let host = Domain::new(relay.host_name()).or_else(|_| Domain::new("localhost"));
    let machine = Server::new(Door {
        host: host.expect("localhost is a domain name"),
        session,
        starttls,
        tls_required: false,
        auth_required: false,
        offer: Some(sasl::Offer { scram: false, plus: false, ..sasl::Offer::default() }),
        limits: Limits {
            message_octets: relay.message_octets_max(),
            recipients: RECIPIENTS_MAX,
            bare_newlines: BareNewlines::Keep,
            ..Limits::default()
        },
    });
    let peer = connection.peer.ip();
    let desk = RelayDesk {
        relay,
        session,
        peer,
        helo: String::new(),
        tls: None,
        customer: None,
        draft: None,
        saved: None,
    };
    let end = drive::run(machine, desk, connection, wires).await;
    tracing::debug!(why = %end.why, "relay session ended");
}

/// A message under way.
struct Under {
    id: MessageId,
    envelope: Envelope,
    text: Draft,
    hash: Sha256,
    /// The beginning, as far as the header is looked at.
    head: Vec<u8>,
    reasons: Reasons,
}

struct RelayDesk {
    relay: Relay,
    session: SessionId,
    peer: std::net::IpAddr,
    helo: String,
    tls: Option<Box<TlsFacts>>,
    customer: Option<Customer>,
    draft: Option<Box<Under>>,
    saved: Option<(MessageId, Vec<u8>)>,
}

impl Desk for RelayDesk {
    type M = Server;

    async fn answer(&mut self, ask: Question) -> Answer {
        match ask {
            Question::Opened { tls } => {
                self.tls = tls.map(Box::new);
                Answer::Yes
            }
            Question::Tls(facts) => {
                self.tls = Some(Box::new(facts));
                (self.draft, self.customer) = (None, None);
                Answer::Yes
            }
            Question::Name { name, .. } => {
                self.helo = name;
                Answer::Yes
            }
            Question::Sasl(question) => Answer::Sasl(self.log_in(question).await),
            Question::Mail(envelope) => self.mail(envelope),
            Question::Rcpt(recipient) => self.rcpt(recipient),
            Question::Data => Answer::Yes,
            Question::Body(piece) => self.body(piece).await,
            Question::Commit(last) => match self.body(last).await {
                Answer::Yes => self.commit().await,
                no => no,
            },
            Question::Reset => {
                self.draft = None;
                Answer::Yes
            }
            Question::Confirmed(id) => {
                self.confirmed(id);
                Answer::Yes
            }
        }
    }
}

fn out_of_order(why: &StoreError) -> Answer {
    tracing::error!(%why, "the relay's store cannot be used");
    Answer::Reply(Reply::new(451, (4, 3, 0), "The store cannot be used right now; please come back later"))
}

impl RelayDesk {
    fn fact(&self, kind: &'static str) -> Fact {
        let fact = Fact::new(kind, self.relay.now())
            .session(self.session)
            .with("peer", self.peer.to_canonical().to_string())
            .with("helo", self.helo.clone());
        match &self.customer {
            Some(customer) => fact.with("customer", customer.name.clone()),
            None => fact,
        }
    }

    fn note(&self, fact: Fact) {
        drop(self.relay.store().commit(Vec::new(), move |batch| ledger::note(batch, &fact)));
    }

    async fn log_in(&mut self, question: sasl::Question) -> sasl::Answer {
        let (user, password) = match question {
            sasl::Question::Password { user, password, .. } => (user, password),
            sasl::Question::Unencrypted { .. } => return sasl::Answer::Refused(Failure::TooWeak),
            sasl::Question::NotOffered { via, .. } => {
                return sasl::Answer::Refused(Failure::NotOffered(via));
            }
            _ => return sasl::Answer::Refused(Failure::Wrong),
        };
        let found = self
            .relay
            .store()
            .glance(|conn| Ok((customers::by_name(conn, &user)?, customers::hash_of(conn, &user)?)));
        let Ok((customer, hash)) = found else { return sasl::Answer::Refused(Failure::Unavailable) };
        let customer = customer.filter(|c| c.ended.is_none());
        let fits = fits(customer.is_some().then_some(hash).flatten(), password).await;
        match customer.filter(|_| fits) {
            Some(customer) => {
                self.customer = Some(customer);
                sasl::Answer::Granted
            }
            None => {
                self.note(self.fact("relay.login_failed").with("user", user));
                let clock = self.relay.world().clock.clone();
                clock.sleep_until(self.relay.now() + WRONG).await;
                sasl::Answer::Refused(Failure::Wrong)
            }
        }
    }

    /// Whoever this is, as the store knows it now: a stop works on open sessions too.
    fn known(&mut self) -> Result<Option<Customer>, StoreError> {
        let pins = self.tls.as_ref().map(|t| t.client_names.clone()).unwrap_or_default();
        let (name, ip) = (self.customer.as_ref().map(|c| c.name.clone()), self.peer);
        let found = self.relay.store().read_now(|conn| match &name {
            Some(name) => customers::by_name(conn, name),
            None => customers::by_face(conn, &pins, ip),
        })?;
        self.customer = found.filter(|c| c.ended.is_none());
        Ok(self.customer.clone())
    }

    fn judge(&self, customer: &Customer, more: usize) -> Result<Verdict<Pass>, StoreError> {
        let now = self.relay.now();
        let (hour, day) = self.relay.store().glance(|conn| customers::used_now(conn, &customer.name, now))?;
        let more = more as u64;
        Ok(judge_customer(&Use {
            customer: &customer.name,
            quota: customer.quota(),
            stopped: customer.stopped.as_deref(),
            hour: hour + more,
            day: day + more,
        }))
    }

    fn mail(&mut self, envelope: Envelope) -> Answer {
        let customer = match self.known() {
            Ok(Some(customer)) => customer,
            Ok(None) => {
                self.note(self.fact("relay.stranger_refused"));
                let says = "Log in first (AUTH under TLS), or come from an address that is known here";
                return Answer::Reply(Reply::new(530, (5, 7, 0), says));
            }
            Err(why) => return out_of_order(&why),
        };
        if matches!(self.relay.store().intake(), store::Intake::Full { .. }) {
            return Answer::Reply(Reply::new(
                452,
                (4, 3, 1),
                "The disk is full here; please come back later",
            ));
        }
        match self.judge(&customer, 1) {
            Ok(Verdict { decision: Pass::Yes, reasons }) => {
                let text = match envelope.size {
                    Some(size) if size > 256 << 10 => self.relay.store().draft_behind(FRONT),
                    _ => self.relay.store().draft(),
                };
                let (id, hash) = (self.relay.message_id(), Sha256::new());
                self.draft = Some(Box::new(Under { id, envelope, text, hash, head: Vec::new(), reasons }));
                Answer::Yes
            }
            Ok(Verdict { decision: Pass::No(reply), reasons }) => self.refuse(reply, &reasons),
            Err(why) => out_of_order(&why),
        }
    }

    fn refuse(&self, reply: Reply, reasons: &Reasons) -> Answer {
        self.note(self.fact("relay.refused").with("reply", reply.to_string()).because(reasons));
        Answer::Reply(reply)
    }

    fn rcpt(&mut self, recipient: Recipient) -> Answer {
        let Some(customer) = self.customer.clone() else {
            return Answer::Reply(Reply::new(530, (5, 7, 0), "Log in first (AUTH)"));
        };
        let more = self.draft.as_ref().map_or(1, |d| d.envelope.recipients.len() + 1);
        match self.judge(&customer, more) {
            Ok(Verdict { decision: Pass::Yes, .. }) => {
                if let Some(draft) = &mut self.draft {
                    draft.envelope.recipients.push(recipient);
                }
                Answer::Yes
            }
            Ok(Verdict { decision: Pass::No(reply), reasons }) => self.refuse(reply, &reasons),
            Err(why) => out_of_order(&why),
        }
    }

    async fn body(&mut self, piece: Vec<u8>) -> Answer {
        let Some(draft) = &mut self.draft else {
            return Answer::Reply(Reply::new(451, (4, 3, 0), "There is no message under way"));
        };
        draft.hash.update(&piece);
        let room = HEADER_MAX.saturating_sub(draft.head.len());
        draft.head.extend_from_slice(&piece[..piece.len().min(room)]);
        match draft.text.write(&piece).await {
            Ok(()) => Answer::Yes,
            Err(why) => out_of_order(&why),
        }
    }

    async fn commit(&mut self) -> Answer {
        let (Some(draft), Some(customer)) = (self.draft.take(), self.customer.clone()) else {
            return Answer::Reply(Reply::new(451, (4, 3, 0), "There is no message under way"));
        };
        let Under { id, mut envelope, text, hash, head, reasons } = *draft;
        let parsed = Head::parse(&head);
        let hops = manners::hops(&parsed);
        if hops > HOPS_MAX {
            let reason = Reason::new("relay.loop", format!("{hops} Received fields"));
            let reply = Reply::new(554, (5, 4, 6), format!("The message goes round in circles: {hops} hops"));
            return self.refuse(reply, &Reasons::one(reason));
        }
        let header = parsed.text("Message-ID");
        let key = receipt_key(&customer.name, &envelope, hash);
        envelope.size = None;
        let front = self.received(id, &envelope);
        let sealed = match text.seal_under(front.into_bytes()).await {
            Ok(sealed) => sealed,
            Err(why) => return out_of_order(&why),
        };
        let (size, now) = (sealed.len(), self.relay.now());
        let mut fact = self.fact("relay.accepted").with("bytes", size).because(&reasons);
        fact = header.iter().fold(fact, |fact, h| fact.header(h));
        for address in envelope.sender.iter().chain(envelope.recipients.iter().map(|r| &r.address)) {
            fact = fact.about(address);
        }
        // Only a mail host of ours is known by a key, and is told what becomes of its mail.
        if let Some((host, theirs)) = customer.pin.as_ref().and_then(|_| outcomes::whence(&parsed)) {
            fact = fact.with("from_host", host).with("from_message", theirs.to_string());
        }
        let (feed, session, name) = (self.relay.feed().clone(), Some(self.session), customer.name);
        let receipt = key.clone();
        let done = self.relay.store().commit(vec![sealed], move |batch| {
            if let Some(first) = customers::enter_receipt(batch, &receipt, id, now)? {
                ledger::note(batch, &fact.message(first).with("repeated", true))?;
                return Ok(first);
            }
            let body = batch.body(0);
            let count = envelope.recipients.len();
            let new =
                New { message: id, session, body, size, header, envelope, origin: Origin::Relayed, at: now };
            spool::add(batch, &feed, &new)?;
            customers::count(batch, &name, count, now)?;
            ledger::note(batch, &fact.message(id))?;
            Ok(id)
        });
        match done.await {
            Ok(id) => {
                self.saved = Some((id, key));
                Answer::Saved(id)
            }
            Err(why) => out_of_order(&why),
        }
    }

    fn received(&self, id: MessageId, envelope: &Envelope) -> String {
        let recipient = match &envelope.recipients[..] {
            [one] => Some(&one.address),
            _ => None,
        };
        Trace {
            helo: &self.helo,
            reverse: None,
            ip: self.peer.to_canonical(),
            by: self.relay.host_name(),
            with: if self.tls.is_some() { "ESMTPSA" } else { "ESMTP" },
            tls: self.tls.as_ref().map(|t| (t.version.as_str(), t.cipher.as_str())),
            id: &id.to_string(),
            recipient,
            at: self.relay.now(),
        }
        .field()
    }

    /// A further command came: the 250 was read, and the same message again would be a new one.
    fn confirmed(&mut self, id: MessageId) {
        let Some((_, key)) = self.saved.take_if(|(saved, _)| *saved == id) else { return };
        drop(self.relay.store().commit(Vec::new(), move |batch| customers::settle(batch, &key)));
    }
}

/// The same customer, envelope and text make the same key.
fn receipt_key(customer: &str, envelope: &Envelope, text: Sha256) -> Vec<u8> {
    let mut all = Sha256::new();
    let mut add = |part: &str| {
        all.update((part.len() as u64).to_be_bytes());
        all.update(part.as_bytes());
    };
    add(customer);
    add(&envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default());
    for recipient in &envelope.recipients {
        add(&recipient.address.to_string());
    }
    all.update(text.finalize());
    all.finalize().to_vec()
}

/// Whether a password fits; tens of milliseconds on a thread of its own.
async fn fits(hash: Option<Secret<String>>, given: Secret<String>) -> bool {
    let work = move || match hash {
        Some(hash) => matches!(
            password::verify(hash.reveal(), given.reveal(), password::Cost::default()),
            password::Fit::Yes { .. }
        ),
        None => {
            password::verify_nobody(given.reveal(), password::Cost::default());
            false
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(false)
}

/// What a new password is stored as. Takes tens of milliseconds.
pub fn hash(random: &dyn world::Random, password: &str) -> String {
    let mut salt = [0; 16];
    random.fill(&mut salt);
    password::make(password, &salt, password::Cost::default())
}
