//! Our own host as a scene wants it: settings, people, addresses that are handed on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use drive::TlsServer;
use role_mail::{EgressRules, Relay, RelayTls, Settings, Site};
use route::dnsbl::{self, ListFacts, Weight};
use stdx::{Bytes, Now, Secret};
use store::{Store, StoreError};
use words::{AccountId, Address, Domain};

use crate::client::Doors;
use crate::letters::{Letter, onward};
use crate::scene::{Customer, Egress, List, Mark, Scene, domains_of};

/// Where our people sit, and where people outside write from.
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 8, 0, 1));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));

/// A message of a customer may be so long.
const RELAYED_MAX: Bytes = Bytes::mib(50);

/// Ports of a scene: those of the virtual world are the usual ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Ours for mail from outside, and everybody's for mail between hosts.
    pub smtp: u16,
    pub submission: u16,
}

impl Ports {
    /// The web server of the scene's SNDS.
    pub const fn web(self) -> u16 {
        if self.smtp == USUAL.smtp { 80 } else { self.smtp + 3 }
    }
}

pub const USUAL: Ports = Ports { smtp: 25, submission: 587 };

/// The settings of our host. `now` is when the scene begins.
pub fn settings(scene: &Scene, ports: Ports, now: Now) -> Settings {
    let mut settings = Settings {
        egresses: scene.egresses.iter().map(|e| egress(e, ports)).collect(),
        list_zones: scene.lists.iter().map(|l| l.zone.clone()).collect(),
        lists: scene.lists.iter().map(list).collect(),
        probe_domains: scene.destinations.iter().filter_map(|d| d.domains.first().cloned()).take(3).collect(),
        remote_port: ports.smtp,
        trusted_networks: vec![(INSIDE, 32)],
        sessions_per_address_max: 1000,
        ..Settings::new(&scene.host.name)
    };
    settings.feedback = scene.host.feedback.as_deref().and_then(|f| Address::parse(f).ok());
    settings.snds_url = (!scene.snds.is_empty()).then(|| Secret::new(crate::snds::url(ports.web())));
    settings.tolerance.plain_on_trusted_network = true;
    settings.give_up_after = scene.host.give_up_after.unwrap_or(settings.give_up_after);
    settings.delay_notice_after = scene.host.delay_notice_after.unwrap_or(settings.delay_notice_after);
    if let Some(n) = scene.host.sessions_per_destination {
        settings.sessions_per_destination_max = n.clamp(1, 1000) as usize;
    }
    for egress in &scene.egresses {
        let verified =
            egress.verified.as_ref().map(|v| v.iter().filter_map(|d| Domain::new(d).ok()).collect());
        let rules = EgressRules {
            forwards: egress.forwards,
            verified,
            warm_up_since: egress.new_since.map(|ago| Now(now.0.saturating_sub(ago.0))),
            network: egress.network.clone(),
            must_pass: egress.preflight,
            cnames: egress.relay.as_ref().map_or_else(Vec::new, |r| r.cnames.clone()),
            ..EgressRules::default()
        };
        settings.egress_rules.insert(egress.name.clone(), rules);
    }
    settings
}

/// A list as our host watches it: known ones with all their codes.
fn list(list: &List) -> ListFacts {
    let weight = if list.information { Weight::Information } else { Weight::Medium };
    let known = dnsbl::built_in().into_iter().find(|known| known.zone == list.zone);
    match known {
        Some(known) => ListFacts { public_only: false, ..known },
        None => ListFacts::plain(&list.zone, weight),
    }
}

fn egress(egress: &Egress, ports: Ports) -> role_mail::Egress {
    let relay = egress.relay.as_ref().map(|relay| Relay {
        host: relay.host.clone(),
        port: ports.smtp,
        tls: RelayTls::StartTls,
        login: relay.login.as_ref().map(|(user, password)| (user.clone(), Secret::new(password.clone()))),
        pin: None,
    });
    role_mail::Egress {
        name: egress.name.clone(),
        source: Some(egress.address),
        helo: egress.helo.clone(),
        relay,
    }
}

/// Where letters are handed in.
pub fn doors(scene: &Scene, ports: Ports) -> Doors {
    Doors {
        submission: SocketAddr::new(scene.host.address, ports.submission),
        smtp: SocketAddr::new(scene.host.address, ports.smtp),
        inside: INSIDE,
        outside: OUTSIDE,
        password: format!("rehearsal {}", scene.seed),
        customers: customers(scene),
    }
}

fn customers(scene: &Scene) -> BTreeMap<String, Customer> {
    let each = scene.senders.iter().filter_map(|s| s.customer.as_ref().map(|c| (s, c)));
    each.flat_map(|(s, c)| s.accounts.iter().map(|a| (a.clone(), c.clone()))).collect()
}

/// The relay's door on the spool of our host.
pub fn relay_door(
    site: &Site,
    scene: &Scene,
    listener: Arc<dyn world::Listener>,
    certificates: Arc<dyn TlsServer>,
) -> (role_relay::Relay, role_relay::Port) {
    let (store, feed) = (site.store().clone(), site.feed().clone());
    let relay =
        role_relay::Relay::new(site.world().clone(), store, feed, &scene.host.name, RELAYED_MAX.get());
    (relay, role_relay::Port { listener, implicit_tls: false, certificates: Some(certificates) })
}

/// The tables of our host, whatever its role.
pub fn schemas() -> Vec<store::Schema> {
    let mut all = role_mail::schemas();
    all.push(role_relay::SCHEMA);
    all
}

/// Addresses that are ours to use in the scene, beside the host's and the egresses'.
pub fn own_addresses(scene: &Scene) -> Vec<IpAddr> {
    let mut own = vec![scene.host.address];
    own.extend(scene.egresses.iter().map(|e| e.address));
    own
}

pub fn client_addresses() -> Vec<IpAddr> {
    vec![INSIDE, OUTSIDE]
}

/// Domains, accounts with their password, DKIM keys, and addresses that are handed on.
pub async fn furnish(store: &Store, scene: &Scene, letters: &[Letter], now: Now) -> Result<(), StoreError> {
    let digest =
        sasl::password::make_all_random(&doors(scene, USUAL).password, b"a scene's salt 1", b"scene")[0]
            .clone();
    let mut accounts = scene.own_accounts();
    accounts.extend(scene.host.feedback.clone().filter(|f| !accounts.contains(f)));
    let mut onwards: Vec<(String, String)> = Vec::new();
    for letter in letters.iter().filter(|l| scene.traffic[l.traffic].mark == Mark::Forward) {
        onwards.extend(letter.recipients.iter().map(|r| (onward(scene, r), r.clone())));
    }
    onwards.sort();
    onwards.dedup();
    let signed: Vec<String> = scene
        .senders
        .iter()
        .filter(|s| s.dkim && s.customer.is_none())
        .flat_map(|s| domains_of(&s.accounts))
        .collect();
    let domains = scene.own_domains();
    let made = store.commit(Vec::new(), move |batch| {
        for domain in &domains {
            directory::add_domain(batch, &name(domain)?, now)?;
        }
        for account in &accounts {
            let address = parse(account)?;
            let id = directory::add_account(
                batch,
                &directory::NewAccount { address: &address, name: account, quota: None },
                now,
            )?;
            password(batch, id, &digest, now)?;
        }
        for (from, to) in &onwards {
            directory::add_alias(batch, &parse(from)?, &parse(to)?)?;
        }
        signed.iter().try_for_each(|domain| key(batch, &name(domain)?, now))
    });
    made.await
}

fn password(batch: &mut store::Batch<'_>, id: AccountId, digest: &str, now: Now) -> Result<(), StoreError> {
    let hash = Secret::new(digest.to_owned());
    let new = directory::NewCredential {
        kind: directory::Kind::App,
        label: "scene",
        hash: &hash,
        scopes: directory::Scopes::ALL,
        ends: None,
    };
    directory::add_credential(batch, id, &new, now).map(drop)
}

fn key(batch: &mut store::Batch<'_>, domain: &Domain, now: Now) -> Result<(), StoreError> {
    let random = sim::SeededRandom::new(domain.as_str().len() as u64);
    let private = mailauth::keys::SigningKey::generate(mailauth::keys::Algorithm::Ed25519, &random)
        .map_err(|e| StoreError::rule(format!("a key for {domain}: {e}")))?;
    let key = directory::DkimKey {
        selector: "scene".into(),
        algorithm: directory::Algorithm::Ed25519Sha256,
        private,
        state: directory::KeyState::Signing,
        created: now,
    };
    directory::add_dkim_key(batch, domain, &key)
}

fn name(text: &str) -> Result<Domain, StoreError> {
    Domain::new(text).map_err(|e| StoreError::rule(format!("{text}: {e}")))
}

fn parse(text: &str) -> Result<Address, StoreError> {
    Address::parse(text).map_err(|e| StoreError::rule(format!("{text}: {e:?}")))
}
