//! Ports 587 and 465: mail from our own users (RFC 6409, RFC 8314).
//!
//! The desk logs in through [`crate::login`], lets an account send only in its own names, completes
//! the header, signs, and hands over to [`crate::deliver`]. Begin with [`serve`].

use accept::Mail;
use directory::Scope;
use drive::{Desk, Wires};
use message::{Head, addresses, edit};
use smtp::server::Settings as Door;
use smtp::{Answer, Question, Server};
use stdx::{Now, Span, TlsFacts};
use words::{AccountId, Address, Envelope, Reason, Reasons, Reply};
use world::Connection;

use crate::deliver::{Giver, Parcel, deliver};
use crate::login::Login;
use crate::reception::{Draft, Own, Reception, out_of_order, room};
use crate::smtp_in::{host, limits};
use crate::text::Purpose;
use crate::{Arrival, Site, receipts, signing};

/// Serves one connection to its end.
pub async fn serve(site: Site, arrival: Arrival, connection: Connection, wires: Wires) {
    let settings = site.settings();
    let login = Login::new(site.clone(), &arrival, Scope::Submission);
    let trusted = settings.trusts(arrival.peer.ip()) && settings.tolerance.plain_on_trusted_network;
    let machine = Server::new(Door {
        host: host(&settings),
        session: arrival.id,
        starttls: arrival.tls_offered && !arrival.implicit_tls,
        // RFC 8314 §3.3: nothing of a user's mail in the clear.
        tls_required: arrival.tls_offered && !trusted,
        auth_required: true,
        offer: Some(login.offer()),
        limits: limits(&settings),
    });
    let desk = Submission { at: Reception::new(site.clone(), arrival.clone()), login, may: None };
    let end = drive::run(machine, desk, connection, wires).await;
    crate::login::shaken::ended(&site, &arrival, &end.why);
    tracing::debug!(why = %end.why, "submission session ended");
}

/// That an account may send as an address is believed for so long; a look lags by as much anyway.
const BELIEVED: Span = Span::secs(1);

struct Submission {
    at: Reception,
    login: Login,
    /// The last sender that was found to be the account's, and until when that is believed.
    may: Option<Box<(AccountId, Address, Now)>>,
}

impl Desk for Submission {
    type M = Server;

    fn tls_started(&mut self, facts: &TlsFacts) {
        self.login.tls_started(facts);
    }

    async fn answer(&mut self, ask: Question) -> Answer {
        if let Question::Name { name, .. } = &ask {
            self.login.client(name);
        }
        let own = match self.at.usual(ask).await {
            Ok(answer) => return answer,
            Err(own) => own,
        };
        match own {
            Own::Opened(tls) => {
                self.at.tls = tls.map(Box::new);
                Answer::Yes
            }
            Own::Sasl(question) => Answer::Sasl(Box::pin(self.login.answer(question)).await),
            Own::Mail(envelope) => self.mail(envelope),
            Own::Rcpt(recipient) => self.at.recipient(recipient, true),
            Own::Commit(last) => match (self.at.whole(last).await, self.account()) {
                (Ok(draft), Some(account)) => Box::pin(self.commit(draft, account)).await,
                (Ok(_), None) => log_in_first(),
                (Err(no), _) => no,
            },
        }
    }
}

/// A fact with the log-in it happened under.
fn by(login: &Login, fact: ledger::Fact) -> ledger::Fact {
    match login.granted() {
        Some(granted) => fact.with("login", granted.login.as_str()),
        None => fact,
    }
}

fn log_in_first() -> Answer {
    Answer::Reply(Reply::new(530, (5, 7, 0), "Log in first (AUTH)"))
}

impl Submission {
    fn account(&self) -> Option<AccountId> {
        self.login.granted().map(|g| g.account)
    }

    fn may_send_as(&mut self, account: AccountId, address: &Address) -> Result<bool, Answer> {
        let now = self.at.site.now();
        if let Some(known) = self.may.as_deref()
            && (known.0, &known.1) == (account, address)
            && now < known.2
        {
            return Ok(true);
        }
        let found = self.at.site.store().glance(|conn| directory::may_send_as(conn, account, address));
        let may = found.map_err(|error| out_of_order(&error))?;
        if may {
            self.may = Some(Box::new((account, address.clone(), now + BELIEVED)));
        }
        Ok(may)
    }

    fn mail(&mut self, envelope: Envelope) -> Answer {
        let Some(account) = self.account() else { return log_in_first() };
        let may = match envelope.sender.as_ref().map(|s| self.may_send_as(account, s)) {
            Some(Ok(may)) => Some(may),
            Some(Err(no)) => return no,
            // Notices (RFC 3798) leave with the null sender.
            None => None,
        };
        let facts = Mail {
            sender: envelope.sender.as_ref(),
            room: room(&self.at.site),
            may_send_as: may,
            null_mx: None,
        };
        let verdict = accept::judge_mail(&facts);
        let login = &self.login;
        let fact = |at: &Reception| by(login, at.fact("submission.sender_refused"));
        self.at.begin(envelope, verdict, Purpose::Sign, fact)
    }

    fn fact(&self, kind: &'static str) -> ledger::Fact {
        by(&self.login, self.at.fact(kind))
    }

    async fn commit(&mut self, mut draft: Box<Draft>, account: AccountId) -> Answer {
        if let Err(no) = self.author(&draft, account) {
            return no;
        }
        if let Some(no) = self.at.crowded(&draft, |_| self.fact("submission.message_refused")) {
            return no;
        }
        let header = Head::parse(draft.text.header()).text("Message-ID");
        let who = format!("account {}", account.0);
        let key =
            receipts::key(&who, &draft.envelope, header.as_deref(), (draft.text.len(), draft.text.digest()));
        self.complete(&mut draft);
        let header = Head::parse(draft.text.header()).text("Message-ID");
        let signatures = match signing::sign(&self.at.site, &draft.text) {
            Ok(signatures) => signatures,
            Err(error) => return out_of_order(&error),
        };
        let trace = signatures + &self.at.received(&draft, None, true);
        draft.envelope.size = None;
        let mut fact =
            self.fact("submission.accepted").with("bytes", draft.text.len()).because(&draft.reasons);
        fact = draft.about(header.iter().fold(fact, |fact, h| fact.header(h)));
        let parcel = Parcel { draft, trace, giver: Giver::Account(account), junk: false, key, header, fact };
        match deliver(&self.at.site, parcel).await {
            Ok(kept) => self.at.saved(kept.id, key),
            Err(error) => out_of_order(&error),
        }
    }

    // RFC 6409 §8: what a submission server completes.
    fn complete(&self, draft: &mut Draft) {
        let left = draft.id.to_string();
        let (now, host) = (self.at.site.now(), &self.at.settings.host_name);
        draft.text.change_header(|text| edit::submission(text, now, &left, host).header(text));
    }

    /// Every address in From must belong to the account; somebody must stand there.
    fn author(&mut self, draft: &Draft, account: AccountId) -> Result<(), Answer> {
        let head = Head::parse(draft.text.header());
        let authors: Vec<_> = head.all("From").flat_map(|f| addresses::mailboxes(f.raw())).collect();
        if authors.is_empty() || head.count("From") != 1 {
            // RFC 5322 §3.6: exactly one From.
            let reply = Reply::new(550, (5, 6, 0), "The message needs one From field with an address");
            let reason = Reason::new("submission.no_author", "there is no From, or more than one");
            return Err(self.at.refuse(
                self.fact("submission.message_refused"),
                reply,
                &Reasons::one(reason),
            ));
        }
        for author in authors {
            let may = match author.parsed() {
                Some(address) => self.may_send_as(account, &address)?,
                None => false,
            };
            if !may {
                let from = &author.address;
                let reply = Reply::new(
                    550,
                    (5, 7, 1),
                    format!("You may not write as {from} in From with this log-in"),
                );
                let reason =
                    Reason::new("submission.not_your_address", "From does not belong to the account")
                        .with("from", from);
                return Err(self.at.refuse(
                    self.fact("submission.message_refused"),
                    reply,
                    &Reasons::one(reason),
                ));
            }
        }
        Ok(())
    }
}
