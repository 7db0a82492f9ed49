//! What the sender shares with the rest of the site: what routes have learned, how TLS went, which
//! policies cannot be had for now, and the judge's view of our settings.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use route::board::Board;
use route::{Egress, State};
use stdx::Span;

use super::sts::Rests;
use super::tally::Tallies;
use crate::Settings;
use crate::tag::Tags;

/// One per site.
#[derive(Default)]
pub struct Outbound {
    routes: Mutex<State>,
    board: Mutex<Board>,
    tallies: Mutex<Tallies>,
    rests: Mutex<Rests>,
    tags: OnceLock<Tags>,
}

impl Outbound {
    /// What routes have learned. Hold it for a moment only.
    pub fn routes(&self) -> MutexGuard<'_, State> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The key behind the marks on outgoing mail, once it was read.
    pub fn tags(&self) -> &OnceLock<Tags> {
        &self.tags
    }
    /// What block lists say of us. Hold it for a moment only.
    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// How sessions went, on its way into the store.
    pub fn tallies(&self) -> MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Policies that could not be fetched, left alone for a while.
    pub(super) fn rests(&self) -> MutexGuard<'_, Rests> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The judge's view of the ways out.
pub fn egresses(settings: &Settings) -> Vec<Egress> {
    settings.egresses.iter().map(|e| egress(settings, e)).collect()
}

fn egress(settings: &Settings, e: &crate::Egress) -> Egress {
    let source = e.source.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut out = match &e.relay {
        Some(relay) => Egress::relay(&e.name, &relay.host, relay.port),
        None => Egress::address(&e.name, source, &e.helo),
    };
    if e.source.is_none() {
        // The system chooses the address; there is nothing SPF could be asked about.
        out.addresses.clear();
    }
    if let Some(rules) = settings.egress_rules.get(&e.name) {
        out.forwards = rules.forwards.unwrap_or(out.forwards);
        out.verified = rules.verified.clone().map(|v| v.into_iter().collect());
        out.network = rules.network.clone();
        let first_day = rules.warm_up_first_day.unwrap_or(route::egress::FIRST_DAY);
        out.warm_up = rules.warm_up_since.map(|since| route::WarmUp { since, first_day });
        out.warm_up_groups = rules.warm_up_groups.clone();
        out.must_pass = rules.must_pass;
        if !rules.addresses.is_empty() {
            out.addresses = rules.addresses.clone();
        }
    }
    out
}

/// The judge's settings from ours.
pub fn judging(settings: &Settings) -> route::Settings {
    route::Settings {
        expire: settings.give_up_after,
        delay_notice: settings.delay_notice_after.min(Span::hours(1)),
        slots_max: settings.sessions_per_destination_max.min(1000) as u16,
        ..route::Settings::default()
    }
}
