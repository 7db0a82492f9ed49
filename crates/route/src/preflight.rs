//! May a new way out carry mail yet?
//!
//! What it is: [`judge`] reads what was found out about an egress (its reverse name, the name it
//! says in EHLO, the SPF of every domain of ours, block lists, port 25, its neighbours) and names
//! each fault with its remedy; [`Standing`] is what is remembered of the last check. What it is
//! not: a resolver or a dialler. Begin with [`judge`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stdx::Now;

use crate::board::{Seen, Word};
use crate::egress::Spf;
use crate::state::State;

/// What was found out; `Err` says why it could not be.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub egress: String,
    pub helo: String,
    pub helo_addresses: Option<Result<Vec<IpAddr>, String>>,
    pub addresses: Vec<Address>,
    /// Domains of ours and what their SPF says of this egress; the term that would help.
    pub domains: Vec<(String, Spf)>,
    /// Whether an address of ours reached port 25 of somebody: name tried, and what came.
    pub port: Vec<(String, Result<(), String>)>,
    pub lists: Vec<Seen>,
    /// Other egresses that fall together with it, and why.
    pub near: Vec<(String, String)>,
    /// CNAME records a relay asks for which are not there: name and target.
    pub cnames: Vec<(String, String)>,
    /// A relay's answer to our log-in.
    pub login: Option<Result<(), String>>,
}

/// One address of an egress.
#[derive(Clone, Debug)]
pub struct Address {
    pub ip: IpAddr,
    /// Its names, each with whether it leads back.
    pub names: Result<Vec<(String, bool)>, String>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// `ptr`, `helo`, `spf`, `listed`, `port25`, `network`, `cname`, `login`, `neighbours`.
    pub kind: String,
    pub says: String,
    pub fix: String,
    /// Whether mail must not leave here before it is mended.
    pub locks: bool,
}

/// What is remembered of an egress' last check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub checked: u64,
    pub passed: bool,
    /// Let through by hand, faults or not.
    pub forced: Option<String>,
    pub faults: Vec<Fault>,
}

impl State {
    /// Whether mail may leave here: its pre-flight was passed once, or it was let through by hand.
    pub fn may_fly(&self, egress: &str) -> bool {
        self.preflights.get(egress).is_some_and(|s| s.passed || s.forced.is_some())
    }
    pub fn preflight(&self, egress: &str) -> Option<&Standing> {
        self.preflights.get(egress)
    }
    /// Takes a check's faults. Once passed, an egress stays so: later faults are named, and single
    /// sender domains are kept off by their own facts. Says whether the lock opened or closed.
    pub fn note_preflight(&mut self, egress: &str, faults: Vec<Fault>, now: Now) -> Option<bool> {
        let standing = self.preflights.entry(egress.to_owned()).or_default();
        let first = standing.checked == 0;
        let before = standing.passed;
        standing.checked = now.0;
        standing.passed |= !faults.iter().any(|f| f.locks);
        standing.faults = faults;
        let after = standing.passed;
        self.dirty.insert(format!("p/{egress}"));
        (first || before != after).then_some(after)
    }
    /// Lets an egress through by hand, or takes that back.
    pub fn force_preflight(&mut self, egress: &str, why: Option<String>) {
        self.preflights.entry(egress.to_owned()).or_default().forced = why;
        self.dirty.insert(format!("p/{egress}"));
    }
}

fn fault(kind: &str, says: String, fix: String) -> Fault {
    Fault { kind: kind.to_owned(), says, fix, locks: true }
}

/// Everything that is wrong, the worst first; empty: it may carry mail.
pub fn judge(found: &Findings) -> Vec<Fault> {
    let mut out = Vec::new();
    for address in &found.addresses {
        out.extend(reverse(address, &found.helo));
    }
    out.extend(helo(found));
    out.extend(spf(found));
    out.extend(port(found));
    for seen in &found.lists {
        out.extend(listed(seen));
    }
    if let Some(Err(why)) = &found.login {
        out.push(fault(
            "login",
            format!("the relay does not let us in: {why}"),
            "correct relay_user and its password file, or ask the relay why the account is shut".into(),
        ));
    }
    for (name, target) in &found.cnames {
        let mut one = fault(
            "cname",
            format!("{name} is missing: the relay refuses mail of this sender domain"),
            format!("{name}. IN CNAME {target}."),
        );
        // One sender domain is kept off by itself; the others may go.
        one.locks = false;
        out.push(one);
    }
    for (other, why) in &found.near {
        let mut one = fault(
            "network",
            format!("{} and {other} fall together: {why}", found.egress),
            "rent one of them from another data centre; lists and providers block whole networks".into(),
        );
        one.locks = false;
        out.push(one);
    }
    out.sort_by_key(|f| !f.locks);
    out
}

fn reverse(address: &Address, helo: &str) -> Option<Fault> {
    let ip = address.ip;
    let fix = format!("ask whoever gave you {ip} to set its reverse name to {helo}");
    match &address.names {
        Err(why) => Some(fault("ptr", format!("the reverse name of {ip} could not be asked: {why}"), fix)),
        Ok(names) if names.is_empty() => Some(fault("ptr", format!("{ip} has no reverse name (PTR)"), fix)),
        Ok(names) if !names.iter().any(|(_, back)| *back) => {
            let says = format!("the reverse name of {ip}, {}, does not lead back to it", names[0].0);
            Some(fault("ptr", says, format!("let {} resolve to {ip}, or {fix}", names[0].0)))
        }
        Ok(_) => None,
    }
}

fn helo(found: &Findings) -> Option<Fault> {
    let name = &found.helo;
    let ours: Vec<String> = found.addresses.iter().map(|a| a.ip.to_string()).collect();
    let fix = format!("add an address record for {name}: {}", ours.join(", "));
    match found.helo_addresses.as_ref()? {
        Err(why) => Some(fault("helo", format!("the EHLO name {name} could not be asked: {why}"), fix)),
        Ok(ips) if ips.is_empty() => {
            Some(fault("helo", format!("the EHLO name {name} has no address record (A or AAAA)"), fix))
        }
        Ok(ips) => {
            let missing = found.addresses.iter().find(|a| !ips.contains(&a.ip))?;
            Some(fault("helo", format!("the EHLO name {name} does not resolve to {}", missing.ip), fix))
        }
    }
}

fn spf(found: &Findings) -> Option<Fault> {
    let lacking: Vec<&str> =
        found.domains.iter().filter(|(_, spf)| *spf != Spf::Pass).map(|(d, _)| d.as_str()).collect();
    if lacking.is_empty() {
        return None;
    }
    let term = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => format!("ip4:{ip}"),
        IpAddr::V6(ip) => format!("ip6:{ip}"),
    };
    let terms: Vec<String> = found.addresses.iter().map(|a| term(&a.ip)).collect();
    Some(fault(
        "spf",
        format!(
            "the SPF of {} of {} domains lacks it: {}",
            lacking.len(),
            found.domains.len(),
            lacking.join(", ")
        ),
        format!("add {} to the SPF record of each", terms.join(" ")),
    ))
}

fn port(found: &Findings) -> Option<Fault> {
    if found.port.is_empty() || found.port.iter().any(|(_, came)| came.is_ok()) {
        return None;
    }
    let tried: Vec<String> = found
        .port
        .iter()
        .map(|(n, c)| format!("{n}: {}", c.as_ref().err().map_or("", String::as_str)))
        .collect();
    Some(fault(
        "port25",
        format!("nobody's port 25 can be reached from it ({})", tried.join("; ")),
        "have the provider open outgoing port 25 for this address; new machines often have it closed".into(),
    ))
}

fn listed(seen: &Seen) -> Option<Fault> {
    match seen.word {
        Word::Listed => {
            let says = format!("{} lists {}: {}", seen.zone, seen.subject, seen.says);
            let delist = if seen.delist.is_empty() { "the list's own page" } else { &seen.delist };
            Some(fault("listed", says, format!("ask to be taken off: {delist}")))
        }
        Word::Neighbours => {
            let says = format!("{} names the neighbourhood of {}: {}", seen.zone, seen.subject, seen.says);
            let fix = "neighbours, not you: nothing to do; a cleaner data centre would help".into();
            Some(Fault { locks: false, ..fault("neighbours", says, fix) })
        }
        Word::Clean | Word::Unusable => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip() -> IpAddr {
        IpAddr::from([192, 0, 2, 7])
    }

    fn clean() -> Findings {
        Findings {
            egress: "new".into(),
            helo: "out.example".into(),
            helo_addresses: Some(Ok(vec![ip()])),
            addresses: vec![Address { ip: ip(), names: Ok(vec![("out.example".into(), true)]) }],
            domains: (0..10).map(|n| (format!("d{n}.example"), Spf::Pass)).collect(),
            port: vec![("mx.far.example".into(), Ok(()))],
            ..Findings::default()
        }
    }

    fn seen(word: Word) -> Seen {
        Seen {
            list: "bl".into(),
            zone: "bl.example".into(),
            subject: ip().to_string(),
            egresses: vec!["new".into()],
            word,
            says: "listed".into(),
            rule: "dnsbl.listed",
            counts: true,
            delist: "https://bl.example/out".into(),
            since: 1,
            at: 1,
        }
    }

    #[test]
    fn a_clean_set_up_raises_no_alarm() {
        assert_eq!(judge(&clean()), []);
        let unusable = Findings { lists: vec![seen(Word::Unusable), seen(Word::Clean)], ..clean() };
        assert_eq!(judge(&unusable), []);
    }

    #[test]
    fn five_faults_are_five_lines_each_with_its_remedy() {
        let mut found = clean();
        found.addresses[0].names = Ok(Vec::new());
        found.helo_addresses = Some(Ok(Vec::new()));
        for domain in found.domains.iter_mut().take(3) {
            domain.1 = Spf::Fail;
        }
        found.lists = vec![seen(Word::Listed)];
        found.port = vec![("mx.far.example".into(), Err("timed out".into()))];
        let faults = judge(&found);
        let kinds: Vec<&str> = faults.iter().map(|f| f.kind.as_str()).collect();
        assert_eq!(kinds, ["ptr", "helo", "spf", "port25", "listed"]);
        assert!(faults.iter().all(|f| f.locks && !f.fix.is_empty()));
        assert!(faults[2].says.contains("3 of 10") && faults[2].fix.contains("ip4:192.0.2.7"));
    }

    #[test]
    fn an_egress_is_locked_until_it_passes_and_stays_open_then() {
        let mut state = State::new();
        let now = Now::from_secs;
        assert!(!state.may_fly("new"));
        let bad = || vec![fault("ptr", "x".into(), "y".into())];
        assert_eq!(state.note_preflight("new", bad(), now(1)), Some(false));
        assert_eq!((state.note_preflight("new", bad(), now(2)), state.may_fly("new")), (None, false));
        state.force_preflight("new", Some("by hand".into()));
        assert!(state.may_fly("new"));
        state.force_preflight("new", None);
        assert_eq!((state.note_preflight("new", vec![], now(3)), state.may_fly("new")), (Some(true), true));
        assert_eq!((state.note_preflight("new", bad(), now(4)), state.may_fly("new")), (None, true));
    }
}
