//! Letters through one way out: a relay takes them all on one connection, without one each goes to
//! its recipient's own host.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use drive::{ClientTls, Desk, First, Limits, Roots, Tls, Trust, Why, Wires};
use smtp::client::{Answer, Ask, Client, Fate, How, Login, Settings, TlsPolicy};
use stdx::Span;
use words::{Address, Body, Envelope, Recipient};
use world::World;

use crate::carry::{RelayTls, Way};

/// Connecting takes at most so long.
const DIAL: Span = Span::secs(20);
/// Hosts of a domain that are tried.
const HOSTS_MAX: usize = 3;

/// A message to one recipient.
#[derive(Clone, Debug)]
pub struct Letter {
    pub id: i64,
    pub from: Address,
    pub to: Address,
    pub text: Vec<u8>,
}

/// What became of each letter: `None` taken, else why not.
pub type Told = Vec<(i64, Option<String>)>;

pub async fn send(world: &World, roots: &Arc<Roots>, way: &Way, letters: &[Letter]) -> Told {
    let Some(relay) = &way.relay else {
        let mut told = Told::new();
        for letter in letters {
            let host = hosts_of(world, letter.to.domain().as_str()).await;
            let mut last = vec![(letter.id, Some(format!("{} has no host for mail", letter.to.domain())))];
            for host in host.iter().take(HOSTS_MAX) {
                last = through(world, roots, (way, host), std::slice::from_ref(letter)).await;
                if last.iter().all(|(_, why)| why.is_none()) {
                    break;
                }
            }
            told.extend(last);
        }
        return told;
    };
    through(world, roots, (way, &relay.host), letters).await
}

// RFC 5321 §5.1: by preference, and the domain itself where there is no MX.
async fn hosts_of(world: &World, domain: &str) -> Vec<String> {
    match world.dns.mx(domain).await {
        Ok(answer) => {
            let mut records = answer.records;
            records.sort();
            records.into_iter().map(|mx| mx.host).filter(|h| !h.is_empty()).collect()
        }
        Err(_) => vec![domain.to_owned()],
    }
}

async fn through(world: &World, roots: &Arc<Roots>, (way, host): (&Way, &str), letters: &[Letter]) -> Told {
    let all = |why: String| letters.iter().map(|l| (l.id, Some(why.clone()))).collect();
    let ips = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => match world.dns.ip(host).await {
            Ok(answer) => answer.records,
            Err(e) => return all(format!("{host} cannot be looked up: {e:?}")),
        },
    };
    let Some(ip) = ips.into_iter().find(|ip| way.source.is_none_or(|s| s.is_ipv4() == ip.is_ipv4())) else {
        return all(format!("{host} has no address we can reach"));
    };
    let to = SocketAddr::new(ip, way.relay.as_ref().map_or(way.port, |r| r.port));
    let dial = world.net.dial(way.source, to);
    let connection = match drive::first(dial, world.clock.sleep_until(world.now() + DIAL)).await {
        First::A(Ok(connection)) => connection,
        First::A(Err(e)) => return all(format!("{host} [{to}]: {e}")),
        First::B(()) => return all(format!("{host} [{to}] does not answer")),
    };
    // Nobody stops a hand-over in the middle: it is bounded by the machine's own patience.
    let (_go, stop) = tokio::sync::watch::channel(false);
    let wires = Wires {
        clock: world.clock.clone(),
        tls: tls(roots, way, host),
        stop,
        farewell: b"",
        meter: Arc::default(),
        limits: Limits::client(),
    };
    let mut talk = Talk { letters, next: 0, under_way: None, told: Vec::new(), failed: None };
    let end = drive::run(Client::new(manners(world, way)), &mut talk, connection, wires).await;
    let why = match (talk.failed.take(), end.why) {
        (Some(why), _) => why,
        (None, Why::TlsFailed(why)) => format!("TLS could not be agreed on: {why}"),
        (None, why) => format!("the conversation broke off: {why}"),
    };
    let mut told = talk.told;
    for letter in letters {
        if !told.iter().any(|(id, _)| *id == letter.id) {
            told.push((letter.id, Some(format!("{host}: {why}"))));
        }
    }
    told
}

fn tls(roots: &Arc<Roots>, way: &Way, host: &str) -> Tls {
    let trust = if way.relay.is_some() { Trust::Names(vec![host.to_owned()]) } else { Trust::Any };
    let client = ClientTls::new(roots.clone(), host, trust);
    let implicit = way.relay.as_ref().is_some_and(|r| r.tls == RelayTls::Implicit);
    Tls::Client { tls: Arc::new(client), implicit }
}

fn manners(world: &World, way: &Way) -> Settings {
    let policy = match way.relay.as_ref().map(|r| r.tls) {
        Some(RelayTls::StartTls) => TlsPolicy::Required,
        Some(RelayTls::Implicit | RelayTls::None) => TlsPolicy::Never,
        None => TlsPolicy::IfOffered,
    };
    let mut settings = Settings::new(way.helo.clone(), policy);
    if let Some((user, password)) = way.relay.as_ref().and_then(|r| r.login.clone()) {
        let mut nonce = [0; 18];
        world.random.fill(&mut nonce);
        settings.login = Some(Login { user, password, nonce });
    }
    settings
}

struct Talk<'l> {
    letters: &'l [Letter],
    next: usize,
    /// The letter that is being said, and whether its text was handed over.
    under_way: Option<(&'l Letter, bool)>,
    told: Told,
    failed: Option<String>,
}

impl Desk for Talk<'_> {
    type M = Client;

    async fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Next(_) => {
                let Some(letter) = self.letters.get(self.next) else { return Answer::Quit };
                self.next += 1;
                self.under_way = Some((letter, false));
                Answer::Send(Box::new(envelope(letter)))
            }
            Ask::Chunk => match &mut self.under_way {
                Some((letter, said)) if !*said => {
                    *said = true;
                    Answer::Chunk(Bytes::copy_from_slice(&letter.text))
                }
                Some(_) => Answer::Chunk(Bytes::new()),
                None => Answer::Abort,
            },
            Ask::Done(outcome) => {
                if let Some((letter, _)) = self.under_way.take() {
                    let why = match outcome.fates.into_iter().next() {
                        Some(Fate::Accepted { .. }) => None,
                        Some(Fate::Refused { reply, .. }) => Some(reply.to_string()),
                        other => Some(format!("{other:?}")),
                    };
                    self.told.push((letter.id, why));
                }
                Answer::Noted
            }
            Ask::Failed(failure) => {
                self.failed = Some(match failure.how {
                    How::Refused(reply) => reply.to_string(),
                    How::Broken(why) => format!("broken off at {:?}: {why:?}", failure.stage),
                });
                Answer::Noted
            }
        }
    }
}

fn envelope(letter: &Letter) -> Envelope {
    Envelope {
        sender: Some(letter.from.clone()),
        recipients: vec![Recipient::new(letter.to.clone())],
        body: Body::SevenBit,
        size: Some(letter.text.len() as u64),
        smtputf8: false,
        requiretls: false,
        tls_waived: false,
        ret: None,
        envid: None,
    }
}
