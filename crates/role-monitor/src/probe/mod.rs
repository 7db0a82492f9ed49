//! What is looked at, and one look at it.

pub mod certificate;
pub mod mail;
pub mod names;
pub mod port;

use std::net::IpAddr;

use drive::{First, first};
use link::Look;
use route::dnsbl;
use stdx::{Now, Span, TlsFacts};
use watch::drift::{self, Grade};
use web::{Ask, Proof, Url};

use crate::wire::{Family, Kit, Place, Wire, addresses, dial};

/// One thing that is looked at again and again.
#[derive(Clone)]
pub struct Target {
    /// `port.imaps.mx.example.org`; the same on all points, so that they can agree.
    pub id: String,
    pub kind: Kind,
    /// The component of the status site it speaks for.
    pub component: String,
    /// The machine it is about, if it is about one.
    pub host: String,
    pub every: Span,
    /// A look may take this long.
    pub limit: Span,
    /// Longer than this is slow.
    pub slow: Span,
}

impl Target {
    /// All of these red at once: the machine is gone.
    pub fn reaches(&self) -> bool {
        matches!(self.kind, Kind::Port(_) | Kind::Tcp { .. } | Kind::Tls { .. })
    }
}

#[derive(Clone)]
pub enum Kind {
    Tcp {
        to: Place,
        family: Family,
    },
    /// The handshake and the certificate of any port with TLS from the first byte.
    Tls {
        to: Place,
        family: Family,
    },
    Ping {
        host: String,
        family: Family,
    },
    Http(Web),
    Dns {
        record: String,
        name: String,
        expect: String,
    },
    Port(Box<Port>),
    Certificate(Box<Port>),
    Loop(Box<mail::Loop>),
    Domain(Box<names::DomainWatch>),
    Lists {
        ip: IpAddr,
        lists: Vec<dnsbl::ListFacts>,
    },
    Reverse {
        ip: IpAddr,
        helo: String,
    },
    OpenRelay(Box<Port>),
    /// A status site: it answers, its snapshot is fresh, and its second copy is the same.
    Status {
        url: Url,
        copy: Option<Url>,
    },
}

pub use port::Port;

/// A page that must be there.
#[derive(Clone)]
pub struct Web {
    pub url: Url,
    /// 200 if 0.
    pub status: u16,
    /// Text the page must hold.
    pub expect: String,
    /// Sent as a form: a real log-in.
    pub form: Vec<(String, String)>,
    pub family: Family,
}

/// What one look brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    pub at: Now,
    pub look: Look,
    pub ms: u64,
    /// The cause, in words that do not differ from try to try; evidence if it went well.
    pub says: String,
    /// Distinguishes alerts of one probe: the days a certificate has left.
    pub topic: String,
    /// When a certificate ends.
    pub expires: Option<Now>,
    /// Tokens of older loop messages found.
    pub others: Vec<String>,
    /// What lists say, by their id.
    pub listed: Vec<(String, bool)>,
}

impl Tried {
    fn new(look: Look, says: impl Into<String>) -> Tried {
        Tried {
            at: Now(0),
            look,
            ms: 0,
            says: says.into(),
            topic: String::new(),
            expires: None,
            others: Vec::new(),
            listed: Vec::new(),
        }
    }
    fn of(done: Result<String, String>) -> Tried {
        match done {
            Ok(says) => Tried::new(Look::Good, says),
            Err(says) => Tried::new(Look::Failed, says),
        }
    }
}

/// Looks once, within the target's time.
pub async fn look(kit: &Kit, target: &Target, token: &str) -> Tried {
    let began = kit.world.now();
    let late = kit.world.clock.sleep_until(began + target.limit);
    let mut tried = match first(one(kit, target, token), late).await {
        First::A(tried) => tried,
        First::B(()) => Tried::new(Look::Failed, format!("no answer within {}", target.limit)),
    };
    let took = kit.world.now().since(began);
    tried.at = kit.world.now();
    if tried.ms == 0 {
        tried.ms = took.as_ms();
    }
    if tried.look == Look::Good && took > target.slow {
        tried.look = Look::Slow;
        tried.says = format!("it took {took}; {}", tried.says);
    }
    tried
}

async fn one(kit: &Kit, target: &Target, token: &str) -> Tried {
    match &target.kind {
        Kind::Tcp { to, family } => Tried::of(dial(&kit.world, to, *family).await.map(|_| String::new())),
        Kind::Tls { to, family } => handshake(kit, to, *family).await,
        Kind::Ping { host, family } => Tried::of(ping(kit, host, *family, target.limit).await),
        Kind::Http(page) => http(kit, page, target.limit).await,
        Kind::Dns { record, name, expect } => {
            Tried::of(names::record(&kit.world, record, name, expect).await)
        }
        Kind::Port(port) => match port::look(kit, port).await {
            Ok((wire, says)) => {
                let mut tried = Tried::new(Look::Good, says);
                tried.expires = wire.tls.as_ref().and_then(certificate::read).map(|c| c.expires);
                tried
            }
            Err(why) => Tried::new(Look::Failed, why),
        },
        Kind::Certificate(port) => shown(kit, port).await,
        Kind::Loop(work) => mail_loop(kit, work, token).await,
        Kind::Domain(watch) => domain(kit, watch).await,
        Kind::Lists { ip, lists } => listings(kit, *ip, lists).await,
        Kind::Reverse { ip, helo } => Tried::of(names::reverse(&kit.world, *ip, helo).await),
        Kind::OpenRelay(port) => Tried::of(port::open_relay(kit, port).await),
        Kind::Status { url, copy } => Tried::of(status(kit, url, copy.as_ref()).await),
    }
}

async fn handshake(kit: &Kit, to: &Place, family: Family) -> Tried {
    let done = async { Wire::dial(kit, to, family).await?.start_tls(kit, &to.host).await };
    match done.await {
        Err(why) => Tried::new(Look::Failed, why),
        Ok(wire) => judged(kit, wire.tls.as_ref(), &to.host),
    }
}

async fn ping(kit: &Kit, host: &str, family: Family, limit: Span) -> Result<String, String> {
    let ip =
        addresses(&kit.world, host, family).await?.into_iter().next().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    kit.world.net.ping(ip, limit).await.map(|took| format!("{took}")).map_err(|e| match e.kind() {
        std::io::ErrorKind::TimedOut => "no echo in time".into(),
        _ => e.to_string(),
    })
}

async fn http(kit: &Kit, page: &Web, limit: Span) -> Tried {
    let at = match page.family {
        Family::Any => None,
        family => match addresses(&kit.world, &page.url.host, family).await {
            Ok(found) => found.into_iter().next(),
            Err(why) => return Tried::new(Look::Failed, why),
        },
    };
    let mut ask = if page.form.is_empty() {
        Ask::get(page.url.clone())
    } else {
        let form: Vec<String> =
            page.form.iter().map(|(k, v)| format!("{}={}", encoded(k), encoded(v))).collect();
        Ask::post(page.url.clone(), "application/x-www-form-urlencoded", form.join("&"))
    };
    (ask.at, ask.limit, ask.proof) = (at, limit, Proof::None);
    let got = match web::fetch(&kit.world, &kit.roots, &ask).await {
        Ok(got) => got,
        Err(why) => return Tried::new(Look::Failed, why.says),
    };
    let mut tried = Tried::new(Look::Good, format!("HTTP {}", got.status));
    if let Some(facts) = &got.tls
        && let Some(shown) = certificate::read(facts)
    {
        tried.expires = Some(shown.expires);
        if let (certificate::Grade::Bad, why) = certificate::judge(&shown, &page.url.host, kit.world.now()) {
            return Tried { look: Look::Failed, says: why, ..tried };
        }
    }
    let wanted = if page.status == 0 { 200 } else { page.status };
    if got.status != wanted {
        return Tried {
            look: Look::Failed,
            says: format!("HTTP {} in place of {wanted}", got.status),
            ..tried
        };
    }
    if !page.expect.is_empty() && !got.text().contains(&page.expect) {
        let says = format!("the page does not hold \"{}\"", page.expect);
        return Tried { look: Look::Failed, says, ..tried };
    }
    tried
}

/// Percent-encoding for forms.
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

async fn shown(kit: &Kit, port: &Port) -> Tried {
    match port::tls_facts(kit, port).await {
        Ok(facts) => judged(kit, Some(&facts), &port.name),
        Err(why) => Tried::new(Look::Failed, why),
    }
}

/// What is to be said of the certificate that was shown.
fn judged(kit: &Kit, facts: Option<&TlsFacts>, name: &str) -> Tried {
    let Some(shown) = facts.and_then(certificate::read) else {
        return Tried::new(Look::Failed, "its certificate cannot be read");
    };
    let now = kit.world.now();
    let (grade, says) = certificate::judge(&shown, name, now);
    let left = shown.expires.since(now);
    let step = certificate::WARN_DAYS.iter().rev().find(|d| left < Span::days(**d));
    let look = match grade {
        certificate::Grade::Good => Look::Good,
        certificate::Grade::Soon => Look::Slow,
        certificate::Grade::Bad => Look::Failed,
    };
    let topic = step.map(|d| format!("{d}d")).unwrap_or_default();
    Tried { expires: Some(shown.expires), topic, ..Tried::new(look, says) }
}

async fn mail_loop(kit: &Kit, work: &mail::Loop, token: &str) -> Tried {
    match mail::run(kit, work, token).await {
        Ok(seen) => {
            let blemishes = mail::blemishes(work, &seen);
            let look = if blemishes.is_empty() { Look::Good } else { Look::Slow };
            let mut says = format!("in {} after {}", seen.folder, seen.after);
            for blemish in &blemishes {
                says.push_str("; ");
                says.push_str(blemish);
            }
            Tried { ms: seen.after.as_ms().max(1), others: seen.others, ..Tried::new(look, says) }
        }
        // Reading is another component's trouble: whether mail came, nobody could see.
        Err(trouble @ mail::Trouble::Mailbox(_)) => Tried::new(Look::Unsure, trouble.to_string()),
        Err(trouble) => Tried::new(Look::Failed, trouble.to_string()),
    }
}

async fn domain(kit: &Kit, watch: &names::DomainWatch) -> Tried {
    let facts = names::gather(kit, watch).await;
    let Some(faults) = drift::judge(&watch.domain, &watch.wanted, &facts, kit.world.now()) else {
        return Tried::new(Look::Unsure, "the resolver gives no answer");
    };
    let look = match faults.first().map(|f| f.grade) {
        None => Look::Good,
        Some(Grade::Weak) => Look::Slow,
        Some(Grade::Broken) => Look::Failed,
    };
    let says: Vec<&str> = faults.iter().map(|f| f.says.as_str()).collect();
    Tried::new(look, says.join("; "))
}

async fn listings(kit: &Kit, ip: IpAddr, lists: &[dnsbl::ListFacts]) -> Tried {
    let (mut named, mut says, mut listed) = (false, Vec::new(), Vec::new());
    for list in lists.iter().filter(|l| !l.of_domains) {
        match names::listed(&kit.world, list, ip).await.decision {
            dnsbl::Finding::Listed { meaning, .. } => {
                named = true;
                says.push(format!("{ip} is on {} ({meaning}); {}", list.id, list.delist));
                listed.push((list.id.clone(), true));
            }
            dnsbl::Finding::Clean => listed.push((list.id.clone(), false)),
            // Neighbours are not us, and a list that is not proved alive says nothing.
            dnsbl::Finding::Neighbours { .. } | dnsbl::Finding::Unusable => {}
        }
    }
    let look = match (named, listed.is_empty()) {
        (true, _) => Look::Failed,
        (false, true) => Look::Unsure,
        (false, false) => Look::Good,
    };
    Tried { listed, ..Tried::new(look, says.join("; ")) }
}

/// A snapshot older than this is not kept up.
const SNAPSHOT_OLD: Span = Span::mins(2);

async fn status(kit: &Kit, url: &Url, copy: Option<&Url>) -> Result<String, String> {
    let page = |url: &Url| Url { path: format!("{}api/v2/summary.json", url.path), ..url.clone() };
    let read = async |url: &Url| {
        let got = web::fetch(&kit.world, &kit.roots, &Ask::get(page(url))).await.map_err(|e| e.says)?;
        if got.status != 200 {
            return Err(format!("HTTP {}", got.status));
        }
        serde_json::from_slice::<serde_json::Value>(&got.body).map_err(|_| "its answer is no JSON".to_owned())
    };
    let ours = read(url).await.map_err(|e| format!("the status site: {e}"))?;
    let made = ours["page"]["updated_at"].as_str().unwrap_or_default().to_owned();
    let now = kit.world.now();
    let oldest = (now - SNAPSHOT_OLD).iso();
    // Both are UTC in the same form, so that they compare as texts up to the second.
    if made.get(..19).is_none_or(|m| m < oldest.get(..19).unwrap_or_default()) {
        return Err(format!("the status site's page is old: made {made}"));
    }
    if let Some(copy) = copy {
        let theirs = read(copy).await.map_err(|e| format!("the status site's second copy: {e}"))?;
        if theirs["incidents"] != ours["incidents"] || theirs["status"] != ours["status"] {
            return Err("the status site's second copy says something else".into());
        }
    }
    Ok(format!("made {made}"))
}
