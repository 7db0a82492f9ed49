//! What a scene file says, complete and checked.

use std::net::IpAddr;

use sim::{Stage, Zones};
use stdx::{Bytes, Span};

/// A whole replay as data.
#[derive(Clone, Debug)]
pub struct Scene {
    pub name: String,
    pub title: String,
    pub seed: u64,
    /// How long it is played.
    pub length: Span,
    /// What an operator would have had to do, at most.
    pub operator_actions: u64,
    /// Scene seconds per second on real sockets; `None`: chosen from the length.
    pub pace: Option<u64>,
    pub host: Host,
    pub egresses: Vec<Egress>,
    pub senders: Vec<Sender>,
    pub destinations: Vec<Destination>,
    pub peers: Vec<Peer>,
    pub lists: Vec<List>,
    pub records: Vec<Entry>,
    pub traffic: Vec<Traffic>,
    pub faults: Vec<Fault>,
    pub orders: Vec<Order>,
    pub complaints: Vec<Complaint>,
    pub snds: Vec<Snds>,
    pub checks: Vec<Check>,
}

/// Our own host.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub address: IpAddr,
    pub give_up_after: Option<Span>,
    pub delay_notice_after: Option<Span>,
    pub sessions_per_destination: Option<u64>,
    /// It is a relay: its senders are customers of it.
    pub relay: bool,
    /// Where complaints go.
    pub feedback: Option<String>,
}

/// A way out of our host.
#[derive(Clone, Debug)]
pub struct Egress {
    pub name: String,
    pub address: IpAddr,
    pub helo: String,
    pub forwards: Option<bool>,
    pub verified: Option<Vec<String>>,
    /// New since so long before the scene begins.
    pub new_since: Option<Span>,
    pub network: Option<String>,
    /// Nothing leaves here before its pre-flight is passed.
    pub preflight: bool,
    /// Whether its name and its address lead to each other from the beginning.
    pub records: bool,
    pub relay: Option<Relay>,
}

#[derive(Clone, Debug)]
pub struct Relay {
    pub host: String,
    /// Records it wants under each sender domain: label and target.
    pub cnames: Vec<(String, String)>,
    pub login: Option<(String, String)>,
}

/// Our own people.
#[derive(Clone, Debug)]
pub struct Sender {
    pub name: String,
    pub accounts: Vec<String>,
    /// They are people of a customer of our relay.
    pub customer: Option<Customer>,
    /// Text of the SPF record; empty for none.
    pub spf: String,
    /// `none`, `quarantine`, `reject`; empty for no record.
    pub dmarc: String,
    pub dkim: bool,
}

/// How a customer's server comes to our relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub name: String,
    pub helo: String,
    /// It logs in; else it is known by its address.
    pub logs_in: bool,
}

/// Domains that behave alike.
#[derive(Clone, Debug)]
pub struct Destination {
    pub name: String,
    pub domains: Vec<String>,
    /// Names with `{domain}` and `{dashed}`, the preferred first.
    pub mx: Vec<String>,
    pub peer: usize,
}

/// Somebody else's mail host.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// Name in the greeting.
    pub greeting: String,
    /// Further names that lead to it (relays).
    pub names: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub at: Stage,
    pub from: Vec<IpAddr>,
    pub senders: Vec<String>,
    pub to: Vec<String>,
    pub begin: Option<Span>,
    pub end: Option<Span>,
    pub share: f64,
    pub flips: Option<Span>,
    pub above: Option<(u64, Span, bool)>,
    pub first: Option<u64>,
    pub greylist: Option<Span>,
    pub act: sim::Act,
}

/// A block list.
#[derive(Clone, Debug)]
pub struct List {
    pub zone: String,
    pub manner: Manner,
    /// It names neighbours or whole networks: shown, never counted.
    pub information: bool,
    /// What it answers where its manner says so.
    pub answer: Option<std::net::Ipv4Addr>,
    pub entries: Vec<Listed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As RFC 5782 wants it.
    Sane,
    /// Answers every question with yes.
    Dead,
    /// Answers every question with an error code.
    Refusing,
    /// Never answers.
    Mute,
}

#[derive(Clone, Debug)]
pub struct Listed {
    /// An address, or a name on lists of names.
    pub what: String,
    pub code: std::net::Ipv4Addr,
    pub text: String,
    pub begin: Option<Span>,
    pub end: Option<Span>,
}

/// One DNS record.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub kind: &'static str,
    pub value: String,
    pub begin: Option<Span>,
}

/// Messages to send.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub name: String,
    pub mark: Mark,
    /// Addresses that write.
    pub from: Vec<String>,
    /// Places in [`Scene::destinations`].
    pub to: Vec<usize>,
    pub messages: u64,
    /// Recipients of each, each in a domain of its own.
    pub recipients: u64,
    pub begin: Span,
    pub end: Span,
    pub size: Bytes,
    /// Local parts; empty: one of its own for each message.
    pub users: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Legitimate,
    /// From outside, to an address of ours that is handed on.
    Forward,
    Bulk,
}

/// Something breaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub at: Span,
    pub lasts: Span,
    pub what: Broken,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Broken {
    /// kill -9 of our host; it starts again when the fault is over.
    Kill,
    Egress(IpAddr),
    Peer(usize),
    Dns,
}

/// What an operator does by hand.
#[derive(Clone, Debug)]
pub struct Order {
    pub at: Span,
    pub words: Vec<String>,
    /// It only looks: no action of the operator.
    pub looks: bool,
}

/// Somebody at a peer complains about mail of ours.
#[derive(Clone, Debug)]
pub struct Complaint {
    pub at: Span,
    /// A place in [`Scene::peers`].
    pub peer: usize,
    /// About mail of these accounts.
    pub from: Vec<String>,
    pub messages: u64,
    /// Between one report and the next.
    pub every: Span,
    pub form: Form,
    /// Whether our mark is left in the message.
    pub mark: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// RFC 5965.
    Arf,
    /// As Hotmail's older loop.
    Jmrp,
}

/// What SNDS shows of an address from then on.
#[derive(Clone, Debug)]
pub struct Snds {
    pub at: Span,
    pub address: IpAddr,
    /// As it stands in the table.
    pub colour: &'static str,
}

impl Order {
    /// What is said when it could not be carried out.
    pub fn failed(&self, why: &str) -> String {
        format!("The order \"{}\": {why}", self.words.join(" "))
    }
}

/// A measured value and its bound.
#[derive(Clone, Debug)]
pub struct Check {
    pub that: String,
    pub measure: String,
    pub op: Op,
    pub bound: Bound,
    pub filter: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Is,
    IsNot,
    AtMost,
    AtLeast,
    Below,
    Above,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    Number(f64),
    Span(Span),
    Text(String),
    /// Another measure's value, under the same filter.
    Measure(String),
}

/// What a measure looks at; empty is everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Places in [`Scene::destinations`].
    pub to: Vec<usize>,
    /// Sender addresses.
    pub from: Vec<String>,
    pub egress: Vec<String>,
    /// Places in [`Scene::traffic`].
    pub traffic: Vec<usize>,
    pub peer: Vec<usize>,
    pub after: Option<Instant>,
    pub until: Option<Instant>,
    pub per: Option<Span>,
    pub kind: Option<String>,
    pub text: Option<String>,
    pub group: Option<String>,
    pub zone: Option<String>,
}

/// A point of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instant {
    pub from: From,
    pub plus: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    Begin,
    /// When the group in question is first moved away.
    Move,
    /// When a peer first refuses.
    Refusal,
}

impl Scene {
    /// Names as the DNS has them when the scene begins; `host_at` is where our own host is.
    pub fn zones(&self) -> Zones {
        let zones = Zones::new();
        self.fill(&zones);
        zones
    }

    fn fill(&self, zones: &Zones) {
        zones.ip(&self.host.name, self.host.address).ptr(self.host.address, &self.host.name);
        for egress in self.egresses.iter().filter(|e| e.records) {
            zones.ip(&egress.helo, egress.address).ptr(egress.address, &egress.helo);
        }
        for peer in &self.peers {
            for (name, ip) in peer
                .names
                .iter()
                .chain([&peer.greeting])
                .flat_map(|n| peer.addresses.iter().map(move |ip| (n, *ip)))
            {
                zones.ip(name, ip);
            }
            for ip in &peer.addresses {
                zones.ptr(*ip, &peer.greeting);
            }
        }
        for destination in &self.destinations {
            for domain in &destination.domains {
                for (n, mx) in destination.hosts(domain).iter().enumerate() {
                    zones.mx(domain, 10 * (n as u16 + 1), mx);
                }
            }
            let mut named = std::collections::BTreeSet::new();
            for mx in destination.domains.iter().flat_map(|d| destination.hosts(d)) {
                if named.insert(mx.clone())
                    && mx != self.peers[destination.peer].greeting
                    && !self.peers[destination.peer].names.contains(&mx)
                {
                    for ip in &self.peers[destination.peer].addresses {
                        zones.ip(&mx, *ip);
                    }
                }
            }
        }
        let loops: std::collections::BTreeSet<usize> = self.complaints.iter().map(|c| c.peer).collect();
        for peer in loops.into_iter().map(|n| &self.peers[n]) {
            let ips = peer.addresses.iter().map(|ip| format!(" ip4:{ip}")).collect::<String>();
            zones.txt(&peer.greeting, &format!("v=spf1{ips} -all"));
        }
        for domain in self.own_domains() {
            zones.mx(&domain, 10, &self.host.name);
        }
        for sender in &self.senders {
            for domain in domains_of(&sender.accounts) {
                if !sender.spf.is_empty() {
                    zones.txt(&domain, &sender.spf);
                }
                if !sender.dmarc.is_empty() {
                    zones.txt(&format!("_dmarc.{domain}"), &format!("v=DMARC1; p={}", sender.dmarc));
                }
            }
        }
        self.records.iter().filter(|r| r.begin.is_none()).for_each(|r| r.enter(zones));
    }

    /// Domains that are ours.
    pub fn own_domains(&self) -> Vec<String> {
        domains_of(&self.own_accounts())
    }

    /// People with a mailbox at our host.
    pub fn own_accounts(&self) -> Vec<String> {
        let ours = self.senders.iter().filter(|s| s.customer.is_none());
        ours.flat_map(|s| s.accounts.iter().cloned()).collect()
    }

    /// Which egress a peer saw, by the source address; relays by the host they are.
    pub fn egress_at(&self, peer: usize, source: IpAddr) -> &str {
        let peer = &self.peers[peer];
        let relay = self.egresses.iter().find(|e| {
            e.relay.as_ref().is_some_and(|r| peer.names.contains(&r.host) || peer.greeting == r.host)
        });
        let direct = || self.egresses.iter().find(|e| e.relay.is_none() && e.address == source);
        relay.or_else(direct).map_or("?", |e| e.name.as_str())
    }
}

impl Peer {
    /// Whether one of our ways out leads through it.
    pub fn is_relay(&self, scene: &Scene) -> bool {
        let ours = |host: &String| *host == self.greeting || self.names.contains(host);
        scene.egresses.iter().filter_map(|e| e.relay.as_ref()).any(|r| ours(&r.host))
    }
}

impl Destination {
    /// The MX hosts of one of its domains.
    pub fn hosts(&self, domain: &str) -> Vec<String> {
        self.mx.iter().map(|mx| crate::expand::fill(mx, domain).to_ascii_lowercase()).collect()
    }
}

impl Entry {
    pub fn enter(&self, zones: &Zones) {
        let Entry { name, value, .. } = self;
        match self.kind {
            "A" => {
                if let Ok(ip) = value.parse() {
                    zones.ip(name, ip);
                }
            }
            "MX" => {
                zones.mx(name, 10, value);
            }
            "CNAME" => {
                zones.cname(name, value);
            }
            "PTR" => {
                if let Ok(ip) = name.parse() {
                    zones.ptr(ip, value);
                }
            }
            "NS" => {
                zones.ns(name, value);
            }
            _ => {
                zones.txt(name, value);
            }
        }
    }
}

/// The domains of addresses, each once.
pub fn domains_of(addresses: &[String]) -> Vec<String> {
    let mut all: Vec<String> =
        addresses.iter().filter_map(|a| a.rsplit_once('@')).map(|(_, d)| d.to_owned()).collect();
    all.sort();
    all.dedup();
    all
}
