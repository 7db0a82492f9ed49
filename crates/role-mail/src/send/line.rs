//! One connection at a time to the hosts of a destination, and the messages that go through it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use drive::{ClientTls, Desk, Doubt, First, Limits, Stop, Tls, Why, Wires};
use mailauth::tlsrpt::Failure;
use smtp::client::{Answer, Ask, Break, Client, Fate, How, Login, Settings, Stage, TlsPolicy};
use stdx::machine::TlsFacts;
use stdx::{Now, Span};
use store::Body;
use tokio::sync::mpsc::UnboundedSender;
use words::Domain;

use super::demand::{self, Barred, Demand, Wish};
use super::job::{Job, Landed, Queue, Told};
use super::places::PlaceHost;
use super::tally::Seen;
use crate::{RelayTls, Site};

/// Connecting takes at most so long.
const DIAL: Span = Span::secs(30);
/// An open connection waits so long for the next message.
const IDLE: Span = Span::secs(3);
/// Messages on one connection.
const MESSAGES_MAX: u32 = 100;
/// Octets of a text read at a time.
const PIECE: usize = 128 << 10;

/// Kept connections that one message may find closed before that counts.
const AGAIN_MAX: u8 = 64;

/// What the loop hears.
pub enum News {
    Landed(Box<Landed>),
    /// The host's greeting, for names that hide a provider.
    Banner {
        host: String,
        text: String,
    },
    /// Where a domain's mail goes, and for how long that is believed.
    Found {
        domain: Domain,
        found: super::places::Found,
        ttl: Span,
    },
    Sender {
        domain: Domain,
        facts: super::senders::SenderFacts,
    },
    Claimed {
        entries: Vec<spool::Entry>,
        next: Option<Now>,
    },
    /// A commit failed; these are to be written again.
    Unwritten(Vec<super::ends::End>),
}

struct Talk<'a> {
    site: &'a Site,
    queue: &'a Queue,
    news: &'a UnboundedSender<News>,
    host: &'a str,
    job: Option<Job>,
    body: Option<(Body, u64)>,
    /// What the host is held to, and what was found wrong with its certificate.
    demand: Demand,
    doubt: Arc<OnceLock<Doubt>>,
    tls: Option<TlsFacts>,
    /// Domains for which this session was counted.
    counted: BTreeSet<Domain>,
    sent: u32,
    /// The session ended before a message could be offered.
    failed: Option<(Stage, How)>,
}

/// Serves the queue until it stays empty.
pub async fn serve(site: Site, queue: Arc<Queue>, news: UnboundedSender<News>, stop: Stop) {
    loop {
        match queue.pop() {
            Some(job) => one(&site, &queue, &news, (job, &stop)).await,
            None if queue.leave() => return,
            None => {}
        }
    }
}

/// One round over the hosts for a job; further jobs go through the same connection.
async fn one(site: &Site, queue: &Queue, news: &UnboundedSender<News>, (job, stop): (Job, &Stop)) {
    let relay = match relay_host(site, queue).await {
        Ok(relay) => relay,
        Err(why) => return land(news, job, None, Told::NoAnswer(why)),
    };
    let hosts = relay.as_ref().map_or(queue.place.hosts.as_slice(), std::slice::from_ref);
    let mut last = Told::NoAnswer("none of its mail servers has an address we can reach".to_owned());
    let mut last_host = None;
    let mut talk = Talk {
        site,
        queue,
        news,
        host: "",
        job: Some(job),
        body: None,
        demand: Demand::Open,
        doubt: Arc::default(),
        tls: None,
        counted: BTreeSet::new(),
        sent: 0,
        failed: None,
    };
    for host in hosts {
        talk.demand = match &queue.egress.relay {
            Some(relay) => Demand::Relay(relay.tls),
            None => demand::of(&queue.place, host, queue.wish),
        };
        if let Some(barred) = talk.demand.barred(&queue.place, host, queue.wish) {
            talk.host = &host.name;
            if talk.demand == (Demand::Enforced { fits: false }) {
                talk.count(Some(Failure::ValidationFailure));
            }
            (last, last_host) = (Told::Barred(barred), Some(host.name.clone()));
            continue;
        }
        for ip in usable(queue.egress.source, &host.ips) {
            talk.host = &host.name;
            last_host = Some(host.name.clone());
            let Some(told) = attempt(&mut talk, host, ip, stop).await else { return };
            let refused_for_good = matches!(&told, Told::Refused { reply, .. } if reply.is_permanent());
            let stopped = matches!(told, Told::NotTried);
            last = told;
            if refused_for_good || stopped {
                return finish(talk, last_host, last);
            }
        }
    }
    finish(talk, last_host, last);
}

fn finish(talk: Talk<'_>, host: Option<String>, told: Told) {
    if let Some(job) = talk.job {
        land(talk.news, job, host, told);
    }
}

fn land(news: &UnboundedSender<News>, job: Job, host: Option<String>, told: Told) {
    let _ = news.send(News::Landed(Box::new(Landed { job, host, told, tls: None, policy: None })));
}

async fn relay_host(site: &Site, queue: &Queue) -> Result<Option<PlaceHost>, String> {
    let Some(relay) = &queue.egress.relay else { return Ok(None) };
    let ips = match relay.host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => match site.world().dns.ip(&relay.host).await {
            Ok(answer) => answer.records,
            Err(why) => return Err(format!("the relay {} cannot be looked up: {why:?}", relay.host)),
        },
    };
    Ok(Some(PlaceHost { name: relay.host.clone(), ips, tlsa: Vec::new(), unproved: None }))
}

/// Addresses that the egress can reach: of its own family.
fn usable(source: Option<IpAddr>, ips: &[IpAddr]) -> Vec<IpAddr> {
    ips.iter().copied().filter(|ip| source.is_none_or(|s| s.is_ipv4() == ip.is_ipv4())).collect()
}

/// Connects and talks. `None`: the job has landed; otherwise why it could not be offered.
async fn attempt(talk: &mut Talk<'_>, host: &PlaceHost, ip: IpAddr, stop: &Stop) -> Option<Told> {
    let first = session(talk, host, ip, (stop, true)).await;
    match first {
        // RFC 7435: where nothing demands TLS, a broken TLS is worth no less than none.
        Err(Failed::Tls(why)) if !talk.needs_tls() => {
            tracing::debug!(host = %host.name, %why, "TLS failed, once more without");
            match session(talk, host, ip, (stop, false)).await {
                Ok(()) => None,
                Err(failed) => Some(failed.told()),
            }
        }
        Err(Failed::Tls(why)) if !matches!(talk.demand, Demand::Relay(_)) => {
            let name = if talk.demand == Demand::Open { "REQUIRETLS" } else { talk.demand.name() };
            let says = format!("{name}: {} [{ip}]: {why}; nothing was sent", host.name);
            Some(Told::Barred(Barred { rule: talk.demand.rule(), says, permanent: false }))
        }
        Ok(()) => None,
        Err(failed) => Some(failed.told()),
    }
}

enum Failed {
    Dial(String),
    Tls(String),
    Refused(Stage, words::Reply),
    Broken(Stage, Break),
    Stopped,
}

impl Failed {
    fn told(self) -> Told {
        match self {
            Failed::Dial(why) => Told::NoAnswer(why),
            Failed::Tls(why) => Told::NoAnswer(format!("TLS could not be agreed on: {why}")),
            Failed::Refused(stage, reply) => Told::Refused { stage, reply },
            Failed::Broken(stage, why) => {
                Told::NoAnswer(format!("the conversation broke off at {stage:?}: {why:?}"))
            }
            Failed::Stopped => Told::NotTried,
        }
    }
}

async fn session(
    talk: &mut Talk<'_>,
    host: &PlaceHost,
    ip: IpAddr,
    (stop, with_tls): (&Stop, bool),
) -> Result<(), Failed> {
    let (site, egress) = (talk.site, &talk.queue.egress);
    let port = egress.relay.as_ref().map_or(site.settings().remote_port, |r| r.port);
    let to = SocketAddr::new(ip, port);
    let deadline = site.now() + DIAL;
    let dial = site.world().net.dial(egress.source, to);
    let connection = match drive::first(dial, site.world().clock.sleep_until(deadline)).await {
        First::A(Ok(connection)) => connection,
        First::A(Err(why)) => return Err(Failed::Dial(format!("{} [{ip}]: {why}", host.name))),
        First::B(()) => return Err(Failed::Dial(format!("{} [{ip}] does not answer", host.name))),
    };
    let client = Client::new(manners(talk, with_tls));
    let (tls, doubt) = tls(talk, host);
    let wires = Wires {
        clock: site.world().clock.clone(),
        tls,
        stop: stop.clone(),
        farewell: b"",
        meter: Arc::default(),
        limits: Limits::client(),
    };
    (talk.failed, talk.tls, talk.doubt, talk.sent) = (None, None, doubt, 0);
    talk.counted.clear();
    if !with_tls {
        // The session without TLS is the second of two; the first was counted.
        talk.counted.extend(talk.job.as_ref().and_then(domain_of));
    }
    let end = drive::run(client, &mut *talk, connection, wires).await;
    let doubt = talk.doubt.get().copied();
    let relayed = matches!(talk.demand, Demand::Relay(_));
    match (talk.failed.take(), end.why) {
        // The job that opened the connection is told; what followed on it too.
        _ if talk.job.is_none() => Ok(()),
        (_, Why::TlsFailed(why)) => {
            talk.count(Some(doubt.map_or(Failure::ValidationFailure, demand::failure)));
            Err(Failed::Tls(doubt.map_or(why, |doubt| doubt.to_string())))
        }
        (_, Why::Stopped) => Err(Failed::Stopped),
        (Some((Stage::StartTls, How::Broken(Break::NotOffered))), _) => {
            talk.count(Some(Failure::StarttlsNotSupported));
            Err(Failed::Tls("it does not offer TLS".to_owned()))
        }
        (Some((Stage::StartTls, How::Refused(reply))), _) if !relayed => {
            talk.count(Some(Failure::StarttlsNotSupported));
            Err(Failed::Tls(format!("it answers STARTTLS with \"{reply}\"")))
        }
        (Some((stage, How::Refused(reply))), _) => Err(Failed::Refused(stage, reply)),
        (Some((Stage::StartTls, How::Broken(why))), _) => Err(Failed::Tls(format!("{why:?}"))),
        (Some((_, How::Broken(Break::Aborted))), _) => Err(Failed::Stopped),
        (Some((stage, How::Broken(why))), _) => Err(Failed::Broken(stage, why)),
        (None, why) => Err(Failed::Dial(format!("{} [{ip}]: {why}", host.name))),
    }
}

/// Whose mail a job is.
fn domain_of(job: &Job) -> Option<Domain> {
    job.envelope.recipients.first().map(|r| r.address.domain().clone())
}

fn manners(talk: &Talk<'_>, with_tls: bool) -> Settings {
    let egress = &talk.queue.egress;
    let policy = match talk.demand {
        _ if !with_tls => TlsPolicy::Never,
        Demand::Relay(_) => talk.demand.policy(),
        _ if talk.queue.wish == Wish::Required => TlsPolicy::Required,
        demand => demand.policy(),
    };
    let mut set = Settings::new(egress.helo.clone(), policy);
    if let Some((user, password)) = egress.relay.as_ref().and_then(|r| r.login.clone()) {
        let mut nonce = [0; 18];
        talk.site.world().random.fill(&mut nonce);
        set.login = Some(Login { user, password, nonce });
    }
    set
}

fn tls(talk: &Talk<'_>, host: &PlaceHost) -> (Tls, Arc<OnceLock<Doubt>>) {
    let trust = match &talk.queue.egress.relay {
        Some(relay) => relay.trust(),
        None => talk.demand.trust(host, talk.queue.wish),
    };
    let client = ClientTls::new(talk.site.roots().clone(), &*host.name, trust);
    let doubt = client.doubt.clone();
    let implicit = talk.demand == Demand::Relay(RelayTls::Implicit);
    (Tls::Client { tls: Arc::new(client), implicit }, doubt)
}

impl Desk for Talk<'_> {
    type M = Client;

    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Next(ready) => {
                if ready.finished == 0 {
                    self.tls = ready.tls.clone();
                    let text = ready.banner.text();
                    let _ = self.news.send(News::Banner { host: self.host.to_owned(), text });
                }
                self.next().await
            }
            Ask::Chunk => self.chunk().await,
            Ask::Done(outcome) => {
                self.done(outcome.fates);
                Answer::Noted
            }
            Ask::Failed(failure) => {
                self.failed = Some((failure.stage, failure.how));
                Answer::Noted
            }
        }
    }
}

impl Talk<'_> {
    fn needs_tls(&self) -> bool {
        self.demand.needs_tls() || self.queue.wish == Wish::Required
    }

    /// Counts the session for the report of the job's domain, once. Mail that waives TLS proves nothing of
    /// it; reports are such mail, so they never make a report of their own necessary.
    fn count(&mut self, failure: Option<Failure>) {
        if self.queue.wish == Wish::Waived {
            return;
        }
        let Some(domain) = self.job.as_ref().and_then(domain_of) else { return };
        if matches!(self.demand, Demand::Relay(_)) || self.counted.contains(&domain) {
            return;
        }
        let source = self.queue.egress.source.map_or(String::new(), |ip| ip.to_string());
        let policy = self.demand.kind();
        let seen = Seen { domain: &domain, policy, failure, mx: self.host, source };
        self.site.outbound().tallies().add(seen, self.site.now());
        self.counted.insert(domain);
    }

    /// For the walk: what the session was held to and how it stood.
    fn policy(&self) -> Option<String> {
        let verified = self.tls.as_ref().is_some_and(|t| t.verified);
        let stood = match self.demand {
            Demand::Open | Demand::Relay(_) => return None,
            Demand::Dane => "a TLSA record names the certificate".to_owned(),
            Demand::Encrypted => "no TLSA record can be used; TLS is spoken".to_owned(),
            Demand::Enforced { .. } => "the server is named and its certificate is good".to_owned(),
            Demand::Tested { fits: false } => {
                "the policy does not name the server; sent nevertheless".to_owned()
            }
            Demand::Tested { .. } if verified => "the server is named and its certificate is good".to_owned(),
            Demand::Tested { .. } => {
                let why =
                    self.doubt.get().map_or("it does not speak TLS".to_owned(), |doubt| doubt.to_string());
                format!("{why}; sent nevertheless")
            }
        };
        Some(format!("{}: {stood}", self.demand.name()))
    }

    async fn next(&mut self) -> Answer {
        if self.job.is_none() {
            if self.sent >= MESSAGES_MAX {
                return Answer::Quit;
            }
            self.job = self.wait().await;
        }
        let verified = self.tls.as_ref().is_some_and(|t| t.verified);
        self.count(self.demand.verdict(self.tls.is_some(), verified, self.doubt.get().copied()));
        let Some(job) = &self.job else { return Answer::Quit };
        match self.site.store().body(job.body).await {
            Ok(body) => {
                self.body = Some((body, 0));
                self.sent += 1;
                Answer::Send(Box::new(job.envelope.clone()))
            }
            Err(why) => {
                tracing::error!(%why, "a message in the queue has no text");
                self.give_back();
                Answer::Quit
            }
        }
    }

    fn give_back(&mut self) {
        if let Some(job) = self.job.take() {
            land(self.news, job, None, Told::NotTried);
        }
    }

    /// The next job, for a moment.
    async fn wait(&mut self) -> Option<Job> {
        if let Some(job) = self.queue.pop() {
            return Some(job);
        }
        let until: Now = self.site.now() + IDLE;
        self.queue.idle(true);
        let clock = self.site.world().clock.clone();
        let mut got = None;
        while got.is_none() {
            match drive::first(self.queue.bell.notified(), clock.sleep_until(until)).await {
                First::A(()) => got = self.queue.pop(),
                First::B(()) => break,
            }
        }
        self.queue.idle(false);
        got.or_else(|| self.queue.pop())
    }

    async fn chunk(&mut self) -> Answer {
        let Some((body, at)) = &mut self.body else { return Answer::Abort };
        let len = PIECE.min(body.len().saturating_sub(*at) as usize);
        if len == 0 {
            return Answer::Chunk(bytes::Bytes::new());
        }
        match body.read_at(*at, len).await {
            Ok(piece) if !piece.is_empty() => {
                *at += piece.len() as u64;
                Answer::Chunk(piece)
            }
            Ok(_) => Answer::Abort,
            Err(why) => {
                tracing::error!(%why, "the text of a message in the queue cannot be read");
                Answer::Abort
            }
        }
    }

    fn done(&mut self, fates: Vec<Fate>) {
        self.body = None;
        let Some(mut job) = self.job.take() else { return };
        // A connection that was kept open may have been closed by the other side meanwhile: that
        // says nothing about the message, if no text was sent. Where a host has gone, all that were kept are
        // closed, and each is met once.
        let stale = self.sent > 1
            && job.again < AGAIN_MAX
            && fates.iter().all(|f| matches!(f, Fate::Broken { stage, .. } if *stage < Stage::Dot));
        if stale {
            job.again += 1;
            return self.queue.put_first(job);
        }
        let host = Some(self.host.to_owned());
        let tls = self.tls.as_ref().map(|t| t.version.clone());
        let landed = Landed { job, host, told: Told::Fates(fates), tls, policy: self.policy() };
        let _ = self.news.send(News::Landed(Box::new(landed)));
    }
}
