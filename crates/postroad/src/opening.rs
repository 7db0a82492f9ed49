//! What `postroad serve` does alike for every role: the world and the folder the configuration names,
//! ports and certificates, and reading the file again while the host runs.
//!
//! What a role makes of them stands in its own `serve_*.rs`. Begin with [`Opened`] and [`reread`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use config::{Config, TlsMode};
use drive::TlsServer;
use host::{Certificates, Pair};
use role_mail::Front;
use world::{Listener, World};

/// Real sockets (those systemd passes on among them) and the resolvers of the configuration.
pub fn outside(config: &Config) -> host::Settings {
    let net = host::NetSettings { inherit: true, ..host::NetSettings::default() };
    let dns = host::DnsSettings {
        servers: config.dns.servers.clone(),
        trust_ad: config.dns.trust_ad,
        ..host::DnsSettings::default()
    };
    host::Settings { net, dns }
}

pub fn data_folder(data: &Path) -> Result<(), String> {
    std::fs::create_dir_all(data)
        .map_err(|e| format!("The data folder {} cannot be made: {e}.", data.display()))
}

/// A port to open.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub front: Front,
    pub at: SocketAddr,
    pub tls: TlsMode,
}

/// A port that is open, before anybody is let in.
#[derive(Clone)]
pub struct Opened {
    pub door: Door,
    pub listener: Arc<dyn Listener>,
}

impl Opened {
    /// What this port shows to callers, if it speaks TLS at all.
    pub fn shown(&self, certificates: Option<&Arc<Certificates>>) -> Option<Arc<dyn TlsServer>> {
        let shown = certificates.filter(|_| self.door.tls != TlsMode::None);
        shown.map(|certificates| certificates.clone() as Arc<dyn TlsServer>)
    }
}

/// Opens all ports, or says which one cannot be had and why.
pub async fn open_ports(world: &World, doors: &[Door]) -> Result<Vec<Opened>, String> {
    let mut opened = Vec::new();
    for door in doors {
        let listener = world.net.listen(door.at).await.map_err(|e| {
            let remedy = match e.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "Another program listens there: stop it, or choose other ports."
                }
                std::io::ErrorKind::PermissionDenied => {
                    "Ports below 1024 need root (or the systemd unit): start it so."
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "This machine does not have that address: correct it."
                }
                _ => "Choose another address or port.",
            };
            format!("Cannot listen on {} for {}: {e}. {remedy}", door.at, door.front.name())
        })?;
        opened.push(Opened { door: *door, listener });
    }
    Ok(opened)
}

/// The certificates of the configuration, or one of our own making; none where no port speaks TLS.
pub fn certificates_if_shown(config: &Config, now: stdx::Now) -> Result<Option<Arc<Certificates>>, String> {
    match config.listeners.iter().any(|l| l.tls != TlsMode::None) {
        true => load_certificates(config, now).map(|certificates| Some(Arc::new(certificates))),
        false => Ok(None),
    }
}

pub fn load_certificates(config: &Config, now: stdx::Now) -> Result<Certificates, String> {
    Certificates::load(&load_pairs(config, now)?).map_err(|e| e.to_string())
}

pub fn load_pairs(config: &Config, now: stdx::Now) -> Result<Vec<Pair>, String> {
    if !config.certificates.is_empty() {
        return Ok(named_pairs(config));
    }
    let names = [config.host_name.clone(), "localhost".into(), "127.0.0.1".into()];
    let made = host::authority::ensure(&config.data.join("tls"), &names, now)
        .map_err(|e| format!("No certificate is configured, and none can be made: {e}."))?;
    tracing::warn!("no certificate is configured: clients must trust {}", made.ca.display());
    Ok(vec![made.pair])
}

/// Those the configuration names, and no others.
pub fn named_pairs(config: &Config) -> Vec<Pair> {
    let pairs = config.certificates.iter();
    pairs.map(|c| Pair { chain: c.chain.clone(), key: c.key.clone() }).collect()
}

/// Says that the host is ready, to systemd and to the log.
pub fn ready() {
    host::process::notify("READY=1");
    tracing::info!("ready");
}

/// The file as it is now goes to `put`. Sessions that stand keep what they have; if the file, or
/// what `put` makes of it, is wrong, everything stays as it was.
pub async fn reread(file: &Path, put: impl AsyncFnOnce(Config) -> Result<(), String>) {
    host::process::notify("RELOADING=1");
    let done = match config::read(file) {
        Ok(config) => put(config).await,
        Err(faults) => Err(faults.to_string()),
    };
    match done {
        Ok(()) => {
            tracing::info!("settings were read again; ports, folder and user change only with a restart")
        }
        Err(why) => tracing::error!("the configuration stays as it was:\n{why}"),
    }
    host::process::notify("READY=1");
}

/// The certificates as they are now; where they cannot be had, the old ones stay.
pub fn reread_certificates(certificates: &Certificates, pairs: Result<Vec<Pair>, String>) {
    match pairs.and_then(|p| certificates.reload(&p).map_err(|e| e.to_string())) {
        Ok(()) => tracing::info!("certificates were read again"),
        Err(why) => tracing::error!("certificates stay as they were: {why}"),
    }
}
