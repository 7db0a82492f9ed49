//! Block lists and routes: a list moves only hosts that have cited it.
//!
//! Which list a reply cites is read from its text: a zone we watch, a list we know by name, or
//! the name that stands where lists stand in such sentences. Begin with [`cited`].

use stdx::{Now, Span};
use words::Domain;

use crate::dnsbl::{ListFacts, Weight};
use crate::learn::{Event, EventKind};
use crate::settings::Settings;
use crate::state::{Lane, List, Mark, Mood, State};
use crate::text::Text;

/// Lists that cannot be asked under a zone of their own, or are named by other names in replies.
const KNOWN: &[(&str, &str)] = &[
    ("dbl.spamhaus", ""),
    ("spamhaus", "zen.spamhaus.org"),
    ("cbl.abuseat.org", "zen.spamhaus.org"),
    ("spamcop", "bl.spamcop.net"),
    ("barracudacentral", "b.barracudacentral.org"),
    ("barracudanetworks", "b.barracudacentral.org"),
    ("gbudb", "truncate.gbudb.net"),
    ("surriel", "psbl.surriel.com"),
    ("mailspike", "bl.mailspike.net"),
    ("invaluement", "invaluement"),
    ("ivmsip", "invaluement"),
    ("abusix", "combined.mail.abusix.zone"),
    ("hostkarma", "hostkarma.junkemailfilter.com"),
    ("junkemailfilter", "hostkarma.junkemailfilter.com"),
    ("senderscore", "bl.score.senderscore.com"),
    ("cloudmark", "cloudmark-csi"),
    ("ipcheck.proofpoint", "proofpoint-pdr"),
    ("dronebl", "dnsbl.dronebl.org"),
    ("backscatterer", "ips.backscatterer.org"),
];

/// Words after which a list's name stands.
const BEFORE: &[&str] =
    &["using", "by", "at", "in", "on", "list", "blacklist", "blocklist", "rbl", "dnsbl", "provider", "site"];
/// Words that are followed by names which are no lists.
const NOT_A_LIST: &[&str] = &["www.", "support.", "help.", "postmaster.", "mail.", "mx.", "smtp."];

/// The list a refusal cites, as its zone or name. `zones` are the zones we watch.
pub fn cited(reply: &str, zones: &[String]) -> Option<String> {
    let text = Text::fold(reply);
    let zone = zones.iter().find(|z| text.tokens.iter().any(|t| t == *z || t.ends_with(&format!(".{z}"))));
    if let Some(zone) = zone {
        return Some(zone.clone());
    }
    let level = text.tokens.windows(2).find_map(|w| {
        (w[0] == "level" && reply.to_ascii_lowercase().contains("uceprotect")).then(|| w[1].clone())
    });
    if let Some(level) = level {
        return Some(format!("dnsbl-{level}.uceprotect.net"));
    }
    for (needle, name) in KNOWN {
        if text.tokens.iter().any(|t| t.contains(needle)) {
            return (!name.is_empty()).then(|| (*name).to_owned());
        }
    }
    let dotted = |t: &str| {
        t.matches('.').count() >= 1
            && t.chars().any(char::is_alphabetic)
            && !NOT_A_LIST.iter().any(|n| t.starts_with(n))
    };
    text.tokens.windows(2).find(|w| BEFORE.contains(&w[0].as_str()) && dotted(&w[1])).map(|w| w[1].clone())
}

/// What the monitor found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    Listed,
    Clean,
    /// It answers for everything: that it lists us means nothing, and those who obey it refuse everybody.
    World,
    /// Dead, refusing us, or mute: no statement.
    Unusable,
}

/// A list's denial counts so long without another word.
const DENIAL_FRESH: Span = Span::hours(2);
/// Lists that are asked only because a refusal cited them.
const CITED_MAX: usize = 16;
/// They are asked so long after the last citation.
const CITED_FOR: Span = Span::days(3);
/// The id of such a list.
pub const CITED: &str = "cited";

/// Lists that refusals cite and nobody watches: they are watched from then on, so that their end is
/// seen, and so that a list which never named us is found out. The newest first.
pub fn cited_zones(state: &State, watched: &[ListFacts], now: Now) -> Vec<ListFacts> {
    let fresh = |list: &List| {
        let at = list.egresses.values().flat_map(|l| l.cited_by.values()).max().copied()?;
        (now.since(Now(at)) < CITED_FOR).then_some(at)
    };
    let is_zone = |name: &str| name.contains('.') && Domain::new(name).is_ok();
    let unknown = |name: &str| watched.iter().all(|w| w.zone != name);
    let mut found: Vec<(u64, &String)> = state
        .lists
        .iter()
        .filter(|(name, _)| is_zone(name) && unknown(name))
        .filter_map(|(name, list)| Some((fresh(list)?, name)))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    let facts = |zone: &String| ListFacts {
        id: CITED.to_owned(),
        public_only: true,
        ..ListFacts::plain(zone, Weight::Low)
    };
    found.into_iter().take(CITED_MAX).map(|(_, zone)| facts(zone)).collect()
}

/// The planner's questions about lists.
pub(crate) struct ListView<'a> {
    pub state: &'a State,
    pub settings: &'a Settings,
    pub now: Now,
}

impl ListView<'_> {
    /// A list these hosts have cited is in force against the egress: its name, and when to probe
    /// at the latest.
    pub fn refuses_hosts(&self, egress: &str, hosts: &[String]) -> Option<(String, Now)> {
        if self.state.lists.is_empty() {
            return None;
        }
        hosts.iter().take(4).filter_map(|h| self.state.hosts.get(h)).find_map(|host| {
            host.cites.keys().find_map(|list| self.in_force(list, egress).map(|until| (list.clone(), until)))
        })
    }

    /// Until when a list is believed to hold against an egress.
    fn in_force(&self, list: &str, egress: &str) -> Option<Now> {
        let listing = self.state.lists.get(list)?.egresses.get(egress)?;
        match listing.listed {
            Some(true) => Some(self.now + Span::hours(24)),
            Some(false) => None,
            None => {
                let fresh = |at: &&u64| {
                    **at > listing.cleared_at && self.now.since(Now(**at)) < self.settings.list_trust
                };
                let hosts: Vec<u64> = listing.cited_by.values().filter(fresh).copied().collect();
                let newest = hosts.iter().max().copied()?;
                // Without a monitor's word the host is probed like any other blocked path.
                (hosts.len() >= self.settings.list_hosts)
                    .then(|| Now(newest) + self.settings.probe_gap(Span::hours(24)))
            }
        }
    }

    /// A refusal of this mail cites a list which says nothing of the kind: its name.
    pub fn denied(
        &self,
        egress: &str,
        lane: Option<&Lane>,
        domain: &str,
        hosts: &[String],
    ) -> Option<String> {
        let denies = |list: &&String| {
            let listing = self.state.lists.get(*list).and_then(|l| l.egresses.get(egress));
            listing.is_some_and(|l| l.denied_at > 0 && self.now.since(Now(l.denied_at)) < DENIAL_FRESH)
        };
        let refused = |mark: &&Mark| mark.is_refused();
        if let Some(own) = lane.and_then(|l| l.marks.get(domain)).filter(refused) {
            return own.list.as_ref().filter(denies).cloned();
        }
        let cites = hosts.iter().take(4).filter_map(|h| self.state.hosts.get(h)).flat_map(|h| h.cites.keys());
        let newest = lane.and_then(|l| l.marks.values().filter(refused).max_by_key(|m| m.refused));
        cites.chain(newest.and_then(|m| m.list.as_ref())).find(denies).cloned()
    }

    /// When a refused destination may be probed; `None` if its list has cleared since.
    pub fn mark_until(&self, egress: &str, mark: &Mark) -> Option<Now> {
        let listing = mark.list.as_ref().and_then(|l| self.state.lists.get(l)?.egresses.get(egress));
        match listing {
            Some(l) if l.cleared_at > mark.refused => None,
            Some(l) if l.listed == Some(true) => Some(Now(mark.refused) + Span::hours(72)),
            _ => Some(Now(mark.next_probe)),
        }
    }
}

/// Takes the monitor's word on one list and one egress.
pub fn learn_list(state: &mut State, list: &str, egress: &str, news: News, now: Now) -> Vec<Event> {
    let listing =
        state.lists.entry(list.to_owned()).or_default().egresses.entry(egress.to_owned()).or_default();
    let before = listing.listed;
    listing.said_at = now.0;
    listing.listed = match news {
        News::Listed => Some(true),
        News::Clean => Some(false),
        News::World | News::Unusable => None,
    };
    match news {
        News::Clean | News::World => listing.denied_at = now.0,
        News::Listed => listing.denied_at = 0,
        News::Unusable => {}
    }
    state.dirty.insert(format!("l/{list}"));
    let mut events = Vec::new();
    if before == listing.listed {
        return events;
    }
    let hosts: Vec<String> = listing.cited_by.keys().cloned().collect();
    match (before, news) {
        (_, News::Listed) => events.push(
            Event::new(
                EventKind::Listed,
                format!("{list} lists {egress}; only destinations that have cited it are moved"),
            )
            .because([format!("{list} was asked about {egress} and answered with a listing")])
            .undo("nothing to undo: routes follow replies"),
        ),
        (Some(true), News::Clean) => {
            listing.cleared_at = now.0;
            listing.cited_by.clear();
            forgive(state, list, egress, &hosts, now);
            let undo = keep_hosts_away(state, list, egress, &hosts);
            events.push(
                Event::new(
                    EventKind::ListCleared,
                    format!("{list} no longer lists {egress}: {} hosts go back to it", hosts.len()),
                )
                .because([format!("{list} was asked about {egress} and answered without a listing")])
                .undo(undo),
            );
        }
        _ => {}
    }
    events
}

/// When the monitor last had a word from this list about any egress; survives a restart.
pub fn said_at(state: &State, list: &str) -> Option<Now> {
    state.lists.get(list)?.egresses.values().map(|l| l.said_at).max().filter(|at| *at > 0).map(Now)
}

/// Hosts named in one line; the rest are pinned alike.
const HOSTS_SHOWN: usize = 5;

/// The orders that keep mail of these hosts where it went meanwhile: with the egress that carried
/// last for a group which had cited the list.
fn keep_hosts_away(state: &State, list: &str, egress: &str, hosts: &[String]) -> String {
    let cited = |lane: &Lane| lane.marks.values().any(|mark| mark.list.as_deref() == Some(list));
    let groups = state.groups.values().filter(|g| g.lanes.get(egress).is_some_and(cited));
    let other = groups.filter_map(|g| g.beside(egress)).max_by_key(|(_, at)| *at);
    let order = |host: &String| other.map(|(name, _)| format!("postroad route pin host:{host} {name}"));
    let orders: Vec<String> = hosts.iter().filter_map(order).take(HOSTS_SHOWN).collect();
    match orders.is_empty() {
        true => "nothing to undo: routes follow replies".to_owned(),
        false => orders.join("; "),
    }
}

/// The list cleared: its hosts are asked again, and groups it blocked are probed at once.
fn forgive(state: &mut State, list: &str, egress: &str, hosts: &[String], now: Now) {
    for host in hosts {
        if let Some(on) = state.hosts.get_mut(host).and_then(|h| h.lanes.get_mut(egress)) {
            on.refused.clear();
        }
        state.dirty.insert(format!("h/{host}"));
    }
    for (name, group) in &mut state.groups {
        let Some(lane) = group.lanes.get_mut(egress) else { continue };
        let Mood::Blocked(block) = &mut lane.mood else { continue };
        let zones = [list.to_owned()];
        if block.evidence.iter().any(|e| cited(&e.reply, &zones).as_deref() == Some(list)) {
            block.next_probe = now.0;
            state.dirty.insert(format!("g/{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_out_of_the_reply() {
        let zones = ["bl.fantasy.example".to_owned()];
        for (reply, want) in [
            (
                "rejected because 192.0.2.1 is in a black list at truncate.gbudb.net",
                Some("truncate.gbudb.net"),
            ),
            (
                "blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1",
                Some("zen.spamhaus.org"),
            ),
            ("Client host blocked using bl.fantasy.example", Some("bl.fantasy.example")),
            ("your IP is listed at spam.unheard.example", Some("spam.unheard.example")),
            ("Your IP is BLACKLISTED at UCEPROTECT-LEVEL 2", Some("dnsbl-2.uceprotect.net")),
            ("banned sending IP, see https://support.office.example", None),
        ] {
            assert_eq!(cited(reply, &zones).as_deref(), want, "{reply}");
        }
    }

    #[test]
    fn replies_that_name_ever_new_lists_fill_nothing() {
        let (mut state, settings) = (State::new(), Settings::default());
        let egress = crate::Egress::address("A", [192, 0, 2, 1].into(), "a.example");
        let domain = Domain::new("far.example").expect("valid");
        let text = "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using bl.example";
        let reading = crate::classify(&crate::Refusal { code: 554, text, ..crate::Refusal::default() });
        let mut now = Now::from_secs(1_700_000_000);
        for n in 0..3000 {
            now += Span::secs(1);
            let reply =
                format!("5.7.1 Service unavailable; Client host [192.0.2.1] blocked using n{n}.bl.example");
            let told =
                crate::Told::Refused { stage: crate::Stage::Rcpt, reading, permanent: true, reply: &reply };
            let outcome = crate::Outcome {
                egress: &egress,
                group: "far.example",
                host: Some("mx.far.example"),
                domain: &domain,
                sender_domain: None,
                purpose: crate::Purpose::Usual,
                told,
                zones: &[],
            };
            crate::learn(&mut state, &outcome, &settings, now);
        }
        assert_eq!(state.lists.len(), crate::state::LISTS_MAX);
        assert_eq!(state.hosts["mx.far.example"].cites.len(), crate::state::CITES_MAX);
        let asked = cited_zones(&state, &[ListFacts::plain("n2999.bl.example", Weight::High)], now);
        assert_eq!((asked.len(), asked[0].zone.as_str()), (CITED_MAX, "n2998.bl.example"));
        assert!(cited_zones(&state, &[], now + Span::days(4)).is_empty(), "nobody cites them any more");
    }
}
