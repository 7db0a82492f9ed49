//! Port 25: mail from other hosts.
//!
//! The desk gathers facts for each question of the SMTP machine, asks [`accept`], and hands what is
//! welcome to [`crate::deliver`]. Begin with [`serve`].

use accept::{Loop, Mail, Pass, Peer, Place};
use directory::Scope;
use drive::{Desk, Wires};
use message::Head;
use message::manners::{self, Manners};
use smtp::server::Settings as Door;
use smtp::{Answer, BareNewlines, Limits, Question, Server};
use words::{Address, Domain, Envelope, Verdict};
use world::Connection;

use crate::deliver::{Giver, Parcel, deliver};
use crate::login::Login;
use crate::proof::{self, Proof};
use crate::reception::{Draft, Own, Reception, out_of_order, room};
use crate::text::Purpose;
use crate::{Arrival, Settings, Site, complaints, receipts};

/// Serves one connection to its end.
pub async fn serve(site: Site, arrival: Arrival, connection: Connection, wires: Wires) {
    let settings = site.settings();
    let machine = Server::new(Door {
        host: host(&settings),
        session: arrival.id,
        starttls: arrival.tls_offered && !arrival.implicit_tls,
        tls_required: false,
        auth_required: false,
        offer: None,
        // A lone CR or LF is text here: it never ends a message, and our own client never sends one
        // raw, so nothing can be smuggled in or out, and honest mail of odd programs is kept as it is.
        limits: Limits { bare_newlines: BareNewlines::Keep, ..limits(&settings) },
    });
    let desk = SmtpIn { at: Reception::new(site, arrival) };
    let end = drive::run(machine, desk, connection, wires).await;
    tracing::debug!(why = %end.why, "smtp session ended");
}

/// Our name as a domain; a name that is none would have been refused by the configuration.
pub fn host(settings: &Settings) -> Domain {
    Domain::new(&settings.host_name)
        .or_else(|_| Domain::new("localhost"))
        .expect("localhost is a domain name")
}

pub fn limits(settings: &Settings) -> Limits {
    Limits {
        message_octets: settings.message_size_max.get(),
        recipients: settings.recipients_max,
        ..Limits::default()
    }
}

struct SmtpIn {
    at: Reception,
}

impl Desk for SmtpIn {
    type M = Server;

    async fn answer(&mut self, ask: Question) -> Answer {
        let own = match self.at.usual(ask).await {
            Ok(answer) => return answer,
            Err(own) => own,
        };
        match own {
            Own::Opened(tls) => {
                self.at.tls = tls.map(Box::new);
                self.peer()
            }
            Own::Mail(envelope) => self.mail(envelope),
            Own::Rcpt(recipient) => {
                let trusted = self.trusted();
                let to = recipient.address.clone();
                let answer = self.at.recipient(recipient, trusted);
                if matches!(answer, Answer::Reply(_)) {
                    self.note_port_25(&to).await;
                }
                answer
            }
            Own::Commit(last) => match self.at.whole(last).await {
                Ok(draft) => Box::pin(self.commit(draft)).await,
                Err(no) => no,
            },
            Own::Sasl(question) => Answer::Sasl(Box::pin(self.login().answer(question)).await),
        }
    }
}

impl SmtpIn {
    /// Nobody logs in here; but who tries is on record.
    fn login(&self) -> Login {
        let mut login = Login::new(self.at.site.clone(), &self.at.arrival, Scope::Submission);
        self.at.tls.iter().for_each(|facts| login.tls_started(facts));
        login
    }

    /// One of our own people who sends to others through this port is set up wrongly.
    async fn note_port_25(&self, to: &Address) {
        let Some(sender) = self.at.draft.as_ref().and_then(|d| d.envelope.sender.clone()) else { return };
        let ours = self.at.site.store().glance(|conn| {
            let abroad = directory::resolve(conn, to)? == directory::Resolved::NotOurs;
            Ok(abroad && directory::account_by_login(conn, &sender.to_string())?.is_some())
        });
        if ours.unwrap_or(false) {
            let question = sasl::Question::NotHere { user: Some(sender.to_string()), via: "no log-in" };
            Box::pin(self.login().answer(question)).await;
        }
    }

    fn trusted(&self) -> bool {
        self.at.settings.trusts(self.at.arrival.peer.ip())
    }

    fn peer(&self) -> Answer {
        match accept::judge_peer(&Peer::default()) {
            Verdict { decision: Pass::Yes, .. } => Answer::Yes,
            Verdict { decision: Pass::No(reply), reasons } => {
                self.at.refuse(self.at.fact("smtp.peer_refused"), reply, &reasons)
            }
        }
    }

    fn mail(&mut self, envelope: Envelope) -> Answer {
        let facts = Mail {
            sender: envelope.sender.as_ref(),
            room: room(&self.at.site),
            may_send_as: None,
            null_mx: None,
        };
        let verdict = accept::judge_mail(&facts);
        self.at.begin(envelope, verdict, Purpose::Verify, |at| at.fact("smtp.sender_refused"))
    }

    async fn commit(&mut self, mut draft: Box<Draft>) -> Answer {
        if let Some(no) = self.at.crowded(&draft, |at| at.fact("smtp.message_refused")) {
            return no;
        }
        let proof = proof::of(&self.at, &draft, self.trusted()).await;
        let head = Head::parse(draft.text.header());
        let header = head.text("Message-ID");
        if let Some(no) = self.unanswerable(&draft, &proof) {
            return no;
        }
        let (place, fact) = self.judge(&draft, &head, &proof);
        if let Place::Refuse(reply) = place {
            let fact = header.iter().fold(fact, |fact, h| fact.header(h));
            self.at.site.aside(fact.with("reply", reply.to_string()));
            return Answer::Reply(reply);
        }
        let who = format!("ip {}", self.at.arrival.peer.ip().to_canonical());
        let key =
            receipts::key(&who, &draft.envelope, header.as_deref(), (draft.text.len(), draft.text.digest()));
        let trace = proof.field(&self.at.settings.host_name)
            + &self.at.received(&draft, proof.name.as_deref(), false);
        draft.envelope.size = None;
        let fact = header.iter().fold(fact, |fact, h| fact.header(h)).with("bytes", draft.text.len());
        let giver = if self.trusted() { Giver::Trusted } else { Giver::Peer };
        let complaint = complaints::addressed(&self.at.settings, &draft);
        let parcel = Parcel { draft, trace, giver, junk: place == Place::Junk, key, header, fact };
        match deliver(&self.at.site, parcel).await {
            Ok(kept) => {
                if let Some(text) = complaint.filter(|_| !kept.repeated) {
                    complaints::take(&self.at.site, &text).await;
                }
                self.at.saved(kept.id, key)
            }
            Err(error) => out_of_order(&error),
        }
    }

    /// The sender once more, with what DNS says of its domain: asked with the rest, so that no MAIL
    /// waits for it.
    fn unanswerable(&self, draft: &Draft, proof: &Proof) -> Option<Answer> {
        let facts = Mail {
            sender: draft.envelope.sender.as_ref(),
            room: accept::Room::Free,
            may_send_as: None,
            null_mx: proof.null_mx,
        };
        let Verdict { decision, reasons } = accept::judge_mail(&facts);
        match decision {
            Pass::Yes => None,
            Pass::No(reply) => {
                let fact =
                    draft.envelope.sender.iter().fold(self.at.fact("smtp.sender_refused"), |f, s| f.about(s));
                Some(self.at.refuse(fact, reply, &reasons))
            }
        }
    }

    /// Judges the whole message; the fact carries the reasons.
    fn judge(&self, draft: &Draft, head: &Head<'_>, proof: &Proof) -> (Place, ledger::Fact) {
        let facts = accept::Message {
            looping: looping(draft, head, self.at.settings.hops_max),
            from: proof.from.as_ref(),
            spf: proof.spf,
            signed: proof.signed,
            dmarc: proof.dmarc,
            list: Manners::of(head).list,
            allowed: self.trusted(),
            reverse: proof.reverse,
            known: false,
        };
        let mut verdict = accept::judge_message(&facts);
        if matches!(&verdict.decision, Place::Refuse(_)) && proof.reverse == Some(false) && self.known(draft)
        {
            verdict = accept::judge_message(&accept::Message { known: true, ..facts });
        }
        let mut fact = match verdict.decision {
            Place::Refuse(_) => self.at.fact("smtp.message_refused"),
            Place::Junk => self.at.fact("smtp.accepted").with("folder", "Junk"),
            Place::Inbox => self.at.fact("smtp.accepted"),
        };
        fact = fact.with("proof", proof.summary()).because(&draft.reasons).because(&verdict.reasons);
        (verdict.decision, draft.about(fact))
    }

    /// Whether one of our users has written to the sender.
    fn known(&self, draft: &Draft) -> bool {
        let Some(sender) = &draft.envelope.sender else { return false };
        let facts = self.at.site.store().glance(|conn| ledger::about(conn, sender, 200));
        facts.is_ok_and(|facts| facts.iter().any(|f| f.kind == "submission.accepted"))
    }
}

// RFC 5321 §6.3, RFC 9228.
fn looping(draft: &Draft, head: &Head<'_>, hops_max: usize) -> Option<Loop> {
    let hops = manners::hops(head);
    if hops > hops_max {
        return Some(Loop::TooManyHops { hops, max: hops_max });
    }
    let mut to = draft.envelope.recipients.iter().map(|r| r.address.to_string());
    to.find(|to| manners::delivered_to(head, to)).map(|to| Loop::DeliveredBefore { to })
}
