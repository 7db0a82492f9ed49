//! The peers of a scene on their addresses, with their scripts.

use std::net::SocketAddr;
use std::sync::Arc;

use sim::{Above, Manners, Peer, Rule, When, Wrap};
use stdx::Now;
use tokio::task::JoinHandle;
use world::{Clock, Net};

use crate::scene::{self, Broken, Scene};

/// Everybody else's mail hosts.
pub struct Cast {
    pub peers: Vec<Peer>,
    doors: Vec<JoinHandle<()>>,
}

impl Cast {
    /// Opens their doors on `port`.
    pub async fn begin(scene: &Scene, world: Place<'_>) -> Result<Cast, String> {
        let mut cast = Cast { peers: Vec::new(), doors: Vec::new() };
        for (n, one) in scene.peers.iter().enumerate() {
            let mut peer =
                Peer::new(manners(one, world.begin), world.clock.clone(), scene.seed ^ (n as u64) << 32);
            if let Some(wrap) = world.tls.as_ref().filter(|_| one.is_relay(scene)) {
                peer = peer.with_tls(wrap.clone());
            }
            let down: Vec<(Now, Now)> = scene
                .faults
                .iter()
                .filter(|f| f.what == Broken::Peer(n))
                .map(|f| (world.begin + f.at, world.begin + f.at + f.lasts))
                .collect();
            for ip in &one.addresses {
                let at = SocketAddr::new(*ip, world.port);
                let net = (world.net)(at);
                let first = net.listen(at).await.map_err(|e| {
                    format!("The peer \"{}\" cannot listen on {at}: {e}. Give it another address.", one.name)
                })?;
                let door =
                    Door { peer: peer.clone(), net, at, down: down.clone(), clock: world.clock.clone() };
                cast.doors.push(tokio::spawn(door.keep(first)));
            }
            cast.peers.push(peer);
        }
        Ok(cast)
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.doors.iter().for_each(JoinHandle::abort);
    }
}

/// Where the cast plays.
pub struct Place<'p> {
    /// The network as the host at this address has it.
    pub net: &'p (dyn Fn(SocketAddr) -> Arc<dyn Net> + Sync),
    pub clock: Arc<dyn Clock>,
    pub port: u16,
    pub begin: Now,
    /// Relays speak it.
    pub tls: Option<Wrap>,
}

struct Door {
    peer: Peer,
    net: Arc<dyn Net>,
    at: SocketAddr,
    down: Vec<(Now, Now)>,
    clock: Arc<dyn Clock>,
}

impl Door {
    /// Serves, and is shut while the host is down.
    async fn keep(self, first: Arc<dyn world::Listener>) {
        let mut listener = Some(first);
        for (from, until) in self.down.clone() {
            if let Some(open) = listener.take() {
                drive::first(self.peer.clone().serve(open), self.clock.sleep_until(from)).await;
            }
            self.clock.sleep_until(until).await;
            listener = self.net.listen(self.at).await.ok();
        }
        if let Some(open) = listener {
            self.peer.clone().serve(open).await;
        }
    }
}

fn manners(peer: &scene::Peer, begin: Now) -> Manners {
    let mut manners = Manners::friendly(&peer.greeting);
    manners.extensions.push("AUTH PLAIN".into());
    for rule in &peer.rules {
        manners = manners.with(Rule::When(Box::new(habit(rule, begin))));
    }
    manners
}

fn habit(rule: &scene::Rule, begin: Now) -> When {
    When {
        at: rule.at,
        sources: rule.from.clone(),
        senders: rule.senders.clone(),
        recipients: rule.to.clone(),
        from: rule.begin.map(|b| begin + b),
        until: rule.end.map(|e| begin + e),
        share: rule.share,
        flips: rule.flips,
        above: rule.above.map(|(recipients, per, doubling)| Above { recipients, per, doubling, begin }),
        first: rule.first,
        greylist: rule.greylist,
        act: rule.act.clone(),
    }
}
