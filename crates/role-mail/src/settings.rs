//! What an operator sets for the mail host, with the defaults. Everything here can change while
//! the host runs; sessions take the settings that stand when they begin.

use std::collections::BTreeMap;
use std::net::IpAddr;

use stdx::{Bytes, Now, Secret, Span, network};
use words::Domain;

#[derive(Clone)]
pub struct Settings {
    /// Our name in greetings, `Received` fields and message ids: `mx.example.org`.
    pub host_name: String,
    /// Largest message, RFC 1870 SIZE.
    pub message_size_max: Bytes,
    /// Recipients in one transaction (RFC 5321 §4.5.3.1.8 wants at least 100).
    pub recipients_max: usize,
    /// Open sessions from one address (or IPv6 /64), per port.
    pub sessions_per_address_max: usize,
    /// Open sessions in all.
    pub sessions_max: usize,
    /// `Received` fields after which a message goes round in circles (RFC 5321 §6.3).
    pub hops_max: usize,
    /// Ways out, the preferred first. Never empty.
    pub egresses: Vec<Egress>,
    /// What more is known of ways out, by their names.
    pub egress_rules: BTreeMap<String, EgressRules>,
    /// Zones of the block lists that are watched; a reply that names one is known to cite it.
    pub list_zones: Vec<String>,
    /// Block lists that are asked about our ways out; empty: nobody is asked.
    pub lists: Vec<route::dnsbl::ListFacts>,
    /// Where other providers send complaints about our mail: an address of ours.
    pub feedback: Option<words::Address>,
    /// Where SNDS hands out its table; it holds a key.
    pub snds_url: Option<Secret<String>>,
    /// Domains whose mail hosts prove that port 25 can be reached.
    pub probe_domains: Vec<String>,
    /// Connections at the same time to one destination.
    pub sessions_per_destination_max: usize,
    /// Port of remote mail hosts: 25, unless the world outside is another one.
    pub remote_port: u16,
    /// Port of the web servers that publish MTA-STS policies: 443, unless the world outside is
    /// another one.
    pub policy_port: u16,
    /// Whether domains that ask for it are told how TLS with their servers went (RFC 8460).
    pub tls_reports: bool,
    /// How long a message is tried before it comes back (RFC 5321 §4.5.4.1: at least 4–5 days).
    pub give_up_after: Span,
    /// When the sender first hears that a message is late.
    pub delay_notice_after: Span,
    /// Whether DNS answers marked authentic are believed (a validating resolver on this machine).
    pub dnssec: bool,
    /// Whether SCRAM-*-PLUS is listed, or only taken from those who ask for it by name.
    pub list_channel_binding: bool,
    /// What old mail programs are allowed to do wrong; all off by default.
    pub tolerance: Tolerance,
    /// Networks whose clients may log in without TLS and relay without logging in.
    pub trusted_networks: Vec<(IpAddr, u8)>,
    /// Hosts of ours whose parcels are taken; their `last` is not looked at here.
    pub peers: Vec<link::Peer>,
    /// How long a walk can be explained: age of the ledger's facts.
    pub ledger_keeps: Span,
    /// Rows the ledger keeps at most.
    pub ledger_rows_max: u64,
}

/// A way out of this host.
#[derive(Clone)]
pub struct Egress {
    /// `A`, `relay-london`: what reasons and panels call it.
    pub name: String,
    /// Source address; `None` leaves it to the system.
    pub source: Option<IpAddr>,
    /// The name said in EHLO; it should resolve to the source address and back.
    pub helo: String,
    /// `None` goes straight to the MX; otherwise through this relay.
    pub relay: Option<Relay>,
}

/// What an egress may carry, and what the world sees of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressRules {
    /// Whether forwarded mail may leave here; without a word, addresses of ours do and relays do not.
    pub forwards: Option<bool>,
    /// Only these sender domains are verified at the relay.
    pub verified: Option<Vec<Domain>>,
    /// The address is new since then: it earns its reputation slowly.
    pub warm_up_since: Option<Now>,
    /// What it may carry to one group on its first day; it doubles daily.
    pub warm_up_first_day: Option<u32>,
    /// The same for single groups, by name.
    pub warm_up_groups: BTreeMap<String, u32>,
    /// Nothing leaves here before its pre-flight was passed.
    pub must_pass: bool,
    /// CNAME records that a relay wants under each sender domain: label and target.
    pub cnames: Vec<(String, String)>,
    /// Addresses the world sees, where they are not the source (relays, NAT).
    pub addresses: Vec<IpAddr>,
    /// Data centre or network, to see which ways fall together.
    pub network: Option<String>,
}

#[derive(Clone)]
pub struct Relay {
    pub host: String,
    pub port: u16,
    pub tls: RelayTls,
    /// User and password for AUTH.
    pub login: Option<(String, Secret<String>)>,
    /// The pin of its key (`sha256:…`), in place of a certificate that authorities vouch for.
    pub pin: Option<String>,
}

impl Relay {
    /// What its certificate must prove.
    pub fn trust(&self) -> drive::Trust {
        let names = vec![self.host.clone()];
        match self.pin.as_deref().and_then(drive::tls::pinned) {
            Some(tlsa) => drive::Trust::Dane { tlsa: vec![tlsa], names },
            None => drive::Trust::Names(names),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayTls {
    /// TLS from the first byte (port 465).
    Implicit,
    /// STARTTLS, and nothing without it.
    StartTls,
    /// Plain text, for a relay on a trusted wire.
    None,
}

/// One switch for each way in which an old program may be set up wrongly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// `bob` logs in where one domain only has a `bob`.
    pub login_without_domain: bool,
    /// `Bob@Example.ORG` is `bob@example.org`.
    pub login_in_capitals: bool,
    /// Plain passwords without TLS from the trusted networks.
    pub plain_on_trusted_network: bool,
    /// TLS from the first byte also on ports that begin in the clear.
    pub tls_on_any_port: bool,
}

impl Settings {
    pub fn new(host_name: &str) -> Settings {
        Settings {
            host_name: host_name.to_owned(),
            message_size_max: Bytes::mib(50),
            recipients_max: 1000,
            sessions_per_address_max: 100,
            sessions_max: 10_000,
            hops_max: 50,
            egresses: vec![Egress {
                name: "A".into(),
                source: None,
                helo: host_name.to_owned(),
                relay: None,
            }],
            egress_rules: BTreeMap::new(),
            list_zones: Vec::new(),
            lists: Vec::new(),
            feedback: None,
            snds_url: None,
            probe_domains: Vec::new(),
            sessions_per_destination_max: 20,
            remote_port: 25,
            policy_port: 443,
            tls_reports: true,
            give_up_after: Span::days(5),
            delay_notice_after: Span::hours(4),
            dnssec: false,
            list_channel_binding: false,
            tolerance: Tolerance::default(),
            trusted_networks: Vec::new(),
            peers: Vec::new(),
            ledger_keeps: Span::days(30),
            ledger_rows_max: 20_000_000,
        }
    }

    /// Whether an address lies in a trusted network.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_networks.iter().any(|(net, bits)| network::holds(*net, *bits, ip))
    }
}
